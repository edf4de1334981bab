// Which ranges of which tensors fill each slot.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/checked.h"
#include "model/load.h"


// Memory for one more of a growing array.
static weft_status grow(void **array, size_t *room, size_t count, size_t size)
{
    if (count < *room) return WEFT_OK;
    const size_t wanted = *room ? *room * 2 : 256;
    void *larger = realloc(*array, wanted * size);
    if (!larger) return weft_fail(WEFT_NO_MEMORY, "no memory to plan the load");
    *array = larger;
    *room = wanted;
    return WEFT_OK;
}

static const weft_tensor_entry *find(const wi_planner *p, weft_part part, int64_t layer, int64_t expert)
{
    weft_expected expected;
    if (!weft_model_tensor(p->config, p->style, part, layer, expert, &expected)) return NULL;
    return weft_checkpoint_find(p->checkpoint, expected.name);
}

// ---- vectors ----

// `count` elements, every step-th, of row `row` of a tensor. Without a slot it stands right behind the last one.
static weft_status add_elements(wi_planner *p, const weft_tensor_entry *tensor, int64_t row, int64_t first,
                                int64_t step, int64_t count, const float **slot)
{
    wi_plan *plan = p->plan;
    WEFT_TRY(grow((void **)&plan->vector, &plan->vector_room, plan->vectors, sizeof *plan->vector));
    plan->vector[plan->vectors++] = (wi_vector){
        .slot = slot,
        .range = {.tensor = tensor, .row = row, .rows = 1, .columns = tensor->shape[tensor->rank - 1]},
        .first = first,
        .step = step,
        .count = count,
    };
    plan->floats += (size_t)count + 15; // each may begin anew, at a multiple of 16
    return WEFT_OK;
}

static weft_status add_vector(wi_planner *p, weft_part part, int64_t layer, const float **slot)
{
    const weft_tensor_entry *tensor = find(p, part, layer, -1);
    return tensor ? add_elements(p, tensor, 0, 0, 1, tensor->shape[0], slot) : WEFT_OK;
}

// Several vectors as one: the first has the slot.
static weft_status add_joined(wi_planner *p, const weft_part *parts, int count, int64_t layer, const float **slot)
{
    for (int i = 0; i < count; i++) WEFT_TRY(add_vector(p, parts[i], layer, i == 0 ? slot : NULL));
    return WEFT_OK;
}

// ---- matrices ----

static weft_family family_of(const wi_planner *p, weft_dtype type)
{
    if (p->options->has_family) return p->options->family;
    return weft_family_choose(p->options->cpu, p->op->table->isa, type);
}

static bool is_code(weft_dtype type) { return type == WEFT_I8 || type == WEFT_I4; }

// A matrix without sources. What is never quantized keeps the type of the embedding.
static weft_status add_matrix(wi_planner *p, weft_gemm_weight *weight, weft_fuse fuse, bool quantized, wi_matrix **out)
{
    wi_plan *plan = p->plan;
    const weft_dtype type = quantized || !is_code(p->weights->type) ? p->weights->type : p->weights->embedding_type;
    WEFT_TRY(grow((void **)&plan->matrix, &plan->matrix_room, plan->matrices, sizeof *plan->matrix));
    *out = &plan->matrix[plan->matrices++];
    **out = (wi_matrix){.weight = weight, .family = family_of(p, type), .type = type, .fuse = fuse};
    if (is_code(type)) (*out)->group = p->options->group;
    return WEFT_OK;
}

static void add_rows(wi_matrix *m, const weft_tensor_entry *tensor, int64_t row, int64_t rows)
{
    m->k = tensor->shape[tensor->rank - 1];
    m->source[m->count++] =
        (wi_source){.range = {.tensor = tensor, .row = row, .rows = rows, .columns = m->k}, .rows = rows};
}

// Rows that are columns of a slice (inputs, outputs) of a tensor of three dimensions.
static void add_columns(wi_matrix *m, const weft_tensor_entry *tensor, int64_t slice, int64_t first, int64_t step,
                        int64_t rows)
{
    m->k = tensor->shape[1];
    m->source[m->count++] = (wi_source){
        .range = {.tensor = tensor, .row = slice * m->k, .rows = m->k, .columns = tensor->shape[2]},
        .rows = rows,
        .first = first,
        .step = step,
    };
}

static void cut(wi_matrix *m, int64_t unit)
{
    m->cut = true;
    m->leaves = weft_leaves_of_units(m->k, unit);
}

static void cut_ffn(wi_matrix *m) { cut(m, m->group > 32 ? m->group : 32); }

// ---- a layer ----

