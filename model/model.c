// A model's memory: weights, tables of rotations, and what one forward pass writes.
#include "model/model.h"

#include <math.h>
#include <stdlib.h>

#include "core/checked.h"
#include "model/model_impl.h"

static void fini_rotation(wi_rotation *r)
{
    free(r->cos);
    *r = (wi_rotation){0};
}

static weft_status make_rotation(const weft_model *model, int rope, int64_t length, wi_rotation *out)
{
    const weft_rope_config *r = &model->config.ropes[rope];
    const size_t half = (size_t)r->rotary / 2, positions = (size_t)model->options.positions;
    float *table = malloc((2 * positions + 1) * half * sizeof *table);
    if (!table) return weft_fail(WEFT_NO_MEMORY, "no memory for the rotations of %zu positions", positions);
    float *inverse = table + 2 * positions * half, *sine = table + positions * half;
    const float factor = (float)r->attention_factor;
    weft_rope_frequencies(r, length, inverse);
    for (size_t p = 0; p < positions; p++) {
        // A token that is generated is turned by the length that the text has with it, and those before it stay as
        // they were: so does transformers.
        if (r->type == WEFT_ROPE_DYNAMIC && (int64_t)p >= length && (int64_t)p >= r->original)
            weft_rope_frequencies(r, (int64_t)p + 1, inverse);
        for (size_t i = 0; i < half; i++) {
            const float angle = (float)p * inverse[i];
            table[p * half + i] = cosf(angle) * factor;
            sine[p * half + i] = sinf(angle) * factor;
        }
    }
    *out = (wi_rotation){.cos = table, .sin = sine};
    return WEFT_OK;
}

// Whether and how a length shows in the rotations: lengths that are turned alike have one number.
static int64_t rotation_length(const weft_model_config *c, int64_t length)
{
    for (int i = 0; i < WEFT_ROPES_MAX; i++) {
        const weft_rope_config *r = &c->ropes[i];
        if (r->type == WEFT_ROPE_DYNAMIC && length > r->original) return length;
        if (r->type == WEFT_ROPE_LONGROPE && length > r->original) return r->original + 1;
    }
    return 0;
}

int64_t weft_model_rotation_limit(const weft_model *model, int64_t length)
{
    int64_t limit = model->options.positions;
    for (int i = 0; i < WEFT_ROPES_MAX; i++) {
        const weft_rope_config *r = &model->config.ropes[i];
        if (r->type == WEFT_ROPE_LONGROPE && length <= r->original && r->original < limit) limit = r->original;
    }
    return limit;
}

weft_status weft_model_rotation(weft_model *model, int64_t length, int *key)
{
    if (length > model->options.positions)
        return weft_fail(WEFT_LIMIT, "a request of %lld positions: there is room for %lld", (long long)length,
                         (long long)model->options.positions);
    const int64_t alike = rotation_length(&model->config, length);
    for (int i = 0; i < model->rotations; i++)
        if (model->rotation[i].length == alike) {
            *key = i;
            return WEFT_OK;
        }
    if (model->rotations == WI_ROTATIONS_MAX)
        return weft_fail(WEFT_LIMIT, "requests of more than %d lengths, each rotated in its own way", WI_ROTATIONS_MAX);
    const int next = model->rotations;
    for (int i = 0; i < WEFT_ROPES_MAX; i++)
        if (model->config.ropes[i].rotary > 0) WEFT_TRY(make_rotation(model, i, alike, &model->rotation[next].rope[i]));
    model->rotation[next].length = alike;
    model->rotations = next + 1;
    *key = next;
    return WEFT_OK;
}

size_t weft_model_cache_layout(const weft_model *model, int block, weft_cache *layers)
{
    const weft_model_config *c = &model->config;
    size_t at = 0;
    for (int64_t i = 0; i < c->layers; i++) {
        weft_cache own = {0}, *l = layers ? &layers[i] : &own;
        *l = (weft_cache){.type = model->options.cache,
                          .block = block,
                          .heads = (int)weft_range_size(model->layout.kv_heads),
                          .k_size = (int)c->head_dim,
                          .v_size = (int)c->head_dim};
        l->k_offset = at;
        l->v_offset = at += weft_cache_k_bytes(l);
        at += weft_cache_v_bytes(l);
    }
    for (int64_t i = 0; layers && i < c->layers; i++) layers[i].block_bytes = at > 0 ? at : 64;
    return at > 0 ? at : 64; // a rank without heads has blocks all the same
}

// One list of what a pass writes: run first to count, then to hand out.
typedef struct {
    unsigned char *base;
    size_t used;
} cutter;

static void *cut(cutter *c, size_t count, size_t size)
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

