// The limits of what a request may ask of drawing.
#include "engine/sampling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

weft_request_sampling weft_request_sampling_default(void)
{
    return (weft_request_sampling){.draw = {.top_p = 1}, .repetition = 1};
}

typedef struct {
    const char *name;
    float value, min, max;
    bool above; // min itself is refused
} real_limit;

// NaN is within no limits.
static weft_status check_reals(const real_limit *limits, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const real_limit *l = &limits[i];
        if (l->value <= l->max && (l->above ? l->value > l->min : l->value >= l->min)) continue;
        return weft_fail(WEFT_INVALID, "%s %g: must be %s %g and at most %g", l->name, (double)l->value,
                         l->above ? "above" : "at least", (double)l->min, (double)l->max);
    }
    return WEFT_OK;
}

static weft_status check_id(const char *what, int i, int32_t id, int64_t vocab)
{
    if (id >= 0 && id < vocab) return WEFT_OK;
    return weft_fail(WEFT_INVALID, "%s %d is the id %d: the vocabulary has 0 to %lld", what, i, id,
                     (long long)vocab - 1);
}

static int compare_ids(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static weft_status check_biases(const weft_request_sampling *s, int64_t vocab)
{
    int32_t ids[WEFT_BIASES_MAX];
    if (s->bias_count < 0 || s->bias_count > WEFT_BIASES_MAX)
        return weft_fail(WEFT_INVALID, "%d logit biases: %d are the most", s->bias_count, WEFT_BIASES_MAX);
    for (int i = 0; i < s->bias_count; i++) {
        const real_limit limit = {.name = "logit bias", .value = s->biases[i].add, .min = -100, .max = 100};
        ids[i] = s->biases[i].id;
        WEFT_TRY(check_id("logit bias", i, ids[i], vocab));
        WEFT_TRY(check_reals(&limit, 1));
    }
    if (s->bias_count > 0) qsort(ids, (size_t)s->bias_count, sizeof *ids, compare_ids);
    for (int i = 1; i < s->bias_count; i++)
        if (ids[i] == ids[i - 1]) return weft_fail(WEFT_INVALID, "two logit biases for the id %d: give one", ids[i]);
    return WEFT_OK;
}

weft_status weft_request_sampling_check(const weft_request_sampling *s, int64_t vocab, int max_tokens)
{
    const real_limit limits[] = {
        {.name = "temperature", .value = s->draw.temperature, .min = 0, .max = 100},
        {.name = "top_p", .value = s->draw.top_p, .min = 0, .max = 1, .above = true},
        {.name = "min_p", .value = s->draw.min_p, .min = 0, .max = 1},
        {.name = "repetition_penalty", .value = s->repetition, .min = 0, .max = 100, .above = true},
        {.name = "frequency_penalty", .value = s->frequency, .min = -2, .max = 2},
        {.name = "presence_penalty", .value = s->presence, .min = -2, .max = 2}};
    WEFT_TRY(check_reals(limits, sizeof limits / sizeof *limits));
    if (s->draw.top_k < -1)
        return weft_fail(WEFT_INVALID, "top_k %d: must be a number of tokens, or 0 or -1 for all", s->draw.top_k);
    WEFT_TRY(check_biases(s, vocab));
    if (s->stop_count < 0 || s->stop_count > WEFT_STOP_IDS_MAX)
        return weft_fail(WEFT_INVALID, "%d stop token ids: %d are the most", s->stop_count, WEFT_STOP_IDS_MAX);
    for (int i = 0; i < s->stop_count; i++) WEFT_TRY(check_id("stop token", i, s->stops[i], vocab));
    if (s->min_tokens < 0 || s->min_tokens > max_tokens)
        return weft_fail(WEFT_INVALID, "min_tokens %d: must be at least 0 and at most max_tokens, %d", s->min_tokens,
                         max_tokens);
    if (s->top_logprobs < 0 || s->top_logprobs > WEFT_TOP_LOGPROBS_MAX)
        return weft_fail(WEFT_INVALID, "top_logprobs %d: must be at least 0 and at most %d", s->top_logprobs,
                         WEFT_TOP_LOGPROBS_MAX);
    if (s->top_logprobs > 0 && !s->logprobs)
        return weft_fail(WEFT_INVALID, "top_logprobs %d without logprobs: ask for both", s->top_logprobs);
    return WEFT_OK;
}
