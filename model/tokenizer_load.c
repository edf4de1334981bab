// Reading tokenizer.json. The vocabulary and the merges, nearly all of the file, are walked in place; the other parts
// are small and become JSON values.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/tokenizer_impl.h"

enum { FILE_MAX = 256 << 20, PART_MAX = 16 << 20 };

typedef struct {
    const char *name;
    weft_json *normalizer, *pre_tokenizer, *added_tokens, *post_processor, *decoder, *options;
    wi_entry_of_vocab *entries;
    size_t entry_count, entry_capacity;
    double *scores; // of entries
    size_t score_capacity;
    wi_merge_text *merges;
    size_t merge_count, merge_capacity;
    bool is_list; // the vocabulary is a list of [token, score]
    bool has_vocab, has_merges, has_model;
    wi_bytes small; // the model's members but for vocabulary and merges, as a JSON object
} reader;

weft_status wi_unknown(const char *name, const char *part, const char *type, const char *known)
{
    return weft_fail(WEFT_UNSUPPORTED, "%s: %s \"%.80s\" is not known; known are %s", name, part, type, known);
}

weft_status wi_mark_load(const weft_json *json, const char *key, const char *fallback, const char *name, char mark[4],
                         size_t *bytes)
{
    const char *text;
    WEFT_TRY(weft_json_string(json, key, fallback, &text));
    size_t length = 0;
    if (text && text[0]) wi_utf8_read(text, &length);
    if (length == 0 || text[length]) return weft_fail(WEFT_FORMAT, "%s: \"%s\": one character is expected", name, key);
    memcpy(mark, text, length);
    *bytes = length;
    return WEFT_OK;
}

static weft_status add_token(reader *in, weft_tokenizer *to, const char *text, size_t bytes, int64_t id)
{
    if (id < 0 || id >= WI_TOKENS_MAX)
        return weft_fail(WEFT_LIMIT, "%s: model.vocab: the id %lld; ids must be between 0 and %d", in->name,
                         (long long)id, WI_TOKENS_MAX - 1);
    WEFT_TRY(wi_grow(&in->entries, sizeof *in->entries, in->entry_count + 1, &in->entry_capacity));
    in->entries[in->entry_count++] = (wi_entry_of_vocab){{(uint32_t)to->vocab.text.used, (uint32_t)bytes}, (int32_t)id};
    return wi_bytes_add(&to->vocab.text, text, bytes);
}

static weft_status read_vocab_object(reader *in, weft_json_cursor *cursor, weft_tokenizer *to)
{
    const char *text;
    size_t bytes;
    int64_t id;
    WEFT_TRY(weft_json_cursor_enter(cursor, WEFT_JSON_OBJECT));
    for (bool more;;) {
        WEFT_TRY(weft_json_cursor_next(cursor, &more));
        if (!more) return WEFT_OK;
        WEFT_TRY(weft_json_cursor_key(cursor, &text, &bytes));
        WEFT_TRY(weft_json_cursor_int(cursor, &id));
        WEFT_TRY(add_token(in, to, text, bytes, id));
    }
}

static weft_status close_list(weft_json_cursor *cursor, const char *name, const char *what)
{
    bool more;
    WEFT_TRY(weft_json_cursor_next(cursor, &more));
    return more ? weft_fail(WEFT_FORMAT, "%s: %s of two is expected", name, what) : WEFT_OK;
}

static weft_status expect_item(weft_json_cursor *cursor, const char *name, const char *what)
{
    bool more;
    WEFT_TRY(weft_json_cursor_next(cursor, &more));
    return more ? WEFT_OK : weft_fail(WEFT_FORMAT, "%s: %s of two is expected", name, what);
}

