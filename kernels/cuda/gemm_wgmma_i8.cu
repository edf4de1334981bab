// wgmma over int8 weights: a file a format, so that they compile beside each other.
#include "kernels/cuda/gemm_wgmma.cuh"

void wi_wgmma_i8(const wi_gemm_task &t, const weft_op *op, int tokens, const CUtensorMap &weights,
                 const CUtensorMap &activations)
{
    wi_wgmma_launch_width<WI_GEMM_I8>(t, op, tokens, weights, activations);
}
