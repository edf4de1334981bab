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

enum {
    BLOCK = 64,
    REQUESTS_MAX = 16,
    DECODE_LENGTH = 32768,
    DECODE_OF_DEVICE = 65536,
    PREFILL_LENGTH = 4096,
    PREFILL_OF_DEVICE = 16384,
    WRITE_ROWS = 256,
};

typedef struct {
    const model_shape *model;
    weft_cache cache;
    weft_attention_family family;
    int requests, rows; // rows of each
    int64_t length;     // of each
    wi_bench_block pool, blocks, kv, q, out, scratch;
    weft_attention_request request[REQUESTS_MAX];
} attention_bench;

static float wave(size_t i) { return (float)((int)(i * 37 % 101) - 50) * 0.02F; }
static float value_of(const attention_bench *g, size_t column)
{
    return (float)((int)(column % (size_t)(g->model->kv_heads * g->model->size) * 7 % 23) - 11) * 0.125F;
}

static void run(wi_kernel_bench *b, void *state, int64_t turn)
{
    attention_bench *g = state;
    const weft_op op = wi_bench_op(b, &g->scratch);
    const size_t row = (size_t)g->model->heads * (size_t)g->model->size;
    const weft_attention args = {.cache = &g->cache,
                                 .requests = g->request,
                                 .request_count = g->requests,
                                 .rows = g->requests * g->rows,
                                 .heads = g->model->heads,
                                 .q = g->q.at,
                                 .q_stride = row,
                                 .scale = 1.0F / sqrtf((float)g->model->size),
                                 .causal = true,
                                 .places = WEFT_FOLD_ALL,
                                 .out = g->out.at,
                                 .out_stride = row};
    b->kernels.attention.run[g->family](&op, &args);
}

static weft_status check(const attention_bench *g, const float *out)
{
    const size_t size = (size_t)g->model->size, heads = (size_t)g->model->heads;
    const size_t each = heads / (size_t)g->model->kv_heads, rows = (size_t)g->requests * (size_t)g->rows;
    // int8: half a step of a row whose largest is 11 / 8
    const float rounded = g->cache.type == WEFT_CACHE_INT8 ? 11 * 0.125F / 127 * 0.51F : 1e-6F;
    for (size_t row = 0; row<rows; row += rows> 64 ? rows / 64 : 1) {
        for (size_t i = 0; i < heads * size; i++) {
            const float expected = value_of(g, i / size / each * size + i % size);
            const float got = out[row * heads * size + i];
            if (!(fabsf(got - expected) <= 0.01F * fabsf(expected) + rounded))
                return weft_fail(WEFT_INTERNAL, "attention of %s: row %zu head %zu column %zu is %g, expected %g",
                                 g->model->name, row, i / size, i % size, (double)got, (double)expected);
        }
    }
    return WEFT_OK;
}

static weft_status fill(wi_kernel_bench *b, attention_bench *g)
{
    const weft_op op = wi_bench_op(b, NULL);
    const size_t row = (size_t)g->model->kv_heads * (size_t)g->model->size, count = WRITE_ROWS * row;
    float *host = malloc(2 * count * sizeof *host);
    if (!host) return weft_fail(WEFT_NO_MEMORY, "no memory to measure attention");
    for (size_t i = 0; i < count; i++) {
        host[i] = wave(i);
        host[count + i] = value_of(g, i);
    }
    const weft_status status = wi_bench_take(b, 2 * count * sizeof *host, host, &g->kv);
    free(host);
    WEFT_TRY(status);
    const float *k = g->kv.at, *v = k + count;
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
    return WEFT_OK;
}

