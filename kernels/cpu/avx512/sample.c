#include "kernels/cpu/avx512/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/levels.h"
#include "kernels/cpu/sample.inc"

void wi_sample_avx512(weft_kernels *table)
{
    table->pick.top = top;
    table->pick.sample = sample;
}
