// Walking JSON in place.
#include "core/json_cursor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/flags.h"

enum { CURSOR_BYTES = 64 << 20, CURSOR_DEPTH = 64, NUMBER_MAX = 64 };

static int line_of(const weft_json_cursor *cursor)
{
    // Strings that were read already are shorter than they were, but a string holds no line end.
    int line = 1;
    for (size_t i = 0; i < cursor->at && i < cursor->bytes; i++) line += cursor->text[i] == '\n';
    return line;
}

static weft_status malformed(const weft_json_cursor *cursor, const char *what)
{
    if (cursor->at >= cursor->bytes)
        return weft_fail(WEFT_FORMAT, "%s: the text ends too early; is the file complete?", cursor->name);
    return weft_fail(WEFT_FORMAT, "%s: line %d, byte %zu: %s; not valid JSON, mend it there", cursor->name,
                     line_of(cursor), cursor->at, what);
}

weft_status weft_json_cursor_init(char *text, size_t bytes, const char *name, const weft_json_limits *limits,
                                  weft_json_cursor *out)
{
    size_t bytes_max = limits && limits->bytes ? limits->bytes : CURSOR_BYTES;
    if (bytes > bytes_max)
        return weft_fail(WEFT_LIMIT, "%s: %zu bytes of JSON, more than the %zu that are allowed here", name, bytes,
                         bytes_max);
    if (bytes >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        return weft_fail(WEFT_FORMAT, "%s: begins with a byte order mark; save it as UTF-8 without one", name);
    size_t valid = weft_utf8_valid(text, bytes);
    if (valid < bytes) return weft_fail(WEFT_FORMAT, "%s: byte %zu is not UTF-8; save it as UTF-8", name, valid);
    *out = (weft_json_cursor){.text = text,
                              .bytes = bytes,
                              .name = name,
                              .depth_max = limits && limits->depth > 0 ? limits->depth : CURSOR_DEPTH};
    return WEFT_OK;
}

static void skip_space(weft_json_cursor *cursor)
{
    while (cursor->at < cursor->bytes) {
        char c = cursor->text[cursor->at];
        if (c != ' ' && c != '\n' && c != '\t' && c != '\r') break;
        cursor->at++;
    }
}

static char peek(weft_json_cursor *cursor)
{
    skip_space(cursor);
    return cursor->at < cursor->bytes ? cursor->text[cursor->at] : 0;
}

weft_status weft_json_cursor_kind(weft_json_cursor *cursor, weft_json_kind *out)
{
    char c = peek(cursor);
    if (c == '{')
        *out = WEFT_JSON_OBJECT;
    else if (c == '[')
        *out = WEFT_JSON_ARRAY;
    else if (c == '"')
        *out = WEFT_JSON_STRING;
    else if (c == '-' || (c >= '0' && c <= '9'))
        *out = WEFT_JSON_INT;
    else if (c == 't' || c == 'f')
        *out = WEFT_JSON_BOOL;
    else if (c == 'n')
        *out = WEFT_JSON_NULL;
    else
        return malformed(cursor, "a value is expected");
    return WEFT_OK;
}

weft_status weft_json_cursor_enter(weft_json_cursor *cursor, weft_json_kind kind)
{
    bool object = kind == WEFT_JSON_OBJECT;
    if (peek(cursor) != (object ? '{' : '[')) return malformed(cursor, object ? "{ is expected" : "[ is expected");
    if (cursor->depth >= cursor->depth_max)
        return weft_fail(WEFT_LIMIT, "%s: line %d: nested deeper than the %d levels that are allowed here",
                         cursor->name, line_of(cursor), cursor->depth_max);
    cursor->at++;
    cursor->depth++;
    cursor->fresh = true;
    return WEFT_OK;
}

weft_status weft_json_cursor_next(weft_json_cursor *cursor, bool *more)
{
    char c = peek(cursor);
    bool fresh = cursor->fresh;
    cursor->fresh = false;
    *more = false;
    if (c == '}' || c == ']') {
        cursor->at++;
        cursor->depth--;
        return WEFT_OK;
    }
    if (!fresh) {
        if (c != ',') return malformed(cursor, "a comma or the end of the list is expected");
        cursor->at++;
        c = peek(cursor);
    }
    if (c == 0 || c == '}' || c == ']' || c == ',') return malformed(cursor, "a value is expected");
    *more = true;
    return WEFT_OK;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// The four digits of \uXXXX that stand at cursor->at.
static weft_status read_hex(weft_json_cursor *cursor, unsigned *out)
{
    unsigned value = 0;
    for (int i = 0; i < 4; i++, cursor->at++) {
        int digit = cursor->at < cursor->bytes ? hex_digit(cursor->text[cursor->at]) : -1;
        if (digit < 0) return malformed(cursor, "\\u wants four hexadecimal digits");
        value = value << 4 | (unsigned)digit;
    }
    *out = value;
    return WEFT_OK;
}

static size_t put_utf8(char *to, unsigned code)
{
    if (code < 0x80) return to[0] = (char)code, 1;
    if (code < 0x800) return to[0] = (char)(0xC0 | code >> 6), to[1] = (char)(0x80 | (code & 63)), 2;
    size_t n = 0;
    if (code < 0x10000)
        to[n++] = (char)(0xE0 | code >> 12);
    else {
        to[n++] = (char)(0xF0 | code >> 18);
        to[n++] = (char)(0x80 | (code >> 12 & 63));
    }
    to[n++] = (char)(0x80 | (code >> 6 & 63));
    to[n++] = (char)(0x80 | (code & 63));
    return n;
}

// An escape, of which the backslash was read; what it stands for goes to `to`.
static weft_status read_escape(weft_json_cursor *cursor, char *to, size_t *length)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    char c = cursor->at < cursor->bytes ? cursor->text[cursor->at++] : 0;
    const char *found = c ? strchr(from, c) : NULL;
    unsigned code = 0, low = 0;
    *length = 1;
    if (found) {
        *to = into[found - from];
        return WEFT_OK;
    }
    if (c != 'u') return malformed(cursor, "an escape that JSON does not have");
    WEFT_TRY(read_hex(cursor, &code));
    if (code >= 0xDC00 && code <= 0xDFFF) return malformed(cursor, "a lone surrogate");
    if (code >= 0xD800 && code <= 0xDBFF) {
        if (cursor->bytes - cursor->at < 6 || memcmp(cursor->text + cursor->at, "\\u", 2) != 0)
            return malformed(cursor, "a lone surrogate");
        cursor->at += 2;
        WEFT_TRY(read_hex(cursor, &low));
        if (low < 0xDC00 || low > 0xDFFF) return malformed(cursor, "a lone surrogate");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    *length = put_utf8(to, code);
    return WEFT_OK;
}

weft_status weft_json_cursor_string(weft_json_cursor *cursor, const char **text, size_t *bytes)
{
    if (peek(cursor) != '"') return malformed(cursor, "a string is expected");
    size_t begin = ++cursor->at, used = begin;
    for (;;) {
        if (cursor->at >= cursor->bytes) return malformed(cursor, "");
        char c = cursor->text[cursor->at];
        if ((unsigned char)c < 0x20) return malformed(cursor, "a control character in a string; escape it");
        cursor->at++;
        if (c == '"') break;
        size_t length = 1;
        // What an escape stands for is shorter than the escape, so that writing never overtakes reading.
        if (c == '\\')
            WEFT_TRY(read_escape(cursor, cursor->text + used, &length));
        else
            cursor->text[used] = c;
        used += length;
    }
    *text = cursor->text + begin;
    *bytes = used - begin;
    return WEFT_OK;
}

weft_status weft_json_cursor_key(weft_json_cursor *cursor, const char **text, size_t *bytes)
{
    WEFT_TRY(weft_json_cursor_string(cursor, text, bytes));
    if (peek(cursor) != ':') return malformed(cursor, "a colon is expected");
    cursor->at++;
    return WEFT_OK;
}

// Copies the number that comes next, checked against JSON's grammar; *integer when it has neither point nor exponent.
static weft_status read_number(weft_json_cursor *cursor, char copy[NUMBER_MAX], bool *integer)
{
    const char *text = cursor->text;
    size_t at, end = cursor->bytes;
    (void)peek(cursor);
    at = cursor->at;
    *integer = true;
    if (at < end && text[at] == '-') at++;
    size_t digits = at;
    while (at < end && text[at] >= '0' && text[at] <= '9') at++;
    if (at == digits || (text[digits] == '0' && at - digits > 1)) return malformed(cursor, "a number is expected");
    if (at < end && text[at] == '.') {
        *integer = false;
        digits = ++at;
        while (at < end && text[at] >= '0' && text[at] <= '9') at++;
        if (at == digits) return malformed(cursor, "digits are expected after the point of a number");
    }
    if (at < end && (text[at] | 0x20) == 'e') {
        *integer = false;
        at++;
        if (at < end && (text[at] == '+' || text[at] == '-')) at++;
        digits = at;
        while (at < end && text[at] >= '0' && text[at] <= '9') at++;
        if (at == digits) return malformed(cursor, "digits are expected in the exponent of a number");
    }
    if (at - cursor->at >= NUMBER_MAX) return malformed(cursor, "a number of too many digits");
    memcpy(copy, text + cursor->at, at - cursor->at);
    copy[at - cursor->at] = 0;
    cursor->at = at;
    return WEFT_OK;
}

weft_status weft_json_cursor_int(weft_json_cursor *cursor, int64_t *out)
{
    char copy[NUMBER_MAX];
    bool integer;
    WEFT_TRY(read_number(cursor, copy, &integer));
    errno = 0;
    long long value = strtoll(copy, NULL, 10);
    if (!integer || errno == ERANGE)
        return weft_fail(WEFT_FORMAT, "%s: line %d: %s: an integer of 64 bits is expected", cursor->name,
                         line_of(cursor), copy);
    *out = value;
    return WEFT_OK;
}

// Short decimals are exact as (integer below 2^53) / (power of ten up to 22): one rounding, whatever the locale.
static bool exact_decimal(const char *text, double *out)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    bool negative = *text == '-';
    uint64_t value = 0;
    int places = 0;
    bool point = false;
    for (text += negative; *text; text++) {
        if (*text == '.') {
            point = true;
            continue;
        }
        if (*text < '0' || *text > '9' || value > (UINT64_C(1) << 53) / 10 - 1) return false;
        value = value * 10 + (uint64_t)(*text - '0');
        places += point;
    }
    if (places > 22) return false;
    double magnitude = (double)value / powers[places];
    *out = negative ? -magnitude : magnitude;
    return true;
}

weft_status weft_json_cursor_real(weft_json_cursor *cursor, double *out)
{
    char copy[NUMBER_MAX];
    bool integer;
    double value;
    WEFT_TRY(read_number(cursor, copy, &integer));
    if (!exact_decimal(copy, &value) && (!weft_parse_real(copy, &value)))
        return weft_fail(WEFT_FORMAT, "%s: line %d: %s: the number is too large", cursor->name, line_of(cursor), copy);
    *out = value;
    return WEFT_OK;
}

static weft_status skip_word(weft_json_cursor *cursor)
{
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(words[i]);
        if (cursor->bytes - cursor->at >= length && memcmp(cursor->text + cursor->at, words[i], length) == 0) {
            cursor->at += length;
            return WEFT_OK;
        }
    }
    return malformed(cursor, "a value is expected");
}

