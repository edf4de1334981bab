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

// Where a checkpoint of e4m3 has it.
static bool is_linear(weft_part part)
{
    return (part >= WEFT_PART_Q && part <= WEFT_PART_O) || (part >= WEFT_PART_GATE && part <= WEFT_PART_DOWN) ||
           (part >= WEFT_PART_EXPERT_GATE && part <= WEFT_PART_EXPERT_DOWN);
}

static const weft_tensor_entry *find(const wi_planner *p, weft_part part, int64_t layer, int64_t expert)
{
    weft_expected expected;
    if (!weft_model_tensor(p->config, p->style, part, layer, expert, &expected)) return NULL;
    if (p->checkpoint) return weft_checkpoint_find(p->checkpoint, expected.name);
    weft_tensor_entry *entry = &p->expected[part];
    *entry = (weft_tensor_entry){.type = p->config->fp8_rows && is_linear(part) ? WEFT_E4M3 : p->stored,
                                 .rank = expected.rank};
    memcpy(entry->shape, expected.shape, sizeof expected.shape);
    return entry;
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
    plan->floats += (size_t)p->times * ((size_t)count + 15); // each may begin anew, at a multiple of 16
    return WEFT_OK;
}

static weft_status add_vector(wi_planner *p, weft_part part, int64_t layer, const float **slot)
{
    const weft_tensor_entry *tensor = find(p, part, layer, -1);
    return tensor ? add_elements(p, tensor, 0, 0, 1, tensor->shape[0], slot) : WEFT_OK;
}

static weft_status add_range(wi_planner *p, weft_part part, int64_t layer, weft_range range, const float **slot)
{
    const weft_tensor_entry *tensor = find(p, part, layer, -1);
    if (!tensor || weft_range_size(range) <= 0) return WEFT_OK;
    return add_elements(p, tensor, 0, range.begin, 1, weft_range_size(range), slot);
}

// ---- matrices ----

static weft_family family_of(const wi_planner *p, weft_dtype type)
{
    if (p->options->has_family) return p->options->family;
    // A library that all ranks have takes what it multiplies (--numerics fast), one weight at a time; the rest is the
    // device's own.
    const bool blas = p->options->has_limit && p->options->limit == WEFT_FAMILY_BLAS;
    if (type == WEFT_BF16 && blas && !p->together) return WEFT_FAMILY_BLAS;
    const weft_family own = p->options->capability ? weft_family_of_device(p->options->capability, type)
                                                   : weft_family_choose(p->options->cpu, p->op->table->isa, type);
    return p->options->has_limit && p->options->limit < own ? p->options->limit : own;
}

static bool is_code(weft_dtype type) { return type == WEFT_I8 || type == WEFT_I4 || type == WEFT_E4M3; }

// A matrix without sources.
static weft_status add_matrix(wi_planner *p, weft_gemm_weight *weight, weft_fuse fuse, weft_dtype type, wi_matrix **out)
{
    wi_plan *plan = p->plan;
    WEFT_TRY(grow((void **)&plan->matrix, &plan->matrix_room, plan->matrices, sizeof *plan->matrix));
    *out = &plan->matrix[plan->matrices++];
    **out = (wi_matrix){.weight = weight, .family = family_of(p, type), .type = type, .fuse = fuse, .times = p->times};
    (*out)->kept = type == WEFT_E4M3 && weft_weights_kept(p->config, p->options);
    if (is_code(type)) (*out)->group = (*out)->kept ? p->config->fp8_columns : p->options->group;
    if (p->replicas > 1) (*out)->reader = (int)(p->layer % p->replicas);
    return WEFT_OK;
}

// The columns to be read for those held: in whole groups, where scales are made of all of their columns.
static weft_range whole_groups(const wi_matrix *m, weft_range held)
{
    if (weft_range_size(held) <= 0 || m->kept) return held;
    const int64_t group = !is_code(m->type) ? 1 : m->group > 0 ? m->group : m->k;
    const weft_range read = {held.begin / group * group, (held.end + group - 1) / group * group};
    return (weft_range){read.begin, read.end < m->k ? read.end : m->k};
}

// All inputs, or those of this rank's leaves. Before the first source.
static void set_inputs(wi_matrix *m, int64_t k)
{
    m->k = k;
    m->columns = (weft_range){0, k};
}

