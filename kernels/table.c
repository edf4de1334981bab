// The ladder: ref fills every slot, each level then overrides what it improves.
#include "kernels/cpu/levels.h"

static void fill_ref(weft_kernels *table)
{
    wi_tree_add_ref(table);
    wi_gemm_ref(table);

    wi_cache_ref(table);
    wi_attention_ref(table);
    wi_merge_ref(table);

    wi_convert_ref(table);
    wi_move_ref(table);
    wi_norm_ref(table);
    wi_rope_ref(table);
    wi_gate_ref(table);
    wi_quantize_ref(table);
    wi_softmax_ref(table);
    wi_sample_ref(table);
    wi_route_ref(table);
    wi_route_group_ref(table);
    wi_logits_ref(table);
}

#if defined(__x86_64__)

static void fill_avx2(weft_kernels *table)
{
    wi_tree_add_avx2(table);
    wi_gemm_avx2(table);

    wi_cache_avx2(table);
    wi_attention_avx2(table);
    wi_merge_avx2(table);

    wi_convert_avx2(table);
    wi_move_avx2(table);
    wi_norm_avx2(table);
    wi_rope_avx2(table);
    wi_gate_avx2(table);
    wi_quantize_avx2(table);
    wi_softmax_avx2(table);
    wi_sample_avx2(table);
    wi_route_avx2(table);
}

static void fill_avx512(weft_kernels *table)
{
    wi_tree_add_avx512(table);
    wi_gemm_avx512(table);
    wi_gemm_dot_avx512(table);

    wi_cache_avx512(table);
    wi_attention_avx512(table);
    wi_attention_dot_avx512(table);
    wi_merge_avx512(table);

    wi_convert_avx512(table);
    wi_move_avx512(table);
    wi_norm_avx512(table);
    wi_rope_avx512(table);
    wi_gate_avx512(table);
    wi_quantize_avx512(table);
    wi_softmax_avx512(table);
    wi_sample_avx512(table);
    wi_route_avx512(table);
}

static void fill_amx(weft_kernels *table)
{
    wi_gemm_amx(table);
    wi_attention_amx(table);
}

#endif

weft_kernels weft_kernels_for(weft_isa isa)
{
    weft_kernels table = {.isa = isa};
    fill_ref(&table);
#if defined(__x86_64__)
    if (isa >= WEFT_ISA_AVX2) fill_avx2(&table);
    if (isa >= WEFT_ISA_AVX512) fill_avx512(&table);
    if (isa >= WEFT_ISA_AMX) fill_amx(&table);
#endif
    return table;
}
