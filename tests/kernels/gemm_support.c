#include "tests/kernels/gemm_support.h"

#include <math.h>

static uint64_t state = 1;

static on_device opened;

const on_device *device_open(void) { return on_device_open(&opened) ? &opened : NULL; }

void device_close(void)
{
    weft_device_destroy(opened.device);
    opened = (on_device){0};
}

void *device_take(size_t bytes)
{
    void *memory;
    if (opened.device)
        CHECK_OK(opened.kind->alloc_shared(opened.device, (bytes + 63) / 64 * 64, &memory));
    else
        CHECK(posix_memalign(&memory, 64, (bytes + 63) / 64 * 64) == 0);
    return memory;
}

void device_give(void *memory)
{
    if (opened.device && memory)
        opened.kind->free_shared(opened.device, memory);
    else
        free(memory);
}

void random_seed(uint32_t seed) { state = seed * 0x9e3779b97f4a7c15u + 1; }

uint32_t random_bits(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32) ^ (uint32_t)(state >> 11);
}

static float of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float random_float(values kind)
{
    const uint32_t bits = random_bits();
    if (kind == EXTREME) {
        switch (bits % 32) {
        case 0:
            return INFINITY;
        case 1:
            return -INFINITY;
        case 2:
            return NAN;
        case 3:
            return of_bits(bits >> 9); // denormal or zero
        case 4:
            return of_bits(bits & 0x80000000u); // a zero
        case 5:
            return of_bits(random_bits());
        default:
            break;
        }
    }
    return ((float)(bits >> 8) * 0x1p-23f - 1.0f) * 1.7f;
}

bool same_bits(float a, float b) { return memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b); }

static uint16_t bf16_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value) return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float float_of_bf16(uint16_t half) { return of_bits((uint32_t)half << 16); }

static float float_of_f16(uint16_t half)
{
    const int exponent = half >> 10 & 31, mantissa = half & 0x3ff;
    float value = exponent == 31
                      ? (mantissa ? NAN : INFINITY)
                      : ldexpf((float)(exponent ? mantissa + 1024 : mantissa), (exponent ? exponent : 1) - 25);
    return half & 0x8000 ? -value : value;
}

// Halves of random f16 whose exponent is not far from 1's, unless extremes are wanted.
static uint16_t random_f16(values kind)
{
    const uint32_t bits = random_bits();
    if (kind == EXTREME && bits % 16 == 0) return (uint16_t)(bits >> 16);
    return (uint16_t)((bits & 0x83ff) | (12 + (bits >> 20) % 4) << 10);
}

static void put(void *base, weft_dtype type, size_t index, values kind, float scale)
{
    if (type == WEFT_F32) {
        const float value = random_float(kind) * scale;
        memcpy((char *)base + 4 * index, &value, 4);
    } else if (type == WEFT_BF16) {
        const uint16_t value = bf16_of(random_float(kind) * scale);
        memcpy((char *)base + 2 * index, &value, 2);
    } else if (type == WEFT_F16) {
        const uint16_t value = random_f16(kind);
        memcpy((char *)base + 2 * index, &value, 2);
    } else {
        ((unsigned char *)base)[index] = (unsigned char)random_bits();
        if (type == WEFT_E4M3 && (((unsigned char *)base)[index] & 0x7f) == 0x7f) ((unsigned char *)base)[index] = 1;
    }
}

static double get(const void *base, weft_dtype type, int64_t index)
{
    const char *at = base;
    uint16_t half;
    float value;
    switch (type) {
    case WEFT_I4:
        return (at[index / 2] >> 4 * (index & 1) & 15) - 8;
    case WEFT_I8:
        return ((const signed char *)base)[index];
    case WEFT_F32:
        memcpy(&value, at + 4 * index, 4);
        return value;
    case WEFT_BF16:
        memcpy(&half, at + 2 * index, 2);
        return float_of_bf16(half);
    case WEFT_F16:
        memcpy(&half, at + 2 * index, 2);
        return float_of_f16(half);
    default:
        break;
    }
    const unsigned char code = ((const unsigned char *)base)[index];
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    const double size = ldexp(exponent ? mantissa + 8 : mantissa, (exponent ? exponent : 1) - 10);
    return code & 0x80 ? -size : size;
}

static void *keep(sources *s, int slot, size_t bytes)
{
    s->memory[slot] = malloc(bytes + 1);
    CHECK(s->memory[slot]);
    return (char *)s->memory[slot] + (slot % 3 == 0); // weights stand unaligned
}