static weft_status skip_string(weft_json_cursor *cursor)
{
    for (cursor->at++; cursor->at < cursor->bytes; cursor->at++) {
        char c = cursor->text[cursor->at];
        if (c == '\\') cursor->at++;
        if (c == '"') {
            cursor->at++;
            return WEFT_OK;
        }
    }
    cursor->at = cursor->bytes;
    return malformed(cursor, "");
}

weft_status weft_json_cursor_skip(weft_json_cursor *cursor, const char **text, size_t *bytes)
{
    int depth = 0;
    char copy[NUMBER_MAX];
    bool integer;
    (void)peek(cursor);
    size_t begin = cursor->at;
    do {
        char c = peek(cursor);
        if (c == '{' || c == '[') {
            if (cursor->depth + ++depth > cursor->depth_max)
                return weft_fail(WEFT_LIMIT, "%s: line %d: nested deeper than the %d levels that are allowed here",
                                 cursor->name, line_of(cursor), cursor->depth_max);
            cursor->at++;
        } else if (depth > 0 && (c == '}' || c == ']')) {
            depth--;
            cursor->at++;
        } else if (depth > 0 && (c == ',' || c == ':')) {
            cursor->at++;
        } else if (c == '"') {
            WEFT_TRY(skip_string(cursor));
        } else if (c == '-' || (c >= '0' && c <= '9')) {
            WEFT_TRY(read_number(cursor, copy, &integer));
        } else {
            WEFT_TRY(skip_word(cursor));
        }
    } while (depth > 0);
    *text = cursor->text + begin;
    *bytes = cursor->at - begin;
    return WEFT_OK;
}

weft_status weft_json_cursor_end(weft_json_cursor *cursor)
{
    if (peek(cursor) == 0 && cursor->at >= cursor->bytes) return WEFT_OK;
    return malformed(cursor, "there must be one value and nothing after it");
}
