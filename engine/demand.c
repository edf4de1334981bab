#include "engine/demand.h"

#include <string.h>

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// The most blocks of a kind that a sequence has at once, wherever its window stands.
static int64_t most_at_once(const wi_kv_shape *shape, int kind, int64_t blocks)
{
    const int64_t window = shape->kinds[kind].window, block = shape->block;
    return window > 0 ? smaller(blocks, (window + shape->rows + block - 2) / block + 1) : blocks;
}

// Of that, how much lies in the chunks of one fold class, at most.
static int64_t most_of_class(const wi_kv_shape *shape, int fold_class, int64_t blocks, int64_t at_once)
{
    const int64_t a_chunk = WEFT_FOLD_CHUNK / shape->block, chunks = blocks / a_chunk, rest = blocks % a_chunk;
    const int64_t turn = 2 * WEFT_FOLD_PLACES; // in which each class comes twice
    int64_t all = chunks / turn * 2 * a_chunk;
    for (int64_t i = chunks / turn * turn; i < chunks; i++)
        if (weft_fold_class(i) == fold_class) all += a_chunk;
    if (rest > 0 && weft_fold_class(chunks) == fold_class) all += rest;
    if (at_once == blocks) return all;
    return smaller(all, ((at_once / a_chunk + 2) / turn + 1) * 2 * a_chunk);
}

wi_demand wi_demand_of(const wi_kv_shape *shape, int64_t positions)
{
    const int64_t blocks = wi_blocks_for(shape, positions);
    wi_demand d = {0};
    for (int k = 0; k < shape->kind_count; k++) {
        d.at_once[k] = most_at_once(shape, k, blocks);
        for (int i = 0; i < WEFT_FOLD_PLACES && shape->ranks > 1; i++)
            d.of_class[k][i] = most_of_class(shape, i, blocks, d.at_once[k]);
    }
    return d;
}

void wi_demand_under(const wi_kv_shape *shape, const wi_demand *d, int key, int64_t *units)
{
    int owner[WEFT_FOLD_PLACES] = {0};
    memset(units, 0, (size_t)shape->ranks * sizeof *units);
    for (int i = 0; i < WEFT_FOLD_PLACES && shape->ranks > 1; i++) owner[i] = weft_fold_owner(i, shape->ranks, key);
    for (int k = 0; k < shape->kind_count; k++) {
        int64_t of[WEFT_FOLD_PLACES] = {shape->ranks == 1 ? d->at_once[k] : 0};
        for (int i = 0; i < WEFT_FOLD_PLACES; i++) of[owner[i]] += d->of_class[k][i];
        for (int r = 0; r < shape->ranks; r++) units[r] += smaller(of[r], d->at_once[k]) * shape->kinds[k].units;
    }
}

int wi_demand_keys(const wi_kv_shape *shape) { return shape->ranks > 1 ? WEFT_FOLD_PLACES : 1; }

int64_t wi_demand_most(const wi_kv_shape *shape, int64_t positions)
{
    const wi_demand d = wi_demand_of(shape, positions);
    int64_t most = 0, units[WEFT_FOLD_PLACES];
    for (int key = 0; key < wi_demand_keys(shape); key++) {
        wi_demand_under(shape, &d, key, units);
        for (int r = 0; r < shape->ranks; r++) most = larger(most, units[r]);
    }
    return most;
}
