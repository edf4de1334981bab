// Regular expressions and plain texts to search for. The field writes its expressions for Oniguruma, in Ruby's syntax;
// here they are compiled by PCRE2, and what the two read differently is rewritten or refused.
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer_impl.h"

enum {
    MATCH_LIMIT = 10 * 1000 * 1000, // steps of one search
    STACK_MAX = 8 << 20,
};

// PCRE2's own \s has U+180E, and its \w lacks marks. Both lists as they stand inside of brackets.
#define SPACES                                                                                                         \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define WORDS                                                                                                          \
    "\\p{L}\\p{M}\\p{Nl}\\p{Nd}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{"    \
    "1f189}"

static weft_status put(wi_bytes *out, const char *text) { return wi_bytes_add(out, text, strlen(text)); }

// The escape at from[0] == '\\'; *used is how many bytes of the source it took.
static weft_status rewrite_escape(const char *from, size_t bytes, bool in_class, const char *where, wi_bytes *out,
                                  size_t *used)
{
    if (bytes < 2) return weft_fail(WEFT_FORMAT, "%s: a regular expression ends with a backslash", where);
    *used = 2;
    switch (from[1]) {
    case 's':
        return put(out, in_class ? SPACES : "[" SPACES "]");
    case 'w':
        return put(out, in_class ? WORDS : "[" WORDS "]");
    case 'h':
        return put(out, in_class ? "0-9a-fA-F" : "[0-9a-fA-F]");
    case 'S':
        if (!in_class) return put(out, "[^" SPACES "]");
        break;
    case 'W':
        if (!in_class) return put(out, "[^" WORDS "]");
        return weft_fail(WEFT_UNSUPPORTED, "%s: \\W inside brackets of a regular expression is not known here", where);
    case 'u':
        if (bytes < 6) break;
        *used = 6;
        WEFT_TRY(put(out, "\\x{"));
        WEFT_TRY(wi_bytes_add(out, from + 2, 4));
        return put(out, "}");
    default:
        break;
    }
    return wi_bytes_add(out, from, 2);
}

// Ruby's (?m) is dot-matches-newline, which PCRE2 calls (?s).
static size_t rewrite_group(const char *from, size_t bytes, wi_bytes *out)
{
    size_t i = 2;
    if (bytes < 3 || from[1] != '?') return 0;
    while (i < bytes && (from[i] == 'm' || from[i] == 'i' || from[i] == 'x' || from[i] == '-')) i++;
    if (i == 2 || i == bytes || (from[i] != ':' && from[i] != ')')) return 0;
    if (wi_bytes_add(out, from, i) < 0) return 0;
    for (size_t k = out->used - i; k < out->used; k++)
        if (out->data[k] == 'm') out->data[k] = 's';
    return i;
}

static weft_status rewrite(const char *regex, size_t bytes, const char *where, wi_bytes *out)
{
    bool in_class = false;
    for (size_t i = 0, used; i < bytes; i += used) {
        char c = regex[i];
        used = 1;
        if (c == '\\') {
            WEFT_TRY(rewrite_escape(regex + i, bytes - i, in_class, where, out, &used));
            continue;
        }
        if (in_class && c == '[' && !(i + 1 < bytes && regex[i + 1] == ':'))
            return weft_fail(WEFT_UNSUPPORTED, "%s: nested brackets in a regular expression are not known here", where);
        if (in_class && c == '&' && i + 1 < bytes && regex[i + 1] == '&')
            return weft_fail(WEFT_UNSUPPORTED, "%s: && in a regular expression is not known here", where);
        if (in_class && c == '[') { // [:name:]
            const char *end = memchr(regex + i, ']', bytes - i);
            used = end ? (size_t)(end - (regex + i)) + 1 : 1;
        } else if (in_class && c == ']') {
            in_class = false;
        } else if (!in_class && c == '[') {
            in_class = true;
            if (i + used < bytes && regex[i + used] == '^') used++;
            if (i + used < bytes && regex[i + used] == ']') used++;
        } else if (!in_class && c == '(') {
            size_t group = rewrite_group(regex + i, bytes - i, out);
            if (group) {
                used = group;
                continue;
            }
        }
        WEFT_TRY(wi_bytes_add(out, regex + i, used));
    }
    return WEFT_OK;
}

static weft_status compile(const char *text, size_t bytes, const char *where, pcre2_code **out)
{
    int error;
    PCRE2_SIZE at;
    weft_status status = WEFT_OK;
    PCRE2_UCHAR reason[160];
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) return weft_fail(WEFT_NO_MEMORY, "%s: no memory for a regular expression", where);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context, 64);
    // Ruby's ^ and $ always mean lines. Texts are checked to be UTF-8 once, not at each search.
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)text, bytes, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                      &error, &at, context);
    pcre2_compile_context_free(context);
    if (code) {
        pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); // without it, searching is slower and no less right
        *out = code;
    } else {
        pcre2_get_error_message(error, reason, sizeof reason);
        status = weft_fail(WEFT_FORMAT, "%s: the regular expression fails at byte %zu of %.120s: %s", where, (size_t)at,
                           text, (const char *)reason);
    }
    return status;
}