// What any op of the pass may ask for.
static size_t scratch_bytes(const weft_model *m)
{
    const weft_model_config *c = &m->config;
    const int threads = m->op.team ? weft_team_threads(m->op.team) : 1;
    const size_t rows = (size_t)m->options.rows;
    size_t bytes = weft_attention_scratch((int)c->head_dim, (int)c->head_dim, threads);
    bytes = most(bytes, gemm_scratch(&m->weights.head, (size_t)m->options.logit_rows, threads));
    for (int64_t i = 0; i < c->layers; i++) {
        const weft_layer_weights *w = &m->weights.layer[i];
        const weft_gemm_weight *linears[] = {&w->qkv, &w->o, &w->ffn.gate_up, &w->ffn.down, &w->router};
        for (size_t j = 0; j < sizeof linears / sizeof *linears; j++)
            bytes = most(bytes, gemm_scratch(linears[j], rows, threads));
        for (int64_t e = 0; w->expert && e < c->experts; e++) {
            bytes = most(bytes, gemm_scratch(&w->expert[e].gate_up, rows, threads));
            bytes = most(bytes, gemm_scratch(&w->expert[e].down, rows, threads));
        }
    }
    return bytes;
}

static void cut_memory(weft_model *m, cutter *at)
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
    m->ids = cut(at, t, sizeof(int32_t));
    m->taken = cut(at, (size_t)l->mesh.dense_ranks, sizeof *m->taken);
    m->gated = cut(at, t * ffn, f);
    m->stacked = cut(at, t * ffn * stack, f);
    if (c->experts > 0) {
        m->moe.scores = cut(at, t * (size_t)c->experts, f);
        m->moe.weights = cut(at, t * used, f);
        m->moe.ids = cut(at, t * used, sizeof(int32_t));
        m->moe.place = cut(at, t * used, sizeof(int32_t));
        m->moe.row_of = cut(at, t * used, sizeof(int32_t));
        m->moe.offsets = cut(at, (size_t)c->experts + 1, sizeof(int32_t));
        m->moe.in = cut(at, t * used * h, f);
        m->moe.out = cut(at, t * used * h, f);
        m->moe.gated = cut(at, t * wide, f);
        m->moe.stacked = cut(at, t * wide * stack, f);
    }
    m->last = cut(at, (size_t)m->options.logit_rows * h, f);
    m->op.scratch_bytes = scratch_bytes(m);
    m->op.scratch = cut(at, m->op.scratch_bytes, 1);
}

// ---- what ranks share ----

static bool same_places(const weft_row_shape *a, const weft_row_shape *b)
{
    const weft_gemm_leaves x = weft_leaves_of_units(a->k, a->unit), y = weft_leaves_of_units(b->k, b->unit);
    for (int i = 0; i < WEFT_LEAVES; i++)
        if ((x.begin[i] < x.begin[i + 1]) != (y.begin[i] < y.begin[i + 1])) return false;
    return true;
}

// The sum of a kind of row linear: an earlier one's, where the same ranks give the same roots.
static weft_status make_row_sum(weft_model *m, const char *name, weft_row_shape *shape, size_t rows,
                                const weft_row_shape *other, weft_row_sum *others, weft_row_sum **out)
{
    shape->rows = rows;
    if (others && m->layout.mesh.dense_ranks <= WEFT_LEAVES && same_places(shape, other) && rows <= other->rows) {
        *out = others;
        return WEFT_OK;
    }
    return weft_row_sum_create(&m->layout.mesh, m->op.table, name, shape, out);
}

static weft_status make_sums(weft_model *m)
{
    const weft_model_config *c = &m->config;
    const size_t rows = (size_t)m->options.rows;
    weft_layout *l = &m->layout;
    bool dense = false;
    for (int64_t i = 0; i < c->layers; i++) dense = dense || !c->layer[i].moe;
    WEFT_TRY(make_row_sum(m, "o", &l->o, rows, NULL, NULL, &m->o_sum));
    if (dense) WEFT_TRY(make_row_sum(m, "down", &l->down, rows, &l->o, m->o_sum, &m->down_sum));
    if (c->experts == 0) return WEFT_OK;
    return make_row_sum(m, "experts", &l->expert_down, rows * (size_t)c->experts_used, NULL, NULL, &m->expert_sum);
}

static weft_status make_dealt(weft_model *m)
{
    const weft_model_config *c = &m->config;
    const weft_mesh *mesh = &m->layout.mesh;
    weft_range heads_of[WEFT_FOLD_PLACES];
    const weft_dealt_shape shape = {.rows = m->options.rows,
                                    .heads = (int)weft_range_size(m->layout.heads),
                                    .k_size = (int)c->head_dim,
                                    .v_size = (int)c->head_dim,
                                    .heads_of = mesh->shape.dense == WEFT_DENSE_MESH ? heads_of : NULL};
    for (int r = 0; r < mesh->shape.cp; r++) {
        const weft_mesh other = weft_mesh_at(&mesh->shape, r * mesh->shape.tp + mesh->tp_rank);
        const weft_range all = weft_layout_of(c, &other, 0).finished;
        heads_of[r] = (weft_range){all.begin - m->layout.heads.begin, all.end - m->layout.heads.begin};
    }
    return weft_dealt_create(mesh, &shape, &m->dealt);
}

