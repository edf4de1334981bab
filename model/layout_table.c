#include "model/layout_table.h"

#include <string.h>

static const struct {
    const char *name, *text;
} divisions[] = {
#define DIVISION(name, text, what) {text, what},
    WEFT_DIVISION_LIST(DIVISION)
#undef DIVISION
};

const char *weft_division_name(weft_division division) { return divisions[division].name; }
const char *weft_division_text(weft_division division) { return divisions[division].text; }

// --dense tp, --dense mesh
static const weft_division table[WEFT_PART_COUNT][2] = {
    [WEFT_PART_EMBEDDING] = {WEFT_DIVISION_VOCAB, WEFT_DIVISION_VOCAB},
    [WEFT_PART_HEAD] = {WEFT_DIVISION_VOCAB, WEFT_DIVISION_VOCAB},
    [WEFT_PART_FINAL_NORM] = {WEFT_DIVISION_REPLICATE, WEFT_DIVISION_REPLICATE},
    [WEFT_PART_INPUT_NORM] = {WEFT_DIVISION_REPLICATE, WEFT_DIVISION_REPLICATE},
    [WEFT_PART_AFTER_ATTENTION_NORM] = {WEFT_DIVISION_REPLICATE, WEFT_DIVISION_REPLICATE},
    [WEFT_PART_FFN_NORM] = {WEFT_DIVISION_REPLICATE, WEFT_DIVISION_REPLICATE},
    [WEFT_PART_AFTER_FFN_NORM] = {WEFT_DIVISION_REPLICATE, WEFT_DIVISION_REPLICATE},
    [WEFT_PART_Q_NORM] = {WEFT_DIVISION_REPLICATE, WEFT_DIVISION_REPLICATE},
    [WEFT_PART_K_NORM] = {WEFT_DIVISION_REPLICATE, WEFT_DIVISION_REPLICATE},
    [WEFT_PART_Q] = {WEFT_DIVISION_COLUMN, WEFT_DIVISION_COLUMN_GATHER},
    [WEFT_PART_K] = {WEFT_DIVISION_COLUMN_KV, WEFT_DIVISION_COLUMN_GATHER},
    [WEFT_PART_V] = {WEFT_DIVISION_COLUMN_KV, WEFT_DIVISION_COLUMN_GATHER},
    [WEFT_PART_QKV] = {WEFT_DIVISION_COLUMN_KV, WEFT_DIVISION_COLUMN_GATHER},
    [WEFT_PART_Q_BIAS] = {WEFT_DIVISION_COLUMN, WEFT_DIVISION_COLUMN_GATHER},
    [WEFT_PART_K_BIAS] = {WEFT_DIVISION_COLUMN_KV, WEFT_DIVISION_COLUMN_GATHER},
    [WEFT_PART_V_BIAS] = {WEFT_DIVISION_COLUMN_KV, WEFT_DIVISION_COLUMN_GATHER},
    [WEFT_PART_SINKS] = {WEFT_DIVISION_COLUMN, WEFT_DIVISION_COLUMN},
    [WEFT_PART_O] = {WEFT_DIVISION_ROW, WEFT_DIVISION_ROW},
    [WEFT_PART_O_BIAS] = {WEFT_DIVISION_ONCE, WEFT_DIVISION_ONCE},
    [WEFT_PART_GATE] = {WEFT_DIVISION_COLUMN, WEFT_DIVISION_COLUMN},
    [WEFT_PART_UP] = {WEFT_DIVISION_COLUMN, WEFT_DIVISION_COLUMN},
    [WEFT_PART_GATE_UP] = {WEFT_DIVISION_COLUMN, WEFT_DIVISION_COLUMN},
    [WEFT_PART_GATE_BIAS] = {WEFT_DIVISION_COLUMN, WEFT_DIVISION_COLUMN},
    [WEFT_PART_UP_BIAS] = {WEFT_DIVISION_COLUMN, WEFT_DIVISION_COLUMN},
    [WEFT_PART_DOWN] = {WEFT_DIVISION_ROW, WEFT_DIVISION_ROW},
    [WEFT_PART_DOWN_BIAS] = {WEFT_DIVISION_ONCE, WEFT_DIVISION_ONCE},
    [WEFT_PART_ROUTER] = {WEFT_DIVISION_REPLICATE, WEFT_DIVISION_REPLICATE},
    [WEFT_PART_ROUTER_BIAS] = {WEFT_DIVISION_REPLICATE, WEFT_DIVISION_REPLICATE},
    [WEFT_PART_EXPERT_GATE] = {WEFT_DIVISION_COLUMN, WEFT_DIVISION_COLUMN},
    [WEFT_PART_EXPERT_UP] = {WEFT_DIVISION_COLUMN, WEFT_DIVISION_COLUMN},
    [WEFT_PART_EXPERT_DOWN] = {WEFT_DIVISION_ROW, WEFT_DIVISION_ROW},
    [WEFT_PART_EXPERTS_GATE_UP] = {WEFT_DIVISION_COLUMN, WEFT_DIVISION_COLUMN},
    [WEFT_PART_EXPERTS_GATE_UP_BIAS] = {WEFT_DIVISION_COLUMN, WEFT_DIVISION_COLUMN},
    [WEFT_PART_EXPERTS_DOWN] = {WEFT_DIVISION_ROW, WEFT_DIVISION_ROW},
    [WEFT_PART_EXPERTS_DOWN_BIAS] = {WEFT_DIVISION_ONCE, WEFT_DIVISION_ONCE},
};

