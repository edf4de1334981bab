#include "parallel/attention.h"

#include <stdlib.h>
#include <string.h>

#include "core/checked.h"
#include "parallel/transfer.h"

enum { LINE_FLOATS = 16 };

struct weft_dealt {
    weft_mesh mesh; // its groups are borrowed
    weft_dealt_shape shape;
    int roots; // of this rank's places, whatever the key
    bool by_heads;
    weft_transfer *queries; // dealt rows: each rank's to all
    weft_transfer *parts;   // each rank's parts to who finishes them
    float *own;             // dealt heads: parts of all heads, before they are cut
    size_t *offset, *count; // [cp] of what goes to each rank
};

uint32_t weft_dealt_places(const weft_mesh *mesh) { return weft_fold_owned(mesh->cp_rank, mesh->shape.cp); }

static int roots_of(const weft_mesh *mesh, int rank)
{
    weft_fold_root roots[WEFT_FOLD_ROOTS_MAX];
    return weft_fold_roots(weft_fold_owned(rank, mesh->shape.cp), roots);
}

// Floats of O, m and l of so many roots.
static size_t floats_of(const weft_dealt_shape *s, int roots, size_t rows, size_t heads)
{
    return (size_t)roots * rows * heads * ((size_t)s->v_size + 2);
}

static size_t part_floats(const weft_dealt *d, int roots, size_t rows, size_t heads)
{
    return floats_of(&d->shape, roots, rows, heads);
}

// ---- making one ----

// Floats of what is held and sent, at most.
typedef struct {
    size_t queries; // 0 with dealt heads
    size_t parts;   // to one rank
    size_t own;     // 0 with dealt rows
} room;

static room room_of(const weft_mesh *mesh, const weft_dealt_shape *s)
{
    const size_t rows = (size_t)s->rows, heads = (size_t)s->heads;
    size_t finished = heads;
    for (int r = 0; s->heads_of && r < mesh->shape.cp; r++) {
        const size_t of = (size_t)weft_range_size(s->heads_of[r]);
        finished = r == 0 || of > finished ? of : finished;
    }
    int most = 0;
    for (int r = 0; r < mesh->shape.cp; r++) most = roots_of(mesh, r) > most ? roots_of(mesh, r) : most;
    return (room){.queries = s->heads_of ? 0 : rows * heads * (size_t)s->k_size,
                  .parts = weft_align_up(floats_of(s, most, rows, finished), LINE_FLOATS),
                  .own = s->heads_of ? floats_of(s, roots_of(mesh, mesh->cp_rank), rows, heads) : 0};
}

static size_t own_bytes(size_t floats) { return weft_align_up(floats * sizeof(float), 64) + 64; }

size_t weft_dealt_bytes(const weft_mesh *mesh, const weft_dealt_shape *shape, const weft_mesh_near *near)
{
    const room need = room_of(mesh, shape);
    const int ranks = mesh->shape.cp;
    return weft_transfer_bytes(WEFT_TRANSFER_DEAL, need.parts, ranks, near->cp) +
           (shape->heads_of ? own_bytes(need.own)
                            : weft_transfer_bytes(WEFT_TRANSFER_GATHER, need.queries, ranks, near->cp));
}

static weft_status allocate(weft_dealt *d, size_t floats)
{
    const size_t ranks = (size_t)d->mesh.shape.cp;
    d->offset = calloc(ranks, sizeof *d->offset);
    d->count = calloc(ranks, sizeof *d->count);
    if (d->by_heads) d->own = aligned_alloc(64, own_bytes(floats));
    if (!d->offset || !d->count || (d->by_heads && !d->own))
        return weft_fail(WEFT_NO_MEMORY, "no memory for attention over %zu ranks", ranks);
    return WEFT_OK;
}

static weft_status make(weft_dealt *d)
{
    const room need = room_of(&d->mesh, &d->shape);
    d->roots = roots_of(&d->mesh, d->mesh.cp_rank);
    WEFT_TRY(weft_comm_agree(d->mesh.cp, allocate(d, need.own), NULL));
    if (!d->by_heads)
        WEFT_TRY(weft_transfer_create(d->mesh.cp, WEFT_TRANSFER_GATHER, "queries", need.queries, d->mesh.times,
                                      &d->queries));
    return weft_transfer_create(d->mesh.cp, WEFT_TRANSFER_DEAL, "parts", need.parts, d->mesh.times, &d->parts);
}