static weft_status make_cache(wi_kernel_bench *b, attention_bench *g)
{
    weft_cache *c = &g->cache;
    int one;
    const int64_t each = (g->length + BLOCK - 1) / BLOCK;
    c->block = BLOCK;
    c->heads = g->model->kv_heads;
    c->k_size = c->v_size = g->model->size;
    c->v_offset = weft_cache_k_bytes(c);
    c->block_bytes = c->v_offset + weft_cache_v_bytes(c);
    const int64_t blocks = each * g->requests;
    int32_t *numbers = malloc((size_t)blocks * sizeof *numbers);
    if (!numbers) return weft_fail(WEFT_NO_MEMORY, "no memory to measure attention");
    for (int64_t i = 0; i < blocks; i++) numbers[i] = (int32_t)i;
    const weft_status status = wi_bench_take(b, (size_t)blocks * sizeof *numbers, numbers, &g->blocks);
    free(numbers);
    WEFT_TRY(status);
    for (int r = 0; r < g->requests; r++)
        g->request[r] = (weft_attention_request){.row = r * g->rows,
                                                 .rows = g->rows,
                                                 .position = g->length - g->rows,
                                                 .length = g->length,
                                                 .blocks = (const int32_t *)g->blocks.at + r * each};
    const size_t bytes = c->block_bytes * (size_t)blocks;
    WEFT_TRY(wi_bench_copies(b, bytes, 1, &one)); // refuses what this machine has no room for
    WEFT_TRY(wi_bench_take(b, bytes, NULL, &g->pool));
    c->pool = g->pool.at;
    return WEFT_OK;
}

static weft_status make_room(wi_kernel_bench *b, attention_bench *g)
{
    const int size = g->model->size, heads = g->model->heads;
    const size_t rows = (size_t)g->requests * (size_t)g->rows, count = rows * (size_t)heads * (size_t)size;
    const size_t scratch = b->on_device ? weft_attention_device_scratch(g->requests, (int)rows, heads, size)
                                        : weft_attention_scratch(size, size, b->threads);
    float *q = malloc(count * sizeof *q);
    if (!q) return weft_fail(WEFT_NO_MEMORY, "no memory to measure attention of %zu rows", rows);
    for (size_t i = 0; i < count; i++) q[i] = wave(i + i / 1000);
    const weft_status status = wi_bench_take(b, count * sizeof *q, q, &g->q);
    free(q);
    WEFT_TRY(status);
    WEFT_TRY(wi_bench_take(b, count * sizeof *q, NULL, &g->out));
    return wi_bench_take(b, scratch, NULL, &g->scratch);
}

static weft_ceiling compute_of(const wi_kernel_bench *b, weft_attention_family family)
{
    if (b->on_device) return family == WEFT_ATTENTION_FMA ? WEFT_CEILING_DEVICE_FMA : WEFT_CEILING_DEVICE_BF16;
    if (family == WEFT_ATTENTION_AMX) return WEFT_CEILING_AMX_BF16;
    if (family == WEFT_ATTENTION_DOT) return WEFT_CEILING_BF16_DOT;
    return b->options->isa >= WEFT_ISA_AVX512 ? WEFT_CEILING_FMA_AVX512 : WEFT_CEILING_FMA_AVX2;
}

// What --family pins, else what the processor has for the cache.
static weft_attention_family family_of(const wi_kernel_bench *b, weft_cache_type type)
{
    weft_family family;
    if (!b->options->family || type == WEFT_CACHE_F32 || !weft_family_from_name(b->options->family, &family))
        return b->on_device ? weft_attention_of_device(b->kernels.capability, type)
                            : weft_attention_choose(&b->cpu, b->options->isa, type);
    switch (family) {
    case WEFT_FAMILY_AMX:
        return WEFT_ATTENTION_AMX;
    case WEFT_FAMILY_BF16_DOT:
        return WEFT_ATTENTION_DOT;
    case WEFT_FAMILY_MMA:
        return WEFT_ATTENTION_MMA;
    case WEFT_FAMILY_WGMMA:
        return WEFT_ATTENTION_WGMMA;
    default:
        return WEFT_ATTENTION_FMA;
    }
}

