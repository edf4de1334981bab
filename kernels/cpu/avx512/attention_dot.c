// The DOT family, for processors that do vdpbf16ps at full rate: queries, K, V and weights are multiplied as bf16, a
// score adds pairs of columns in ascending order, O pairs of positions (2i, 2i+1). Where a row sees half of a pair, the
// other half is zeros. The instruction has a rounding of its own and flushes denormals.

#include "kernels/cpu/avx512/lanes.inc"

enum { ROWS = 32, SIDE = 4, KEYS_WIDE = 4, COLUMNS_WIDE = 4 };

#include "kernels/cpu/attention_parts.inc"

#include "kernels/cpu/attention.inc"

#include "kernels/cpu/attention_soften.inc"
#include "kernels/cpu/e4m3.inc"

typedef uint16_t query;
typedef uint16_t weight;
enum { WHOLE = 2 };

static void family_thread_begin(const job *j) { (void)j; }
static void family_thread_end(void) {}

static inline weight *chunk_weights(const tile *t) { return (void *)(t->work + ROWS * CHUNK * sizeof(float)); }

static inline query *tile_queries(const tile *t) { return chunk_weights(t) + ROWS * CHUNK; }

static inline const query *row_query(const tile *t, int row)
{
    return tile_queries(t) + (size_t)row * (size_t)t->a->cache->k_size;
}

static void round_all(uint16_t *to, const float *from, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        const size_t left = n - i < LANES ? n - i : LANES;
        const __m256i x = (__m256i)_mm512_cvtneps_pbh(v_load_part(from + i, left));
        _mm256_mask_storeu_epi16(to + i, (__mmask16)((1U << left) - 1), x);
    }
}

static void family_begin(tile *t)
{
    const size_t n = (size_t)t->a->cache->k_size;
    for (int row = 0; row < t->rows; row++) round_all(tile_queries(t) + (size_t)row * n, tile_query(t, row), n);
}

static inline void round_weights(weight *to, const float *from, int begin, int end)
{
    const int first = begin / LANES * LANES, last = (end + LANES - 1) / LANES * LANES;
    round_all(to + first, from + first, (size_t)(last - first));
}

LANE __m512i pair_of(const uint16_t *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return _mm512_set1_epi32((int)word);
}

LANE vf dot(vf sum, __m512i x, __m512i y) { return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)y); }

// Sixteen words of two stored values each as bf16.
LANE __m512i load_words(const unsigned char *p, weft_cache_type type)
{
    if (type == WEFT_CACHE_BF16) return _mm512_loadu_si512(p);
    const vi w = i_load_u16((const void *)p);
    const bool floats = type == WEFT_CACHE_FP8;
    const vf even = floats ? e4m3_cached(w, 0) : i_real(i_sar(i_shl(w, 24), 24));
    const vf odd = floats ? e4m3_cached(w, 8) : i_real(i_sar(i_shl(w, 16), 24));
    return i_or(i_shr(v_bits(even), 16), v_bits(odd)); // codes of 8 bits have nothing in the lower half
}

LANE size_t word_bytes(weft_cache_type type) { return type == WEFT_CACHE_BF16 ? 4 : 2; }

LANE void dots(const query *const *q, int n, const unsigned char *const *k, int groups, int size, weft_cache_type type,
               float *const *s)
{
    vf acc[SIDE][KEYS_WIDE];
#pragma GCC unroll 4
    for (int r = 0; r < n; r++)
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) acc[r][g] = v_set(0);
    for (int d = 0; d < size; d += 2) {
        __m512i pair[SIDE];
#pragma GCC unroll 4
        for (int r = 0; r < n; r++) pair[r] = pair_of(q[r] + d);
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) {
            const __m512i words = load_words(k[g] + (size_t)(d / 2) * GROUP * word_bytes(type), type);
#pragma GCC unroll 4
            for (int r = 0; r < n; r++) acc[r][g] = dot(acc[r][g], words, pair[r]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < n; r++)
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) v_store(s[r] + g * LANES, acc[r][g]);
}

