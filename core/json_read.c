// JSON from outside: measured, then parsed.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/json_value.h"

enum {
    DEFAULT_BYTES = 64 << 20,
    DEFAULT_DEPTH = 64,
    DEPTH_MAX = 2048, // jansson's own
};

static weft_json_limits limits_of(const weft_json_limits *given)
{
    weft_json_limits limits = given ? *given : (weft_json_limits){0};
    if (limits.bytes == 0) limits.bytes = DEFAULT_BYTES;
    if (limits.depth <= 0) limits.depth = DEFAULT_DEPTH;
    if (limits.depth > DEPTH_MAX) limits.depth = DEPTH_MAX;
    return limits;
}

static weft_status check_size(size_t bytes, const char *name, size_t limit)
{
    if (bytes <= limit) return WEFT_OK;
    return weft_fail(WEFT_LIMIT, "%s: %zu bytes of JSON, more than the %zu that are allowed here", name, bytes, limit);
}

static bool is_number_byte(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || (c | 0x20) == 'e';
}

// The length of the number at text[0..bytes); *wide when it is an integer beyond int64.
static size_t measure_number(const char *text, size_t bytes, bool *wide)
{
    size_t length = 0;
    bool integer = true, overflow = false;
    uint64_t value = 0;
    for (; length < bytes && is_number_byte(text[length]); length++) {
        char c = text[length];
        if (c >= '0' && c <= '9')
            overflow |=
                __builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, (uint64_t)(c - '0'), &value);
        else if (length > 0)
            integer = false;
    }
    *wide = integer && (overflow || value > (uint64_t)INT64_MAX + (text[0] == '-'));
    return length;
}

typedef struct {
    size_t wide; // integers beyond int64
    int line;
    int depth;
} scan_state;

// Looks at the bytes outside strings: how deep they nest and, when a copy is wanted, where integers are too wide. With
// `copy` set, writes the text there with ".0" after each of those.
static weft_status scan(const char *text, size_t bytes, const char *name, const weft_json_limits *limits, char *copy,
                        scan_state *state)
{
    bool in_string = false;
    *state = (scan_state){.line = 1};
    for (size_t i = 0; i < bytes;) {
        size_t length = 1;
        bool wide = false;
        char c = text[i];
        if (c == '\n') state->line++;
        if (in_string) {
            if (c == '\\' && i + 1 < bytes) length = 2;
            if (c == '"') in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++state->depth > limits->depth)
                return weft_fail(WEFT_LIMIT, "%s: line %d: nested deeper than the %d levels that are allowed here",
                                 name, state->line, limits->depth);
        } else if (c == ']' || c == '}') {
            state->depth--;
        } else if (limits->wide_integers && is_number_byte(c)) {
            length = measure_number(text + i, bytes - i, &wide);
            state->wide += wide;
        }
        if (copy) {
            memcpy(copy, text + i, length);
            copy += length;
            if (wide) *copy++ = '.', *copy++ = '0';
        }
        i += length;
    }
    return WEFT_OK;
}

static const char *mend_of(enum json_error_code code)
{
    switch ((int)code) {
    case json_error_duplicate_key:
        return "keep one of the two";
    case json_error_end_of_input_expected:
        return "there must be one value and nothing after it";
    case json_error_premature_end_of_input:
        return "the text ends too early; is the file complete?";
    case json_error_numeric_overflow:
        return "the number is too large";
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return "a string may not hold NUL";
    case json_error_invalid_utf8:
        return "save it as UTF-8";
    }
    return "not valid JSON, mend it there";
}

static weft_status parse_error(const char *name, const json_error_t *error)
{
    enum json_error_code code = json_error_code(error);
    if (code == json_error_out_of_memory) return weft_fail(WEFT_NO_MEMORY, "%s: out of memory while parsing", name);
    return weft_fail(WEFT_FORMAT, "%s: line %d, column %d: %.160s; %s", name, error->line, error->column, error->text,
                     mend_of(code));
}

static weft_status load(const char *text, size_t bytes, const char *name, weft_json **out)
{
    json_error_t error;
    json_t *value = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!value) return parse_error(name, &error);
    *out = (weft_json *)value;
    return WEFT_OK;
}

weft_status weft_json_parse(const char *text, size_t bytes, const char *name, const weft_json_limits *limits,
                            weft_json **out)
{
    weft_json_limits bound = limits_of(limits);
    scan_state state;
    WEFT_TRY(check_size(bytes, name, bound.bytes));
    if (bytes == 0) return weft_fail(WEFT_FORMAT, "%s: empty; a JSON value is expected", name);
    if (bytes >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        return weft_fail(WEFT_FORMAT, "%s: begins with a byte order mark; save it as UTF-8 without one", name);
    WEFT_TRY(scan(text, bytes, name, &bound, NULL, &state));
    if (state.wide == 0) return load(text, bytes, name, out);

    // At least 19 bytes stand for each wide integer, so the sum cannot wrap.
    size_t copy_bytes = bytes + 2 * state.wide;
    char *copy = malloc(copy_bytes);
    if (!copy) return weft_fail(WEFT_NO_MEMORY, "%s: no memory for a copy of %zu bytes", name, copy_bytes);
    weft_status status = scan(text, bytes, name, &bound, copy, &state);
    if (status == WEFT_OK) status = load(copy, copy_bytes, name, out);
    free(copy);
    return status;
}

static weft_status open_error(const char *path)
{
    int code = errno;
    if (code == ENOENT || code == ENOTDIR)
        return weft_fail(WEFT_NOT_FOUND, "%s: %s; check the path", path, strerror(code));
    const char *mend = code == EACCES ? "; its permissions do not let this user read it" : "";
    return weft_fail(WEFT_IO, "%s: cannot be opened: %s%s", path, strerror(code), mend);
}

static weft_status read_all(int file, const char *path, char *text, size_t bytes)
{
    for (size_t used = 0; used < bytes;) {
        ssize_t got = read(file, text + used, bytes - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return weft_fail(WEFT_IO, "%s: cannot be read: %s", path, strerror(errno));
        if (got == 0)
            return weft_fail(WEFT_IO, "%s: ended after %zu of %zu bytes; it changed while it was read", path, used,
                             bytes);
        used += (size_t)got;
    }
    return WEFT_OK;
}

weft_status weft_json_read(const char *path, const weft_json_limits *limits, weft_json **out)
{
    weft_json_limits bound = limits_of(limits);
    weft_status status = WEFT_OK;
    char *text = NULL;
    // Not blocking, so that a pipe or a device is named as such instead of waited for.
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) return open_error(path);
    struct stat facts;
    if (fstat(file, &facts) != 0) {
        status = weft_fail(WEFT_IO, "%s: %s", path, strerror(errno));
        goto fail;
    }
    if (!S_ISREG(facts.st_mode)) {
        status = weft_fail(WEFT_INVALID, "%s: %s, and a JSON file is expected", path,
                           S_ISDIR(facts.st_mode) ? "is a folder" : "is not a regular file");
        goto fail;
    }
    size_t bytes = (size_t)facts.st_size;
    WEFT_TRY_GOTO(check_size(bytes, path, bound.bytes));
    text = malloc(bytes + 1);
    if (!text) {
        status = weft_fail(WEFT_NO_MEMORY, "%s: no memory for %zu bytes", path, bytes);
        goto fail;
    }
    WEFT_TRY_GOTO(read_all(file, path, text, bytes));
    status = weft_json_parse(text, bytes, path, &bound, out);
fail:
    free(text);
    close(file);
    return status;
}

void weft_json_free(weft_json *document)
{
    if (document) json_decref(wi_json_of(document));
}
