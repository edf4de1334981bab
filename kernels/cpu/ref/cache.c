#include "kernels/cpu/ref/lanes.inc"

#include "kernels/cpu/cache.inc"
#include "kernels/cpu/levels.h"

void wi_cache_ref(weft_kernels *table)
{
    table->attention.cache_write = cache_write;
    table->attention.cache_copy = cache_copy;
}