static void clear_signs(unsigned char *floats, weft_dtype type, size_t count)
{
    const size_t size = (size_t)weft_dtype_bits(type) / 8;
    for (size_t i = 0; i < count; i++) floats[(i + 1) * size - 1] &= 0x7f;
}

static void make_source(sources *s, int index, int64_t rows)
{
    const weight_case *c = &s->what;
    weft_gemm_source *out = &s->source[index];
    const size_t elements = (size_t)(c->k + 1) / 2 * 2, groups = c->group ? (size_t)((c->k - 1) / c->group + 1) : 1;
    *out = (weft_gemm_source){.type = c->type, .n = rows, .k = c->k};
    out->row_bytes = elements * (size_t)weft_dtype_bits(c->type) / 8 + 3;
    unsigned char *data = keep(s, 3 * index, out->row_bytes * (size_t)rows);
    out->data = data;
    for (int64_t row = 0; row < rows; row++) {
        const bool zero = c->kind == EXTREME && random_bits() % 8 == 0;
        unsigned char *at = data + (size_t)row * out->row_bytes;
        memset(at, 0, out->row_bytes);
        for (size_t k = 0; k < (c->type == WEFT_I4 ? elements / 2 : elements) && !zero; k++)
            put(at, c->type == WEFT_I4 ? WEFT_U8 : c->type, k, c->kind, 1);
    }
    if (c->type != WEFT_I8 && c->type != WEFT_I4 && c->type != WEFT_E4M3) return;
    const size_t scale_rows = c->scale_rows > 1 ? (size_t)((rows - 1) / c->scale_rows + 1) : (size_t)rows;
    out->scales = keep(s, 3 * index + 1, scale_rows * groups * 4);
    out->scale_type = c->scale_type;
    out->scale_row_bytes = groups * (size_t)weft_dtype_bits(c->scale_type) / 8;
    out->scale_rows = c->scale_rows;
    out->group = c->group;
    for (size_t i = 0; i < scale_rows * groups; i++) put(s->memory[3 * index + 1], c->scale_type, i, PLAIN, 0.01f);
    if (c->positive) clear_signs(s->memory[3 * index + 1], c->scale_type, scale_rows * groups);
    if (c->codebook) out->codebook = s->codebook;
    if (!c->zeros) return;
    out->zeros = keep(s, 3 * index + 2, scale_rows * groups * 4);
    out->zero_type = c->zero_type;
    out->zero_row_bytes = groups * (size_t)weft_dtype_bits(c->zero_type) / 8;
    for (size_t i = 0; i < scale_rows * groups; i++) put(s->memory[3 * index + 2], c->zero_type, i, PLAIN, 5);
}

sources make_sources(const weight_case *what)
{
    sources s = {.what = *what, .count = what->gate ? 2 : what->sources ? what->sources : 1};
    for (int i = 0; i < 16; i++) s.codebook[i] = float_of_bf16(bf16_of(random_float(PLAIN)));
    for (int i = 0; i < s.count; i++) {
        const int64_t rows = what->gate ? what->n : what->n * (i + 1) / s.count - what->n * i / s.count;
        CHECK(rows > 0);
        make_source(&s, i, rows);
    }
    if (what->permuted) {
        const weft_gemm_leaves *l = what->leaves;
        const int64_t held = l ? l->begin[l->first + l->count] - l->begin[l->first] : what->k;
        int32_t *order = malloc((size_t)held * sizeof *order);
        CHECK(order);
        for (int64_t i = 0; i < held; i++) order[i] = (int32_t)i;
        for (int64_t i = held - 1; i > 0; i--) {
            const int64_t j = random_bits() % (i + 1);
            const int32_t other = order[i];
            order[i] = order[j];
            order[j] = other;
        }
        s.memory[3 * WEFT_SOURCES_MAX] = order;
        for (int i = 0; i < s.count; i++) s.source[i].permutation = order;
    }
    return s;
}

void free_sources(sources *s)
{
    for (size_t i = 0; i < sizeof s->memory / sizeof *s->memory; i++) free(s->memory[i]);
    *s = (sources){0};
}