static void set_leaves(wi_matrix *m, const weft_mesh *mesh, const weft_row_shape *shape, weft_range held)
{
    m->k = shape->k;
    m->columns = whole_groups(m, held);
    m->cut = true;
    m->leaves = weft_row_leaves(mesh, shape);
}

// Where rows have one scale each, not all of their columns are read but those held: ranks tell each other the largest.
static void share_scales(wi_matrix *m, const weft_mesh *mesh, weft_range held, const weft_tensor_entry *tensor)
{
    if (!mesh->dense || !is_code(m->type) || m->group > 0 || m->kept) return;
    m->columns = held;
    m->scaled_rows = tensor->shape[0];
}

// Before the ranges are looked at: all ranks pack a matrix in the same type.
static void add_rows(const wi_planner *p, wi_matrix *m, const weft_tensor_entry *tensor, weft_range rows)
{
    if (m->kept && tensor->type != WEFT_E4M3) {
        m->kept = false;
        m->group = 0;
        m->type = p->weights->plain;
        m->family = family_of(p, m->type);
    }
    if (weft_range_size(rows) <= 0 || weft_range_size(m->columns) <= 0) return;
    wi_source *source = &m->source[m->count++];
    *source = (wi_source){.range = {.tensor = tensor,
                                    .row = rows.begin,
                                    .rows = weft_range_size(rows),
                                    .column = m->columns.begin,
                                    .columns = weft_range_size(m->columns)},
                          .rows = weft_range_size(rows)};
    if (tensor->type == WEFT_E4M3 && p->checkpoint)
        source->scales.tensor = weft_checkpoint_scales(p->checkpoint, tensor);
}

// Rows that are columns of a slice (inputs, outputs) of a tensor of three dimensions.
static void add_columns(wi_matrix *m, const weft_tensor_entry *tensor, int64_t slice, int64_t first, int64_t step,
                        weft_range rows)
{
    if (weft_range_size(rows) <= 0 || weft_range_size(m->columns) <= 0) return;
    m->source[m->count++] = (wi_source){
        .range = {.tensor = tensor,
                  .row = slice * m->k + m->columns.begin,
                  .rows = weft_range_size(m->columns),
                  .columns = tensor->shape[2]},
        .rows = weft_range_size(rows),
        .first = first + rows.begin * step,
        .step = step,
    };
}

// ---- a layer ----

static weft_status plan_qkv(wi_planner *p, int64_t layer)
{
    const weft_model_config *c = p->config;
    weft_layer_weights *w = &p->weights->layer[layer];
    const weft_tensor_entry *all = find(p, WEFT_PART_QKV, layer, -1);
    int64_t before = 0; // rows of the tensor that has all three
    weft_range rows[3];
    wi_matrix *m;
    weft_layout_qkv_rows(c, p->layout, rows);
    WEFT_TRY(add_matrix(p, &w->qkv, WEFT_FUSE_STACK, p->weights->type, &m));
    set_inputs(m, c->hidden);
    for (int i = 0; i < 3; i++) {
        const weft_range of_all = {before + rows[i].begin, before + rows[i].end};
        add_rows(p, m, all ? all : find(p, (weft_part)(WEFT_PART_Q + i), layer, -1), all ? of_all : rows[i]);
        before += (i == 0 ? c->heads : c->kv_heads) * c->head_dim;
    }
    bool first = true;
    for (int i = 0; i < 3; i++) {
        WEFT_TRY(add_range(p, (weft_part)(WEFT_PART_Q_BIAS + i), layer, rows[i], first ? &w->qkv_bias : NULL));
        first = first && weft_range_size(rows[i]) == 0;
    }
    return WEFT_OK;
}

