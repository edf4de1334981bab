#include "parallel/linear.h"

#include <assert.h>

static void run(const weft_op *op, const weft_gemm_weight *weight, const weft_linear_call *call)
{
    const weft_gemm_args args = {.m = call->m,
                                 .a = call->a,
                                 .a_stride = call->a_stride,
                                 .out = {call->out},
                                 .out_stride = call->out_stride,
                                 .bias = call->bias,
                                 .act = call->act,
                                 .residual = call->residual,
                                 .residual_stride = call->residual_stride};
    if (call->m > 0) weft_gemm_run(op, weight, &args);
}

void weft_linear_column(const weft_op *op, const weft_gemm_weight *weight, const weft_linear_call *call)
{
    run(op, weight, call);
}

void weft_linear_row(const weft_op *op, const weft_gemm_weight *weight, const weft_linear_call *call)
{
    assert(weight->whole); // one rank holds every leaf
    run(op, weight, call);
}
