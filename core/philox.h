// Philox4x32-10 (Salmon et al., SC 2011): random numbers as a function of a key and a counter. No state, so a draw
// never depends on ranks, on batches or on how many draws came before it. All of it stands here, for kernels on a
// device draw by the same lines.
#ifndef WEFT_CORE_PHILOX_H
#define WEFT_CORE_PHILOX_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __CUDACC__
#define WEFT_BOTH_SIDES static inline __host__ __device__
#else
#define WEFT_BOTH_SIDES static inline
#endif

typedef struct {
    uint32_t word[4];
} weft_philox4;

// The raw block function; agrees with the Random123 known-answer vectors.
WEFT_BOTH_SIDES weft_philox4 weft_philox(const uint32_t counter[4], const uint32_t key[2])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)0xD2511F53 * c0, b = (uint64_t)0xCD9E8D57 * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    const weft_philox4 drawn = {{c0, c1, c2, c3}};
    return drawn;
}

// What a number is for; part of the counter, so that two uses at one position never share a draw. Values are stored in
// journals: append, never renumber.
typedef enum { WEFT_DRAW_SAMPLE = 0, WEFT_DRAW_WEIGHTS = 1, WEFT_DRAW_TEST = 2, WEFT_DRAW_SIMULATE = 3 } weft_draw;

// One block for (seed, continuation, position, purpose). The key is the seed, low word first; the counter is position's
// low word, its high word, continuation, purpose. Journals and digests rest on this packing: it never changes.
WEFT_BOTH_SIDES weft_philox4 weft_draw4(uint64_t seed, uint32_t continuation, uint64_t position, weft_draw purpose)
{
    const uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), continuation, (uint32_t)purpose};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    return weft_philox(counter, key);
}

static inline float weft_unit_float(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; } // [0, 1), exact
static inline double weft_unit_double(uint32_t high, uint32_t low)                           // [0, 1), exact
{
    return (double)((((uint64_t)high << 32) | low) >> 11) * 0x1p-53;
}

#ifdef __cplusplus
}
#endif
#endif
