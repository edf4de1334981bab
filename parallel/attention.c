#include <stdlib.h>
#include <string.h>

#include "core/checked.h"
#include "parallel/attention_impl.h"

uint32_t weft_dealt_places(const weft_mesh *mesh) { return weft_fold_owned(mesh->cp_rank, mesh->shape.cp); }

size_t wi_part_floats(const weft_dealt_shape *s, int roots, size_t rows, size_t heads)
{
    return (size_t)roots * rows * heads * ((size_t)s->v_size + 2);
}

// ---- making one ----

// Floats of what is held and sent, at most.
typedef struct {
    size_t moved; // queries, or a piece of keys and values; 0 with dealt heads
    size_t parts; // to one rank
    size_t own;   // 0 with dealt rows
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
    for (int r = 0; r < mesh->shape.cp; r++) {
        const int roots = wi_dealt_roots(r, mesh->shape.cp);
        most = roots > most ? roots : most;
    }
    return (room){.moved = s->heads_of ? 0 : wi_dealt_room(s),
                  .parts = weft_align_up(wi_part_floats(s, most, rows, finished), WI_LINE_FLOATS),
                  .own =
                      s->heads_of ? wi_part_floats(s, wi_dealt_roots(mesh->cp_rank, mesh->shape.cp), rows, heads) : 0};
}

size_t weft_dealt_bytes(const weft_mesh *mesh, const weft_dealt_shape *shape, const weft_mesh_near *near)
{
    const room need = room_of(mesh, shape);
    const int ranks = mesh->shape.cp;
    return weft_transfer_bytes(WEFT_TRANSFER_DEAL, need.parts, ranks, near->cp) +
           (shape->heads_of
                ? wi_room_bytes(need.own * sizeof(float))
                : weft_transfer_bytes(WEFT_TRANSFER_PIECES, need.moved, ranks, near->cp) + wi_keys_bytes(shape, ranks));
}

size_t weft_dealt_device_bytes(const weft_mesh *mesh, const weft_dealt_shape *shape, const weft_mesh_near *near)
{
    const room need = room_of(mesh, shape);
    const int ranks = mesh->shape.cp;
    const weft_links links = weft_mesh_links(near, near->cp);
    return weft_transfer_device_bytes(WEFT_TRANSFER_DEAL, need.parts, ranks, links) +
           (shape->heads_of ? wi_room_bytes(need.own * sizeof(float))
                            : weft_transfer_device_bytes(WEFT_TRANSFER_PIECES, need.moved, ranks, links));
}

static weft_status allocate(weft_dealt *d, size_t floats)
{
    const size_t ranks = (size_t)d->mesh.shape.cp;
    d->offset = calloc(ranks, sizeof *d->offset);
    d->count = calloc(ranks, sizeof *d->count);
    d->from = calloc(ranks, sizeof *d->from);
    if (!d->offset || !d->count || !d->from)
        return weft_fail(WEFT_NO_MEMORY, "no memory for attention over %zu ranks", ranks);
    return d->by_heads ? wi_room_take(d->mesh.device, floats * sizeof(float), "attention", &d->own)
                       : wi_keys_create(&d->shape, d->mesh.shape.cp, &d->keys);
}

static weft_status make(weft_dealt *d)
{
    const room need = room_of(&d->mesh, &d->shape);
    d->roots = wi_dealt_roots(d->mesh.cp_rank, d->mesh.shape.cp);
    d->near = weft_comm_nodes(d->mesh.cp) == 1;
    WEFT_TRY(weft_comm_agree(d->mesh.cp, allocate(d, need.own), NULL));
    if (!d->by_heads)
        WEFT_TRY(weft_transfer_create(&d->mesh, d->mesh.cp, WEFT_TRANSFER_PIECES, "dealt", need.moved, &d->moved));
    return weft_transfer_create(&d->mesh, d->mesh.cp, WEFT_TRANSFER_DEAL, "parts", need.parts, &d->parts);
}

