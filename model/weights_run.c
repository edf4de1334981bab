// The load itself: each thread reads the rows of its panels, turns them into the type that is packed, and packs them.
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/checked.h"
#include "model/load.h"

typedef struct {
    const wi_planner *p;
    wi_staging *thread;         // [threads]
    atomic_uint_least64_t done; // packed bytes
    atomic_int error;           // errno of the first failure
    _Atomic(const weft_read *) failed;
    unsigned char *slice; // what was read already of the matrix at hand, or NULL
    uint32_t *largest;    // of each of its rows over all ranks, as bits; with `slice`
} loading;

static size_t size_of(weft_dtype type) { return (size_t)weft_dtype_bits(type) / 8; }

static void note_failure(loading *l, const weft_read *range)
{
    const weft_read *none = NULL;
    const int error = errno;
    if (atomic_compare_exchange_strong(&l->failed, &none, range)) atomic_store(&l->error, error);
}

// ---- a panel ----

// `rows` rows from row `begin` of a source to `to`, as stored; from s->raw where the source stands the other way round.
static bool fetch(const loading *l, wi_staging *s, const wi_source *source, int64_t begin, int64_t rows, int64_t k,
                  void *to)
{
    const size_t size = size_of(source->range.tensor->type);
    weft_read range = source->range;
    if (l->slice) {
        memcpy(to, l->slice + (size_t)(begin * k) * size, (size_t)(rows * k) * size);
        return true;
    }
    if (source->step == 0) {
        range.row += begin;
        range.rows = rows;
        range.to = to;
        range.to_stride = (size_t)k * size;
        return weft_checkpoint_read_range(l->p->checkpoint, &range);
    }
    const size_t width = (size_t)range.columns;
    for (int64_t i = 0; i < k; i++)
        for (int64_t r = 0; r < rows; r++) {
            const size_t column = (size_t)(source->first + (begin + r) * source->step);
            memcpy((char *)to + ((size_t)r * (size_t)k + (size_t)i) * size,
                   (const char *)s->raw + ((size_t)i * width + column) * size, size);
        }
    return true;
}

static bool fetch_scales(loading *l, wi_staging *s, wi_part_rows *r)
{
    if (r->stored != WEFT_E4M3 || wi_read_scales(l->p, s, r)) return true;
    note_failure(l, &r->source->scales);
    return false;
}

static bool pack_panel(loading *l, wi_staging *s, const wi_matrix *m, int64_t panel)
{
    const bool gate = m->fuse == WEFT_FUSE_GATE;
    const int64_t k = weft_range_size(m->columns);
    const int64_t lanes = gate ? WEFT_GEMM_PANEL / 2 : WEFT_GEMM_PANEL;
    int64_t first = panel * lanes, last = first + lanes, at = 0;
    weft_gemm_source parts[WI_SOURCES_MAX];
    int count = 0;
    for (int i = 0; i < m->count; i++) {
        const wi_source *source = &m->source[i];
        const int64_t begin = first < 0 ? 0 : first, end = last < source->rows ? last : source->rows,
                      rows = end - begin;
        if (!gate) {
            first -= source->rows;
            last -= source->rows;
        }
        if (rows <= 0) continue;
        const weft_dtype stored = source->range.tensor->type;
        // Columns lie in s->raw, and become rows beside it.
        char *to = (char *)(source->step ? s->turned : s->raw) + (size_t)(at * k) * size_of(stored);
        if (!fetch(l, s, source, begin, rows, k, to)) {
            note_failure(l, &source->range);
            return false;
        }
        wi_part_rows part = {source, stored, to, begin, rows, at, {0}};
        if (!fetch_scales(l, s, &part)) return false;
        parts[count] = wi_matrix_source(m, i);
        parts[count].n = rows;
        parts[count].data = to;
        if (l->slice)
            wi_turn_scaled(l->p, s, m, &part, l->largest + begin, &parts[count++]);
        else
            wi_turn(l->p, s, m, &part, &parts[count++]);
        at += rows;
    }
    weft_gemm_pack_panel(m->weight, panel, parts, count);
    return true;
}

// ---- a thread ----