weft_status wi_pattern_regex(const char *regex, size_t bytes, const char *where, wi_pattern *out)
{
    wi_bytes text = {0};
    if (bytes == 0 || bytes > WI_PATTERN_MAX)
        return weft_fail(WEFT_LIMIT, "%s: a regular expression of %zu bytes; 1 to %d are allowed", where, bytes,
                         WI_PATTERN_MAX);
    weft_status status = rewrite(regex, bytes, where, &text);
    if (status == WEFT_OK) status = wi_bytes_add(&text, "", 1);
    if (status == WEFT_OK) status = compile(text.data, text.used - 1, where, &out->code);
    free(text.data);
    return status;
}

weft_status wi_pattern_literal(const char *text, size_t bytes, const char *where, wi_pattern *out)
{
    if (bytes == 0) return weft_fail(WEFT_FORMAT, "%s: an empty text to search for", where);
    out->literal = malloc(bytes);
    if (!out->literal) return weft_fail(WEFT_NO_MEMORY, "%s: no memory for a pattern", where);
    memcpy(out->literal, text, bytes);
    out->bytes = bytes;
    return WEFT_OK;
}

void wi_pattern_fini(wi_pattern *pattern)
{
    free(pattern->literal);
    pcre2_code_free(pattern->code);
    *pattern = (wi_pattern){0};
}

weft_status wi_pattern_load(const weft_json *json, const char *where, wi_pattern *out)
{
    const char *text;
    WEFT_TRY(weft_json_string(json, "String", NULL, &text));
    if (text) return wi_pattern_literal(text, strlen(text), where, out);
    WEFT_TRY(weft_json_string(json, "Regex", NULL, &text));
    if (text) return wi_pattern_regex(text, strlen(text), where, out);
    return weft_fail(WEFT_FORMAT, "%s: pattern: {\"String\": text} or {\"Regex\": expression} is expected", where);
}

weft_status wi_matcher_init(wi_matcher *matcher)
{
    matcher->data = pcre2_match_data_create(1, NULL);
    matcher->context = pcre2_match_context_create(NULL);
    matcher->stack = pcre2_jit_stack_create(32 << 10, STACK_MAX, NULL);
    if (!matcher->data || !matcher->context || !matcher->stack)
        return weft_fail(WEFT_NO_MEMORY, "tokenizer: no memory for matching");
    pcre2_jit_stack_assign(matcher->context, NULL, matcher->stack);
    pcre2_set_match_limit(matcher->context, MATCH_LIMIT);
    pcre2_set_heap_limit(matcher->context, STACK_MAX >> 10);
    return WEFT_OK;
}

void wi_matcher_fini(wi_matcher *matcher)
{
    pcre2_jit_stack_free(matcher->stack);
    pcre2_match_context_free(matcher->context);
    pcre2_match_data_free(matcher->data);
    *matcher = (wi_matcher){0};
}

static weft_status search(const pcre2_code *code, wi_matcher *matcher, const char *text, size_t bytes, size_t from,
                          size_t *begin, size_t *end)
{
    int found = pcre2_match(code, (PCRE2_SPTR)text, bytes, from, PCRE2_NO_UTF_CHECK, matcher->data, matcher->context);
    if (found == PCRE2_ERROR_NOMATCH) {
        *begin = *end = SIZE_MAX;
        return WEFT_OK;
    }
    if (found < 0) {
        PCRE2_UCHAR reason[120];
        pcre2_get_error_message(found, reason, sizeof reason);
        return weft_fail(WEFT_LIMIT,
                         "tokenizer: a regular expression of its file took too much at byte %zu of a text of %zu: %s; "
                         "give the text in parts",
                         from, bytes, (const char *)reason);
    }
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(matcher->data);
    *begin = at[0];
    *end = at[1] < at[0] ? at[0] : at[1]; // \K can set the start behind the end
    return WEFT_OK;
}

weft_status wi_pattern_find(const wi_pattern *pattern, wi_matcher *matcher, const char *text, size_t bytes, size_t from,
                            size_t last_end, size_t *begin, size_t *end)
{
    if (pattern->literal) {
        const char *found = from < bytes ? memmem(text + from, bytes - from, pattern->literal, pattern->bytes) : NULL;
        *begin = found ? (size_t)(found - text) : SIZE_MAX;
        *end = found ? *begin + pattern->bytes : SIZE_MAX;
        return WEFT_OK;
    }
    for (;;) {
        WEFT_TRY(search(pattern->code, matcher, text, bytes, from, begin, end));
        if (*begin == SIZE_MAX || *begin != *end || *end != last_end) return WEFT_OK;
        size_t length = 1;
        if (from >= bytes) break;
        wi_utf8_read(text + from, &length);
        from += length;
    }
    *begin = *end = SIZE_MAX;
    return WEFT_OK;
}
