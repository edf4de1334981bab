// Pre-tokenizers: where a text is cut before the model sees it, and the two that rewrite it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer_impl.h"

// What GPT-2 splits by; ByteLevel has it built in.
static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
// What Whitespace keeps, by another library's idea of \w.
#define WORD                                                                                                           \
    "\\p{L}\\p{M}\\p{Nl}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}" \
    "\\x{1f170}-\\x{1f189}"
static const char words[] = "[" WORD "]+|[^" WORD "\\s]+";

// Cuts one piece. Between matches lie the rest; what becomes of both is the behavior.
typedef struct {
    weft_encoder *encoder;
    const wi_pretokenizer *step;
    size_t base;       // of the piece, in the text
    bool first;        // the piece begins the text
    size_t begin, end; // held back, because the next part may join it; empty when begin == end
    bool was_match, any;
} cutter;

static weft_status emit(cutter *cut, size_t begin, size_t end)
{
    return wi_piece_add(&cut->encoder->next, cut->base + begin, cut->base + end, -1, cut->first && begin == 0);
}

static weft_status hold(cutter *cut, size_t begin, size_t end)
{
    WEFT_TRY(emit(cut, cut->begin, cut->end));
    cut->begin = begin;
    cut->end = end;
    return WEFT_OK;
}

static weft_status part(cutter *cut, size_t begin, size_t end, bool is_match)
{
    bool joins = false;
    is_match ^= cut->step->invert;
    switch (cut->step->behavior) {
    case WI_ISOLATED:
        return emit(cut, begin, end);
    case WI_REMOVED:
        return is_match ? WEFT_OK : emit(cut, begin, end);
    case WI_CONTIGUOUS:
        joins = cut->any && is_match == cut->was_match;
        break;
    case WI_WITH_PREVIOUS:
        joins = cut->any && is_match && !cut->was_match;
        break;
    case WI_WITH_NEXT:
        joins = cut->any && !is_match && cut->was_match;
        break;
    }
    cut->any = true;
    cut->was_match = is_match;
    if (!joins) return hold(cut, begin, end);
    cut->end = end;
    return WEFT_OK;
}

static weft_status cut_by_pattern(cutter *cut, const char *text, size_t bytes)
{
    size_t done = 0, from = 0, last_end = SIZE_MAX, begin, end;
    while (from <= bytes) {
        WEFT_TRY(
            wi_pattern_find(&cut->step->pattern, &cut->encoder->matcher, text, bytes, from, last_end, &begin, &end));
        if (begin == SIZE_MAX) break;
        if (done != begin) WEFT_TRY(part(cut, done, begin, false));
        WEFT_TRY(part(cut, begin, end, true));
        done = from = last_end = end;
    }
    if (done != bytes) WEFT_TRY(part(cut, done, bytes, false));
    return emit(cut, cut->begin, cut->end);
}

static weft_status cut_by_class(cutter *cut, const char *text, size_t bytes)
{
    size_t done = 0, length;
    for (size_t i = 0; i < bytes; i += length) {
        if (!cut->step->is(wi_utf8_read(text + i, &length))) continue;
        if (done != i) WEFT_TRY(part(cut, done, i, false));
        WEFT_TRY(part(cut, i, i + length, true));
        done = i + length;
    }
    if (done != bytes) WEFT_TRY(part(cut, done, bytes, false));
    return emit(cut, cut->begin, cut->end);
}

static weft_status cut_piece(weft_encoder *encoder, const void *arg, wi_piece piece)
{
    const wi_pretokenizer *step = arg;
    cutter cut = {.encoder = encoder, .step = step, .base = piece.begin, .first = piece.first};
    const char *text = encoder->text + piece.begin;
    if (step->kind == WI_SPLIT_CLASS) return cut_by_class(&cut, text, piece.length);
    return cut_by_pattern(&cut, text, piece.length);
}

static bool starts_with(const char *text, size_t bytes, const char *mark, size_t mark_bytes)
{
    return bytes >= mark_bytes && memcmp(text, mark, mark_bytes) == 0;
}

static weft_status rewrite_metaspace(const wi_pretokenizer *step, const char *text, wi_piece piece, wi_bytes *out)
{
    bool wants = step->scheme == WI_PREPEND_ALWAYS || (step->scheme == WI_PREPEND_FIRST && piece.first);
    if (wants && text[0] != ' ' && !starts_with(text, piece.length, step->mark, step->mark_bytes))
        WEFT_TRY(wi_bytes_add(out, step->mark, step->mark_bytes));
    WEFT_TRY(wi_bytes_reserve(out, piece.length * step->mark_bytes + 1));
    char *to = out->data + out->used;
    for (size_t i = 0; i < piece.length; i++) {
        if (text[i] == ' ') {
            memcpy(to, step->mark, step->mark_bytes);
            to += step->mark_bytes;
        } else {
            *to++ = text[i];
        }
    }
    out->used = (size_t)(to - out->data);
    return WEFT_OK;
}

