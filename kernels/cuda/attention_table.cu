// The attention part of the device's table.
#include "kernels/cuda/cuda.cuh"

void wi_cuda_attention(weft_kernels *table) { (void)table; }
