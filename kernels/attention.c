#include "kernels/attention.h"

#include "kernels/attention_device.inc"
#include "kernels/cpu/attention_scratch.inc"
#include "kernels/cpu/cache_layout.inc"

size_t weft_cache_k_bytes(const weft_cache *cache)
{
    return (size_t)cache->heads * (cache_k_values(cache) + cache_scales(cache));
}

size_t weft_cache_v_bytes(const weft_cache *cache)
{
    return (size_t)cache->heads * (cache_v_values(cache) + cache_scales(cache));
}

weft_cache weft_cache_heads(const weft_cache *cache, int first, int heads)
{
    weft_cache some = *cache;
    some.heads = first;
    const size_t k_before = weft_cache_k_bytes(&some), v_before = weft_cache_v_bytes(&some);
    some.heads = heads;
    some.k_offset += k_before;
    some.v_offset += v_before;
    return some;
}

weft_attention_family weft_attention_choose(const weft_cpu *cpu, weft_isa isa, weft_cache_type type)
{
    if (type == WEFT_CACHE_F32) return WEFT_ATTENTION_FMA;
    if (isa >= WEFT_ISA_AMX) return WEFT_ATTENTION_AMX;
    if (isa >= WEFT_ISA_AVX512 && cpu->bf16_dot_is_fast) return WEFT_ATTENTION_DOT;
    return WEFT_ATTENTION_FMA;
}

weft_attention_family weft_attention_of_device(int capability, weft_cache_type type)
{
    if (type == WEFT_CACHE_F32 || capability < 80) return WEFT_ATTENTION_FMA;
    return capability == 90 ? WEFT_ATTENTION_WGMMA : WEFT_ATTENTION_MMA; // wgmma is of 9.0 alone
}

size_t weft_attention_scratch(int k_size, int v_size, int threads)
{
    return scratch_bytes((size_t)k_size, cache_columns(v_size), (size_t)threads);
}

size_t weft_attention_device_scratch(int requests, int rows, int heads, int v_size)
{
    return device_scratch_bytes(requests, rows, heads, v_size);
}
