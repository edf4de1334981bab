// The forward pass. Letters: T rows, H hidden, A query heads, K KV heads, D head size, F width of the FFN, E experts,
// U experts used by a row, V vocabulary: of each, what this rank has (layout.h).
#include <string.h>

#include "core/checked.h"
#include "model/model_impl.h"

static void embed_rows(weft_model *m, const weft_batch *b, const int32_t *ids, size_t rows, float *out)
{
    const weft_embed args = {.in = &m->weights.embedding,
                             .first = (int32_t)m->layout.vocab.begin,
                             .ids = ids,
                             .scale = (float)m->config.embedding_scale,
                             .out = out,
                             .out_stride = (size_t)m->config.hidden,
                             .rows = rows,
                             .drawn = b->drawn};
    m->op.table->rows.embed(&m->op, &args);
}

// What a rank that has this part of the vocabulary looks up for these rows: tokens that it has, then, since no host
// knows whose they are, all that were drawn by a step that is still running. Their rows are left in `places`.
typedef struct {
    size_t known, all;
} looked_up;

static looked_up look_up(weft_model *m, const weft_batch *b, weft_range own, weft_range rows)
{
    looked_up of = {0};
    for (int64_t i = rows.begin; i < rows.end; i++) {
        if (b->tokens[i] < own.begin || b->tokens[i] >= own.end) continue;
        m->ids[of.all] = b->tokens[i];
        m->places[of.all++] = (int32_t)i;
    }
    of.known = of.all;
    for (int64_t i = rows.begin; i < rows.end; i++) {
        if (b->tokens[i] >= 0) continue;
        m->ids[of.all] = b->tokens[i];
        m->places[of.all++] = (int32_t)i;
    }
    return of;
}

// Rows of the pass from what the ranks looked up, each in the order of the rows.
static void take_embedded(weft_model *m, const weft_batch *b, const weft_transfer *from, weft_range rows)
{
    const weft_mesh *mesh = &m->layout.mesh;
    const size_t bytes = (size_t)m->config.hidden * sizeof(float);
    for (int r = 0; r < mesh->dense_ranks; r++) {
        const weft_range own = weft_layout_vocab_of(&m->config, mesh, r);
        const looked_up of = look_up(m, b, own, rows);
        const weft_sift sift = {.ids = m->ids,
                                .place = m->places,
                                .drawn = b->drawn,
                                .first = (int32_t)own.begin,
                                .count = (int32_t)weft_range_size(own),
                                .out = m->sifted,
                                .rows = of.all};
        if (of.all == 0) continue;
        if (of.all > of.known) m->op.table->rows.sift(&m->op, &sift);
        m->op.table->rows.scatter(&m->op, &(weft_move){.out = m->x,
                                                       .out_stride = bytes,
                                                       .in = weft_transfer_view(from, r),
                                                       .in_stride = bytes,
                                                       .index = of.all > of.known ? m->sifted : m->places,
                                                       .rows = of.all,
                                                       .bytes = bytes});
    }
}

// Where rows are dealt each goes to the rank that finishes it.
static weft_status embed_dealt(weft_model *m, const weft_batch *b)
{
    const weft_mesh *mesh = &m->layout.mesh;
    const int64_t width = m->config.hidden;
    size_t at = 0;
    float *slot;
    WEFT_TRY(weft_transfer_acquire(m->looked, &slot));
    for (int r = 0; r < mesh->dense_ranks; r++) {
        const size_t count = look_up(m, b, m->layout.vocab, weft_rows_of(b->rows, width, r, mesh->dense_ranks)).all;
        embed_rows(m, b, m->ids, count, slot + at);
        m->said_offset[r] = at;
        m->said_count[r] = count * (size_t)width;
        at += weft_align_up(m->said_count[r], 16);
    }
    WEFT_TRY(weft_transfer_deal(m->looked, m->said_offset, m->said_count));
    take_embedded(m, b, m->looked, weft_rows_of(b->rows, width, mesh->dense_rank, mesh->dense_ranks));
    weft_transfer_release(m->looked);
    return WEFT_OK;
}