weft_status weft_dealt_create(const weft_mesh *mesh, const weft_dealt_shape *shape, weft_dealt **out)
{
    weft_status status;
    weft_dealt *d = calloc(1, sizeof *d);
    weft_range *heads_of = shape->heads_of ? calloc((size_t)mesh->shape.cp, sizeof *heads_of) : NULL;
    status = d && (heads_of || !shape->heads_of) ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for attention");
    if (d) d->shape.heads_of = heads_of;
    WEFT_TRY_GOTO(weft_comm_agree(mesh->cp, status, NULL));
    d->mesh = *mesh;
    d->shape = *shape;
    d->shape.heads_of = heads_of;
    d->by_heads = heads_of != NULL;
    if (heads_of) memcpy(heads_of, shape->heads_of, (size_t)mesh->shape.cp * sizeof *heads_of);
    WEFT_TRY_GOTO(make(d));
    *out = d;
    return WEFT_OK;
fail:
    if (!d) free(heads_of);
    weft_dealt_destroy(d);
    return status;
}

void weft_dealt_destroy(weft_dealt *d)
{
    if (!d) return;
    weft_transfer_destroy(d->queries);
    weft_transfer_destroy(d->parts);
    free((void *)(uintptr_t)d->shape.heads_of);
    free(d->own);
    free(d->offset);
    free(d->count);
    free(d);
}

// ---- parts ----

// Where O, m and l of `roots` parts stand, one behind the other.
typedef struct {
    float *o, *m, *l;
} planes;

static planes planes_at(const weft_dealt *d, float *at, int roots, size_t rows, size_t heads)
{
    float *m = at + (size_t)roots * rows * heads * (size_t)d->shape.v_size;
    return (planes){at, m, m + (size_t)roots * rows * heads};
}

static void attend(const weft_dealt *d, const weft_op *op, weft_attention_family family, const weft_attention *args,
                   const weft_dealt_rows *of, const float *q, size_t q_stride, float *to)
{
    if (of->rows == 0 || args->heads == 0) return;
    const planes p = planes_at(d, to, d->roots, (size_t)of->rows, (size_t)args->heads);
    weft_attention own = *args;
    own.requests = of->runs;
    own.request_count = of->run_count;
    own.rows = of->rows;
    own.q = q;
    own.q_stride = q_stride;
    own.sinks = NULL;
    own.out = NULL;
    own.row_m = own.row_l = NULL;
    own.part_o = p.o;
    own.part_m = p.m;
    own.part_l = p.l;
    op->table->attention.run[family](op, &own);
}

// The part of one root of one rank in its view.
static weft_attention_part part_of(const weft_dealt *d, int rank, int root, int roots, size_t rows, size_t heads,
                                   size_t row)
{
    const planes p = planes_at(d, (float *)(uintptr_t)weft_transfer_view(d->parts, rank), roots, rows, heads);
    const size_t at = ((size_t)root * rows + row) * heads;
    return (weft_attention_part){.o = p.o + at * (size_t)d->shape.v_size, .m = p.m + at, .l = p.l + at};
}

// All parts of rows that share a key, in the order of places.
static int collect(const weft_dealt *d, int key, size_t rows, size_t heads, size_t row,
                   weft_attention_part out[WEFT_FOLD_PLACES])
{
    int count = 0;
    for (int r = 0; r < d->mesh.shape.cp; r++) {
        weft_fold_root roots[WEFT_FOLD_ROOTS_MAX];
        const int n = weft_fold_roots(weft_fold_rotate(weft_fold_owned(r, d->mesh.shape.cp), key), roots);
        for (int i = 0; i < n; i++) {
            weft_attention_part part = part_of(d, r, i, n, rows, heads, row);
            part.first = roots[i].first;
            part.places = roots[i].places;
            int at = count++;
            for (; at > 0 && out[at - 1].first > part.first; at--) out[at] = out[at - 1];
            out[at] = part;
        }
    }
    return count;
}

static void join(const weft_dealt *d, const weft_op *op, const weft_attention *args, const weft_dealt_rows *mine,
                 size_t heads, const float *sinks)
{
    weft_attention_part parts[WEFT_FOLD_PLACES];
    if (heads == 0) return;
    for (int first = 0, next; first < mine->run_count; first = next) {
        const int key = mine->runs[first].rotation, row = mine->runs[first].row;
        for (next = first + 1; next < mine->run_count && mine->runs[next].rotation == key;) next++;
        const weft_attention_merge merge = {.parts = parts,
                                            .part_count =
                                                collect(d, key, (size_t)mine->rows, heads, (size_t)row, parts),
                                            .rows = mine->runs[next - 1].row + mine->runs[next - 1].rows - row,
                                            .heads = (int)heads,
                                            .v_size = d->shape.v_size,
                                            .sinks = sinks,
                                            .out = args->out + (size_t)row * args->out_stride,
                                            .out_stride = args->out_stride};
        op->table->attention.merge(op, &merge);
    }
}

