// The paged cache: what is written comes out as the nearest stored values, nothing else changes, all levels and teams
// give the same bytes, and canonical bytes go out and in without loss.
#include <math.h>

#include "tests/check.h"
#include "tests/kernels/scene.h"

static float of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float of_bf16(uint16_t x) { return of_bits((uint32_t)x << 16); }

// The nearest bf16, ties to the even one, found among the two that enclose x.
static void check_bf16(uint16_t stored, float x)
{
    if (isnan(x)) {
        CHECK(isnan(of_bf16(stored)));
        return;
    }
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint16_t low = (uint16_t)(bits >> 16), high = (uint16_t)(low + 1);
    const double beyond = (high & 0x7fff) == 0x7f80 ? copysign(0x1p128, (double)x) : (double)of_bf16(high);
    const double down = fabs((double)x - (double)of_bf16(low)), up = fabs(beyond - (double)x);
    const uint16_t best = isinf(x) || down < up ? low : up < down ? high : low & 1 ? high : low;
    CHECK_INT(stored, best);
}

static float of_e4m3(uint8_t code)
{
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    const float size = ldexpf((float)(exponent ? mantissa + 8 : mantissa), (exponent ? exponent : 1) - 10);
    return code & 0x80 ? -size : size;
}

// No code is nearer.
static void check_e4m3(uint8_t stored, float scale, float x)
{
    const double exact = scale > 0 ? fmax(-448, fmin(448, (double)x / (double)scale)) : 0;
    const double far = fabs((double)of_e4m3(stored) - exact), size = fabs((double)of_e4m3(stored));
    CHECK((stored & 0x7f) < 0x7f);
    CHECK(far <= fmax(ldexp(1, -10), ldexp(1, ilogb(fmax(size, ldexp(1, -6))) - 4)) * 1.0001);
}

static void check_codes(weft_cache_type type, const unsigned char *stored, float scale, const float *x, int n)
{
    float top = 0;
    bool finite = true;
    for (int i = 0; i < n; i++) {
        finite &= isfinite(x[i]);
        top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    }
    if (!finite) {
        CHECK(isnan(scale)); // the row must not pass for a good one
        return;
    }
    CHECK_REAL((double)scale, (double)(top / (type == WEFT_CACHE_FP8 ? 448.0F : 127.0F)));
    for (int i = 0; i < n && type == WEFT_CACHE_FP8; i++) check_e4m3(stored[i], scale, x[i]);
    for (int i = 0; i < n && type == WEFT_CACHE_INT8; i++) {
        const double exact = scale > 0 ? (double)x[i] / (double)scale : 0, clipped = fmax(-127, fmin(127, exact));
        CHECK(fabs((double)(int8_t)stored[i] - clipped) <= 0.5 + 1e-4);
    }
}

static void check_row(weft_cache_type type, const unsigned char *stored, float scale, const float *x, int n)
{
    if (type == WEFT_CACHE_F32) CHECK_BYTES(stored, x, (size_t)n * sizeof *x);
    if (type == WEFT_CACHE_INT8 || type == WEFT_CACHE_FP8) check_codes(type, stored, scale, x, n);
    for (int i = 0; type == WEFT_CACHE_BF16 && i < n; i++) {
        uint16_t one;
        memcpy(&one, stored + 2 * (size_t)i, sizeof one);
        check_bf16(one, x[i]);
    }
}

typedef struct {
    unsigned char *k, *v;
    float *k_scale, *v_scale;
} rows;

static rows rows_make(weft_walk *walk, const scene *s)
{
    const size_t n = (size_t)s->shape.length[0];
    return (rows){.k = weft_walk_memory(walk, n * (size_t)s->shape.k_size * 4, 4),
                  .v = weft_walk_memory(walk, n * (size_t)s->shape.v_size * 4, 4),
                  .k_scale = weft_walk_memory(walk, n * sizeof(float), 4),
                  .v_scale = weft_walk_memory(walk, n * sizeof(float), 4)};
}

static void copy_rows(const weft_op *op, const weft_cache *cache, const scene *s, int head, const rows *r, bool import)
{
    const weft_cache_copy copy = {.cache = cache,
                                  .head = head,
                                  .span = {.rows = (int)s->shape.length[0], .blocks = s->tables[0]},
                                  .k = r->k,
                                  .v = r->v,
                                  .k_scale = r->k_scale,
                                  .v_scale = r->v_scale,
                                  .import = import};
    op->table->attention.cache_copy(op, &copy);
}

static void check_out(weft_walk *walk, const weft_op *op, const scene *s)
{
    const size_t e = s->shape.type == WEFT_CACHE_F32 ? 4 : s->shape.type == WEFT_CACHE_BF16 ? 2 : 1;
    const rows r = rows_make(walk, s);
    for (int head = 0; head < s->shape.kv_heads; head++) {
        copy_rows(op, &s->cache, s, head, &r, false);
        for (int64_t i = 0; i < s->shape.length[0]; i++) {
            const size_t at = (size_t)i * (size_t)s->shape.kv_heads + (size_t)head;
            const size_t ks = (size_t)s->shape.k_size, vs = (size_t)s->shape.v_size;
            check_row(s->shape.type, r.k + (size_t)i * ks * e, r.k_scale[i], s->k[0] + at * ks, s->shape.k_size);
            check_row(s->shape.type, r.v + (size_t)i * vs * e, r.v_scale[i], s->v[0] + at * vs, s->shape.v_size);
        }
    }
}

