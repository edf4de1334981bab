// How much memory a model needs of a rank, by its numbers alone: what a pass writes, the groups that ranks talk in, the
// blocks of the cache. The model takes it by these, and weft plan tells it before there is a model.
#include "core/checked.h"
#include "model/model_impl.h"

// Which kind has a window; of a new one it makes a kind. -1: there are too many.
static int kind_of(weft_cache_cut *cut, int64_t window)
{
    int kind = 0;
    while (kind < cut->kinds && cut->window[kind] < window) kind++;
    if (kind < cut->kinds && cut->window[kind] == window) return kind;
    if (cut->kinds == WEFT_CACHE_KINDS_MAX) return -1;
    for (int k = cut->kinds++; k > kind; k--) cut->window[k] = cut->window[k - 1];
    cut->window[kind] = window;
    return kind;
}

static int64_t common(int64_t a, int64_t b) { return b == 0 ? a : common(b, a % b); }

// Kinds and their groups. Returns how many layers a group has.
static int64_t cut_layers(const weft_model_config *c, weft_cache_cut *cut)
{
    int64_t layers[WEFT_CACHE_KINDS_MAX] = {0}, each = 0;
    bool fits = true;
    for (int64_t i = 0; i < c->layers; i++) fits = fits && kind_of(cut, c->layer[i].window) >= 0;
    if (!fits) *cut = (weft_cache_cut){.kinds = 1};
    for (int64_t i = 0; i < c->layers; i++) layers[fits ? kind_of(cut, c->layer[i].window) : 0]++;
    for (int k = 0; k < cut->kinds; k++) each = common(each, layers[k]);
    if (each == 0) each = 1; // no layers at all
    for (int k = 0; k < cut->kinds; k++) cut->groups[k] = (int)(layers[k] / each);
    return each;
}

weft_cache_cut weft_layout_cache(const weft_model_config *c, const weft_layout *layout, weft_cache_type type, int block,
                                 weft_cache *layers, int *group_of)
{
    weft_cache_cut cut = {0};
    const int64_t each = cut_layers(c, &cut);
    int64_t before[WEFT_CACHE_KINDS_MAX] = {0}; // layers of each kind so far
    weft_cache view = {.type = type,
                       .block = block,
                       .heads = (int)weft_range_size(layout->kv_heads),
                       .k_size = (int)c->head_dim,
                       .v_size = (int)c->head_dim};
    const size_t layer_bytes = weft_cache_k_bytes(&view) + weft_cache_v_bytes(&view);
    cut.unit = layer_bytes > 0 ? layer_bytes * (size_t)each : 64; // a rank without heads has blocks all the same
    view.block_bytes = cut.unit;
    for (int64_t i = 0; i < c->layers; i++) {
        const int kind = cut.kinds == 1 ? 0 : kind_of(&cut, c->layer[i].window);
        const int64_t at = before[kind]++;
        int group = (int)(at / each);
        for (int k = 0; k < kind; k++) group += cut.groups[k];
        view.k_offset = (size_t)(at % each) * layer_bytes;
        view.v_offset = view.k_offset + weft_cache_k_bytes(&view);
        if (layers) layers[i] = view;
        if (group_of) group_of[i] = group;
    }
    return cut;
}

// ---- what a pass writes ----

static void *cut(wi_cutter *c, size_t count, size_t size)
{
    unsigned char *at = c->base ? c->base + c->used : NULL;
    c->used += weft_align_up(count * size, 64);
    return at;
}

static size_t gemm_scratch(const weft_gemm_weight *weight, size_t rows, int threads)
{
    return weight->n ? weft_gemm_scratch(weight, (int64_t)rows, threads) : 0;
}

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

int wi_model_threads(const weft_model *m)
{
    if (m->op.team) return weft_team_threads(m->op.team);
    return m->threads > 0 ? m->threads : 1;
}

