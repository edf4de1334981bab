#include "kernels/cpu/avx2/lanes.inc"

#include "kernels/cpu/merge.inc"

#include "kernels/cpu/levels.h"

void wi_merge_avx2(weft_kernels *table) { table->attention.merge = attention_merge; }
