// Philox4x32-10.
#include "core/philox.h"

enum { ROUNDS = 10 };

weft_philox4 weft_philox(const uint32_t counter[4], const uint32_t key[2])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t a = (uint64_t)0xD2511F53 * c0;
        uint64_t b = (uint64_t)0xCD9E8D57 * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    return (weft_philox4){{c0, c1, c2, c3}};
}

weft_philox4 weft_draw4(uint64_t seed, uint32_t continuation, uint64_t position, weft_draw purpose)
{
    const uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), continuation, (uint32_t)purpose};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    return weft_philox(counter, key);
}
