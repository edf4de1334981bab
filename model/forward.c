// The forward pass. Letters: T rows, H hidden, A query heads, K KV heads, D head size, F width of the FFN, E experts,
// U experts used by a row, V vocabulary.
#include "model/model_impl.h"
#include "parallel/linear.h"

static void embed(weft_model *m, const weft_batch *b)
{
    const weft_model_config *c = &m->config;
    const weft_embed args = {.table = m->weights.embedding,
                             .type = m->weights.embedding_type,
                             .count = (int32_t)c->vocab,
                             .ids = b->tokens,
                             .scale = (float)c->embedding_scale,
                             .out = m->x,
                             .out_stride = (size_t)c->hidden,
                             .rows = (size_t)b->rows,
                             .width = (size_t)c->hidden};
    m->op.table->rows.embed(&m->op, &args);
}

// The width of a row of qkv: queries, keys, values.
static size_t qkv_width(const weft_model_config *c) { return (size_t)((c->heads + 2 * c->kv_heads) * c->head_dim); }

// Norms `heads` pieces of `width` in each row, every one on its own.
static void norm_pieces(weft_model *m, float *out, const float *in, const float *weight, int rows, size_t stride,
                        int64_t heads, int64_t width)
{
    const weft_norm args = {.out = out,
                            .in = in,
                            .weight = weight,
                            .out_stride = stride,
                            .in_stride = stride,
                            .head_stride = (size_t)width,
                            .rows = (size_t)rows,
                            .heads = (size_t)heads,
                            .width = (size_t)width,
                            .eps = (float)m->config.eps,
                            .one_plus = m->config.norm == WEFT_NORM_ONE_PLUS,
                            .before = WEFT_F32,
                            .after = WEFT_F32};
    m->op.table->rows.norm(&m->op, &args);
}

static void norm(weft_model *m, float *out, const float *in, const float *weight, int rows)
{
    norm_pieces(m, out, in, weight, rows, (size_t)m->config.hidden, 1, m->config.hidden);
}

// Norms each head of `heads` that stand at x in rows of qkv.
static void norm_heads(weft_model *m, float *x, const float *weight, int rows, int64_t heads)
{
    norm_pieces(m, x, x, weight, rows, qkv_width(&m->config), heads, m->config.head_dim);
}

// Queries and keys stand side by side, so one call turns both. Neighbouring requests with one key are turned together.
static void rotate(weft_model *m, const weft_batch *b, int rope)
{
    const weft_model_config *c = &m->config;
    const size_t stride = qkv_width(c);
    for (int first = 0, next; first < b->request_count; first = next) {
        for (next = first + 1; next < b->request_count && b->rotation[next] == b->rotation[first];) next++;
        const int row = b->requests[first].row;
        const int end = b->requests[next - 1].row + b->requests[next - 1].rows;
        const wi_rotation *r = &m->rotation[b->rotation[first]].rope[rope];
        const weft_rope args = {.x = m->qkv + (size_t)row * stride,
                                .row_stride = stride,
                                .head_stride = (size_t)c->head_dim,
                                .rows = (size_t)(end - row),
                                .heads = (size_t)(c->heads + c->kv_heads),
                                .rotary = (size_t)c->ropes[rope].rotary,
                                .cos = r->cos,
                                .sin = r->sin,
                                .table_stride = (size_t)c->ropes[rope].rotary / 2,
                                .positions = b->positions + row};
        m->op.table->rows.rope(&m->op, &args);
    }
}

// attended = softmax(q k^T) v over the cache, which first receives the rows' own keys and values.
static void attend(weft_model *m, const weft_batch *b, const weft_layer_config *l, const weft_layer_weights *w,
                   const weft_cache *cache)
{
    const weft_model_config *c = &m->config;
    const size_t stride = qkv_width(c);
    const float *k = m->qkv + c->heads * c->head_dim, *v = k + c->kv_heads * c->head_dim;
    const weft_cache_write write = {.cache = cache,
                                    .k = k,
                                    .v = v,
                                    .k_stride = stride,
                                    .v_stride = stride,
                                    .spans = b->spans,
                                    .span_count = b->request_count};
    const weft_attention args = {.cache = cache,
                                 .requests = b->requests,
                                 .request_count = b->request_count,
                                 .rows = b->rows,
                                 .heads = (int)c->heads,
                                 .q = m->qkv,
                                 .q_stride = stride,
                                 .scale = (float)c->attention_scale,
                                 .softcap = (float)c->attention_cap,
                                 .causal = true,
                                 .window = l->window,
                                 .sinks = w->sinks,
                                 .places = WEFT_FOLD_ALL,
                                 .out = m->attended,
                                 .out_stride = (size_t)(c->heads * c->head_dim)};
    m->op.table->attention.cache_write(&m->op, &write);
    m->op.table->attention.run[m->attention](&m->op, &args);
}

