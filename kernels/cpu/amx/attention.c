// The AMX family: queries, K, V and weights are multiplied as bf16 in tiles, sums are f32. A score sums its head's
// columns in tiles of 32 (the last one filled with zeros), O its positions in tiles of 32 anchored at multiples of 32;
// a tile's product has the processor's own order. Weights of positions that a row does not see are zeros. The
// exponential is the family's own: what follows it is rounded to bf16.

#include "kernels/cpu/avx512/lanes.inc"

enum { ROWS = 128 };

#include "kernels/cpu/attention_parts.inc"

#include "kernels/cpu/attention.inc"

#include "kernels/cpu/attention_soften.inc"

enum { HALF = CHUNK / 16, TILES = CHUNK / 32 };

// A chunk as the tiles take it, and where the parts of t->work stand.
typedef struct {
    tile *t;
    int64_t first;                 // position of the chunk
    int begin, end;                // what some row sees
    const unsigned char *k[HALF];  // sixteen keys each: (whole_32(k_size) / 2, 16, 2) bf16
    const unsigned char *v[TILES]; // 32 positions each: (16, columns, 2) bf16
    uint32_t wild;                 // v tiles that hold an inf or a NaN which not every row sees
    size_t k_size, columns;        // k_size in whole 32
    uint16_t *queries, *staged_k, *staged_v, *weights;
    float *scores, *o;
} chunk_tiles;

static void family_thread_begin(const job *j)
{
    (void)j;
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    for (int i = 0; i < 8; i++) config.bytes[i] = 64, config.rows[i] = 16;
    _tile_loadconfig(&config);
}

static void family_thread_end(void) { _tile_release(); }

static chunk_tiles lay_out(tile *t, int64_t chunk)
{
    chunk_tiles c = {.t = t, .first = chunk * CHUNK, .columns = t->columns};
    c.k_size = whole_32((size_t)t->a->cache->k_size);
    c.scores = (void *)t->work;
    c.weights = (void *)(c.scores + 2 * SUB_ROWS * SCORE_STRIDE);
    c.queries = c.weights + 2 * SUB_ROWS * WEIGHT_STRIDE;
    c.staged_k = c.queries + TILE_ROWS * c.k_size;
    c.staged_v = c.staged_k + CHUNK * c.k_size;
    c.o = (void *)(c.staged_v + CHUNK * c.columns);
    return c;
}

static void family_begin(tile *t)
{
    const chunk_tiles c = lay_out(t, 0);
    const size_t n = (size_t)t->a->cache->k_size;
    for (int row = 0; row < t->rows; row++) {
        const float *q = tile_query(t, row);
        uint16_t *to = c.queries + (size_t)row * c.k_size;
        for (size_t i = 0; i < c.k_size; i += LANES) {
            const size_t left = i >= n ? 0 : n - i < LANES ? n - i : LANES;
            _mm256_storeu_si256((void *)(to + i), (__m256i)_mm512_cvtneps_pbh(v_load_part(q + i, left)));
        }
    }
}

