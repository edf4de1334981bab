#include "kernels/cpu/avx512/lanes.inc"

#include "kernels/cpu/merge.inc"

#include "kernels/cpu/levels.h"

void wi_merge_avx512(weft_kernels *table) { table->attention.merge = attention_merge; }
