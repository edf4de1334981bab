#include "launch/answer.h"

#include <stdlib.h>
#include <string.h>

#include "core/json_cursor.h"

static weft_status copy_stops(wi_answer *a, const char *const *stops, int count)
{
    if (count > WI_STOP_TEXTS_MAX)
        return weft_fail(WEFT_INVALID, "%d stop texts: %d are the most", count, WI_STOP_TEXTS_MAX);
    for (int i = 0; i < count; i++) {
        const size_t bytes = strlen(stops[i]), valid = weft_utf8_valid(stops[i], bytes);
        if (bytes == 0) return weft_fail(WEFT_INVALID, "stop text %d is empty: give some text, or leave it out", i + 1);
        if (valid < bytes)
            return weft_fail(WEFT_INVALID, "stop text %d is not UTF-8 from byte %zu on: the text of a model always is",
                             i + 1, valid);
        a->stops[i] = strdup(stops[i]);
        if (!a->stops[i]) return weft_fail(WEFT_NO_MEMORY, "no memory for a stop text");
        a->stop_count = i + 1;
    }
    return WEFT_OK;
}

weft_status wi_answer_init(wi_answer *out, const weft_tokenizer *tokenizer, const char *const *stops, int stop_count,
                           int max_tokens)
{
    *out = (wi_answer){.token_max = max_tokens, .text = ""};
    WEFT_TRY(copy_stops(out, stops, stop_count));
    out->tokens = malloc((size_t)(max_tokens > 0 ? max_tokens : 1) * sizeof *out->tokens);
    if (!out->tokens) return weft_fail(WEFT_NO_MEMORY, "no memory for %d tokens", max_tokens);
    return weft_detokenizer_create(tokenizer, false, &out->detokenizer);
}

void wi_answer_fini(wi_answer *a)
{
    weft_detokenizer_destroy(a->detokenizer);
    for (int i = 0; i < a->stop_count; i++) free(a->stops[i]);
    free(a->tokens);
    free(a->memory);
    *a = (wi_answer){0};
}

static weft_status append(wi_answer *a, const char *text, size_t bytes)
{
    if (a->bytes + bytes > a->capacity) {
        const size_t capacity = 2 * (a->bytes + bytes) + 256;
        char *more = realloc(a->memory, capacity);
        if (!more) return weft_fail(WEFT_NO_MEMORY, "no memory for a text of %zu bytes", capacity);
        a->text = a->memory = more;
        a->capacity = capacity;
    }
    if (bytes) memcpy(a->memory + a->bytes, text, bytes);
    a->bytes += bytes;
    return WEFT_OK;
}

// Cuts before the stop text that is complete first. What is certain was so because no stop text begins there.
static bool cut(wi_answer *a)
{
    size_t first_end = SIZE_MAX, begin = 0;
    for (int i = 0; i < a->stop_count && a->bytes > a->certain; i++) {
        const size_t length = strlen(a->stops[i]);
        const char *found = memmem(a->text + a->certain, a->bytes - a->certain, a->stops[i], length);
        const size_t end = found ? (size_t)(found - a->text) + length : SIZE_MAX;
        if (!found || end > first_end || (end == first_end && end - length >= begin)) continue;
        first_end = end;
        begin = end - length;
    }
    if (first_end == SIZE_MAX) return false;
    a->bytes = a->certain = begin;
    return true;
}

// How many of the last bytes may be the beginning of a stop text.
static size_t held(const wi_answer *a)
{
    size_t most = 0;
    for (int i = 0; i < a->stop_count; i++) {
        const size_t length = strlen(a->stops[i]), there = a->bytes - a->certain;
        size_t n = length - 1 < there ? length - 1 : there;
        while (n > most && memcmp(a->text + a->bytes - n, a->stops[i], n) != 0) n--;
        most = n > most ? n : most;
    }
    return most;
}

static weft_status take(wi_answer *a, const char *text, size_t bytes, bool ended)
{
    WEFT_TRY(append(a, text, bytes));
    a->stopped = cut(a);
    if (!a->stopped) a->certain = a->bytes - (ended ? 0 : held(a));
    return WEFT_OK;
}

weft_status wi_answer_token(wi_answer *a, int32_t token)
{
    const char *text;
    size_t bytes;
    if (a->stopped) return WEFT_OK;
    if (a->token_count == a->token_max)
        return weft_fail(WEFT_INTERNAL, "more than %d tokens came for an answer", a->token_max);
    a->tokens[a->token_count++] = token;
    WEFT_TRY(weft_detokenizer_push(a->detokenizer, token, &text, &bytes));
    return take(a, text, bytes, false);
}

weft_status wi_answer_end(wi_answer *a, weft_finish finish)
{
    const char *text;
    size_t bytes;
    if (!a->stopped) {
        WEFT_TRY(weft_detokenizer_finish(a->detokenizer, &text, &bytes));
        WEFT_TRY(take(a, text, bytes, true));
    }
    a->finish = a->stopped ? WEFT_FINISH_STOP : finish;
    return WEFT_OK;
}