LANE void dots_of(const query *const *q, int n, const unsigned char *const *k, int groups, const weft_cache *c,
                  float *const *s)
{
    if (c->type == WEFT_CACHE_BF16)
        dots(q, n, k, groups, c->k_size, WEFT_CACHE_BF16, s);
    else if (c->type == WEFT_CACHE_INT8)
        dots(q, n, k, groups, c->k_size, WEFT_CACHE_INT8, s);
    else
        dots(q, n, k, groups, c->k_size, WEFT_CACHE_FP8, s);
}

static void dots_side_wide(const query *const *q, const unsigned char *const *k, const weft_cache *c, float *const *s)
{
    dots_of(q, SIDE, k, KEYS_WIDE, c, s);
}

static void dots_side(const query *const *q, const unsigned char *const *k, const weft_cache *c, float *const *s)
{
    dots_of(q, SIDE, k, 1, c, s);
}

static void dots_1_wide(const query *const *q, const unsigned char *const *k, const weft_cache *c, float *const *s)
{
    dots_of(q, 1, k, KEYS_WIDE, c, s);
}

static void dots_1(const query *const *q, const unsigned char *const *k, const weft_cache *c, float *const *s)
{
    dots_of(q, 1, k, 1, c, s);
}

// As the FMA family's, by pairs. `from` and `to` may be odd for a row on its own: its pair's other half is masked, for
// zero times an inf would be no zero.
LANE void weigh(float *const *o, const weight *const *p, int n, const unsigned char *v, size_t columns, int wide,
                weft_cache_type type, int from, int to)
{
    vf acc[SIDE][COLUMNS_WIDE];
    const size_t row = columns * word_bytes(type);
#pragma GCC unroll 4
    for (int r = 0; r < n; r++)
#pragma GCC unroll 4
        for (int c = 0; c < wide; c++) acc[r][c] = v_load(o[r] + c * LANES);
    for (int i = from / 2 * 2; i < to; i += 2) {
        const __m512i seen = i_all((i < from ? 0 : 0xffffU) | (i + 1 < to ? 0xffff0000U : 0));
        __m512i pair[SIDE];
#pragma GCC unroll 4
        for (int r = 0; r < n; r++) pair[r] = i_and(pair_of(p[r] + i), seen);
#pragma GCC unroll 4
        for (int c = 0; c < wide; c++) {
            const unsigned char *at = v + (size_t)(i / 2) * row + (size_t)(c * LANES) * word_bytes(type);
            const __m512i words = i_and(load_words(at, type), seen);
#pragma GCC unroll 4
            for (int r = 0; r < n; r++) acc[r][c] = dot(acc[r][c], words, pair[r]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < n; r++)
#pragma GCC unroll 4
        for (int c = 0; c < wide; c++) v_store(o[r] + c * LANES, acc[r][c]);
}

LANE void weigh_of(float *const *o, const weight *const *p, int n, const unsigned char *v, const weft_cache *c,
                   int wide, int from, int to)
{
    const size_t columns = cache_columns(c->v_size);
    if (c->type == WEFT_CACHE_BF16)
        weigh(o, p, n, v, columns, wide, WEFT_CACHE_BF16, from, to);
    else if (c->type == WEFT_CACHE_INT8)
        weigh(o, p, n, v, columns, wide, WEFT_CACHE_INT8, from, to);
    else
        weigh(o, p, n, v, columns, wide, WEFT_CACHE_FP8, from, to);
}

static void weigh_side(float *const *o, const weight *const *p, const unsigned char *v, const weft_cache *c, int wide,
                       int from, int to)
{
    if (wide == COLUMNS_WIDE)
        weigh_of(o, p, SIDE, v, c, COLUMNS_WIDE, from, to);
    else
        weigh_of(o, p, SIDE, v, c, 1, from, to);
}

static void weigh_1(float *const *o, const weight *const *p, const unsigned char *v, const weft_cache *c, int wide,
                    int from, int to)
{
    if (wide == COLUMNS_WIDE)
        weigh_of(o, p, 1, v, c, COLUMNS_WIDE, from, to);
    else
        weigh_of(o, p, 1, v, c, 1, from, to);
}

#include "kernels/cpu/attention_rows.inc"

#include "kernels/cpu/levels.h"

void wi_attention_dot_avx512(weft_kernels *table) { table->attention.run[WEFT_ATTENTION_DOT] = attention_run; }
