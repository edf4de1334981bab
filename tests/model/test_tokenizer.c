// Tokenizers against golden ids of the field's own library: tests/model/make_tokenizers.py made both. Then streaming,
// and what must be refused.
#include "model/tokenizer.h"

#include "core/json.h"
#include "core/json_cursor.h"
#include "tests/check.h"

static const char *const folders[] = {"gpt2",   "roberta", "llama3", "qwen2", "o200k", "deepseek",
                                      "llama2", "mistral", "gemma",  "t5",    "xlm",   "mixed"};

static weft_tokenizer *open_tokenizer(const char *folder)
{
    char path[512];
    weft_tokenizer *tokenizer;
    snprintf(path, sizeof path, "%s/%s", WEFT_TOKENIZERS, folder);
    CHECK_OK(weft_tokenizer_read(path, &tokenizer));
    return tokenizer;
}

typedef struct {
    char *data;
    size_t bytes;
} text;

typedef struct {
    int32_t *at;
    size_t count;
} id_list;

static void take_text(weft_json_cursor *cursor, text *out)
{
    const char *data;
    text taken;
    free(out->data);
    CHECK_OK(weft_json_cursor_string(cursor, &data, &taken.bytes));
    taken.data = malloc(taken.bytes + 1);
    CHECK(taken.data);
    memcpy(taken.data, data, taken.bytes);
    taken.data[taken.bytes] = 0;
    *out = taken;
}

static void take_ids(weft_json_cursor *cursor, id_list *out)
{
    enum { IDS_MAX = 100000 };
    free(out->at);
    out->at = malloc(IDS_MAX * sizeof *out->at);
    out->count = 0;
    CHECK(out->at);
    CHECK_OK(weft_json_cursor_enter(cursor, WEFT_JSON_ARRAY));
    for (bool more;;) {
        int64_t id;
        CHECK_OK(weft_json_cursor_next(cursor, &more));
        if (!more) return;
        CHECK_OK(weft_json_cursor_int(cursor, &id));
        CHECK(out->count < IDS_MAX);
        out->at[out->count++] = (int32_t)id;
    }
}

// A line of golden.jsonl.
typedef struct {
    text text, decoded, plain, part_decoded;
    id_list ids, bare, part;
} golden;

static golden read_golden(char *line, size_t bytes)
{
    golden out = {0};
    const struct {
        const char *key;
        text *text;
        id_list *ids;
    } members[] = {{"text", &out.text, NULL},
                   {"ids", NULL, &out.ids},
                   {"bare", NULL, &out.bare},
                   {"decoded", &out.decoded, NULL},
                   {"plain", &out.plain, NULL},
                   {"part", NULL, &out.part},
                   {"part_decoded", &out.part_decoded, NULL}};
    weft_json_cursor cursor;
    const char *key;
    size_t length;
    CHECK_OK(weft_json_cursor_init(line, bytes, "golden", NULL, &cursor));
    CHECK_OK(weft_json_cursor_enter(&cursor, WEFT_JSON_OBJECT));
    for (bool more;;) {
        CHECK_OK(weft_json_cursor_next(&cursor, &more));
        if (!more) break;
        CHECK_OK(weft_json_cursor_key(&cursor, &key, &length));
        for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
            if (strlen(members[i].key) != length || memcmp(members[i].key, key, length) != 0) continue;
            if (members[i].text) take_text(&cursor, members[i].text);
            if (members[i].ids) take_ids(&cursor, members[i].ids);
        }
    }
    CHECK(out.text.data && out.decoded.data && out.plain.data && out.part_decoded.data);
    CHECK(out.ids.at && out.bare.at && out.part.at);
    return out;
}

static void free_golden(golden *line)
{
    free(line->text.data);
    free(line->decoded.data);
    free(line->plain.data);
    free(line->part_decoded.data);
    free(line->ids.at);
    free(line->bare.at);
    free(line->part.at);
}

