#include "launch/words.h"

#include <stdlib.h>
#include <string.h>

#include "core/checked.h"

enum { WORD = 8 };

void wi_words_put(wi_words *w, const void *data, size_t bytes)
{
    const size_t all = weft_align_up(bytes, WORD);
    if (w->used + all > w->capacity) {
        const size_t capacity = 2 * (w->used + all) + 4096;
        unsigned char *more = realloc(w->bytes, capacity);
        if (!more) {
            w->failed = true;
            return;
        }
        w->bytes = more;
        w->capacity = capacity;
    }
    if (bytes > 0) memcpy(w->bytes + w->used, data, bytes);
    memset(w->bytes + w->used + bytes, 0, all - bytes);
    w->used += all;
}

void wi_words_free(wi_words *w)
{
    free(w->bytes);
    *w = (wi_words){0};
}

const void *wi_words_take(wi_words_reader *r, size_t bytes)
{
    const unsigned char *at = r->at;
    r->at += weft_align_up(bytes, WORD);
    return at;
}
