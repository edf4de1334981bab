// The row ops' calls and what they cost. Instructions are those of the AVX-512 level: an exponential is 15,
// and 13 where no number is above 0.
#include "bench/kernels_rows.h"

static float *slot(const wi_row_work *w, unsigned char *copy, size_t i)
{
    return (float *)(void *)(copy + i * w->slot_bytes);
}

static void norm_as(const weft_op *op, const wi_row_work *w, unsigned char *copy, weft_dtype before, weft_dtype after,
                    bool add)
{
    const size_t width = (size_t)w->width;
    const weft_norm args = {.in = slot(w, copy, 0),
                            .out = slot(w, copy, 1),
                            .add = add ? slot(w, copy, 2) : NULL,
                            .sum = add ? slot(w, copy, 0) : NULL,
                            .weight = w->weight,
                            .out_stride = width,
                            .in_stride = width,
                            .add_stride = width,
                            .sum_stride = width,
                            .rows = (size_t)w->rows,
                            .heads = 1,
                            .width = width,
                            .eps = 1e-5F,
                            .before = before,
                            .after = after};
    op->table->rows.norm(op, &args);
}
static void norm(const weft_op *op, const wi_row_work *w, unsigned char *copy)
{
    norm_as(op, w, copy, WEFT_F32, WEFT_F32, false);
}
static void norm_last(const weft_op *op, const wi_row_work *w, unsigned char *copy)
{
    norm_as(op, w, copy, WEFT_F32, WEFT_BF16, false);
}
static void norm_both(const weft_op *op, const wi_row_work *w, unsigned char *copy)
{
    norm_as(op, w, copy, WEFT_BF16, WEFT_BF16, false);
}
static void norm_add(const weft_op *op, const wi_row_work *w, unsigned char *copy)
{
    norm_as(op, w, copy, WEFT_F32, WEFT_F32, true);
}

static void rope_as(const weft_op *op, const wi_row_work *w, unsigned char *copy, bool interleaved)
{
    const size_t size = (size_t)w->model->size;
    const weft_rope args = {.x = slot(w, copy, 0),
                            .row_stride = (size_t)w->width,
                            .head_stride = size,
                            .rows = (size_t)w->rows,
                            .heads = (size_t)w->model->heads,
                            .rotary = size,
                            .interleaved = interleaved,
                            .cos = w->cos,
                            .sin = w->sin,
                            .table_stride = size / 2,
                            .positions = w->position};
    op->table->rows.rope(op, &args);
}
static void rope(const weft_op *op, const wi_row_work *w, unsigned char *copy) { rope_as(op, w, copy, false); }
static void rope_pairs(const weft_op *op, const wi_row_work *w, unsigned char *copy) { rope_as(op, w, copy, true); }

static void gate_as(const weft_op *op, const wi_row_work *w, unsigned char *copy, weft_act act)
{
    const size_t width = (size_t)w->width;
    const weft_gate args = {.in = slot(w, copy, 0),
                            .out = slot(w, copy, 1),
                            .up = slot(w, copy, 2),
                            .out_stride = width,
                            .in_stride = width,
                            .up_stride = width,
                            .act = act,
                            .rows = (size_t)w->rows,
                            .width = width};
    op->table->rows.gate(op, &args);
}
static void gate_silu(const weft_op *op, const wi_row_work *w, unsigned char *copy)
{
    gate_as(op, w, copy, WEFT_ACT_SILU);
}
static void gate_gelu(const weft_op *op, const wi_row_work *w, unsigned char *copy)
{
    gate_as(op, w, copy, WEFT_ACT_GELU_TANH);
}

static weft_logits logits_of(const wi_row_work *w, unsigned char *copy)
{
    return (weft_logits){
        .at = slot(w, copy, 0), .stride = (size_t)w->width, .rows = (size_t)w->rows, .width = (size_t)w->width};
}

static void softmax(const weft_op *op, const wi_row_work *w, unsigned char *copy)
{
    const size_t width = (size_t)w->width;
    op->table->pick.softmax(op, slot(w, copy, 1), width, slot(w, copy, 0), width, (size_t)w->rows, width);
}

static void lse(const weft_op *op, const wi_row_work *w, unsigned char *copy)
{
    size_t begin[WI_ROW_LEAVES + 1];
    const weft_logits logits = logits_of(w, copy);
    weft_lse *out = (weft_lse *)(void *)slot(w, copy, 1);
    for (size_t i = 0; i <= WI_ROW_LEAVES; i++) begin[i] = logits.width * i / WI_ROW_LEAVES;
    op->table->pick.lse_leaves(op, &logits, begin, WI_ROW_LEAVES, out);
}

static void top(const weft_op *op, const wi_row_work *w, unsigned char *copy)
{
    const weft_logits logits = logits_of(w, copy);
    op->table->pick.top(op, &logits, 20, (weft_choice *)(void *)slot(w, copy, 1));
}