static void column(weft_model *m, const weft_gemm_weight *weight, const float *bias, int64_t rows, const float *in,
                   float *out, weft_act act)
{
    const weft_linear_call call = {.m = rows,
                                   .a = in,
                                   .a_stride = (size_t)weight->k,
                                   .out = out,
                                   .out_stride = (size_t)weight->columns,
                                   .bias = bias,
                                   .act = act};
    weft_linear_column(&m->op, weight, &call);
}

// x = x + linear(in), or x = x + norm(linear(in)) between the norms of a sandwich.
static void row_and_add(weft_model *m, const weft_gemm_weight *weight, const float *bias, int rows, const float *in,
                        const float *after)
{
    const size_t width = (size_t)m->config.hidden;
    weft_linear_call call = {
        .m = rows, .a = in, .a_stride = (size_t)weight->k, .out = m->x, .out_stride = width, .bias = bias};
    if (!after) {
        call.residual = m->x;
        call.residual_stride = width;
        weft_linear_row(&m->op, weight, &call);
        return;
    }
    call.out = m->branch;
    weft_linear_row(&m->op, weight, &call);
    norm(m, m->branch, m->branch, after, rows);
    m->op.table->rows.add(&m->op, m->x, m->x, m->branch, (size_t)rows * width);
}

static weft_act act_of(const weft_model_config *c)
{
    switch (c->ffn_kind) {
    case WEFT_FFN_SILU:
        return WEFT_ACT_SILU;
    case WEFT_FFN_GELU_TANH:
        return WEFT_ACT_GELU_TANH;
    case WEFT_FFN_GELU_ERF:
        return WEFT_ACT_GELU_ERF;
    default:
        return WEFT_ACT_NONE;
    }
}

// gated = act(gate(in)) * up(in).
static void gate(weft_model *m, const weft_ffn_weights *w, int64_t rows, const float *in, float *stacked, float *gated)
{
    const weft_model_config *c = &m->config;
    if (w->gate_up.fuse == WEFT_FUSE_GATE) {
        column(m, &w->gate_up, w->gate_up_bias, rows, in, gated, act_of(c));
        return;
    }
    const size_t width = (size_t)w->down.k;
    column(m, &w->gate_up, w->gate_up_bias, rows, in, stacked, WEFT_ACT_NONE);
    const weft_gate args = {.out = gated,
                            .out_stride = width,
                            .in = stacked,
                            .in_stride = 2 * width,
                            .up = stacked + width,
                            .up_stride = 2 * width,
                            .rows = (size_t)rows,
                            .width = width,
                            .clamped = true,
                            .alpha = (float)c->ffn_alpha,
                            .limit = (float)c->ffn_limit};
    m->op.table->rows.gate(&m->op, &args);
}

