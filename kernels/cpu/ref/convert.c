#include "kernels/cpu/ref/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/convert.inc"
#include "kernels/cpu/levels.h"

void wi_convert_ref(weft_kernels *table) { table->rows.convert = convert; }
