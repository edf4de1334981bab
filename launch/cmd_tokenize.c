// weft tokenize: text to token ids and back, a line each.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/json_cursor.h"
#include "launch/commands.h"
#include "model/tokenizer.h"

typedef struct {
    bool jsonl, decode, special;
} options_of_tokenize;

#define FIELD(field) offsetof(options_of_tokenize, field)
static const weft_flag flags[] = {
    {.name = "jsonl",
     .kind = WEFT_FLAG_BOOL,
     .offset = FIELD(jsonl),
     .help = "lines of JSON: a string in and an array of ids out; with --decode the other way"},
    {.name = "decode", .kind = WEFT_FLAG_BOOL, .offset = FIELD(decode), .help = "read ids and write text"},
    {.name = "special",
     .kind = WEFT_FLAG_BOOL,
     .offset = FIELD(special),
     .help = "add the tokens that the post-processor puts around a text; in decoding, write special tokens"},
    {0}};

static const char *const operands[] = {"DIR", NULL};
static const options_of_tokenize defaults = {.special = true};

static const weft_command command = {
    .name = "tokenize",
    .summary = "text to token ids, or ids to text",
    .usage = "weft tokenize DIR [flags] < lines",
    .about = "Reads lines from standard input and writes a line for each. DIR holds a tokenizer.json, or is that file. "
             "Without --jsonl ids are decimal numbers with spaces between them, and a text is a line without its end. "
             "A line that is not UTF-8, or not what is asked for, ends the command and is named.",
    .examples = "printf 'Hello, world.\\n' | weft tokenize demo\n"
                "printf '\"two\\\\nlines\"\\n' | weft tokenize demo --jsonl --no-special\n"
                "printf '[1, 2, 3]\\n' | weft tokenize demo --jsonl --decode",
    .flags = flags,
    .common = wi_common_flags,
    .operands_min = 1,
    .operands_max = 1,
    .operands = operands,
};

typedef struct {
    const options_of_tokenize *options;
    weft_tokenizer *tokenizer;
    weft_encoder *encoder;
    weft_detokenizer *detokenizer;
    char *line; // getline's
    size_t capacity;
} work;

static weft_status write_ids(const work *of, const int32_t *ids, size_t count)
{
    const char *between = of->options->jsonl ? ", " : " ";
    if (of->options->jsonl) putchar('[');
    for (size_t i = 0; i < count; i++) printf("%s%d", i ? between : "", (int)ids[i]);
    if (of->options->jsonl) putchar(']');
    putchar('\n');
    return WEFT_OK;
}

static void write_text(const work *of, const char *text, size_t bytes)
{
    if (!of->options->jsonl) {
        fwrite(text, 1, bytes, stdout);
        return;
    }
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20 || c == 0x7F)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
}

static weft_status encode_line(work *of, char *line, size_t bytes)
{
    const char *text = line;
    const int32_t *ids;
    size_t count;
    if (of->options->jsonl) {
        weft_json_cursor cursor;
        weft_json_limits limits = {.bytes = SIZE_MAX};
        WEFT_TRY(weft_json_cursor_init(line, bytes, "standard input", &limits, &cursor));
        WEFT_TRY(weft_json_cursor_string(&cursor, &text, &bytes));
        WEFT_TRY(weft_json_cursor_end(&cursor));
    }
    WEFT_TRY(weft_encoder_run(of->encoder, text, bytes, of->options->special, &ids, &count));
    return write_ids(of, ids, count);
}

static weft_status decode_id(work *of, int64_t id)
{
    const char *text;
    size_t bytes;
    if (id < 0 || id > INT32_MAX) return weft_fail(WEFT_INVALID, "%lld is no token id", (long long)id);
    WEFT_TRY(weft_detokenizer_push(of->detokenizer, (int32_t)id, &text, &bytes));
    write_text(of, text, bytes);
    return WEFT_OK;
}

static weft_status decode_json(work *of, char *line, size_t bytes)
{
    weft_json_cursor cursor;
    weft_json_limits limits = {.bytes = SIZE_MAX};
    int64_t id;
    WEFT_TRY(weft_json_cursor_init(line, bytes, "standard input", &limits, &cursor));
    WEFT_TRY(weft_json_cursor_enter(&cursor, WEFT_JSON_ARRAY));
    putchar('"');
    for (bool more;;) {
        WEFT_TRY(weft_json_cursor_next(&cursor, &more));
        if (!more) return weft_json_cursor_end(&cursor);
        WEFT_TRY(weft_json_cursor_int(&cursor, &id));
        WEFT_TRY(decode_id(of, id));
    }
}

static weft_status decode_words(work *of, char *line)
{
    char *rest = NULL;
    for (char *word = strtok_r(line, " \t\r", &rest); word; word = strtok_r(NULL, " \t\r", &rest)) {
        int64_t id;
        if (!weft_parse_int(word, &id))
            return weft_fail(WEFT_FORMAT, "\"%.40s\" is no token id; decimal numbers with spaces are expected", word);
        WEFT_TRY(decode_id(of, id));
    }
    return WEFT_OK;
}

static weft_status decode_line(work *of, char *line, size_t bytes)
{
    const char *text;
    WEFT_TRY(of->options->jsonl ? decode_json(of, line, bytes) : decode_words(of, line));
    WEFT_TRY(weft_detokenizer_finish(of->detokenizer, &text, &bytes));
    write_text(of, text, bytes);
    if (of->options->jsonl) putchar('"');
    putchar('\n');
    return WEFT_OK;
}

static weft_status each_line(work *of)
{
    bool at_terminal = isatty(STDIN_FILENO);
    ssize_t got;
    for (int64_t number = 1; (got = getline(&of->line, &of->capacity, stdin)) >= 0; number++) {
        size_t bytes = (size_t)got;
        if (bytes > 0 && of->line[bytes - 1] == '\n') of->line[--bytes] = 0;
        weft_status status = of->options->decode ? decode_line(of, of->line, bytes) : encode_line(of, of->line, bytes);
        if (status < 0) {
            char why[WEFT_ERROR_TEXT_MAX];
            snprintf(why, sizeof why, "%s", weft_error_text());
            return weft_fail(status, "standard input, line %lld: %s", (long long)number, why);
        }
        if (at_terminal) fflush(stdout);
    }
    return ferror(stdin) ? weft_fail(WEFT_IO, "standard input: cannot be read") : WEFT_OK;
}

static weft_status run_tokenize(weft_job *job, const wi_call *call)
{
    work of = {.options = call->options};
    weft_status status;
    if (weft_comm_rank(weft_job_world(job)) != 0) return WEFT_OK;
    WEFT_TRY_GOTO(weft_tokenizer_read(call->operands->operand[0], &of.tokenizer));
    WEFT_TRY_GOTO(weft_encoder_create(of.tokenizer, &of.encoder));
    WEFT_TRY_GOTO(weft_detokenizer_create(of.tokenizer, of.options->special, &of.detokenizer));
    status = each_line(&of);
fail:
    weft_detokenizer_destroy(of.detokenizer);
    weft_encoder_destroy(of.encoder);
    weft_tokenizer_destroy(of.tokenizer);
    free(of.line);
    return status;
}

const wi_entry wi_tokenize_entry = {
    .command = &command, .defaults = &defaults, .bytes = sizeof defaults, .run = run_tokenize};
