#include "kernels/cpu/avx512/lanes.inc"

enum { SIDE = 4, KEYS_WIDE = 4, COLUMNS_WIDE = 4 };

#include "kernels/cpu/attention_fma.inc"

#include "kernels/cpu/levels.h"

void wi_attention_avx512(weft_kernels *table) { table->attention.run[WEFT_ATTENTION_FMA] = attention_run; }
