// Which tensors become which weights, layer by layer.
#include "model/weights.h"

#include <stdlib.h>
#include <string.h>

#include "core/checked.h"
#include "model/weights_impl.h"

enum { UNIT = 32 };                                 // columns of the FFN that no leaf divides
static const size_t ARENA_BYTES = (size_t)16 << 30; // address space; memory comes as it is used

void *wi_load_memory(wi_loader *loader, size_t bytes)
{
    weft_weights_store *store = loader->weights->store;
    void *memory = NULL;
    if (store->block_count == store->block_capacity) {
        const size_t capacity = store->block_capacity ? store->block_capacity * 2 : 256;
        wi_block *blocks = WEFT_PUSH(&store->arena, wi_block, capacity);
        if (!blocks) return NULL;
        if (store->block_count) memcpy(blocks, store->blocks, store->block_count * sizeof *blocks);
        store->blocks = blocks;
        store->block_capacity = capacity;
    }
    if (weft_device_alloc(store->device, bytes, &memory) < 0) return NULL;
    store->blocks[store->block_count++] = (wi_block){memory, bytes};
    loader->weights->bytes += bytes;
    return memory;
}

static void *push(wi_loader *loader, size_t count, size_t size)
{
    void *memory = weft_arena_push(&loader->weights->store->arena, count, size, 64);
    if (!memory) weft_fail(WEFT_NO_MEMORY, "no memory for %zu pieces of %zu bytes of weights", count, size);
    return memory;
}

void wi_load_advance(wi_loader *loader, size_t bytes)
{
    loader->done += bytes;
    if (loader->options->progress) loader->options->progress(loader->options->progress_arg, loader->done, loader->all);
}

weft_status wi_load_find(wi_loader *loader, weft_part part, int64_t layer, int64_t expert, wi_matrix *out)
{
    weft_expected expected;
    if (!weft_model_tensor(loader->config, loader->style, part, layer, expert, &expected))
        return weft_fail(WEFT_INTERNAL, "the model has no part %d in layer %lld", (int)part, (long long)layer);
    const weft_tensor_entry *tensor = weft_checkpoint_find(loader->checkpoint, expected.name);
    if (!tensor) return weft_fail(WEFT_NOT_FOUND, "the checkpoint lacks %s", expected.name);
    int64_t n = 1;
    for (int i = 0; i + 1 < expected.rank; i++) n *= expected.shape[i];
    *out = (wi_matrix){.tensor = tensor, .type = tensor->type, .n = n, .k = expected.shape[expected.rank - 1]};
    return WEFT_OK;
}

weft_status wi_load_floats(wi_loader *loader, const wi_matrix *matrix, float *out)
{
    const size_t bytes = (size_t)matrix->k * (size_t)weft_dtype_bits(matrix->type) / 8;
    const size_t count = (size_t)matrix->n * (size_t)matrix->k;
    const weft_op op = {.table = loader->op.table};
    void *room = malloc(bytes * (size_t)matrix->n + 1);
    if (!room) return weft_fail(WEFT_NO_MEMORY, "no memory for tensor %s", matrix->tensor->name);
    const weft_read range = {.tensor = matrix->tensor,
                             .row = matrix->row,
                             .rows = matrix->n,
                             .columns = matrix->k,
                             .to = room,
                             .to_stride = bytes};
    const weft_status status = weft_checkpoint_read(loader->checkpoint, &range, 1, &(weft_read_options){0});
    if (status == WEFT_OK) {
        op.table->rows.convert(&op, out, WEFT_F32, room, matrix->type, count);
        wi_load_advance(loader, bytes * (size_t)matrix->n);
    }
    free(room);
    return status;
}

weft_status wi_load_vector(wi_loader *loader, weft_part part, int64_t layer, const float **out)
{
    wi_matrix matrix;
    WEFT_TRY(wi_load_find(loader, part, layer, -1, &matrix));
    float *memory = push(loader, (size_t)matrix.n * (size_t)matrix.k, sizeof *memory);
    if (!memory) return WEFT_NO_MEMORY;
    *out = memory;
    return wi_load_floats(loader, &matrix, memory);
}