// Out of one pool and into another one gives the same bytes, where they were written at all.
static void check_in(weft_walk *walk, const weft_op *op, const scene *s, size_t bytes)
{
    weft_cache other = s->cache;
    other.pool = weft_walk_memory(walk, bytes, 0);
    memset(other.pool, 0xff, bytes);
    const rows r = rows_make(walk, s);
    for (int head = 0; head < s->shape.kv_heads; head++) {
        copy_rows(op, &s->cache, s, head, &r, false);
        copy_rows(op, &other, s, head, &r, true);
    }
    for (size_t b = 0; b < s->table_blocks[0]; b++) {
        const size_t at = (size_t)s->tables[0][b] * s->cache.block_bytes;
        CHECK_BYTES(other.pool + at, s->cache.pool + at, s->cache.block_bytes);
    }
}

enum { HEADS = 2 };

// A device has blocks of its own; what comes out of them is what comes out of the host's.
static void check_device(weft_walk *walk, int way, const scene *s, const rows *expected)
{
    const size_t n = (size_t)s->shape.length[0], ks = (size_t)s->shape.k_size, vs = (size_t)s->shape.v_size;
    const size_t e = s->shape.type == WEFT_CACHE_F32 ? 4 : s->shape.type == WEFT_CACHE_BF16 ? 2 : 1;
    const rows r = rows_make(walk, s);
    for (int head = 0; head < s->shape.kv_heads; head++) {
        copy_rows(weft_walk_way(walk, way), &s->cache, s, head, &r, false);
        weft_walk_same(walk, way, "rows of K", r.k, expected[head].k, n * ks * e);
        weft_walk_same(walk, way, "rows of V", r.v, expected[head].v, n * vs * e);
        if (!weft_cache_is_scaled(s->shape.type)) continue;
        weft_walk_same(walk, way, "scales of K", r.k_scale, expected[head].k_scale, n * sizeof(float));
        weft_walk_same(walk, way, "scales of V", r.v_scale, expected[head].v_scale, n * sizeof(float));
    }
}

static void run_shape(weft_walk *walk, const scene_shape *shape)
{
    rows expected[HEADS];
    scene s;
    weft_scene_make(walk, shape, &s);
    size_t blocks = 1;
    for (int i = 0; i < shape->requests; i++) blocks += s.table_blocks[i];
    const size_t bytes = blocks * s.cache.block_bytes;
    unsigned char *first = weft_walk_memory(walk, bytes, 0), *pool = s.cache.pool;
    const int absent = s.tables[0][0];
    weft_walk_case(walk, "type %d, block %d, sizes %d %d, %s", shape->type, shape->block, shape->k_size, shape->v_size,
                   weft_values_name(shape->values));
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        memset(pool, 0xff, bytes);
        weft_scene_write(op, &s);
        const bool device = weft_walk_on_device(walk, way);
        if (way == 0 || device) {
            check_out(walk, op, &s);
            check_in(walk, op, &s, bytes);
        }
        if (way == 0) {
            memcpy(first, pool, bytes);
            for (int head = 0; head < shape->kv_heads; head++) {
                expected[head] = rows_make(walk, &s);
                copy_rows(op, &s.cache, &s, head, &expected[head], false);
            }
        }
        if (device)
            check_device(walk, way, &s, expected);
        else
            weft_walk_same(walk, way, "pool", pool, first, bytes);
        memset(pool, 0xff, bytes); // what is not here is not written
        s.tables[0][0] = -1;
        weft_scene_write(op, &s);
        s.tables[0][0] = absent;
        for (size_t i = 0; i < s.cache.block_bytes; i++) CHECK(pool[(size_t)absent * s.cache.block_bytes + i] == 0xff);
    }
    weft_walk_release(walk);
}

int main(void)
{
    weft_walk *walk = weft_walk_begin();
    const int sizes[][2] = {{8, 8}, {24, 40}, {64, 64}, {128, 128}, {80, 256}};
    for (int i = 0; i < 20 * WEFT_VALUES_COUNT; i++) {
        const scene_shape shape = {.type = (weft_cache_type)(i % 4),
                                   .block = 16 << i % 5,
                                   .kv_heads = 1 + i % HEADS,
                                   .heads = 2,
                                   .k_size = sizes[i / 4 % 5][0],
                                   .v_size = sizes[i / 4 % 5][1],
                                   .requests = 2,
                                   .rows = {1, 1},
                                   .length = {67, 1 + i},
                                   .values = (weft_values)(i / 20),
                                   .seed = (uint64_t)i};
        run_shape(walk, &shape);
    }
    weft_walk_end(walk);
    return 0;
}