static weft_status plan_attention(wi_planner *p, int64_t layer)
{
    static const weft_part biases[] = {WEFT_PART_Q_BIAS, WEFT_PART_K_BIAS, WEFT_PART_V_BIAS};
    weft_layer_weights *w = &p->weights->layer[layer];
    const weft_tensor_entry *qkv = find(p, WEFT_PART_QKV, layer, -1);
    wi_matrix *m;
    WEFT_TRY(add_matrix(p, &w->qkv, WEFT_FUSE_STACK, true, &m));
    if (qkv) {
        add_rows(m, qkv, 0, qkv->shape[0]);
    } else {
        for (int part = WEFT_PART_Q; part <= WEFT_PART_V; part++) {
            const weft_tensor_entry *one = find(p, (weft_part)part, layer, -1);
            add_rows(m, one, 0, one->shape[0]);
        }
    }
    WEFT_TRY(add_matrix(p, &w->o, WEFT_FUSE_STACK, true, &m));
    add_rows(m, find(p, WEFT_PART_O, layer, -1), 0, p->config->hidden);
    cut(m, p->config->head_dim);
    WEFT_TRY(add_joined(p, biases, 3, layer, &w->qkv_bias));
    WEFT_TRY(add_vector(p, WEFT_PART_O_BIAS, layer, &w->o_bias));
    WEFT_TRY(add_vector(p, WEFT_PART_SINKS, layer, &w->sinks));
    WEFT_TRY(add_vector(p, WEFT_PART_Q_NORM, layer, &w->q_norm));
    WEFT_TRY(add_vector(p, WEFT_PART_K_NORM, layer, &w->k_norm));
    WEFT_TRY(add_vector(p, WEFT_PART_INPUT_NORM, layer, &w->input_norm));
    WEFT_TRY(add_vector(p, WEFT_PART_AFTER_ATTENTION_NORM, layer, &w->after_attention_norm));
    WEFT_TRY(add_vector(p, WEFT_PART_FFN_NORM, layer, &w->ffn_norm));
    return add_vector(p, WEFT_PART_AFTER_FFN_NORM, layer, &w->after_ffn_norm);
}

static weft_status plan_dense(wi_planner *p, int64_t layer)
{
    static const weft_part biases[] = {WEFT_PART_GATE_BIAS, WEFT_PART_UP_BIAS};
    weft_ffn_weights *w = &p->weights->layer[layer].ffn;
    const weft_tensor_entry *both = find(p, WEFT_PART_GATE_UP, layer, -1);
    const int64_t ffn = p->config->ffn;
    wi_matrix *m;
    WEFT_TRY(add_matrix(p, &w->gate_up, WEFT_FUSE_GATE, true, &m));
    add_rows(m, both ? both : find(p, WEFT_PART_GATE, layer, -1), 0, ffn);
    add_rows(m, both ? both : find(p, WEFT_PART_UP, layer, -1), both ? ffn : 0, ffn);
    WEFT_TRY(add_matrix(p, &w->down, WEFT_FUSE_STACK, true, &m));
    add_rows(m, find(p, WEFT_PART_DOWN, layer, -1), 0, p->config->hidden);
    cut_ffn(m);
    WEFT_TRY(add_joined(p, biases, 2, layer, &w->gate_up_bias));
    return add_vector(p, WEFT_PART_DOWN_BIAS, layer, &w->down_bias);
}

static weft_status plan_expert(wi_planner *p, int64_t layer, int64_t expert, weft_ffn_weights *w)
{
    const int64_t ffn = p->config->expert_ffn;
    wi_matrix *m;
    WEFT_TRY(add_matrix(p, &w->gate_up, WEFT_FUSE_GATE, true, &m));
    add_rows(m, find(p, WEFT_PART_EXPERT_GATE, layer, expert), 0, ffn);
    add_rows(m, find(p, WEFT_PART_EXPERT_UP, layer, expert), 0, ffn);
    WEFT_TRY(add_matrix(p, &w->down, WEFT_FUSE_STACK, true, &m));
    add_rows(m, find(p, WEFT_PART_EXPERT_DOWN, layer, expert), 0, p->config->hidden);
    cut_ffn(m);
    return WEFT_OK;
}

// One of the experts of gpt-oss, where gate and up take turns as columns.
static weft_status plan_stacked_expert(wi_planner *p, int64_t layer, int64_t expert, weft_ffn_weights *w)
{
    const weft_tensor_entry *gate_up = find(p, WEFT_PART_EXPERTS_GATE_UP, layer, -1),
                            *down = find(p, WEFT_PART_EXPERTS_DOWN, layer, -1),
                            *gate_up_bias = find(p, WEFT_PART_EXPERTS_GATE_UP_BIAS, layer, -1),
                            *down_bias = find(p, WEFT_PART_EXPERTS_DOWN_BIAS, layer, -1);
    const int64_t ffn = p->config->expert_ffn, hidden = p->config->hidden;
    wi_matrix *m;
    WEFT_TRY(add_matrix(p, &w->gate_up, WEFT_FUSE_STACK, true, &m));
    add_columns(m, gate_up, expert, 0, 2, ffn);
    add_columns(m, gate_up, expert, 1, 2, ffn);
    WEFT_TRY(add_matrix(p, &w->down, WEFT_FUSE_STACK, true, &m));
    add_columns(m, down, expert, 0, 1, hidden);
    cut_ffn(m);
    WEFT_TRY(add_elements(p, gate_up_bias, expert, 0, 2, ffn, &w->gate_up_bias));
    WEFT_TRY(add_elements(p, gate_up_bias, expert, 1, 2, ffn, NULL));
    return add_elements(p, down_bias, expert, 0, 1, hidden, &w->down_bias);
}

