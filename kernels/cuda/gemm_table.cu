// The gemm part of the device's table.
#include "kernels/cuda/cuda.cuh"

void wi_cuda_gemm(weft_kernels *table) { (void)table; }
