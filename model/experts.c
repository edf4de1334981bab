// Mixture of experts. A rank of several has some of the experts, whole, and what they say travels to the rank that owns
// the row; or it has some columns of every expert, and each expert's rows are summed as those of a dense layer.
#include <string.h>

#include "core/checked.h"
#include "model/model_impl.h"

// Which rows go to which experts, and their places when they stand expert by expert.
static weft_status route(weft_model *m, const weft_layer_weights *w, size_t rows)
{
    const weft_model_config *c = &m->config;
    const size_t used = (size_t)c->experts_used, experts = (size_t)c->experts;
    wi_column(m, &w->router, w->router_bias, (int64_t)rows, NULL, m->moe.scores, WEFT_ACT_NONE);
    m->op.table->pick.route(&m->op, &(weft_route){.scores = m->moe.scores,
                                                  .stride = experts,
                                                  .rows = rows,
                                                  .experts = experts,
                                                  .k = used,
                                                  .kind = c->route,
                                                  .normalize = c->route_normalize,
                                                  .scale = 1,
                                                  .ids = m->moe.ids,
                                                  .weights = m->moe.weights});
    m->op.table->pick.group(&m->op, &(weft_route_group){.ids = m->moe.ids,
                                                        .rows = rows,
                                                        .k = used,
                                                        .experts = experts,
                                                        .offsets = m->moe.offsets,
                                                        .row_of = m->moe.row_of,
                                                        .place = m->moe.place});
    // Whose rows they are matters to the host where ranks tell each other what their experts say: then it waits here.
    if (!m->said) return WEFT_OK;
    const weft_device_ops *ops = m->device->ops;
    WEFT_TRY(ops->copy_out(m->device, m->expert_offsets, m->moe.offsets, (experts + 1) * sizeof(int32_t)));
    return ops->copy_out(m->device, m->expert_row_of, m->moe.row_of, rows * used * sizeof(int32_t));
}

// How far apart the biases of `count` experts lie.
static size_t gate_up_stride(const weft_ffn_weights *first, int64_t count)
{
    return first->gate_up_bias && count > 1 ? (size_t)(first[1].gate_up_bias - first->gate_up_bias) : 0;
}

static size_t down_stride(const weft_ffn_weights *first, int64_t count)
{
    return first->down_bias && count > 1 ? (size_t)(first[1].down_bias - first->down_bias) : 0;
}

// The places of this rank's experts: all of the rows' choices where it has a part of every expert.
static weft_range own_places(const weft_model *m, size_t rows)
{
    const weft_range own = m->layout.experts;
    if (!m->said) return (weft_range){0, (int64_t)rows * m->config.experts_used};
    return (weft_range){m->expert_offsets[own.begin], m->expert_offsets[own.end]};
}

// moe.out of the places of this rank's experts. Sums over several ranks are without bias yet.
static weft_status run_experts(weft_model *m, const weft_layer_weights *w, size_t rows)
{
    const weft_range own = m->layout.experts, places = own_places(m, rows);
    const size_t width = (size_t)m->config.hidden, columns = (size_t)weft_range_size(m->layout.expert_ffn);
    const int64_t count = weft_range_size(places), experts = weft_range_size(own);
    if (count == 0) return WEFT_OK;
    const weft_ffn_weights *first = &w->expert[own.begin];
    const wi_places at = {.row_of = m->moe.row_of + places.begin,
                          .groups = {.count = (int)experts,
                                     .offsets = m->moe.offsets + own.begin,
                                     .bias_stride = gate_up_stride(first, experts)}};
    weft_gemm_groups down = at.groups;
    down.bias_stride = down_stride(first, experts);
    wi_gate(m, first, count, &at, columns, m->moe.stacked, m->moe.gated);
    return weft_linear_row(m->expert_sum, &m->op, &first->down,
                           &(weft_linear_call){.m = count,
                                               .a = m->moe.gated,
                                               .a_stride = columns,
                                               .groups = &down,
                                               .out = m->moe.out + (size_t)places.begin * width,
                                               .out_stride = width,
                                               .bias = m->expert_sum ? NULL : first->down_bias});
}

// The chosen experts' rows, weighted, by ascending expert, of these rows to the first ones of `branch`.
static void combine(weft_model *m, const weft_layer_weights *w, weft_range rows)
{
    const float *bias = m->expert_sum ? w->expert[0].down_bias : NULL; // where each rank has a part of every expert
    const size_t width = (size_t)m->config.hidden, used = (size_t)m->config.experts_used;
    const size_t first = (size_t)rows.begin, count = (size_t)weft_range_size(rows);
    m->op.table->pick.combine(&m->op, &(weft_combine){.out = m->branch,
                                                      .out_stride = width,
                                                      .in = m->moe.out,
                                                      .in_stride = width,
                                                      .place = m->moe.place + first * used,
                                                      .weights = m->moe.weights + first * used,
                                                      .rows = count,
                                                      .k = used,
                                                      .width = width,
                                                      .bias = bias,
                                                      .bias_stride = down_stride(w->expert, m->config.experts),
                                                      .ids = m->moe.ids + first * used});
}

