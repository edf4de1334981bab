#include "core/sha256.h"

#include <string.h>

static const uint32_t rounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t turn(uint32_t x, int by) { return x >> by | x << (32 - by); }

static void mix(uint32_t state[8], const unsigned char block[64])
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
               block[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + (turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
               (turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(s, state, sizeof s);
    // Names go round instead of values: in eight rounds each comes back to where it was.
    for (int i = 0; i < 64; i += 8)
        for (int j = 0; j < 8; j++) {
            const uint32_t a = s[-j & 7], b = s[(1 - j) & 7], c = s[(2 - j) & 7];
            const uint32_t e = s[(4 - j) & 7], f = s[(5 - j) & 7], g = s[(6 - j) & 7];
            const uint32_t one = s[(7 - j) & 7] + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) +
                                 rounds[i + j] + w[i + j];
            const uint32_t two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
            s[(3 - j) & 7] += one;
            s[(7 - j) & 7] = one + two;
        }
    for (int i = 0; i < 8; i++) state[i] += s[i];
}

void weft_sha256_begin(weft_sha256 *hash)
{
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(hash->state, first, sizeof first);
    hash->bytes = 0;
}

void weft_sha256_add(weft_sha256 *hash, const void *data, size_t bytes)
{
    const unsigned char *from = data;
    while (bytes > 0) {
        const size_t used = hash->bytes % 64, room = 64 - used, take = bytes < room ? bytes : room;
        memcpy(hash->block + used, from, take);
        hash->bytes += take;
        from += take;
        bytes -= take;
        if (used + take == 64) mix(hash->state, hash->block);
    }
}

void weft_sha256_finish(weft_sha256 *hash, unsigned char digest[32])
{
    static const unsigned char zeros[64];
    const uint64_t bits = hash->bytes * 8;
    unsigned char length[8];
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)(bits >> (56 - 8 * i));
    weft_sha256_add(hash, "\x80", 1);
    weft_sha256_add(hash, zeros, (size_t)((120 - hash->bytes % 64) % 64));
    weft_sha256_add(hash, length, sizeof length);
    for (int i = 0; i < 32; i++) digest[i] = (unsigned char)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
}

void weft_sha256_end(weft_sha256 *hash, char text[65])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[32];
    weft_sha256_finish(hash, digest);
    for (int i = 0; i < 64; i++) text[i] = digits[digest[i / 2] >> (i % 2 ? 0 : 4) & 15];
    text[64] = 0;
}