static weft_status copy_shape(weft_dealt *d, const weft_mesh *mesh, const weft_dealt_shape *shape)
{
    const size_t bytes = (size_t)mesh->shape.cp * sizeof *shape->heads_of;
    d->mesh = *mesh;
    d->shape = *shape;
    d->by_heads = shape->heads_of != NULL;
    if (!d->by_heads) return WEFT_OK;
    weft_range *heads_of = malloc(bytes);
    d->shape.heads_of = heads_of;
    if (!heads_of) return weft_fail(WEFT_NO_MEMORY, "no memory for attention");
    memcpy(heads_of, shape->heads_of, bytes);
    return WEFT_OK;
}

weft_status weft_dealt_create(const weft_mesh *mesh, const weft_dealt_shape *shape, weft_dealt **out)
{
    weft_dealt *d = calloc(1, sizeof *d);
    weft_status status = d ? copy_shape(d, mesh, shape) : weft_fail(WEFT_NO_MEMORY, "no memory for attention");
    WEFT_TRY_GOTO(weft_comm_agree(mesh->cp, status, NULL));
    WEFT_TRY_GOTO(make(d));
    *out = d;
    return WEFT_OK;
fail:
    weft_dealt_destroy(d);
    return status;
}

void weft_dealt_destroy(weft_dealt *d)
{
    if (!d) return;
    weft_transfer_destroy(d->moved);
    weft_transfer_destroy(d->parts);
    free((void *)(uintptr_t)d->shape.heads_of);
    wi_keys_destroy(d->keys);
    free(d->from);
    wi_room_give(&d->own);
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

void wi_attend(const weft_dealt *d, const weft_op *op, weft_attention_family family, const weft_attention *args,
               const wi_asked *of, float *to)
{
    if (of->rows == 0 || args->heads == 0) return;
    const planes p = planes_at(d, to, of->roots, (size_t)of->rows, (size_t)args->heads);
    weft_attention own = *args;
    own.requests = of->runs;
    own.request_count = of->run_count;
    own.rows = of->rows;
    own.q = of->q;
    own.q_stride = of->q_stride;
    own.sinks = NULL;
    own.out = NULL;
    own.row_m = own.row_l = NULL;
    own.part_o = p.o;
    own.part_m = p.m;
    own.part_l = p.l;
    op->table->attention.run[family](op, &own);
}

// The part of one root of one rank.
static weft_attention_part part_of(const weft_dealt *d, int rank, int root, int roots, size_t rows, size_t heads,
                                   size_t row)
{
    const planes p = planes_at(d, (float *)(uintptr_t)d->from[rank], roots, rows, heads);
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
        if (!d->from[r]) continue;
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

void wi_join(const weft_dealt *d, const weft_op *op, const weft_attention *args, const weft_dealt_rows *mine,
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

static void look_at_views(weft_dealt *d)
{
    for (int r = 0; r < d->mesh.shape.cp; r++) d->from[r] = weft_transfer_view(d->parts, r);
}

// ---- dealt rows ----

static weft_status gather_queries(weft_dealt *d, const weft_op *op, const weft_attention *args)
{
    const size_t width = (size_t)d->shape.heads * (size_t)d->shape.k_size;
    float *slot;
    WEFT_TRY(weft_transfer_acquire(d->moved, &slot));
    weft_copy_rows(op, slot, width, args->q, args->q_stride, (size_t)args->rows, width);
    return weft_transfer_gather(d->moved, (size_t)args->rows * width);
}

static weft_status by_queries(weft_dealt *d, const weft_op *op, weft_attention_family family,
                              const weft_attention *args, const weft_dealt_rows *rows_of)
{
    const size_t heads = (size_t)d->shape.heads, width = heads * (size_t)d->shape.k_size;
    size_t at = 0;
    float *slot;
    WEFT_TRY(gather_queries(d, op, args));
    WEFT_TRY(weft_transfer_acquire(d->parts, &slot));
    for (int r = 0; r < d->mesh.shape.cp; r++) {
        d->offset[r] = at;
        d->count[r] = wi_part_floats(&d->shape, d->roots, (size_t)rows_of[r].rows, heads);
        const wi_asked asked = wi_asked_of(&rows_of[r], d->roots, weft_transfer_view(d->moved, r), width);
        wi_attend(d, op, family, args, &asked, slot + at);
        at += weft_align_up(d->count[r], WI_LINE_FLOATS);
    }
    weft_transfer_release(d->moved);
    WEFT_TRY(weft_transfer_deal(d->parts, d->offset, d->count));
    look_at_views(d);
    wi_join(d, op, args, &rows_of[d->mesh.cp_rank], heads, args->sinks);
    weft_transfer_release(d->parts);
    return WEFT_OK;
}

static weft_status by_rows(weft_dealt *d, const weft_op *op, weft_attention_family family, const weft_attention *args,
                           const weft_dealt_rows *rows_of)
{
    weft_mesh_times *times = d->mesh.times;
    if (args->heads == 0) return WEFT_OK; // all ranks of the group have the same heads
    const bool keys = wi_keys_plan(d, args, rows_of);
    if (times) *(keys ? &times->by_keys : &times->by_queries) += 1;
    return keys ? wi_by_keys(d, op, family, args, rows_of) : by_queries(d, op, family, args, rows_of);
}

// ---- dealt heads ----

// Copies the heads of one rank out of parts of all heads.
static void cut_heads(const weft_dealt *d, const weft_op *op, size_t rows, weft_range heads, const planes *all,
                      float *to)
{
    const size_t v = (size_t)d->shape.v_size, every = (size_t)d->shape.heads, own = (size_t)weft_range_size(heads);
    const size_t first = (size_t)heads.begin, of_roots = (size_t)d->roots * rows;
    const planes p = planes_at(d, to, d->roots, rows, own);
    weft_copy_rows(op, p.o, own * v, all->o + first * v, every * v, of_roots, own * v);
    weft_copy_rows(op, p.m, own, all->m + first, every, of_roots, own);
    weft_copy_rows(op, p.l, own, all->l + first, every, of_roots, own);
}

static weft_status by_heads(weft_dealt *d, const weft_op *op, weft_attention_family family, const weft_attention *args,
                            const weft_dealt_rows *rows)
{
    const planes all = planes_at(d, d->own.at, d->roots, (size_t)rows->rows, (size_t)d->shape.heads);
    const weft_range mine = d->shape.heads_of[d->mesh.cp_rank];
    size_t at = 0;
    float *slot;
    const wi_asked asked = wi_asked_of(rows, d->roots, args->q, args->q_stride);
    wi_attend(d, op, family, args, &asked, d->own.at);
    WEFT_TRY(weft_transfer_acquire(d->parts, &slot));
    for (int r = 0; r < d->mesh.shape.cp; r++) {
        const weft_range heads = d->shape.heads_of[r];
        d->offset[r] = at;
        d->count[r] = wi_part_floats(&d->shape, d->roots, (size_t)rows->rows, (size_t)weft_range_size(heads));
        if (d->count[r] > 0) cut_heads(d, op, (size_t)rows->rows, heads, &all, slot + at);
        at += weft_align_up(d->count[r], WI_LINE_FLOATS);
    }
    WEFT_TRY(weft_transfer_deal(d->parts, d->offset, d->count));
    look_at_views(d);
    wi_join(d, op, args, rows, (size_t)weft_range_size(mine), args->sinks ? args->sinks + mine.begin : NULL);
    weft_transfer_release(d->parts);
    return WEFT_OK;
}

weft_status weft_dealt_attention(weft_dealt *d, const weft_op *op, weft_attention_family family,
                                 const weft_attention *args, const weft_dealt_rows *rows_of)
{
    return d->by_heads ? by_heads(d, op, family, args, rows_of) : by_rows(d, op, family, args, rows_of);
}
