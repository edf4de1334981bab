#include "kernels/cpu/avx2/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/levels.h"
#include "kernels/cpu/quantize.inc"

void wi_quantize_avx2(weft_kernels *table)
{
    table->rows.quantize = quantize;
    table->rows.dequantize = dequantize;
}