static weft_status make_groups(weft_model *m)
{
    const weft_model_config *c = &m->config;
    const weft_mesh *mesh = &m->layout.mesh;
    const size_t rows = (size_t)m->options.rows, most = (size_t)weft_layout_vocab_most(c, mesh);
    WEFT_TRY(make_sums(m));
    if (mesh->dense)
        WEFT_TRY(weft_transfer_create(mesh->dense, WEFT_TRANSFER_GATHER, "embedded", rows * (size_t)c->hidden,
                                      mesh->times, &m->embedded));
    if (mesh->all && weft_comm_size(mesh->all) > 1)
        WEFT_TRY(weft_transfer_create(mesh->all, WEFT_TRANSFER_GATHER, "logits", (size_t)m->options.logit_rows * most,
                                      mesh->times, &m->found));
    if (!mesh->cp) return WEFT_OK;
    if (mesh->shape.dense == WEFT_DENSE_MESH)
        WEFT_TRY(weft_transfer_create(mesh->cp, WEFT_TRANSFER_GATHER, "projected",
                                      rows * (size_t)weft_layout_qkv_width(c, &m->layout), mesh->times, &m->projected));
    return make_dealt(m);
}

// ---- a model ----

static weft_status make_local(weft_model *m, const weft_cpu *cpu, const weft_checkpoint *checkpoint)
{
    const weft_model_config *c = &m->config;
    const weft_layout *l = &m->layout;
    const int64_t kv_heads = weft_range_size(l->kv_heads), each = c->heads / c->kv_heads;
    cutter at = {0};
    int key;
    WEFT_TRY(weft_weights_load(checkpoint, c, l, &m->options.weights, &m->op, m->device, &m->weights));
    m->attention = weft_attention_choose(cpu, m->op.table->isa, m->options.cache);
    if (m->options.weights.has_limit && m->options.attention_limit < m->attention)
        m->attention = m->options.attention_limit;
    m->first_head = calloc((size_t)kv_heads + 1, sizeof *m->first_head);
    if (!m->first_head) return weft_fail(WEFT_NO_MEMORY, "no memory for a model");
    for (int64_t i = 0; i <= kv_heads; i++) {
        const int64_t first = (l->kv_heads.begin + i) * each - l->heads.begin, all = weft_range_size(l->heads);
        m->first_head[i] = (int)(first < 0 ? 0 : first < all ? first : all);
    }
    cut_memory(m, &at);
    m->memory_bytes = at.used;
    WEFT_TRY(weft_device_alloc(m->device, at.used, &m->memory));
    at = (cutter){.base = m->memory};
    cut_memory(m, &at);
    return weft_model_rotation(m, 0, &key);
}

weft_status weft_model_create(const weft_op *op, const weft_cpu *cpu, weft_device *device, weft_model_config *config,
                              const weft_checkpoint *checkpoint, const weft_model_options *options, weft_model **out)
{
    const weft_weights_options *w = &options->weights;
    const bool codes = !w->as_stored && (w->type == WEFT_I8 || w->type == WEFT_I4);
    weft_comm *all = options->mesh ? options->mesh->all : NULL;
    weft_model *m = calloc(1, sizeof *m);
    weft_status status = m ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for a model");
    if (m) {
        m->op = *op;
        m->config = *config;
        *config = (weft_model_config){0};
        m->device = device;
        m->options = *options;
        m->layout = weft_layout_of(&m->config, options->mesh, codes ? w->group : 0);
        status = make_local(m, cpu, checkpoint);
    }
    WEFT_TRY_GOTO(all ? weft_comm_agree(all, status, NULL) : status);
    WEFT_TRY_GOTO(make_groups(m));
    *out = m;
    return WEFT_OK;
fail:
    weft_model_config_fini(config);
    weft_model_destroy(m);
    return status;
}

void weft_model_destroy(weft_model *model)
{
    if (!model) return;
    for (int i = 0; i < model->rotations; i++)
        for (int j = 0; j < WEFT_ROPES_MAX; j++) fini_rotation(&model->rotation[i].rope[j]);
    weft_dealt_destroy(model->dealt);
    weft_transfer_destroy(model->found);
    weft_transfer_destroy(model->projected);
    weft_transfer_destroy(model->embedded);
    weft_row_sum_destroy(model->expert_sum);
    if (model->down_sum != model->o_sum) weft_row_sum_destroy(model->down_sum);
    weft_row_sum_destroy(model->o_sum);
    free(model->first_head);
    weft_device_free(model->device, model->memory, model->memory_bytes);
    weft_weights_free(&model->weights);
    weft_model_config_fini(&model->config);
    free(model);
}

const weft_model_config *weft_model_config_of(const weft_model *model) { return &model->config; }

const weft_model_options *weft_model_options_of(const weft_model *model) { return &model->options; }

const weft_weights *weft_model_weights_of(const weft_model *model) { return &model->weights; }

const weft_layout *weft_model_layout_of(const weft_model *model) { return &model->layout; }

const char *weft_model_attention_name(const weft_model *model)
{
    static const char *const names[] = {"fma", "bf16dot", "amx"};
    return names[model->attention];
}