// What METASPACE and BYTE_LEVEL change before they cut. `map`: bytes become characters here, and not in the model.
static weft_status rewrite_piece(const wi_pretokenizer *step, const char *text, wi_piece piece, bool map, wi_bytes *out)
{
    if (step->kind == WI_METASPACE) return rewrite_metaspace(step, text, piece, out);
    if (map) {
        WEFT_TRY(wi_bytes_reserve(out, piece.length * 2 + 1));
        out->used += wi_byte_map(text, piece.length, out->data + out->used);
        return WEFT_OK;
    }
    if (step->prefix && text[0] != ' ') WEFT_TRY(wi_bytes_add(out, " ", 1));
    return wi_bytes_add(out, text, piece.length);
}

static weft_status rewrite_all(weft_encoder *encoder, const wi_pretokenizer *step, bool map)
{
    wi_bytes *out = &encoder->buffers[encoder->current ^= 1];
    out->used = 0;
    for (size_t i = 0; i < encoder->pieces.count; i++) {
        wi_piece *piece = &encoder->pieces.at[i];
        size_t begin = out->used;
        if (piece->id >= 0) continue;
        WEFT_TRY(rewrite_piece(step, encoder->text + piece->begin, *piece, map, out));
        if (out->used > WI_TEXT_MAX)
            return weft_fail(WEFT_LIMIT, "tokenizer: the text grew beyond %d bytes; give it in parts", WI_TEXT_MAX);
        piece->begin = (uint32_t)begin;
        piece->length = (uint32_t)(out->used - begin);
    }
    WEFT_TRY(wi_bytes_reserve(out, 1));
    encoder->text = out->data;
    encoder->text_bytes = out->used;
    return WEFT_OK;
}

weft_status wi_pretokenize(weft_encoder *encoder)
{
    const wi_pretokenizers *all = &encoder->tokenizer->pretokenizers;
    for (int i = 0; i < all->count; i++) {
        const wi_pretokenizer *step = &all->steps[i];
        bool cuts = step->kind == WI_SPLIT || step->kind == WI_SPLIT_CLASS || step->split;
        if (step->kind == WI_METASPACE || step->prefix) WEFT_TRY(rewrite_all(encoder, step, false));
        if (cuts) WEFT_TRY(wi_pieces_cut(encoder, cut_piece, step));
        if (step->kind != WI_BYTE_LEVEL) continue;
        // The last step leaves the bytes as they are: BPE knows the ids of bytes, and its cache takes raw words.
        if (i + 1 == all->count && !encoder->tokenizer->is_unigram)
            encoder->bytes_pending = true;
        else
            WEFT_TRY(rewrite_all(encoder, step, true));
    }
    return WEFT_OK;
}

void wi_pretokenizers_fini(wi_pretokenizers *pretokenizers)
{
    for (int i = 0; i < pretokenizers->count; i++) wi_pattern_fini(&pretokenizers->steps[i].pattern);
}

static weft_status load_behavior(const weft_json *json, const char *fallback, const char *name, wi_behavior *out)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *text;
    WEFT_TRY(weft_json_string(json, "behavior", fallback, &text));
    for (int i = 0; text && i < 5; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (wi_behavior)i;
            return WEFT_OK;
        }
    return weft_fail(WEFT_UNSUPPORTED,
                     "%s: pre_tokenizer: behavior \"%.60s\" is not known; known are Removed, Isolated, "
                     "MergedWithPrevious, MergedWithNext, Contiguous",
                     name, text ? text : "");
}

static weft_status load_metaspace(const weft_json *json, const char *name, wi_pretokenizer *out)
{
    const char *scheme;
    bool prefix;
    WEFT_TRY(weft_json_string(json, "prepend_scheme", "always", &scheme));
    WEFT_TRY(weft_json_bool(json, "add_prefix_space", true, &prefix));
    WEFT_TRY(weft_json_bool(json, "split", true, &out->split));
    WEFT_TRY(wi_mark_load(json, "replacement", NULL, name, out->mark, &out->mark_bytes));
    if (strcmp(scheme, "always") == 0)
        out->scheme = WI_PREPEND_ALWAYS;
    else if (strcmp(scheme, "first") == 0)
        out->scheme = WI_PREPEND_FIRST;
    else if (strcmp(scheme, "never") == 0)
        out->scheme = WI_PREPEND_NEVER;
    else
        return weft_fail(WEFT_UNSUPPORTED,
                         "%s: pre_tokenizer: prepend_scheme \"%.60s\" is not known; known are always, first, never",
                         name, scheme);
    if (!prefix) out->scheme = WI_PREPEND_NEVER;
    out->behavior = WI_WITH_NEXT;
    return wi_pattern_literal(out->mark, out->mark_bytes, name, &out->pattern);
}

