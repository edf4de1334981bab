// The gemm part of the device's table.
#include "kernels/cuda/gemm.cuh"

void wi_cuda_gemm(weft_kernels *table)
{
    table->gemm.run[WEFT_FAMILY_FMA] = wi_cuda_gemm_fma;
    table->gemm.run[WEFT_FAMILY_MMA] = wi_cuda_gemm_mma;
    table->gemm.run[WEFT_FAMILY_WGMMA] = wi_cuda_gemm_wgmma;
}
