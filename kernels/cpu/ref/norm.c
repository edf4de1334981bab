#include "kernels/cpu/ref/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/levels.h"
#include "kernels/cpu/norm.inc"

void wi_norm_ref(weft_kernels *table) { table->rows.norm = norm; }