// Each rank looks up the tokens whose rows it has, and all give theirs to all.
static weft_status embed(weft_model *m, const weft_batch *b)
{
    const size_t width = (size_t)m->config.hidden;
    const weft_range all = {0, b->rows};
    float *slot;
    if (!m->embedded) {
        embed_rows(m, b, b->tokens, (size_t)b->rows, m->x);
        return WEFT_OK;
    }
    const size_t count = look_up(m, b, m->layout.vocab, all).all;
    WEFT_TRY(weft_transfer_acquire(m->embedded, &slot));
    embed_rows(m, b, m->ids, count, slot);
    WEFT_TRY(weft_transfer_gather(m->embedded, count * width));
    take_embedded(m, b, m->embedded, all);
    weft_transfer_release(m->embedded);
    return WEFT_OK;
}

// The width of a row of qkv: queries, keys, values.
static size_t qkv_width(const weft_model *m) { return (size_t)weft_layout_qkv_width(&m->config, &m->layout); }

// Norms each head of `heads` that stand at x in rows of qkv.
static void norm_heads(weft_model *m, float *x, const float *weight, int rows, int64_t heads)
{
    const size_t stride = qkv_width(m), width = (size_t)m->config.head_dim;
    const weft_norm what = {.out = x,
                            .in = x,
                            .weight = weight,
                            .out_stride = stride,
                            .in_stride = stride,
                            .head_stride = width,
                            .rows = (size_t)rows,
                            .heads = (size_t)heads,
                            .width = width};
    wi_norm(m, &m->op, &what);
}

// Queries and keys stand side by side, so one call turns both. Neighbouring requests with one key are turned together.
static void rotate(weft_model *m, const weft_batch *b, int rope)
{
    const weft_model_config *c = &m->config;
    const weft_attention_request *requests = b->tables[0].requests; // rows are the same in all
    const size_t stride = qkv_width(m);
    for (int first = 0, next; first < b->request_count; first = next) {
        for (next = first + 1; next < b->request_count && b->rotation[next] == b->rotation[first];) next++;
        const int row = requests[first].row;
        const int end = requests[next - 1].row + requests[next - 1].rows;
        const wi_rotation *r = &m->rotation[b->rotation[first]].rope[rope];
        const weft_rope args = {.x = m->qkv + (size_t)row * stride,
                                .row_stride = stride,
                                .head_stride = (size_t)c->head_dim,
                                .rows = (size_t)(end - row),
                                .heads =
                                    (size_t)(weft_range_size(m->layout.heads) + weft_range_size(m->layout.kv_heads)),
                                .rotary = (size_t)c->ropes[rope].rotary,
                                .cos = r->cos,
                                .sin = r->sin,
                                .table_stride = (size_t)c->ropes[rope].rotary / 2,
                                .positions = b->positions + row};
        m->op.table->rows.rope(&m->op, &args);
    }
}

// attended = softmax(q k^T) v over the cache, which first receives the rows' own keys and values.
static weft_status attend(weft_model *m, const weft_batch *b, const weft_layer_config *l, const weft_layer_weights *w,
                          const weft_cache *cache, const weft_batch_tables *tables)
{
    const weft_model_config *c = &m->config;
    const size_t stride = qkv_width(m);
    const int64_t heads = weft_range_size(m->layout.heads), kv_heads = weft_range_size(m->layout.kv_heads);
    const float *k = m->qkv + heads * c->head_dim, *v = k + kv_heads * c->head_dim;
    const weft_cache_write write = {.cache = cache,
                                    .k = k,
                                    .v = v,
                                    .k_stride = stride,
                                    .v_stride = stride,
                                    .spans = tables->spans,
                                    .span_count = b->request_count};
    const weft_attention args = {.cache = cache,
                                 .requests = tables->requests,
                                 .request_count = b->request_count,
                                 .rows = b->rows,
                                 .heads = (int)heads,
                                 .first_head = m->first_head,
                                 .q = m->qkv,
                                 .q_stride = stride,
                                 .scale = (float)c->attention_scale,
                                 .softcap = (float)c->attention_cap,
                                 .causal = true,
                                 .window = l->window,
                                 .sinks = w->sinks,
                                 .places = m->dealt ? weft_dealt_places(&m->layout.mesh) : WEFT_FOLD_ALL,
                                 .out = m->attended,
                                 .out_stride = (size_t)(weft_range_size(m->layout.finished) * c->head_dim)};
    if (heads > 0 && b->rows > 0) m->op.table->attention.cache_write(&m->op, &write);
    if (m->dealt) return weft_dealt_attention(m->dealt, &m->op, m->attention, &args, tables->rows_of);
    if (heads > 0 && b->rows > 0) m->op.table->attention.run[m->attention](&m->op, &args);
    return WEFT_OK;
}