// What any op of the pass may ask for.
static size_t scratch_bytes(const weft_model *m)
{
    const weft_model_config *c = &m->config;
    const bool device = m->options.weights.capability > 0;
    const int threads = device ? 1 : wi_model_threads(m);
    const size_t rows = (size_t)m->options.rows;
    size_t bytes = device ? weft_attention_device_scratch((int)rows, (int)rows, (int)weft_range_size(m->layout.heads),
                                                          (int)c->head_dim) // a request has a row at least
                          : weft_attention_scratch((int)c->head_dim, (int)c->head_dim, threads);
    bytes = most(bytes, gemm_scratch(&m->weights.head, (size_t)m->options.logit_rows, threads));
    for (int64_t i = 0; i < c->layers; i++) {
        const weft_layer_weights *w = &m->weights.layer[i];
        const weft_gemm_weight *linears[] = {&w->qkv, &w->o, &w->ffn.gate_up, &w->ffn.down, &w->router};
        for (size_t j = 0; j < sizeof linears / sizeof *linears; j++)
            bytes = most(bytes, gemm_scratch(linears[j], rows, threads));
        if (!w->expert || weft_range_size(m->layout.experts) == 0) continue;
        const weft_ffn_weights *expert = &w->expert[m->layout.experts.begin];
        const size_t places = rows * (size_t)c->experts_used; // of all experts; on the host an expert at a time
        bytes = most(bytes, gemm_scratch(&expert->gate_up, device ? places : rows, threads));
        bytes = most(bytes, gemm_scratch(&expert->down, device ? places : rows, threads));
    }
    return bytes;
}

void wi_model_cut(weft_model *m, wi_cutter *at)
{
    const weft_model_config *c = &m->config;
    const size_t t = (size_t)m->options.rows, h = (size_t)c->hidden, f = sizeof(float);
    const weft_layout *l = &m->layout;
    const size_t used = (size_t)c->experts_used, wide = (size_t)weft_range_size(l->expert_ffn),
                 ffn = (size_t)weft_range_size(l->ffn);
    const size_t stack = c->ffn_kind == WEFT_FFN_CLAMPED_SWISH ? 2 : 0;
    m->x = cut(at, t * h, f);
    m->normed = cut(at, t * h, f);
    m->branch = cut(at, t * h, f);
    m->qkv = cut(at, t * (size_t)weft_layout_qkv_width(c, l), f);
    m->attended = cut(at, t * (size_t)(weft_range_size(l->finished) * c->head_dim), f);
    m->gated = cut(at, t * ffn, f);
    m->stacked = cut(at, t * ffn * stack, f);
    if (c->experts > 0) {
        m->moe.scores = cut(at, t * (size_t)c->experts, f);
        m->moe.weights = cut(at, t * used, f);
        m->moe.ids = cut(at, t * used, sizeof(int32_t));
        m->moe.place = cut(at, t * used, sizeof(int32_t));
        m->moe.row_of = cut(at, t * used, sizeof(int32_t));
        m->moe.offsets = cut(at, (size_t)c->experts + 1, sizeof(int32_t));
        m->moe.out = cut(at, t * used * h, f);
        m->moe.gated = cut(at, t * used * wide, f);
        m->moe.stacked = cut(at, t * used * wide * stack, f);
    }
    m->sifted = cut(at, t, sizeof *m->sifted);
    m->last = cut(at, (size_t)m->options.logit_rows * h, f);
    m->op.scratch_bytes = scratch_bytes(m);
    m->op.scratch = cut(at, m->op.scratch_bytes, 1);
}

void wi_model_cut_books(weft_model *m, wi_cutter *at)
{
    const size_t ranks = (size_t)m->layout.mesh.dense_ranks;
    m->ids = cut(at, (size_t)m->options.rows, sizeof *m->ids);
    m->places = cut(at, (size_t)m->options.rows, sizeof *m->places);
    m->said_offset = cut(at, ranks, sizeof *m->said_offset);
    m->said_count = cut(at, ranks, sizeof *m->said_count);
    m->piece = cut(at, ranks * WEFT_ROW_PIECES, sizeof *m->piece);
    m->piece_begin = cut(at, ranks * WEFT_ROW_PIECES + 1, sizeof *m->piece_begin);
    if (m->config.experts > 0) {
        m->expert_row_of = cut(at, (size_t)m->options.rows * (size_t)m->config.experts_used, sizeof *m->expert_row_of);
        m->expert_offsets = cut(at, (size_t)m->config.experts + 1, sizeof *m->expert_offsets);
    }
}

