// What the parts of the flag parser share. Inside core/ only.
#ifndef WEFT_CORE_FLAGS_TABLE_H
#define WEFT_CORE_FLAGS_TABLE_H

#include "core/flags.h"

enum { WI_FLAG_NAME_MAX = 64 }; // longer names are never close to anything and have no place in an error line

// "WEFT_MAX_TOKENS" of "max-tokens".
char *wi_flag_variable(const weft_flag *flag, char text[WI_FLAG_NAME_MAX]);

// Checks `value` and, when `store` is set, puts it into the options struct. `shown` is how an error begins:
// "--threads " or "WEFT_THREADS=".
weft_status wi_flag_set(const weft_flag *flag, const char *shown, const char *value, void *options, bool store);

// The value in the options struct as a text for the help; "" when there is nothing to show.
char *wi_flag_default(const weft_flag *flag, const void *options, char *text, size_t capacity);

// The closest candidate so far. Start with {word}.
typedef struct {
    const char *word;
    const char *best; // NULL until one is close enough
    int distance;
} wi_closest;
void wi_closest_offer(wi_closest *closest, const char *candidate);

#endif