packed pack_weight(weft_family family, const sources *s, const weft_gemm_leaves *leaves, weft_team *team)
{
    sources copy = *s; // a copy's codebook is its own
    for (int i = 0; i < copy.count; i++)
        if (copy.source[i].codebook) copy.source[i].codebook = copy.codebook;
    const weft_fuse fuse = s->what.gate ? WEFT_FUSE_GATE : WEFT_FUSE_STACK;
    const weft_op op = {.team = team};
    packed p = {0};
    size_t bytes;
    CHECK_OK(weft_gemm_pack_bytes(family, copy.source, copy.count, fuse, leaves, &bytes));
    const size_t room = (bytes + 63) / 64 * 64 + 64;
    p.memory = device_take(room);
    memset(p.memory, 0xa5, room);
    CHECK_OK(weft_gemm_pack(&op, family, copy.source, copy.count, fuse, leaves, p.memory, &p.weight));
    for (size_t i = bytes; i < room; i++) CHECK_INT(((unsigned char *)p.memory)[i], 0xa5);
    // the bytes hold no pointers: they do as well elsewhere
    void *moved = device_take(room);
    memcpy(moved, p.memory, room);
    device_give(p.memory);
    p.memory = moved;
    weft_gemm_weight_move(&p.weight, moved);
    return p;
}

void free_packed(packed *p)
{
    device_give(p->memory);
    *p = (packed){0};
}

double rounded_activation(weft_family family, float a)
{
    return family == WEFT_FAMILY_FMA ? a : float_of_bf16(bf16_of(a));
}

double value_of(const sources *s, weft_family family, int64_t row, int64_t k)
{
    int i = 0;
    while (row >= s->source[i].n) row -= s->source[i++].n;
    const weft_gemm_source *w = &s->source[i];
    const char *at = (const char *)w->data + (size_t)row * w->row_bytes;
    double level = get(at, w->type, k);
    if (w->type == WEFT_I4 && s->what.codebook) level = s->codebook[(int)level + 8];
    if (w->scales) {
        const int64_t scale_row = w->scale_rows > 1 ? row / w->scale_rows : row, group = w->group ? k / w->group : 0;
        const double scale =
            get((const char *)w->scales + (size_t)scale_row * w->scale_row_bytes, w->scale_type, group);
        if (w->zeros) level -= get((const char *)w->zeros + (size_t)scale_row * w->zero_row_bytes, w->zero_type, group);
        const bool expands = family >= WEFT_FAMILY_AMX;
        const bool exact = family != WEFT_FAMILY_BLAS && w->type == WEFT_I8 && !w->group && !w->zeros;
        if (!expands || exact) return level * scale;
        level = (float)level * (float)scale;
    }
    return family == WEFT_FAMILY_FMA ? level : float_of_bf16(bf16_of((float)level));
}

enum { GUARD = 64 };

void run_weight(const weft_kernels *table, weft_team *team, const packed *p, const weft_gemm_args *args)
{
    const size_t bytes = weft_gemm_scratch(&p->weight, args->m, team ? weft_team_threads(team) : 1);
    unsigned char *scratch = device_take((bytes + 63) / 64 * 64 + GUARD);
    memset(scratch, 0xff, (bytes + 63) / 64 * 64 + GUARD); // NaN wherever it is not written first
    const weft_op op = {.table = table,
                        .team = team,
                        .stream = table->capability ? opened.stream : NULL,
                        .scratch = scratch,
                        .scratch_bytes = bytes};
    weft_gemm_run(&op, &p->weight, args);
    if (op.stream) CHECK_OK(opened.device->ops->sync(opened.device));
    for (size_t i = 0; i < GUARD; i++) CHECK_INT(scratch[bytes + i], 0xff);
    device_give(scratch);
}

matrix matrix_make(size_t rows, size_t columns, bool odd)
{
    matrix m = {.rows = rows, .columns = columns, .stride = columns + (odd ? 3 : 0)};
    m.bytes = (rows * m.stride + 64) * sizeof(float);
    m.memory = device_take(m.bytes);
    memset(m.memory, 0x5b, m.bytes);
    m.at = (float *)(void *)m.memory + 32 + odd;
    return m;
}

void matrix_check(const matrix *m)
{
    const float *all = (const float *)(const void *)m->memory;
    for (size_t i = 0; i < m->bytes / sizeof(float); i++) {
        const size_t begin = (size_t)(m->at - all), inside = i - begin;
        if (i >= begin && inside / m->stride < m->rows && inside % m->stride < m->columns) continue;
        uint32_t bits;
        memcpy(&bits, &all[i], sizeof bits);
        if (bits != 0x5b5b5b5b)
            CHECK_FAIL("a matrix of %zu x %zu was written outside, %td floats from its begin", m->rows, m->columns,
                       (ptrdiff_t)(i - begin));
    }
}

void matrix_free(matrix *m)
{
    device_give(m->memory);
    *m = (matrix){0};
}
