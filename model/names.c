// Names and shapes of a checkpoint's tensors. A pattern's '#' stands for the expert; layers come before it.
#include "model/names.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/config_impl.h"

// What most checkpoints call their parts. A row of an architecture's own comes first; see config_impl.h.
static const wi_name common[] = {{WEFT_PART_EMBEDDING, "embed_tokens.weight"},
                                 {WEFT_PART_FINAL_NORM, "norm.weight"},
                                 {WEFT_PART_HEAD, "lm_head.weight"},
                                 {WEFT_PART_INPUT_NORM, "input_layernorm.weight"},
                                 {WEFT_PART_FFN_NORM, "post_attention_layernorm.weight"},
                                 {WEFT_PART_Q_NORM, "self_attn.q_norm.weight"},
                                 {WEFT_PART_K_NORM, "self_attn.k_norm.weight"},
                                 {WEFT_PART_Q, "self_attn.q_proj.weight"},
                                 {WEFT_PART_K, "self_attn.k_proj.weight"},
                                 {WEFT_PART_V, "self_attn.v_proj.weight"},
                                 {WEFT_PART_O, "self_attn.o_proj.weight"},
                                 {WEFT_PART_Q_BIAS, "self_attn.q_proj.bias"},
                                 {WEFT_PART_K_BIAS, "self_attn.k_proj.bias"},
                                 {WEFT_PART_V_BIAS, "self_attn.v_proj.bias"},
                                 {WEFT_PART_O_BIAS, "self_attn.o_proj.bias"},
                                 {WEFT_PART_SINKS, "self_attn.sinks"},
                                 {WEFT_PART_GATE, "mlp.gate_proj.weight"},
                                 {WEFT_PART_UP, "mlp.up_proj.weight"},
                                 {WEFT_PART_DOWN, "mlp.down_proj.weight"},
                                 {WEFT_PART_GATE_BIAS, "mlp.gate_proj.bias"},
                                 {WEFT_PART_UP_BIAS, "mlp.up_proj.bias"},
                                 {WEFT_PART_DOWN_BIAS, "mlp.down_proj.bias"},
                                 {WEFT_PART_ROUTER, "mlp.gate.weight"},
                                 {WEFT_PART_EXPERT_GATE, "mlp.experts.#.gate_proj.weight"},
                                 {WEFT_PART_EXPERT_UP, "mlp.experts.#.up_proj.weight"},
                                 {WEFT_PART_EXPERT_DOWN, "mlp.experts.#.down_proj.weight"},
                                 {0, NULL}};

const wi_name wi_names_gemma[] = {{WEFT_PART_AFTER_ATTENTION_NORM, "post_attention_layernorm.weight"},
                                  {WEFT_PART_FFN_NORM, "pre_feedforward_layernorm.weight"},
                                  {WEFT_PART_AFTER_FFN_NORM, "post_feedforward_layernorm.weight"},
                                  {0, NULL}};

const wi_name wi_names_phi3[] = {
    {WEFT_PART_QKV, "self_attn.qkv_proj.weight"}, {WEFT_PART_GATE_UP, "mlp.gate_up_proj.weight"}, {0, NULL}};

const wi_name wi_names_mixtral[] = {{WEFT_PART_ROUTER, "block_sparse_moe.gate.weight"},
                                    {WEFT_PART_EXPERT_GATE, "block_sparse_moe.experts.#.w1.weight"},
                                    {WEFT_PART_EXPERT_UP, "block_sparse_moe.experts.#.w3.weight"},
                                    {WEFT_PART_EXPERT_DOWN, "block_sparse_moe.experts.#.w2.weight"},
                                    {0, NULL}};

const wi_name wi_names_gpt_oss[] = {{WEFT_PART_ROUTER, "mlp.router.weight"},
                                    {WEFT_PART_ROUTER_BIAS, "mlp.router.bias"},
                                    {WEFT_PART_EXPERTS_GATE_UP, "mlp.experts.gate_up_proj"},
                                    {WEFT_PART_EXPERTS_GATE_UP_BIAS, "mlp.experts.gate_up_proj_bias"},
                                    {WEFT_PART_EXPERTS_DOWN, "mlp.experts.down_proj"},
                                    {WEFT_PART_EXPERTS_DOWN_BIAS, "mlp.experts.down_proj_bias"},
                                    {0, NULL}};

static const char *find(const wi_name *names, weft_part part)
{
    for (; names && names->pattern; names++)
        if (names->part == part) return names->pattern;
    return NULL;
}

static const char *own_name(const weft_model_config *c, weft_part part) { return find(c->architecture->names, part); }

