// Bytes on their way between ranks of one build on one kind of processor: structs as they are, each piece padded to
// whole words of eight bytes. Inside launch/ only.
#ifndef WEFT_LAUNCH_WORDS_H
#define WEFT_LAUNCH_WORDS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    unsigned char *bytes; // (capacity)
    size_t used, capacity;
    bool failed; // no memory; what was put then is not there
} wi_words;

void wi_words_put(wi_words *words, const void *data, size_t bytes);
void wi_words_free(wi_words *words);

// Reading them; what is given lies in them.
typedef struct {
    const unsigned char *at, *end;
} wi_words_reader;
const void *wi_words_take(wi_words_reader *reader, size_t bytes);

#endif
