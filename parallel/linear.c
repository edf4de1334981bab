#include "parallel/linear.h"

#include <assert.h>

void weft_linear_leaves(int64_t k, int64_t unit, weft_gemm_leaves *out)
{
    const int64_t units = (k + unit - 1) / unit;
    *out = (weft_gemm_leaves){.count = WEFT_LEAVES};
    for (int i = 1; i <= WEFT_LEAVES; i++) {
        const int64_t begin = (i * units + WEFT_LEAVES - 1) / WEFT_LEAVES * unit;
        out->begin[i] = begin < k ? begin : k;
    }
}

static void run(const weft_op *op, const weft_linear *linear, const weft_linear_call *call)
{
    const weft_gemm_args args = {.m = call->m,
                                 .a = call->a,
                                 .a_stride = call->a_stride,
                                 .out = {call->out},
                                 .out_stride = call->out_stride,
                                 .bias = linear->bias,
                                 .act = call->act,
                                 .residual = call->residual,
                                 .residual_stride = call->residual_stride};
    if (call->m > 0) weft_gemm_run(op, &linear->weight, &args);
}

void weft_linear_column(const weft_op *op, const weft_linear *linear, const weft_linear_call *call)
{
    run(op, linear, call);
}

void weft_linear_row(const weft_op *op, const weft_linear *linear, const weft_linear_call *call)
{
    assert(linear->weight.whole); // one rank holds every leaf
    run(op, linear, call);
}
