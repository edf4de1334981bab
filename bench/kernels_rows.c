// The row ops' lines of `weft bench kernels`: few rows in the cache that holds them, many in theirs and from memory.
// A result must be what the `ref` level gives, bit by bit.
#include "bench/kernels_rows.h"

#include <stdlib.h>
#include <string.h>

#include "core/checked.h"

static const wi_row_model models[] = {
    {WEFT_BENCH_1B, "1B", 2048, 40, 64, 8192, 128256},
    {WEFT_BENCH_8B, "8B", 4096, 40, 128, 14336, 128256},
    {WEFT_BENCH_70B, "70B", 8192, 72, 128, 28672, 128256},
};

enum { COPIES_MAX = 1 << 16, FAR_ROWS = 16, CHECKED_ROWS = 2 };

typedef struct {
    const wi_row_op *what;
    wi_row_work work, host; // the same with tables where ops run, and where `ref` does
    int copies;
    size_t room; // of a copy
    wi_bench_block memory, tables, scratch;
    float *host_tables; // weight, cos, sin
    int32_t *numbers;
    uint64_t *draw;
    const weft_sampling **how;
} row_bench;

static void run(wi_kernel_bench *b, void *state, int64_t turn)
{
    const row_bench *g = state;
    const weft_op op = wi_bench_op(b, &g->scratch);
    g->what->run(&op, &g->work, (unsigned char *)g->memory.at + (size_t)(turn % g->copies) * g->room);
}

// About normal, and for logits a few far above the others, as a model's are.
static float value_of(const row_bench *g, size_t i)
{
    uint64_t x = (i + 1) * 0x9e3779b97f4a7c15;
    x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9;
    x ^= x >> 32;
    const int sum = (int)((x & 255) + (x >> 8 & 255) + (x >> 16 & 255) + (x >> 24 & 255)) - 510;
    const float value = (float)sum * 0x1p-7F;
    return g->what->kind == WI_ROW_WORDS && i % 6400 == 17 ? value + 18 : value;
}

static void fill(const row_bench *g, unsigned char *copy)
{
    const size_t count = (size_t)(g->work.rows * g->work.width);
    for (int s = 0; s < g->what->slots; s++) {
        float *x = (float *)(void *)(copy + (size_t)s * g->work.slot_bytes);
        for (size_t i = 0; i < count; i++) x[i] = value_of(g, i + (size_t)s * 1000);
    }
}

// The first rows by the `ref` level, in memory of the host; scratch as for one thread.
static void run_by_ref(const row_bench *g, unsigned char *copy, void *scratch, size_t scratch_bytes)
{
    const weft_kernels ref = weft_kernels_for(WEFT_ISA_REF);
    const weft_op op = {.table = &ref, .scratch = scratch, .scratch_bytes = scratch_bytes};
    wi_row_work few = g->host;
    few.rows = few.rows < CHECKED_ROWS ? few.rows : CHECKED_ROWS;
    g->what->run(&op, &few, copy);
}

// The first rows of the first copy beside the same by the `ref` level.
static weft_status check(wi_kernel_bench *b, row_bench *g)
{
    void *seen;
    const size_t place = g->what->result * g->work.slot_bytes, scratch = weft_pick_scratch((size_t)g->work.width, 1);
    const size_t rows = (size_t)(g->work.rows < CHECKED_ROWS ? g->work.rows : CHECKED_ROWS);
    size_t bytes = (g->what->result_bytes ? g->what->result_bytes : (size_t)g->work.width * sizeof(float)) * rows;
    if (g->what->kind == WI_ROW_WIDTH && g->what->write == 2) bytes /= 2;
    const size_t behind = weft_align_up(g->room, 64);
    unsigned char *other = aligned_alloc(64, behind + weft_align_up(scratch, 64) + 64);
    if (!other) return weft_fail(WEFT_NO_MEMORY, "no memory to check %s", g->what->name);
    fill(g, other);
    run_by_ref(g, other, other + behind, scratch);
    run(b, g, 0);
    weft_status status = wi_bench_look(b, (unsigned char *)g->memory.at + place, bytes, &seen);
    if (status == WEFT_OK) {
        if (memcmp(seen, other + place, bytes) != 0)
            status = weft_fail(WEFT_INTERNAL, "%s of %s: the first rows are not what the level ref gives",
                               g->what->name, g->work.model->name);
        free(seen);
    }
    free(other);
    return status;
}

