#include "kernels/cpu/avx512/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/levels.h"
#include "kernels/cpu/norm.inc"

void wi_norm_avx512(weft_kernels *table) { table->rows.norm = norm; }
