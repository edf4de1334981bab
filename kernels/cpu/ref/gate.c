#include "kernels/cpu/ref/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/abreast.inc"

#include "kernels/cpu/gate.inc"
#include "kernels/cpu/levels.h"

void wi_gate_ref(weft_kernels *table)
{
    table->rows.gate = gate;
    table->rows.add = add;
    table->rows.scale = scale;
    table->rows.softcap = softcap;
}