static void check_ids(weft_encoder *encoder, const char *folder, text given, bool special, id_list expected)
{
    const int32_t *ids;
    size_t count;
    CHECK_OK(weft_encoder_run(encoder, given.data, given.bytes, special, &ids, &count));
    for (size_t i = 0; i < count && i < expected.count; i++)
        if (ids[i] != expected.at[i])
            CHECK_FAIL("%s: \"%s\": id %zu is %d, expected %d", folder, given.data, i, (int)ids[i],
                       (int)expected.at[i]);
    if (count != expected.count)
        CHECK_FAIL("%s: \"%s\": %zu ids, expected %zu", folder, given.data, count, expected.count);
}

// All pieces are whole characters and, together, the text.
static void check_text(weft_detokenizer *detokenizer, const char *folder, id_list ids, text expected)
{
    size_t used = 0, bytes;
    const char *piece;
    CHECK(expected.data);
    for (size_t i = 0; i <= ids.count; i++) {
        if (i < ids.count)
            CHECK_OK(weft_detokenizer_push(detokenizer, ids.at[i], &piece, &bytes));
        else
            CHECK_OK(weft_detokenizer_finish(detokenizer, &piece, &bytes));
        if (weft_utf8_valid(piece, bytes) != bytes) CHECK_FAIL("%s: half a character at id %zu", folder, i);
        if (used + bytes > expected.bytes || memcmp(expected.data + used, piece, bytes) != 0)
            CHECK_FAIL("%s: at id %zu \"%.*s\" comes, expected \"%s\" in all", folder, i, (int)bytes, piece,
                       expected.data);
        used += bytes;
    }
    if (used != expected.bytes) CHECK_FAIL("%s: %zu bytes of \"%s\"", folder, used, expected.data);
}

static void check_folder(const char *folder)
{
    weft_tokenizer *tokenizer = open_tokenizer(folder);
    weft_encoder *encoder;
    weft_detokenizer *shown, *hidden;
    char path[512], *line = NULL;
    size_t capacity = 0, lines = 0;
    CHECK_OK(weft_encoder_create(tokenizer, &encoder));
    CHECK_OK(weft_detokenizer_create(tokenizer, true, &shown));
    CHECK_OK(weft_detokenizer_create(tokenizer, false, &hidden));
    snprintf(path, sizeof path, "%s/%s/golden.jsonl", WEFT_TOKENIZERS, folder);
    FILE *file = fopen(path, "r");
    CHECK(file);
    for (ssize_t bytes; (bytes = getline(&line, &capacity, file)) > 0; lines++) {
        golden one = read_golden(line, (size_t)bytes);
        check_ids(encoder, folder, one.text, true, one.ids);
        check_ids(encoder, folder, one.text, false, one.bare);
        check_text(shown, folder, one.ids, one.decoded);
        check_text(hidden, folder, one.ids, one.plain);
        check_text(shown, folder, one.part, one.part_decoded);
        free_golden(&one);
    }
    CHECK(lines > 50);
    fclose(file);
    free(line);
    weft_detokenizer_destroy(shown);
    weft_detokenizer_destroy(hidden);
    weft_encoder_destroy(encoder);
    weft_tokenizer_destroy(tokenizer);
}

static weft_status parse(const char *json)
{
    weft_tokenizer *tokenizer = NULL;
    weft_status status = weft_tokenizer_parse(json, strlen(json), "t.json", &tokenizer);
    weft_tokenizer_destroy(tokenizer);
    return status;
}

// A tokenizer with `members` besides its model.
static weft_status parse_with(const char *members)
{
    char json[2048];
    snprintf(json, sizeof json,
             "{%s\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}", members);
    return parse(json);
}

static weft_status parse_model(const char *model)
{
    char json[2048];
    snprintf(json, sizeof json, "{\"model\":%s}", model);
    return parse(json);
}

