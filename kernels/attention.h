// Attention over the paged cache: the shapes that its ops take. kernels.h holds the ops themselves.
//
// The order of every sum is fixed by absolute positions alone (docs: the canonical order). Keys are cut into chunks of
// 256 positions, and each chunk gives one part (O, m, l) from nothing: m the largest score, p = e^(score - m), l the
// sum of p by sixteen lanes (position % 16, each ascending) and a tree over the lanes, O the sum of p times V,
// ascending. A chunk is one tile, so nothing is rescaled inside it. The chunks of a fold class (fold.h) are merged
// ascending in a chain, the classes by the tree over places. To merge two parts: m = max, a = e^(m1-m), b = e^(m2-m),
// O = a*O1 + b*O2 and l = a*l1 + b*l2 with two products and one sum, the lower place first; an empty part (l = 0,
// m = -inf, O = 0) merges as a copy of the other. A sink joins once, at the root. A finished row is O / l, and a row
// that sees nothing is 0. So a row's bits do not depend on the rows beside it, on how the queries are cut into calls,
// on threads, or on which places are held here.
//
// Families differ in how scores and P*V are multiplied. FMA (ref, AVX2 and AVX-512 give equal bits): f32 chains by fma,
// ascending, P in f32. DOT (vdpbf16ps) and AMX: queries and P rounded to bf16, pairs or tiles of 32 anchored at
// absolute positions; they serve bf16, int8 and fp8 caches. MMA (mma.sync) and WGMMA are a device's: f32 sums of
// products of bf16, sixteen columns or keys a step, ascending; one instruction whatever the number of rows, e^x by the
// device's 2^x, P rounded to bf16; what would be infinite is NaN. They serve bf16, int8 and fp8 caches; those two and
// heads of more than 128 columns go by mma.sync in both. A key that a row may not see adds exactly nothing to that row,
// whatever its bytes are; inf and NaN stay inside the rows that see them (m of such a row is not defined).
//
// The ops refuse nothing and cannot fail: shapes are the caller's promise, and asserted where that costs little.
#ifndef WEFT_KERNELS_ATTENTION_H
#define WEFT_KERNELS_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/cpu.h"
#include "kernels/fold.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { WEFT_HEAD_SIZE_MAX = 256, WEFT_BLOCK_MIN = 16, WEFT_BLOCK_MAX = 256 };

// int8, fp8 (e4m3): level * scale, one f32 scale for each token and head, K and V apart. No NaN is stored as e4m3: a
// row that holds one, or inf, has the scale NaN. So its code is read as 480, and what nobody wrote is finite too.
typedef enum { WEFT_CACHE_F32, WEFT_CACHE_BF16, WEFT_CACHE_INT8, WEFT_CACHE_FP8, WEFT_CACHE_COUNT } weft_cache_type;

static inline bool weft_cache_is_scaled(weft_cache_type type)
{
    return type == WEFT_CACHE_INT8 || type == WEFT_CACHE_FP8;
}

// One layer's view of a pool of blocks. A block holds `block` consecutive positions starting at a multiple of `block`.
// Inside a block K and V of the layer stand where the offsets say, each weft_cache_*_bytes long; how the bytes lie in
// there is the table's own matter, weft_cache_copy gives and takes them row by row.
typedef struct {
    weft_cache_type type;
    int block;                 // positions in a block: 16, 32, 64, 128 or 256
    int heads;                 // KV heads held here
    int k_size, v_size;        // of a head: multiples of 8 up to 256
    unsigned char *pool;       // aligned to 64; its bytes need no initial value
    size_t block_bytes;        // from a block to the next, a multiple of 64
    size_t k_offset, v_offset; // inside a block, multiples of 64
} weft_cache;

// Bytes of K and of V of one layer in a block, multiples of 64. V's columns are kept in whole sixteens. All heads have
// as many, one head's behind the other's, and what they hold does not depend on where they stand: blocks may be copied
// as they are, whole or by heads, into a cache of the same type, block and sizes.
size_t weft_cache_k_bytes(const weft_cache *cache);
size_t weft_cache_v_bytes(const weft_cache *cache);
weft_cache weft_cache_heads(const weft_cache *cache, int first, int heads); // a view of some of its heads

// A run of positions of one request. Position p is in block blocks[p / block] at p % block; -1 where the block is not
// here (freed behind a window, or held by another rank): such positions are not written.
typedef struct {
    int row, rows;    // rows of the arrays
    int64_t position; // of the first row; the others follow
    const int32_t *blocks;
} weft_cache_span;

// Writes keys and values, rope already applied, rounded to nearest even. No two spans may share a position of a block.
typedef struct {
    const weft_cache *cache;
    const float *k, *v;        // (rows, heads, k_size) and (rows, heads, v_size)
    size_t k_stride, v_stride; // floats from a row to the next
    const weft_cache_span *spans;
    int span_count;
} weft_cache_write;

