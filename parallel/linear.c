#include "parallel/linear.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/checked.h"
#include "core/clock.h"
#include "parallel/transfer.h"

enum { GRAIN = 16 }; // floats: outputs of ranks that share a leaf are cut at whole lines

// Columns of the outputs over which the arrays of the same ranks are added.
typedef struct {
    int64_t begin, end;
    struct {
        int rank;      // -1: the leaf is empty
        int64_t begin; // the first output that this rank gives
        int64_t width;
    } leaf[WEFT_LEAVES];
} segment;

struct weft_row_sum {
    weft_kernels kernels;
    weft_mesh mesh; // its groups are borrowed
    weft_row_shape shape;
    weft_sum *sum;          // up to V ranks
    float *partial, *total; // --numerics fast over a library's all-reduce
    // ranks that share leaves
    weft_transfer *inputs; // over the leaf group: activations
    weft_range *own;       // [its ranks] the inputs that each computes
    weft_range held;
    float *whole;           // (rows, inputs of the leaf)
    weft_transfer *outputs; // over the dense group: roots, of few rows to all
    weft_transfer *dealt;   // of many rows to who adds them
    size_t *at, *count;     // [dense ranks] what each gets of them
    segment *segments;
    int segment_count;
};

// ---- column ----

static weft_gemm_args args_of(const weft_linear_call *call)
{
    return (weft_gemm_args){
        .m = call->m, .a = call->a, .a_stride = call->a_stride, .rows = call->rows, .out_stride = call->out_stride};
}

static void run_whole(const weft_op *op, const weft_gemm_weight *weight, const weft_linear_call *call)
{
    weft_gemm_args args = args_of(call);
    if (call->m == 0 || weight->columns == 0) return;
    args.out[0] = call->out;
    args.bias = call->bias;
    args.act = call->act;
    args.residual = call->residual;
    args.residual_stride = call->residual_stride;
    weft_gemm_run(op, weight, &args);
}

void weft_linear_column(const weft_op *op, const weft_gemm_weight *weight, const weft_linear_call *call)
{
    run_whole(op, weight, call);
}

// ---- who holds what of a row linear ----

static weft_range columns_of(const weft_row_shape *s, weft_range units)
{
    const weft_range all = {units.begin * s->unit, units.end * s->unit};
    return (weft_range){all.begin < s->k ? all.begin : s->k, all.end < s->k ? all.end : s->k};
}

static int64_t units_of(const weft_row_shape *s) { return (s->k + s->unit - 1) / s->unit; }

static weft_range own_of(const weft_shard *shard, const weft_row_shape *s)
{
    return columns_of(s, weft_shard_own(shard, units_of(s)));
}

static weft_range outputs_of(const weft_shard *shard, const weft_row_shape *s)
{
    return weft_range_part(s->width, GRAIN, shard->slice, shard->slices);
}

weft_range weft_row_inputs(const weft_mesh *mesh, const weft_row_shape *s)
{
    return columns_of(s, weft_shard_units(&mesh->shard, units_of(s)));
}

weft_range weft_row_own(const weft_mesh *mesh, const weft_row_shape *s) { return own_of(&mesh->shard, s); }

weft_range weft_row_outputs(const weft_mesh *mesh, const weft_row_shape *s) { return outputs_of(&mesh->shard, s); }

// ---- making the sum ----

weft_gemm_leaves weft_row_leaves(const weft_mesh *mesh, const weft_row_shape *s)
{
    const weft_range held = weft_row_inputs(mesh, s);
    if (!mesh->shape.fast) return weft_shard_leaves(&mesh->shard, s->k, s->unit);
    // One chain over all that the rank holds.
    weft_gemm_leaves leaves = {.begin = {0, held.begin, held.end}, .first = 1, .count = 1};
    for (int i = 3; i <= WEFT_LEAVES; i++) leaves.begin[i] = s->k;
    return leaves;
}

static weft_sum_places places_of(const weft_shard *shard, const weft_row_shape *s)
{
    weft_gemm_root roots[WEFT_ROOTS_MAX];
    const weft_gemm_leaves leaves = weft_shard_leaves(shard, s->k, s->unit);
    weft_sum_places places = {.count = weft_gemm_roots(&leaves, roots)};
    for (int i = 0; i < places.count; i++) places.place[i] = roots[i].first;
    return places;
}