static void test_unknown_parts(void)
{
    CHECK_OK(parse_with(""));
    CHECK_FAILS(parse_with("\"normalizer\":{\"type\":\"Upper\"},"), WEFT_UNSUPPORTED,
                "\"Upper\" is not known; known are NFC");
    CHECK_FAILS(parse_with("\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"},"), WEFT_UNSUPPORTED,
                "pre_tokenizer \"UnicodeScripts\" is not known; known are ByteLevel");
    CHECK_FAILS(parse_with("\"decoder\":{\"type\":\"CTC\"},"), WEFT_UNSUPPORTED, "decoder \"CTC\"");
    CHECK_FAILS(parse_with("\"post_processor\":{\"type\":\"X\"},"), WEFT_UNSUPPORTED, "post_processor \"X\"");
    CHECK_FAILS(parse_with("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]},"), WEFT_UNSUPPORTED,
                "sequence A, once");
    CHECK_FAILS(parse_with("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":"
                           "\"Isolated\"},"),
                WEFT_FORMAT, "regular expression fails at byte 1");
    CHECK_FAILS(
        parse_with("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"x\"},\"behavior\":\"Kept\"},"),
        WEFT_UNSUPPORTED, "\"Kept\" is not known");
    CHECK_FAILS(parse_with("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a&&b]\"},\"behavior\":"
                           "\"Isolated\"},"),
                WEFT_UNSUPPORTED, "&&");
    CHECK_FAILS(parse_with("\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAAA!\"},"),
                WEFT_FORMAT, "base64");
    CHECK_FAILS(parse_with("\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"},"),
                WEFT_FORMAT, "malformed");
    CHECK_FAILS(parse_with("\"added_tokens\":[{\"content\":\"x\"}],"), WEFT_FORMAT, "has no \"id\"");
    CHECK_FAILS(parse_with("\"added_tokens\":[{\"content\":\"x\",\"id\":99999999}],"), WEFT_INVALID, "id");
}

static void test_malformed_files(void)
{
    CHECK_FAILS(parse(""), WEFT_FORMAT, "too early");
    CHECK_FAILS(parse("{}"), WEFT_FORMAT, "no \"model\"");
    CHECK_FAILS(parse("[]"), WEFT_FORMAT, "{ is expected");
    CHECK_FAILS(parse_model("{\"type\":\"WordPiece\",\"vocab\":{}}"), WEFT_UNSUPPORTED,
                "\"WordPiece\" is not known; known are BPE");
    CHECK_FAILS(parse_model("{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}"), WEFT_FORMAT, "twice");
    CHECK_FAILS(parse_model("{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}"), WEFT_FORMAT, "two tokens");
    CHECK_FAILS(parse_model("{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}"), WEFT_LIMIT, "the id -1");
    CHECK_FAILS(parse_model("{\"type\":\"BPE\",\"vocab\":{\"a\":1e3},\"merges\":[]}"), WEFT_FORMAT, "integer");
    CHECK_FAILS(parse_model("{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}"), WEFT_FORMAT,
                "\"b\", which model.vocab lacks");
    CHECK_FAILS(parse_model("{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\",\"a\"]]}"), WEFT_FORMAT,
                "\"aa\"");
    CHECK_FAILS(parse_model("{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a a a\"]}"), WEFT_FORMAT, "one space");
    CHECK_FAILS(parse_model("{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}"), WEFT_FORMAT, "of two");
    CHECK_FAILS(parse_model("{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}"), WEFT_UNSUPPORTED,
                "dropout");
    CHECK_FAILS(parse_model("{\"type\":\"BPE\",\"vocab\":{\"a\":0}}"), WEFT_FORMAT, "merges");
    CHECK_FAILS(parse_model("{\"type\":\"Unigram\",\"vocab\":[[\"a\",-1.5]],\"unk_id\":1}"), WEFT_FORMAT, "unk_id 1");
    CHECK_FAILS(parse_model("{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}"), WEFT_FORMAT, "of two");
    weft_tokenizer *tokenizer;
    CHECK_FAILS(weft_tokenizer_read("/nowhere/at/all", &tokenizer), WEFT_NOT_FOUND, "tokenizer.json");
}

