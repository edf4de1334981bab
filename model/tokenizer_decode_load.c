// Reading the decoders of a file.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer_impl.h"

void wi_decoders_fini(wi_decoders *decoders)
{
    for (int i = 0; i < decoders->count; i++) {
        wi_pattern_fini(&decoders->steps[i].pattern);
        free(decoders->steps[i].text);
    }
}

static weft_status load_list(const weft_json *json, const char *name, int depth, wi_decoders *out);

static weft_status load_metaspace(const weft_json *json, const char *name, wi_decoder *step)
{
    const char *scheme;
    bool prefix;
    WEFT_TRY(weft_json_string(json, "prepend_scheme", "always", &scheme));
    WEFT_TRY(weft_json_bool(json, "add_prefix_space", true, &prefix));
    step->kind = WI_DECODE_METASPACE;
    step->drop_first = prefix && strcmp(scheme, "never") != 0;
    return wi_mark_load(json, "replacement", NULL, name, step->mark, &step->mark_bytes);
}

static weft_status load_strip(const weft_json *json, const char *name, wi_decoder *step)
{
    step->kind = WI_DECODE_STRIP;
    WEFT_TRY(weft_json_int(json, "start", 0, INT32_MAX, 0, &step->start));
    WEFT_TRY(weft_json_int(json, "stop", 0, INT32_MAX, 0, &step->stop));
    return wi_mark_load(json, "content", " ", name, step->mark, &step->mark_bytes);
}

static weft_status load_replace(const weft_json *json, const char *name, wi_decoder *step)
{
    char where[160];
    const char *content;
    snprintf(where, sizeof where, "%.100s: decoder: Replace", name);
    step->kind = WI_DECODE_REPLACE;
    WEFT_TRY(weft_json_string(json, "content", "", &content));
    WEFT_TRY(wi_copy_text(content, &step->text, &step->bytes));
    return wi_pattern_load(weft_json_get(json, "pattern"), where, &step->pattern);
}

static weft_status load_one(const weft_json *json, const char *name, int depth, wi_decoders *out)
{
    const char *type;
    WEFT_TRY(weft_json_string(json, "type", "", &type));
    if (strcmp(type, "Sequence") == 0) return load_list(weft_json_get(json, "decoders"), name, depth + 1, out);
    if (out->count >= WI_STEPS_MAX) return weft_fail(WEFT_LIMIT, "%s: decoder: more than %d steps", name, WI_STEPS_MAX);
    wi_decoder *step = &out->steps[out->count++];
    if (strcmp(type, "Metaspace") == 0) return load_metaspace(json, name, step);
    if (strcmp(type, "Strip") == 0) return load_strip(json, name, step);
    if (strcmp(type, "Replace") == 0) return load_replace(json, name, step);
    if (strcmp(type, "ByteLevel") == 0)
        step->kind = WI_DECODE_BYTE_LEVEL;
    else if (strcmp(type, "ByteFallback") == 0)
        step->kind = WI_DECODE_BYTE_FALLBACK;
    else if (strcmp(type, "Fuse") == 0)
        step->kind = WI_DECODE_FUSE;
    else
        return wi_unknown(name, "decoder", type, "ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace, Sequence");
    return WEFT_OK;
}

static weft_status load_list(const weft_json *json, const char *name, int depth, wi_decoders *out)
{
    if (depth > 4) return weft_fail(WEFT_LIMIT, "%s: decoder: Sequences nested deeper than 4 levels", name);
    for (size_t i = 0; i < weft_json_size(json); i++) WEFT_TRY(load_one(weft_json_at(json, i), name, depth, out));
    return WEFT_OK;
}

weft_status wi_decoders_load(const weft_json *json, const char *name, wi_decoders *out)
{
    if (json && weft_json_kind_of(json) != WEFT_JSON_NULL) return load_one(json, name, 0, out);
    out->steps[out->count++].kind = WI_DECODE_JOIN;
    return WEFT_OK;
}
