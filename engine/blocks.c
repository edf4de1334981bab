#include "engine/blocks.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { NONE = -1, UNNAMED = -1 };

// Of the block that begins with a unit.
typedef struct {
    wi_digest hash;
    uint64_t stamp;
    int32_t chain;   // the next in its bucket
    int32_t heap_at; // its place among those that may go; NONE
    int32_t holders;
    int32_t priority;
    int16_t units;
    int8_t kind, key;
} entry;

struct wi_blocks {
    int ranks;
    int64_t units;
    weft_eviction eviction;
    int32_t *next;   // [ranks * units] of a block, or of the free ones
    entry *of;       // [ranks * units]
    int32_t *heap;   // [ranks][units] blocks that may go, the first one at the top
    int32_t *bucket; // (mask + 1) of named blocks
    uint64_t mask;
    int32_t *free_first;                      // [ranks]
    int64_t *free_count, *named, *heap_count; // [ranks] units, units, blocks
    uint64_t stamp;
    int64_t evicted;
};

static uint64_t buckets_for(int64_t all)
{
    uint64_t buckets = 16;
    while (buckets < (uint64_t)all) buckets *= 2;
    return buckets;
}

uint64_t wi_blocks_bytes(int ranks, int64_t units)
{
    const wi_blocks *b = NULL; // for sizes alone
    const uint64_t all = (uint64_t)ranks * (uint64_t)units;
    return sizeof *b + all * (sizeof *b->next + sizeof *b->of + sizeof *b->heap) +
           buckets_for((int64_t)all) * sizeof *b->bucket +
           (uint64_t)ranks * (sizeof *b->free_first + sizeof *b->free_count + sizeof *b->named + sizeof *b->heap_count);
}

weft_status wi_blocks_create(int ranks, int64_t units, weft_eviction eviction, wi_blocks **out)
{
    const size_t all = (size_t)ranks * (size_t)units;
    if (units > INT32_MAX / ranks)
        return weft_fail(WEFT_LIMIT,
                         "a cache of %lld blocks on each of %d ranks: give it less memory, or larger blocks",
                         (long long)units, ranks);
    wi_blocks *b = calloc(1, sizeof *b);
    if (!b) return weft_fail(WEFT_NO_MEMORY, "no memory for the books of a cache");
    *b = (wi_blocks){.ranks = ranks, .units = units, .eviction = eviction};
    b->mask = buckets_for((int64_t)all) - 1;
    b->next = malloc(all * sizeof *b->next);
    b->of = calloc(all, sizeof *b->of);
    b->heap = malloc(all * sizeof *b->heap);
    b->bucket = malloc((size_t)(b->mask + 1) * sizeof *b->bucket);
    b->free_first = malloc((size_t)ranks * sizeof *b->free_first);
    b->free_count = malloc((size_t)ranks * sizeof *b->free_count);
    b->named = calloc((size_t)ranks, sizeof *b->named);
    b->heap_count = calloc((size_t)ranks, sizeof *b->heap_count);
    if (!b->next || !b->of || !b->heap || !b->bucket || !b->free_first || !b->free_count || !b->named ||
        !b->heap_count) {
        wi_blocks_destroy(b);
        return weft_fail(WEFT_NO_MEMORY, "no memory for the books of a cache of %lld blocks", (long long)units);
    }
    for (uint64_t i = 0; i <= b->mask; i++) b->bucket[i] = NONE;
    for (int64_t i = 0; i < (int64_t)all; i++) {
        b->next[i] = (i + 1) % units ? (int32_t)(i + 1) : NONE;
        b->of[i] = (entry){.chain = NONE, .heap_at = NONE, .kind = UNNAMED};
    }
    for (int r = 0; r < ranks; r++) {
        b->free_first[r] = (int32_t)(r * units);
        b->free_count[r] = units;
    }
    *out = b;
    return WEFT_OK;
}

void wi_blocks_destroy(wi_blocks *b)
{
    if (!b) return;
    free(b->next);
    free(b->of);
    free(b->heap);
    free(b->bucket);
    free(b->free_first);
    free(b->free_count);
    free(b->named);
    free(b->heap_count);
    free(b);
}