// ---- what ranks share ----

static bool same_places(const weft_row_shape *a, const weft_row_shape *b)
{
    const weft_gemm_leaves x = weft_leaves_of_units(a->k, a->unit), y = weft_leaves_of_units(b->k, b->unit);
    for (int i = 0; i < WEFT_LEAVES; i++)
        if ((x.begin[i] < x.begin[i + 1]) != (y.begin[i] < y.begin[i + 1])) return false;
    return true;
}

static weft_row_shape of_rows(weft_row_shape shape, size_t rows, bool deals)
{
    shape.rows = rows;
    shape.deals = deals;
    return shape;
}

weft_dealt_shape weft_layout_dealt(const weft_model_config *c, const weft_layout *l, int rows, weft_cache_type type)
{
    return (weft_dealt_shape){.rows = rows,
                              .heads = (int)weft_range_size(l->heads),
                              .k_size = (int)c->head_dim,
                              .v_size = (int)c->head_dim,
                              .kv_heads = (int)weft_range_size(l->kv_heads),
                              .cache = type};
}

static void set_dealt(const weft_model_config *c, const weft_layout *l, const weft_model_options *options, wi_groups *g)
{
    const weft_mesh *mesh = &l->mesh;
    g->has_dealt = true;
    g->dealt = weft_layout_dealt(c, l, options->rows, options->cache);
    if (mesh->shape.dense == WEFT_DENSE_MESH) g->dealt.heads_of = g->heads_of;
    for (int r = 0; r < mesh->shape.cp; r++) {
        const weft_mesh other = weft_mesh_at(&mesh->shape, r * mesh->shape.tp + mesh->tp_rank);
        const weft_range all = weft_layout_finished(c, &other);
        g->heads_of[r] = (weft_range){all.begin - l->heads.begin, all.end - l->heads.begin};
    }
}

void wi_groups_of(const weft_model_config *c, const weft_layout *l, const weft_model_options *options, wi_groups *g)
{
    const weft_mesh_shape *shape = &l->mesh.shape;
    const size_t rows = (size_t)options->rows;
    bool dense = false;
    *g = (wi_groups){.o = of_rows(l->o, rows, true), .down = of_rows(l->down, rows, true)};
    for (int64_t i = 0; i < c->layers; i++) dense = dense || !c->layer[i].moe;
    // Where the same ranks give the same roots, one sum serves both.
    g->has_down = dense && (l->mesh.dense_ranks > WEFT_LEAVES || !same_places(&g->o, &g->down));
    g->has_experts = c->experts > 0 && shape->expert_columns;
    const int ranks = l->mesh.dense_ranks;
    const size_t most = (size_t)weft_rows_most(options->rows, c->hidden, ranks) * (size_t)c->hidden;
    const bool exchanged = c->experts > 0 && !shape->expert_columns;
    if (ranks > 1 && exchanged) g->said = most * (size_t)c->experts_used;
    if (ranks > 1 && (exchanged || options->rows >= weft_rows_dealt_from(ranks))) {
        const int64_t each = weft_mesh_piece_rows(&l->mesh);
        g->pieces = weft_row_pieces(options->rows, each);
        g->joined = (size_t)weft_piece_rows_most(options->rows, c->hidden, ranks, each) * (size_t)c->hidden;
    }
    if (g->has_experts) g->experts = of_rows(l->expert_down, rows * (size_t)c->experts_used, false);
    const int64_t from = weft_rows_dealt_from(ranks);
    const bool deals = options->rows >= from;
    if (ranks > 1 && deals) g->looked = most;
    // All rows of a pass where MPI adds for us, which a plan does not know.
    if (ranks > 1) g->embedded = (deals && !shape->fast ? (size_t)from - 1 : rows) * (size_t)c->hidden;
    if (shape->tp * shape->cp > 1) g->found = (size_t)options->logit_rows * (size_t)weft_layout_vocab_most(c, &l->mesh);
    if (shape->cp == 1) return;
    if (shape->dense == WEFT_DENSE_MESH) g->projected = rows * (size_t)weft_layout_qkv_width(c, l);
    set_dealt(c, l, options, g);
}