// The biases of several parts, one behind the other.
static weft_status load_biases(wi_loader *l, const weft_part *parts, int count, int64_t layer, const float **out)
{
    wi_matrix m[3];
    size_t all = 0;
    for (int i = 0; i < count; i++) {
        WEFT_TRY(wi_load_find(l, parts[i], layer, -1, &m[i]));
        all += (size_t)m[i].k;
    }
    float *memory = push(l, all, sizeof *memory);
    if (!memory) return WEFT_NO_MEMORY;
    *out = memory;
    for (int i = 0; i < count; memory += m[i++].k) WEFT_TRY(wi_load_floats(l, &m[i], memory));
    return WEFT_OK;
}

static wi_linear_plan plan_of(const wi_loader *l, const wi_matrix *matrix, int count, weft_fuse fuse, int64_t unit)
{
    return (wi_linear_plan){.matrix = matrix,
                            .count = count,
                            .fuse = fuse,
                            .unit = unit,
                            .type = l->options->type,
                            .group = l->options->group,
                            .family = l->options->family};
}

// Rows `from` to `from + rows` of a matrix.
static wi_matrix rows_of(wi_matrix matrix, int64_t from, int64_t rows)
{
    matrix.row += from;
    matrix.n = rows;
    return matrix;
}

static weft_status load_attention(wi_loader *l, int64_t layer, weft_layer_weights *w)
{
    const weft_model_config *c = l->config;
    wi_matrix qkv[3], o;
    int count = 3;
    weft_expected fused;
    if (weft_model_tensor(c, l->style, WEFT_PART_QKV, layer, -1, &fused)) {
        count = 1;
        WEFT_TRY(wi_load_find(l, WEFT_PART_QKV, layer, -1, &qkv[0]));
    } else {
        WEFT_TRY(wi_load_find(l, WEFT_PART_Q, layer, -1, &qkv[0]));
        WEFT_TRY(wi_load_find(l, WEFT_PART_K, layer, -1, &qkv[1]));
        WEFT_TRY(wi_load_find(l, WEFT_PART_V, layer, -1, &qkv[2]));
    }
    wi_linear_plan plan = plan_of(l, qkv, count, WEFT_FUSE_STACK, 0);
    WEFT_TRY(wi_load_linear(l, &plan, &w->qkv));
    WEFT_TRY(wi_load_find(l, WEFT_PART_O, layer, -1, &o));
    plan = plan_of(l, &o, 1, WEFT_FUSE_STACK, c->head_dim);
    WEFT_TRY(wi_load_linear(l, &plan, &w->o));
    const weft_part biases[] = {WEFT_PART_Q_BIAS, WEFT_PART_K_BIAS, WEFT_PART_V_BIAS};
    if (c->qkv_bias) WEFT_TRY(load_biases(l, biases, 3, layer, &w->qkv.bias));
    if (c->o_bias) WEFT_TRY(wi_load_vector(l, WEFT_PART_O_BIAS, layer, &w->o.bias));
    if (c->sinks) WEFT_TRY(wi_load_vector(l, WEFT_PART_SINKS, layer, &w->sinks));
    if (c->qk_norm) {
        WEFT_TRY(wi_load_vector(l, WEFT_PART_Q_NORM, layer, &w->q_norm));
        WEFT_TRY(wi_load_vector(l, WEFT_PART_K_NORM, layer, &w->k_norm));
    }
    return WEFT_OK;
}

