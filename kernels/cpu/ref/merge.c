#include "kernels/cpu/ref/lanes.inc"

#include "kernels/cpu/merge.inc"

#include "kernels/cpu/levels.h"

void wi_merge_ref(weft_kernels *table) { table->attention.merge = attention_merge; }
