// The levels of the CPU's op table. Each file is compiled with its own instruction flags and gives one function, which
// overrides the slots that the level improves.
#ifndef WEFT_KERNELS_CPU_LEVELS_H
#define WEFT_KERNELS_CPU_LEVELS_H

#include "kernels/kernels.h"

void wi_kernels_ref(weft_kernels *table);
void wi_kernels_avx2(weft_kernels *table);
void wi_kernels_avx512(weft_kernels *table);

#endif
