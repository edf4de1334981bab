// Small helpers for one-line texts. Inside core/ only.
#ifndef WEFT_CORE_TEXT_H
#define WEFT_CORE_TEXT_H

#include <stddef.h>

// "comm/shm.c" of "/somewhere/comm/shm.c"; a relative path stays whole. Points into `file`. Async-signal-safe.
const char *wi_source_name(const char *file);

// After vsnprintf(text, capacity, ...) returned `wanted`: a text that did not fit ends with "..." and never with half a
// UTF-8 character. Capacity is at least 4.
void wi_text_mark_cut(char *text, size_t capacity, int wanted);

// The bytes of the UTF-8 character at `text` (which ends with NUL), 0 when it is none. Async-signal-safe.
size_t wi_utf8_length(const char *text);

// The shortest decimal text that reads back as `value` (which is finite), with a point whatever the locale says.
enum { WI_REAL_TEXT_MAX = 32 };
char *wi_text_of_real(double value, char text[WI_REAL_TEXT_MAX]);

#endif
