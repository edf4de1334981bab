// A model's memory: weights, tables of rotations, and what one forward pass writes.
#include "model/model.h"

#include <math.h>
#include <stdlib.h>

#include "core/checked.h"
#include "model/model_impl.h"

static void fini_rotation(weft_device *device, wi_rotation *r)
{
    weft_device_free(device, r->cos, r->bytes);
    *r = (wi_rotation){0};
}

size_t wi_rotation_bytes(const weft_rope_config *rope, int64_t positions)
{
    return (2 * (size_t)positions + 1) * ((size_t)rope->rotary / 2) * sizeof(float);
}

static weft_status make_rotation(const weft_model *model, int rope, int64_t length, wi_rotation *out)
{
    const weft_rope_config *r = &model->config.ropes[rope];
    const size_t half = (size_t)r->rotary / 2, positions = (size_t)model->options.positions;
    const size_t bytes = wi_rotation_bytes(r, model->options.positions);
    void *memory;
    float *table = malloc(bytes);
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
    weft_status status = weft_device_alloc(model->device, bytes, &memory);
    if (status == WEFT_OK) {
        *out = (wi_rotation){.cos = memory, .sin = (float *)memory + positions * half, .bytes = bytes};
        status = model->device->ops->copy_in(model->device, memory, table, bytes);
    }
    free(table);
    return status;
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

weft_cache_cut weft_model_cache_cut(const weft_model *model, int block, weft_cache *layers, int *group_of)
{
    return weft_layout_cache(&model->config, &model->layout, model->options.cache, block, layers, group_of);
}

// ---- what ranks share ----

static weft_status make_sums(weft_model *m, const wi_groups *g)
{
    const weft_mesh *mesh = &m->layout.mesh;
    WEFT_TRY(weft_row_sum_create(mesh, m->op.table, "o", &g->o, &m->o_sum));
    if (g->has_down) WEFT_TRY(weft_row_sum_create(mesh, m->op.table, "down", &g->down, &m->down_sum));
    if (!g->has_down) m->down_sum = m->o_sum;
    return g->has_experts ? weft_row_sum_create(mesh, m->op.table, "experts", &g->experts, &m->expert_sum) : WEFT_OK;
}

static weft_status make_groups(weft_model *m)
{
    const weft_mesh *mesh = &m->layout.mesh;
    wi_groups g;
    wi_groups_of(&m->config, &m->layout, &m->options, &g);
    WEFT_TRY(make_sums(m, &g));
    if (g.embedded)
        WEFT_TRY(weft_transfer_create(mesh, mesh->dense, WEFT_TRANSFER_GATHER, "embedded", g.embedded, &m->embedded));
    if (g.looked)
        WEFT_TRY(weft_transfer_create(mesh, mesh->dense, WEFT_TRANSFER_DEAL, "looked up", g.looked, &m->looked));
    if (g.said) WEFT_TRY(weft_transfer_create(mesh, mesh->dense, WEFT_TRANSFER_DEAL, "experts", g.said, &m->said));
    m->piece_rows = weft_mesh_piece_rows(mesh);
    if (g.joined) WEFT_TRY(weft_transfer_create_pieces(mesh, mesh->dense, g.pieces, "joined", g.joined, &m->joined));
    if (g.found) WEFT_TRY(weft_transfer_create(mesh, mesh->all, WEFT_TRANSFER_GATHER, "logits", g.found, &m->found));
    if (g.projected)
        WEFT_TRY(weft_transfer_create(mesh, mesh->cp, WEFT_TRANSFER_GATHER, "projected", g.projected, &m->projected));
    return g.has_dealt ? weft_dealt_create(mesh, &g.dealt, &m->dealt) : WEFT_OK;
}

// ---- a model ----

static weft_status make_local(weft_model *m, const weft_cpu *cpu)
{
    const weft_model_config *c = &m->config;
    const weft_layout *l = &m->layout;
    const int64_t kv_heads = weft_range_size(l->kv_heads), each = c->heads / c->kv_heads;
    wi_cutter at = {0}, books = {0};
    int key;
    m->attention = m->op.table->capability ? weft_attention_of_device(m->op.table->capability, m->options.cache)
                                           : weft_attention_choose(cpu, m->op.table->isa, m->options.cache);
    if (m->options.weights.has_limit && m->options.attention_limit < m->attention)
        m->attention = m->options.attention_limit;
    m->first_head = calloc((size_t)kv_heads + 1, sizeof *m->first_head);
    if (!m->first_head) return weft_fail(WEFT_NO_MEMORY, "no memory for a model");
    for (int64_t i = 0; i <= kv_heads; i++) {
        const int64_t first = (l->kv_heads.begin + i) * each - l->heads.begin, all = weft_range_size(l->heads);
        m->first_head[i] = (int)(first < 0 ? 0 : first < all ? first : all);
    }
    wi_model_cut(m, &at);
    m->memory_bytes = at.used;
    WEFT_TRY(weft_device_alloc(m->device, at.used, &m->memory));
    at = (wi_cutter){.base = m->memory};
    wi_model_cut(m, &at);
    wi_model_cut_books(m, &books);
    m->books = calloc(1, books.used + 1);
    if (!m->books) return weft_fail(WEFT_NO_MEMORY, "no memory for a model");
    books = (wi_cutter){.base = m->books};
    wi_model_cut_books(m, &books);
    return weft_model_rotation(m, 0, &key);
}

weft_status weft_model_create(const weft_op *op, const weft_cpu *cpu, weft_device *device, weft_model_config *config,
                              const weft_checkpoint *checkpoint, const weft_model_options *options, weft_model **out)
{
    weft_comm *all = options->mesh ? options->mesh->all : NULL;
    weft_model *m = calloc(1, sizeof *m);
    weft_status status = m ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for a model");
    WEFT_TRY_GOTO(all ? weft_comm_agree(all, status, NULL) : status);
    m->op = *op;
    m->config = *config;
    *config = (weft_model_config){0};
    m->device = device;
    m->options = *options;
    m->layout = weft_layout_of(&m->config, options->mesh, weft_weights_group(&m->config, &options->weights));
    // Together, and failed on all ranks alike; what comes then is this rank's alone.
    m->options.weights.capability = op->table->capability;
    WEFT_TRY_GOTO(weft_weights_load(checkpoint, &m->config, &m->layout, &m->options.weights,
                                    options->host ? options->host : op, device, &m->weights));
    status = make_local(m, cpu);
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
        for (int j = 0; j < WEFT_ROPES_MAX; j++) fini_rotation(model->device, &model->rotation[i].rope[j]);
    weft_dealt_destroy(model->dealt);
    weft_transfer_destroy(model->found);
    weft_transfer_destroy(model->projected);
    weft_transfer_destroy(model->embedded);
    weft_transfer_destroy(model->looked);
    weft_row_sum_destroy(model->expert_sum);
    weft_transfer_destroy(model->said);
    weft_transfer_destroy(model->joined);
    if (model->down_sum != model->o_sum) weft_row_sum_destroy(model->down_sum);
    weft_row_sum_destroy(model->o_sum);
    free(model->first_head);
    free(model->books);
    weft_device_free(model->device, model->memory, model->memory_bytes);
    weft_weights_free(&model->weights);
    weft_model_config_fini(&model->config);
    free(model);
}

const weft_model_config *weft_model_config_of(const weft_model *model) { return &model->config; }

const weft_model_options *weft_model_options_of(const weft_model *model) { return &model->options; }

const weft_weights *weft_model_weights_of(const weft_model *model) { return &model->weights; }

const weft_layout *weft_model_layout_of(const weft_model *model) { return &model->layout; }

const weft_op *weft_model_op_of(const weft_model *model) { return &model->op; }

const char *weft_model_attention_name(const weft_model *model)
{
    static const char *const names[] = {"fma", "bf16dot", "amx", "mma", "wgmma"};
    return names[model->attention];
}
