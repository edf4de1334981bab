// mma over int8 weights in groups: a file a format, so that they compile beside each other.
#include "kernels/cuda/gemm_mma.cuh"

void wi_mma_i8_groups(const wi_gemm_task &t, const weft_op *op, int tokens)
{
    wi_mma_launch_width<WI_GEMM_I8_GROUPS>(t, op, tokens);
}