static weft_status plan_attention(wi_planner *p, int64_t layer)
{
    const weft_layout *l = p->layout;
    weft_layer_weights *w = &p->weights->layer[layer];
    wi_matrix *m;
    WEFT_TRY(plan_qkv(p, layer));
    WEFT_TRY(add_matrix(p, &w->o, WEFT_FUSE_STACK, p->weights->type, &m));
    set_leaves(m, &l->mesh, &l->o, l->o_inputs);
    share_scales(m, &l->mesh, l->o_inputs, find(p, WEFT_PART_O, layer, -1));
    add_rows(p, m, find(p, WEFT_PART_O, layer, -1), l->outputs);
    WEFT_TRY(add_vector(p, WEFT_PART_O_BIAS, layer, &w->o_bias));
    WEFT_TRY(add_range(p, WEFT_PART_SINKS, layer, l->heads, &w->sinks));
    WEFT_TRY(add_vector(p, WEFT_PART_Q_NORM, layer, &w->q_norm));
    WEFT_TRY(add_vector(p, WEFT_PART_K_NORM, layer, &w->k_norm));
    WEFT_TRY(add_vector(p, WEFT_PART_INPUT_NORM, layer, &w->input_norm));
    WEFT_TRY(add_vector(p, WEFT_PART_AFTER_ATTENTION_NORM, layer, &w->after_attention_norm));
    WEFT_TRY(add_vector(p, WEFT_PART_FFN_NORM, layer, &w->ffn_norm));
    return add_vector(p, WEFT_PART_AFTER_FFN_NORM, layer, &w->after_ffn_norm);
}

static weft_status plan_dense(wi_planner *p, int64_t layer)
{
    const weft_layout *l = p->layout;
    weft_ffn_weights *w = &p->weights->layer[layer].ffn;
    const weft_tensor_entry *both = find(p, WEFT_PART_GATE_UP, layer, -1);
    const int64_t ffn = p->config->ffn;
    const weft_range up = both ? (weft_range){ffn + l->ffn.begin, ffn + l->ffn.end} : l->ffn;
    wi_matrix *m;
    WEFT_TRY(add_matrix(p, &w->gate_up, WEFT_FUSE_GATE, p->weights->type, &m));
    set_inputs(m, p->config->hidden);
    add_rows(p, m, both ? both : find(p, WEFT_PART_GATE, layer, -1), l->ffn);
    add_rows(p, m, both ? both : find(p, WEFT_PART_UP, layer, -1), up);
    WEFT_TRY(add_matrix(p, &w->down, WEFT_FUSE_STACK, p->weights->type, &m));
    set_leaves(m, &l->mesh, &l->down, l->down_inputs);
    share_scales(m, &l->mesh, l->down_inputs, find(p, WEFT_PART_DOWN, layer, -1));
    add_rows(p, m, find(p, WEFT_PART_DOWN, layer, -1), l->outputs);
    WEFT_TRY(add_range(p, WEFT_PART_GATE_BIAS, layer, l->ffn, &w->gate_up_bias));
    WEFT_TRY(add_range(p, WEFT_PART_UP_BIAS, layer, l->ffn, NULL));
    return add_vector(p, WEFT_PART_DOWN_BIAS, layer, &w->down_bias);
}

// One of an expert's matrices. In gpt-oss those of all experts stand in one tensor, and gate and up take turns as
// columns.
typedef weft_status plan_fn(wi_planner *p, int64_t layer, int64_t expert, wi_matrix **out);

static weft_status plan_gate_up(wi_planner *p, int64_t layer, int64_t expert, wi_matrix **out)
{
    const weft_tensor_entry *all = find(p, WEFT_PART_EXPERTS_GATE_UP, layer, -1),
                            *bias = find(p, WEFT_PART_EXPERTS_GATE_UP_BIAS, layer, -1);
    const weft_range ffn = p->layout->expert_ffn;
    const int64_t first = 2 * ffn.begin, count = weft_range_size(ffn);
    weft_ffn_weights *w = &p->weights->layer[layer].expert[expert];
    wi_matrix *m;
    WEFT_TRY(add_matrix(p, &w->gate_up, all ? WEFT_FUSE_STACK : WEFT_FUSE_GATE, p->weights->type, &m));
    set_inputs(m, p->config->hidden);
    *out = m;
    if (!all) {
        add_rows(p, m, find(p, WEFT_PART_EXPERT_GATE, layer, expert), ffn);
        add_rows(p, m, find(p, WEFT_PART_EXPERT_UP, layer, expert), ffn);
        return WEFT_OK;
    }
    add_columns(m, all, expert, 0, 2, ffn);
    add_columns(m, all, expert, 1, 2, ffn);
    if (count == 0) return WEFT_OK;
    WEFT_TRY(add_elements(p, bias, expert, first, 2, count, &w->gate_up_bias));
    return add_elements(p, bias, expert, first + 1, 2, count, NULL);
}

