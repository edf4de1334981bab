// What follows the second half of a layer: what it says joins the hidden states, and the next norm makes of them what
// the next linears read. Where many rows are dealt over the dense group, each rank keeps the hidden states of its own
// rows alone, norms them, and all gather the outcome.
#include <assert.h>

#include "model/model_impl.h"

static weft_norm as_this_model(const weft_model *m, const weft_norm *what)
{
    weft_norm norm = *what;
    norm.eps = (float)m->config.eps;
    norm.one_plus = m->config.norm == WEFT_NORM_ONE_PLUS;
    norm.before = norm.after = WEFT_F32;
    return norm;
}

void wi_norm(const weft_model *m, const weft_op *op, const weft_norm *what)
{
    const weft_norm args = as_this_model(m, what);
    op->table->rows.norm(op, &args);
}

static weft_norm whole_rows(const weft_model *m, float *out, const float *in, const float *weight, size_t rows)
{
    const size_t width = (size_t)m->config.hidden;
    return (weft_norm){.out = out,
                       .in = in,
                       .weight = weight,
                       .out_stride = width,
                       .in_stride = width,
                       .add_stride = width,
                       .sum_stride = width,
                       .rows = rows,
                       .heads = 1,
                       .width = width};
}

void wi_norm_rows(const weft_model *m, const weft_op *op, float *out, const float *in, const float *weight, size_t rows)
{
    const weft_norm what = whole_rows(m, out, in, weight, rows);
    wi_norm(m, op, &what);
}

// ---- rows that are dealt ----

bool wi_deals(const weft_model *m, int rows) { return weft_row_sum_deals(m->o_sum, rows); }

// What is gathered of a row.
static size_t row_floats(const wi_next *next)
{
    const size_t width = (size_t)next->model->config.hidden;
    return next->halves ? (width + 1) / 2 : width;
}

static void finish_rows(const wi_next *next, const weft_op *op, weft_range rows, float *branch, float *out)
{
    const weft_model *m = next->model;
    const size_t width = (size_t)m->config.hidden, count = (size_t)weft_range_size(rows);
    float *x = m->x + (size_t)rows.begin * width;
    if (next->after) wi_norm_rows(m, op, branch, branch, next->after, count);
    if (!next->norm) { // behind the last layer
        op->table->rows.add(op, x, x, branch, count * width);
        weft_copy_floats(op, out, x, count * width);
        return;
    }
    weft_norm what = whole_rows(m, out, branch ? branch : x, next->norm, count);
    if (branch) what.add = what.sum = x;
    if (next->halves) {
        what.halves = (uint16_t *)(void *)out;
        what.out_stride = 2 * row_floats(next);
    }
    wi_norm(m, op, &what);
}

static void finish_alone(void *arg, const weft_op *op, weft_range rows, float *sum, float *out)
{
    finish_rows(arg, op, rows, sum, out);
}

weft_range wi_joined_rows(const weft_model *m, int rows, int rank, int piece)
{
    const weft_range own = weft_rows_of(rows, m->config.hidden, rank, m->layout.mesh.dense_ranks);
    return weft_rows_of_piece(own, m->config.hidden, piece, weft_row_pieces(rows, m->piece_rows));
}

// Behind the gather: the rows are read where the ranks left them, or those behind the last layer taken home.
static void take(weft_model *m, const wi_next *next, int rows)
{
    const int ranks = m->layout.mesh.dense_ranks, pieces = weft_row_pieces(rows, m->piece_rows);
    int count = 0;
    for (int r = 0; r < ranks; r++)
        for (int i = 0; i < pieces; i++) {
            m->piece_begin[count] = wi_joined_rows(m, rows, r, i).begin;
            m->piece[count++] = weft_transfer_view_of(m->joined, i, r);
        }
    m->piece_begin[count] = rows;
    m->gathered = (weft_gemm_rows){.count = count, .begin = m->piece_begin, .piece = m->piece, .halves = next->halves};
    m->gathered_stride = (next->halves ? 2 : 1) * row_floats(next);
    if (!next->norm) wi_unite(m, m->x);
}

void wi_release(weft_model *m)
{
    if (m->gathered.count) weft_transfer_release(m->joined);
    m->gathered.count = 0;
}

void wi_unite(weft_model *m, float *out)
{
    const size_t width = (size_t)m->config.hidden;
    for (int r = 0; r < m->gathered.count; r++) {
        const size_t begin = (size_t)m->piece_begin[r], count = (size_t)m->piece_begin[r + 1] - begin;
        assert(!m->gathered.halves);
        weft_copy_floats(&m->op, out + begin * width, m->piece[r], count * width);
    }
    wi_release(m);
}

weft_status wi_finish_own(weft_model *m, const wi_next *next, int rows, float *branch)
{
    const int rank = m->layout.mesh.dense_rank;
    for (int i = 0; i < weft_row_pieces(rows, m->piece_rows); i++) {
        const weft_range own = wi_joined_rows(m, rows, rank, i), first = wi_joined_rows(m, rows, rank, 0);
        const size_t before = (size_t)(own.begin - first.begin) * (size_t)m->config.hidden;
        float *slot;
        WEFT_TRY(weft_transfer_acquire(m->joined, &slot));
        if (weft_range_size(own) > 0) finish_rows(next, &m->op, own, branch ? branch + before : NULL, slot);
        WEFT_TRY(weft_transfer_gather(m->joined, (size_t)weft_range_size(own) * row_floats(next)));
    }
    take(m, next, rows);
    return WEFT_OK;
}

// ---- either way ----

void wi_finish_all(weft_model *m, const wi_next *next, int rows)
{
    if (next->norm) wi_norm_rows(m, &m->op, m->normed, m->x, next->norm, (size_t)rows);
}

weft_status wi_row_and_add(weft_row_sum *sum, const wi_row *row, const wi_next *next)
{
    weft_model *m = next->model;
    const size_t width = (size_t)m->config.hidden;
    weft_linear_call call = {.m = row->rows,
                             .a = row->in,
                             .a_stride = (size_t)row->in_width,
                             .out = m->x,
                             .out_stride = width,
                             .bias = row->bias};
    if (wi_deals(m, row->rows)) {
        wi_next with = *next;
        const weft_sum_then then = {
            .run = finish_alone, .arg = &with, .room = m->branch, .row_floats = row_floats(next), .to = m->joined};
        call.then = &then;
        WEFT_TRY(weft_linear_row(sum, &m->op, row->weight, &call));
        take(m, next, row->rows);
        return WEFT_OK;
    }
    if (next->after) {
        const weft_norm after =
            as_this_model(m, &(weft_norm){.out = m->branch, .out_stride = width, .weight = next->after});
        call.out = m->branch;
        call.norm = &after;
        WEFT_TRY(weft_linear_row(sum, &m->op, row->weight, &call));
        m->op.table->rows.add(&m->op, m->x, m->x, m->branch, (size_t)row->rows * width);
        wi_finish_all(m, next, row->rows);
        return WEFT_OK;
    }
    const weft_norm norm = as_this_model(m, &(weft_norm){.out = m->normed, .out_stride = width, .weight = next->norm});
    call.residual = m->x;
    call.residual_stride = width;
    call.norm = next->norm ? &norm : NULL;
    return weft_linear_row(sum, &m->op, row->weight, &call);
}
