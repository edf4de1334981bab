#include "kernels/pick.h"

// A block of logits is 128 of them (cpu/pick_row.inc): for each its largest and room for a mass; for each logit two
// keys, an id and a value.
size_t weft_pick_scratch(size_t width, int threads)
{
    const size_t block = 128, lanes = 16, blocks = (width / block + lanes) / lanes * lanes;
    const size_t bytes = blocks * (sizeof(float) + sizeof(uint64_t)) + 3 * blocks * block * sizeof(uint64_t);
    return (bytes + 63) / 64 * 64 * (size_t)threads;
}