static void widen_int8(uint16_t *to, const int8_t *from, size_t count)
{
    for (size_t i = 0; i < count; i += 2 * LANES) {
        const vf low = i_real(i_load_s8(from + i)), high = i_real(i_load_s8(from + i + LANES));
        _mm512_storeu_si512(to + i, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}

static int32_t block_of(const tile *t, int64_t position) { return t->request->blocks[position / t->a->cache->block]; }

// Sixteen keys in place, or brought to whole tiles of bf16.
static void take_keys(chunk_tiles *c, int group)
{
    const weft_cache *cache = c->t->a->cache;
    const int64_t position = c->first + group * GROUP;
    const size_t n = (size_t)cache->k_size, e = cache_element(cache->type);
    const unsigned char *k =
        cache_k(cache, block_of(c->t, position), c->t->kv_head) + (size_t)(position % cache->block) * n * e;
    c->k[group] = k;
    if (cache->type == WEFT_CACHE_BF16 && n == c->k_size) return;
    uint16_t *to = c->staged_k + (size_t)group * GROUP * c->k_size;
    if (cache->type == WEFT_CACHE_INT8)
        widen_int8(to, (const void *)k, GROUP * n);
    else
        memcpy(to, k, GROUP * n * 2);
    memset(to + GROUP * n, 0, GROUP * (c->k_size - n) * 2);
    c->k[group] = (const void *)to;
}

// 32 positions of V as bf16 into the scratch, zeros outside of begin..end-1. Blocks without such positions are not
// read.
static void stage_values(const chunk_tiles *c, int number, int begin, int end)
{
    const weft_cache *cache = c->t->a->cache;
    const size_t columns = c->columns, e = cache_element(cache->type);
    uint16_t *to = c->staged_v + (size_t)number * 32 * columns;
    for (int at = number * 32; at < number * 32 + 32; at += GROUP, to += GROUP * columns) {
        if (at + GROUP <= begin || at >= end) {
            memset(to, 0, GROUP * columns * 2);
            continue;
        }
        const int64_t position = c->first + at;
        const unsigned char *v =
            cache_v(cache, block_of(c->t, position), c->t->kv_head) + (size_t)(position % cache->block) * columns * e;
        if (cache->type == WEFT_CACHE_INT8)
            widen_int8(to, (const void *)v, GROUP * columns);
        else
            memcpy(to, v, GROUP * columns * 2);
        for (int i = 0; i < GROUP; i++) {
            if (at + i >= begin && at + i < end) continue;
            for (size_t column = 0; column < columns; column++)
                to[(size_t)(i / 2 * 2) * columns + 2 * column + i % 2] = 0;
        }
    }
}

static bool is_wild(const uint16_t *v, size_t count)
{
    const __m512i exponent = _mm512_set1_epi16(0x7f80);
    __mmask32 any = 0;
    for (size_t i = 0; i < count; i += 32)
        any |= _mm512_cmpeq_epi16_mask(_mm512_and_si512(_mm512_loadu_si512(v + i), exponent), exponent);
    return any;
}

// The positions that every row of the tile sees: V is read in place there.
static void seen_by_all(const tile *t, int *begin, int *end)
{
    *begin = 0, *end = CHUNK;
    for (int i = 0; i < t->rows; i++) {
        *begin = t->begin[i] > *begin ? t->begin[i] : *begin;
        *end = t->end[i] < *end ? t->end[i] : *end;
    }
}

static void take_values(chunk_tiles *c, int number, int all_begin, int all_end)
{
    const weft_cache *cache = c->t->a->cache;
    const int at = number * 32;
    const bool all = all_begin <= at && at + 32 <= all_end;
    if (all && cache->type == WEFT_CACHE_BF16 && cache->block >= 32) {
        const int64_t position = c->first + at;
        c->v[number] = cache_v(cache, block_of(c->t, position), c->t->kv_head) +
                       (size_t)(position % cache->block) * c->columns * 2;
        return;
    }
    stage_values(c, number, c->begin, c->end);
    c->v[number] = (const void *)(c->staged_v + (size_t)number * 32 * c->columns);
    if (!all && cache->type == WEFT_CACHE_BF16 && is_wild((const void *)c->v[number], 32 * c->columns))
        c->wild |= 1U << number;
}

// 2^x to 9e-5, twenty times what bf16 keeps; 0 for -inf.
LANE vf v_exp2(vf x)
{
    const vf f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    vf p = v_fma(v_set(0x1.3baaaep-4F), f, v_set(0x1.d23782p-3F));
    p = v_fma(p, f, v_set(0x1.63e65ap-1F));
    p = v_fma(p, f, v_set(1));
    return _mm512_scalef_ps(p, x);
}

// Lanes of the sixteen positions from `at` on that lie in begin..end-1.
LANE vm lanes_in(int at, int begin, int end)
{
    const int low = begin > at ? begin - at : 0, high = end < at + LANES ? end - at : LANES;
    return m_of(((1U << high) - 1) & ~((1U << low) - 1));
}

LANE float top_score(const float *s, int begin, int end)
{
    const vf nothing = v_set(-INFINITY);
    const int inner = (begin + LANES - 1) / LANES * LANES, outer = end / LANES * LANES;
    vf a = nothing, b = nothing;
    if (inner > begin) a = v_pick(lanes_in(inner - LANES, begin, end), v_load(s + inner - LANES), nothing);
    int i = inner;
    for (; i + 2 * LANES <= outer; i += 2 * LANES) {
        a = v_max(v_load(s + i), a);
        b = v_max(v_load(s + i + LANES), b);
    }
    if (i < outer) a = v_max(v_load(s + i), a);
    if (outer < end && outer >= inner) b = v_pick(lanes_in(outer, begin, end), v_max(v_load(s + outer), b), b);
    return v_top(v_max(a, b));
}

typedef struct {
    const tile *t;
    int64_t first; // position of the chunk
    float *s;
    uint16_t *weights;
    vf slope, less;
} softening;

LANE vf weigh_lanes(const softening *f, int i, bool scaled, vm in, vf sum)
{
    vf p = v_pick(in, v_exp2(v_fma(v_load(f->s + i), f->slope, f->less)), v_set(0));
    sum = v_add(sum, p);
    if (scaled) p = v_pick(in, v_mul(p, v_load(chunk_scales(f->t, f->first + i, true))), v_set(0));
    _mm256_storeu_si256((void *)(f->weights + i), (__m256i)_mm512_cvtneps_pbh(p));
    return sum;
}

// The weights of begin..end-1; the sum goes up the positions.
LANE vf weigh_scores(const softening *f, int begin, int end, bool scaled)
{
    const int inner = (begin + LANES - 1) / LANES * LANES, outer = end / LANES * LANES;
    const vm all = m_of(0xffff);
    vf sum = v_set(0);
    if (inner > begin) sum = weigh_lanes(f, inner - LANES, scaled, lanes_in(inner - LANES, begin, end), sum);
    int i = inner;
    for (; i + 4 * LANES <= outer; i += 4 * LANES) {
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++) sum = weigh_lanes(f, i + u * LANES, scaled, all, sum);
    }
    for (; i < outer; i += LANES) sum = weigh_lanes(f, i, scaled, all, sum);
    if (outer < end && outer >= inner) sum = weigh_lanes(f, outer, scaled, lanes_in(outer, begin, end), sum);
    return sum;
}

// As soften() of the other families, into bf16 weights; zeros up to whole tiles from `from` to `to`.
LANE row_part soften_row(const tile *t, float *s, uint16_t *weights, int64_t first, int begin, int end, int from,
                         int to)
{
    const weft_attention *a = t->a;
    const bool scaled = a->cache->type == WEFT_CACHE_INT8, plain = !scaled && !(a->softcap > 0) && a->scale > 0;
    for (int i = begin / LANES * LANES; !plain && i < end; i += LANES) {
        vf x = v_load(s + i);
        if (scaled) x = v_mul(x, v_load(chunk_scales(t, first + i, false)));
        x = v_mul(x, v_set(a->scale));
        if (a->softcap > 0) x = v_cap(x, a->softcap);
        v_store(s + i, x);
    }
    const float unit = plain ? a->scale : 1, m = top_score(s, begin, end) * unit + 0.0F;
    const softening f = {.t = t,
                         .first = first,
                         .s = s,
                         .weights = weights,
                         .slope = v_set(unit * WI_EXP_LOG2E),
                         .less = v_set(m == -INFINITY ? 0 : -(m * WI_EXP_LOG2E))};
    const int low = begin / LANES * LANES, high = (end + LANES - 1) / LANES * LANES;
    for (int i = from * 32; i < low; i += LANES) _mm256_storeu_si256((void *)(weights + i), _mm256_setzero_si256());
    for (int i = high; i < to * 32; i += LANES) _mm256_storeu_si256((void *)(weights + i), _mm256_setzero_si256());
    const float l = v_sum(scaled ? weigh_scores(&f, begin, end, true) : weigh_scores(&f, begin, end, false));
    return (row_part){.m = m, .l = m == -INFINITY ? l * 0 : l};
}

// Rows `row`.. of one sub-tile.
typedef struct {
    int row, rows, from, to; // from..to-1: tiles of 32 positions that some row sees
    float *scores;
    uint16_t *weights;
} sub_tile;

// What goes on beside the tiles: the weights of another sub-tile, row by row, for the tile unit works alone; and what
// the next chunk needs is fetched.
typedef struct {
    const chunk_tiles *c;
    const sub_tile *s;
    slot to;
    int row; // the next one
} side_work;

static void side_row(side_work *w);

LANE void side_step(side_work *w)
{
    if (w->row < w->s->rows) side_row(w);
}

// Scores of 16 * n rows with sixteen keys. Tiles: 0..3 sums of n times sixteen rows, 4 and 5 rows, 6 keys.
LANE void score_tiles(const uint16_t *q, int n, const unsigned char *k, size_t k_size, float *s, side_work *w)
{
    const size_t row = k_size * 2, s_row = SCORE_STRIDE * sizeof(float);
    _tile_zero(0);
    if (n > 1) {
        _tile_zero(1);
    }
    if (n > 2) {
        _tile_zero(2);
    }
    if (n > 3) {
        _tile_zero(3);
    }
    for (size_t d = 0; d < k_size; d += 32) {
        _tile_loadd(6, k + d * 32, 64);
        _tile_loadd(4, q + d, row);
        _tile_dpbf16ps(0, 4, 6);
        if (n > 1) {
            _tile_loadd(5, q + 16 * k_size + d, row);
            _tile_dpbf16ps(1, 5, 6);
        }
        if (n > 2) {
            _tile_loadd(4, q + 32 * k_size + d, row);
            _tile_dpbf16ps(2, 4, 6);
        }
        if (n > 3) {
            _tile_loadd(5, q + 48 * k_size + d, row);
            _tile_dpbf16ps(3, 5, 6);
        }
        side_step(w);
    }
    _tile_stored(0, s, s_row);
    if (n > 1) {
        _tile_stored(1, s + 16 * SCORE_STRIDE, s_row);
    }
    if (n > 2) {
        _tile_stored(2, s + 32 * SCORE_STRIDE, s_row);
    }
    if (n > 3) {
        _tile_stored(3, s + 48 * SCORE_STRIDE, s_row);
    }
}

// O of 16 * n rows and sixteen columns, over tiles first..last-1 of 32 positions.
LANE void value_tiles(const chunk_tiles *c, const uint16_t *p, int n, int first, int last, size_t column, float *o,
                      side_work *w)
{
    const size_t row = WEIGHT_STRIDE * 2, v_row = c->columns * 4, o_row = c->columns * sizeof(float);
    _tile_zero(0);
    if (n > 1) {
        _tile_zero(1);
    }
    if (n > 2) {
        _tile_zero(2);
    }
    if (n > 3) {
        _tile_zero(3);
    }
    for (int i = first; i < last; i++) {
        _tile_loadd(6, c->v[i] + column * 4, v_row);
        _tile_loadd(4, p + i * 32, row);
        _tile_dpbf16ps(0, 4, 6);
        if (n > 1) {
            _tile_loadd(5, p + 16 * WEIGHT_STRIDE + i * 32, row);
            _tile_dpbf16ps(1, 5, 6);
        }
        if (n > 2) {
            _tile_loadd(4, p + 32 * WEIGHT_STRIDE + i * 32, row);
            _tile_dpbf16ps(2, 4, 6);
        }
        if (n > 3) {
            _tile_loadd(5, p + 48 * WEIGHT_STRIDE + i * 32, row);
            _tile_dpbf16ps(3, 5, 6);
        }
        side_step(w);
    }
    _tile_stored(0, o, o_row);
    if (n > 1) {
        _tile_stored(1, o + 16 * c->columns, o_row);
    }
    if (n > 2) {
        _tile_stored(2, o + 32 * c->columns, o_row);
    }
    if (n > 3) {
        _tile_stored(3, o + 48 * c->columns, o_row);
    }
}

static sub_tile sub_at(const chunk_tiles *c, int row)
{
    const tile *t = c->t;
    const int left = t->rows - row, parity = row / SUB_ROWS % 2;
    sub_tile s = {.row = row, .rows = left < SUB_ROWS ? left : SUB_ROWS};
    int begin = CHUNK, end = 0;
    for (int i = row; i < row + s.rows; i++) {
        if (t->begin[i] >= t->end[i]) continue;
        begin = t->begin[i] < begin ? t->begin[i] : begin;
        end = t->end[i] > end ? t->end[i] : end;
    }
    s.from = begin / 32;
    s.to = (end + 31) / 32;
    s.scores = c->scores + parity * SUB_ROWS * SCORE_STRIDE;
    s.weights = c->weights + parity * SUB_ROWS * WEIGHT_STRIDE;
    return s;
}

// Sixteen positions of the next chunk, K and V, towards the processor.
static void fetch_ahead(const chunk_tiles *c, int group)
{
    const tile *t = c->t;
    const weft_cache *cache = t->a->cache;
    const int64_t position = t->next * CHUNK + group * GROUP;
    if (t->next < 0 || position + GROUP <= t->low || position >= t->high) return;
    const size_t e = cache_element(cache->type), at = (size_t)(position % cache->block);
    const size_t k_row = (size_t)cache->k_size * e, v_row = c->columns * e;
    const unsigned char *k = cache_k(cache, block_of(t, position), t->kv_head) + at * k_row;
    const unsigned char *v = cache_v(cache, block_of(t, position), t->kv_head) + at * v_row;
    for (size_t i = 0; i < GROUP * k_row; i += 64) _mm_prefetch((const char *)k + i, _MM_HINT_T1);
    for (size_t i = 0; i < GROUP * v_row; i += 64) _mm_prefetch((const char *)v + i, _MM_HINT_T1);
}

// Scores in tiles of sixteen keys; those of a pair of which only half may be seen are not looked at.
LANE void score_groups(const chunk_tiles *c, const sub_tile *s, int n, side_work *w)
{
    const uint16_t *q = c->queries + (size_t)s->row * c->k_size;
    const int low = c->begin / GROUP, high = (c->end + GROUP - 1) / GROUP;
    for (int g = s->from * 2; g < s->to * 2; g++) {
        if (g < low || g >= high) continue;
        score_tiles(q, n, c->k[g], c->k_size, s->scores + g * GROUP, w);
        if (s->row == 0) fetch_ahead(c, g);
    }
    for (int g = 0; s->row == 0 && g < HALF; g++)
        if (g < s->from * 2 || g >= s->to * 2) fetch_ahead(c, g);
}

static void sub_scores(const chunk_tiles *c, const sub_tile *s, side_work *w)
{
    if (s->rows > 48)
        score_groups(c, s, 4, w);
    else if (s->rows > 32)
        score_groups(c, s, 3, w);
    else if (s->rows > 16)
        score_groups(c, s, 2, w);
    else
        score_groups(c, s, 1, w);
}

LANE void value_columns(const chunk_tiles *c, const sub_tile *s, int n, float *o, side_work *w)
{
    for (size_t column = 0; column < c->columns; column += 16)
        value_tiles(c, s->weights, n, s->from, s->to, column, o + column, w);
}

static void values_into(const chunk_tiles *c, const sub_tile *s, float *o, side_work *w)
{
    if (s->rows > 48)
        value_columns(c, s, 4, o, w);
    else if (s->rows > 32)
        value_columns(c, s, 3, o, w);
    else if (s->rows > 16)
        value_columns(c, s, 2, o, w);
    else
        value_columns(c, s, 1, o, w);
}

// V holds an inf or a NaN that some rows do not see, and zero times that is no zero: each row gets a V of its own.
static void wild_values(const chunk_tiles *c, const sub_tile *s, slot to, side_work *w)
{
    const tile *t = c->t;
    for (int i = 0; i < s->rows; i++) {
        const int row = s->row + i;
        if (t->begin[row] >= t->end[row]) continue;
        for (int v = s->from; v < s->to; v++)
            if (c->wild >> v & 1) stage_values(c, v, t->begin[row], t->end[row]);
        values_into(c, s, c->o, w);
        memcpy(to.o + (size_t)row * c->columns, c->o + (size_t)i * c->columns, c->columns * sizeof(float));
    }
}

static void sub_values(const chunk_tiles *c, const sub_tile *s, slot to, side_work *w)
{
    if (c->wild)
        wild_values(c, s, to, w);
    else
        values_into(c, s, to.o + (size_t)s->row * c->columns, w);
}

static void side_row(side_work *w)
{
    const chunk_tiles *c = w->c;
    const tile *t = c->t;
    const sub_tile *s = w->s;
    const int i = w->row++, row = s->row + i;
    row_part p = {.m = -INFINITY};
    if (t->begin[row] < t->end[row])
        p = soften_row(t, s->scores + i * SCORE_STRIDE, s->weights + i * WEIGHT_STRIDE, c->first, t->begin[row],
                       t->end[row], s->from, s->to);
    w->to.m[row] = p.m;
    w->to.l[row] = p.l;
}

// The weights of a sub-tile are made while the tile unit takes the scores of the next one and O of the one before.
static void run_subs(const chunk_tiles *c, slot to)
{
    sub_tile sub[2] = {{0}};
    side_work side[2] = {{.c = c, .s = &sub[0], .to = to}, {.c = c, .s = &sub[1], .to = to}};
    for (int row = 0, now = 0; row < c->t->rows + SUB_ROWS; row += SUB_ROWS, now = !now) {
        side_work *mine = &side[now], *before = &side[!now];
        sub[now] = (sub_tile){0};
        if (row < c->t->rows) {
            sub[now] = sub_at(c, row);
            sub_scores(c, &sub[now], before);
        }
        mine->row = 0;
        while (before->row < sub[!now].rows) side_row(before);
        if (row > 0) sub_values(c, &sub[!now], to, mine);
    }
}

static void family_chunk(tile *t, int64_t chunk, slot *to)
{
    chunk_tiles c = lay_out(t, chunk);
    int all_begin, all_end;
    c.begin = CHUNK;
    for (int i = 0; i < t->rows; i++) {
        if (t->begin[i] >= t->end[i]) continue;
        c.begin = t->begin[i] < c.begin ? t->begin[i] : c.begin;
        c.end = t->end[i] > c.end ? t->end[i] : c.end;
    }
    seen_by_all(t, &all_begin, &all_end);
    for (int g = c.begin / GROUP; g * GROUP < c.end; g++) take_keys(&c, g);
    for (int v = c.begin / 32; v * 32 < c.end; v++) take_values(&c, v, all_begin, all_end);
    run_subs(&c, *to);
}

#include "kernels/cpu/levels.h"

void wi_attention_amx(weft_kernels *table) { table->attention.run[WEFT_ATTENTION_AMX] = attention_run; }
