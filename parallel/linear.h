// Linear layers as they are divided over a group of ranks, in the two ways that alternate through a model:
//   column   a rank holds some of the outputs; activations in are whole, what comes out is the rank's share
//   row      a rank holds some of the inputs, by leaves; each rank's roots are summed by the tree over the leaves, so
//            what comes out is whole, and has the same bits for any number of ranks
// A group of one computes the same leaves and the same tree. Nothing here allocates.
#ifndef WEFT_PARALLEL_LINEAR_H
#define WEFT_PARALLEL_LINEAR_H

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int64_t m;      // rows; may be 0
    const float *a; // (m, k)
    size_t a_stride;
    float *out; // (m, columns)
    size_t out_stride;
    const float *bias;     // (n), of gate and then of up, or NULL. Of a row linear added once.
    weft_act act;          // behind a gate: act(gate) * up
    const float *residual; // (m, columns) or NULL; may be `out` with the same stride. Of a row linear added once.
    size_t residual_stride;
} weft_linear_call;

void weft_linear_column(const weft_op *op, const weft_gemm_weight *weight, const weft_linear_call *call);
void weft_linear_row(const weft_op *op, const weft_gemm_weight *weight, const weft_linear_call *call);

#ifdef __cplusplus
}
#endif
#endif
