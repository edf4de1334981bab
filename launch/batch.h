// A batch at work. Rank 0 reads, parses, writes and decides; every rank makes the same calls of the engine, as rank 0's
// orders say. Inside launch/ only.
#ifndef WEFT_LAUNCH_BATCH_H
#define WEFT_LAUNCH_BATCH_H

#include "launch/control.h"
#include "launch/feed.h"
#include "launch/model_open.h"
#include "launch/orders.h"
#include "launch/sink.h"

typedef struct {
    int64_t at_once;   // continuations
    bool unordered;    // lines are written as they come
    bool quiet;        // no progress
    uint64_t in_bytes; // of the input; 0: not known
    int64_t stop_ns;   // by the monotonic clock; 0: never
} wi_batch_options;

typedef struct {
    int64_t requests, failed; // answered, in this run and before
    int64_t resumed;          // answered before
    int64_t begun;            // that an earlier run had begun
    int64_t prompt_tokens;    // computed; those of an earlier run's requests again
    int64_t again_tokens;     // of these: what was drawn before, computed again
    int64_t tokens;           // drawn
    int64_t steps;
    double seconds;
} wi_batch_figures;

typedef struct {
    const wi_batch_options *options;
    wi_model *model;
    wi_control *control;
    weft_engine_stats *stats; // or NULL
    // Rank 0's; the others have none.
    wi_feed *feed;
    wi_sink *sink;
    const wi_result_style *style;
    wi_item *first, *last; // in input order, from the first that is not written on
    wi_item *untold;       // the first that no message has told of
    int64_t live;          // that are not written
    size_t live_bytes;     // of their lines
    int64_t running;       // continuations with the engine, or on their way to it
    wi_item **arrivals;    // [arrival_count] on their way, in the order of the message
    int arrival_count, arrival_room;
    int64_t *cancels; // [cancel_count] that the next message tells
    int cancel_count, cancel_room;
    wi_orders orders[2]; // the message that is on its way, and the next
    int turn;
    uint64_t decided; // by the scheduler, when the message that is on its way was begun: alike on all ranks
    bool input_ended, input_moved;
    weft_status status; // of what failed in a callback
    char error[WEFT_ERROR_TEXT_MAX];
    int64_t start_ns, shown_ns;
    int64_t written_before;
    wi_batch_figures figures;
} wi_batch;

// Rank 0, before the run: takes an item of an earlier run that is not written.
weft_status wi_batch_take(wi_batch *batch, wi_item *item);
// Runs until all is written, or the job is to stop: DRAINED. Collective.
weft_status wi_batch_run(wi_batch *batch);
void wi_batch_free(wi_batch *batch);

#endif
