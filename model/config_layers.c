// The layers of a config one by one: windows, which rope, dense or experts; and the stop ids.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "model/config_impl.h"

// ---- windows ----

// layer_types of layer i: *sliding. Anything but the two kinds is refused.
static weft_status read_layer_type(const wi_reader *r, const weft_json *types, int64_t i, bool *sliding)
{
    const char *type = weft_json_string_value(weft_json_at(types, (size_t)i));
    *sliding = type && strcmp(type, "sliding_attention") == 0;
    if (*sliding || (type && strcmp(type, "full_attention") == 0)) return WEFT_OK;
    return weft_fail(WEFT_UNSUPPORTED,
                     "%s: \"layer_types\" of layer %" PRId64 " is \"%.40s\"; weft knows full_attention and "
                     "sliding_attention",
                     r->name, i, type ? type : "(not a string)");
}

static weft_status read_layer_types(const wi_reader *r, const weft_json **out)
{
    const weft_json *types = weft_json_get(r->text, "layer_types");
    *out = NULL;
    if (weft_json_kind_of(types) == WEFT_JSON_NULL) return WEFT_OK;
    if (weft_json_kind_of(types) != WEFT_JSON_ARRAY || weft_json_size(types) != (size_t)r->c->layers)
        return weft_fail(WEFT_INVALID,
                         "%s: \"layer_types\" must be an array of one string for each of the %" PRId64 " layers",
                         r->name, r->c->layers);
    *out = types;
    return WEFT_OK;
}

// Whether sliding_window counts, and its value (0: none).
static weft_status read_window(const wi_reader *r, int64_t *window)
{
    const wi_window_rule rule = r->a->windows;
    const weft_json *member = weft_json_get(r->text, "sliding_window");
    bool used = true;
    *window = 0;
    if (rule == WI_WINDOW_NONE) return WEFT_OK;
    if (rule == WI_WINDOW_ALL_ON_ASK || rule == WI_WINDOW_FROM_LAYER)
        WEFT_TRY(wi_read_bool(r, "use_sliding_window", false, &used));
    if (!used || (member && weft_json_kind_of(member) == WEFT_JSON_NULL)) return WEFT_OK;
    if (!member && r->a->window == 0) return WEFT_OK;
    return wi_read_int(r, "sliding_window", 1, INT64_MAX, r->a->window, window);
}

static weft_status set_windows(const wi_reader *r)
{
    weft_model_config *c = r->c;
    const weft_json *types = NULL;
    int64_t window, first = 28, pattern = r->a->pattern;
    const wi_window_rule rule = r->a->windows;
    WEFT_TRY(read_window(r, &window));
    if (rule == WI_WINDOW_FROM_LAYER) WEFT_TRY(wi_read_int(r, "max_window_layers", 0, INT64_MAX, 28, &first));
    if (rule == WI_WINDOW_FROM_LAYER || rule == WI_WINDOW_PATTERN) WEFT_TRY(read_layer_types(r, &types));
    // Gemma 3 alone had this key; in a Gemma 2 it stood for nothing.
    if (rule == WI_WINDOW_PATTERN && r->a->rope == WI_ROPE_LOCAL_AND_GLOBAL)
        WEFT_TRY(wi_read_int(r, "sliding_window_pattern", 1, INT32_MAX, pattern, &pattern));
    for (int64_t i = 0; i < c->layers; i++) {
        bool sliding = rule == WI_WINDOW_ALL || rule == WI_WINDOW_ALL_ON_ASK ||
                       (rule == WI_WINDOW_FROM_LAYER && i >= first) ||
                       (rule == WI_WINDOW_PATTERN && (i + 1) % pattern != 0);
        if (types) WEFT_TRY(read_layer_type(r, types, i, &sliding));
        c->layer[i].window = sliding ? window : 0;
        if (sliding && r->a->rope == WI_ROPE_LOCAL_AND_GLOBAL) c->layer[i].rope = 1;
        if (sliding && window == 0 && types && rule == WI_WINDOW_PATTERN)
            return weft_fail(WEFT_INVALID,
                             "%s: layer %" PRId64 " has a window by \"layer_types\" and "
                             "\"sliding_window\" is null",
                             r->name, i);
    }
    return WEFT_OK;
}

