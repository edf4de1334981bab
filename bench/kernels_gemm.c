// The GEMM's rows of `weft bench kernels`: the linear layers of Llama, column form and leaf form. Several copies of a
// weight take turns, so that together they are larger than every cache. All rows of a weight are one row, so that every
// column of a result must be the same and is easily checked.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/kernels_impl.h"
#include "core/checked.h"

typedef struct {
    int model; // WEFT_BENCH_*
    const char *name;
    int64_t n, k;      // outputs of one matrix, inputs
    bool gate, leaves; // gate and up fused; is cut into leaves
} layer;

static const layer layers[] = {
    {WEFT_BENCH_1B, "qkv", 3072, 2048, false, false},      {WEFT_BENCH_1B, "o", 2048, 2048, false, true},
    {WEFT_BENCH_1B, "gate+up", 8192, 2048, true, false},   {WEFT_BENCH_1B, "down", 2048, 8192, false, true},
    {WEFT_BENCH_8B, "qkv", 6144, 4096, false, false},      {WEFT_BENCH_8B, "o", 4096, 4096, false, true},
    {WEFT_BENCH_8B, "gate+up", 14336, 4096, true, false},  {WEFT_BENCH_8B, "down", 4096, 14336, false, true},
    {WEFT_BENCH_70B, "qkv", 10240, 8192, false, false},    {WEFT_BENCH_70B, "o", 8192, 8192, false, true},
    {WEFT_BENCH_70B, "gate+up", 28672, 8192, true, false}, {WEFT_BENCH_70B, "down", 8192, 28672, false, true},
};

enum { COPIES_MAX = 256, FORMS = 2, COUNTS_MAX = WI_KERNEL_CASES_MAX / FORMS };

// One form of a layer, packed.
typedef struct {
    const layer *layer;
    weft_family family;
    bool leaves;
    weft_gemm_weight weight[COPIES_MAX];
    int copies;
    size_t bytes, room;    // of one copy; with what fills its pages
    wi_bench_block memory; // of all
} form;

// A layer and what its forms share.
typedef struct {
    const layer *layer;
    weft_dtype type;
    form form[FORMS]; // plain; cut into leaves
    int forms;
    int64_t count[COUNTS_MAX];
    int counts;
    wi_bench_block a, out, scratch;
    float *host_a;         // what `a` holds, for peers and checks
    unsigned char *source; // one row, then its scales
} gemm_bench;

typedef struct {
    gemm_bench *g;
    form *form;
    int64_t m;
} gemm_rows;

static void run(wi_kernel_bench *b, void *state, int64_t turn)
{
    const gemm_rows *rows = state;
    gemm_bench *g = rows->g;
    const form *f = rows->form;
    const weft_op op = wi_bench_op(b, &g->scratch);
    const weft_gemm_args args = {.m = rows->m,
                                 .a = g->a.at,
                                 .a_stride = (size_t)g->layer->k,
                                 .out = {g->out.at},
                                 .out_stride = (size_t)g->layer->n,
                                 .act = g->layer->gate ? WEFT_ACT_SILU : WEFT_ACT_NONE};
    weft_gemm_run(&op, &f->weight[turn % f->copies], &args);
}

// One row of small numbers of the type; its values do not matter, but for what a result must be.
static weft_gemm_source make_source(gemm_bench *g, int group)
{
    static const unsigned char e4m3[] = {0, 0x38, 0x40, 0x44, 0x48, 0x4a, 0x4c}; // 0 to 6
    const weft_dtype type = g->type;
    const int64_t k = g->layer->k;
    unsigned char *row = g->source;
    unsigned char *scales = row + weft_align_up((size_t)k * 4, 64);
    for (int64_t i = 0; i < k; i++) {
        const int value = (int)(i * 7 % 13) - 6;
        const float real = (float)value * 0.125f;
        uint32_t bits;
        memcpy(&bits, &real, sizeof bits);
        const uint16_t half = (uint16_t)(bits >> 16);
        if (type == WEFT_F32) memcpy(row + 4 * i, &real, 4);
        if (type == WEFT_BF16) memcpy(row + 2 * i, &half, 2);
        if (type == WEFT_I8) row[i] = (unsigned char)(signed char)value;
        if (type == WEFT_E4M3) row[i] = value < 0 ? e4m3[-value] | 0x80 : e4m3[value];
        if (type == WEFT_I4) row[i / 2] = (unsigned char)(i % 2 ? row[i / 2] | (value + 8) << 4 : value + 8);
    }
    for (int64_t i = 0; i <= k / 16; i++) memcpy(scales + 2 * i, &(uint16_t){0x3e00}, 2); // 0.125 in bf16
    return (weft_gemm_source){.type = type,
                              .data = row,
                              .n = g->layer->n,
                              .k = k,
                              .scales = scales,
                              .scale_type = WEFT_BF16,
                              .group = type == WEFT_I4     ? group
                                       : type == WEFT_E4M3 ? 128
                                                           : 0};
}