static void point_at(wi_row_work *w, const float *tables)
{
    w->weight = tables;
    w->cos = tables + w->width;
    w->sin = w->cos + w->rows * (w->model->size / 2);
}

static weft_status make_tables(wi_kernel_bench *b, row_bench *g)
{
    wi_row_work *w = &g->work;
    const size_t rows = (size_t)w->rows, width = (size_t)w->width, pairs = (size_t)w->model->size / 2;
    const size_t bytes = weft_align_up((width + 2 * rows * pairs) * sizeof(float), 64);
    g->host_tables = aligned_alloc(64, bytes);
    g->numbers = malloc(2 * rows * sizeof *g->numbers);
    g->draw = malloc(rows * sizeof *g->draw);
    g->how = malloc(rows * sizeof(void *));
    if (!g->host_tables || !g->numbers || !g->draw || !g->how)
        return weft_fail(WEFT_NO_MEMORY, "no memory to measure %s of %zu rows", g->what->name, rows);
    for (size_t i = 0; i < width; i++) g->host_tables[i] = 1 + (float)(i % 7) * 0.125F;
    for (size_t i = 0; i < rows * pairs; i++) {
        g->host_tables[width + i] = 0.6F;
        g->host_tables[width + rows * pairs + i] = 0.8F;
    }
    for (size_t i = 0; i < rows; i++) {
        g->numbers[i] = (int32_t)i;
        g->numbers[rows + i] = (int32_t)(i * 7919 % rows);
        g->draw[i] = i;
        g->how[i] = &g->what->sampling;
    }
    w->position = g->numbers;
    w->index = g->numbers + rows;
    w->draw = g->draw;
    w->how = g->how;
    g->host = *w;
    WEFT_TRY(wi_bench_take(b, bytes, g->host_tables, &g->tables));
    point_at(w, g->tables.at);
    point_at(&g->host, g->host_tables);
    return WEFT_OK;
}

static weft_status prepare(wi_kernel_bench *b, row_bench *g, bool far)
{
    wi_row_work *w = &g->work;
    const wi_row_model *m = w->model;
    const int64_t widths[] = {m->width, m->heads * m->size, m->inner, m->words};
    w->width = widths[g->what->kind];
    w->slot_bytes = weft_align_up((size_t)(w->rows * w->width) * sizeof(float), 64);
    g->room = w->slot_bytes * (size_t)g->what->slots;
    g->copies = 1;
    if (far) WEFT_TRY(wi_bench_copies(b, g->room, COPIES_MAX, &g->copies));
    WEFT_TRY(wi_bench_take(b, weft_pick_scratch((size_t)w->width, b->threads), NULL, &g->scratch));
    WEFT_TRY(make_tables(b, g));
    WEFT_TRY(wi_bench_take(b, g->room * (size_t)g->copies, NULL, &g->memory));
    unsigned char *host = malloc(g->room);
    if (!host) return weft_fail(WEFT_NO_MEMORY, "no memory to measure %s", g->what->name);
    fill(g, host);
    weft_status status = WEFT_OK;
    for (int i = 0; i < g->copies && status == WEFT_OK; i++)
        status = b->device->ops->copy_in(b->device, (unsigned char *)g->memory.at + (size_t)i * g->room, host, g->room);
    free(host);
    return status;
}

// How far from the core the data lies: 0 for L1 to 3 for DRAM.
static weft_status level_of(wi_kernel_bench *b, const row_bench *g, int threads, int *out)
{
    weft_topology t;
    WEFT_TRY(weft_topology_read(&t));
    if (b->on_device) {
        *out = g->copies > 1 || g->room > b->device->cache_bytes / 2 ? 3 : 1;
        return WEFT_OK;
    }
    const double weight = g->what->weighs ? (double)g->work.width * sizeof(float) : 0;
    const double all = (double)g->room * g->copies + weight, each = all / threads;
    if (each <= 0.75 * (double)t.l1d)
        *out = 0;
    else if (each <= 0.75 * (double)t.l2)
        *out = 1;
    else
        *out = all <= 0.75 * (double)t.l3 && weft_ceiling_there(b->ceilings, WEFT_CEILING_READ_L3) ? 2 : 3;
    return WEFT_OK;
}

