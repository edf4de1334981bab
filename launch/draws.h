// The tokens of a continuation as they were drawn, and what was asked for beside them. Inside launch/ only.
#ifndef WEFT_LAUNCH_DRAWS_H
#define WEFT_LAUNCH_DRAWS_H

#include "launch/journal.h"

typedef struct {
    int32_t id;
    float logprob;
} wi_other;

typedef struct {
    int count, capacity;
    int others;      // of each token; with log-probabilities all have equally many
    int32_t *tokens; // (capacity)
    float *logprobs; // (capacity); NULL where none are wanted
    wi_other *other; // (capacity, others)
} wi_draws;

weft_status wi_draws_add(wi_draws *draws, const wi_drawn *drawn);
void wi_draws_free(wi_draws *draws);

#endif
