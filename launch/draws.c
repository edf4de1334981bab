#include "launch/draws.h"

#include <stdlib.h>
#include <string.h>

// One more row of `bytes` each; the old array stays where there is no memory.
static bool grow(void *array, size_t rows, size_t bytes)
{
    void **at = array;
    void *more = realloc(*at, rows * bytes);
    if (!more) return false;
    *at = more;
    return true;
}

static weft_status make_room(wi_draws *d, const wi_drawn *drawn)
{
    const size_t rows = d->capacity > 0 ? 2 * (size_t)d->capacity : 16, others = (size_t)d->others;
    bool good = grow(&d->tokens, rows, sizeof *d->tokens);
    if (drawn->has_logprob) good = good && grow(&d->logprobs, rows, sizeof *d->logprobs);
    if (others > 0) good = good && grow(&d->other, rows * others, sizeof *d->other);
    if (!good) return weft_fail(WEFT_NO_MEMORY, "no memory for %zu tokens", rows);
    d->capacity = (int)rows;
    return WEFT_OK;
}

weft_status wi_draws_add(wi_draws *d, const wi_drawn *drawn)
{
    if (d->count == 0) d->others = drawn->others;
    if (d->count > 0 && ((d->logprobs != NULL) != drawn->has_logprob || drawn->others != d->others))
        return weft_fail(WEFT_FORMAT, "token %d has other log-probabilities than those before it", d->count);
    if (d->count == d->capacity) WEFT_TRY(make_room(d, drawn));
    d->tokens[d->count] = drawn->token;
    if (drawn->has_logprob) d->logprobs[d->count] = drawn->logprob;
    for (int i = 0; i < d->others; i++)
        d->other[(size_t)d->count * (size_t)d->others + (size_t)i] =
            (wi_other){.id = drawn->other[i].id, .logprob = drawn->other[i].logprob};
    d->count++;
    return WEFT_OK;
}

void wi_draws_free(wi_draws *d)
{
    free(d->tokens);
    free(d->logprobs);
    free(d->other);
    *d = (wi_draws){0};
}