int64_t wi_blocks_units(const wi_blocks *b) { return b->units; }
int64_t wi_blocks_room(const wi_blocks *b, int rank) { return b->free_count[rank] + b->named[rank]; }
int64_t wi_blocks_named(const wi_blocks *b, int rank) { return b->named[rank]; }
int64_t wi_blocks_evicted(const wi_blocks *b) { return b->evicted; }
int wi_blocks_holders(const wi_blocks *b, int32_t block) { return b->of[block].holders; }
int32_t wi_blocks_next(const wi_blocks *b, int32_t unit) { return b->next[unit]; }
int wi_blocks_rank(const wi_blocks *b, int32_t unit) { return (int)(unit / b->units); }
int32_t wi_blocks_in_pool(const wi_blocks *b, int32_t unit) { return (int32_t)(unit % b->units); }

// ---- those that may go, a heap a rank ----

static bool goes_before(const wi_blocks *b, int32_t one, int32_t other)
{
    const entry *x = &b->of[one], *y = &b->of[other];
    if (x->priority != y->priority) return x->priority < y->priority;
    return x->stamp < y->stamp;
}

static void put_at(wi_blocks *b, int32_t *heap, int64_t at, int32_t block)
{
    heap[at] = block;
    b->of[block].heap_at = (int32_t)at;
}

static void rise(wi_blocks *b, int32_t *heap, int64_t at, int32_t block)
{
    for (; at > 0 && goes_before(b, block, heap[(at - 1) / 2]); at = (at - 1) / 2)
        put_at(b, heap, at, heap[(at - 1) / 2]);
    put_at(b, heap, at, block);
}

static void sink(wi_blocks *b, int32_t *heap, int64_t count, int64_t at, int32_t block)
{
    for (int64_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && goes_before(b, heap[child + 1], heap[child])) child++;
        if (!goes_before(b, heap[child], block)) break;
        put_at(b, heap, at, heap[child]);
    }
    put_at(b, heap, at, block);
}

static void heap_add(wi_blocks *b, int32_t block)
{
    const int rank = wi_blocks_rank(b, block);
    rise(b, b->heap + rank * b->units, b->heap_count[rank]++, block);
    b->named[rank] += b->of[block].units;
}

static void heap_remove(wi_blocks *b, int32_t block)
{
    const int rank = wi_blocks_rank(b, block);
    int32_t *heap = b->heap + rank * b->units;
    const int64_t at = b->of[block].heap_at, count = --b->heap_count[rank];
    const int32_t last = heap[count];
    b->of[block].heap_at = NONE;
    b->named[rank] -= b->of[block].units;
    if (last == block) return;
    if (at > 0 && goes_before(b, last, heap[(at - 1) / 2]))
        rise(b, heap, at, last);
    else
        sink(b, heap, count, at, last);
}

// ---- names ----

static int32_t *bucket_of(const wi_blocks *b, const wi_digest *hash) { return &b->bucket[hash->word[0] & b->mask]; }

static bool has_name(const entry *e, int kind, const wi_digest *hash)
{
    return e->kind == kind && e->hash.word[0] == hash->word[0] && e->hash.word[1] == hash->word[1];
}

int32_t wi_blocks_find(const wi_blocks *b, int kind, const wi_digest *hash, int key)
{
    for (int32_t i = *bucket_of(b, hash); i != NONE; i = b->of[i].chain)
        if (b->of[i].key == key && has_name(&b->of[i], kind, hash)) return i;
    return NONE;
}

uint32_t wi_blocks_keys(const wi_blocks *b, int kind, const wi_digest *hash)
{
    uint32_t keys = 0;
    for (int32_t i = *bucket_of(b, hash); i != NONE; i = b->of[i].chain)
        if (has_name(&b->of[i], kind, hash)) keys |= UINT32_C(1) << b->of[i].key;
    return keys;
}

bool wi_blocks_name(wi_blocks *b, int32_t block, int kind, const wi_digest *hash, int key)
{
    entry *e = &b->of[block];
    assert(e->holders > 0);
    if (e->kind != UNNAMED) return true;
    if (wi_blocks_find(b, kind, hash, key) != NONE) return false;
    int32_t *bucket = bucket_of(b, hash);
    e->hash = *hash;
    e->kind = (int8_t)kind;
    e->key = (int8_t)key;
    e->stamp = ++b->stamp;
    e->chain = *bucket;
    *bucket = block;
    return true;
}

void wi_blocks_unname(wi_blocks *b, int32_t block)
{
    entry *e = &b->of[block];
    if (e->kind == UNNAMED) return;
    int32_t *at = bucket_of(b, &e->hash);
    while (*at != block) at = &b->of[*at].chain;
    *at = e->chain;
    e->kind = UNNAMED;
}