static float activation(int64_t row, int64_t k) { return (float)((row + 3 * k) % 5 - 2) * 0.5f; }

// Every column of a result is the sum that it should be.
static weft_status check(const gemm_bench *g, const float *out, int64_t columns, int64_t m, const char *by)
{
    const layer *l = g->layer;
    const bool joined = l->gate && columns == l->n;
    for (int64_t row = 0; row<m; row += m> 8 ? m / 8 : 1) {
        double sum = 0;
        for (int64_t k = 0; k < l->k; k++) sum += (double)activation(row, k) * ((double)(k * 7 % 13) - 6) * 0.125;
        if (joined) sum = sum / (1 + exp(-sum)) * sum;
        for (int64_t n = 0; n < columns; n++) {
            const double got = (double)out[row * columns + n];
            if (fabs(got - sum) > 1e-4 * (fabs(sum) + 1))
                return weft_fail(WEFT_INTERNAL, "%s, %s of %s: row %lld column %lld is %g, expected %g", by, l->name,
                                 weft_dtype_name(g->type), (long long)row, (long long)n, got, sum);
        }
    }
    return WEFT_OK;
}

static weft_status pack_form(wi_kernel_bench *b, gemm_bench *g, form *f)
{
    const layer *l = g->layer;
    weft_gemm_leaves leaves = {.count = WEFT_LEAVES};
    for (int64_t i = 0; i <= WEFT_LEAVES; i++)
        leaves.begin[i] = i == WEFT_LEAVES ? l->k : l->k / 32 * i / WEFT_LEAVES * 32;
    const weft_gemm_source one = make_source(g, (int)b->options->group), sources[2] = {one, one};
    const weft_gemm_leaves *cut = f->leaves ? &leaves : NULL;
    const weft_fuse fuse = l->gate ? WEFT_FUSE_GATE : WEFT_FUSE_STACK;
    WEFT_TRY(weft_gemm_pack_bytes(f->family, sources, l->gate ? 2 : 1, fuse, cut, &f->bytes));
    f->room = weft_align_up(f->bytes, 4096);
    WEFT_TRY(wi_bench_copies(b, f->room, COPIES_MAX, &f->copies));
    WEFT_TRY(wi_bench_take(b, f->room * (size_t)f->copies, NULL, &f->memory));
    const weft_op op = {.table = &b->kernels, .team = b->team};
    unsigned char *at = f->memory.at;
    for (int i = 0; i < f->copies && !b->on_device; i++, at += f->room)
        WEFT_TRY(weft_gemm_pack(&op, f->family, sources, l->gate ? 2 : 1, fuse, cut, at, &f->weight[i]));
    if (!b->on_device) return WEFT_OK;
    void *packed = aligned_alloc(64, f->room); // once, and copied
    if (!packed) return weft_fail(WEFT_NO_MEMORY, "no memory to pack %s in", l->name);
    weft_status status = weft_gemm_pack(&op, f->family, sources, l->gate ? 2 : 1, fuse, cut, packed, &f->weight[0]);
    for (int i = 0; i < f->copies && status == WEFT_OK; i++, at += f->room) {
        f->weight[i] = f->weight[0];
        weft_gemm_weight_move(&f->weight[i], at);
        status = b->device->ops->copy_in(b->device, at, packed, f->bytes);
    }
    free(packed);
    return status;
}

static weft_status make_room(wi_kernel_bench *b, gemm_bench *g)
{
    int64_t m = 1;
    for (int i = 0; i < g->counts; i++)
        if (g->count[i] > m) m = g->count[i];
    size_t scratch = 64;
    for (int i = 0; i < g->forms; i++) {
        const size_t bytes = weft_gemm_scratch(&g->form[i].weight[0], m, b->threads);
        if (bytes > scratch) scratch = bytes;
    }
    const size_t count = (size_t)(m * g->layer->k);
    g->host_a = wi_bench_memory(count * sizeof(float));
    if (!g->host_a) return weft_fail(WEFT_NO_MEMORY, "no memory for %lld rows of %s", (long long)m, g->layer->name);
    for (int64_t row = 0; row < m; row++)
        for (int64_t k = 0; k < g->layer->k; k++) g->host_a[row * g->layer->k + k] = activation(row, k);
    WEFT_TRY(wi_bench_take(b, count * sizeof(float), g->host_a, &g->a));
    WEFT_TRY(wi_bench_take(b, (size_t)(m * g->layer->n) * sizeof(float), NULL, &g->out));
    return wi_bench_take(b, scratch, NULL, &g->scratch);
}

