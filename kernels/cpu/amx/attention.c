// The AMX family: queries, K, V and weights are multiplied as bf16 in tiles, sums are f32. A score sums its head's
// columns in tiles of 32 (the last one filled with zeros), O its positions in tiles of 32 anchored at multiples of 32;
// a tile's product has the processor's own order. Weights of positions that a row does not see are zeros. The
// exponential is the family's own: what follows it is rounded to bf16.

#include "kernels/cpu/avx512/lanes.inc"

enum { ROWS = 512 };

#include "kernels/cpu/attention_parts.inc"

#include "kernels/cpu/attention.inc"

#include "kernels/cpu/attention_soften.inc"
#include "kernels/cpu/e4m3.inc"

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
    size_t k_bytes, v_bytes;       // of sixteen positions, as the tiles take them
    uint16_t *queries;             // tiles: (rows / 16, k_size / 32, 16, 32)
    uint16_t *staged_k, *staged_v;
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

static int32_t block_of(const tile *t, int64_t position) { return t->request->blocks[position / t->a->cache->block]; }

static chunk_tiles lay_out(tile *t, int64_t chunk)
{
    chunk_tiles c = {.t = t, .first = chunk * CHUNK, .columns = t->columns};
    c.k_size = whole_32((size_t)t->a->cache->k_size);
    c.k_bytes = GROUP * c.k_size * 2;
    c.v_bytes = GROUP * c.columns * 2;
    c.scores = (void *)t->work;
    c.queries = (void *)(c.scores + 2 * SUB_ROWS * CHUNK);
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
        uint16_t *to = c.queries + (size_t)(row / 16 * 16) * c.k_size + row % 16 * 32;
        for (size_t i = 0; i < c.k_size; i += LANES) {
            const size_t left = i >= n ? 0 : n - i < LANES ? n - i : LANES;
            _mm256_storeu_si256((void *)(to + i / 32 * 512 + i % 32),
                                (__m256i)_mm512_cvtneps_pbh(v_load_part(q + i, left)));
        }
    }
}

