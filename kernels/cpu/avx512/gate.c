#include "kernels/cpu/avx512/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/abreast.inc"

#include "kernels/cpu/gate.inc"
#include "kernels/cpu/levels.h"

void wi_gate_avx512(weft_kernels *table)
{
    table->rows.gate = gate;
    table->rows.add = add;
    table->rows.scale = scale;
    table->rows.softcap = softcap;
}
