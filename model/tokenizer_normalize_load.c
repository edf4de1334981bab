// Reading the normalizers of a file.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer_impl.h"

static const char known[] = "NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Prepend, Replace, Nmt, ByteLevel, "
                            "Precompiled, BertNormalizer, Sequence";

static weft_status check_room(const wi_normalizers *out, const char *name)
{
    if (out->count < WI_STEPS_MAX) return WEFT_OK;
    return weft_fail(WEFT_LIMIT, "%s: normalizer: more than %d steps", name, WI_STEPS_MAX);
}

static weft_status add_step(wi_normalizers *out, const char *name, wi_normalizer_kind kind)
{
    WEFT_TRY(check_room(out, name));
    out->steps[out->count++].kind = kind;
    return WEFT_OK;
}

static weft_status load_bert(const weft_json *json, const char *name, wi_normalizers *out)
{
    bool clean, chinese, lowercase, accents;
    WEFT_TRY(weft_json_bool(json, "clean_text", true, &clean));
    WEFT_TRY(weft_json_bool(json, "handle_chinese_chars", true, &chinese));
    WEFT_TRY(weft_json_bool(json, "lowercase", true, &lowercase));
    WEFT_TRY(weft_json_bool(json, "strip_accents", lowercase, &accents));
    if (clean) WEFT_TRY(add_step(out, name, WI_CLEAN));
    if (chinese) WEFT_TRY(add_step(out, name, WI_CHINESE));
    if (accents) WEFT_TRY(add_step(out, name, WI_NFD));
    if (accents) WEFT_TRY(add_step(out, name, WI_STRIP_NONSPACING));
    if (lowercase) WEFT_TRY(add_step(out, name, WI_LOWERCASE));
    return WEFT_OK;
}

static weft_status load_options(const weft_json *json, const char *name, wi_normalizer *step)
{
    char where[160];
    const char *text;
    switch (step->kind) {
    case WI_STRIP:
        WEFT_TRY(weft_json_bool(json, "strip_left", true, &step->left));
        return weft_json_bool(json, "strip_right", true, &step->right);
    case WI_PREPEND:
        WEFT_TRY(weft_json_string(json, "prepend", "", &text));
        return wi_copy_text(text, &step->text, &step->bytes);
    case WI_REPLACE:
        snprintf(where, sizeof where, "%.100s: normalizer: Replace", name);
        WEFT_TRY(weft_json_string(json, "content", "", &text));
        WEFT_TRY(wi_copy_text(text, &step->text, &step->bytes));
        return wi_pattern_load(weft_json_get(json, "pattern"), where, &step->pattern);
    case WI_CHARSMAP:
        WEFT_TRY(weft_json_string(json, "precompiled_charsmap", "", &text));
        return wi_charsmap_decode(text, strlen(text), name, &step->map);
    default:
        return WEFT_OK;
    }
}

static weft_status load_one(const weft_json *json, const char *name, int depth, wi_normalizers *out)
{
    static const struct {
        const char *type;
        wi_normalizer_kind kind;
    } types[] = {{"NFC", WI_NFC},
                 {"NFD", WI_NFD},
                 {"NFKC", WI_NFKC},
                 {"NFKD", WI_NFKD},
                 {"Lowercase", WI_LOWERCASE},
                 {"Strip", WI_STRIP},
                 {"StripAccents", WI_STRIP_ACCENTS},
                 {"Prepend", WI_PREPEND},
                 {"Replace", WI_REPLACE},
                 {"Nmt", WI_NMT},
                 {"ByteLevel", WI_BYTES},
                 {"Precompiled", WI_CHARSMAP}};
    const char *type;
    WEFT_TRY(weft_json_string(json, "type", "", &type));
    if (strcmp(type, "Sequence") == 0) {
        const weft_json *list = weft_json_get(json, "normalizers");
        if (depth > 4) return weft_fail(WEFT_LIMIT, "%s: normalizer: Sequences nested deeper than 4 levels", name);
        for (size_t i = 0; i < weft_json_size(list); i++)
            WEFT_TRY(load_one(weft_json_at(list, i), name, depth + 1, out));
        return WEFT_OK;
    }
    if (strcmp(type, "BertNormalizer") == 0) return load_bert(json, name, out);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(type, types[i].type) != 0) continue;
        WEFT_TRY(add_step(out, name, types[i].kind));
        return load_options(json, name, &out->steps[out->count - 1]);
    }
    return wi_unknown(name, "normalizer", type, known);
}

weft_status wi_normalizers_load(const weft_json *json, const char *name, wi_normalizers *out)
{
    if (!json || weft_json_kind_of(json) == WEFT_JSON_NULL) return WEFT_OK;
    return load_one(json, name, 0, out);
}