static weft_status plan_down(wi_planner *p, int64_t layer, int64_t expert, wi_matrix **out)
{
    const weft_tensor_entry *all = find(p, WEFT_PART_EXPERTS_DOWN, layer, -1),
                            *bias = find(p, WEFT_PART_EXPERTS_DOWN_BIAS, layer, -1),
                            *down = find(p, WEFT_PART_EXPERT_DOWN, layer, expert);
    const weft_layout *l = p->layout;
    weft_ffn_weights *w = &p->weights->layer[layer].expert[expert];
    wi_matrix *m;
    WEFT_TRY(add_matrix(p, &w->down, WEFT_FUSE_STACK, p->weights->type, &m));
    set_leaves(m, &l->expert_mesh, &l->expert_down, l->expert_inputs);
    *out = m;
    if (!all) {
        share_scales(m, &l->expert_mesh, l->expert_inputs, down);
        add_rows(p, m, down, l->expert_outputs);
        return WEFT_OK;
    }
    add_columns(m, all, expert, 0, 1, l->expert_outputs);
    return add_elements(p, bias, expert, 0, 1, p->config->hidden, &w->down_bias);
}

// The same matrix of all experts of a layer, one behind the other: they are multiplied together.
static weft_status plan_alike(wi_planner *p, int64_t layer, weft_range experts, plan_fn *plan)
{
    weft_status status = WEFT_OK;
    p->together = true;
    for (int64_t e = experts.begin; status == WEFT_OK && e < experts.end; e++) {
        wi_matrix *m;
        status = plan(p, layer, e, &m);
        if (status == WEFT_OK) m->follows = e > experts.begin && m->count > 0;
    }
    p->together = false;
    return status;
}

static weft_status plan_experts(wi_planner *p, int64_t layer)
{
    weft_layer_weights *w = &p->weights->layer[layer];
    const weft_tensor_entry *router = find(p, WEFT_PART_ROUTER, layer, -1);
    wi_matrix *m;
    WEFT_TRY(add_matrix(p, &w->router, WEFT_FUSE_STACK, p->weights->plain, &m));
    set_inputs(m, p->config->hidden);
    add_rows(p, m, router, (weft_range){0, router->shape[0]});
    WEFT_TRY(add_vector(p, WEFT_PART_ROUTER_BIAS, layer, &w->router_bias));
    w->expert = calloc((size_t)p->config->experts, sizeof *w->expert);
    if (!w->expert) return weft_fail(WEFT_NO_MEMORY, "no memory for %" PRId64 " experts", p->config->experts);
    // Without a checkpoint one stands for all that the rank has.
    const weft_range own = p->layout->experts;
    const int64_t have = weft_range_size(own), planned = p->checkpoint || have == 0 ? have : 1, before = p->times;
    const weft_range experts = {own.begin, own.begin + planned};
    if (planned > 0) p->times *= have / planned;
    WEFT_TRY(plan_alike(p, layer, experts, plan_gate_up));
    WEFT_TRY(plan_alike(p, layer, experts, plan_down));
    p->times = before;
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
        .first_column = m->columns.begin,
        .row_bytes = (size_t)weft_range_size(m->columns) * (size_t)weft_dtype_bits(m->type) / 8,
        .scales = code ? &nothing : NULL, // only whether there are any is looked at
        .scale_type = WEFT_F32,
        .group = code ? m->group : 0,
    };
}

static weft_status measure(wi_plan *plan)
{
    size_t all = 0, bytes, alike;
    for (size_t i = 0; i < plan->matrices; i++) {
        wi_matrix *m = &plan->matrix[i];
        weft_gemm_source sources[WI_SOURCES_MAX];
        if (m->count == 0) continue;
        for (int s = 0; s < m->count; s++) sources[s] = wi_matrix_source(m, s);
        WEFT_TRY(weft_gemm_pack_bytes(m->family, sources, m->count, m->fuse, m->cut ? &m->leaves : NULL, &m->bytes));
        if (!weft_size_mul(m->bytes, (size_t)m->times, &alike) || !weft_size_add(all, alike, &all))
            return weft_fail(WEFT_OVERFLOW, "the weights do not fit memory");
    }
    if (!weft_size_add(all, plan->floats * sizeof(float), &bytes))
        return weft_fail(WEFT_OVERFLOW, "the weights do not "
                                        "fit memory");
    plan->bytes = bytes;
    return WEFT_OK;
}

