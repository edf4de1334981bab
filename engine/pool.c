#include "engine/pool.h"

#include <stdlib.h>
#include <string.h>

#include "core/checked.h"

struct weft_pool {
    weft_device *device;
    void *memory;
    size_t bytes, block_bytes;
    int block;
    int64_t blocks;
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
    if (!pool->layers)
        WEFT_TRY_GOTO(weft_fail(WEFT_NO_MEMORY, "no memory for a cache of %lld blocks", (long long)blocks));
    pool->block_bytes = weft_model_cache_layout(model, block, pool->layers);
    if (!weft_size_mul(pool->block_bytes, (size_t)blocks, &pool->bytes))
        WEFT_TRY_GOTO(
            weft_fail(WEFT_OVERFLOW, "a cache of %lld blocks of %zu bytes", (long long)blocks, pool->block_bytes));
    WEFT_TRY_GOTO(weft_device_alloc(device, pool->bytes, &pool->memory));
    for (int64_t i = 0; i < config->layers; i++) pool->layers[i].pool = pool->memory;
    pool->blocks = blocks;
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
    free(pool);
}

int weft_pool_block(const weft_pool *pool) { return pool->block; }

size_t weft_pool_block_bytes(const weft_pool *pool) { return pool->block_bytes; }

int64_t weft_pool_blocks(const weft_pool *pool) { return pool->blocks; }

const weft_cache *weft_pool_layers(const weft_pool *pool) { return pool->layers; }

void weft_pool_copy(weft_pool *pool, int32_t from, int32_t to)
{
    unsigned char *memory = pool->memory;
    memcpy(memory + (size_t)to * pool->block_bytes, memory + (size_t)from * pool->block_bytes, pool->block_bytes);
}
