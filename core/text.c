// Small helpers for one-line texts.
#include "core/text.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *wi_source_name(const char *file)
{
    if (file[0] != '/') return file;
    const char *name = strrchr(file, '/') + 1;
    const char *folder = name - 1;
    while (folder > file && folder[-1] != '/') folder--;
    return folder > file ? folder : name;
}

void wi_text_mark_cut(char *text, size_t capacity, int wanted)
{
    if (wanted < 0 || (size_t)wanted < capacity) return;
    size_t end = capacity - 4;
    while (end > 0 && ((unsigned char)text[end] & 0xC0) == 0x80) end--;
    memcpy(text + end, "...", 4);
}

size_t wi_utf8_length(const char *text)
{
    const unsigned char *c = (const unsigned char *)text;
    size_t length = c[0] < 0x80 ? 1 : c[0] >= 0xC2 && c[0] < 0xE0 ? 2 : c[0] >= 0xE0 && c[0] < 0xF0 ? 3 : 4;
    if (length == 1) return 1;
    if (c[0] < 0xC2 || c[0] > 0xF4) return 0;
    for (size_t i = 1; i < length; i++)
        if ((c[i] & 0xC0) != 0x80) return 0;
    if ((c[0] == 0xE0 && c[1] < 0xA0) || (c[0] == 0xED && c[1] > 0x9F)) return 0;
    if ((c[0] == 0xF0 && c[1] < 0x90) || (c[0] == 0xF4 && c[1] > 0x8F)) return 0;
    return length;
}

char *wi_text_of_real(double value, char text[WI_REAL_TEXT_MAX])
{
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    locale_t before = uselocale(plain);
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, WI_REAL_TEXT_MAX, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    uselocale(before);
    freelocale(plain);
    return text;
}
