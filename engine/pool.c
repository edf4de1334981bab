#include "engine/pool.h"

#include <stdlib.h>

#include "core/checked.h"

struct weft_pool {
    weft_device *device;
    void *memory;
    bool borrowed;
    size_t bytes;
    int block;
    int64_t units;
    weft_cache_cut cut;
    weft_cache *layers;
    int *group_of;
};

weft_status weft_pool_create(const weft_model *model, weft_device *device, int block, int64_t units, void *memory,
                             weft_pool **out)
{
    weft_status status;
    const weft_model_config *config = weft_model_config_of(model);
    weft_pool *pool = calloc(1, sizeof *pool);
    if (!pool) return weft_fail(WEFT_NO_MEMORY, "no memory for a cache of %lld blocks", (long long)units);
    pool->device = device;
    pool->block = block;
    pool->units = units;
    pool->layers = calloc((size_t)config->layers, sizeof *pool->layers);
    pool->group_of = calloc((size_t)config->layers, sizeof *pool->group_of);
    if (!pool->layers || !pool->group_of)
        WEFT_TRY_GOTO(weft_fail(WEFT_NO_MEMORY, "no memory for a cache of %lld blocks", (long long)units));
    pool->cut = weft_model_cache_cut(model, block, pool->layers, pool->group_of);
    if (!weft_size_mul(pool->cut.unit, (size_t)units, &pool->bytes))
        WEFT_TRY_GOTO(
            weft_fail(WEFT_OVERFLOW, "a cache of %lld blocks of %zu bytes", (long long)units, pool->cut.unit));
    pool->memory = memory;
    pool->borrowed = memory != NULL;
    if (!memory) WEFT_TRY_GOTO(weft_device_alloc(device, pool->bytes, &pool->memory));
    for (int64_t i = 0; i < config->layers; i++) pool->layers[i].pool = pool->memory;
    *out = pool;
    return WEFT_OK;
fail:
    weft_pool_destroy(pool);
    return status;
}

void weft_pool_destroy(weft_pool *pool)
{
    if (!pool) return;
    if (!pool->borrowed) weft_device_free(pool->device, pool->memory, pool->bytes);
    free(pool->layers);
    free(pool->group_of);
    free(pool);
}

int weft_pool_block(const weft_pool *pool) { return pool->block; }
int64_t weft_pool_units(const weft_pool *pool) { return pool->units; }
const weft_cache_cut *weft_pool_cut(const weft_pool *pool) { return &pool->cut; }
const weft_cache *weft_pool_layers(const weft_pool *pool) { return pool->layers; }
const int *weft_pool_group_of(const weft_pool *pool) { return pool->group_of; }

void weft_pool_copy(weft_pool *pool, int32_t from, int32_t to)
{
    unsigned char *memory = pool->memory;
    pool->device->ops->copy(pool->device, memory + (size_t)to * pool->cut.unit, memory + (size_t)from * pool->cut.unit,
                            pool->cut.unit);
}