// ---- dealt rows ----

static weft_status gather_queries(weft_dealt *d, const weft_attention *args)
{
    const size_t width = (size_t)d->shape.heads * (size_t)d->shape.k_size;
    float *slot;
    WEFT_TRY(weft_transfer_acquire(d->queries, &slot));
    for (size_t row = 0; row < (size_t)args->rows; row++)
        memcpy(slot + row * width, args->q + row * args->q_stride, width * sizeof *slot);
    return weft_transfer_gather(d->queries, (size_t)args->rows * width);
}

static weft_status by_rows(weft_dealt *d, const weft_op *op, weft_attention_family family, const weft_attention *args,
                           const weft_dealt_rows *rows_of)
{
    const size_t heads = (size_t)d->shape.heads, width = heads * (size_t)d->shape.k_size;
    size_t at = 0;
    float *slot;
    WEFT_TRY(gather_queries(d, args));
    WEFT_TRY(weft_transfer_acquire(d->parts, &slot));
    for (int r = 0; r < d->mesh.shape.cp; r++) {
        d->offset[r] = at;
        d->count[r] = part_floats(d, d->roots, (size_t)rows_of[r].rows, heads);
        attend(d, op, family, args, &rows_of[r], weft_transfer_view(d->queries, r), width, slot + at);
        at += weft_align_up(d->count[r], LINE_FLOATS);
    }
    weft_transfer_release(d->queries);
    WEFT_TRY(weft_transfer_deal(d->parts, d->offset, d->count));
    join(d, op, args, &rows_of[d->mesh.cp_rank], heads, args->sinks);
    weft_transfer_release(d->parts);
    return WEFT_OK;
}

// ---- dealt heads ----

// Copies the heads of one rank out of parts of all heads.
static void cut_heads(const weft_dealt *d, size_t rows, weft_range heads, const planes *all, float *to)
{
    const size_t v = (size_t)d->shape.v_size, every = (size_t)d->shape.heads, own = (size_t)weft_range_size(heads);
    const planes p = planes_at(d, to, d->roots, rows, own);
    for (size_t i = 0; i < (size_t)d->roots * rows; i++) {
        const size_t from = i * every + (size_t)heads.begin;
        memcpy(p.o + i * own * v, all->o + from * v, own * v * sizeof(float));
        memcpy(p.m + i * own, all->m + from, own * sizeof(float));
        memcpy(p.l + i * own, all->l + from, own * sizeof(float));
    }
}

static weft_status by_heads(weft_dealt *d, const weft_op *op, weft_attention_family family, const weft_attention *args,
                            const weft_dealt_rows *rows)
{
    const planes all = planes_at(d, d->own, d->roots, (size_t)rows->rows, (size_t)d->shape.heads);
    const weft_range mine = d->shape.heads_of[d->mesh.cp_rank];
    size_t at = 0;
    float *slot;
    attend(d, op, family, args, rows, args->q, args->q_stride, d->own);
    WEFT_TRY(weft_transfer_acquire(d->parts, &slot));
    for (int r = 0; r < d->mesh.shape.cp; r++) {
        const weft_range heads = d->shape.heads_of[r];
        d->offset[r] = at;
        d->count[r] = part_floats(d, d->roots, (size_t)rows->rows, (size_t)weft_range_size(heads));
        if (d->count[r] > 0) cut_heads(d, (size_t)rows->rows, heads, &all, slot + at);
        at += weft_align_up(d->count[r], LINE_FLOATS);
    }
    WEFT_TRY(weft_transfer_deal(d->parts, d->offset, d->count));
    join(d, op, args, rows, (size_t)weft_range_size(mine), args->sinks ? args->sinks + mine.begin : NULL);
    weft_transfer_release(d->parts);
    return WEFT_OK;
}

weft_status weft_dealt_attention(weft_dealt *d, const weft_op *op, weft_attention_family family,
                                 const weft_attention *args, const weft_dealt_rows *rows_of)
{
    return d->by_heads ? by_heads(d, op, family, args, rows_of) : by_rows(d, op, family, args, rows_of);
}