static void mix_experts(weft_model *m, const weft_layer_weights *w, int rows)
{
    const weft_model_config *c = &m->config;
    const weft_kernels *t = m->op.table;
    const size_t width = (size_t)c->hidden, used = (size_t)c->experts_used, experts = (size_t)c->experts;
    column(m, &w->router, w->router_bias, rows, m->normed, m->moe.scores, WEFT_ACT_NONE);
    t->pick.route(&m->op, &(weft_route){.scores = m->moe.scores,
                                        .stride = experts,
                                        .rows = (size_t)rows,
                                        .experts = experts,
                                        .k = used,
                                        .kind = c->route,
                                        .normalize = c->route_normalize,
                                        .scale = 1,
                                        .ids = m->moe.ids,
                                        .weights = m->moe.weights});
    t->pick.group(&m->op, &(weft_route_group){.ids = m->moe.ids,
                                              .rows = (size_t)rows,
                                              .k = used,
                                              .experts = experts,
                                              .offsets = m->moe.offsets,
                                              .row_of = m->moe.row_of,
                                              .place = m->moe.place});
    t->rows.gather(&m->op, &(weft_move){.out = m->moe.in,
                                        .out_stride = width * sizeof(float),
                                        .in = m->normed,
                                        .in_stride = width * sizeof(float),
                                        .index = m->moe.row_of,
                                        .rows = (size_t)rows * used,
                                        .bytes = width * sizeof(float)});
    for (size_t e = 0; e < experts; e++) {
        const size_t at = (size_t)m->moe.offsets[e];
        const int64_t count = m->moe.offsets[e + 1] - m->moe.offsets[e];
        const weft_ffn_weights *expert = &w->expert[e];
        gate(m, expert, count, m->moe.in + at * width, m->moe.stacked, m->moe.gated);
        weft_linear_row(&m->op, &expert->down,
                        &(weft_linear_call){.m = count,
                                            .a = m->moe.gated,
                                            .a_stride = (size_t)c->expert_ffn,
                                            .out = m->moe.out + at * width,
                                            .out_stride = width,
                                            .bias = expert->down_bias});
    }
    t->pick.combine(&m->op, &(weft_combine){.out = m->branch,
                                            .out_stride = width,
                                            .in = m->moe.out,
                                            .in_stride = width,
                                            .place = m->moe.place,
                                            .weights = m->moe.weights,
                                            .rows = (size_t)rows,
                                            .k = used,
                                            .width = width});
    t->rows.add(&m->op, m->x, m->x, m->branch, (size_t)rows * width);
}

static void run_layer(weft_model *m, const weft_batch *b, int64_t layer)
{
    const weft_model_config *c = &m->config;
    const weft_layer_config *l = &c->layer[layer];
    const weft_layer_weights *w = &m->weights.layer[layer];
    norm(m, m->normed, m->x, w->input_norm, b->rows);
    column(m, &w->qkv, w->qkv_bias, b->rows, m->normed, m->qkv, WEFT_ACT_NONE);
    if (c->qk_norm) {
        norm_heads(m, m->qkv, w->q_norm, b->rows, c->heads);
        norm_heads(m, m->qkv + c->heads * c->head_dim, w->k_norm, b->rows, c->kv_heads);
    }
    rotate(m, b, l->rope);
    attend(m, b, l, w, &b->layers[layer]);
    row_and_add(m, &w->o, w->o_bias, b->rows, m->attended, w->after_attention_norm);
    norm(m, m->normed, m->x, w->ffn_norm, b->rows);
    if (l->moe) {
        mix_experts(m, w, b->rows);
    } else {
        gate(m, &w->ffn, b->rows, m->normed, m->stacked, m->gated);
        row_and_add(m, &w->ffn.down, w->ffn.down_bias, b->rows, m->gated, w->after_ffn_norm);
    }
}

static void find_logits(weft_model *m, const weft_batch *b)
{
    const weft_model_config *c = &m->config;
    const size_t bytes = (size_t)c->hidden * sizeof(float);
    if (b->logit_rows == 0) return;
    m->op.table->rows.gather(&m->op, &(weft_move){.out = m->last,
                                                  .out_stride = bytes,
                                                  .in = m->x,
                                                  .in_stride = bytes,
                                                  .index = b->logit_row,
                                                  .rows = (size_t)b->logit_rows,
                                                  .bytes = bytes});
    norm(m, m->last, m->last, m->weights.final_norm, b->logit_rows);
    column(m, &m->weights.head, NULL, b->logit_rows, m->last, b->logits, WEFT_ACT_NONE);
    if (c->logit_cap > 0)
        m->op.table->rows.softcap(&m->op, b->logits, b->logits, (float)c->logit_cap,
                                  (size_t)b->logit_rows * (size_t)c->vocab);
}

void weft_model_forward(weft_model *m, const weft_batch *b)
{
    embed(m, b);
    for (int64_t layer = 0; layer < m->config.layers; layer++) run_layer(m, b, layer);
    find_logits(m, b);
}