static void report(loading *l, int thread, uint64_t bytes)
{
    const weft_weights_options *o = l->p->options;
    const uint64_t done = atomic_fetch_add(&l->done, bytes) + bytes;
    if (thread == 0 && o->progress) o->progress(o->progress_arg, done, l->p->plan->bytes);
}

// A matrix whose rows stand as columns is read whole, by one thread.
static bool pack_turned(loading *l, int thread, const wi_matrix *m)
{
    wi_staging *s = &l->thread[thread];
    weft_read range = m->source[0].range; // all sources are columns of one slice
    range.to = s->raw;
    range.to_stride = (size_t)range.columns * size_of(range.tensor->type);
    if (!weft_checkpoint_read_range(l->p->checkpoint, &range)) {
        note_failure(l, &m->source[0].range);
        return false;
    }
    for (int64_t panel = 0; panel < weft_gemm_panels(m->weight); panel++)
        if (!pack_panel(l, s, m, panel)) return false;
    report(l, thread, m->bytes);
    return true;
}

static bool pack_share(loading *l, const wi_matrix *m, int thread, int threads)
{
    int64_t begin, end;
    const int64_t panels = weft_gemm_panels(m->weight);
    weft_team_share(panels, 1, thread, threads, &begin, &end);
    for (int64_t panel = begin; panel < end; panel++)
        if (!pack_panel(l, &l->thread[thread], m, panel)) return false;
    report(l, thread, m->bytes / (uint64_t)panels * (uint64_t)(end - begin));
    return true;
}

static bool reads(const wi_planner *p, int reader) { return p->replicas <= 1 || reader == p->replica; }

static void load_share(void *arg, int thread, int threads)
{
    loading *l = arg;
    const wi_plan *plan = l->p->plan;
    for (size_t i = 0; i < plan->matrices && !atomic_load(&l->failed); i++) {
        const wi_matrix *m = &plan->matrix[i];
        if (m->count == 0 || m->scaled_rows > 0 || !reads(l->p, m->reader)) continue;
        if (m->source[0].step == 0) {
            if (!pack_share(l, m, thread, threads)) return;
        } else if ((int)(i % (size_t)threads) == thread) {
            if (!pack_turned(l, thread, m)) return;
        }
    }
}

static void on_team(const loading *l, void (*part)(void *arg, int thread, int threads), void *arg)
{
    if (l->p->op->team)
        weft_team_run(l->p->op->team, part, arg);
    else
        part(arg, 0, 1);
}

// ---- rows whose scale ranks agree on ----

typedef struct {
    loading *l;
    const wi_matrix *m;
} scaled;

// Bits of numbers without a sign stand in the order of the numbers, and NaN above all of them.
static uint32_t largest_bits(const float *x, size_t count)
{
    uint32_t most = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= UINT32_C(0x7fffffff);
        most = bits > most ? bits : most;
    }
    return most;
}

static void read_slice(void *arg, int thread, int threads)
{
    const scaled *a = arg;
    loading *l = a->l;
    const wi_source *source = &a->m->source[0];
    const weft_dtype stored = source->range.tensor->type;
    const size_t width = (size_t)source->range.columns, row = width * size_of(stored);
    wi_staging *s = &l->thread[thread];
    weft_read range = source->range;
    int64_t begin, end;
    weft_team_share(source->rows, 1, thread, threads, &begin, &end);
    range.row += begin;
    range.rows = end - begin;
    range.to = l->slice + (size_t)begin * row;
    range.to_stride = row;
    if (!weft_checkpoint_read_range(l->p->checkpoint, &range)) {
        note_failure(l, &source->range);
        return;
    }
    for (int64_t r = begin; r < end; r++) {
        wi_part_rows one = {source, stored, l->slice + (size_t)r * row, r, 1, 0, {0}};
        if (!fetch_scales(l, s, &one)) return;
        wi_widen_row(l->p, &one, 0, width, s->floats);
        l->largest[r] = largest_bits(s->floats, width);
    }
}

static void pack_scaled(void *arg, int thread, int threads)
{
    const scaled *a = arg;
    pack_share(a->l, a->m, thread, threads);
}