// A score as the field's library reads it: all digits as one integer of 64 bits, rounded to a double, divided by a
// power of ten. That may be one unit beside the nearest double, and decides where sums of scores tie.
static weft_status read_score(weft_json_cursor *cursor, double *out)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    weft_json_cursor copy = *cursor;
    const char *text;
    size_t bytes, places = 0;
    uint64_t value = 0;
    bool point = false, plain = true;
    WEFT_TRY(weft_json_cursor_real(cursor, out));
    WEFT_TRY(weft_json_cursor_skip(&copy, &text, &bytes));
    for (size_t i = text[0] == '-'; i < bytes && plain; i++) {
        uint64_t next;
        if (text[i] == '.') {
            point = true;
            continue;
        }
        plain = text[i] >= '0' && text[i] <= '9';
        bool fits = !__builtin_mul_overflow(value, 10, &next) &&
                    !__builtin_add_overflow(next, (uint64_t)(text[i] - '0'), &next);
        if (!fits && point) break; // further digits are dropped
        plain = plain && fits;
        value = next;
        places += point;
    }
    if (!plain || !point || places > 22) return WEFT_OK;
    *out = (double)value / powers[places] * (text[0] == '-' ? -1 : 1);
    return WEFT_OK;
}

static weft_status read_vocab_list(reader *in, weft_json_cursor *cursor, weft_tokenizer *to)
{
    static const char what[] = "model.vocab: a list [token, score]";
    const char *text;
    size_t bytes;
    WEFT_TRY(weft_json_cursor_enter(cursor, WEFT_JSON_ARRAY));
    in->is_list = true;
    for (bool more;;) {
        WEFT_TRY(weft_json_cursor_next(cursor, &more));
        if (!more) return WEFT_OK;
        WEFT_TRY(wi_grow(&in->scores, sizeof *in->scores, in->entry_count + 1, &in->score_capacity));
        WEFT_TRY(weft_json_cursor_enter(cursor, WEFT_JSON_ARRAY));
        WEFT_TRY(expect_item(cursor, in->name, what));
        WEFT_TRY(weft_json_cursor_string(cursor, &text, &bytes));
        WEFT_TRY(expect_item(cursor, in->name, what));
        WEFT_TRY(read_score(cursor, &in->scores[in->entry_count]));
        WEFT_TRY(close_list(cursor, in->name, what));
        WEFT_TRY(add_token(in, to, text, bytes, (int64_t)in->entry_count));
    }
}

// "a b", the older spelling.
static weft_status split_merge(const reader *in, const char *text, size_t bytes, wi_merge_text *out)
{
    const char *space = memchr(text, ' ', bytes), *end = text + bytes;
    if (!space || memchr(space + 1, ' ', (size_t)(end - space - 1)))
        return weft_fail(WEFT_FORMAT, "%s: model.merges: number %zu is \"%.*s\"; two tokens and one space are expected",
                         in->name, in->merge_count, (int)(bytes > 100 ? 100 : bytes), text);
    *out = (wi_merge_text){text, space + 1, (size_t)(space - text), (size_t)(end - space - 1)};
    return WEFT_OK;
}

static weft_status read_merges(reader *in, weft_json_cursor *cursor)
{
    static const char what[] = "model.merges: a list [token, token]", version[] = "#version";
    const char *text;
    size_t bytes;
    WEFT_TRY(weft_json_cursor_enter(cursor, WEFT_JSON_ARRAY));
    for (bool more;;) {
        weft_json_kind kind;
        wi_merge_text merge = {0};
        WEFT_TRY(weft_json_cursor_next(cursor, &more));
        if (!more) return WEFT_OK;
        WEFT_TRY(weft_json_cursor_kind(cursor, &kind));
        if (kind == WEFT_JSON_ARRAY) {
            WEFT_TRY(weft_json_cursor_enter(cursor, WEFT_JSON_ARRAY));
            WEFT_TRY(expect_item(cursor, in->name, what));
            WEFT_TRY(weft_json_cursor_string(cursor, &merge.a, &merge.a_bytes));
            WEFT_TRY(expect_item(cursor, in->name, what));
            WEFT_TRY(weft_json_cursor_string(cursor, &merge.b, &merge.b_bytes));
            WEFT_TRY(close_list(cursor, in->name, what));
        } else {
            WEFT_TRY(weft_json_cursor_string(cursor, &text, &bytes));
            if (bytes >= sizeof version - 1 && memcmp(text, version, sizeof version - 1) == 0) continue;
            WEFT_TRY(split_merge(in, text, bytes, &merge));
        }
        WEFT_TRY(wi_grow(&in->merges, sizeof *in->merges, in->merge_count + 1, &in->merge_capacity));
        in->merges[in->merge_count++] = merge;
    }
}

