// The attention part of the device's table.
#include "kernels/cuda/attention.cuh"

void wi_cuda_attention(weft_kernels *table)
{
    table->attention.cache_write = wi_cuda_cache_write;
    table->attention.cache_copy = wi_cuda_cache_copy;
    table->attention.run[WEFT_ATTENTION_FMA] = wi_cuda_attention_fma;
    table->attention.run[WEFT_ATTENTION_MMA] = wi_cuda_attention_mma;
    table->attention.run[WEFT_ATTENTION_WGMMA] = wi_cuda_attention_wgmma; // on capability 9.0
    table->attention.merge = wi_cuda_attention_merge;
}
