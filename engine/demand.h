// What a sequence may come to take of each context rank's pool, from its length alone. Inside engine/ only.
#ifndef WEFT_ENGINE_DEMAND_H
#define WEFT_ENGINE_DEMAND_H

#include "engine/cache.h"
#include "kernels/fold.h"

// Before it is known which rank has which class of the fold.
typedef struct {
    int64_t at_once[WI_KINDS_MAX], of_class[WI_KINDS_MAX][WEFT_FOLD_PLACES]; // blocks
} wi_demand;

// Units of one rank that a sequence of so many positions takes at most, whatever its key.
int64_t wi_demand_most(const wi_kv_shape *shape, int64_t positions);

wi_demand wi_demand_of(const wi_kv_shape *shape, int64_t positions);
// Units of each rank under a key.
void wi_demand_under(const wi_kv_shape *shape, const wi_demand *demand, int key, int64_t *units);
int wi_demand_keys(const wi_kv_shape *shape); // how many there are

static inline int64_t wi_blocks_for(const wi_kv_shape *shape, int64_t positions)
{
    return (positions + shape->block - 1) / shape->block;
}

#endif
