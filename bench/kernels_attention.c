// Attention's rows of `weft bench kernels`: a prompt's queries over their own keys, and one query of each of sixteen
// requests over 32k positions. All values of a head's column are one number, so that every row's result is known.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/kernels_impl.h"
#include "core/checked.h"

typedef struct {
    int model; // WEFT_BENCH_*
    const char *name;
    int heads, kv_heads, size;
} model_shape;

static const model_shape models[] = {
    {WEFT_BENCH_1B, "1B", 32, 8, 64},
    {WEFT_BENCH_8B, "8B", 32, 8, 128},
    {WEFT_BENCH_70B, "70B", 64, 8, 128},
};

enum { BLOCK = 64, REQUESTS_MAX = 16, DECODE_LENGTH = 32768, PREFILL_LENGTH = 4096, WRITE_ROWS = 256 };

typedef struct {
    const model_shape *model;
    weft_cache cache;
    weft_attention_family family;
    int requests, rows; // rows of each
    int64_t length;     // of each
    size_t pool_bytes, scratch_bytes;
    int32_t *blocks;
    float *kv, *q, *out;
    void *scratch;
    weft_attention_request request[REQUESTS_MAX];
} attention_bench;

static float wave(size_t i) { return (float)((int)(i * 37 % 101) - 50) * 0.02F; }
static float value_of(const attention_bench *g, size_t column)
{
    return (float)((int)(column % (size_t)(g->model->kv_heads * g->model->size) * 7 % 23) - 11) * 0.125F;
}

static void run(wi_kernel_bench *b, void *state)
{
    attention_bench *g = state;
    const weft_op op = {
        .table = &b->kernels, .team = b->team, .scratch = g->scratch, .scratch_bytes = g->scratch_bytes};
    const size_t row = (size_t)g->model->heads * (size_t)g->model->size;
    const weft_attention args = {.cache = &g->cache,
                                 .requests = g->request,
                                 .request_count = g->requests,
                                 .rows = g->requests * g->rows,
                                 .heads = g->model->heads,
                                 .q = g->q,
                                 .q_stride = row,
                                 .scale = 1.0F / sqrtf((float)g->model->size),
                                 .causal = true,
                                 .places = WEFT_FOLD_ALL,
                                 .out = g->out,
                                 .out_stride = row};
    b->kernels.attention.run[g->family](&op, &args);
}

static weft_status check(const attention_bench *g)
{
    const size_t size = (size_t)g->model->size, heads = (size_t)g->model->heads;
    const size_t each = heads / (size_t)g->model->kv_heads, rows = (size_t)g->requests * (size_t)g->rows;
    for (size_t row = 0; row<rows; row += rows> 64 ? rows / 64 : 1) {
        for (size_t i = 0; i < heads * size; i++) {
            const float expected = value_of(g, i / size / each * size + i % size);
            const float got = g->out[row * heads * size + i];
            if (!(fabsf(got - expected) <= 0.01F * fabsf(expected) + 1e-6F))
                return weft_fail(WEFT_INTERNAL, "attention of %s: row %zu head %zu column %zu is %g, expected %g",
                                 g->model->name, row, i / size, i % size, (double)got, (double)expected);
        }
    }
    return WEFT_OK;
}

static void fill(wi_kernel_bench *b, attention_bench *g)
{
    const weft_op op = {.table = &b->kernels, .team = b->team};
    const size_t row = (size_t)g->model->kv_heads * (size_t)g->model->size;
    float *k = g->kv, *v = g->kv + WRITE_ROWS * row;
    for (size_t i = 0; i < WRITE_ROWS * row; i++) {
        k[i] = wave(i);
        v[i] = value_of(g, i);
    }
    for (int r = 0; r < g->requests; r++) {
        for (int64_t at = 0; at < g->length; at += WRITE_ROWS) {
            const int64_t left = g->length - at;
            const weft_cache_span span = {
                .rows = left < WRITE_ROWS ? (int)left : WRITE_ROWS, .position = at, .blocks = g->request[r].blocks};
            const weft_cache_write write = {
                .cache = &g->cache, .k = k, .v = v, .k_stride = row, .v_stride = row, .spans = &span, .span_count = 1};
            b->kernels.attention.cache_write(&op, &write);
        }
    }
}