uint64_t wi_groups_bytes(const weft_layout *l, const wi_groups *g, int node_ranks)
{
    const weft_mesh *mesh = &l->mesh;
    const weft_mesh_near near = weft_mesh_near_of(mesh, node_ranks);
    const int ranks = mesh->shape.tp * mesh->shape.cp;
    uint64_t bytes = weft_row_sum_bytes(mesh, &g->o, &near);
    if (g->has_down) bytes += weft_row_sum_bytes(mesh, &g->down, &near);
    if (g->has_experts) bytes += weft_row_sum_bytes(mesh, &g->experts, &near);
    if (g->embedded) bytes += weft_transfer_bytes(WEFT_TRANSFER_GATHER, g->embedded, mesh->dense_ranks, near.dense);
    if (g->looked) bytes += weft_transfer_bytes(WEFT_TRANSFER_DEAL, g->looked, mesh->dense_ranks, near.dense);
    if (g->said) bytes += weft_transfer_bytes(WEFT_TRANSFER_DEAL, g->said, mesh->dense_ranks, near.dense);
    if (g->joined) bytes += weft_transfer_pieces_bytes(g->pieces, g->joined, mesh->dense_ranks, near.dense);
    if (g->found) bytes += weft_transfer_bytes(WEFT_TRANSFER_GATHER, g->found, ranks, near.all);
    if (g->projected) bytes += weft_transfer_bytes(WEFT_TRANSFER_GATHER, g->projected, mesh->shape.cp, near.cp);
    if (g->has_dealt) bytes += weft_dealt_bytes(mesh, &g->dealt, &near);
    return bytes;
}

uint64_t wi_groups_device_bytes(const weft_layout *l, const wi_groups *g, int node_ranks, weft_links links)
{
    const weft_mesh *mesh = &l->mesh;
    weft_mesh_near near = weft_mesh_near_of(mesh, node_ranks);
    const int ranks = mesh->shape.tp * mesh->shape.cp, dense = mesh->dense_ranks;
    near.links = links;
    const weft_links by = weft_mesh_links(&near, near.dense);
    uint64_t bytes = weft_row_sum_device_bytes(mesh, &g->o, &near);
    if (g->has_down) bytes += weft_row_sum_device_bytes(mesh, &g->down, &near);
    if (g->has_experts) bytes += weft_row_sum_device_bytes(mesh, &g->experts, &near);
    if (g->embedded) bytes += weft_transfer_device_bytes(WEFT_TRANSFER_GATHER, g->embedded, dense, by);
    if (g->looked) bytes += weft_transfer_device_bytes(WEFT_TRANSFER_DEAL, g->looked, dense, by);
    if (g->said) bytes += weft_transfer_device_bytes(WEFT_TRANSFER_DEAL, g->said, dense, by);
    if (g->joined) bytes += weft_transfer_pieces_device_bytes(g->pieces, g->joined, dense, by);
    if (g->found)
        bytes += weft_transfer_device_bytes(WEFT_TRANSFER_GATHER, g->found, ranks, weft_mesh_links(&near, near.all));
    if (g->projected)
        bytes += weft_transfer_device_bytes(WEFT_TRANSFER_GATHER, g->projected, mesh->shape.cp,
                                            weft_mesh_links(&near, near.cp));
    if (g->has_dealt) bytes += weft_dealt_device_bytes(mesh, &g->dealt, &near);
    return bytes;
}
