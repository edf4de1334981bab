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
    wi_row_work work;
    int copies, next;
    size_t room; // of a copy
    unsigned char *memory;
    void *scratch;
    size_t scratch_bytes;
    float *tables; // weight, cos, sin
    int32_t *numbers;
    uint64_t *draw;
    const weft_sampling **how;
} row_bench;

static void run_by(wi_kernel_bench *b, const weft_kernels *table, row_bench *g, unsigned char *copy)
{
    const weft_op op = {.table = table, .team = b->team, .scratch = g->scratch, .scratch_bytes = g->scratch_bytes};
    g->what->run(&op, &g->work, copy);
}

static void run(wi_kernel_bench *b, void *state)
{
    row_bench *g = state;
    run_by(b, &b->kernels, g, g->memory + (size_t)g->next * g->room);
    g->next = g->next + 1 < g->copies ? g->next + 1 : 0;
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

// The first rows of the first copy beside the same by the `ref` level.
static weft_status check(wi_kernel_bench *b, row_bench *g)
{
    const weft_kernels ref = weft_kernels_for(WEFT_ISA_REF);
    void *memory;
    row_bench few = *g;
    few.work.rows = g->work.rows < CHECKED_ROWS ? g->work.rows : CHECKED_ROWS;
    const size_t place = g->what->result * g->work.slot_bytes;
    size_t bytes = (g->what->result_bytes ? g->what->result_bytes : (size_t)g->work.width * sizeof(float));
    if (g->what->kind == WI_ROW_WIDTH && g->what->write == 2) bytes /= 2;
    WEFT_TRY(weft_device_alloc(b->device, g->room, &memory));
    unsigned char *other = memory;
    fill(g, other);
    run_by(b, &ref, &few, other);
    run(b, g);
    g->next = 0;
    const bool same = memcmp(g->memory + place, other + place, bytes * (size_t)few.work.rows) == 0;
    weft_device_free(b->device, other, g->room);
    return same ? WEFT_OK
                : weft_fail(WEFT_INTERNAL, "%s of %s: the first rows are not what the level ref gives", g->what->name,
                            g->work.model->name);
}

static weft_status make_tables(row_bench *g)
{
    wi_row_work *w = &g->work;
    const size_t rows = (size_t)w->rows, width = (size_t)w->width, pairs = (size_t)w->model->size / 2;
    g->tables = aligned_alloc(64, weft_align_up((width + 2 * rows * pairs) * sizeof(float), 64));
    g->numbers = malloc(2 * rows * sizeof *g->numbers);
    g->draw = malloc(rows * sizeof *g->draw);
    g->how = malloc(rows * sizeof(void *));
    if (!g->tables || !g->numbers || !g->draw || !g->how)
        return weft_fail(WEFT_NO_MEMORY, "no memory to measure %s of %zu rows", g->what->name, rows);
    for (size_t i = 0; i < width; i++) g->tables[i] = 1 + (float)(i % 7) * 0.125F;
    for (size_t i = 0; i < rows * pairs; i++) {
        g->tables[width + i] = 0.6F;
        g->tables[width + rows * pairs + i] = 0.8F;
    }
    for (size_t i = 0; i < rows; i++) {
        g->numbers[i] = (int32_t)i;
        g->numbers[rows + i] = (int32_t)(i * 7919 % rows);
        g->draw[i] = i;
        g->how[i] = &g->what->sampling;
    }
    w->weight = g->tables;
    w->cos = g->tables + width;
    w->sin = w->cos + rows * pairs;
    w->position = g->numbers;
    w->index = g->numbers + rows;
    w->draw = g->draw;
    w->how = g->how;
    return WEFT_OK;
}

static weft_status prepare(wi_kernel_bench *b, row_bench *g, bool far)
{
    void *memory;
    wi_row_work *w = &g->work;
    const wi_row_model *m = w->model;
    const int64_t widths[] = {m->width, m->heads * m->size, m->inner, m->words};
    w->width = widths[g->what->kind];
    w->slot_bytes = weft_align_up((size_t)(w->rows * w->width) * sizeof(float), 64);
    g->room = w->slot_bytes * (size_t)g->what->slots;
    g->copies = 1;
    if (far) WEFT_TRY(wi_bench_copies(b, g->room, COPIES_MAX, &g->copies));
    g->scratch_bytes = weft_pick_scratch((size_t)w->width, b->threads);
    g->scratch = aligned_alloc(64, weft_align_up(g->scratch_bytes, 64));
    if (!g->scratch) return weft_fail(WEFT_NO_MEMORY, "no memory to measure %s", g->what->name);
    WEFT_TRY(make_tables(g));
    WEFT_TRY(weft_device_alloc(b->device, g->room * (size_t)g->copies, &memory));
    g->memory = memory;
    for (int i = 0; i < g->copies; i++) fill(g, g->memory + (size_t)i * g->room);
    return WEFT_OK;
}

// How far from the core the data lies: 0 for L1 to 3 for DRAM.
static weft_status level_of(wi_kernel_bench *b, const row_bench *g, int threads, int *out)
{
    weft_topology t;
    WEFT_TRY(weft_topology_read(&t));
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
    if (g.memory) weft_device_free(b->device, g.memory, g.room * (size_t)g.copies);
    free(g.scratch);
    free(g.tables);
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