static weft_status plan_experts(wi_planner *p, int64_t layer)
{
    weft_layer_weights *w = &p->weights->layer[layer];
    const weft_tensor_entry *router = find(p, WEFT_PART_ROUTER, layer, -1);
    const bool stacked = find(p, WEFT_PART_EXPERTS_DOWN, layer, -1) != NULL;
    wi_matrix *m;
    WEFT_TRY(add_matrix(p, &w->router, WEFT_FUSE_STACK, false, &m));
    add_rows(m, router, 0, router->shape[0]);
    WEFT_TRY(add_vector(p, WEFT_PART_ROUTER_BIAS, layer, &w->router_bias));
    w->expert = calloc((size_t)p->config->experts, sizeof *w->expert);
    if (!w->expert) return weft_fail(WEFT_NO_MEMORY, "no memory for %" PRId64 " experts", p->config->experts);
    for (int64_t e = 0; e < p->config->experts; e++)
        WEFT_TRY(stacked ? plan_stacked_expert(p, layer, e, &w->expert[e]) : plan_expert(p, layer, e, &w->expert[e]));
    return WEFT_OK;
}

// ---- the whole ----

weft_gemm_source wi_matrix_source(const wi_matrix *m, int index)
{
    static const float nothing;
    const bool code = is_code(m->type);
    return (weft_gemm_source){
        .type = m->type,
        .n = m->source[index].rows,
        .k = m->k,
        .row_bytes = (size_t)m->k * (size_t)weft_dtype_bits(m->type) / 8,
        .scales = code ? &nothing : NULL, // only whether there are any is looked at
        .scale_type = WEFT_F32,
        .group = code ? m->group : 0,
    };
}

static weft_status measure(wi_plan *plan)
{
    size_t all = 0, bytes;
    for (size_t i = 0; i < plan->matrices; i++) {
        wi_matrix *m = &plan->matrix[i];
        weft_gemm_source sources[WI_SOURCES_MAX];
        for (int s = 0; s < m->count; s++) sources[s] = wi_matrix_source(m, s);
        WEFT_TRY(weft_gemm_pack_bytes(m->family, sources, m->count, m->fuse, m->cut ? &m->leaves : NULL, &m->bytes));
        if (!weft_size_add(all, m->bytes, &all)) return weft_fail(WEFT_OVERFLOW, "the weights do not fit memory");
    }
    if (!weft_size_add(all, plan->floats * sizeof(float), &bytes))
        return weft_fail(WEFT_OVERFLOW, "the weights do not "
                                        "fit memory");
    plan->bytes = bytes;
    return WEFT_OK;
}

weft_status wi_plan_make(wi_planner *p)
{
    const weft_model_config *c = p->config;
    const weft_tensor_entry *embedding = find(p, WEFT_PART_EMBEDDING, -1, -1), *head = find(p, WEFT_PART_HEAD, -1, -1);
    weft_weights *w = p->weights;
    wi_matrix *m;
    w->type = p->options->as_stored ? embedding->type : p->options->type;
    w->embedding_type = is_code(w->type) ? embedding->type : w->type;
    w->layer = calloc((size_t)c->layers, sizeof *w->layer);
    if (!w->layer) return weft_fail(WEFT_NO_MEMORY, "no memory for %" PRId64 " layers", c->layers);
    p->plan->embedding = (weft_read){.tensor = embedding, .rows = c->vocab, .columns = c->hidden};
    for (int64_t i = 0; i < c->layers; i++) {
        WEFT_TRY(plan_attention(p, i));
        WEFT_TRY(c->layer[i].moe ? plan_experts(p, i) : plan_dense(p, i));
    }
    WEFT_TRY(add_vector(p, WEFT_PART_FINAL_NORM, -1, &w->final_norm));
    WEFT_TRY(add_matrix(p, &w->head, WEFT_FUSE_STACK, false, &m));
    add_rows(m, head ? head : embedding, 0, c->vocab);
    WEFT_TRY(measure(p->plan));
    p->plan->bytes += (uint64_t)c->vocab * (uint64_t)c->hidden * (uint64_t)weft_dtype_bits(w->embedding_type) / 8;
    return WEFT_OK;
}

void wi_plan_free(wi_plan *plan)
{
    free(plan->matrix);
    free(plan->vector);
    *plan = (wi_plan){0};
}
