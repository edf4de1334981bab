#include "kernels/cpu/avx2/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/convert.inc"
#include "kernels/cpu/levels.h"

void wi_convert_avx2(weft_kernels *table) { table->rows.convert = convert; }
