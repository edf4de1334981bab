// The requests of weft bench batch: their lengths and when they arrive.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/batch.h"
#include "core/flags.h"
#include "core/philox.h"

enum { TOKENS_MAX = 1 << 20, REQUESTS_MAX = 1 << 20 };

// What a number is drawn for.
enum { DRAW_PROMPT, DRAW_GENERATE, DRAW_ARRIVAL };

// In (0, 1].
static double draw(int64_t seed, int what, int64_t index)
{
    const weft_philox4 r = weft_draw4((uint64_t)seed, (uint32_t)what, (uint64_t)index, WEFT_DRAW_TEST);
    return 1 - weft_unit_double(r.word[0], r.word[1]);
}

// Standard normal.
static double draw_normal(int64_t seed, int what, int64_t index)
{
    const weft_philox4 r = weft_draw4((uint64_t)seed, (uint32_t)what, (uint64_t)index, WEFT_DRAW_TEST);
    const double u = 1 - weft_unit_double(r.word[0], r.word[1]), v = weft_unit_double(r.word[2], r.word[3]);
    return sqrt(-2 * log(u)) * cos(2 * acos(-1) * v);
}

typedef struct {
    int64_t from, to;
} span;

static weft_status read_span(const char *flag, const char *text, span *out)
{
    char first[24];
    const char *dots = strstr(text, "..");
    const size_t length = dots ? (size_t)(dots - text) : strlen(text);
    snprintf(first, sizeof first, "%.*s", (int)length, text);
    const bool good =
        length < sizeof first && weft_parse_int(first, &out->from) && (!dots || weft_parse_int(dots + 2, &out->to));
    if (good && !dots) out->to = out->from;
    if (good && out->from >= 1 && out->from <= out->to && out->to <= TOKENS_MAX) return WEFT_OK;
    return weft_fail(WEFT_USAGE, "%s %.60s: must be a number of tokens from 1 to %d, or two as in 32..512", flag, text,
                     TOKENS_MAX);
}

// Lognormal: nineteen of twenty lie within the span, around its geometric mean; the others are moved to its ends.
static int length_of(const weft_bench_batch_options *o, span s, int what, int64_t index)
{
    double x;
    if (o->lengths == WEFT_LENGTHS_LOGNORMAL)
        x = exp((log((double)s.from) + log((double)s.to)) / 2 +
                draw_normal(o->seed, what, index) * (log((double)s.to) - log((double)s.from)) / 3.92);
    else
        x = (double)s.to + 1 - draw(o->seed, what, index) * (double)(s.to - s.from + 1);
    x = floor(x + (o->lengths == WEFT_LENGTHS_LOGNORMAL ? 0.5 : 0));
    return (int)fmin(fmax(x, (double)s.from), (double)s.to);
}

static weft_status make_room(int64_t count, weft_bench_load *out)
{
    out->at = malloc((size_t)count * sizeof *out->at);
    return out->at ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for %lld requests", (long long)count);
}

static void add(weft_bench_load *load, int prompt, int generate)
{
    load->at[load->count++] = (weft_bench_length){prompt, generate};
    load->prompts += prompt;
    load->generated += generate;
    if ((int64_t)prompt + generate > load->longest) load->longest = (int64_t)prompt + generate;
}

static weft_status draw_all(const weft_bench_batch_options *o, weft_bench_load *out)
{
    span prompt, generate;
    WEFT_TRY(read_span("--prompt", o->prompt, &prompt));
    WEFT_TRY(read_span("--generate", o->generate, &generate));
    WEFT_TRY(make_room(o->requests, out));
    for (int64_t i = 0; i < o->requests; i++)
        add(out, length_of(o, prompt, DRAW_PROMPT, i), length_of(o, generate, DRAW_GENERATE, i));
    return WEFT_OK;
}

static weft_status read_count(const weft_json *line, const char *key, const char *place, int64_t *out)
{
    const weft_json *value = weft_json_get(line, key);
    *out = weft_json_int_value(value);
    if (value && *out >= 1 && *out <= TOKENS_MAX) return WEFT_OK;
    return weft_fail(WEFT_INVALID, "%s: \"%s\" must be there, a whole number from 1 to %d", place, key, TOKENS_MAX);
}

static weft_status read_line(const char *line, size_t bytes, const char *place, weft_bench_load *out)
{
    weft_json *json = NULL;
    int64_t prompt, generate;
    weft_status status;
    WEFT_TRY(weft_json_parse(line, bytes, place, NULL, &json));
    WEFT_TRY_GOTO(read_count(json, "prompt_tokens", place, &prompt));
    WEFT_TRY_GOTO(read_count(json, "max_tokens", place, &generate));
    add(out, (int)prompt, (int)generate);
fail:
    weft_json_free(json);
    return status;
}

static bool is_empty(const char *line, size_t bytes)
{
    size_t i = 0;
    while (i < bytes && (line[i] == ' ' || line[i] == '\t' || line[i] == '\r')) i++;
    return i == bytes;
}

static weft_status read_all(const char *text, size_t bytes, const char *name, weft_bench_load *out)
{
    int64_t lines = 1, number = 0;
    char place[512];
    for (size_t i = 0; i < bytes; i++) lines += text[i] == '\n';
    if (lines > REQUESTS_MAX) return weft_fail(WEFT_LIMIT, "%s: over %d lines", name, REQUESTS_MAX);
    WEFT_TRY(make_room(lines, out));
    for (const char *at = text, *end = text + bytes; at < end;) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        const size_t length = (size_t)((line_end ? line_end : end) - at);
        number++;
        snprintf(place, sizeof place, "%.400s: line %lld", name, (long long)number);
        if (!is_empty(at, length)) WEFT_TRY(read_line(at, length, place, out));
        at += length + 1;
    }
    if (out->count == 0) return weft_fail(WEFT_INVALID, "%s: no requests in it", name);
    return WEFT_OK;
}

weft_status weft_bench_load_make(const weft_bench_batch_options *o, const char *text, size_t bytes, const char *name,
                                 weft_bench_load *out)
{
    weft_bench_load load = {0};
    const weft_status status = text ? read_all(text, bytes, name, &load) : draw_all(o, &load);
    if (status == WEFT_OK)
        *out = load;
    else
        weft_bench_load_free(&load);
    return status;
}

void weft_bench_load_free(weft_bench_load *load)
{
    free(load->at);
    *load = (weft_bench_load){0};
}

void weft_bench_arrivals(const weft_bench_batch_options *o, int round, double *arrivals, int count)
{
    double now = 0;
    for (int i = 0; i < count; i++) {
        now -= log(draw(o->seed, DRAW_ARRIVAL, (int64_t)round << 32 | i)) / o->rate;
        arrivals[i] = now;
    }
}
