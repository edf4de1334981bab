// The paged cache's memory on one rank: a pool of blocks, each of so many positions of all layers. Who has which block
// is the cache's matter (cache.h).
#ifndef WEFT_ENGINE_POOL_H
#define WEFT_ENGINE_POOL_H

#include "model/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_pool weft_pool;

// `blocks` blocks of `block` positions for the model. Local, blocking. NO_MEMORY, OVERFLOW.
weft_status weft_pool_create(const weft_model *model, weft_device *device, int block, int64_t blocks, weft_pool **out);
void weft_pool_destroy(weft_pool *pool); // accepts NULL

int weft_pool_block(const weft_pool *pool);                // positions in a block
size_t weft_pool_block_bytes(const weft_pool *pool);       // of all layers
int64_t weft_pool_blocks(const weft_pool *pool);           // in all
const weft_cache *weft_pool_layers(const weft_pool *pool); // a view a layer

void weft_pool_copy(weft_pool *pool, int32_t from, int32_t to); // a block's bytes

#ifdef __cplusplus
}
#endif
#endif
