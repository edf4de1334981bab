#include "kernels/cpu/avx512/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/levels.h"
#include "kernels/cpu/quantize.inc"

void wi_quantize_avx512(weft_kernels *table)
{
    table->rows.quantize = quantize;
    table->rows.dequantize = dequantize;
}
