// What the files of row linears share.
#ifndef WEFT_PARALLEL_LINEAR_IMPL_H
#define WEFT_PARALLEL_LINEAR_IMPL_H

#include "parallel/linear.h"
#include "parallel/room.h"

// Columns of the outputs over which the arrays of the same ranks are added.
typedef struct {
    int64_t begin, end;
    struct {
        int rank;      // -1: the leaf is empty
        int64_t begin; // the first output that this rank gives
        int64_t width;
    } leaf[WEFT_LEAVES];
} wi_segment;

struct weft_row_sum {
    weft_kernels kernels;
    weft_mesh mesh; // its groups are borrowed
    weft_row_shape shape;
    weft_sum *sum;          // up to V ranks
    float *partial, *total; // --numerics fast over a library's all-reduce: the host's
    // ranks that share leaves
    weft_transfer *inputs; // over the leaf group: activations
    weft_range *own;       // [its ranks] the inputs that each computes
    weft_range held;
    wi_room whole;          // (rows, inputs of the leaf)
    wi_room sums;           // (width) where a device adds
    weft_transfer *outputs; // over the dense group: roots, of few rows to all
    weft_transfer *dealt;   // of many rows to who adds them
    size_t *at, *count;     // [dense ranks] what each gets of them
    wi_segment *segments;
    int segment_count;
};

weft_gemm_args wi_row_args(const weft_linear_call *call);
weft_range wi_row_own_of(const weft_shard *shard, const weft_row_shape *shape);
weft_range wi_row_outputs_of(const weft_shard *shard, const weft_row_shape *shape);
weft_sum_places wi_row_places_of(const weft_shard *shard, const weft_row_shape *shape);
bool wi_row_deals(const weft_mesh *mesh, const weft_row_shape *shape); // sums of its rows may be dealt

// Ranks that share leaves: more of them than there are leaves.
weft_status wi_shared_make(weft_row_sum *r, const weft_mesh *mesh, const char *name);
size_t wi_shared_bytes(const weft_mesh *mesh, const weft_row_shape *shape, const weft_mesh_near *near);
size_t wi_shared_device_bytes(const weft_mesh *mesh, const weft_row_shape *shape, const weft_mesh_near *near);
weft_status wi_shared_run(weft_row_sum *r, const weft_op *op, const weft_gemm_weight *weight,
                          const weft_linear_call *call);

#endif
