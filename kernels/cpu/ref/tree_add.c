#include "kernels/cpu/tree_add.inc"
#include "kernels/cpu/levels.h"

void wi_tree_add_ref(weft_kernels *table) { table->tree_add = tree_add; }
