// Where a batch's results go: the output and, beside a file, the journal. The output is FILE.part until it is complete.
// Inside launch/ only.
#ifndef WEFT_LAUNCH_SINK_H
#define WEFT_LAUNCH_SINK_H

#include "launch/progress.h"
#include "launch/result.h"

typedef struct {
    const char *path; // "-": standard output
    bool journalled;  // a file of its own, not a pipe or a device
    char *part, *journal_path;
    int file;
    wi_journal *journal; // NULL: what is written cannot be gone on with
    uint64_t bytes;      // of whole lines in the file
    unsigned char *text; // (capacity) lines that wait for a flush
    size_t used, capacity;
    wi_written *lines; // (line_room) of them
    int line_count, line_room;
    int64_t synced_ns;
    wi_order order; // for the digest
    int64_t written, failed;
    int64_t flushes; // with lines, where faults are wanted
} wi_sink;

// Finds out what `path` is and whether it can be written, and holds the journal that is there. Nothing is changed.
weft_status wi_sink_open(const char *path, wi_sink *out);
// What the journal tells, for a run with this header; an empty progress where there is none.
weft_status wi_sink_look(wi_sink *sink, const char *header, wi_progress *out);
// From here on files are changed: goes on behind `progress`, or begins. Takes its order over.
weft_status wi_sink_begin(wi_sink *sink, const char *header, wi_progress *progress);

// The item's line, gathered until the next flush.
weft_status wi_sink_add(wi_sink *sink, const wi_item *item, const wi_result_style *style);
// Lines and records reach the files, every few seconds the disk as well.
weft_status wi_sink_flush(wi_sink *sink, bool to_disk);
// All is written: the output gets its name and the journal goes. Also after a kill in between (progress->done).
weft_status wi_sink_finish(wi_sink *sink);
void wi_sink_close(wi_sink *sink);

#endif