// `in` NULL: the normed rows, or places of them.
static void column(weft_model *m, const weft_gemm_weight *weight, const float *bias, int64_t rows, const float *in,
                   const wi_places *places, float *out, weft_act act)
{
    const bool gathered = !in && m->gathered.count > 0;
    const weft_linear_call call = {.m = rows,
                                   .a = in ? in : m->normed,
                                   .a_stride = gathered ? m->gathered_stride : (size_t)weight->k,
                                   .rows = gathered ? &m->gathered : NULL,
                                   .index = places ? places->row_of : NULL,
                                   .groups = places ? &places->groups : NULL,
                                   .out = out,
                                   .out_stride = (size_t)weight->columns,
                                   .bias = bias,
                                   .act = act};
    weft_linear_column(&m->op, weight, &call);
}

void wi_column(weft_model *m, const weft_gemm_weight *weight, const float *bias, int64_t rows, const float *in,
               float *out, weft_act act)
{
    column(m, weight, bias, rows, in, NULL, out, act);
}

// Queries, keys and values of the rows. Where the ranks of a cp group divide them they tell each other.
static weft_status project(weft_model *m, const weft_layer_weights *w, int rows)
{
    const weft_mesh *mesh = &m->layout.mesh;
    const size_t width = qkv_width(m), own = (size_t)weft_range_size(m->layout.qkv);
    float *slot;
    if (!m->projected) {
        wi_column(m, &w->qkv, w->qkv_bias, rows, NULL, m->qkv, WEFT_ACT_NONE);
        wi_release(m);
        return WEFT_OK;
    }
    WEFT_TRY(weft_transfer_acquire(m->projected, &slot));
    wi_column(m, &w->qkv, w->qkv_bias, rows, NULL, slot, WEFT_ACT_NONE);
    wi_release(m);
    WEFT_TRY(weft_transfer_gather(m->projected, (size_t)rows * own));
    size_t at = 0;
    for (int r = 0; r < mesh->shape.cp && width > 0; r++) {
        const size_t part = weft_transfer_count(m->projected, r) / (size_t)rows;
        const float *view = weft_transfer_view(m->projected, r);
        weft_copy_rows(&m->op, m->qkv + at, width, view, part, (size_t)rows, part);
        at += part;
    }
    weft_transfer_release(m->projected);
    return WEFT_OK;
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

void wi_gate(weft_model *m, const weft_ffn_weights *w, int64_t rows, const wi_places *places, size_t width,
             float *stacked, float *gated)
{
    const weft_model_config *c = &m->config;
    if (w->gate_up.fuse == WEFT_FUSE_GATE) {
        column(m, &w->gate_up, w->gate_up_bias, rows, NULL, places, gated, act_of(c));
        return;
    }
    if (width == 0) return;
    column(m, &w->gate_up, w->gate_up_bias, rows, NULL, places, stacked, WEFT_ACT_NONE);
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

static weft_status run_layer(weft_model *m, const weft_batch *b, int64_t layer)
{
    const weft_model_config *c = &m->config;
    const weft_layout *have = &m->layout;
    const weft_layer_config *l = &c->layer[layer];
    const weft_layer_weights *w = &m->weights.layer[layer];
    const bool last = layer + 1 == c->layers, rounds = m->weights.rounds;
    WEFT_TRY(project(m, w, b->rows));
    if (c->qk_norm) {
        const int64_t heads = weft_range_size(have->heads);
        norm_heads(m, m->qkv, w->q_norm, b->rows, heads);
        norm_heads(m, m->qkv + heads * c->head_dim, w->k_norm, b->rows, weft_range_size(have->kv_heads));
    }
    rotate(m, b, l->rope);
    WEFT_TRY(attend(m, b, l, w, &b->layers[layer], &b->tables[b->group_of[layer]]));
    const wi_row o = {&w->o, w->o_bias, b->rows, m->attended, weft_range_size(have->finished) * c->head_dim};
    WEFT_TRY(wi_row_and_add(m->o_sum, &o, &(wi_next){m, w->after_attention_norm, w->ffn_norm, rounds && !l->moe}));
    const wi_next next = {m, l->moe ? NULL : w->after_ffn_norm, last ? NULL : w[1].input_norm, rounds && !last};
    if (l->moe) return wi_mix_experts(m, w, b->rows, &next);
    const wi_row down = {&w->ffn.down, w->ffn.down_bias, b->rows, m->gated, weft_range_size(have->ffn)};
    wi_gate(m, &w->ffn, b->rows, NULL, (size_t)down.in_width, m->stacked, m->gated);
    wi_release(m);
    return wi_row_and_add(m->down_sum, &down, &next);
}

// The logits of this rank's rows and of its part of the vocabulary.
static void find_own_logits(weft_model *m, const weft_batch *b, int count, float *out)
{
    const size_t bytes = (size_t)m->config.hidden * sizeof(float);
    if (count == 0) return;
    m->op.table->rows.gather(&m->op, &(weft_move){.out = m->last,
                                                  .out_stride = bytes,
                                                  .in = m->x,
                                                  .in_stride = bytes,
                                                  .index = b->logit_row,
                                                  .rows = (size_t)count,
                                                  .bytes = bytes});
    wi_norm_rows(m, &m->op, m->last, m->last, m->weights.final_norm, (size_t)count);
    wi_column(m, &m->weights.head, NULL, count, m->last, out, WEFT_ACT_NONE);
}

// What rank `rank` of the mesh found, to its place: `first` is where the places of its rows begin.
static void place_logits(weft_model *m, const weft_batch *b, int rank, int first)
{
    const weft_mesh of = weft_mesh_at(&m->layout.mesh.shape, rank);
    const weft_range vocab = weft_layout_vocab_of(&m->config, &of, of.dense_rank);
    const size_t width = (size_t)weft_range_size(vocab), all = (size_t)m->config.vocab;
    const float *view = weft_transfer_view(m->found, rank);
    const int count = b->logit_counts ? b->logit_counts[of.cp_rank] : b->logit_rows;
    const weft_move args = {.out = b->logits + vocab.begin,
                            .out_stride = all * sizeof(float),
                            .in = view,
                            .in_stride = width * sizeof(float),
                            .index = b->logit_place ? b->logit_place + first : NULL,
                            .rows = (size_t)count,
                            .bytes = width * sizeof(float)};
    if (count == 0 || width == 0) return;
    if (args.index)
        m->op.table->rows.scatter(&m->op, &args);
    else
        m->op.table->rows.gather(&m->op, &args);
}

static weft_status find_logits(weft_model *m, const weft_batch *b)
{
    const weft_model_config *c = &m->config;
    const weft_mesh *mesh = &m->layout.mesh;
    float *slot;
    if (b->logit_rows == 0) return WEFT_OK;
    if (!m->found) {
        find_own_logits(m, b, b->logit_rows, b->logits);
    } else {
        const int own = b->logit_counts ? b->logit_counts[mesh->cp_rank] : b->logit_rows;
        WEFT_TRY(weft_transfer_acquire(m->found, &slot));
        find_own_logits(m, b, own, slot);
        WEFT_TRY(weft_transfer_gather(m->found, (size_t)own * (size_t)weft_range_size(m->layout.vocab)));
        for (int r = 0, first = 0; r < mesh->shape.tp * mesh->shape.cp; r++) {
            place_logits(m, b, r, first);
            if (b->logit_counts && r % mesh->shape.tp == mesh->shape.tp - 1)
                first += b->logit_counts[r / mesh->shape.tp];
        }
        weft_transfer_release(m->found);
    }
    if (c->logit_cap > 0)
        m->op.table->rows.softcap(&m->op, b->logits, b->logits, (float)c->logit_cap,
                                  (size_t)b->logit_rows * (size_t)c->vocab);
    return WEFT_OK;
}

weft_status weft_model_forward(weft_model *m, const weft_batch *b)
{
    const wi_next first = {m, NULL, m->weights.layer[0].input_norm, m->weights.rounds};
    weft_mesh_ask_device(&m->layout.mesh);
    if (wi_deals(m, b->rows)) {
        WEFT_TRY(embed_dealt(m, b));
        WEFT_TRY(wi_finish_own(m, &first, b->rows, NULL));
    } else {
        WEFT_TRY(embed(m, b));
        wi_finish_all(m, &first, b->rows);
    }
    for (int64_t layer = 0; layer < m->config.layers; layer++) WEFT_TRY(run_layer(m, b, layer));
    return find_logits(m, b);
}
