#include "bench/peak/peak.h"

#include <immintrin.h>

// Twelve chains by name, more than latency times ports: an array of them would live in memory. The empty assembly says
// that each value is wanted, so that nothing is computed beforehand.
typedef struct {
    __m256 a, b, c, d, e, f;
} six;

static inline void fma_six(six *s, __m256 x, __m256 y)
{
    s->a = _mm256_fmadd_ps(s->a, y, x);
    s->b = _mm256_fmadd_ps(s->b, y, x);
    s->c = _mm256_fmadd_ps(s->c, y, x);
    s->d = _mm256_fmadd_ps(s->d, y, x);
    s->e = _mm256_fmadd_ps(s->e, y, x);
    s->f = _mm256_fmadd_ps(s->f, y, x);
    __asm__ volatile("" : "+x"(s->a), "+x"(s->b), "+x"(s->c), "+x"(s->d), "+x"(s->e), "+x"(s->f));
}

double wi_peak_fma_avx2(int64_t rounds)
{
    const __m256 x = _mm256_set1_ps(1.0f), y = _mm256_set1_ps(0.5f);
    six low = {x, x, x, x, x, x}, high = low;
    for (int64_t n = 0; n < rounds; n++) {
        fma_six(&low, x, y);
        fma_six(&high, x, y);
    }
    return (double)rounds * 12 * 8 * 2;
}

uint64_t wi_read_avx2(const void *data, size_t bytes)
{
    const char *p = data;
    __m256i sum[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    for (size_t i = 0; i < bytes; i += 256) {
#pragma GCC unroll 8
        for (size_t j = 0; j < 8; j++) {
            const __m256i *at = (const __m256i *)(const void *)(p + i + 32 * j);
            sum[j % 4] = _mm256_xor_si256(sum[j % 4], _mm256_load_si256(at));
        }
    }
    const __m256i all = _mm256_xor_si256(_mm256_xor_si256(sum[0], sum[1]), _mm256_xor_si256(sum[2], sum[3]));
    return (uint64_t)_mm256_extract_epi64(all, 0) ^ (uint64_t)_mm256_extract_epi64(all, 2);
}

double wi_peak_chain_avx2(int64_t rounds)
{
    const __m256 x = _mm256_set1_ps(1.0f), y = _mm256_set1_ps(0.5f);
    __m256 sum = x;
    for (int64_t n = 0; n < rounds; n++) {
        sum = _mm256_fmadd_ps(x, y, sum);
        __asm__ volatile("" : "+x"(sum));
    }
    return (double)rounds * 8 * 2;
}

void wi_copy_avx2(void *to, const void *from, size_t bytes)
{
    char *out = to;
    const char *in = from;
    for (size_t i = 0; i < bytes; i += 256) {
#pragma GCC unroll 8
        for (size_t j = 0; j < 8; j++)
            _mm256_store_si256((__m256i *)(void *)(out + i + 32 * j),
                               _mm256_load_si256((const __m256i *)(const void *)(in + i + 32 * j)));
    }
}
