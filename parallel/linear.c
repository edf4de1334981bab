#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/checked.h"
#include "core/clock.h"
#include "parallel/linear_impl.h"
#include "parallel/sum_impl.h"

enum { GRAIN = 16 }; // floats: outputs of ranks that share a leaf are cut at whole lines

// ---- column ----

weft_gemm_args wi_row_args(const weft_linear_call *call)
{
    return (weft_gemm_args){.m = call->m,
                            .a = call->a,
                            .a_stride = call->a_stride,
                            .rows = call->rows,
                            .index = call->index,
                            .groups = call->groups,
                            .out_stride = call->out_stride};
}

static void run_whole(const weft_op *op, const weft_gemm_weight *weight, const weft_linear_call *call)
{
    weft_gemm_args args = wi_row_args(call);
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

weft_range wi_row_own_of(const weft_shard *shard, const weft_row_shape *s)
{
    return columns_of(s, weft_shard_own(shard, units_of(s)));
}

weft_range wi_row_outputs_of(const weft_shard *shard, const weft_row_shape *s)
{
    return weft_range_part(s->width, GRAIN, shard->slice, shard->slices);
}

weft_range weft_row_inputs(const weft_mesh *mesh, const weft_row_shape *s)
{
    return columns_of(s, weft_shard_units(&mesh->shard, units_of(s)));
}

weft_range weft_row_own(const weft_mesh *mesh, const weft_row_shape *s) { return wi_row_own_of(&mesh->shard, s); }

weft_range weft_row_outputs(const weft_mesh *mesh, const weft_row_shape *s)
{
    return wi_row_outputs_of(&mesh->shard, s);
}

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

weft_sum_places wi_row_places_of(const weft_shard *shard, const weft_row_shape *s)
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
        places[i] = wi_row_places_of(&shard, shape);
        if (!mesh->shape.fast || places[i].count == 0) continue;
        places[i] = (weft_sum_places){.count = 1, .place = {i}}; // one chain a rank
    }
    return (weft_sum_spec){.name = name,
                           .times = mesh->times,
                           .device = mesh->device,
                           .devices = mesh->devices,
                           .count = shape->rows * (size_t)shape->width,
                           .places = places,
                           .width = shape->deals ? (size_t)shape->width : 0,
                           .piece_rows = weft_mesh_piece_rows(mesh)};
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
    if (mesh->shape.fast && !mesh->device && weft_comm_has_allreduce(mesh->dense)) return make_fast(r, mesh, name);
    weft_sum_places places[WEFT_LEAVES];
    const weft_sum_spec spec = spec_of(mesh, name, &r->shape, places);
    return weft_sum_create(mesh->dense, &r->kernels, &spec, &r->sum);
}

size_t weft_row_sum_bytes(const weft_mesh *mesh, const weft_row_shape *shape, const weft_mesh_near *near)
{
    weft_sum_places places[WEFT_LEAVES];
    if (mesh->dense_ranks == 1) return 0;
    if (mesh->dense_ranks <= WEFT_LEAVES) {
        const weft_sum_spec spec = spec_of(mesh, NULL, shape, places);
        return weft_sum_bytes(&spec, mesh->dense_ranks, near->dense);
    }
    return wi_shared_bytes(mesh, shape, near);
}

size_t weft_row_sum_device_bytes(const weft_mesh *mesh, const weft_row_shape *shape, const weft_mesh_near *near)
{
    weft_sum_places places[WEFT_LEAVES];
    if (mesh->dense_ranks == 1) return 0;
    if (mesh->dense_ranks > WEFT_LEAVES) return wi_shared_device_bytes(mesh, shape, near);
    const weft_sum_spec spec = spec_of(mesh, NULL, shape, places);
    return weft_sum_device_bytes(&spec, mesh->dense_ranks, near->dense, weft_mesh_links(near, near->dense));
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
    WEFT_TRY_GOTO(mesh->dense_ranks > WEFT_LEAVES ? wi_shared_make(r, mesh, name) : make_sum(r, mesh, name));
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
    wi_room_give(&r->whole);
    wi_room_give(&r->sums);
    free(r->segments);
    free(r);
}

