// Row linears of more ranks than there are leaves. Ranks share a leaf: each computed a slice of its inputs; they gather
// the leaf's activations, each multiplies for a slice of the outputs, and the roots go to all, or of many rows to who
// adds them.
#include <stdlib.h>
#include <string.h>

#include "core/checked.h"
#include "parallel/linear_impl.h"

// ---- making one ----

// Ranks that share leaves: floats of a leaf's activations, of what each rank may give to all, and bytes of the first.
static size_t leaf_floats(const weft_mesh *mesh, const weft_row_shape *shape)
{
    return shape->rows * (size_t)weft_range_size(weft_row_inputs(mesh, shape));
}

static size_t widest(const weft_mesh *mesh, const weft_row_shape *shape)
{
    int64_t most = 0;
    for (int i = 0; i < mesh->dense_ranks; i++) {
        const weft_shard shard = weft_shard_of(i, mesh->dense_ranks);
        const int64_t width = weft_range_size(wi_row_outputs_of(&shard, shape));
        if (width > most) most = width;
    }
    return (size_t)most;
}

static size_t output_floats(const weft_mesh *mesh, const weft_row_shape *shape)
{
    const size_t few = (size_t)weft_rows_dealt_from(mesh->dense_ranks) - 1;
    return (wi_row_deals(mesh, shape) ? few : shape->rows) * widest(mesh, shape);
}

static size_t dealt_floats(const weft_mesh *mesh, const weft_row_shape *shape)
{
    return (size_t)weft_rows_most((int64_t)shape->rows, shape->width, mesh->dense_ranks) * widest(mesh, shape);
}

size_t wi_shared_bytes(const weft_mesh *mesh, const weft_row_shape *shape, const weft_mesh_near *near)
{
    const size_t leaf = leaf_floats(mesh, shape);
    size_t bytes = wi_room_bytes(leaf * sizeof(float));
    if (mesh->shard.slices > 1)
        bytes += weft_transfer_bytes(WEFT_TRANSFER_GATHER, leaf, mesh->shard.slices, near->leaf);
    if (wi_row_deals(mesh, shape))
        bytes += weft_transfer_bytes(WEFT_TRANSFER_DEAL, dealt_floats(mesh, shape), mesh->dense_ranks, near->dense);
    return bytes +
           weft_transfer_bytes(WEFT_TRANSFER_GATHER, output_floats(mesh, shape), mesh->dense_ranks, near->dense);
}

size_t wi_shared_device_bytes(const weft_mesh *mesh, const weft_row_shape *shape, const weft_mesh_near *near)
{
    const size_t leaf = leaf_floats(mesh, shape);
    const weft_links links = weft_mesh_links(near, near->dense);
    size_t bytes = wi_room_bytes(leaf * sizeof(float)) + wi_room_bytes((size_t)shape->width * sizeof(float));
    if (mesh->shard.slices > 1)
        bytes += weft_transfer_device_bytes(WEFT_TRANSFER_GATHER, leaf, mesh->shard.slices,
                                            weft_mesh_links(near, near->leaf));
    if (wi_row_deals(mesh, shape))
        bytes += weft_transfer_device_bytes(WEFT_TRANSFER_DEAL, dealt_floats(mesh, shape), mesh->dense_ranks, links);
    return bytes +
           weft_transfer_device_bytes(WEFT_TRANSFER_GATHER, output_floats(mesh, shape), mesh->dense_ranks, links);
}

// The next column behind `at` where some leaf passes from one rank to another.
static int64_t segment_end(const weft_row_sum *r, const weft_mesh *mesh, int64_t at)
{
    int64_t end = r->shape.width;
    for (int i = 0; i < mesh->dense_ranks; i++) {
        const weft_shard shard = weft_shard_of(i, mesh->dense_ranks);
        const int64_t next = wi_row_outputs_of(&shard, &r->shape).end;
        if (next > at && next < end) end = next;
    }
    return end;
}