static bool is(const char *key, size_t bytes, const char *word)
{
    return strlen(word) == bytes && memcmp(key, word, bytes) == 0;
}

static weft_status twice(const reader *in, const char *key)
{
    return weft_fail(WEFT_FORMAT, "%s: \"%s\" stands there twice; keep one", in->name, key);
}

static weft_status read_member(reader *in, weft_json_cursor *cursor, const char *key, size_t bytes)
{
    const char *text;
    size_t text_bytes;
    WEFT_TRY(wi_bytes_add(&in->small, in->small.used ? ",\"" : "{\"", 2));
    for (size_t i = 0; i < bytes; i++) // keys of the format are words; others are not looked at
        WEFT_TRY(
            wi_bytes_add(&in->small, key[i] == '"' || key[i] == '\\' || (unsigned char)key[i] < 32 ? "?" : key + i, 1));
    WEFT_TRY(wi_bytes_add(&in->small, "\":", 2));
    WEFT_TRY(weft_json_cursor_skip(cursor, &text, &text_bytes));
    return wi_bytes_add(&in->small, text, text_bytes);
}

static weft_status read_model(reader *in, weft_json_cursor *cursor, weft_tokenizer *to)
{
    const char *key;
    size_t bytes;
    weft_json_kind kind;
    WEFT_TRY(weft_json_cursor_enter(cursor, WEFT_JSON_OBJECT));
    for (bool more;;) {
        WEFT_TRY(weft_json_cursor_next(cursor, &more));
        if (!more) break;
        WEFT_TRY(weft_json_cursor_key(cursor, &key, &bytes));
        if (is(key, bytes, "vocab")) {
            if (in->has_vocab) return twice(in, "vocab");
            in->has_vocab = true;
            WEFT_TRY(weft_json_cursor_kind(cursor, &kind));
            WEFT_TRY(kind == WEFT_JSON_ARRAY ? read_vocab_list(in, cursor, to) : read_vocab_object(in, cursor, to));
        } else if (is(key, bytes, "merges")) {
            if (in->has_merges) return twice(in, "merges");
            in->has_merges = true;
            WEFT_TRY(read_merges(in, cursor));
        } else {
            WEFT_TRY(read_member(in, cursor, key, bytes));
        }
    }
    WEFT_TRY(wi_bytes_add(&in->small, in->small.used ? "}" : "{}", in->small.used ? 1 : 2));
    return weft_json_parse(in->small.data, in->small.used, in->name, NULL, &in->options);
}

static weft_status read_part(reader *in, weft_json_cursor *cursor, const char *key, weft_json **out)
{
    const char *text;
    size_t bytes;
    weft_json_limits limits = {.bytes = PART_MAX};
    if (*out) return twice(in, key);
    WEFT_TRY(weft_json_cursor_skip(cursor, &text, &bytes));
    return weft_json_parse(text, bytes, in->name, &limits, out);
}

static weft_status read_file(reader *in, weft_json_cursor *cursor, weft_tokenizer *to)
{
    const char *key, *text;
    size_t bytes, text_bytes;
    WEFT_TRY(weft_json_cursor_enter(cursor, WEFT_JSON_OBJECT));
    for (bool more;;) {
        WEFT_TRY(weft_json_cursor_next(cursor, &more));
        if (!more) return weft_json_cursor_end(cursor);
        WEFT_TRY(weft_json_cursor_key(cursor, &key, &bytes));
        if (is(key, bytes, "model")) {
            if (in->has_model) return twice(in, "model");
            in->has_model = true;
            WEFT_TRY(read_model(in, cursor, to));
        } else if (is(key, bytes, "normalizer")) {
            WEFT_TRY(read_part(in, cursor, "normalizer", &in->normalizer));
        } else if (is(key, bytes, "pre_tokenizer")) {
            WEFT_TRY(read_part(in, cursor, "pre_tokenizer", &in->pre_tokenizer));
        } else if (is(key, bytes, "added_tokens")) {
            WEFT_TRY(read_part(in, cursor, "added_tokens", &in->added_tokens));
        } else if (is(key, bytes, "post_processor")) {
            WEFT_TRY(read_part(in, cursor, "post_processor", &in->post_processor));
        } else if (is(key, bytes, "decoder")) {
            WEFT_TRY(read_part(in, cursor, "decoder", &in->decoder));
        } else {
            WEFT_TRY(weft_json_cursor_skip(cursor, &text, &text_bytes));
        }
    }
}

