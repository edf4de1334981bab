// SentencePiece's precompiled normalization: a double array that leads from a character, or a few, to its replacement.
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "model/tokenizer_impl.h"

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static weft_status decode_base64(const char *text, size_t bytes, const char *name, wi_bytes *out)
{
    uint32_t bits = 0;
    int held = 0;
    while (bytes > 0 && text[bytes - 1] == '=') bytes--;
    WEFT_TRY(wi_bytes_reserve(out, bytes + 4));
    for (size_t i = 0; i < bytes; i++) {
        int digit = base64_digit(text[i]);
        if (digit < 0) return weft_fail(WEFT_FORMAT, "%s: normalizer: precompiled_charsmap is not base64", name);
        bits = bits << 6 | (uint32_t)digit;
        held += 6;
        if (held >= 8) out->data[out->used++] = (char)(bits >> (held -= 8));
    }
    return WEFT_OK;
}

static uint32_t little_endian(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

weft_status wi_charsmap_decode(const char *base64, size_t bytes, const char *name, wi_charsmap *out)
{
    wi_bytes raw = {0};
    weft_status status;
    if (bytes == 0) return WEFT_OK; // no map: nothing changes
    WEFT_TRY_GOTO(decode_base64(base64, bytes, name, &raw));
    size_t units = raw.used >= 4 ? little_endian(raw.data) : SIZE_MAX;
    if (units % 4 != 0 || units > raw.used - 4 ||
        weft_utf8_valid(raw.data + 4 + units, raw.used - 4 - units) != raw.used - 4 - units) {
        status =
            weft_fail(WEFT_FORMAT, "%s: normalizer: precompiled_charsmap of %zu bytes is malformed", name, raw.used);
        goto fail;
    }
    out->count = units / 4;
    out->bytes = raw.used - 4 - units;
    out->units = malloc(units + 4);
    out->text = calloc(out->bytes + 1, 1);
    if (!out->units || !out->text) {
        status = weft_fail(WEFT_NO_MEMORY, "%s: no memory for precompiled_charsmap", name);
        goto fail;
    }
    for (size_t i = 0; i < out->count; i++) out->units[i] = little_endian(raw.data + 4 + 4 * i);
    memcpy(out->text, raw.data + 4 + units, out->bytes);
fail:
    free(raw.data);
    return status;
}

void wi_charsmap_fini(wi_charsmap *map)
{
    free(map->units);
    free(map->text);
    *map = (wi_charsmap){0};
}

static size_t offset_of(uint32_t unit) { return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6); }

// The replacement of the shortest prefix of the key that has one; NULL when none has.
static const char *find(const wi_charsmap *map, const char *key, size_t bytes)
{
    if (map->count == 0) return NULL;
    size_t at = offset_of(map->units[0]);
    for (size_t i = 0; i < bytes && key[i]; i++) {
        unsigned char byte = (unsigned char)key[i];
        at ^= byte;
        if (at >= map->count) return NULL;
        uint32_t unit = map->units[at];
        if ((unit & (1u << 31 | 0xFF)) != byte) return NULL;
        at ^= offset_of(unit);
        if (!(unit >> 8 & 1)) continue;
        if (at >= map->count) return NULL;
        size_t value = map->units[at] & ~(1u << 31);
        // An offset into the middle of a character would make text that is not UTF-8.
        if (value > map->bytes || ((unsigned char)map->text[value] & 0xC0) == 0x80) return NULL;
        return map->text + value;
    }
    return NULL;
}

static weft_status apply_to(const wi_charsmap *map, const char *text, size_t bytes, wi_bytes *out)
{
    const char *found = bytes < 6 ? find(map, text, bytes) : NULL;
    if (found) return wi_bytes_add(out, found, strlen(found));
    for (size_t i = 0, length; i < bytes; i += length) {
        wi_utf8_read(text + i, &length);
        found = find(map, text + i, length);
        WEFT_TRY(wi_bytes_add(out, found ? found : text + i, found ? strlen(found) : length));
    }
    return WEFT_OK;
}

// Whole grapheme clusters are looked up first, then their characters.
weft_status wi_charsmap_apply(const wi_charsmap *map, const char *text, size_t bytes, wi_bytes *out)
{
    size_t begin = 0, length;
    uint32_t before = 0;
    utf8proc_int32_t state = 0;
    for (size_t i = 0; i < bytes; i += length) {
        uint32_t code = wi_utf8_read(text + i, &length);
        if (i > 0 && utf8proc_grapheme_break_stateful((utf8proc_int32_t)before, (utf8proc_int32_t)code, &state)) {
            WEFT_TRY(apply_to(map, text + begin, i - begin, out));
            begin = i;
        }
        before = code;
    }
    return apply_to(map, text + begin, bytes - begin, out);
}