// ---- experts ----

static weft_status set_experts(const wi_reader *r)
{
    weft_model_config *c = r->c;
    const weft_json *dense = weft_json_get(r->text, "mlp_only_layers");
    int64_t step = 1;
    if (r->a->moe == WI_MOE_NONE) return WEFT_OK;
    if (r->a->moe == WI_MOE_SPARSE) WEFT_TRY(wi_read_int(r, "decoder_sparse_step", 1, INT32_MAX, 1, &step));
    for (int64_t i = 0; i < c->layers; i++) c->layer[i].moe = (i + 1) % step == 0;
    if (r->a->moe != WI_MOE_SPARSE || weft_json_kind_of(dense) == WEFT_JSON_NULL) return WEFT_OK;
    if (weft_json_kind_of(dense) != WEFT_JSON_ARRAY)
        return weft_fail(WEFT_INVALID, "%s: \"mlp_only_layers\" must be an array of layers", r->name);
    for (size_t i = 0; i < weft_json_size(dense); i++) {
        const weft_json *member = weft_json_at(dense, i);
        const int64_t layer = weft_json_int_value(member);
        if (weft_json_kind_of(member) != WEFT_JSON_INT || layer < 0 || layer >= c->layers)
            return weft_fail(WEFT_INVALID, "%s: \"mlp_only_layers\" must hold numbers from 0 to %" PRId64, r->name,
                             c->layers - 1);
        c->layer[layer].moe = false;
    }
    return WEFT_OK;
}

weft_status wi_config_layers(wi_reader *r)
{
    weft_model_config *c = r->c;
    c->layer = calloc((size_t)c->layers, sizeof *c->layer);
    if (!c->layer) return weft_fail(WEFT_NO_MEMORY, "%s: no memory for %" PRId64 " layers", r->name, c->layers);
    WEFT_TRY(set_windows(r));
    WEFT_TRY(set_experts(r));
    bool any = false;
    for (int64_t i = 0; i < c->layers; i++) any = any || c->layer[i].moe;
    if (!any) c->experts = c->experts_used = c->expert_ffn = 0;
    return WEFT_OK;
}

// ---- stop ids ----

static weft_status add_stop(const wi_reader *r, const char *name, const weft_json *member)
{
    const int64_t id = weft_json_int_value(member);
    if (weft_json_kind_of(member) != WEFT_JSON_INT || id < 0 || id >= r->c->vocab)
        return weft_fail(WEFT_INVALID,
                         "%s: \"eos_token_id\" must hold token ids from 0 to %" PRId64 ", one below \"vocab_size\"",
                         name, r->c->vocab - 1);
    for (int i = 0; i < r->c->stop_count; i++)
        if (r->c->stops[i] == id) return WEFT_OK;
    if (r->c->stop_count == WEFT_STOPS_MAX)
        return weft_fail(WEFT_LIMIT, "%s: \"eos_token_id\" holds more than %d ids", name, WEFT_STOPS_MAX);
    r->c->stops[r->c->stop_count++] = (int32_t)id;
    return WEFT_OK;
}

weft_status wi_config_stops(const wi_reader *r, const weft_json *generation)
{
    const weft_json *stops = weft_json_get(generation, "eos_token_id");
    const char *name = "generation_config.json";
    if (generation && weft_json_kind_of(generation) != WEFT_JSON_OBJECT)
        return weft_fail(WEFT_FORMAT, "%s: must be a JSON object", name);
    if (weft_json_kind_of(stops) == WEFT_JSON_NULL) {
        name = r->name;
        stops = weft_json_get(r->text, "eos_token_id");
        if (weft_json_kind_of(stops) == WEFT_JSON_NULL) stops = weft_json_get(r->root, "eos_token_id");
    }
    if (weft_json_kind_of(stops) == WEFT_JSON_NULL) return WEFT_OK;
    if (weft_json_kind_of(stops) != WEFT_JSON_ARRAY) return add_stop(r, name, stops);
    for (size_t i = 0; i < weft_json_size(stops); i++) WEFT_TRY(add_stop(r, name, weft_json_at(stops, i)));
    return WEFT_OK;
}