static weft_status make_bpe(const reader *in, weft_tokenizer *to)
{
    const char *unknown, *prefix, *suffix;
    double dropout;
    wi_bpe *bpe = &to->bpe;
    if (!in->has_merges || in->is_list)
        return weft_fail(WEFT_FORMAT, "%s: model: BPE wants \"merges\" and a \"vocab\" of tokens with their ids",
                         in->name);
    WEFT_TRY(weft_json_real(in->options, "dropout", 0, &dropout));
    if (dropout != 0)
        return weft_fail(WEFT_UNSUPPORTED, "%s: model: dropout %g makes ids random; set it to null", in->name, dropout);
    WEFT_TRY(weft_json_bool(in->options, "fuse_unk", false, &bpe->fuse_unknown));
    WEFT_TRY(weft_json_bool(in->options, "byte_fallback", false, &bpe->byte_fallback));
    WEFT_TRY(weft_json_bool(in->options, "ignore_merges", false, &bpe->ignore_merges));
    WEFT_TRY(weft_json_string(in->options, "unk_token", NULL, &unknown));
    WEFT_TRY(weft_json_string(in->options, "continuing_subword_prefix", NULL, &prefix));
    WEFT_TRY(weft_json_string(in->options, "end_of_word_suffix", NULL, &suffix));
    if (prefix && prefix[0]) WEFT_TRY(wi_copy_text(prefix, &bpe->prefix, &bpe->prefix_bytes));
    if (suffix && suffix[0]) WEFT_TRY(wi_copy_text(suffix, &bpe->suffix, &bpe->suffix_bytes));
    bpe->unknown = WI_UNKNOWN_NONE;
    if (unknown) bpe->unknown = wi_vocab_find(&to->vocab, unknown, strlen(unknown));
    if (unknown && bpe->unknown < 0) bpe->unknown = WI_UNKNOWN_MISSING;
    return wi_bpe_build(bpe, &to->vocab, in->merges, in->merge_count, in->name);
}

static weft_status make_unigram(reader *in, weft_tokenizer *to)
{
    int64_t unknown;
    if (!in->is_list) return weft_fail(WEFT_FORMAT, "%s: model: Unigram wants a \"vocab\" of [token, score]", in->name);
    WEFT_TRY(weft_json_int(in->options, "unk_id", 0, WI_TOKENS_MAX, -1, &unknown));
    if (unknown >= to->vocab.count)
        return weft_fail(WEFT_FORMAT, "%s: model: unk_id %lld, and the vocabulary has %d tokens", in->name,
                         (long long)unknown, (int)to->vocab.count);
    WEFT_TRY(weft_json_bool(in->options, "byte_fallback", false, &to->unigram.byte_fallback));
    to->is_unigram = true;
    to->unigram.unknown = (int32_t)unknown;
    to->unigram.scores = in->scores;
    in->scores = NULL;
    return wi_unigram_build(&to->unigram, &to->vocab, in->name);
}

static weft_status make(reader *in, weft_tokenizer *to)
{
    const char *type;
    if (!in->has_model || !in->has_vocab)
        return weft_fail(WEFT_FORMAT, "%s: no \"model\" with a \"vocab\"; is it a tokenizer.json?", in->name);
    WEFT_TRY(weft_json_string(in->options, "type", in->is_list ? "Unigram" : "BPE", &type));
    if (strcmp(type, "BPE") != 0 && strcmp(type, "Unigram") != 0)
        return wi_unknown(in->name, "model", type, "BPE, Unigram");
    WEFT_TRY(wi_vocab_build(&to->vocab, in->entries, in->entry_count, in->name));
    WEFT_TRY(strcmp(type, "BPE") == 0 ? make_bpe(in, to) : make_unigram(in, to));
    WEFT_TRY(wi_normalizers_load(in->normalizer, in->name, &to->normalizers));
    WEFT_TRY(wi_pretokenizers_load(in->pre_tokenizer, in->name, &to->pretokenizers));
    WEFT_TRY(wi_added_load(in->added_tokens, in->name, &to->vocab, &to->normalizers, &to->added));
    WEFT_TRY(wi_around_load(in->post_processor, in->name, &to->around));
    return wi_decoders_load(in->decoder, in->name, &to->decoders);
}