static weft_status load_gate_and_down(wi_loader *l, const wi_matrix gate_up[2], const wi_matrix *down,
                                      weft_ffn_weights *w)
{
    wi_linear_plan plan = plan_of(l, gate_up, 2, l->weights->fused ? WEFT_FUSE_GATE : WEFT_FUSE_STACK, 0);
    WEFT_TRY(wi_load_linear(l, &plan, &w->gate_up));
    const int64_t unit = l->options->group > UNIT ? l->options->group : UNIT;
    plan = plan_of(l, down, 1, WEFT_FUSE_STACK, unit);
    return wi_load_linear(l, &plan, &w->down);
}

static weft_status load_dense(wi_loader *l, int64_t layer, weft_ffn_weights *w)
{
    const weft_model_config *c = l->config;
    wi_matrix gate_up[2], down;
    weft_expected fused;
    if (weft_model_tensor(c, l->style, WEFT_PART_GATE_UP, layer, -1, &fused)) {
        wi_matrix both;
        WEFT_TRY(wi_load_find(l, WEFT_PART_GATE_UP, layer, -1, &both));
        gate_up[0] = rows_of(both, 0, c->ffn);
        gate_up[1] = rows_of(both, c->ffn, c->ffn);
    } else {
        WEFT_TRY(wi_load_find(l, WEFT_PART_GATE, layer, -1, &gate_up[0]));
        WEFT_TRY(wi_load_find(l, WEFT_PART_UP, layer, -1, &gate_up[1]));
    }
    WEFT_TRY(wi_load_find(l, WEFT_PART_DOWN, layer, -1, &down));
    WEFT_TRY(load_gate_and_down(l, gate_up, &down, w));
    const weft_part biases[] = {WEFT_PART_GATE_BIAS, WEFT_PART_UP_BIAS};
    if (c->ffn_bias) {
        WEFT_TRY(load_biases(l, biases, 2, layer, &w->gate_up.bias));
        WEFT_TRY(wi_load_vector(l, WEFT_PART_DOWN_BIAS, layer, &w->down.bias));
    }
    return WEFT_OK;
}

// An expert as gpt-oss stores it: inputs by outputs, gate and up taking turns. It is turned over in f32.
static weft_status load_turned_expert(wi_loader *l, int64_t layer, int64_t expert, weft_ffn_weights *w)
{
    const weft_model_config *c = l->config;
    const int64_t h = c->hidden, f = c->expert_ffn;
    wi_matrix in, down_in, bias;
    WEFT_TRY(wi_load_find(l, WEFT_PART_EXPERTS_GATE_UP, layer, -1, &in));
    WEFT_TRY(wi_load_find(l, WEFT_PART_EXPERTS_DOWN, layer, -1, &down_in));
    const size_t size = (size_t)h * (size_t)f * sizeof(float);
    float *flat = malloc(2 * size), *turned = malloc(3 * size);
    weft_status status =
        flat && turned ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory to turn an expert of %zu bytes over", 3 * size);
    if (status == WEFT_OK)
        status = wi_load_floats(l, &(wi_matrix){in.tensor, expert * h, NULL, in.type, 0, h, 2 * f}, flat);
    for (int64_t i = 0; i < h && status == WEFT_OK; i++)
        for (int64_t j = 0; j < 2 * f; j++) turned[((j & 1) * f + j / 2) * h + i] = flat[i * 2 * f + j];
    if (status == WEFT_OK)
        status = wi_load_floats(l, &(wi_matrix){down_in.tensor, expert * f, NULL, down_in.type, 0, f, h}, flat);
    float *down_at = turned ? turned + 2 * f * h : NULL;
    for (int64_t i = 0; i < f && status == WEFT_OK; i++)
        for (int64_t j = 0; j < h; j++) down_at[j * f + i] = flat[i * h + j];
    const size_t h_bytes = (size_t)h * sizeof(float), f_bytes = (size_t)f * sizeof(float);
    const wi_matrix gate_up[2] = {
        {.data = turned, .type = WEFT_F32, .stride = h_bytes, .n = f, .k = h},
        {.data = turned ? turned + f * h : NULL, .type = WEFT_F32, .stride = h_bytes, .n = f, .k = h}};
    const wi_matrix down = {.data = down_at, .type = WEFT_F32, .stride = f_bytes, .n = h, .k = f};
    if (status == WEFT_OK) status = load_gate_and_down(l, gate_up, &down, w);
    free(flat);
    free(turned);
    if (status != WEFT_OK || !c->ffn_bias) return status;
    float *both = push(l, 2 * (size_t)f, sizeof *both), *turns = push(l, 2 * (size_t)f, sizeof *turns);
    float *down_bias = push(l, (size_t)h, sizeof *down_bias);
    if (!both || !turns || !down_bias) return WEFT_NO_MEMORY;
    WEFT_TRY(wi_load_find(l, WEFT_PART_EXPERTS_GATE_UP_BIAS, layer, -1, &bias));
    WEFT_TRY(wi_load_floats(l, &(wi_matrix){bias.tensor, expert, NULL, bias.type, 0, 1, 2 * f}, turns));
    for (int64_t j = 0; j < 2 * f; j++) both[(j & 1) * f + j / 2] = turns[j];
    WEFT_TRY(wi_load_find(l, WEFT_PART_EXPERTS_DOWN_BIAS, layer, -1, &bias));
    WEFT_TRY(wi_load_floats(l, &(wi_matrix){bias.tensor, expert, NULL, bias.type, 0, 1, h}, down_bias));
    w->gate_up.bias = both;
    w->down.bias = down_bias;
    return WEFT_OK;
}