// Up to V ranks.
static weft_sum_spec spec_of(const weft_mesh *mesh, const char *name, const weft_row_shape *shape,
                             weft_sum_places places[WEFT_LEAVES])
{
    for (int i = 0; i < mesh->dense_ranks; i++) {
        const weft_shard shard = weft_shard_of(i, mesh->dense_ranks);
        places[i] = places_of(&shard, shape);
        if (!mesh->shape.fast || places[i].count == 0) continue;
        places[i] = (weft_sum_places){.count = 1, .place = {i}}; // one chain a rank
    }
    return (weft_sum_spec){.name = name,
                           .times = mesh->times,
                           .count = shape->rows * (size_t)shape->width,
                           .places = places,
                           .width = shape->deals ? (size_t)shape->width : 0};
}

// A library adds for us where it can.
static weft_status make_fast(weft_row_sum *r, const weft_mesh *mesh, const char *name)
{
    const size_t bytes = weft_align_up(r->shape.rows * (size_t)r->shape.width * sizeof(float), 64) + 64;
    r->partial = aligned_alloc(64, bytes);
    r->total = aligned_alloc(64, bytes);
    const weft_status status =
        r->partial && r->total ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for sum %s", name);
    return weft_comm_agree(mesh->dense, status, NULL);
}

static weft_status make_sum(weft_row_sum *r, const weft_mesh *mesh, const char *name)
{
    if (mesh->shape.fast && weft_comm_has_allreduce(mesh->dense)) return make_fast(r, mesh, name);
    weft_sum_places places[WEFT_LEAVES];
    const weft_sum_spec spec = spec_of(mesh, name, &r->shape, places);
    return weft_sum_create(mesh->dense, &r->kernels, &spec, &r->sum);
}

// Ranks that share leaves: floats of a leaf's activations, of what each rank may give to all, and bytes of the first.
static size_t leaf_floats(const weft_mesh *mesh, const weft_row_shape *shape)
{
    return shape->rows * (size_t)weft_range_size(weft_row_inputs(mesh, shape));
}

static bool has_dealt(const weft_mesh *mesh, const weft_row_shape *shape)
{
    return shape->deals && (int64_t)shape->rows >= weft_rows_dealt_from(mesh->dense_ranks);
}

static size_t widest(const weft_mesh *mesh, const weft_row_shape *shape)
{
    int64_t most = 0;
    for (int i = 0; i < mesh->dense_ranks; i++) {
        const weft_shard shard = weft_shard_of(i, mesh->dense_ranks);
        const int64_t width = weft_range_size(outputs_of(&shard, shape));
        if (width > most) most = width;
    }
    return (size_t)most;
}

static size_t output_floats(const weft_mesh *mesh, const weft_row_shape *shape)
{
    const size_t few = (size_t)weft_rows_dealt_from(mesh->dense_ranks) - 1;
    return (has_dealt(mesh, shape) ? few : shape->rows) * widest(mesh, shape);
}

static size_t dealt_floats(const weft_mesh *mesh, const weft_row_shape *shape)
{
    return (size_t)weft_rows_most((int64_t)shape->rows, shape->width, mesh->dense_ranks) * widest(mesh, shape);
}

static size_t whole_bytes(size_t floats) { return weft_align_up(floats * sizeof(float), 64) + 64; }

size_t weft_row_sum_bytes(const weft_mesh *mesh, const weft_row_shape *shape, const weft_mesh_near *near)
{
    weft_sum_places places[WEFT_LEAVES];
    if (mesh->dense_ranks == 1) return 0;
    if (mesh->dense_ranks <= WEFT_LEAVES) {
        const weft_sum_spec spec = spec_of(mesh, NULL, shape, places);
        return weft_sum_bytes(&spec, mesh->dense_ranks, near->dense);
    }
    const size_t leaf = leaf_floats(mesh, shape);
    size_t bytes = whole_bytes(leaf);
    if (mesh->shard.slices > 1)
        bytes += weft_transfer_bytes(WEFT_TRANSFER_GATHER, leaf, mesh->shard.slices, near->leaf);
    if (has_dealt(mesh, shape))
        bytes += weft_transfer_bytes(WEFT_TRANSFER_DEAL, dealt_floats(mesh, shape), mesh->dense_ranks, near->dense);
    return bytes +
           weft_transfer_bytes(WEFT_TRANSFER_GATHER, output_floats(mesh, shape), mesh->dense_ranks, near->dense);
}

// The next column behind `at` where some leaf passes from one rank to another.
static int64_t segment_end(const weft_row_sum *r, const weft_mesh *mesh, int64_t at)
{
    int64_t end = r->shape.width;
    for (int i = 0; i < mesh->dense_ranks; i++) {
        const weft_shard shard = weft_shard_of(i, mesh->dense_ranks);
        const int64_t next = outputs_of(&shard, &r->shape).end;
        if (next > at && next < end) end = next;
    }
    return end;
}