static void cut_segments(weft_row_sum *r, const weft_mesh *mesh)
{
    for (int64_t at = 0; at < r->shape.width; at = r->segments[r->segment_count++].end) {
        wi_segment *s = &r->segments[r->segment_count];
        *s = (wi_segment){.begin = at, .end = segment_end(r, mesh, at)};
        for (int l = 0; l < WEFT_LEAVES; l++) s->leaf[l].rank = -1;
        for (int i = 0; i < mesh->dense_ranks; i++) {
            const weft_shard shard = weft_shard_of(i, mesh->dense_ranks);
            const weft_range out = wi_row_outputs_of(&shard, &r->shape);
            if (at < out.begin || at >= out.end || wi_row_places_of(&shard, &r->shape).count == 0) continue;
            s->leaf[shard.leaf].rank = i;
            s->leaf[shard.leaf].begin = out.begin;
            s->leaf[shard.leaf].width = weft_range_size(out);
        }
    }
}

// Ranks that share leaves: everybody gets all roots.
weft_status wi_shared_make(weft_row_sum *r, const weft_mesh *mesh, const char *name)
{
    const int sharers = mesh->shard.slices;
    const size_t leaf = leaf_floats(mesh, &r->shape);
    weft_status status = WEFT_OK;
    r->held = weft_row_inputs(mesh, &r->shape);
    r->own = calloc((size_t)sharers, sizeof *r->own);
    r->segments = calloc((size_t)mesh->dense_ranks * WEFT_LEAVES, sizeof *r->segments);
    r->at = calloc((size_t)mesh->dense_ranks, sizeof *r->at);
    r->count = calloc((size_t)mesh->dense_ranks, sizeof *r->count);
    if (!r->own || !r->segments || !r->at || !r->count)
        status = weft_fail(WEFT_NO_MEMORY, "no memory for sum %s", name);
    if (status == WEFT_OK) status = wi_room_take(mesh->device, leaf * sizeof(float), name, &r->whole);
    if (status == WEFT_OK && mesh->device)
        status = wi_room_take(mesh->device, (size_t)r->shape.width * sizeof(float), name, &r->sums);
    WEFT_TRY(weft_comm_agree(mesh->dense, status, NULL));
    for (int i = 0; i < sharers; i++) {
        weft_shard shard = mesh->shard;
        shard.slice = i;
        r->own[i] = wi_row_own_of(&shard, &r->shape);
    }
    cut_segments(r, mesh);
    if (sharers > 1) WEFT_TRY(weft_transfer_create(mesh, mesh->leaf, WEFT_TRANSFER_GATHER, name, leaf, &r->inputs));
    if (wi_row_deals(mesh, &r->shape))
        WEFT_TRY(weft_transfer_create(mesh, mesh->dense, WEFT_TRANSFER_DEAL, name, dealt_floats(mesh, &r->shape),
                                      &r->dealt));
    return weft_transfer_create(mesh, mesh->dense, WEFT_TRANSFER_GATHER, name, output_floats(mesh, &r->shape),
                                &r->outputs);
}

// ---- a run ----

// The activations of the whole leaf, from those that each rank computed.
static weft_status gather_inputs(weft_row_sum *r, const weft_op *op, weft_linear_call *call)
{
    const weft_mesh *mesh = &r->mesh;
    const size_t own = (size_t)weft_range_size(r->own[mesh->shard.slice]), k = (size_t)weft_range_size(r->held);
    float *slot;
    if (!r->inputs) return WEFT_OK;
    WEFT_TRY(weft_transfer_acquire(r->inputs, &slot));
    weft_copy_rows(op, slot, own, call->a, call->a_stride, (size_t)call->m, own);
    WEFT_TRY(weft_transfer_gather(r->inputs, (size_t)call->m * own));
    for (int i = 0; i < mesh->shard.slices; i++) {
        const size_t width = (size_t)weft_range_size(r->own[i]), at = (size_t)(r->own[i].begin - r->held.begin);
        weft_copy_rows(op, r->whole.at + at, k, weft_transfer_view(r->inputs, i), width, (size_t)call->m, width);
    }
    weft_transfer_release(r->inputs);
    call->a = r->whole.at;
    call->a_stride = k;
    return WEFT_OK;
}