static weft_status load_expert(wi_loader *l, int64_t layer, int64_t expert, weft_ffn_weights *w)
{
    wi_matrix gate_up[2], down;
    weft_expected turned;
    if (weft_model_tensor(l->config, l->style, WEFT_PART_EXPERTS_DOWN, layer, -1, &turned))
        return load_turned_expert(l, layer, expert, w);
    WEFT_TRY(wi_load_find(l, WEFT_PART_EXPERT_GATE, layer, expert, &gate_up[0]));
    WEFT_TRY(wi_load_find(l, WEFT_PART_EXPERT_UP, layer, expert, &gate_up[1]));
    WEFT_TRY(wi_load_find(l, WEFT_PART_EXPERT_DOWN, layer, expert, &down));
    return load_gate_and_down(l, gate_up, &down, w);
}

// The router multiplies by f32 FMA whatever the family: which experts are chosen is worth the bits.
static weft_status load_router(wi_loader *l, int64_t layer, weft_linear *out)
{
    wi_matrix matrix;
    WEFT_TRY(wi_load_find(l, WEFT_PART_ROUTER, layer, -1, &matrix));
    const wi_linear_plan plan = {.matrix = &matrix, .count = 1, .type = WEFT_F32, .family = WEFT_FAMILY_FMA};
    WEFT_TRY(wi_load_linear(l, &plan, out));
    return l->config->route_bias ? wi_load_vector(l, WEFT_PART_ROUTER_BIAS, layer, &out->bias) : WEFT_OK;
}

static weft_status load_layer(wi_loader *l, int64_t layer, weft_layer_weights *w)
{
    const weft_model_config *c = l->config;
    WEFT_TRY(wi_load_vector(l, WEFT_PART_INPUT_NORM, layer, &w->input_norm));
    WEFT_TRY(wi_load_vector(l, WEFT_PART_FFN_NORM, layer, &w->ffn_norm));
    if (c->sandwich) {
        WEFT_TRY(wi_load_vector(l, WEFT_PART_AFTER_ATTENTION_NORM, layer, &w->after_attention_norm));
        WEFT_TRY(wi_load_vector(l, WEFT_PART_AFTER_FFN_NORM, layer, &w->after_ffn_norm));
    }
    WEFT_TRY(load_attention(l, layer, w));
    if (!c->layer[layer].moe) return load_dense(l, layer, &w->dense);
    WEFT_TRY(load_router(l, layer, &w->router));
    w->expert = push(l, (size_t)c->experts, sizeof *w->expert);
    if (!w->expert) return WEFT_NO_MEMORY;
    for (int64_t e = 0; e < c->experts; e++) WEFT_TRY(load_expert(l, layer, e, &w->expert[e]));
    return WEFT_OK;
}