static void cut_segments(weft_row_sum *r, const weft_mesh *mesh)
{
    for (int64_t at = 0; at < r->shape.width; at = r->segments[r->segment_count++].end) {
        segment *s = &r->segments[r->segment_count];
        *s = (segment){.begin = at, .end = segment_end(r, mesh, at)};
        for (int l = 0; l < WEFT_LEAVES; l++) s->leaf[l].rank = -1;
        for (int i = 0; i < mesh->dense_ranks; i++) {
            const weft_shard shard = weft_shard_of(i, mesh->dense_ranks);
            const weft_range out = outputs_of(&shard, &r->shape);
            if (at < out.begin || at >= out.end || places_of(&shard, &r->shape).count == 0) continue;
            s->leaf[shard.leaf].rank = i;
            s->leaf[shard.leaf].begin = out.begin;
            s->leaf[shard.leaf].width = weft_range_size(out);
        }
    }
}

// Ranks that share leaves: everybody gets all roots.
static weft_status make_shared(weft_row_sum *r, const weft_mesh *mesh, const char *name)
{
    const int sharers = mesh->shard.slices;
    const size_t leaf = leaf_floats(mesh, &r->shape);
    weft_status status = WEFT_OK;
    r->held = weft_row_inputs(mesh, &r->shape);
    r->own = calloc((size_t)sharers, sizeof *r->own);
    r->whole = aligned_alloc(64, whole_bytes(leaf));
    r->segments = calloc((size_t)mesh->dense_ranks * WEFT_LEAVES, sizeof *r->segments);
    r->at = calloc((size_t)mesh->dense_ranks, sizeof *r->at);
    r->count = calloc((size_t)mesh->dense_ranks, sizeof *r->count);
    if (!r->own || !r->whole || !r->segments || !r->at || !r->count)
        status = weft_fail(WEFT_NO_MEMORY, "no memory for sum %s", name);
    WEFT_TRY(weft_comm_agree(mesh->dense, status, NULL));
    for (int i = 0; i < sharers; i++) {
        weft_shard shard = mesh->shard;
        shard.slice = i;
        r->own[i] = own_of(&shard, &r->shape);
    }
    cut_segments(r, mesh);
    if (sharers > 1)
        WEFT_TRY(weft_transfer_create(mesh->leaf, WEFT_TRANSFER_GATHER, name, leaf, mesh->times, &r->inputs));
    if (has_dealt(mesh, &r->shape))
        WEFT_TRY(weft_transfer_create(mesh->dense, WEFT_TRANSFER_DEAL, name, dealt_floats(mesh, &r->shape), mesh->times,
                                      &r->dealt));
    return weft_transfer_create(mesh->dense, WEFT_TRANSFER_GATHER, name, output_floats(mesh, &r->shape), mesh->times,
                                &r->outputs);
}

weft_status weft_row_sum_create(const weft_mesh *mesh, const weft_kernels *kernels, const char *name,
                                const weft_row_shape *shape, weft_row_sum **out)
{
    weft_status status = WEFT_OK;
    weft_row_sum *r = NULL;
    *out = NULL;
    if (mesh->dense_ranks == 1) return WEFT_OK;
    r = calloc(1, sizeof *r);
    if (!r) status = weft_fail(WEFT_NO_MEMORY, "no memory for sum %s", name);
    WEFT_TRY_GOTO(weft_comm_agree(mesh->dense, status, NULL));
    r->kernels = *kernels;
    r->mesh = *mesh;
    r->shape = *shape;
    WEFT_TRY_GOTO(mesh->dense_ranks > WEFT_LEAVES ? make_shared(r, mesh, name) : make_sum(r, mesh, name));
    *out = r;
    return WEFT_OK;
fail:
    weft_row_sum_destroy(r);
    return status;
}

void weft_row_sum_destroy(weft_row_sum *r)
{
    if (!r) return;
    weft_sum_destroy(r->sum);
    weft_transfer_destroy(r->inputs);
    weft_transfer_destroy(r->outputs);
    weft_transfer_destroy(r->dealt);
    free(r->at);
    free(r->count);
    free(r->partial);
    free(r->total);
    free(r->own);
    free(r->whole);
    free(r->segments);
    free(r);
}

bool weft_row_sum_deals(const weft_row_sum *r, int64_t m)
{
    return r && !r->partial && has_dealt(&r->mesh, &r->shape) && m >= weft_rows_dealt_from(r->mesh.dense_ranks);
}

// ---- row ----

