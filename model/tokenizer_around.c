// Post-processors: which tokens stand before and after a text. Offsets, pairs of texts and type ids have no use here.
#include <string.h>

#include "model/tokenizer_impl.h"

static weft_status add(int32_t *ids, int *count, int64_t id, const char *name)
{
    if (*count >= WI_AROUND_MAX)
        return weft_fail(WEFT_LIMIT, "%s: post_processor: more than %d tokens around a text", name, WI_AROUND_MAX);
    ids[(*count)++] = (int32_t)id;
    return WEFT_OK;
}

// The ids of special token `key` of a template, from its table.
static weft_status add_special(const weft_json *json, const char *key, const char *name, int32_t *list, int *count)
{
    const weft_json *entry = weft_json_get(weft_json_get(json, "special_tokens"), key);
    const weft_json *ids = weft_json_get(entry, "ids");
    if (!ids) return weft_fail(WEFT_FORMAT, "%s: post_processor: special_tokens lacks \"%.100s\"", name, key);
    for (size_t i = 0; i < weft_json_size(ids); i++) {
        int64_t id = weft_json_int_value(weft_json_at(ids, i));
        if (weft_json_kind_of(weft_json_at(ids, i)) != WEFT_JSON_INT || id < 0 || id >= WI_TOKENS_MAX)
            return weft_fail(WEFT_FORMAT, "%s: post_processor: special_tokens: \"%.100s\": an id is no id", name, key);
        WEFT_TRY(add(list, count, id, name));
    }
    return WEFT_OK;
}

static weft_status load_template(const weft_json *json, const char *name, wi_around *out)
{
    const weft_json *single = weft_json_get(json, "single");
    bool seen = false;
    if (!single || weft_json_kind_of(single) != WEFT_JSON_ARRAY)
        return weft_fail(WEFT_FORMAT, "%s: post_processor: TemplateProcessing without a list \"single\"", name);
    for (size_t i = 0; i < weft_json_size(single); i++) {
        const weft_json *item = weft_json_at(single, i);
        const weft_json *special = weft_json_get(item, "SpecialToken"), *sequence = weft_json_get(item, "Sequence");
        const char *id;
        WEFT_TRY(weft_json_string(special ? special : sequence, "id", NULL, &id));
        if (!id) return weft_fail(WEFT_FORMAT, "%s: post_processor: an item of \"single\" has no id", name);
        if (special) {
            WEFT_TRY(add_special(json, id, name, seen ? out->after : out->before,
                                 seen ? &out->after_count : &out->before_count));
            continue;
        }
        if (seen || strcmp(id, "A") != 0)
            return weft_fail(WEFT_UNSUPPORTED, "%s: post_processor: \"single\" must hold the sequence A, once", name);
        seen = true;
    }
    if (!seen)
        return weft_fail(WEFT_UNSUPPORTED, "%s: post_processor: \"single\" must hold the sequence A, once", name);
    return WEFT_OK;
}

static weft_status load_pair(const weft_json *json, const char *key, const char *name, int32_t *list, int *count)
{
    const weft_json *pair = weft_json_get(json, key), *id = weft_json_at(pair, 1);
    if (weft_json_size(pair) != 2 || weft_json_kind_of(id) != WEFT_JSON_INT || weft_json_int_value(id) < 0 ||
        weft_json_int_value(id) >= WI_TOKENS_MAX)
        return weft_fail(WEFT_FORMAT, "%s: post_processor: \"%s\": [token, id] is expected", name, key);
    return add(list, count, weft_json_int_value(id), name);
}

static weft_status load_one(const weft_json *json, const char *name, bool *adds, wi_around *out)
{
    const char *type;
    WEFT_TRY(weft_json_string(json, "type", "", &type));
    *adds = strcmp(type, "ByteLevel") != 0;
    if (!*adds) return WEFT_OK; // trims offsets
    if (strcmp(type, "TemplateProcessing") == 0) return load_template(json, name, out);
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
        WEFT_TRY(load_pair(json, "cls", name, out->before, &out->before_count));
        return load_pair(json, "sep", name, out->after, &out->after_count);
    }
    return wi_unknown(name, "post_processor", type,
                      "TemplateProcessing, ByteLevel, BertProcessing, RobertaProcessing, Sequence");
}

weft_status wi_around_load(const weft_json *json, const char *name, wi_around *out)
{
    const char *type;
    bool adds, added = false;
    if (!json || weft_json_kind_of(json) == WEFT_JSON_NULL) return WEFT_OK;
    WEFT_TRY(weft_json_string(json, "type", "", &type));
    if (strcmp(type, "Sequence") != 0) return load_one(json, name, &adds, out);
    const weft_json *list = weft_json_get(json, "processors");
    for (size_t i = 0; i < weft_json_size(list); i++) {
        wi_around one = {0};
        WEFT_TRY(load_one(weft_json_at(list, i), name, &adds, &one));
        if (adds && added)
            return weft_fail(WEFT_UNSUPPORTED, "%s: post_processor: a Sequence with two that add tokens is not known",
                             name);
        if (adds) *out = one;
        added = added || adds;
    }
    return WEFT_OK;
}