// For how many layers a layer stands: itself, or without a checkpoint the first of its kind for all of them.
static int64_t alike(const wi_planner *p, int64_t layer)
{
    const weft_model_config *c = p->config;
    int64_t count = 0;
    if (p->checkpoint) return 1;
    for (int64_t i = 0; i < layer; i++)
        if (c->layer[i].moe == c->layer[layer].moe) return 0;
    for (int64_t i = layer; i < c->layers; i++) count += c->layer[i].moe == c->layer[layer].moe;
    return count;
}

// The rows of this rank's part of the vocabulary. Their codes have eight bits and a scale a row; beside e4m3, as in
// checkpoints of it, they are not quantized.
static weft_status plan_vocab(wi_planner *p, weft_gemm_weight *weight, const weft_tensor_entry *tensor)
{
    wi_matrix *m;
    const weft_dtype type = p->weights->type == WEFT_E4M3 ? p->weights->plain
                            : is_code(p->weights->type)   ? WEFT_I8
                                                          : p->weights->type;
    WEFT_TRY(add_matrix(p, weight, WEFT_FUSE_STACK, type, &m));
    m->group = 0;
    set_inputs(m, p->config->hidden);
    add_rows(p, m, tensor, p->layout->vocab);
    p->weights->family = m->family;
    p->layer++;
    return WEFT_OK;
}

// Whether what multiplies has the family that is asked for. The host has all of its own, at least by `ref`.
static bool is_there(const weft_weights_options *o)
{
    if (o->capability == 0) return o->family < WEFT_FAMILY_HOST_COUNT;
    return o->family == WEFT_FAMILY_FMA ||
           (o->family >= WEFT_FAMILY_HOST_COUNT && o->family <= weft_family_of_device(o->capability, WEFT_BF16));
}

weft_status wi_plan_make(wi_planner *p)
{
    const weft_model_config *c = p->config;
    const weft_tensor_entry *embedding = find(p, WEFT_PART_EMBEDDING, -1, -1), *head = find(p, WEFT_PART_HEAD, -1, -1);
    weft_weights *w = p->weights;
    if (p->options->has_family && !is_there(p->options))
        return weft_fail(WEFT_USAGE, "--family %s: this device does not have it; leave --family out, or take fma",
                         weft_family_name(p->options->family));
    const weft_dtype stored = is_code(embedding->type) ? WEFT_BF16 : embedding->type;
    w->type = weft_weights_type(c, p->options, stored);
    w->plain = is_code(w->type) ? stored : w->type;
    w->layer = calloc((size_t)c->layers, sizeof *w->layer);
    if (!w->layer) return weft_fail(WEFT_NO_MEMORY, "no memory for %" PRId64 " layers", c->layers);
    for (int64_t i = 0; i < c->layers; i++) {
        p->times = alike(p, i);
        p->layer = i;
        if (p->times == 0) continue;
        WEFT_TRY(plan_attention(p, i));
        WEFT_TRY(c->layer[i].moe ? plan_experts(p, i) : plan_dense(p, i));
    }
    p->times = 1;
    p->layer = c->layers;
    WEFT_TRY(add_vector(p, WEFT_PART_FINAL_NORM, -1, &w->final_norm));
    WEFT_TRY(plan_vocab(p, &w->head, head ? head : embedding));
    if (head) WEFT_TRY(plan_vocab(p, &w->embedding, embedding));
    // On the host int8 may be multiplied as it is, of activations that are scaled before they are rounded. Beside e4m3
    // there may be matrices that are not.
    const weft_family family = family_of(p, w->type);
    w->rounds = family != WEFT_FAMILY_FMA && (w->type != WEFT_I8 || family >= WEFT_FAMILY_HOST_COUNT) &&
                (w->type != WEFT_E4M3 || family_of(p, w->plain) != WEFT_FAMILY_FMA);
    WEFT_TRY(measure(p->plan));
    return WEFT_OK;
}

void wi_plan_free(wi_plan *plan)
{
    free(plan->matrix);
    free(plan->vector);
    *plan = (wi_plan){0};
}
