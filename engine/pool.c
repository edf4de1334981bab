#include "engine/pool.h"

#include <assert.h>
#include <stdlib.h>

#include "core/checked.h"

struct weft_pool {
    weft_device *device;
    void *memory;
    size_t bytes, block_bytes;
    int block;
    int64_t blocks, free_count;
    int32_t *free;    // the free ones; the last is taken next
    int32_t *holders; // [blocks]
    weft_cache *layers;
};

weft_status weft_pool_create(const weft_model *model, weft_device *device, int block, int64_t blocks, weft_pool **out)
{
    weft_status status;
    const weft_model_config *config = weft_model_config_of(model);
    weft_pool *pool = calloc(1, sizeof *pool);
    if (!pool) return weft_fail(WEFT_NO_MEMORY, "no memory for a cache of %lld blocks", (long long)blocks);
    pool->device = device;
    pool->block = block;
    pool->layers = calloc((size_t)config->layers, sizeof *pool->layers);
    pool->free = calloc((size_t)blocks, sizeof *pool->free);
    pool->holders = calloc((size_t)blocks, sizeof *pool->holders);
    if (!pool->layers || !pool->free || !pool->holders)
        WEFT_TRY_GOTO(weft_fail(WEFT_NO_MEMORY, "no memory for a cache of %lld blocks", (long long)blocks));
    pool->block_bytes = weft_model_cache_layout(model, block, pool->layers);
    if (!weft_size_mul(pool->block_bytes, (size_t)blocks, &pool->bytes))
        WEFT_TRY_GOTO(
            weft_fail(WEFT_OVERFLOW, "a cache of %lld blocks of %zu bytes", (long long)blocks, pool->block_bytes));
    WEFT_TRY_GOTO(weft_device_alloc(device, pool->bytes, &pool->memory));
    for (int64_t i = 0; i < config->layers; i++) pool->layers[i].pool = pool->memory;
    pool->blocks = pool->free_count = blocks;
    for (int64_t i = 0; i < blocks; i++) pool->free[i] = (int32_t)(blocks - 1 - i);
    *out = pool;
    return WEFT_OK;
fail:
    weft_pool_destroy(pool);
    return status;
}

void weft_pool_destroy(weft_pool *pool)
{
    if (!pool) return;
    weft_device_free(pool->device, pool->memory, pool->bytes);
    free(pool->layers);
    free(pool->free);
    free(pool->holders);
    free(pool);
}

int weft_pool_block(const weft_pool *pool) { return pool->block; }

size_t weft_pool_block_bytes(const weft_pool *pool) { return pool->block_bytes; }

int64_t weft_pool_blocks(const weft_pool *pool) { return pool->blocks; }

int64_t weft_pool_free_blocks(const weft_pool *pool) { return pool->free_count; }

const weft_cache *weft_pool_layers(const weft_pool *pool) { return pool->layers; }

int32_t weft_pool_take(weft_pool *pool)
{
    if (pool->free_count == 0) return -1;
    const int32_t block = pool->free[--pool->free_count];
    pool->holders[block] = 1;
    return block;
}

void weft_pool_share(weft_pool *pool, int32_t block)
{
    assert(pool->holders[block] > 0);
    pool->holders[block]++;
}

void weft_pool_give(weft_pool *pool, int32_t block)
{
    assert(pool->holders[block] > 0);
    if (--pool->holders[block] == 0) pool->free[pool->free_count++] = block;
}
