// How a journal's records look, for its writer and its reader. Inside launch/ only.
#ifndef WEFT_LAUNCH_JOURNAL_BYTES_H
#define WEFT_LAUNCH_JOURNAL_BYTES_H

#include <stdint.h>

#include "core/crc32c.h"
#include "core/status.h"

#define WI_JOURNAL_MAGIC "weftbat1"

enum {
    WI_MAGIC_BYTES = 8,
    WI_RECORD_HEAD = 8,       // bytes, sum
    WI_RECORD_FULL = 1 << 20, // a step's record that has so much is followed by another
    WI_RECORD_BYTES_MAX = 1 << 24,
    WI_HASH_TEXT = 64
};

enum {
    WI_RECORD_HEADER = 'H', // text, a line a setting
    WI_RECORD_INPUT = 'I',
    WI_RECORD_STEP = 'T', // entries: request, continuation << 2 | kind, what the kind has
    WI_RECORD_LINE = 'W',
    WI_RECORD_DONE = 'E'
};

enum { WI_ENTRY_TOKEN, WI_ENTRY_LOGPROB, WI_ENTRY_END };

// Chained: a record that was moved, left out or repeated is found as one that was changed is.
static inline uint32_t wi_record_crc(uint32_t before, const unsigned char *head, const void *rest, uint32_t bytes)
{
    const unsigned char chain[4] = {(unsigned char)before, (unsigned char)(before >> 8), (unsigned char)(before >> 16),
                                    (unsigned char)(before >> 24)};
    return weft_crc32c(weft_crc32c(weft_crc32c(0, chain, 4), head, 4), rest, bytes);
}

weft_status wi_sync_folder_of(const char *path); // names in the folder of `path` are on the disk

#endif
