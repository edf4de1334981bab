#include "kernels/cpu/levels.h"
#include "kernels/cpu/tree_add.inc"

void wi_kernels_ref(weft_kernels *table) { table->tree_add = tree_add; }
