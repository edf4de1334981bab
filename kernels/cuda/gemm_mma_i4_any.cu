// mma over int4 weights of any levels: a file a format, so that they compile beside each other.
#include "kernels/cuda/gemm_mma.cuh"

void wi_mma_i4_any(const wi_gemm_task &t, const weft_op *op, int tokens)
{
    wi_mma_launch_width<WI_GEMM_I4_ANY>(t, op, tokens);
}
