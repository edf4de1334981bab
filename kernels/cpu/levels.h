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

// The paged cache and attention over it.
void wi_cache_ref(weft_kernels *table);
void wi_attention_ref(weft_kernels *table);
void wi_merge_ref(weft_kernels *table);
void wi_cache_avx2(weft_kernels *table);
void wi_attention_avx2(weft_kernels *table);
void wi_merge_avx2(weft_kernels *table);
void wi_cache_avx512(weft_kernels *table);
void wi_attention_avx512(weft_kernels *table);
void wi_attention_dot_avx512(weft_kernels *table);
void wi_merge_avx512(weft_kernels *table);
void wi_attention_amx(weft_kernels *table);

// The row ops.
void wi_convert_ref(weft_kernels *table);
void wi_move_ref(weft_kernels *table);
void wi_norm_ref(weft_kernels *table);
void wi_rope_ref(weft_kernels *table);
void wi_gate_ref(weft_kernels *table);
void wi_quantize_ref(weft_kernels *table);
void wi_softmax_ref(weft_kernels *table);
void wi_sample_ref(weft_kernels *table);
void wi_route_ref(weft_kernels *table);
void wi_route_group_ref(weft_kernels *table);
void wi_logits_ref(weft_kernels *table);
void wi_convert_avx2(weft_kernels *table);
void wi_move_avx2(weft_kernels *table);
void wi_norm_avx2(weft_kernels *table);
void wi_rope_avx2(weft_kernels *table);
void wi_gate_avx2(weft_kernels *table);
void wi_quantize_avx2(weft_kernels *table);
void wi_softmax_avx2(weft_kernels *table);
void wi_sample_avx2(weft_kernels *table);
void wi_route_avx2(weft_kernels *table);
void wi_convert_avx512(weft_kernels *table);
void wi_move_avx512(weft_kernels *table);
void wi_norm_avx512(weft_kernels *table);
void wi_rope_avx512(weft_kernels *table);
void wi_gate_avx512(weft_kernels *table);
void wi_quantize_avx512(weft_kernels *table);
void wi_softmax_avx512(weft_kernels *table);
void wi_sample_avx512(weft_kernels *table);
void wi_route_avx512(weft_kernels *table);

#endif
