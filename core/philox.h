// Philox4x32-10 (Salmon et al., SC 2011): random numbers as a function of a key and a counter. No state, so a draw
// never depends on ranks, on batches or on how many draws came before it.
#ifndef WEFT_CORE_PHILOX_H
#define WEFT_CORE_PHILOX_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    uint32_t word[4];
} weft_philox4;

// The raw block function; agrees with the Random123 known-answer vectors.
weft_philox4 weft_philox(const uint32_t counter[4], const uint32_t key[2]);

// What a number is for; part of the counter, so that two uses at one position never share a draw. Values are stored in
// journals: append, never renumber.
typedef enum { WEFT_DRAW_SAMPLE = 0, WEFT_DRAW_WEIGHTS = 1, WEFT_DRAW_TEST = 2, WEFT_DRAW_SIMULATE = 3 } weft_draw;

// One block for (seed, continuation, position, purpose). The key is the seed, low word first; the counter is position's
// low word, its high word, continuation, purpose. Journals and digests rest on this packing: it never changes.
weft_philox4 weft_draw4(uint64_t seed, uint32_t continuation, uint64_t position, weft_draw purpose);

static inline float weft_unit_float(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; } // [0, 1), exact
static inline double weft_unit_double(uint32_t high, uint32_t low)                           // [0, 1), exact
{
    return (double)((((uint64_t)high << 32) | low) >> 11) * 0x1p-53;
}

#ifdef __cplusplus
}
#endif
#endif
