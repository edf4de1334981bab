#include "kernels/cpu/avx512/lanes.inc"

#include "kernels/cpu/cache.inc"
#include "kernels/cpu/levels.h"

void wi_cache_avx512(weft_kernels *table)
{
    table->attention.cache_write = cache_write;
    table->attention.cache_copy = cache_copy;
}
