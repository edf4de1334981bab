#include "kernels/cpu/ref/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/levels.h"
#include "kernels/cpu/quantize.inc"

void wi_quantize_ref(weft_kernels *table)
{
    table->rows.quantize = quantize;
    table->rows.dequantize = dequantize;
}
