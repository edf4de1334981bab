#include "bench/peak/peak.h"

uint64_t wi_read_ref(const void *data, size_t bytes)
{
    const uint64_t *words = data;
    uint64_t sums[8] = {0}, sum = 0;
    for (size_t i = 0; i < bytes / sizeof *words; i += 8)
        for (int lane = 0; lane < 8; lane++) sums[lane] ^= words[i + (size_t)lane];
    for (int lane = 0; lane < 8; lane++) sum ^= sums[lane];
    return sum;
}

void wi_copy_ref(void *to, const void *from, size_t bytes)
{
    uint64_t *out = to;
    const uint64_t *in = from;
    for (size_t i = 0; i < bytes / sizeof *in; i += 8)
        for (int lane = 0; lane < 8; lane++) out[i + (size_t)lane] = in[i + (size_t)lane];
}
