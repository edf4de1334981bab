#include <string.h>

#include "kernels/gemm.h"

static const char *const names[WEFT_FAMILY_COUNT] = {"fma", "bf16dot", "amx", "mma", "wgmma", "cublaslt"};

const char *weft_family_name(weft_family family)
{
    return (unsigned)family < WEFT_FAMILY_COUNT ? names[family] : "unknown";
}

bool weft_family_from_name(const char *name, weft_family *out)
{
    for (int i = 0; i < WEFT_FAMILY_COUNT; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (weft_family)i;
        return true;
    }
    return false;
}

bool weft_family_native(const weft_cpu *cpu, weft_isa isa, weft_family family)
{
    switch (family) {
    case WEFT_FAMILY_FMA:
        return isa >= WEFT_ISA_AVX2;
    case WEFT_FAMILY_BF16_DOT:
        return isa >= WEFT_ISA_AVX512 && (cpu->features & WEFT_CPU_AVX512_BF16);
    case WEFT_FAMILY_AMX:
        return isa >= WEFT_ISA_AMX;
    default:
        return false;
    }
}

weft_family weft_family_choose(const weft_cpu *cpu, weft_isa isa, weft_dtype weights)
{
    // f32 and f16 would lose bits in the others.
    if (weights == WEFT_F32 || weights == WEFT_F16) return WEFT_FAMILY_FMA;
    if (isa >= WEFT_ISA_AMX) return WEFT_FAMILY_AMX;
    if (isa >= WEFT_ISA_AVX512 && cpu->bf16_dot_is_fast) return WEFT_FAMILY_BF16_DOT;
    return WEFT_FAMILY_FMA;
}

weft_family weft_family_of_device(int capability, weft_dtype weights)
{
    if (weights == WEFT_F32 || weights == WEFT_F16 || capability < 80) return WEFT_FAMILY_FMA;
    // wgmma is of 9.0 alone: what came after does without it
    return capability == 90 ? WEFT_FAMILY_WGMMA : WEFT_FAMILY_MMA;
}