// Every rank of the dense group passes here for every such matrix, one that has nothing of it too: there it only hears.
// What is kept of the file meanwhile is this rank's share of one matrix.
static weft_status load_scaled(loading *l, const wi_matrix *m)
{
    const wi_source *source = &m->source[0];
    const bool has = m->count > 0;
    const size_t bytes = has ? (size_t)(source->rows * source->range.columns) * size_of(source->range.tensor->type) : 0;
    uint32_t *all = calloc((size_t)m->scaled_rows, sizeof *all);
    scaled a = {l, m};
    weft_status status = WEFT_OK;
    l->slice = malloc(bytes + 1);
    if (!all || !l->slice) status = weft_fail(WEFT_NO_MEMORY, "no memory to read %zu bytes of weights through", bytes);
    status = weft_comm_agree(l->p->layout->mesh.dense, status, NULL);
    if (status == WEFT_OK) {
        l->largest = has ? all + source->range.row : all;
        if (has && !atomic_load(&l->failed)) on_team(l, read_slice, &a);
        status = wi_share_largest(l->p->layout->mesh.dense, all, m->scaled_rows);
    }
    if (status == WEFT_OK && has && !atomic_load(&l->failed)) on_team(l, pack_scaled, &a);
    free(l->slice);
    free(all);
    l->slice = NULL;
    l->largest = NULL;
    return status;
}

// ---- another device than the host ----

static void pack_one(void *arg, int thread, int threads)
{
    const scaled *a = arg;
    if (a->m->source[0].step == 0)
        pack_share(a->l, a->m, thread, threads);
    else if (thread == 0)
        pack_turned(a->l, thread, a->m);
}

// One matrix after the other is packed on the host and copied.
static weft_status load_to_device(loading *l, const wi_matrix *m)
{
    weft_device *device = l->p->device;
    scaled a = {l, m};
    weft_status status = WEFT_OK;
    const size_t bytes = m->count > 0 ? weft_align_up(m->bytes, 64) : 64;
    void *packed = aligned_alloc(64, bytes);
    if (!packed) return weft_fail(WEFT_NO_MEMORY, "no memory of the host to pack %zu bytes of weights in", bytes);
    memset(packed, 0, bytes);
    if (m->count > 0) weft_gemm_weight_move(m->weight, packed);
    if (m->scaled_rows > 0)
        status = load_scaled(l, m);
    else if (m->count > 0 && !atomic_load(&l->failed))
        on_team(l, pack_one, &a);
    if (status == WEFT_OK && m->count > 0) {
        weft_gemm_weight_move(m->weight, m->memory);
        status = device->ops->copy_in(device, m->memory, packed, m->bytes);
    }
    free(packed);
    return status;
}

// ---- vectors ----

static weft_status read_vectors(const wi_planner *p, wi_staging *s, float *to)
{
    const weft_op op = {.table = p->op->table};
    for (size_t i = 0; i < p->plan->vectors; i++) {
        const wi_vector *v = &p->plan->vector[i];
        const weft_dtype stored = v->range.tensor->type;
        weft_read range = v->range;
        range.to = s->raw;
        range.to_stride = (size_t)range.columns * size_of(stored);
        if (!weft_checkpoint_read_range(p->checkpoint, &range))
            return weft_checkpoint_read_failure(p->checkpoint, &range);
        op.table->rows.convert(&op, s->floats, WEFT_F32, s->raw, stored, (size_t)range.columns);
        for (int64_t e = 0; e < v->count; e++) to[v->at + (size_t)e] = s->floats[v->first + e * v->step];
    }
    return WEFT_OK;
}

static weft_status load_vectors(const wi_planner *p, wi_staging *s)
{
    const size_t bytes = p->plan->floats * sizeof(float);
    if (p->device->ops->is_host) return read_vectors(p, s, p->plan->floats_at);
    float *all = calloc(p->plan->floats + 1, sizeof *all);
    weft_status status =
        all ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory to read %zu bytes of weights through", bytes);
    if (status == WEFT_OK) status = read_vectors(p, s, all);
    if (status == WEFT_OK) status = p->device->ops->copy_in(p->device, p->plan->floats_at, all, bytes);
    free(all);
    return status;
}

