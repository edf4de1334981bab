#include "kernels/cpu/levels.h"

weft_kernels weft_kernels_for(weft_isa isa)
{
    weft_kernels table = {.isa = WEFT_ISA_REF};
    wi_kernels_ref(&table);
#if defined(__x86_64__)
    if (isa >= WEFT_ISA_AVX2) {
        wi_kernels_avx2(&table);
        table.isa = WEFT_ISA_AVX2;
    }
    if (isa >= WEFT_ISA_AVX512) {
        wi_kernels_avx512(&table);
        table.isa = WEFT_ISA_AVX512;
    }
#endif
    return table;
}
