// What a batch has done so far, beside its output: enough to go on after a kill at any moment with the same bits. A
// record is whole or it counts as not written. Inside launch/ only; docs/formats.md has the bytes.
#ifndef WEFT_LAUNCH_JOURNAL_H
#define WEFT_LAUNCH_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "launch/lines.h"
#include "launch/request.h"

typedef struct wi_journal wi_journal; // being written

// One token as it was drawn. Only requests that want log-probabilities have more than the token.
typedef struct {
    int32_t token;
    bool has_logprob;
    float logprob;
    int others; // as many as the request asks for: the best ones, then id -1 where there are not so many
    struct {
        int32_t id;
        float logprob;
    } other[WI_LOGPROBS_MAX];
} wi_drawn;

// A request's line in the output. Requests are counted from 0, in input order; lines that say nothing do not count.
typedef struct {
    int64_t request;
    uint64_t end; // of the output behind the line
    uint32_t crc; // of the line, its end included
    bool failed;
    unsigned char hash[32]; // of id and tokens, for the digest
} wi_written;

// Makes the journal at `path`, with this header. Holds a lock until it is closed. Local.
weft_status wi_journal_create(const char *path, const char *header, wi_journal **out);
// Opens the one that is there, with that lock; *out is NULL where there is none. To go on behind its first `whole`
// bytes, whose last record's sum is `crc`: what stands behind them is cut off.
weft_status wi_journal_open(const char *path, wi_journal **out);
weft_status wi_journal_go_on(wi_journal *journal, uint64_t whole, uint32_t crc);
void wi_journal_close(wi_journal *journal); // accepts NULL; what was not flushed is not written

// Gathered in memory until the next flush; what fails is told there.
void wi_journal_input(wi_journal *journal, const wi_lines_place *place, int64_t requests);
void wi_journal_token(wi_journal *journal, int64_t request, int continuation, const wi_drawn *drawn);
void wi_journal_end(wi_journal *journal, int64_t request, int continuation, int finish);
void wi_journal_line(wi_journal *journal, const wi_written *written);
void wi_journal_done(wi_journal *journal, uint64_t output_bytes); // the output is complete

weft_status wi_journal_flush(wi_journal *journal); // to the file: a kill of the process loses nothing of it
weft_status wi_journal_sync(wi_journal *journal);  // and to the disk

// ---- reading ----

// What a journal tells, record by record. Any of them may be NULL. A callback that fails ends the reading: with
// WEFT_DRAINED the record counts as not written, anything else is the reading's failure.
typedef struct {
    weft_status (*header)(void *arg, const char *text, size_t bytes);
    weft_status (*input)(void *arg, const wi_lines_place *place, int64_t requests);
    weft_status (*token)(void *arg, int64_t request, int continuation, const wi_drawn *drawn);
    weft_status (*end)(void *arg, int64_t request, int continuation, int finish);
    weft_status (*line)(void *arg, const wi_written *written);
    weft_status (*done)(void *arg, uint64_t output_bytes);
} wi_journal_calls;

typedef struct {
    uint64_t whole; // bytes up to the first record that is torn or damaged
    uint32_t crc;   // of the last whole record
} wi_journal_found;

// FORMAT where this is no journal or its header is not whole; a torn end is no failure. `name` is for errors.
weft_status wi_journal_scan(const unsigned char *data, size_t bytes, const char *name, const wi_journal_calls *calls,
                            void *arg, wi_journal_found *out);

#endif