static weft_status make_cache(wi_kernel_bench *b, attention_bench *g)
{
    weft_cache *c = &g->cache;
    void *pool;
    int one;
    const int64_t each = (g->length + BLOCK - 1) / BLOCK;
    c->block = BLOCK;
    c->heads = g->model->kv_heads;
    c->k_size = c->v_size = g->model->size;
    c->v_offset = weft_cache_k_bytes(c);
    c->block_bytes = c->v_offset + weft_cache_v_bytes(c);
    g->pool_bytes = c->block_bytes * (size_t)(each * g->requests);
    g->blocks = malloc((size_t)(each * g->requests) * sizeof *g->blocks);
    if (!g->blocks) return weft_fail(WEFT_NO_MEMORY, "no memory to measure attention");
    for (int64_t i = 0; i < each * g->requests; i++) g->blocks[i] = (int32_t)i;
    for (int r = 0; r < g->requests; r++)
        g->request[r] = (weft_attention_request){.row = r * g->rows,
                                                 .rows = g->rows,
                                                 .position = g->length - g->rows,
                                                 .length = g->length,
                                                 .blocks = g->blocks + r * each};
    WEFT_TRY(wi_bench_copies(b, g->pool_bytes, 1, &one)); // refuses what this machine has no room for
    WEFT_TRY(weft_device_alloc(b->device, g->pool_bytes, &pool));
    c->pool = pool;
    return WEFT_OK;
}

static weft_status make_room(wi_kernel_bench *b, attention_bench *g)
{
    const size_t row = (size_t)g->model->heads * (size_t)g->model->size * sizeof(float);
    const size_t rows = (size_t)g->requests * (size_t)g->rows;
    g->scratch_bytes = weft_attention_scratch(g->model->size, g->model->size, b->threads);
    g->kv = malloc(2 * WRITE_ROWS * (size_t)g->model->kv_heads * (size_t)g->model->size * sizeof(float));
    g->q = aligned_alloc(64, weft_align_up(rows * row, 64));
    g->out = aligned_alloc(64, weft_align_up(rows * row, 64));
    g->scratch = aligned_alloc(64, weft_align_up(g->scratch_bytes, 64));
    if (!g->kv || !g->q || !g->out || !g->scratch)
        return weft_fail(WEFT_NO_MEMORY, "no memory to measure attention of %zu rows", rows);
    for (size_t i = 0; i < rows * row / sizeof(float); i++) g->q[i] = wave(i + i / 1000);
    return WEFT_OK;
}

static weft_ceiling compute_of(const wi_kernel_bench *b, weft_attention_family family)
{
    if (family == WEFT_ATTENTION_AMX) return WEFT_CEILING_AMX_BF16;
    if (family == WEFT_ATTENTION_DOT) return WEFT_CEILING_BF16_DOT;
    return b->options->isa >= WEFT_ISA_AVX512 ? WEFT_CEILING_FMA_AVX512 : WEFT_CEILING_FMA_AVX2;
}

// What --family pins, else what the processor has for the cache.
static weft_attention_family family_of(const wi_kernel_bench *b, weft_cache_type type)
{
    weft_family family;
    if (!b->options->family || type == WEFT_CACHE_F32 || !weft_family_from_name(b->options->family, &family))
        return weft_attention_choose(&b->cpu, b->options->isa, type);
    return family == WEFT_FAMILY_AMX        ? WEFT_ATTENTION_AMX
           : family == WEFT_FAMILY_BF16_DOT ? WEFT_ATTENTION_DOT
                                            : WEFT_ATTENTION_FMA;
}

