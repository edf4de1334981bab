#include "kernels/cpu/ref/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/levels.h"
#include "kernels/cpu/rope.inc"

void wi_rope_ref(weft_kernels *table) { table->rows.rope = rope; }