static weft_ceiling compute_of(const wi_kernel_bench *b, weft_family family)
{
    if (b->on_device) return family == WEFT_FAMILY_FMA ? WEFT_CEILING_DEVICE_FMA : WEFT_CEILING_DEVICE_BF16;
    if (family == WEFT_FAMILY_AMX) return WEFT_CEILING_AMX_BF16;
    if (family == WEFT_FAMILY_BF16_DOT) return WEFT_CEILING_BF16_DOT;
    return b->options->isa >= WEFT_ISA_AVX512 ? WEFT_CEILING_FMA_AVX512 : WEFT_CEILING_FMA_AVX2;
}

static weft_status add_peers(wi_kernel_bench *b, gemm_bench *g, wi_kernel_case *c, int64_t m)
{
    for (int i = 0; i < WI_PEER_COUNT && b->peers; i++) {
        wi_peer_gemm *peer;
        const wi_peer_gemm_spec spec = {.peer = (wi_peer)i,
                                        .type = g->type,
                                        .m = m,
                                        .n = g->form[0].weight[0].n,
                                        .k = g->layer->k,
                                        .a = g->host_a,
                                        .row = g->source,
                                        .copies = g->form[0].copies,
                                        .threads = b->threads};
        WEFT_TRY(wi_peer_gemm_create(b->peers, &spec, &peer));
        if (!peer) continue;
        c->peer[c->peers++] = (wi_kernel_peer){(wi_peer)i, peer, wi_peer_gemm_run};
        wi_peer_begin(b->peers, (wi_peer)i, b->threads);
        wi_peer_gemm_run(peer);
        wi_peer_end(b->peers, (wi_peer)i);
        WEFT_TRY(check(g, wi_peer_gemm_out(peer), spec.n, m, wi_peer_name((wi_peer)i)));
    }
    return WEFT_OK;
}

static weft_status make_case(wi_kernel_bench *b, gemm_rows *rows, wi_kernel_case *c)
{
    gemm_bench *g = rows->g;
    const form *f = rows->form;
    const weft_gemm_weight *w = &f->weight[0];
    *c = (wi_kernel_case){.state = rows,
                          .run = run,
                          .operations = 2.0 * (double)(w->n * w->k) * (double)rows->m,
                          .bytes = (double)f->bytes,
                          .compute = compute_of(b, f->family),
                          .read = b->on_device ? WEFT_CEILING_DEVICE_READ : WEFT_CEILING_READ_DRAM};
    snprintf(c->op, sizeof c->op, "gemm %s", weft_family_name(f->family));
    snprintf(c->shape, sizeof c->shape, "%s%s %s %lldx%lld m%lld", g->layer->name, f->leaves ? " leaves" : "",
             weft_dtype_name(g->type), (long long)w->n, (long long)w->k, (long long)rows->m);
    run(b, rows, 0);
    if (g->type != WEFT_I8 && g->type != WEFT_I4) { // their scales are rounded
        void *out;
        WEFT_TRY(wi_bench_look(b, g->out.at, (size_t)(rows->m * w->columns) * sizeof(float), &out));
        const weft_status status = check(g, out, w->columns, rows->m, "weft");
        free(out);
        WEFT_TRY(status);
    }
    return f == g->form ? add_peers(b, g, c, rows->m) : WEFT_OK;
}

static weft_family family_of(const wi_kernel_bench *b, weft_dtype type)
{
    weft_family family;
    if (b->options->family && weft_family_from_name(b->options->family, &family)) return family;
    return b->on_device ? weft_family_of_device(b->kernels.capability, type)
                        : weft_family_choose(&b->cpu, b->options->isa, type);
}