// Canonical bytes of positions of one layer and head: the stored type, row by row, (rows, k_size) and (rows, v_size),
// and the scales (rows) of int8 and fp8. For sending blocks to other ranks, devices and files.
typedef struct {
    const weft_cache *cache;
    int head;
    weft_cache_span span;
    void *k, *v;
    float *k_scale, *v_scale; // of int8 and fp8, else NULL
    bool import;              // into the cache, else out of it
} weft_cache_copy;

// A request's queries. Keys 0..length-1 are in the cache; a causal row at position p sees those up to p.
typedef struct {
    int row, rows;    // query rows
    int64_t position; // of its first query row; the others follow
    int64_t length;
    const int32_t *blocks;
    int rotation; // the fold's key, 0..31
    // Room for draft trees: for each query row, the positions from `tail_from` on that it sees. None yet: must be NULL.
    const int64_t *const *tails;
    int64_t tail_from;
} weft_attention_request;

typedef struct {
    const weft_cache *cache;
    const weft_attention_request *requests;
    int request_count;
    int rows;              // of q and out, all requests together
    int heads;             // query heads
    const int *first_head; // (cache->heads + 1): KV head h serves query heads first_head[h] .. first_head[h+1]-1;
                           // NULL: heads / cache->heads each
    const float *q;        // (rows, heads, k_size)
    size_t q_stride;       // floats from a row to the next
    float scale, softcap;  // score = q.k * scale, then softcap * tanh(score / softcap) unless that is 0
    bool causal;
    int64_t window;     // a row at p sees only keys above p - window; 0: all
    const float *sinks; // (heads) or NULL: a score that joins each row's sum and has no value
    uint32_t places;    // held on this rank, before rotation. Keys of other places are left out.

    // Finished rows, where one rank holds all places:
    float *out; // (rows, heads, v_size), or NULL
    size_t out_stride;
    float *row_m, *row_l; // (rows, heads) of the finished rows, the sink included; NULL where not wanted
    // Else one part for each root of the held places (weft_fold_roots of weft_fold_rotate(places, rotation)), in place
    // order; all keys of `places` have as many. Part i of a row stands in plane i. No sinks here: they join at the end.
    float *part_o;          // (roots, rows, heads, v_size)
    float *part_m, *part_l; // (roots, rows, heads)
} weft_attention;

// One part of each of `rows` rows, over an aligned subtree of places.
typedef struct {
    int first, places;
    const float *o;     // (rows, heads, v_size)
    const float *m, *l; // (rows, heads)
} weft_attention_part;

// Joins parts by the tree over places, to finished rows (out) or to one part (o, m and l). Parts stand in place order
// and do not overlap; absent places are empty.
typedef struct {
    const weft_attention_part *parts;
    int part_count;
    int rows, heads, v_size;
    const float *sinks; // (heads) or NULL; of finished rows only
    float *out;         // (rows, heads, v_size) at out_stride, or NULL
    size_t out_stride;
    float *o;     // (rows, heads, v_size), where `out` is NULL
    float *m, *l; // (rows, heads); beside finished rows they may be NULL
} weft_attention_merge;

// Which arithmetic multiplies: a fixed function of the processor, the level in use and the cache's type.
typedef enum {
    WEFT_ATTENTION_FMA,
    WEFT_ATTENTION_DOT,
    WEFT_ATTENTION_AMX,
    WEFT_ATTENTION_MMA,
    WEFT_ATTENTION_WGMMA,
    WEFT_ATTENTION_FAMILIES
} weft_attention_family;
weft_attention_family weft_attention_choose(const weft_cpu *cpu, weft_isa isa, weft_cache_type type);

// The same of a device, by its capability: 80, 90.
weft_attention_family weft_attention_of_device(int capability, weft_cache_type type);

// Scratch of `run`, for any arguments with these head sizes.
size_t weft_attention_scratch(int k_size, int v_size, int threads);
// The same on a device: for calls of at most so many requests, rows and query heads, over any number of positions.
size_t weft_attention_device_scratch(int requests, int rows, int heads, int v_size);

typedef struct weft_op weft_op;
typedef struct {
    void (*cache_write)(const weft_op *op, const weft_cache_write *args);
    void (*cache_copy)(const weft_op *op, const weft_cache_copy *args);
    // By family; NULL where the level has no such instructions. A table of the AVX-512 level has DOT on every
    // processor: weft_attention_choose says whether this one can run it.
    void (*run[WEFT_ATTENTION_FAMILIES])(const weft_op *op, const weft_attention *args);
    void (*merge)(const weft_op *op, const weft_attention_merge *args);
} weft_attention_ops;

#ifdef __cplusplus
}
#endif
#endif
