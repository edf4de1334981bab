// The rows part of the device's table.
#include "kernels/cuda/cuda.cuh"

void wi_cuda_rows(weft_kernels *table) { (void)table; }