// ---- staging ----

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static void measure_staging(const wi_planner *p, size_t *raw, size_t *turned, size_t *rows, size_t *blocks)
{
    *blocks = 0;
    *raw = (size_t)WEFT_GEMM_PANEL * (size_t)p->config->hidden * sizeof(float);
    *rows = *raw;
    *turned = 0;
    for (size_t i = 0; i < p->plan->matrices; i++) {
        const wi_matrix *m = &p->plan->matrix[i];
        if (m->count == 0) continue;
        const weft_read *range = &m->source[0].range;
        const size_t width = (size_t)weft_range_size(m->columns) + (m->scaled_rows > 0);
        const size_t panel = (size_t)WEFT_GEMM_PANEL * width * sizeof(float);
        *blocks = larger(*blocks, wi_scales_room(p->config, range->columns, WEFT_GEMM_PANEL) * sizeof(float));
        const size_t slice = (size_t)(range->rows * range->columns) * size_of(range->tensor->type);
        *rows = larger(*rows, panel);
        *raw = larger(*raw, m->source[0].step ? slice : panel);
        if (m->source[0].step) *turned = larger(*turned, panel);
    }
    for (size_t i = 0; i < p->plan->vectors; i++) {
        const size_t bytes = (size_t)p->plan->vector[i].range.columns * sizeof(float);
        *raw = larger(*raw, bytes);
        *rows = larger(*rows, bytes);
    }
}

static void free_staging(wi_staging *thread, int threads)
{
    for (int i = 0; thread && i < threads; i++) {
        free(thread[i].raw);
        free(thread[i].turned);
        free(thread[i].floats);
        free(thread[i].codes);
        free(thread[i].scales);
        free(thread[i].raw_blocks);
        free(thread[i].blocks);
        free(thread[i].row);
    }
    free(thread);
}

static weft_status make_staging(const wi_planner *p, int threads, wi_staging **out)
{
    size_t raw, turned, rows, blocks;
    wi_staging *thread = calloc((size_t)threads, sizeof *thread);
    measure_staging(p, &raw, &turned, &rows, &blocks);
    for (int i = 0; thread && i < threads; i++) {
        wi_staging *s = &thread[i];
        s->raw = malloc(raw);
        s->turned = malloc(turned + 1);
        s->floats = malloc(rows);
        s->codes = malloc(rows / 4 + 1);
        s->scales = malloc(rows / 16 + WEFT_GEMM_PANEL * sizeof(float)); // a scale for 16 columns at most
        s->raw_blocks = malloc(blocks + 1);
        s->blocks = malloc(blocks + 1);
        s->row = malloc(rows / WEFT_GEMM_PANEL + 1);
        if (s->raw && s->turned && s->floats && s->codes && s->scales && s->raw_blocks && s->blocks && s->row) continue;
        free_staging(thread, threads);
        thread = NULL;
    }
    if (!thread) return weft_fail(WEFT_NO_MEMORY, "no memory to read weights through");
    *out = thread;
    return WEFT_OK;
}

weft_status wi_plan_run(const wi_planner *p)
{
    const int threads = p->op->team ? weft_team_threads(p->op->team) : 1;
    loading l = {.p = p};
    weft_status status;
    WEFT_TRY_GOTO(make_staging(p, threads, &l.thread));
    if (reads(p, 0)) WEFT_TRY_GOTO(load_vectors(p, &l.thread[0]));
    if (p->device->ops->is_host) on_team(&l, load_share, &l);
    for (size_t i = 0; i < p->plan->matrices; i++) {
        const wi_matrix *m = &p->plan->matrix[i];
        if (!p->device->ops->is_host)
            WEFT_TRY_GOTO(load_to_device(&l, m));
        else if (m->scaled_rows > 0 && reads(p, m->reader))
            WEFT_TRY_GOTO(load_scaled(&l, m));
    }
    if (atomic_load(&l.failed)) {
        errno = atomic_load(&l.error);
        status = weft_checkpoint_read_failure(p->checkpoint, atomic_load(&l.failed));
    }
fail:
    free_staging(l.thread, threads);
    return status;
}
