// Added tokens: found in the text before the model sees it, some before normalization and some after.
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer_impl.h"

static int compare_patterns(const void *left, const void *right)
{
    const wi_added *a = *(const wi_added *const *)left, *b = *(const wi_added *const *)right;
    size_t common = a->pattern_bytes < b->pattern_bytes ? a->pattern_bytes : b->pattern_bytes;
    int order = memcmp(a->pattern, b->pattern, common);
    if (order) return order;
    if (a->pattern_bytes != b->pattern_bytes) return a->pattern_bytes < b->pattern_bytes ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

static weft_status finder_init(wi_finder *finder, const wi_added_tokens *added, bool normalized)
{
    int count = 0;
    finder->sorted = calloc((size_t)added->count + 1, sizeof(const wi_added *));
    if (!finder->sorted) return weft_fail(WEFT_NO_MEMORY, "tokenizer: no memory for %d added tokens", added->count);
    for (int i = 0; i < added->count; i++)
        if (added->tokens[i].normalized == normalized && added->tokens[i].pattern_bytes > 0)
            finder->sorted[count++] = &added->tokens[i];
    qsort(finder->sorted, (size_t)count, sizeof(const wi_added *), compare_patterns);
    for (int byte = 0, i = 0; byte <= 256; byte++) {
        while (i < count && (unsigned char)finder->sorted[i]->pattern[0] < byte) i++;
        finder->first[byte] = i;
    }
    return WEFT_OK;
}

// The longest token that begins at text, or NULL: the range of patterns that agree so far is narrowed byte by byte.
static const wi_added *longest_at(const wi_finder *finder, const char *text, size_t bytes)
{
    const wi_added *found = NULL;
    int low = finder->first[(unsigned char)text[0]], high = finder->first[(unsigned char)text[0] + 1];
    for (size_t depth = 1; low < high; depth++) {
        if (finder->sorted[low]->pattern_bytes == depth) {
            found = finder->sorted[low];
            while (low < high && finder->sorted[low]->pattern_bytes == depth) low++;
        }
        if (depth >= bytes || low == high) break;
        unsigned char byte = (unsigned char)text[depth];
        for (int bottom = low, top = high; bottom < top;) { // the first that is not below
            int middle = bottom + (top - bottom) / 2;
            if ((unsigned char)finder->sorted[middle]->pattern[depth] < byte)
                bottom = low = middle + 1;
            else
                top = middle;
        }
        int end = low;
        for (int bottom = low, top = high; bottom < top;) { // the first that is above
            int middle = bottom + (top - bottom) / 2;
            if ((unsigned char)finder->sorted[middle]->pattern[depth] <= byte)
                bottom = end = middle + 1;
            else
                top = middle;
        }
        high = end;
    }
    return found;
}

static bool word_before(const char *text, size_t at)
{
    size_t length, begin = at;
    if (at == 0) return false;
    do begin--;
    while (begin > 0 && ((unsigned char)text[begin] & 0xC0) == 0x80);
    return wi_is_word(wi_utf8_read(text + begin, &length));
}

static bool word_after(const char *text, size_t at, size_t bytes)
{
    size_t length;
    return at < bytes && wi_is_word(wi_utf8_read(text + at, &length));
}

static size_t spaces_before(const char *text, size_t at)
{
    while (at > 0) {
        size_t length, begin = at;
        do begin--;
        while (begin > 0 && ((unsigned char)text[begin] & 0xC0) == 0x80);
        if (!wi_is_space(wi_utf8_read(text + begin, &length))) break;
        at = begin;
    }
    return at;
}

static size_t spaces_after(const char *text, size_t at, size_t bytes)
{
    for (size_t length; at < bytes && wi_is_space(wi_utf8_read(text + at, &length));) at += length;
    return at;
}

static weft_status split_piece(weft_encoder *encoder, const void *arg, wi_piece piece)
{
    const wi_finder *finder = arg;
    const char *text = encoder->text + piece.begin;
    size_t done = 0;
    for (size_t i = 0; i < piece.length;) {
        const wi_added *token = longest_at(finder, text + i, piece.length - i);
        if (!token) {
            i++;
            continue;
        }
        size_t begin = i, end = i + token->pattern_bytes;
        i = end;
        if (token->single_word && (word_before(text, begin) || word_after(text, end, piece.length))) continue;
        if (token->lstrip) {
            begin = spaces_before(text, begin);
            if (begin < done) begin = done;
        }
        if (token->rstrip) end = spaces_after(text, end, piece.length);
        if (done < begin)
            WEFT_TRY(wi_piece_add(&encoder->next, piece.begin + done, piece.begin + begin, -1, piece.first && !done));
        WEFT_TRY(wi_piece_add(&encoder->next, piece.begin + begin, piece.begin + end, token->id, false));
        done = end;
    }
    return wi_piece_add(&encoder->next, piece.begin + done, piece.begin + piece.length, -1, piece.first && !done);
}

weft_status wi_added_split(weft_encoder *encoder, const wi_finder *finder)
{
    return finder->first[256] == 0 ? WEFT_OK : wi_pieces_cut(encoder, split_piece, finder);
}

const wi_added *wi_added_of(const wi_added_tokens *added, int32_t id)
{
    if (id < 0 || id >= added->size || !added->by_id[id]) return NULL;
    return &added->tokens[added->by_id[id] - 1];
}

void wi_added_fini(wi_added_tokens *added)
{
    for (int i = 0; i < added->count; i++) {
        free(added->tokens[i].content);
        free(added->tokens[i].pattern);
    }
    free(added->tokens);
    free(added->by_id);
    free(added->raw.sorted);
    free(added->normalized.sorted);
}

static weft_status load_token(const weft_json *json, const char *name, const wi_vocab *vocab, wi_added *out)
{
    const char *content;
    int64_t id;
    WEFT_TRY(weft_json_string(json, "content", NULL, &content));
    if (!content) return weft_fail(WEFT_FORMAT, "%s: added_tokens: an entry without \"content\"", name);
    WEFT_TRY(weft_json_int(json, "id", 0, WI_TOKENS_MAX - 1, -1, &id));
    if (id < 0) return weft_fail(WEFT_FORMAT, "%s: added_tokens: \"%.100s\" has no \"id\"", name, content);
    WEFT_TRY(weft_json_bool(json, "special", false, &out->special));
    WEFT_TRY(weft_json_bool(json, "normalized", !out->special, &out->normalized));
    WEFT_TRY(weft_json_bool(json, "single_word", false, &out->single_word));
    WEFT_TRY(weft_json_bool(json, "lstrip", false, &out->lstrip));
    WEFT_TRY(weft_json_bool(json, "rstrip", false, &out->rstrip));
    WEFT_TRY(wi_copy_text(content, &out->content, &out->bytes));
    // A spelling that the model knows has the model's id, whatever stands here.
    int32_t known = wi_vocab_find(vocab, content, out->bytes);
    out->id = known >= 0 ? known : (int32_t)id;
    return WEFT_OK;
}

static weft_status make_pattern(wi_added *token, const wi_normalizers *normalizers, wi_matcher *matcher)
{
    wi_bytes scratch[2] = {{0}}, out = {0};
    bool kept_begin;
    weft_status status;
    if (token->normalized)
        status = wi_normalize(normalizers, matcher, token->content, token->bytes, scratch, &out, &kept_begin);
    else
        status = wi_bytes_add(&out, token->content, token->bytes);
    if (status == WEFT_OK) status = wi_bytes_reserve(&out, 1);
    free(scratch[0].data);
    free(scratch[1].data);
    token->pattern = out.data;
    token->pattern_bytes = out.used;
    return status;
}

// A later entry of the same id takes the place of the earlier one.
static weft_status index_tokens(wi_added_tokens *added, const wi_vocab *vocab)
{
    added->size = vocab->count;
    for (int i = 0; i < added->count; i++)
        if (added->tokens[i].id >= added->size) added->size = added->tokens[i].id + 1;
    added->by_id = calloc((size_t)added->size + 1, sizeof *added->by_id);
    if (!added->by_id) return weft_fail(WEFT_NO_MEMORY, "tokenizer: no memory for %d tokens", (int)added->size);
    for (int i = 0; i < added->count; i++) added->by_id[added->tokens[i].id] = i + 1;
    for (int i = 0; i < added->count; i++)
        if (added->by_id[added->tokens[i].id] != i + 1) added->tokens[i].pattern_bytes = 0;
    return WEFT_OK;
}

weft_status wi_added_load(const weft_json *json, const char *name, const wi_vocab *vocab,
                          const wi_normalizers *normalizers, wi_added_tokens *out)
{
    size_t count = weft_json_size(json);
    wi_matcher matcher = {0};
    weft_status status;
    if (json && weft_json_kind_of(json) != WEFT_JSON_ARRAY && weft_json_kind_of(json) != WEFT_JSON_NULL)
        return weft_fail(WEFT_FORMAT, "%s: added_tokens: a list is expected", name);
    if (count > WI_TOKENS_MAX) return weft_fail(WEFT_LIMIT, "%s: %zu added tokens", name, count);
    out->tokens = calloc(count + 1, sizeof *out->tokens);
    if (!out->tokens) return weft_fail(WEFT_NO_MEMORY, "%s: no memory for %zu added tokens", name, count);
    WEFT_TRY_GOTO(wi_matcher_init(&matcher));
    for (size_t i = 0; i < count; i++) {
        wi_added *token = &out->tokens[out->count++];
        WEFT_TRY_GOTO(load_token(weft_json_at(json, i), name, vocab, token));
        WEFT_TRY_GOTO(make_pattern(token, normalizers, &matcher));
    }
    WEFT_TRY_GOTO(index_tokens(out, vocab));
    WEFT_TRY_GOTO(finder_init(&out->raw, out, false));
    WEFT_TRY_GOTO(finder_init(&out->normalized, out, true));
fail:
    wi_matcher_fini(&matcher);
    return status;
}
