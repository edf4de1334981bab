// The levels of the CPU's op table. A file holds one op (or one close family of ops) for one level, is compiled with
// that level's flags, and gives one function that overrides the slots it improves. Shared bodies are .inc files: their
// functions are static, so no code above the baseline can be picked for everyone by the linker.
#ifndef WEFT_KERNELS_CPU_LEVELS_H
#define WEFT_KERNELS_CPU_LEVELS_H

#include "kernels/kernels.h"

void wi_tree_add_ref(weft_kernels *table);
void wi_tree_add_avx2(weft_kernels *table);
void wi_tree_add_avx512(weft_kernels *table);

void wi_gemm_ref(weft_kernels *table);
void wi_gemm_avx2(weft_kernels *table);
void wi_gemm_avx512(weft_kernels *table);
void wi_gemm_dot_avx512(weft_kernels *table);
void wi_gemm_amx(weft_kernels *table);

#endif