static bool of_expert(weft_part part)
{
    switch (part) {
    case WEFT_PART_EXPERT_GATE:
    case WEFT_PART_EXPERT_UP:
    case WEFT_PART_EXPERT_DOWN:
    case WEFT_PART_EXPERTS_GATE_UP:
    case WEFT_PART_EXPERTS_GATE_UP_BIAS:
    case WEFT_PART_EXPERTS_DOWN:
    case WEFT_PART_EXPERTS_DOWN_BIAS:
        return true;
    default:
        return false;
    }
}

weft_division weft_layout_division(weft_part part, const weft_mesh_shape *shape)
{
    if (of_expert(part) && !shape->expert_columns) return WEFT_DIVISION_EXPERT;
    return table[part][shape->dense == WEFT_DENSE_MESH];
}

// ---- what a rank has ----

// Outputs of a column linear.
static int64_t columns_of(const weft_model_config *c, const weft_layout *l, weft_part part)
{
    weft_range qkv[3];
    weft_layout_qkv_rows(c, l, qkv);
    switch (part) {
    case WEFT_PART_Q:
    case WEFT_PART_Q_BIAS:
        return weft_range_size(qkv[0]);
    case WEFT_PART_K:
    case WEFT_PART_K_BIAS:
        return weft_range_size(qkv[1]);
    case WEFT_PART_V:
    case WEFT_PART_V_BIAS:
        return weft_range_size(qkv[2]);
    case WEFT_PART_QKV:
        return weft_range_size(l->qkv);
    case WEFT_PART_SINKS:
        return weft_range_size(l->heads);
    case WEFT_PART_GATE_UP:
        return 2 * weft_range_size(l->ffn);
    case WEFT_PART_EXPERT_GATE:
    case WEFT_PART_EXPERT_UP:
        return weft_range_size(l->expert_ffn);
    case WEFT_PART_EXPERTS_GATE_UP:
    case WEFT_PART_EXPERTS_GATE_UP_BIAS:
        return 2 * weft_range_size(l->expert_ffn);
    default:
        return weft_range_size(l->ffn);
    }
}

static int64_t inputs_of(const weft_layout *l, weft_part part)
{
    if (part == WEFT_PART_O) return weft_range_size(l->o_inputs);
    return weft_range_size(part == WEFT_PART_DOWN ? l->down_inputs : l->expert_inputs);
}

void weft_layout_share(const weft_model_config *c, const weft_layout *l, const weft_expected *weight, int64_t shape[3])
{
    const weft_part part = weight->part;
    // The stacked experts stand as (experts, inputs, outputs).
    const bool stacked = part >= WEFT_PART_EXPERTS_GATE_UP;
    memcpy(shape, weight->shape, 3 * sizeof *shape);
    switch (weft_layout_division(part, &l->mesh.shape)) {
    case WEFT_DIVISION_EXPERT:
        if (stacked)
            shape[0] = weft_range_size(l->experts);
        else if (weight->expert < l->experts.begin || weight->expert >= l->experts.end)
            shape[0] = 0;
        break;
    case WEFT_DIVISION_VOCAB:
        shape[0] = weft_range_size(l->vocab);
        break;
    case WEFT_DIVISION_COLUMN:
    case WEFT_DIVISION_COLUMN_KV:
    case WEFT_DIVISION_COLUMN_GATHER:
        shape[stacked ? weight->rank - 1 : 0] = columns_of(c, l, part);
        break;
    case WEFT_DIVISION_ROW:
        shape[stacked ? 2 : 0] =
            weft_range_size(part == WEFT_PART_O || part == WEFT_PART_DOWN ? l->outputs : l->expert_outputs);
        shape[1] = inputs_of(l, part);
        break;
    default:
        break;
    }
}
