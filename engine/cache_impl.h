// The inside of a cache: cache.c, which holds and lets go of blocks, and cache_share.c, which finds what was computed
// before. Nobody else includes it.
#ifndef WEFT_ENGINE_CACHE_IMPL_H
#define WEFT_ENGINE_CACHE_IMPL_H

#include "engine/cache.h"
#include "engine/demand.h"

struct wi_kv {
    wi_kv_shape shape;
    wi_blocks *blocks;
    int groups;
    int64_t *promised; // [ranks] units reserved and not taken yet
    int64_t *wanted;   // [ranks] for one decision
    wi_copy *copies;
    int copy_count;
    int64_t freed; // how often something was let go
};

static inline int64_t wi_smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t wi_larger(int64_t a, int64_t b) { return a > b ? a : b; }

// The first block that a row at `position` sees.
static inline int64_t wi_kv_first_seen(const wi_kv *c, int kind, int64_t position)
{
    const int64_t window = c->shape.kinds[kind].window;
    return window > 0 && position >= window ? (position - window + 1) / c->shape.block : 0;
}

// Where it is written down which unit a block begins with.
static inline int32_t *wi_kv_head(const wi_sequence *s, int kind, int64_t block)
{
    return &s->heads[(int64_t)kind * s->room + block];
}

// ---- what stands in cache.c ----

// The key of the fold under which so much leaves the fullest rank with the most room.
int wi_kv_emptiest_key(wi_kv *cache, const wi_demand *demand);
// Promises what the sequence may come to; it may hold some of that. False: there is not so much.
bool wi_kv_reserve(wi_kv *cache, wi_sequence *sequence, const wi_demand *demand, int64_t margin);
// Writes down where a block lies; -1: nowhere. Nothing is held or given.
void wi_kv_put(const wi_kv *cache, wi_sequence *sequence, int kind, int64_t block, int32_t head);
// Beside those that hold it already; -1: nothing.
void wi_kv_hold(wi_kv *cache, wi_sequence *sequence, int kind, int64_t block, int32_t head);
void wi_kv_let_go(wi_kv *cache, wi_sequence *sequence, int kind, int64_t block);

#endif