// Whether the model has the part, in a layer where it is one of a layer's.
static bool wanted(const weft_model_config *c, weft_part part, int64_t layer)
{
    const bool moe = layer >= 0 && c->layer[layer].moe, dense = layer >= 0 && !moe;
    const bool stacked = own_name(c, WEFT_PART_EXPERTS_DOWN) != NULL;
    switch (part) {
    case WEFT_PART_HEAD:
        return !c->tied;
    case WEFT_PART_AFTER_ATTENTION_NORM:
    case WEFT_PART_AFTER_FFN_NORM:
        return c->sandwich;
    case WEFT_PART_Q_NORM:
    case WEFT_PART_K_NORM:
        return c->qk_norm;
    case WEFT_PART_Q:
    case WEFT_PART_K:
    case WEFT_PART_V:
        return !own_name(c, WEFT_PART_QKV);
    case WEFT_PART_QKV:
        return own_name(c, WEFT_PART_QKV) != NULL;
    case WEFT_PART_Q_BIAS:
    case WEFT_PART_K_BIAS:
    case WEFT_PART_V_BIAS:
        return c->qkv_bias;
    case WEFT_PART_O_BIAS:
        return c->o_bias;
    case WEFT_PART_SINKS:
        return c->sinks;
    case WEFT_PART_GATE:
    case WEFT_PART_UP:
        return dense && !own_name(c, WEFT_PART_GATE_UP);
    case WEFT_PART_GATE_UP:
        return dense && own_name(c, WEFT_PART_GATE_UP);
    case WEFT_PART_DOWN:
        return dense;
    case WEFT_PART_GATE_BIAS:
    case WEFT_PART_UP_BIAS:
    case WEFT_PART_DOWN_BIAS:
        return dense && c->ffn_bias;
    case WEFT_PART_ROUTER:
        return moe;
    case WEFT_PART_ROUTER_BIAS:
        return moe && c->route_bias;
    case WEFT_PART_EXPERT_GATE:
    case WEFT_PART_EXPERT_UP:
    case WEFT_PART_EXPERT_DOWN:
        return moe && !stacked;
    case WEFT_PART_EXPERTS_GATE_UP:
    case WEFT_PART_EXPERTS_GATE_UP_BIAS:
    case WEFT_PART_EXPERTS_DOWN:
    case WEFT_PART_EXPERTS_DOWN_BIAS:
        return moe && stacked;
    default:
        return true;
    }
}

// A part's dimensions, a letter each; size_of says what they stand for. "H" where nothing stands.
static const char *const shapes[WEFT_PART_COUNT] = {
    [WEFT_PART_EMBEDDING] = "VH",
    [WEFT_PART_HEAD] = "VH",
    [WEFT_PART_Q_NORM] = "D",
    [WEFT_PART_K_NORM] = "D",
    [WEFT_PART_Q] = "QH",
    [WEFT_PART_K] = "KH",
    [WEFT_PART_V] = "KH",
    [WEFT_PART_QKV] = "SH",
    [WEFT_PART_O] = "HQ",
    [WEFT_PART_Q_BIAS] = "Q",
    [WEFT_PART_K_BIAS] = "K",
    [WEFT_PART_V_BIAS] = "K",
    [WEFT_PART_SINKS] = "A",
    [WEFT_PART_GATE] = "FH",
    [WEFT_PART_UP] = "FH",
    [WEFT_PART_GATE_UP] = "GH",
    [WEFT_PART_DOWN] = "HF",
    [WEFT_PART_GATE_BIAS] = "F",
    [WEFT_PART_UP_BIAS] = "F",
    [WEFT_PART_ROUTER] = "EH",
    [WEFT_PART_ROUTER_BIAS] = "E",
    [WEFT_PART_EXPERT_GATE] = "IH",
    [WEFT_PART_EXPERT_UP] = "IH",
    [WEFT_PART_EXPERT_DOWN] = "HI",
    [WEFT_PART_EXPERTS_GATE_UP] = "EHJ",
    [WEFT_PART_EXPERTS_GATE_UP_BIAS] = "EJ",
    [WEFT_PART_EXPERTS_DOWN] = "EIH",
    [WEFT_PART_EXPERTS_DOWN_BIAS] = "EH",
};

static int64_t size_of(const weft_model_config *c, char letter)
{
    switch (letter) {
    case 'V':
        return c->vocab;
    case 'D':
        return c->head_dim;
    case 'A':
        return c->heads;
    case 'Q':
        return c->heads * c->head_dim;
    case 'K':
        return c->kv_heads * c->head_dim;
    case 'S': // q, k and v in one
        return (c->heads + 2 * c->kv_heads) * c->head_dim;
    case 'F':
        return c->ffn;
    case 'G': // gate and up in one
        return 2 * c->ffn;
    case 'E':
        return c->experts;
    case 'I':
        return c->expert_ffn;
    case 'J':
        return 2 * c->expert_ffn;
    default:
        return c->hidden;
    }
}

