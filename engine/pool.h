// The paged cache's memory: one pool of blocks, each of so many positions of all layers, handed out and taken back by
// number. Who holds which block is told by whoever took it; the pool counts holders, so that requests may share one.
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
int64_t weft_pool_free_blocks(const weft_pool *pool);      // held by nobody
const weft_cache *weft_pool_layers(const weft_pool *pool); // a view a layer

int32_t weft_pool_take(weft_pool *pool);              // a block with one holder; -1 when none is free
void weft_pool_share(weft_pool *pool, int32_t block); // one more holder
void weft_pool_give(weft_pool *pool, int32_t block);  // one holder less; free after the last

#ifdef __cplusplus
}
#endif
#endif
