#include "kernels/cpu/avx2/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/levels.h"
#include "kernels/cpu/sample.inc"

void wi_sample_avx2(weft_kernels *table)
{
    table->pick.top = top;
    table->pick.sample = sample;
}
