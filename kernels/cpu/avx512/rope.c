#include "kernels/cpu/avx512/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/levels.h"
#include "kernels/cpu/rope.inc"

void wi_rope_avx512(weft_kernels *table) { table->rows.rope = rope; }
