#include "kernels/cpu/vec8.inc"
// then what stands on it
#include "kernels/cpu/codes8.inc"
#include "kernels/cpu/gemm_types.inc"
// and on these
#include "kernels/cpu/gemm_groups.inc"
#include "kernels/cpu/gemm_scale.inc"
#include "kernels/cpu/levels.h"

enum { ROW_BLOCK = 6 };

#include "kernels/cpu/gemm_fma.inc"
// whose chains fill
#include "kernels/cpu/gemm_chain.inc"
// whose blocks fill
#include "kernels/cpu/gemm_driver.inc"

void wi_gemm_avx2(weft_kernels *table) { table->gemm.run[WEFT_FAMILY_FMA] = gemm; }