static weft_status row_by_sum(weft_row_sum *r, const weft_op *op, const weft_gemm_weight *weight,
                              const weft_linear_call *call)
{
    const size_t width = (size_t)r->shape.width, count = (size_t)call->m * width;
    const weft_sum_finish finish = {
        .op = op, .width = width, .bias = call->bias, .residual = call->residual, .out = call->out, .then = call->then};
    weft_gemm_args args = args_of(call);
    args.out_stride = width;
    WEFT_TRY(weft_sum_acquire(r->sum, count, args.out));
    if (weight->roots > 0) weft_gemm_run(op, weight, &args);
    WEFT_TRY(weft_sum_run(r->sum, &finish, NULL));
    weft_sum_release(r->sum);
    return WEFT_OK;
}

static weft_status row_fast(weft_row_sum *r, const weft_op *op, const weft_gemm_weight *weight,
                            const weft_linear_call *call)
{
    const size_t width = (size_t)r->shape.width, count = (size_t)call->m * width;
    weft_gemm_args args = args_of(call);
    args.out[0] = r->partial;
    args.out_stride = width;
    if (weight->roots > 0)
        weft_gemm_run(op, weight, &args);
    else
        memset(r->partial, 0, count * sizeof *r->partial);
    const uint64_t began = weft_clock_ticks();
    WEFT_TRY(weft_comm_allreduce_fast(r->mesh.dense, r->partial, r->total, count));
    if (r->mesh.times) r->mesh.times->exchange += weft_clock_ticks() - began;
    for (size_t m = 0; call->bias && m < (size_t)call->m; m++)
        r->kernels.rows.add(op, r->total + m * width, r->total + m * width, call->bias, width);
    if (call->residual)
        r->kernels.rows.add(op, call->out, r->total, call->residual, count);
    else
        memcpy(call->out, r->total, count * sizeof *call->out);
    return WEFT_OK;
}

// The activations of the whole leaf, from those that each rank computed.
static weft_status gather_inputs(weft_row_sum *r, weft_linear_call *call)
{
    const weft_mesh *mesh = &r->mesh;
    const size_t own = (size_t)weft_range_size(r->own[mesh->shard.slice]), k = (size_t)weft_range_size(r->held);
    float *slot;
    if (!r->inputs) return WEFT_OK;
    WEFT_TRY(weft_transfer_acquire(r->inputs, &slot));
    for (size_t m = 0; own > 0 && m < (size_t)call->m; m++)
        memcpy(slot + m * own, call->a + m * call->a_stride, own * sizeof *slot);
    WEFT_TRY(weft_transfer_gather(r->inputs, (size_t)call->m * own));
    for (int i = 0; i < mesh->shard.slices; i++) {
        const size_t width = (size_t)weft_range_size(r->own[i]), at = (size_t)(r->own[i].begin - r->held.begin);
        for (size_t m = 0; width > 0 && m < (size_t)call->m; m++)
            memcpy(r->whole + m * k + at, weft_transfer_view(r->inputs, i) + m * width, width * sizeof(float));
    }
    weft_transfer_release(r->inputs);
    call->a = r->whole;
    call->a_stride = k;
    return WEFT_OK;
}

// Row m of what was given, by the tree, with bias and residual where there are any.
static void add_row(const weft_row_sum *r, const weft_transfer *from, size_t m, const float *bias,
                    const float *residual, float *out)
{
    const weft_op alone = {.table = &r->kernels};
    for (int i = 0; i < r->segment_count; i++) {
        const segment *s = &r->segments[i];
        const size_t begin = (size_t)s->begin, count = (size_t)(s->end - s->begin);
        const float *in[WEFT_LEAVES];
        for (int l = 0; l < WEFT_LEAVES; l++)
            in[l] = s->leaf[l].rank < 0 ? NULL
                                        : weft_transfer_view(from, s->leaf[l].rank) + m * (size_t)s->leaf[l].width +
                                              (size_t)(s->begin - s->leaf[l].begin);
        float sum[1024];
        for (size_t done = 0, now; done < count; done += now) {
            now = count - done < sizeof sum / sizeof *sum ? count - done : sizeof sum / sizeof *sum;
            r->kernels.tree_add(sum, in, WEFT_LEAVES, now);
            if (bias) r->kernels.rows.add(&alone, sum, sum, bias + begin + done, now);
            if (residual) r->kernels.rows.add(&alone, sum, sum, residual + begin + done, now);
            memcpy(out + begin + done, sum, now * sizeof *sum);
            for (int l = 0; l < WEFT_LEAVES; l++)
                if (in[l]) in[l] += now;
        }
    }
}