static void sample(const weft_op *op, const wi_row_work *w, unsigned char *copy)
{
    const weft_sample args = {.logits = logits_of(w, copy),
                              .how = w->how,
                              .position = w->draw,
                              .out = (weft_choice *)(void *)slot(w, copy, 1)};
    op->table->pick.sample(op, &args);
}

static void narrow(const weft_op *op, const wi_row_work *w, unsigned char *copy)
{
    op->table->rows.convert(op, slot(w, copy, 1), WEFT_BF16, slot(w, copy, 0), WEFT_F32, (size_t)(w->rows * w->width));
}
static void widen(const weft_op *op, const wi_row_work *w, unsigned char *copy) // any bits are numbers here
{
    op->table->rows.convert(op, slot(w, copy, 1), WEFT_F32, slot(w, copy, 0), WEFT_BF16, (size_t)(w->rows * w->width));
}

static void tree_add(const weft_op *op, const wi_row_work *w, unsigned char *copy)
{
    const float *in[WI_ROW_SLOTS_MAX - 1];
    for (size_t i = 0; i < WI_ROW_SLOTS_MAX - 1; i++) in[i] = slot(w, copy, i);
    op->table->tree_add(op, slot(w, copy, WI_ROW_SLOTS_MAX - 1), in, WI_ROW_SLOTS_MAX - 1,
                        (size_t)(w->rows * w->width));
}

static void gather(const weft_op *op, const wi_row_work *w, unsigned char *copy)
{
    const size_t bytes = (size_t)w->width * sizeof(float);
    const weft_move args = {.out = slot(w, copy, 1),
                            .out_stride = bytes,
                            .in = slot(w, copy, 0),
                            .in_stride = bytes,
                            .index = w->index,
                            .rows = (size_t)w->rows,
                            .bytes = bytes};
    op->table->rows.gather(op, &args);
}

enum { CHOICE = sizeof(weft_choice), ROUNDING = 10 };

const wi_row_op wi_row_ops[] = {
    {"norm", WI_ROW_WIDTH, 2, norm, 4, 4, 0, 3, .weighs = true, .chains = true, .result = 1},
    {"norm to bf16", WI_ROW_WIDTH, 2, norm_last, 4, 4, 0, 3 + ROUNDING, .weighs = true, .result = 1},
    {"norm bf16 to bf16", WI_ROW_WIDTH, 2, norm_both, 4, 4, 0, 3 + 2 * ROUNDING, .weighs = true, .result = 1},
    {"norm residual", WI_ROW_WIDTH, 3, norm_add, 4, 4, 4, 4, .weighs = true, .chains = true, .result = 1},
    {"rope", WI_ROW_HEADS, 1, rope, 0, 0, 4, 2, .result = 0},
    {"rope interleaved", WI_ROW_HEADS, 1, rope_pairs, 0, 0, 4, 4, .result = 0},
    {"gate silu", WI_ROW_INNER, 3, gate_silu, 8, 4, 0, 19, .result = 1},
    {"gate gelu", WI_ROW_INNER, 3, gate_gelu, 8, 4, 0, 37, .result = 1},
    {"softmax", WI_ROW_WORDS, 2, softmax, 4, 4, 0, 17, .result = 1},
    {"logsumexp", WI_ROW_WORDS, 2, lse, 4, 0, 0, 16, .splits = true, .result = 1,
     .result_bytes = WI_ROW_LEAVES * sizeof(weft_lse)},
    {"top 20", WI_ROW_WORDS, 2, top, 4, 0, 0, 1, .result = 1, .result_bytes = 20 * CHOICE},
    {"sample greedy", WI_ROW_WORDS, 2, sample, 4, 0, 0, 1, .result = 1, .result_bytes = CHOICE},
    {"sample", WI_ROW_WORDS, 2, sample, 4, 0, 0, 21, .result = 1, .result_bytes = CHOICE,
     .sampling = {1, 0, 1, 0, 7, 0}},
    {"sample top-k", WI_ROW_WORDS, 2, sample, 4, 0, 0, 1, .result = 1, .result_bytes = CHOICE,
     .sampling = {1, 50, 1, 0, 7, 0}},
    {"sample top-p", WI_ROW_WORDS, 2, sample, 4, 0, 0, 21, .result = 1, .result_bytes = CHOICE,
     .sampling = {1, 0, 0.9F, 0, 7, 0}},
    {"f32 to bf16", WI_ROW_WIDTH, 2, narrow, 4, 2, 0, ROUNDING, .result = 1},
    {"bf16 to f32", WI_ROW_WIDTH, 2, widen, 2, 4, 0, 2, .result = 1},
    {"tree add of 8", WI_ROW_WIDTH, WI_ROW_SLOTS_MAX, tree_add, 32, 4, 0, 7, .alone = true,
     .result = WI_ROW_SLOTS_MAX - 1},
    {"gather", WI_ROW_WIDTH, 2, gather, 4, 4, 0, 0, .result = 1},
};
const size_t wi_row_op_count = sizeof wi_row_ops / sizeof *wi_row_ops;