bool wi_row_deals(const weft_mesh *mesh, const weft_row_shape *shape)
{
    return shape->deals && (int64_t)shape->rows >= weft_rows_dealt_from(mesh->dense_ranks);
}

bool weft_row_sum_deals(const weft_row_sum *r, int64_t m)
{
    return r && !r->partial && wi_row_deals(&r->mesh, &r->shape) && m >= weft_rows_dealt_from(r->mesh.dense_ranks);
}

// ---- row ----

static void multiply_piece(const weft_op *op, const weft_gemm_weight *weight, const weft_linear_call *call,
                           const weft_sum_piece *piece, size_t width)
{
    weft_gemm_args args = {.m = piece->rows, .a_stride = call->a_stride, .out_stride = width};
    const void *at[WEFT_LEAVES];
    for (int i = 0; i < piece->parts; i++) at[i] = call->a + (size_t)piece->first[i] * call->a_stride;
    const weft_gemm_rows rows = {.count = piece->parts, .begin = piece->begin, .piece = at};
    args.rows = &rows;
    for (int i = 0; i < weight->roots; i++) args.out[i] = piece->mine[i];
    if (weight->roots > 0 && piece->rows > 0) weft_gemm_run(op, weight, &args);
}

static weft_status row_in_pieces(weft_row_sum *r, const weft_op *op, const weft_gemm_weight *weight,
                                 const weft_linear_call *call, const weft_sum_finish *finish)
{
    const size_t width = (size_t)r->shape.width, count = (size_t)call->m * width;
    const int pieces = weft_sum_pieces(r->sum, count);
    assert(!call->rows && !call->groups);
    WEFT_TRY(weft_sum_acquire_pieces(r->sum, count));
    for (int i = 0; i < pieces; i++) {
        weft_sum_piece piece;
        weft_sum_piece_of(r->sum, i, &piece);
        multiply_piece(op, weight, call, &piece, width);
        WEFT_TRY(weft_sum_give_piece(r->sum, finish, i));
    }
    return weft_sum_take_pieces(r->sum, finish);
}

static weft_status row_by_sum(weft_row_sum *r, const weft_op *op, const weft_gemm_weight *weight,
                              const weft_linear_call *call)
{
    const size_t width = (size_t)r->shape.width, count = (size_t)call->m * width;
    const weft_sum_finish finish = {.op = op,
                                    .width = width,
                                    .bias = call->bias,
                                    .residual = call->residual,
                                    .out = call->out,
                                    .norm = call->norm,
                                    .then = call->then};
    weft_gemm_args args = wi_row_args(call);
    if (weft_sum_pieces(r->sum, count) > 1) return row_in_pieces(r, op, weight, call, &finish);
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
    weft_gemm_args args = wi_row_args(call);
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

static void norm_rows(const weft_op *op, const weft_linear_call *call, size_t width)
{
    wi_norm_sums(op, call->norm, call->out, call->out_stride, (size_t)call->m, width);
}

weft_status weft_linear_row(weft_row_sum *r, const weft_op *op, const weft_gemm_weight *weight,
                            const weft_linear_call *call)
{
    if (call->m == 0) return WEFT_OK;
    if (!r) {
        assert(weight->whole); // one rank holds every leaf
        run_whole(op, weight, call);
        if (call->norm) norm_rows(op, call, (size_t)weight->columns);
        return WEFT_OK;
    }
    assert(weft_row_sum_deals(r, call->m) == (call->then != NULL));
    assert(!call->groups || !call->bias);
    if (r->sum) return row_by_sum(r, op, weight, call);
    WEFT_TRY(r->partial ? row_fast(r, op, weight, call) : wi_shared_run(r, op, weight, call));
    if (call->norm) norm_rows(op, call, (size_t)r->shape.width);
    return WEFT_OK;
}