// Row m of what was given, by the tree, with bias and residual where there are any.
static void add_row(const weft_row_sum *r, const weft_op *op, const weft_transfer *from, size_t m, const float *bias,
                    const float *residual, float *out)
{
    enum { AT_ONCE = 1024 };
    float here[AT_ONCE];
    float *sum = op->stream ? r->sums.at : here;
    const size_t most = op->stream ? (size_t)r->shape.width : AT_ONCE;
    for (int i = 0; i < r->segment_count; i++) {
        const wi_segment *s = &r->segments[i];
        const size_t begin = (size_t)s->begin, count = (size_t)(s->end - s->begin);
        const float *in[WEFT_LEAVES];
        for (int l = 0; l < WEFT_LEAVES; l++)
            in[l] = s->leaf[l].rank < 0 ? NULL
                                        : weft_transfer_view(from, s->leaf[l].rank) + m * (size_t)s->leaf[l].width +
                                              (size_t)(s->begin - s->leaf[l].begin);
        for (size_t done = 0, now; done < count; done += now) {
            now = count - done < most ? count - done : most;
            op->table->tree_add(op, sum, in, WEFT_LEAVES, now);
            if (bias) op->table->rows.add(op, sum, sum, bias + begin + done, now);
            if (residual) op->table->rows.add(op, sum, sum, residual + begin + done, now);
            weft_copy_floats(op, out + begin + done, sum, now);
            for (int l = 0; l < WEFT_LEAVES; l++)
                if (in[l]) in[l] += now;
        }
    }
}

// What this rank is given, of all rows or of those that it finishes.
typedef struct {
    const weft_row_sum *r;
    weft_op op; // of one thread
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
        add_row(f->r, &f->op, f->r->outputs, m, call->bias,
                call->residual ? call->residual + m * call->residual_stride : NULL, call->out + m * call->out_stride);
}

static void finish_rows(void *arg, int thread, int threads)
{
    enum { ROWS = 4 }; // as in sum_add.c
    const finishing *f = arg;
    const weft_sum_then *then = f->call->then;
    const size_t width = (size_t)f->r->shape.width;
    int64_t begin, end;
    weft_team_share(weft_range_size(f->rows), 1, thread, threads, &begin, &end);
    const int64_t each = f->op.stream ? end - begin : ROWS;
    float *room = then->room + (size_t)begin * width;
    for (int64_t m = begin, next; m < end; m = next) {
        next = end - m < each ? end : m + each;
        for (int64_t i = m; i < next; i++)
            add_row(f->r, &f->op, f->r->dealt, (size_t)i, f->call->bias, NULL, room + (size_t)(i - m) * width);
        then->run(then->arg, &f->op, (weft_range){f->rows.begin + m, f->rows.begin + next}, room,
                  f->slot + (size_t)m * then->row_floats);
    }
}

static void share_out(const weft_op *op, finishing *f, weft_job_fn *job)
{
    f->op = wi_op_alone(op, &f->r->kernels);
    if (op->team)
        weft_team_run(op->team, job, f);
    else
        job(f, 0, 1);
}

static void multiply(const weft_op *op, const weft_gemm_weight *weight, const weft_linear_call *call, float *slot)
{
    weft_gemm_args args = wi_row_args(call);
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
    return weft_transfer_gather(then->to, (size_t)weft_range_size(f.rows) * then->row_floats);
}

weft_status wi_shared_run(weft_row_sum *r, const weft_op *op, const weft_gemm_weight *weight,
                          const weft_linear_call *given)
{
    weft_linear_call call = *given;
    float *slot;
    WEFT_TRY(gather_inputs(r, op, &call));
    if (call.then) return row_dealt(r, op, weight, &call);
    WEFT_TRY(weft_transfer_acquire(r->outputs, &slot));
    multiply(op, weight, &call, slot);
    WEFT_TRY(weft_transfer_gather(r->outputs, (size_t)call.m * (size_t)weight->columns));
    share_out(op, &(finishing){.r = r, .call = &call}, add_rows);
    weft_transfer_release(r->outputs);
    return WEFT_OK;
}
