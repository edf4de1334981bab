#include "kernels/cpu/avx512/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/convert.inc"
#include "kernels/cpu/levels.h"

void wi_convert_avx512(weft_kernels *table) { table->rows.convert = convert; }