// What this rank is given, of all rows or of those that it finishes.
typedef struct {
    const weft_row_sum *r;
    const weft_linear_call *call;
    weft_range rows;
    float *slot;
} finishing;

static void add_rows(void *arg, int thread, int threads)
{
    const finishing *f = arg;
    const weft_linear_call *call = f->call;
    int64_t begin, end;
    weft_team_share(call->m, 1, thread, threads, &begin, &end);
    for (size_t m = (size_t)begin; m < (size_t)end; m++)
        add_row(f->r, f->r->outputs, m, call->bias, call->residual ? call->residual + m * call->residual_stride : NULL,
                call->out + m * call->out_stride);
}

static void finish_rows(void *arg, int thread, int threads)
{
    enum { ROWS = 4 }; // as in sum_add.c
    const finishing *f = arg;
    const weft_sum_then *then = f->call->then;
    const size_t width = (size_t)f->r->shape.width;
    int64_t begin, end;
    weft_team_share(weft_range_size(f->rows), 1, thread, threads, &begin, &end);
    float *room = then->room + (size_t)begin * width;
    for (int64_t m = begin, next; m < end; m = next) {
        next = end - m < ROWS ? end : m + ROWS;
        for (int64_t i = m; i < next; i++)
            add_row(f->r, f->r->dealt, (size_t)i, f->call->bias, NULL, room + (size_t)(i - m) * width);
        then->run(then->arg, (weft_range){f->rows.begin + m, f->rows.begin + next}, room, f->slot + (size_t)m * width);
    }
}

static void share_out(const weft_op *op, finishing *f, weft_job_fn *job)
{
    if (op->team)
        weft_team_run(op->team, job, f);
    else
        job(f, 0, 1);
}

static void multiply(const weft_op *op, const weft_gemm_weight *weight, const weft_linear_call *call, float *slot)
{
    weft_gemm_args args = args_of(call);
    args.out[0] = slot;
    args.out_stride = (size_t)weight->columns;
    if (weight->roots > 0) weft_gemm_run(op, weight, &args);
}

// Many rows: the roots of each go to one rank.
static weft_status row_dealt(weft_row_sum *r, const weft_op *op, const weft_gemm_weight *weight,
                             const weft_linear_call *call)
{
    const int ranks = r->mesh.dense_ranks;
    const int64_t width = r->shape.width;
    const weft_sum_then *then = call->then;
    finishing f = {.r = r, .call = call, .rows = weft_rows_of(call->m, width, r->mesh.dense_rank, ranks)};
    float *slot;
    WEFT_TRY(weft_transfer_acquire(r->dealt, &slot));
    multiply(op, weight, call, slot);
    for (int i = 0; i < ranks; i++) {
        const weft_range rows = weft_rows_of(call->m, width, i, ranks);
        r->count[i] = (size_t)(weft_range_size(rows) * weight->columns);
        r->at[i] = r->count[i] ? (size_t)(rows.begin * weight->columns) : 0;
    }
    WEFT_TRY(weft_transfer_deal(r->dealt, r->at, r->count));
    WEFT_TRY(weft_transfer_acquire(then->to, &f.slot));
    share_out(op, &f, finish_rows);
    weft_transfer_release(r->dealt);
    return weft_transfer_gather(then->to, (size_t)(weft_range_size(f.rows) * width));
}

static weft_status row_shared(weft_row_sum *r, const weft_op *op, const weft_gemm_weight *weight,
                              const weft_linear_call *given)
{
    weft_linear_call call = *given;
    float *slot;
    WEFT_TRY(gather_inputs(r, &call));
    if (call.then) return row_dealt(r, op, weight, &call);
    WEFT_TRY(weft_transfer_acquire(r->outputs, &slot));
    multiply(op, weight, &call, slot);
    WEFT_TRY(weft_transfer_gather(r->outputs, (size_t)call.m * (size_t)weight->columns));
    share_out(op, &(finishing){.r = r, .call = &call}, add_rows);
    weft_transfer_release(r->outputs);
    return WEFT_OK;
}

weft_status weft_linear_row(weft_row_sum *r, const weft_op *op, const weft_gemm_weight *weight,
                            const weft_linear_call *call)
{
    if (call->m == 0) return WEFT_OK;
    if (!r) {
        assert(weight->whole); // one rank holds every leaf
        run_whole(op, weight, call);
        return WEFT_OK;
    }
    assert(weft_row_sum_deals(r, call->m) == (call->then != NULL));
    if (r->partial) return row_fast(r, op, weight, call);
    return r->sum ? row_by_sum(r, op, weight, call) : row_shared(r, op, weight, call);
}
