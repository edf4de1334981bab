// The pick part of the device's table.
#include "kernels/cuda/cuda.cuh"

void wi_cuda_pick(weft_kernels *table) { (void)table; }