// The embedding stays as the checkpoint has it: rows are looked up and never multiplied. A tied head is packed from it.
static weft_status load_ends(wi_loader *l)
{
    weft_weights *w = l->weights;
    wi_matrix embedding, head;
    WEFT_TRY(wi_load_find(l, WEFT_PART_EMBEDDING, -1, -1, &embedding));
    const size_t row = (size_t)embedding.k * (size_t)weft_dtype_bits(embedding.type) / 8;
    void *memory = wi_load_memory(l, row * (size_t)embedding.n);
    if (!memory) return WEFT_NO_MEMORY;
    const weft_read range = {
        .tensor = embedding.tensor, .rows = embedding.n, .columns = embedding.k, .to = memory, .to_stride = row};
    WEFT_TRY(weft_checkpoint_read(l->checkpoint, &range, 1, &(weft_read_options){.team = l->op.team}));
    wi_load_advance(l, row * (size_t)embedding.n);
    w->embedding = memory;
    w->embedding_type = embedding.type;
    WEFT_TRY(wi_load_vector(l, WEFT_PART_FINAL_NORM, -1, &w->final_norm));
    if (l->config->tied)
        head = (wi_matrix){.data = memory, .type = embedding.type, .stride = row, .n = embedding.n, .k = embedding.k};
    else
        WEFT_TRY(wi_load_find(l, WEFT_PART_HEAD, -1, -1, &head));
    const wi_linear_plan plan = plan_of(l, &head, 1, WEFT_FUSE_STACK, 0);
    return wi_load_linear(l, &plan, &w->head);
}

weft_status weft_weights_load(const weft_op *op, weft_device *device, const weft_model_config *config,
                              const weft_checkpoint *checkpoint, const weft_weights_options *options,
                              weft_weights **out)
{
    weft_status status;
    wi_loader l = {.op = *op,
                   .threads = op->team ? (size_t)weft_team_threads(op->team) : 1,
                   .device = device,
                   .config = config,
                   .checkpoint = checkpoint,
                   .options = options,
                   .all = (size_t)weft_checkpoint_bytes(checkpoint)};
    WEFT_TRY_GOTO(weft_checkpoint_check(checkpoint, config, &l.style));
    weft_weights *w = l.weights = calloc(1, sizeof *w);
    if (!w || !(w->store = calloc(1, sizeof *w->store)))
        WEFT_TRY_GOTO(weft_fail(WEFT_NO_MEMORY, "no memory for a model's weights"));
    w->store->device = device;
    WEFT_TRY_GOTO(weft_arena_init(&w->store->arena, ARENA_BYTES));
    w->type = options->type;
    w->family = options->family;
    w->fused = config->ffn_kind != WEFT_FFN_CLAMPED_SWISH;
    w->layer = push(&l, (size_t)config->layers, sizeof *w->layer);
    WEFT_TRY_GOTO(w->layer ? WEFT_OK : WEFT_NO_MEMORY);
    WEFT_TRY_GOTO(load_ends(&l));
    for (int64_t i = 0; i < config->layers; i++) WEFT_TRY_GOTO(load_layer(&l, i, &w->layer[i]));
    *out = w;
    return WEFT_OK;
fail:
    weft_weights_destroy(l.weights);
    return status;
}

void weft_weights_destroy(weft_weights *weights)
{
    if (!weights) return;
    weft_weights_store *store = weights->store;
    if (store) {
        while (store->block_count > 0) {
            const wi_block *block = &store->blocks[--store->block_count];
            weft_device_free(store->device, block->memory, block->bytes);
        }
        weft_arena_fini(&store->arena);
    }
    free(store);
    free(weights);
}
