#include "kernels/cpu/ref/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/levels.h"
#include "kernels/cpu/sample.inc"

void wi_sample_ref(weft_kernels *table)
{
    table->pick.top = top;
    table->pick.sample = sample;
}