static weft_status measure_case(wi_kernel_bench *b, attention_bench *g, weft_dtype type)
{
    weft_status status;
    const model_shape *m = g->model;
    const double seen = (double)g->rows * ((double)g->length - ((double)g->rows - 1) / 2); // a causal row's keys
    wi_kernel_case c = {.run = run, .state = g, .read = WEFT_CEILING_READ_DRAM};
    g->cache.type = type == WEFT_BF16   ? WEFT_CACHE_BF16
                    : type == WEFT_I8   ? WEFT_CACHE_INT8
                    : type == WEFT_E4M3 ? WEFT_CACHE_FP8
                                        : WEFT_CACHE_F32;
    g->family = family_of(b, g->cache.type);
    WEFT_TRY_GOTO(make_cache(b, g));
    WEFT_TRY_GOTO(make_room(b, g));
    fill(b, g);
    run(b, g);
    WEFT_TRY_GOTO(check(g));
    c.operations = 4.0 * m->size * m->heads * seen * g->requests;
    c.bytes = (double)g->pool_bytes;
    c.compute = compute_of(b, g->family);
    snprintf(c.op, sizeof c.op, "attention %s",
             g->family == WEFT_ATTENTION_AMX   ? "amx"
             : g->family == WEFT_ATTENTION_DOT ? "bf16-dot"
                                               : "fma");
    snprintf(c.shape, sizeof c.shape, "%s %s %s %d of %lld, batch %d", m->name, g->rows > 1 ? "prefill" : "decode",
             weft_dtype_name(type), g->rows, (long long)g->length, g->requests);
    status = wi_bench_cases(b, &c, 1);
fail:
    weft_device_free(b->device, g->cache.pool, g->pool_bytes);
    free(g->blocks);
    free(g->kv);
    free(g->q);
    free(g->out);
    free(g->scratch);
    return status;
}

static weft_status measure_model(wi_kernel_bench *b, const model_shape *m, weft_dtype type)
{
    static const int64_t own[] = {PREFILL_LENGTH};
    const char *shape = b->options->shape;
    int64_t rows[WI_KERNEL_ROWS_MAX];
    const int count = wi_bench_rows(b, own, 1, rows);
    for (int i = 0; i < count && (!shape || strcmp(shape, "prefill") == 0); i++) {
        attention_bench g = {.model = m, .requests = 1, .rows = (int)rows[i], .length = rows[i]};
        WEFT_TRY(measure_case(b, &g, type));
    }
    if (shape && strcmp(shape, "decode") != 0) return WEFT_OK;
    attention_bench g = {.model = m, .requests = REQUESTS_MAX, .rows = 1, .length = DECODE_LENGTH};
    return measure_case(b, &g, type);
}

weft_status wi_bench_attention(wi_kernel_bench *b)
{
    static const weft_dtype all[] = {WEFT_BF16, WEFT_I8};
    const weft_bench_kernels_options *o = b->options;
    weft_dtype only = WEFT_DTYPE_COUNT;
    weft_family family;
    if (o->family && (!weft_family_from_name(o->family, &family) || !weft_family_native(&b->cpu, o->isa, family)))
        return weft_fail(WEFT_UNSUPPORTED, "family \"%s\" is not on this processor at level %s", o->family,
                         weft_isa_name(o->isa));
    if (o->shape && strcmp(o->shape, "prefill") != 0 && strcmp(o->shape, "decode") != 0) {
        if (!o->op) return WEFT_OK; // another op's
        return weft_fail(WEFT_USAGE, "--shape %s: attention has the shapes prefill and decode", o->shape);
    }
    if (o->weights && !weft_dtype_from_name(strcmp(o->weights, "fp8") == 0 ? "e4m3" : o->weights, &only))
        return weft_fail(WEFT_USAGE, "a cache of type \"%s\": use bf16, int8, fp8 or f32", o->weights);
    if (o->weights && only != WEFT_BF16 && only != WEFT_I8 && only != WEFT_E4M3 && only != WEFT_F32)
        return WEFT_OK; // no cache has it
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (o->model != WEFT_BENCH_ALL && o->model != models[i].model) continue;
        if (only != WEFT_DTYPE_COUNT) WEFT_TRY(measure_model(b, &models[i], only));
        for (size_t t = 0; t < sizeof all / sizeof *all && only == WEFT_DTYPE_COUNT; t++)
            WEFT_TRY(measure_model(b, &models[i], all[t]));
    }
    return WEFT_OK;
}
