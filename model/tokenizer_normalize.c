// Normalizers: what a text becomes before it is cut.
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "model/tokenizer_impl.h"

enum { CANONICAL = 1, COMPATIBLE = 2, COMPOSES = 4 };

static int form_of(wi_normalizer_kind kind)
{
    switch (kind) {
    case WI_NFC:
        return CANONICAL | COMPOSES;
    case WI_NFKC:
        return COMPATIBLE | COMPOSES;
    case WI_NFKD:
        return COMPATIBLE;
    default:
        return CANONICAL;
    }
}

// Whether a character stays as it is and never joins what stands before it, so that a text may be cut there.
static bool is_inert(uint32_t code, int form)
{
    if (code < 0x80) return true;
    if (form == (CANONICAL | COMPOSES) && code < 0x300) return true;
    if (code >= 0x1100 && code <= 0x11FF) return false;                       // Hangul letters
    if (code >= 0xAC00 && code <= 0xD7A3 && !(form & COMPOSES)) return false; // and syllables
    const utf8proc_property_t *property = utf8proc_get_property((utf8proc_int32_t)code);
    bool joins = property->comb_index != UINT16_MAX && property->comb_index >= 0x8000;
    bool decomposes = property->decomp_seqindex != UINT16_MAX && (property->decomp_type == 0 || (form & COMPATIBLE));
    return property->combining_class == 0 && !joins && !decomposes;
}

static weft_status map_segment(const char *text, size_t bytes, int form, wi_bytes *out)
{
    utf8proc_uint8_t *mapped = NULL;
    int options = UTF8PROC_STABLE | (form & COMPOSES ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                  (form & COMPATIBLE ? UTF8PROC_COMPAT : 0);
    utf8proc_ssize_t got =
        utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)bytes, &mapped, (utf8proc_option_t)options);
    if (got < 0) return weft_fail(WEFT_NO_MEMORY, "tokenizer: normalizing %zu bytes: %s", bytes, utf8proc_errmsg(got));
    weft_status status = wi_bytes_add(out, (const char *)mapped, (size_t)got);
    free(mapped);
    return status;
}

// Only where characters move is utf8proc asked: from the last character that stays before them to the next one.
static weft_status to_form(const char *text, size_t bytes, int form, wi_bytes *out)
{
    size_t done = 0, last = 0, length;
    for (size_t i = 0; i < bytes;) {
        if (is_inert(wi_utf8_read(text + i, &length), form)) {
            last = i;
            i += length;
            continue;
        }
        size_t end = i + length;
        while (end < bytes && !is_inert(wi_utf8_read(text + end, &length), form)) end += length;
        if (last > done) WEFT_TRY(wi_bytes_add(out, text + done, last - done));
        WEFT_TRY(map_segment(text + last, end - last, form, out));
        done = last = i = end;
    }
    return wi_bytes_add(out, text + done, bytes - done);
}

static bool is_mark(uint32_t code, bool nonspacing_only)
{
    if (code < 0x300) return false;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category == UTF8PROC_CATEGORY_MN ||
           (!nonspacing_only && (category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME));
}

static bool is_dropped_by_nmt(uint32_t code)
{
    return (code >= 1 && code <= 8) || code == 0x0B || (code >= 0x0E && code <= 0x1F) || code == 0x7F || code == 0x8F ||
           code == 0x9F;
}

static bool is_space_for_nmt(uint32_t code)
{
    return code == 9 || code == 10 || code == 12 || code == 13 || code == 0x1680 ||
           (code >= 0x200B && code <= 0x200F) || code == 0x2028 || code == 0x2029 || code == 0x2581 || code == 0xFEFF ||
           code == 0xFFFD;
}

static bool is_dropped_by_bert(uint32_t code)
{
    if (code == '\t' || code == '\n' || code == '\r') return false;
    if (code == 0 || code == 0xFFFD) return true;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    // The field's table of characters that are assigned to nothing is empty.
    return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CO;
}

static bool is_ideograph(uint32_t code)
{
    return (code >= 0x4E00 && code <= 0x9FFF) || (code >= 0x3400 && code <= 0x4DBF) ||
           (code >= 0x20000 && code <= 0x2A6DF) || (code >= 0x2A700 && code <= 0x2B73F) ||
           (code >= 0x2B740 && code <= 0x2B81F) || (code >= 0x2B920 && code <= 0x2CEAF) ||
           (code >= 0xF900 && code <= 0xFAFF) || (code >= 0x2F800 && code <= 0x2FA1F);
}

