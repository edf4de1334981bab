#include "kernels/pick.h"

// A block of logits is 64 of them (cpu/sample.inc): for each its largest and its mass; for each logit two keys.
size_t weft_pick_scratch(size_t width, int threads)
{
    const size_t block = 64, lanes = 16, blocks = (width / block + lanes) / lanes * lanes;
    const size_t bytes = blocks * (sizeof(float) + sizeof(uint64_t)) + 2 * blocks * block * sizeof(uint64_t);
    return (bytes + 63) / 64 * 64 * (size_t)threads;
}