static weft_status load_byte_level(const weft_json *json, const char *name, wi_pretokenizer *out)
{
    out->kind = WI_BYTE_LEVEL;
    out->behavior = WI_ISOLATED;
    WEFT_TRY(weft_json_bool(json, "add_prefix_space", true, &out->prefix));
    WEFT_TRY(weft_json_bool(json, "use_regex", true, &out->split));
    return wi_pattern_regex(gpt2, sizeof gpt2 - 1, name, &out->pattern);
}

static weft_status load_classes(const weft_json *json, const char *type, const char *name, wi_pretokenizer *out,
                                bool *known)
{
    bool single = false;
    out->kind = WI_SPLIT_CLASS;
    *known = true;
    if (strcmp(type, "WhitespaceSplit") == 0) {
        out->is = wi_is_space;
        out->behavior = WI_REMOVED;
    } else if (strcmp(type, "Digits") == 0) {
        WEFT_TRY(weft_json_bool(json, "individual_digits", false, &single));
        out->is = wi_is_number;
        out->behavior = single ? WI_ISOLATED : WI_CONTIGUOUS;
    } else if (strcmp(type, "Punctuation") == 0) {
        out->is = wi_is_punctuation;
        return load_behavior(json, "Isolated", name, &out->behavior);
    } else {
        *known = false;
    }
    return WEFT_OK;
}

static weft_status load_split(const weft_json *json, const char *type, const char *name, wi_pretokenizer *out)
{
    char where[160];
    snprintf(where, sizeof where, "%.100s: pre_tokenizer: %.20s", name, type);
    out->kind = WI_SPLIT;
    if (strcmp(type, "Whitespace") == 0) {
        out->behavior = WI_REMOVED;
        out->invert = true;
        return wi_pattern_regex(words, sizeof words - 1, where, &out->pattern);
    }
    if (strcmp(type, "CharDelimiterSplit") == 0) {
        out->behavior = WI_REMOVED;
        WEFT_TRY(wi_mark_load(json, "delimiter", NULL, where, out->mark, &out->mark_bytes));
        return wi_pattern_literal(out->mark, out->mark_bytes, where, &out->pattern);
    }
    WEFT_TRY(weft_json_bool(json, "invert", false, &out->invert));
    WEFT_TRY(load_behavior(json, NULL, name, &out->behavior));
    return wi_pattern_load(weft_json_get(json, "pattern"), where, &out->pattern);
}

static weft_status load_list(const weft_json *json, const char *name, int depth, wi_pretokenizers *out);

static weft_status load_one(const weft_json *json, const char *name, int depth, wi_pretokenizers *out)
{
    const char *type;
    bool known;
    WEFT_TRY(weft_json_string(json, "type", "", &type));
    if (strcmp(type, "Sequence") == 0) return load_list(weft_json_get(json, "pretokenizers"), name, depth + 1, out);
    if (out->count >= WI_STEPS_MAX)
        return weft_fail(WEFT_LIMIT, "%s: pre_tokenizer: more than %d steps", name, WI_STEPS_MAX);
    wi_pretokenizer *step = &out->steps[out->count++];
    if (strcmp(type, "ByteLevel") == 0) return load_byte_level(json, name, step);
    if (strcmp(type, "Metaspace") == 0) {
        step->kind = WI_METASPACE;
        return load_metaspace(json, name, step);
    }
    if (strcmp(type, "Split") == 0 || strcmp(type, "Whitespace") == 0 || strcmp(type, "CharDelimiterSplit") == 0)
        return load_split(json, type, name, step);
    WEFT_TRY(load_classes(json, type, name, step, &known));
    if (known) return WEFT_OK;
    return wi_unknown(name, "pre_tokenizer", type,
                      "ByteLevel, Split, Metaspace, Whitespace, WhitespaceSplit, Digits, Punctuation, "
                      "CharDelimiterSplit, Sequence");
}

static weft_status load_list(const weft_json *json, const char *name, int depth, wi_pretokenizers *out)
{
    if (depth > 4) return weft_fail(WEFT_LIMIT, "%s: pre_tokenizer: Sequences nested deeper than 4 levels", name);
    for (size_t i = 0; i < weft_json_size(json); i++) WEFT_TRY(load_one(weft_json_at(json, i), name, depth, out));
    return WEFT_OK;
}

weft_status wi_pretokenizers_load(const weft_json *json, const char *name, wi_pretokenizers *out)
{
    if (!json || weft_json_kind_of(json) == WEFT_JSON_NULL) return WEFT_OK;
    return load_one(json, name, 0, out);
}
