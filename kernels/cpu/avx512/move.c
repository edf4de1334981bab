#include "kernels/cpu/avx512/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/levels.h"
#include "kernels/cpu/move.inc"

void wi_move_avx512(weft_kernels *table)
{
    table->rows.embed = embed;
    table->rows.sift = sift;
    table->rows.gather = gather;
    table->rows.scatter = scatter;
}
