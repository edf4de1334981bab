#include "bench/peak/peak.h"

#include <immintrin.h>

// Sixteen chains by name, more than latency times ports: an array of them would live in memory. The empty assembly
// says that each value is wanted, so that nothing is computed beforehand.
typedef struct {
    __m512 a, b, c, d, e, f, g, h;
} eight;

static inline void want(eight *s)
{
    __asm__ volatile(""
                     : "+v"(s->a), "+v"(s->b), "+v"(s->c), "+v"(s->d), "+v"(s->e), "+v"(s->f), "+v"(s->g), "+v"(s->h));
}

static inline void fma_eight(eight *s, __m512 x, __m512 y)
{
    s->a = _mm512_fmadd_ps(s->a, y, x);
    s->b = _mm512_fmadd_ps(s->b, y, x);
    s->c = _mm512_fmadd_ps(s->c, y, x);
    s->d = _mm512_fmadd_ps(s->d, y, x);
    s->e = _mm512_fmadd_ps(s->e, y, x);
    s->f = _mm512_fmadd_ps(s->f, y, x);
    s->g = _mm512_fmadd_ps(s->g, y, x);
    s->h = _mm512_fmadd_ps(s->h, y, x);
    want(s);
}

static inline void dot_eight(eight *s, __m512bh x)
{
    s->a = _mm512_dpbf16_ps(s->a, x, x);
    s->b = _mm512_dpbf16_ps(s->b, x, x);
    s->c = _mm512_dpbf16_ps(s->c, x, x);
    s->d = _mm512_dpbf16_ps(s->d, x, x);
    s->e = _mm512_dpbf16_ps(s->e, x, x);
    s->f = _mm512_dpbf16_ps(s->f, x, x);
    s->g = _mm512_dpbf16_ps(s->g, x, x);
    s->h = _mm512_dpbf16_ps(s->h, x, x);
    want(s);
}

double wi_peak_fma_avx512(int64_t rounds)
{
    const __m512 x = _mm512_set1_ps(1.0f), y = _mm512_set1_ps(0.5f);
    eight low = {x, x, x, x, x, x, x, x}, high = low;
    for (int64_t n = 0; n < rounds; n++) {
        fma_eight(&low, x, y);
        fma_eight(&high, x, y);
    }
    return (double)rounds * 16 * 16 * 2;
}

double wi_peak_dot_avx512(int64_t rounds)
{
    const __m512 x = _mm512_set1_ps(1.0f);
    const __m512bh ones = (__m512bh)_mm512_set1_epi32(0x3f803f80);
    eight low = {x, x, x, x, x, x, x, x}, high = low;
    for (int64_t n = 0; n < rounds; n++) {
        dot_eight(&low, ones);
        dot_eight(&high, ones);
    }
    return (double)rounds * 16 * 32 * 2;
}

uint64_t wi_read_avx512(const void *data, size_t bytes)
{
    const char *p = data;
    __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    for (size_t i = 0; i < bytes; i += 512) {
#pragma GCC unroll 8
        for (size_t j = 0; j < 8; j++) sum[j % 4] = _mm512_xor_si512(sum[j % 4], _mm512_load_si512(p + i + 64 * j));
    }
    const __m512i all = _mm512_xor_si512(_mm512_xor_si512(sum[0], sum[1]), _mm512_xor_si512(sum[2], sum[3]));
    return (uint64_t)_mm512_reduce_add_epi64(all);
}

double wi_peak_chain_avx512(int64_t rounds)
{
    const __m512 x = _mm512_set1_ps(1.0f), y = _mm512_set1_ps(0.5f);
    __m512 sum = x;
    for (int64_t n = 0; n < rounds; n++) {
        sum = _mm512_fmadd_ps(x, y, sum);
        __asm__ volatile("" : "+v"(sum));
    }
    return (double)rounds * 16 * 2;
}

void wi_copy_avx512(void *to, const void *from, size_t bytes)
{
    char *out = to;
    const char *in = from;
    for (size_t i = 0; i < bytes; i += 512) {
#pragma GCC unroll 8
        for (size_t j = 0; j < 8; j++) _mm512_store_si512(out + i + 64 * j, _mm512_load_si512(in + i + 64 * j));
    }
}
