#include "kernels/cpu/avx2/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/abreast.inc"

#include "kernels/cpu/reduce.inc"

#include "kernels/cpu/log.inc"

#include "kernels/cpu/levels.h"
#include "kernels/cpu/softmax.inc"

void wi_softmax_avx2(weft_kernels *table)
{
    table->pick.softmax = softmax;
    table->pick.argmax = argmax;
    table->pick.lse_leaves = lse_leaves;
    table->pick.lse_tree = lse_tree;
    table->pick.logprob = logprob;
}