static weft_status parse_in_place(char *text, size_t bytes, const char *name, weft_tokenizer **out)
{
    reader in = {.name = name};
    weft_json_cursor cursor;
    weft_json_limits limits = {.bytes = FILE_MAX};
    weft_tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    weft_status status;
    if (!tokenizer) return weft_fail(WEFT_NO_MEMORY, "%s: no memory for a tokenizer", name);
    WEFT_TRY_GOTO(weft_json_cursor_init(text, bytes, name, &limits, &cursor));
    WEFT_TRY_GOTO(wi_bytes_reserve(&tokenizer->vocab.text, bytes / 4 + 64));
    WEFT_TRY_GOTO(read_file(&in, &cursor, tokenizer));
    WEFT_TRY_GOTO(make(&in, tokenizer));
    *out = tokenizer;
    tokenizer = NULL;
fail:
    weft_tokenizer_destroy(tokenizer);
    weft_json_free(in.normalizer);
    weft_json_free(in.pre_tokenizer);
    weft_json_free(in.added_tokens);
    weft_json_free(in.post_processor);
    weft_json_free(in.decoder);
    weft_json_free(in.options);
    free(in.small.data);
    free(in.entries);
    free(in.scores);
    free(in.merges);
    return status;
}

weft_status weft_tokenizer_parse(const char *text, size_t bytes, const char *name, weft_tokenizer **out)
{
    char *copy = malloc(bytes + 1);
    if (!copy) return weft_fail(WEFT_NO_MEMORY, "%s: no memory for %zu bytes", name, bytes);
    if (bytes) memcpy(copy, text, bytes);
    weft_status status = parse_in_place(copy, bytes, name, out);
    free(copy);
    return status;
}

// Reads the regular file that `file` is; *path names it in errors.
static weft_status read_all(int file, const char *path, char **text, size_t *bytes)
{
    struct stat facts;
    if (fstat(file, &facts) != 0) return weft_fail(WEFT_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(facts.st_mode)) return weft_fail(WEFT_INVALID, "%s: is not a regular file", path);
    if (facts.st_size > FILE_MAX)
        return weft_fail(WEFT_LIMIT, "%s: %lld bytes, more than the %d that a tokenizer may have", path,
                         (long long)facts.st_size, FILE_MAX);
    *bytes = (size_t)facts.st_size;
    *text = malloc(*bytes + 1);
    if (!*text) return weft_fail(WEFT_NO_MEMORY, "%s: no memory for %zu bytes", path, *bytes);
    for (size_t used = 0; used < *bytes;) {
        ssize_t got = read(file, *text + used, *bytes - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return weft_fail(WEFT_IO, "%s: cannot be read: %s", path, strerror(errno));
        if (got == 0) return weft_fail(WEFT_IO, "%s: ended early; it changed while it was read", path);
        used += (size_t)got;
    }
    return WEFT_OK;
}

weft_status weft_tokenizer_read(const char *path, weft_tokenizer **out)
{
    struct stat facts;
    char *text = NULL, *joined = NULL;
    size_t bytes = 0;
    weft_status status = WEFT_OK;
    if (stat(path, &facts) == 0 && S_ISDIR(facts.st_mode)) {
        if (asprintf(&joined, "%s/tokenizer.json", path) < 0)
            return weft_fail(WEFT_NO_MEMORY, "%s: no memory for a path", path);
        path = joined;
    }
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) {
        status = weft_fail(errno == ENOENT || errno == ENOTDIR ? WEFT_NOT_FOUND : WEFT_IO,
                           "%s: %s; a tokenizer.json, or a folder that holds one, is expected", path, strerror(errno));
        goto fail;
    }
    WEFT_TRY_GOTO(read_all(file, path, &text, &bytes));
    status = parse_in_place(text, bytes, path, out);
fail:
    if (file >= 0) close(file);
    free(text);
    free(joined);
    return status;
}
