#include "kernels/cpu/ref/lanes.inc"

enum { SIDE = 1, KEYS_WIDE = 1, COLUMNS_WIDE = 1 };

#include "kernels/cpu/attention_fma.inc"

#include "kernels/cpu/levels.h"

void wi_attention_ref(weft_kernels *table) { table->attention.run[WEFT_ATTENTION_FMA] = attention_run; }
