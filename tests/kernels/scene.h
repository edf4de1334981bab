// A batch of requests over a paged cache, for the tests of attention: made from a seed, with blocks in any order, the
// bytes that nobody wrote filled with NaNs, and a second formula for what must come out.
#ifndef WEFT_TESTS_KERNELS_SCENE_H
#define WEFT_TESTS_KERNELS_SCENE_H

#include "tests/kernels/walk.h"

enum { SCENE_REQUESTS = 4 };

typedef struct {
    weft_cache_type type;
    int block, kv_heads, heads, k_size, v_size;
    const int *first_head; // NULL: even groups
    int requests, rows[SCENE_REQUESTS];
    int64_t length[SCENE_REQUESTS]; // the rows are the last ones of it
    int rotation[SCENE_REQUESTS];
    int64_t window;
    float softcap;
    bool bidirectional, sinks;
    weft_values values;
    uint64_t seed;
} scene_shape;

typedef struct {
    scene_shape shape;
    weft_cache cache;
    weft_attention_request requests[SCENE_REQUESTS];
    int32_t *tables[SCENE_REQUESTS];
    size_t table_blocks[SCENE_REQUESTS];
    float *k[SCENE_REQUESTS], *v[SCENE_REQUESTS]; // (length, kv_heads, size), before rounding
    float *q;                                     // (rows, heads, k_size) at q_stride
    size_t q_stride;
    float *sinks;
    void *raw_k, *raw_v; // of the longest request and one head, as the cache stores them, and their scales
    float *raw_k_scale, *raw_v_scale;
    int rows;
} scene;

// Scratch of attention for all ways and scenes.
void weft_scene_scratch(weft_walk *walk);
// Memory comes from the walk, up to the next weft_walk_release.
void weft_scene_make(weft_walk *walk, const scene_shape *shape, scene *s);
// Writes K and V of all requests by the given way: a device's blocks are not the host's.
void weft_scene_write(const weft_op *op, const scene *s);
weft_attention weft_scene_args(const scene *s);
// Rows of one request and head as stored, widened: (length, size).
void weft_scene_stored(const weft_op *op, const scene *s, int request, int kv_head, float *k, float *v);
int weft_scene_kv_head(const scene *s, int head);
size_t weft_scene_out_floats(const scene *s); // rows * heads * v_size

// What the FMA family must give, to the bit, by its rules written down a second time: plain loops, one row at a time.
void weft_scene_expected(const weft_op *op, const scene *s, float *out, float *m, float *l);
// The softmax in double, over the stored values.
void weft_scene_exact(const weft_op *op, const scene *s, bool bf16_queries, double *out);

#endif