static void shape_of(const weft_model_config *c, weft_part part, weft_expected *out)
{
    const char *letters = shapes[part] ? shapes[part] : "H";
    out->rank = (int)strlen(letters);
    for (int i = 0; i < 3; i++) out->shape[i] = i < out->rank ? size_of(c, letters[i]) : 1;
}

static bool is_global(weft_part part) { return part <= WEFT_PART_HEAD; }

static bool has_expert(weft_part part) { return part >= WEFT_PART_EXPERT_GATE && part <= WEFT_PART_EXPERT_DOWN; }

static const char *const bodies[] = {"model.", "language_model.model.", "model.language_model."};
static const char *const heads[] = {"", "language_model.", ""};

bool weft_model_tensor(const weft_model_config *config, weft_name_style style, weft_part part, int64_t layer,
                       int64_t expert, weft_expected *out)
{
    const char *pattern = own_name(config, part);
    if (is_global(part)) layer = -1;
    if (!has_expert(part)) expert = -1;
    if (!pattern) pattern = find(common, part);
    if (!pattern || !wanted(config, part, layer)) return false;
    *out = (weft_expected){.part = part, .layer = layer, .expert = expert};
    const char *prefix = part == WEFT_PART_HEAD ? heads[style] : bodies[style], *rest = strchr(pattern, '#');
    char place[40] = "";
    if (layer >= 0) snprintf(place, sizeof place, "layers.%" PRId64 ".", layer);
    if (rest)
        snprintf(out->name, sizeof out->name, "%s%s%.*s%" PRId64 "%s", prefix, place, (int)(rest - pattern), pattern,
                 expert, rest + 1);
    else
        snprintf(out->name, sizeof out->name, "%s%s%s", prefix, place, pattern);
    shape_of(config, part, out);
    return true;
}

static weft_status walk_layer(const weft_model_config *c, weft_name_style style, int64_t layer, weft_expected_fn *each,
                              void *arg)
{
    weft_expected tensor;
    for (int part = WEFT_PART_HEAD + 1; part < WEFT_PART_COUNT; part++) {
        if (has_expert((weft_part)part)) continue;
        if (weft_model_tensor(c, style, (weft_part)part, layer, -1, &tensor)) WEFT_TRY(each(arg, &tensor));
    }
    for (int64_t expert = 0; expert < (c->layer[layer].moe ? c->experts : 0); expert++)
        for (int part = WEFT_PART_EXPERT_GATE; part <= WEFT_PART_EXPERT_DOWN; part++)
            if (weft_model_tensor(c, style, (weft_part)part, layer, expert, &tensor)) WEFT_TRY(each(arg, &tensor));
    return WEFT_OK;
}

weft_status weft_model_tensors(const weft_model_config *config, weft_name_style style, weft_expected_fn *each,
                               void *arg)
{
    weft_expected tensor;
    if (weft_model_tensor(config, style, WEFT_PART_EMBEDDING, -1, -1, &tensor)) WEFT_TRY(each(arg, &tensor));
    for (int64_t layer = 0; layer < config->layers; layer++) WEFT_TRY(walk_layer(config, style, layer, each, arg));
    if (weft_model_tensor(config, style, WEFT_PART_FINAL_NORM, -1, -1, &tensor)) WEFT_TRY(each(arg, &tensor));
    if (weft_model_tensor(config, style, WEFT_PART_HEAD, -1, -1, &tensor)) WEFT_TRY(each(arg, &tensor));
    return WEFT_OK;
}

bool weft_name_ignored(const weft_model_config *config, weft_name_style style, const char *name)
{
    static const char *const endings[] = {".rotary_emb.inv_freq", ".masked_bias", ".attn.bias"};
    const size_t length = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const size_t ending = strlen(endings[i]);
        if (length >= ending && strcmp(name + length - ending, endings[i]) == 0) return true;
    }
    char head[WEFT_NAME_MAX];
    snprintf(head, sizeof head, "%slm_head.weight", heads[style]);
    if (config->tied && (strcmp(name, head) == 0 || strcmp(name, "lm_head.weight") == 0)) return true;
    if (style == WEFT_NAMES_PLAIN) return false;
    return strncmp(name, bodies[style], strlen(bodies[style])) != 0 && strcmp(name, head) != 0;
}