static void test_bad_texts(void)
{
    weft_tokenizer *tokenizer = open_tokenizer("gpt2");
    weft_encoder *encoder;
    const int32_t *ids;
    size_t count;
    CHECK_OK(weft_encoder_create(tokenizer, &encoder));
    CHECK_FAILS(weft_encoder_run(encoder, "ok \xC3(", 5, true, &ids, &count), WEFT_FORMAT,
                "not UTF-8 at byte 3 (0xC3)");
    CHECK_FAILS(weft_encoder_run(encoder, "cut \xE2\x82", 6, true, &ids, &count), WEFT_FORMAT, "byte 4");
    CHECK_OK(weft_encoder_run(encoder, NULL, 0, true, &ids, &count));
    CHECK_INT(count, 0);
    CHECK_OK(weft_encoder_run(encoder, "a\0b", 3, true, &ids, &count));
    CHECK_INT(count, 3);
    weft_encoder_destroy(encoder);
    weft_tokenizer_destroy(tokenizer);

    // Without an unknown token some texts have no ids.
    const char *json = "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",-1]],\"unk_id\":null}}";
    CHECK_OK(weft_tokenizer_parse(json, strlen(json), "t.json", &tokenizer));
    CHECK_OK(weft_encoder_create(tokenizer, &encoder));
    CHECK_OK(weft_encoder_run(encoder, "aa", 2, true, &ids, &count));
    CHECK_FAILS(weft_encoder_run(encoder, "ab", 2, true, &ids, &count), WEFT_INVALID, "\"b\" is not in the vocabulary");
    weft_encoder_destroy(encoder);
    weft_tokenizer_destroy(tokenizer);
}

static void test_limits_of_patterns(void)
{
    const char *json = "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a|aa)+$\"},\"behavior\":"
                       "\"Isolated\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}";
    weft_tokenizer *tokenizer;
    weft_encoder *encoder;
    const int32_t *ids;
    size_t count;
    char run[64];
    memset(run, 'a', sizeof run - 1);
    run[sizeof run - 1] = 'b';
    CHECK_OK(weft_tokenizer_parse(json, strlen(json), "t.json", &tokenizer));
    CHECK_OK(weft_encoder_create(tokenizer, &encoder));
    CHECK_FAILS(weft_encoder_run(encoder, run, sizeof run, true, &ids, &count), WEFT_LIMIT, "took too much");
    weft_encoder_destroy(encoder);
    weft_tokenizer_destroy(tokenizer);
}

// A word that nothing covers, where no unknown token stands for it, gives nothing, however often it comes.
static void test_words_without_ids(void)
{
    const char *json = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}";
    weft_tokenizer *tokenizer;
    weft_encoder *encoder;
    const int32_t *ids;
    size_t count;
    CHECK_OK(weft_tokenizer_parse(json, strlen(json), "t.json", &tokenizer));
    CHECK_OK(weft_encoder_create(tokenizer, &encoder));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(weft_encoder_run(encoder, "xyz", 3, true, &ids, &count));
        CHECK_INT(count, 0);
    }
    CHECK_OK(weft_encoder_run(encoder, "a", 1, true, &ids, &count));
    CHECK_INT(count, 1);
    weft_encoder_destroy(encoder);
    weft_tokenizer_destroy(tokenizer);
}

static void test_questions(void)
{
    weft_tokenizer *tokenizer = open_tokenizer("llama3");
    const char *spelling;
    size_t bytes;
    int32_t id = weft_tokenizer_id(tokenizer, "<|eot_id|>", 10);
    CHECK_TEXT(weft_tokenizer_kind(tokenizer), "BPE");
    CHECK_INT(id, weft_tokenizer_size(tokenizer) - 1);
    CHECK_INT(weft_tokenizer_added_count(tokenizer), 3);
    CHECK(weft_tokenizer_is_special(tokenizer, id));
    CHECK(!weft_tokenizer_is_special(tokenizer, 5));
    CHECK(weft_tokenizer_token(tokenizer, id, &spelling, &bytes));
    CHECK_INT(bytes, 10);
    CHECK_BYTES(spelling, "<|eot_id|>", 10);
    CHECK(!weft_tokenizer_token(tokenizer, id + 1, &spelling, &bytes));
    CHECK(!weft_tokenizer_token(tokenizer, -1, &spelling, &bytes));
    CHECK_INT(weft_tokenizer_id(tokenizer, "no such token", 13), -1);
    weft_tokenizer_destroy(tokenizer);
}

int main(void)
{
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) check_folder(folders[i]);
    test_unknown_parts();
    test_malformed_files();
    test_bad_texts();
    test_limits_of_patterns();
    test_words_without_ids();
    test_questions();
    return 0;
}