// x + that.
static void combine_and_add(weft_model *m, const weft_layer_weights *w, weft_range rows, float *out)
{
    const size_t width = (size_t)m->config.hidden;
    combine(m, w, rows);
    m->op.table->rows.add(&m->op, out, m->x + (size_t)rows.begin * width, m->branch,
                          (size_t)weft_range_size(rows) * width);
}

static weft_range rows_of(const weft_model *m, int rows, int rank)
{
    return weft_rows_of(rows, m->config.hidden, rank, m->layout.mesh.dense_ranks);
}

static weft_range experts_of(const weft_model *m, int rank)
{
    return weft_layout_experts_of(&m->config, &m->layout.mesh, rank);
}

// Runs of places that belong to one owner of rows: those of expert e whose rows are in `rows`. Rows of an expert
// ascend.
static weft_range places_of(const weft_model *m, int64_t expert, weft_range rows)
{
    int64_t at = m->expert_offsets[expert];
    const int64_t last = m->expert_offsets[expert + 1];
    while (at < last && m->expert_row_of[at] < rows.begin) at++;
    weft_range places = {at, at};
    while (places.end < last && m->expert_row_of[places.end] < rows.end) places.end++;
    return places;
}

// Each owner of rows gets what this rank's experts say of them, expert after expert.
static weft_status send_to_owners(weft_model *m, int rows)
{
    const size_t width = (size_t)m->config.hidden;
    const weft_range own = m->layout.experts;
    size_t at = 0;
    float *slot;
    WEFT_TRY(weft_transfer_acquire(m->said, &slot));
    for (int r = 0; r < m->layout.mesh.dense_ranks; r++) {
        size_t *count = &m->said_count[r];
        m->said_offset[r] = at;
        *count = 0;
        for (int64_t e = own.begin; e < own.end; e++) {
            const weft_range places = places_of(m, e, rows_of(m, rows, r));
            const size_t floats = (size_t)weft_range_size(places) * width;
            if (floats == 0) continue;
            weft_copy_floats(&m->op, slot + at + *count, m->moe.out + (size_t)places.begin * width, floats);
            *count += floats;
        }
        at += weft_align_up(*count, 16);
    }
    return weft_transfer_deal(m->said, m->said_offset, m->said_count);
}

static void take_as_owner(weft_model *m, int rows)
{
    const weft_mesh *mesh = &m->layout.mesh;
    const size_t width = (size_t)m->config.hidden;
    for (int r = 0; r < mesh->dense_ranks; r++) {
        const float *view = weft_transfer_view(m->said, r);
        const weft_range experts = experts_of(m, r);
        if (r == mesh->dense_rank) continue; // it lies there already
        for (int64_t e = experts.begin; e < experts.end; e++) {
            const weft_range places = places_of(m, e, rows_of(m, rows, mesh->dense_rank));
            const size_t floats = (size_t)weft_range_size(places) * width;
            weft_copy_floats(&m->op, m->moe.out + (size_t)places.begin * width, view, floats);
            view += floats;
        }
    }
    weft_transfer_release(m->said);
}

// The owners' rows of x, to all.
static weft_status share_rows(weft_model *m, const weft_layer_weights *w, int rows)
{
    const size_t width = (size_t)m->config.hidden;
    const int pieces = weft_row_pieces(rows, m->piece_rows);
    float *slot;
    for (int i = 0; i < pieces; i++) {
        const weft_range own = wi_joined_rows(m, rows, m->layout.mesh.dense_rank, i);
        WEFT_TRY(weft_transfer_acquire(m->joined, &slot));
        if (weft_range_size(own) > 0) combine_and_add(m, w, own, slot);
        WEFT_TRY(weft_transfer_gather(m->joined, (size_t)weft_range_size(own) * width));
    }
    for (int r = 0; r < m->layout.mesh.dense_ranks; r++)
        for (int i = 0; i < pieces; i++) {
            const weft_range of = wi_joined_rows(m, rows, r, i);
            weft_copy_floats(&m->op, m->x + (size_t)of.begin * width, weft_transfer_view_of(m->joined, i, r),
                             (size_t)weft_range_size(of) * width);
        }
    weft_transfer_release(m->joined);
    return WEFT_OK;
}

weft_status wi_mix_experts(weft_model *m, const weft_layer_weights *w, int rows, const wi_next *next)
{
    if (rows == 0) return WEFT_OK;
    if (m->gathered.count) wi_unite(m, m->normed);
    WEFT_TRY(route(m, w, (size_t)rows));
    WEFT_TRY(run_experts(m, w, (size_t)rows));
    if (m->said) {
        WEFT_TRY(send_to_owners(m, rows));
        take_as_owner(m, rows);
    }
    if (wi_deals(m, rows)) {
        const weft_range own = rows_of(m, rows, m->layout.mesh.dense_rank);
        if (weft_range_size(own) > 0) combine(m, w, own);
        return wi_finish_own(m, next, rows, m->branch);
    }
    if (m->said)
        WEFT_TRY(share_rows(m, w, rows));
    else
        combine_and_add(m, w, (weft_range){0, rows}, m->x);
    wi_finish_all(m, next, rows);
    return WEFT_OK;
}
