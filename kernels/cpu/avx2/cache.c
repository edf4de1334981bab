#include "kernels/cpu/avx2/lanes.inc"

#include "kernels/cpu/cache.inc"
#include "kernels/cpu/levels.h"

void wi_cache_avx2(weft_kernels *table)
{
    table->attention.cache_write = cache_write;
    table->attention.cache_copy = cache_copy;
}
