// Any line, read as a request: it is one, within its limits, or it has an error.
#include <math.h>

#include "launch/request.h"
#include "tests/fuzz/fuzz.h"

static void check(const wi_query *r)
{
    const wi_request_settings *h = &r->how;
    if (!r->text == !r->tokens) abort();
    if (h->max_tokens < 1 || h->max_tokens > WI_MAX_TOKENS_MAX || h->n < 1 || h->n > WI_CONTINUATIONS_MAX) abort();
    if (h->min_tokens < 0 || h->top_k < 0 || h->seed < 0) abort();
    if (!(h->temperature >= 0 && h->temperature <= 100) || !(h->top_p > 0 && h->top_p <= 1)) abort();
    if (!(h->min_p >= 0 && h->min_p <= 1) || !(h->repetition_penalty > 0)) abort();
    if (!isfinite(h->presence_penalty) || !isfinite(h->frequency_penalty)) abort();
    if (r->logprobs < -1 || r->logprobs > WI_LOGPROBS_MAX || r->stop_count > WI_STOPS_MAX) abort();
    for (int i = 0; i < r->token_count; i++)
        if (r->tokens[i] < 0 || r->tokens[i] >= 50) abort();
    for (int i = 0; i < r->stop_count; i++)
        if (!r->stops[i][0]) abort();
    for (int i = 1; i < r->bias_count; i++)
        if (r->biases[i].id <= r->biases[i - 1].id) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const wi_request_rules rules = {
        .defaults = wi_request_defaults, .vocab = 50, .context = 20, .stops = (const char *[]){"x"}, .stop_count = 1};
    wi_query r;
    if (wi_request_parse((const char *)data, size, 3, &rules, &r) < 0) return 0;
    if (!r.error) {
        check(&r);
        if (wi_request_encoded(&r, &rules, r.text ? calloc(7, 4) : NULL, 7) < 0) abort();
        if (!r.error && r.how.max_tokens + r.token_count > 20) abort();
    }
    wi_request_fini(&r);
    return 0;
}