// ---- holding ----

static void set_free(wi_blocks *b, int32_t block)
{
    const int rank = wi_blocks_rank(b, block);
    int32_t last = block;
    while (b->next[last] != NONE) last = b->next[last];
    b->next[last] = b->free_first[rank];
    b->free_first[rank] = block;
    b->free_count[rank] += b->of[block].units;
}

static void evict(wi_blocks *b, int32_t block)
{
    heap_remove(b, block);
    wi_blocks_unname(b, block);
    set_free(b, block);
    b->evicted++;
}

int32_t wi_blocks_take(wi_blocks *b, int rank, int units)
{
    assert(wi_blocks_room(b, rank) >= units);
    while (b->free_count[rank] < units) evict(b, b->heap[rank * b->units]);
    const int32_t block = b->free_first[rank];
    int32_t last = block;
    for (int i = 1; i < units; i++) last = b->next[last];
    b->free_first[rank] = b->next[last];
    b->next[last] = NONE;
    b->free_count[rank] -= units;
    b->of[block] = (entry){.chain = NONE, .heap_at = NONE, .holders = 1, .units = (int16_t)units, .kind = UNNAMED};
    return block;
}

void wi_blocks_hold(wi_blocks *b, int32_t block)
{
    entry *e = &b->of[block];
    if (e->holders++ == 0) heap_remove(b, block);
}

void wi_blocks_give(wi_blocks *b, int32_t block, int priority)
{
    entry *e = &b->of[block];
    assert(e->holders > 0);
    if (--e->holders > 0) return;
    if (e->kind == UNNAMED) {
        set_free(b, block);
        return;
    }
    if (b->eviction != WEFT_EVICT_FIFO) e->stamp = ++b->stamp;
    e->priority = b->eviction == WEFT_EVICT_PRIORITY ? priority : 0;
    heap_add(b, block);
}

// ---- checking ----

static weft_status check_heap(const wi_blocks *b, int rank)
{
    const int32_t *heap = b->heap + rank * b->units;
    int64_t units = 0;
    for (int64_t i = 0; i < b->heap_count[rank]; i++) {
        const entry *e = &b->of[heap[i]];
        units += e->units;
        if (e->heap_at != i || e->holders != 0 || e->kind == UNNAMED || wi_blocks_rank(b, heap[i]) != rank)
            return weft_fail(WEFT_INTERNAL, "block %d may not go and stands among those that may", (int)heap[i]);
        if (i > 0 && goes_before(b, heap[i], heap[(i - 1) / 2]))
            return weft_fail(WEFT_INTERNAL, "block %d goes before the one above it", (int)heap[i]);
        if (wi_blocks_find(b, e->kind, &e->hash, e->key) != heap[i])
            return weft_fail(WEFT_INTERNAL, "block %d is not found by its name", (int)heap[i]);
    }
    return units == b->named[rank] ? WEFT_OK
                                   : weft_fail(WEFT_INTERNAL, "rank %d: %lld units may go, not %lld", rank,
                                               (long long)units, (long long)b->named[rank]);
}

weft_status wi_blocks_check(const wi_blocks *b, const int32_t *holders)
{
    if (b->units < 1) return weft_fail(WEFT_INTERNAL, "books of %lld units", (long long)b->units);
    for (int r = 0; r < b->ranks; r++) {
        int64_t held = 0, unused = 0;
        for (int32_t i = b->free_first[r]; i != NONE && unused <= b->units; i = b->next[i]) unused++;
        for (int64_t i = r * b->units; i < (r + 1) * b->units; i++) {
            if (holders[i] == 0) continue;
            if (b->of[i].holders != holders[i])
                return weft_fail(WEFT_INTERNAL, "block %lld has %d holders and says %d", (long long)i, (int)holders[i],
                                 (int)b->of[i].holders);
            held += b->of[i].units;
        }
        if (unused != b->free_count[r] || unused + b->named[r] + held != b->units)
            return weft_fail(WEFT_INTERNAL, "rank %d: of %lld units %lld are free, %lld named, %lld held", r,
                             (long long)b->units, (long long)unused, (long long)b->named[r], (long long)held);
        WEFT_TRY(check_heap(b, r));
    }
    return WEFT_OK;
}
