// What a batch had done when it ended, from its journal and its output: what is written, what was begun, and how far
// the input was read. Inside launch/ only.
#ifndef WEFT_LAUNCH_PROGRESS_H
#define WEFT_LAUNCH_PROGRESS_H

#include "core/sha256.h"
#include "launch/draws.h"

// A hash over the hashes of all requests in input order, in whatever order they come.
typedef struct {
    weft_sha256 hash;
    int64_t next; // the first request that has not come
    struct wi_waiting {
        unsigned char hash[32];
        bool here;
    } * waiting; // [room] from `next` on
    int64_t room;
} wi_order;

void wi_order_init(wi_order *order);
weft_status wi_order_add(wi_order *order, int64_t request, const unsigned char hash[32]);
void wi_order_text(const wi_order *order, char text[65]);
void wi_order_free(wi_order *order);

typedef struct {
    wi_draws draws;
    bool ended;
    int finish;
} wi_continued;

typedef struct {
    int64_t request;
    int count; // continuations that anything is known of
    wi_continued *of;
} wi_begun;

typedef struct {
    wi_lines_place input;
    int64_t requests; // of the lines read
    wi_begun *begun;  // (begun_count) not written yet, ascending
    int begun_count, begun_room;
    struct wi_stretch {
        int64_t from, to; // requests from to to - 1
    } * written;          // (span_count) ascending, with gaps between
    int span_count, span_room;
    int64_t lines, failed, tokens; // written; failed of them; all that were journalled
    uint64_t output_bytes;         // of whole lines
    bool done;                     // the output is complete
    wi_order order;
    wi_journal_found found;
} wi_progress;

// Reads the journal at `path`, which must be there. MISMATCH where it has another header, naming what differs; the same
// where `output` (a descriptor; -1: there is none) does not hold what it tells.
weft_status wi_progress_read(const char *path, const char *header, int output, wi_progress *out);
void wi_progress_init(wi_progress *progress); // of a batch that begins
void wi_progress_free(wi_progress *progress);

bool wi_progress_is_written(const wi_progress *progress, int64_t request);
wi_begun *wi_progress_begun(const wi_progress *progress, int64_t request); // NULL: nothing is known
// The same from memory, without a header to compare and an output: for tests.
weft_status wi_progress_scan(const unsigned char *data, size_t bytes, const char *name, const char *header, int output,
                             wi_progress *out);

#endif