// What one character becomes, at most three; how many.
static int change(wi_normalizer_kind kind, uint32_t code, uint32_t to[3])
{
    to[0] = code;
    switch (kind) {
    case WI_LOWERCASE:
        to[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
        to[1] = 0x307; // the only character whose lower case is two: I with a dot
        return code == 0x130 ? 2 : 1;
    case WI_STRIP_ACCENTS:
        return !is_mark(code, false);
    case WI_STRIP_NONSPACING:
        return !is_mark(code, true);
    case WI_NMT:
        if (is_space_for_nmt(code)) to[0] = ' ';
        return !is_dropped_by_nmt(code);
    case WI_CLEAN:
        if (wi_is_space(code)) to[0] = ' ';
        return !is_dropped_by_bert(code);
    case WI_CHINESE:
        if (!is_ideograph(code)) return 1;
        to[0] = to[2] = ' ';
        to[1] = code;
        return 3;
    default:
        return 1;
    }
}

static weft_status change_each(wi_normalizer_kind kind, const char *text, size_t bytes, wi_bytes *out)
{
    uint32_t to[3];
    for (size_t i = 0, length; i < bytes; i += length) {
        int count = change(kind, wi_utf8_read(text + i, &length), to);
        WEFT_TRY(wi_bytes_reserve(out, 12));
        for (int k = 0; k < count; k++) out->used += wi_utf8_write(out->data + out->used, to[k]);
    }
    return WEFT_OK;
}

static weft_status strip(const wi_normalizer *step, const char *text, size_t bytes, wi_bytes *out, bool *kept_begin)
{
    size_t begin = 0, end = 0, length;
    while (step->left && begin < bytes && wi_is_space(wi_utf8_read(text + begin, &length))) begin += length;
    for (size_t i = begin; i < bytes; i += length)
        if (!wi_is_space(wi_utf8_read(text + i, &length)) || !step->right) end = i + length;
    if (begin > 0) *kept_begin = false;
    return end > begin ? wi_bytes_add(out, text + begin, end - begin) : WEFT_OK;
}

static weft_status replace(const wi_normalizer *step, wi_matcher *matcher, const char *text, size_t bytes,
                           wi_bytes *out)
{
    size_t done = 0, from = 0, last_end = SIZE_MAX, begin, end;
    while (bytes > 0 && from <= bytes) {
        WEFT_TRY(wi_pattern_find(&step->pattern, matcher, text, bytes, from, last_end, &begin, &end));
        if (begin == SIZE_MAX) break;
        WEFT_TRY(wi_bytes_add(out, text + done, begin - done));
        WEFT_TRY(wi_bytes_add(out, step->text, step->bytes));
        if (out->used > WI_TEXT_MAX)
            return weft_fail(WEFT_LIMIT, "tokenizer: Replace made the text longer than %d bytes", WI_TEXT_MAX);
        done = from = last_end = end;
    }
    return wi_bytes_add(out, text + done, bytes - done);
}

static weft_status apply(const wi_normalizer *step, wi_matcher *matcher, const char *text, size_t bytes, wi_bytes *out,
                         bool *kept_begin)
{
    switch (step->kind) {
    case WI_NFC:
    case WI_NFD:
    case WI_NFKC:
    case WI_NFKD:
        return to_form(text, bytes, form_of(step->kind), out);
    case WI_STRIP:
        return strip(step, text, bytes, out, kept_begin);
    case WI_PREPEND:
        if (bytes > 0) WEFT_TRY(wi_bytes_add(out, step->text, step->bytes));
        return wi_bytes_add(out, text, bytes);
    case WI_REPLACE:
        return replace(step, matcher, text, bytes, out);
    case WI_BYTES:
        WEFT_TRY(wi_bytes_reserve(out, 2 * bytes));
        out->used += wi_byte_map(text, bytes, out->data + out->used);
        return WEFT_OK;
    case WI_CHARSMAP:
        return wi_charsmap_apply(&step->map, text, bytes, out);
    default:
        return change_each(step->kind, text, bytes, out);
    }
}

weft_status wi_normalize(const wi_normalizers *normalizers, wi_matcher *matcher, const char *text, size_t bytes,
                         wi_bytes scratch[2], wi_bytes *out, bool *kept_begin)
{
    *kept_begin = true;
    if (normalizers->count == 0) return wi_bytes_add(out, text, bytes);
    for (int i = 0; i < normalizers->count; i++) {
        wi_bytes *to = i + 1 == normalizers->count ? out : &scratch[i & 1];
        if (to != out) to->used = 0;
        WEFT_TRY(wi_bytes_reserve(to, bytes + 1));
        WEFT_TRY(apply(&normalizers->steps[i], matcher, text, bytes, to, kept_begin));
        if (to->used > WI_TEXT_MAX)
            return weft_fail(WEFT_LIMIT, "tokenizer: the normalized text is longer than %d bytes; give it in parts",
                             WI_TEXT_MAX);
        text = to->data;
        bytes = to->used;
    }
    return WEFT_OK;
}

void wi_normalizers_fini(wi_normalizers *normalizers)
{
    for (int i = 0; i < normalizers->count; i++) {
        wi_pattern_fini(&normalizers->steps[i].pattern);
        wi_charsmap_fini(&normalizers->steps[i].map);
        free(normalizers->steps[i].text);
    }
}