static void count_work(const wi_kernel_bench *b, const row_bench *g, int level, wi_kernel_case *c)
{
    const wi_row_op *what = g->what;
    const double elements = (double)(g->work.rows * g->work.width);
    const bool moves = what->write > 0 || what->change > 0;
    const double written = what->write * (level > 0 ? 2 : 1) + what->change * 2;
    if (b->on_device) { // where vectors and lines are other ones
        c->bytes = elements * (what->read + what->write + what->change * 2);
        c->read = moves ? WEFT_CEILING_DEVICE_COPY : WEFT_CEILING_DEVICE_READ;
        return;
    }
    c->bytes = elements * (what->read + written);
    if (what->weighs && g->work.rows < 4) c->bytes += elements * sizeof(float); // else it stays near
    c->read = (weft_ceiling)((moves ? WEFT_CEILING_COPY_L1 : WEFT_CEILING_READ_L1) + level);
    c->compute = b->options->isa >= WEFT_ISA_AVX512 ? WEFT_CEILING_FMA_AVX512 : WEFT_CEILING_FMA_AVX2;
    c->operations = elements * 2 * what->steps;
    if (what->chains && g->work.rows < 4) {
        c->compute = WEFT_CEILING_FMA_CHAIN;
        c->operations = elements * 2;
    }
}

static weft_status measure_case(wi_kernel_bench *b, const wi_row_op *what, const wi_row_model *m, int64_t rows,
                                bool far)
{
    static const char *const levels[] = {"L1", "L2", "L3", "DRAM"};
    weft_status status;
    int level;
    const int team = b->threads;
    row_bench g = {.what = what, .work = {.model = m, .rows = rows}};
    wi_kernel_case c = {.run = run, .state = &g};
    WEFT_TRY_GOTO(prepare(b, &g, far));
    WEFT_TRY_GOTO(check(b, &g));
    if (what->alone || (rows == 1 && !what->splits)) b->threads = 1; // its ceilings are one thread's
    WEFT_TRY_GOTO(level_of(b, &g, b->threads, &level));
    count_work(b, &g, level, &c);
    snprintf(c.op, sizeof c.op, "%s", what->name);
    snprintf(c.shape, sizeof c.shape, "%s %lld x %lld, %s", m->name, (long long)rows, (long long)g.work.width,
             levels[level]);
    status = wi_bench_cases(b, &c, 1);
fail:
    b->threads = team;
    wi_bench_drop(b, &g.memory);
    wi_bench_drop(b, &g.tables);
    wi_bench_drop(b, &g.scratch);
    free(g.host_tables);
    free(g.numbers);
    free(g.draw);
    free(g.how);
    return status;
}

static weft_status measure_op(wi_kernel_bench *b, const wi_row_op *what, const wi_row_model *m)
{
    static const int64_t own[] = {1, 512}, own_words[] = {1, 16};
    int64_t rows[WI_KERNEL_ROWS_MAX];
    const int count = wi_bench_rows(b, what->kind == WI_ROW_WORDS ? own_words : own, 2, rows);
    for (int i = 0; i < count; i++) {
        WEFT_TRY(measure_case(b, what, m, rows[i], false));
        if (rows[i] >= FAR_ROWS) WEFT_TRY(measure_case(b, what, m, rows[i], true));
    }
    return WEFT_OK;
}

weft_status wi_bench_row_ops(wi_kernel_bench *b)
{
    const weft_bench_kernels_options *o = b->options;
    bool found = false;
    if (!o->op && (o->shape || o->weights || o->family)) return WEFT_OK; // those are other ops'
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (o->model != WEFT_BENCH_ALL && o->model != models[i].model) continue;
        for (size_t j = 0; j < wi_row_op_count; j++) {
            const size_t length = o->shape ? strlen(o->shape) : 0;
            if (strncmp(wi_row_ops[j].name, o->shape ? o->shape : "", length) != 0) continue;
            found = true;
            WEFT_TRY(measure_op(b, &wi_row_ops[j], &models[i]));
        }
    }
    return found ? WEFT_OK
                 : weft_fail(WEFT_USAGE,
                             "--shape %s: no row op's name begins so; use norm, rope, gate, softmax, "
                             "logsumexp, top, sample, f32, bf16, tree or gather",
                             o->shape);
}
