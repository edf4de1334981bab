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