// Levels of int8 or fp8.
static void widen(uint16_t *to, weft_cache_type type, const int8_t *from, size_t count)
{
    for (size_t i = 0; i < count; i += 2 * LANES) {
        const vi first = i_load_s8(from + i), second = i_load_s8(from + i + LANES);
        const bool floats = type == WEFT_CACHE_FP8;
        const vf low = floats ? e4m3_cached(first, 0) : i_real(first);
        const vf high = floats ? e4m3_cached(second, 0) : i_real(second);
        _mm512_storeu_si512(to + i, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}

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
    if (weft_cache_is_scaled(cache->type))
        widen(to, cache->type, (const void *)k, GROUP * n);
    else
        memcpy(to, k, GROUP * n * 2);
    memset(to + GROUP * n, 0, GROUP * (c->k_size - n) * 2);
    c->k[group] = (const void *)to;
}

// Sixteen keys of the next chunk, where that stands in place.
static const unsigned char *next_keys(const chunk_tiles *c, int group)
{
    const tile *t = c->t;
    const weft_cache *cache = t->a->cache;
    const int64_t position = t->next * CHUNK + group * GROUP;
    if (t->next < 0 || position >= t->high || cache->type != WEFT_CACHE_BF16) return NULL;
    return cache_k(cache, block_of(t, position), t->kv_head) +
           (size_t)(position % cache->block) * (size_t)cache->k_size * 2;
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
        if (weft_cache_is_scaled(cache->type))
            widen(to, cache->type, (const void *)v, GROUP * columns);
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
    for (int i = 0; i < t->rows; i += t->heads) {
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

#include "kernels/cpu/amx/attention_weights.inc"

// Up to SUB_ROWS rows of the tile, which go through the products together.
typedef struct {
    int row, rows, from, to; // from..to-1: tiles of 32 positions that some row sees
    float *scores;           // (rows / 16, CHUNK / 16) tiles
} sub_tile;

LANE float *score_row(const sub_tile *s, int i) { return s->scores + i / 16 * 16 * CHUNK + i % 16 * 16; }

#include "kernels/cpu/amx/attention_tiles.inc"

static sub_tile sub_at(const chunk_tiles *c, int row)
{
    const tile *t = c->t;
    const int left = t->rows - row;
    sub_tile s = {.row = row, .rows = left < SUB_ROWS ? left : SUB_ROWS};
    int begin = CHUNK, end = 0;
    for (int i = row; i < row + s.rows; i++) {
        if (t->begin[i] >= t->end[i]) continue;
        begin = t->begin[i] < begin ? t->begin[i] : begin;
        end = t->end[i] > end ? t->end[i] : end;
    }
    s.from = begin / 32;
    s.to = (end + 31) / 32;
    s.scores = c->scores;
    return s;
}

// V holds an inf or a NaN that some rows do not see, and zero times that is no zero: each row gets a V of its own.
static void wild_values(const chunk_tiles *c, const sub_tile *s, float *o)
{
    float *one = c->o + SUB_ROWS * c->columns;
    const tile *t = c->t;
    for (int i = 0; i < s->rows; i++) {
        const int row = s->row + i;
        if (t->begin[row] >= t->end[row]) continue;
        for (int v = s->from; v < s->to; v++)
            if (c->wild >> v & 1) stage_values(c, v, t->begin[row], t->end[row]);
        sub_values(c, s, one);
        memcpy(o + (size_t)i * c->columns, one + (size_t)i * c->columns, c->columns * sizeof(float));
    }
}

static void one_row(const chunk_tiles *c, const sub_tile *s, int i, slot to)
{
    const tile *t = c->t;
    const int row = s->row + i;
    row_part p = {.m = -INFINITY};
    if (t->begin[row] < t->end[row]) {
        const soft_row r = {
            .t = t, .first = c->first, .s = score_row(s, i), .begin = t->begin[row], .end = t->end[row]};
        p = soften_row(&r, s->from, s->to);
    }
    to.m[row] = p.m;
    to.l[row] = p.l;
}

static void side_by_side(const chunk_tiles *c, const sub_tile *s, int i, int n, slot to)
{
    const tile *t = c->t;
    const int row = s->row + i;
    soft_rows q = {.begin = t->begin + row,
                   .end = t->end + row,
                   .s = score_row(s, i),
                   .scale = t->a->scale,
                   .from = s->from,
                   .to = s->to};
    int begin = 0, end = CHUNK;
    for (int r = 0; r < n; r++) {
        begin = q.begin[r] > begin ? q.begin[r] : begin;
        end = q.end[r] < end ? q.end[r] : end;
    }
    q.whole_from = (begin + 31) / 32;
    q.whole_to = end / 32;
    q.whole_from = q.whole_from < q.to ? q.whole_from : q.to;
    q.whole_to = q.whole_to > q.whole_from ? q.whole_to : q.whole_from;
    if (n == SIDE)
        soften_8(&q, to.m + row, to.l + row);
    else
        soften_4(&q, to.m + row, to.l + row);
}

static void sub_weights(const chunk_tiles *c, const sub_tile *s, slot to)
{
    const bool plain = scores_are_plain(c->t->a);
    for (int i = 0, n; i < s->rows; i += n) {
        n = !plain ? 1 : i % SIDE == 0 && i + SIDE <= s->rows ? SIDE : i + 4 <= s->rows ? 4 : 1;
        if (n == 1)
            one_row(c, s, i, to);
        else
            side_by_side(c, s, i, n, to);
    }
}

// Rows `row` and following.
static void run_subs(const chunk_tiles *c, int row, slot *to)
{
    for (; row < c->t->rows; row += SUB_ROWS) {
        const sub_tile s = sub_at(c, row);
        float *o = c->t->joins > 0 ? c->o : to->o + (size_t)row * c->columns;
        sub_scores(c, &s);
        sub_weights(c, &s, *to);
        if (c->wild)
            wild_values(c, &s, o);
        else
            sub_values(c, &s, o);
        rows_done(c->t, to, o, row, s.rows);
    }
}

#include "kernels/cpu/amx/attention_whole.inc"

static void family_chunk(tile *t, int64_t chunk, slot *to)
{
    chunk_tiles c = lay_out(t, chunk);
    int all_begin, all_end;
    c.begin = CHUNK;
    for (int i = 0; i < t->rows; i += t->heads) {
        if (t->begin[i] >= t->end[i]) continue;
        c.begin = t->begin[i] < c.begin ? t->begin[i] : c.begin;
        c.end = t->end[i] > c.end ? t->end[i] : c.end;
    }
    seen_by_all(t, &all_begin, &all_end);
    for (int g = c.begin / GROUP; g * GROUP < c.end; g++) take_keys(&c, g);
    for (int v = c.begin / 32; v * 32 < c.end; v++) take_values(&c, v, all_begin, all_end);
    const int rows = chunk_is_whole(&c, all_begin, all_end) ? t->rows / SUB_ROWS * SUB_ROWS : 0;
    if (rows > 0) run_whole(&c, rows, to);
    run_subs(&c, rows, to);
}

#include "kernels/cpu/levels.h"

void wi_attention_amx(weft_kernels *table) { table->attention.run[WEFT_ATTENTION_AMX] = attention_run; }