static weft_status prepare(wi_kernel_bench *b, gemm_bench *g)
{
    static const int64_t own[] = {1, 16, 128, 512}, own_of_device[] = {1, 4, 16, 64, 512, 2048, 8192};
    const layer *l = g->layer;
    g->forms = l->leaves ? FORMS : 1;
    // f32 has no tensor cores: many rows of it take seconds
    g->counts = b->on_device ? wi_bench_rows(b, own_of_device, g->type == WEFT_F32 ? 5 : 7, g->count)
                             : wi_bench_rows(b, own, 4, g->count);
    g->source = malloc(weft_align_up((size_t)l->k * 4, 64) + (size_t)(l->k / 16 + 1) * 2);
    if (!g->source) return weft_fail(WEFT_NO_MEMORY, "no memory to measure a GEMM");
    for (int i = 0; i < g->forms; i++) {
        form *f = &g->form[i];
        f->layer = l;
        f->leaves = i > 0;
        f->family = family_of(b, g->type);
        WEFT_TRY(pack_form(b, g, f));
    }
    return make_room(b, g);
}

static weft_status measure_layer(wi_kernel_bench *b, const layer *l, weft_dtype type)
{
    weft_status status;
    gemm_rows rows[WI_KERNEL_CASES_MAX];
    wi_kernel_case cases[WI_KERNEL_CASES_MAX] = {0};
    int count = 0;
    gemm_bench *g = calloc(1, sizeof *g);
    if (!g) return weft_fail(WEFT_NO_MEMORY, "no memory to measure a GEMM");
    g->layer = l;
    g->type = type;
    WEFT_TRY_GOTO(prepare(b, g));
    for (int i = 0; i < g->counts; i++)
        for (int j = 0; j < g->forms; j++, count++) {
            rows[count] = (gemm_rows){g, &g->form[j], g->count[i]};
            WEFT_TRY_GOTO(make_case(b, &rows[count], &cases[count]));
        }
    status = wi_bench_cases(b, cases, count);
fail:
    for (int i = 0; i < WI_KERNEL_CASES_MAX; i++)
        for (int j = 0; j < cases[i].peers; j++) wi_peer_gemm_destroy(cases[i].peer[j].state);
    for (int i = 0; i < FORMS; i++) wi_bench_drop(b, &g->form[i].memory);
    wi_bench_drop(b, &g->a);
    wi_bench_drop(b, &g->out);
    wi_bench_drop(b, &g->scratch);
    free(g->host_a);
    free(g->source);
    free(g);
    return status;
}

static weft_status measure_types(wi_kernel_bench *b, const layer *l, weft_dtype only)
{
    static const weft_dtype all[] = {WEFT_BF16, WEFT_I8, WEFT_I4, WEFT_F32};
    if (only != WEFT_DTYPE_COUNT) return measure_layer(b, l, only);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) WEFT_TRY(measure_layer(b, l, all[i]));
    return WEFT_OK;
}

// "4096x14336"
static bool read_shape(const char *text, layer *out)
{
    char *end;
    const long long n = strtoll(text, &end, 10), k = *end == 'x' ? strtoll(end + 1, &end, 10) : 0;
    *out = (layer){.name = "plain", .n = n, .k = k, .leaves = k >= 256};
    return !*end && n >= 1 && n <= 1 << 20 && k >= 32 && k <= 1 << 20 && k % 32 == 0;
}

weft_status wi_bench_gemm(wi_kernel_bench *b)
{
    const weft_bench_kernels_options *o = b->options;
    weft_dtype only = WEFT_DTYPE_COUNT;
    layer own;
    bool found = false;
    if (o->weights &&
        (!weft_dtype_from_name(strcmp(o->weights, "fp8") == 0 ? "e4m3" : o->weights, &only) ||
         (only != WEFT_BF16 && only != WEFT_I8 && only != WEFT_I4 && only != WEFT_E4M3 && only != WEFT_F32)))
        return weft_fail(WEFT_USAGE, "weights of type \"%s\": use bf16, int8, int4, fp8 or f32", o->weights);
    WEFT_TRY(wi_bench_check_family(b));
    if (o->shape && strchr(o->shape, 'x')) {
        if (!read_shape(o->shape, &own))
            return weft_fail(WEFT_USAGE, "--shape %s: use NxK, outputs by inputs, inputs a multiple of 32", o->shape);
        return measure_types(b, &own, only);
    }
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        const layer *l = &layers[i];
        if (o->model != WEFT_BENCH_ALL && o->model != l->model) continue;
        if (o->shape && strcmp(o->shape, l->name) != 0) continue;
        found = true;
        WEFT_TRY(measure_types(b, l, only));
    }
    return found ? WEFT_OK
                 : weft_fail(WEFT_USAGE, "--shape %s: use qkv, o, gate+up, down or NxK as 4096x4096", o->shape);
}
