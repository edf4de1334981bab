// How much of a text is UTF-8.
#include <string.h>

#include "core/json_cursor.h"

// The bytes of the well-formed sequence at text[0..bytes), 0 when it is none. Overlong forms and surrogates are none.
static size_t sequence_length(const unsigned char *text, size_t bytes)
{
    unsigned char first = text[0], low = 0x80, high = 0xBF;
    size_t length = 0;
    if (first < 0x80) return 1;
    if (first >= 0xC2 && first <= 0xDF)
        length = 2;
    else if (first >= 0xE0 && first <= 0xEF)
        length = 3;
    else if (first >= 0xF0 && first <= 0xF4)
        length = 4;
    if (length == 0 || length > bytes) return 0;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
    if (text[1] < low || text[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if ((text[i] & 0xC0) != 0x80) return 0;
    return length;
}

size_t weft_utf8_valid(const char *text, size_t bytes)
{
    const unsigned char *at = (const unsigned char *)text, *end = at + bytes;
    while (at < end) {
        uint64_t word;
        if (end - at >= 8 && (memcpy(&word, at, 8), (word & 0x8080808080808080u) == 0)) {
            at += 8;
            continue;
        }
        size_t length = sequence_length(at, (size_t)(end - at));
        if (length == 0) break;
        at += length;
    }
    return bytes - (size_t)(end - at);
}
