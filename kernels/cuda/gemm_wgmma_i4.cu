// wgmma over int4 weights: a file a format, so that they compile beside each other.
#include "kernels/cuda/gemm_wgmma.cuh"

void wi_wgmma_i4(const wi_gemm_task &t, const weft_op *op, int tokens, const CUtensorMap &weights,
                 const CUtensorMap &activations)
{
    wi_wgmma_launch_width<WI_GEMM_I4>(t, op, tokens, weights, activations);
}
