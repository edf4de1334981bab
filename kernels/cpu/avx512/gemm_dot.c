#include "kernels/cpu/vec16.inc"
// then what stands on it
#include "kernels/cpu/codes16.inc"
#include "kernels/cpu/gemm_types.inc"
#include "kernels/cpu/pairs.inc"
// and on these
#include "kernels/cpu/gemm_groups.inc"
#include "kernels/cpu/gemm_scale.inc"
#include "kernels/cpu/levels.h"

enum { ROW_BLOCK = 12 };

#include "kernels/cpu/gemm_dot.inc"
// whose chains fill
#include "kernels/cpu/gemm_chain.inc"
// whose blocks fill
#include "kernels/cpu/gemm_driver.inc"

void wi_gemm_dot_avx512(weft_kernels *table)
{
    // the level does not say whether the instruction is there
    if (__builtin_cpu_supports("avx512bf16")) table->gemm.run[WEFT_FAMILY_BF16_DOT] = gemm;
}
