// The paged cache's memory on one rank: a pool of units, each of so many positions of the layers of one group
// (model/layout.h). Who has which unit is the cache's matter (cache.h).
#ifndef WEFT_ENGINE_POOL_H
#define WEFT_ENGINE_POOL_H

#include "model/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_pool weft_pool;

// `units` units of `block` positions for the model. `memory` has room for them and is borrowed; NULL: the pool takes
// its own. Local, blocking. NO_MEMORY, OVERFLOW.
weft_status weft_pool_create(const weft_model *model, weft_device *device, int block, int64_t units, void *memory,
                             weft_pool **out);
void weft_pool_destroy(weft_pool *pool); // accepts NULL

int weft_pool_block(const weft_pool *pool); // positions in a block
int64_t weft_pool_units(const weft_pool *pool);
const weft_cache_cut *weft_pool_cut(const weft_pool *pool);
const weft_cache *weft_pool_layers(const weft_pool *pool); // a view a layer
const int *weft_pool_group_of(const weft_pool *pool);      // [layers]

void weft_pool_copy(weft_pool *pool, int32_t from, int32_t to); // a unit's bytes

#ifdef __cplusplus
}
#endif
#endif
