#include "bench/peak/peak.h"

#include <immintrin.h>

// Numbers as a GEMM meets them, as bf16 or as int8. A processor may multiply zeros at a higher clock than it keeps up
// with other numbers, for they take less power: no GEMM comes near a ceiling of zeros. Cheap, for it is inside the
// measurement.
static void fill(uint64_t numbers[256])
{
    uint64_t word = 88172645463325252u;
    for (int i = 0; i < 256; i++) {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        numbers[i] = (word & 0x80ff80ff80ff80ffu) | 0x3e003e003e003e00u; // as bf16 1/8 to 1/2 and their negatives
    }
}

// Four tiles of sums, as in a GEMM, all tiles full.
static void begin(void)
{
    struct {
        uint8_t palette, start, zero[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    uint64_t numbers[256] __attribute__((aligned(64)));
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = 16;
    }
    fill(numbers);
    __asm__ volatile("" : : "r"(&config) : "memory"); // the intrinsic names only its first bytes as read
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, numbers, 64);
    _tile_loadd(5, numbers + 40, 64);
    _tile_loadd(6, numbers + 80, 64);
    _tile_loadd(7, numbers + 120, 64);
}

double wi_peak_bf16_amx(int64_t rounds)
{
    begin();
    for (int64_t n = 0; n < rounds; n++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
    return (double)rounds * 4 * 16 * 16 * 32 * 2;
}

double wi_peak_int8_amx(int64_t rounds)
{
    begin();
    for (int64_t n = 0; n < rounds; n++) {
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
    _tile_release();
    return (double)rounds * 4 * 16 * 16 * 64 * 2;
}
