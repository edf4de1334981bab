// Growing memory, UTF-8, and the classes of characters that tokenizers ask for.
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "model/tokenizer_impl.h"

weft_status wi_grow(void *data, size_t item, size_t count, size_t *capacity)
{
    void *old, *grown;
    if (count <= *capacity) return WEFT_OK;
    size_t wanted = *capacity + *capacity / 2;
    if (wanted < count) wanted = count;
    if (wanted < 64) wanted = 64;
    memcpy(&old, data, sizeof old);
    grown = wanted > SIZE_MAX / item ? NULL : realloc(old, wanted * item);
    if (!grown) return weft_fail(WEFT_NO_MEMORY, "tokenizer: no memory for %zu items of %zu bytes", wanted, item);
    memcpy(data, &grown, sizeof grown);
    *capacity = wanted;
    return WEFT_OK;
}

weft_status wi_bytes_reserve(wi_bytes *bytes, size_t more)
{
    return wi_grow(&bytes->data, 1, bytes->used + more, &bytes->capacity);
}

weft_status wi_bytes_add(wi_bytes *bytes, const char *data, size_t count)
{
    WEFT_TRY(wi_bytes_reserve(bytes, count + 1));
    if (count) memcpy(bytes->data + bytes->used, data, count);
    bytes->used += count;
    return WEFT_OK;
}

uint32_t wi_utf8_read(const char *text, size_t *length)
{
    const unsigned char *at = (const unsigned char *)text;
    if (at[0] < 0x80) return *length = 1, at[0];
    if (at[0] < 0xE0) return *length = 2, (uint32_t)(at[0] & 31) << 6 | (at[1] & 63u);
    if (at[0] < 0xF0) return *length = 3, (uint32_t)(at[0] & 15) << 12 | (at[1] & 63u) << 6 | (at[2] & 63u);
    *length = 4;
    return (uint32_t)(at[0] & 7) << 18 | (at[1] & 63u) << 12 | (at[2] & 63u) << 6 | (at[3] & 63u);
}

size_t wi_utf8_write(char *to, uint32_t code)
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)code, (utf8proc_uint8_t *)to);
}

bool wi_is_space(uint32_t code)
{
    if (code < 0x80) return code == ' ' || (code >= 9 && code <= 13);
    return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
           code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool wi_is_number(uint32_t code)
{
    if (code < 0x80) return code >= '0' && code <= '9';
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

bool wi_is_punctuation(uint32_t code)
{
    if (code < 0x80)
        return code > ' ' && code < 0x7F && !(code >= '0' && code <= '9') &&
               ((code | 0x20) < 'a' || (code | 0x20) > 'z');
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

// Alphabetic beyond letters and letter numbers: circled and squared Latin letters.
static bool is_enclosed_letter(uint32_t code)
{
    return (code >= 0x24B6 && code <= 0x24E9) || (code >= 0x1F130 && code <= 0x1F149) ||
           (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189);
}

bool wi_is_word(uint32_t code)
{
    if (code < 0x80)
        return (code >= '0' && code <= '9') || ((code | 0x20) >= 'a' && (code | 0x20) <= 'z') || code == '_';
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return code == 0x200C || code == 0x200D || is_enclosed_letter(code);
    }
}

static bool stands_for_itself(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// Bytes that are no visible character of Latin-1 get those from U+0100 on, in order: 0x00-0x20, 0x7F-0xA0, 0xAD.
uint32_t wi_byte_char(unsigned char byte)
{
    if (stands_for_itself(byte)) return byte;
    if (byte <= 0x20) return 0x100u + byte;
    if (byte <= 0xA0) return 0x121u + (byte - 0x7Fu);
    return 0x143;
}

int wi_char_byte(uint32_t code)
{
    if (code < 0x100) return stands_for_itself(code) ? (int)code : -1;
    if (code <= 0x120) return (int)(code - 0x100);
    if (code <= 0x142) return (int)(code - 0x121 + 0x7F);
    return code == 0x143 ? 0xAD : -1;
}

size_t wi_byte_map(const char *text, size_t bytes, char *to)
{
    size_t used = 0;
    for (size_t i = 0; i < bytes; i++) {
        uint32_t code = wi_byte_char((unsigned char)text[i]);
        if (code < 0x80) {
            to[used++] = (char)code;
        } else {
            to[used++] = (char)(0xC0 | code >> 6);
            to[used++] = (char)(0x80 | (code & 63));
        }
    }
    return used;
}

weft_status wi_copy_text(const char *text, char **out, size_t *bytes)
{
    *bytes = strlen(text);
    *out = malloc(*bytes + 1);
    if (!*out) return weft_fail(WEFT_NO_MEMORY, "tokenizer: no memory for a text of %zu bytes", *bytes);
    memcpy(*out, text, *bytes + 1);
    return WEFT_OK;
}
