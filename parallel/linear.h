// Linear layers as they are divided over the dense group, in the two ways that alternate through a model:
//   column   a rank holds some of the outputs; activations in are whole, what comes out is the rank's share
//   row      a rank holds some of the inputs, by leaves; each rank's roots are summed by the tree over the leaves, so
//            what comes out is whole, and has the same bits for any number of ranks
// A group of one computes the same leaves and the same tree.
#ifndef WEFT_PARALLEL_LINEAR_H
#define WEFT_PARALLEL_LINEAR_H

#include "kernels/kernels.h"
#include "parallel/sum.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int64_t m;      // rows; may be 0
    const float *a; // (m, k); of a row linear (m, the columns that this rank computed)
    size_t a_stride;
    const weft_gemm_rows *rows; // of a column linear instead of `a`, or NULL
    const int32_t *index;       // of a column linear, and
    const weft_gemm_groups
        *groups; // of both, as weft_gemm_args has them; then a row linear over several ranks takes no bias
    float *out;  // (m, columns)
    size_t out_stride;
    const float *bias;     // (n), of gate and then of up, or NULL. Of a row linear added once.
    weft_act act;          // behind a gate: act(gate) * up
    const float *residual; // (m, columns) or NULL; may be `out` with the same stride. Of a row linear added once.
    size_t residual_stride;
    const weft_norm *norm;     // of a row linear: RMSNorm of `out`, where it goes and how (weft_row_total), or NULL
    const weft_sum_then *then; // of a row linear whose rows are dealt (weft_row_sum_deals), instead of the five before
} weft_linear_call;

// Local.
void weft_linear_column(const weft_op *op, const weft_gemm_weight *weight, const weft_linear_call *call);

// The row linears of one shape: K inputs in units (weft_leaves_of_units), `width` outputs, at most `rows` rows.
typedef struct {
    int64_t k, unit, width;
    size_t rows;
    bool deals; // many rows are dealt, and each rank finishes some of them
} weft_row_shape;

// What a rank of the mesh holds of them: these inputs, its leaves, and these outputs.
weft_range weft_row_inputs(const weft_mesh *mesh, const weft_row_shape *shape);  // of the leaves
weft_range weft_row_own(const weft_mesh *mesh, const weft_row_shape *shape);     // those that the rank computes
weft_range weft_row_outputs(const weft_mesh *mesh, const weft_row_shape *shape); // all, unless ranks share a leaf
weft_gemm_leaves weft_row_leaves(const weft_mesh *mesh, const weft_row_shape *shape);

// The channels and the memory that their sums need. NULL is a group of one.
typedef struct weft_row_sum weft_row_sum;
// Collective over the dense group, blocking; *out is NULL where that is one rank.
weft_status weft_row_sum_create(const weft_mesh *mesh, const weft_kernels *kernels, const char *name,
                                const weft_row_shape *shape, weft_row_sum **out);
// The memory that it takes of this rank, where groups stand as `near` says. Local; the mesh's groups are not looked at.
size_t weft_row_sum_bytes(const weft_mesh *mesh, const weft_row_shape *shape, const weft_mesh_near *near);
// What of it lies on a device.
size_t weft_row_sum_device_bytes(const weft_mesh *mesh, const weft_row_shape *shape, const weft_mesh_near *near);
bool weft_row_sum_deals(const weft_row_sum *sum, int64_t m); // whether so many rows are dealt
void weft_row_sum_destroy(weft_row_sum *sum);                // Local; accepts NULL

// Collective over the dense group; `m` is the same on all of its ranks. The weight is packed from weft_row_outputs and
// weft_row_inputs; zeroed where those are empty. Over several ranks `out` and `residual` have no gaps between rows.
weft_status weft_linear_row(weft_row_sum *sum, const weft_op *op, const weft_gemm_weight *weight,
                            const weft_linear_call *call);

#ifdef __cplusplus
}
#endif
#endif
