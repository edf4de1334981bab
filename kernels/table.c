// The ladder: ref fills every slot, each level then overrides what it improves.
#include "kernels/cpu/levels.h"

static void fill_ref(weft_kernels *table)
{
    wi_tree_add_ref(table);
    wi_gemm_ref(table);
}

#if defined(__x86_64__)

static void fill_avx2(weft_kernels *table)
{
    wi_tree_add_avx2(table);
    wi_gemm_avx2(table);
}

static void fill_avx512(weft_kernels *table)
{
    wi_tree_add_avx512(table);
    wi_gemm_avx512(table);
    wi_gemm_dot_avx512(table);
}

static void fill_amx(weft_kernels *table) { wi_gemm_amx(table); }

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