static weft_status check_once(wi_kernel_bench *b, attention_bench *g)
{
    void *out;
    run(b, g, 0);
    WEFT_TRY(wi_bench_look(b, g->out.at, g->out.bytes, &out));
    const weft_status status = check(g, out);
    free(out);
    return status;
}

static weft_status measure_case(wi_kernel_bench *b, attention_bench *g, weft_dtype type)
{
    static const char *const names[WEFT_ATTENTION_FAMILIES] = {"fma", "bf16-dot", "amx", "mma", "wgmma"};
    weft_status status;
    const model_shape *m = g->model;
    const double seen = (double)g->rows * ((double)g->length - ((double)g->rows - 1) / 2); // a causal row's keys
    wi_kernel_case c = {.run = run, .state = g, .read = WEFT_CEILING_READ_DRAM};
    if (b->on_device) c.read = WEFT_CEILING_DEVICE_READ;
    g->cache.type = type == WEFT_BF16   ? WEFT_CACHE_BF16
                    : type == WEFT_I8   ? WEFT_CACHE_INT8
                    : type == WEFT_E4M3 ? WEFT_CACHE_FP8
                                        : WEFT_CACHE_F32;
    g->family = family_of(b, g->cache.type);
    WEFT_TRY_GOTO(make_cache(b, g));
    WEFT_TRY_GOTO(make_room(b, g));
    WEFT_TRY_GOTO(fill(b, g));
    WEFT_TRY_GOTO(check_once(b, g));
    c.operations = 4.0 * m->size * m->heads * seen * g->requests;
    c.bytes = (double)g->pool.bytes;
    c.compute = compute_of(b, g->family);
    snprintf(c.op, sizeof c.op, "attention %s", names[g->family]);
    snprintf(c.shape, sizeof c.shape, "%s %s %s %d of %lld, batch %d", m->name, g->rows > 1 ? "prefill" : "decode",
             weft_dtype_name(type), g->rows, (long long)g->length, g->requests);
    status = wi_bench_cases(b, &c, 1);
fail:
    wi_bench_drop(b, &g->pool);
    wi_bench_drop(b, &g->blocks);
    wi_bench_drop(b, &g->kv);
    wi_bench_drop(b, &g->q);
    wi_bench_drop(b, &g->out);
    wi_bench_drop(b, &g->scratch);
    return status;
}

static weft_status measure_model(wi_kernel_bench *b, const model_shape *m, weft_dtype type)
{
    const int64_t own[] = {b->on_device ? PREFILL_OF_DEVICE : PREFILL_LENGTH};
    const char *shape = b->options->shape;
    int64_t rows[WI_KERNEL_ROWS_MAX];
    const int count = wi_bench_rows(b, own, 1, rows);
    for (int i = 0; i < count && (!shape || strcmp(shape, "prefill") == 0); i++) {
        attention_bench g = {.model = m, .requests = 1, .rows = (int)rows[i], .length = rows[i]};
        WEFT_TRY(measure_case(b, &g, type));
    }
    if (shape && strcmp(shape, "decode") != 0) return WEFT_OK;
    attention_bench g = {.model = m, .requests = REQUESTS_MAX, .rows = 1, .length = DECODE_LENGTH};
    if (b->on_device) g.length = DECODE_OF_DEVICE;
    if (b->on_device || b->options->positions) {
        attention_bench one = {.model = m, .requests = 1, .rows = 1, .length = g.length};
        if (b->options->positions) one.length = b->options->positions;
        WEFT_TRY(measure_case(b, &one, type));
    }
    return b->options->positions ? WEFT_OK : measure_case(b, &g, type);
}

weft_status wi_bench_attention(wi_kernel_bench *b)
{
    static const weft_dtype all[] = {WEFT_BF16, WEFT_I8};
    const weft_bench_kernels_options *o = b->options;
    weft_dtype only = WEFT_DTYPE_COUNT;
    WEFT_TRY(wi_bench_check_family(b));
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
