// A batch at work. Rank 0 of the world reads, parses, writes, and hands requests to the replicas, each of which has a
// scheduler and a clock of its own (launch/replica.h). Inside launch/ only.
#ifndef WEFT_LAUNCH_BATCH_H
#define WEFT_LAUNCH_BATCH_H

#include "comm/window.h"
#include "launch/feed.h"
#include "launch/replica.h"
#include "launch/report.h"
#include "launch/sink.h"

typedef struct {
    int64_t at_once;   // continuations, of each replica
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
    double seconds;
} wi_batch_figures;

typedef struct wi_batch wi_batch;

// A replica as the world's rank 0 sees it.
typedef struct {
    wi_batch *batch;
    int number;
    wi_words letter; // of orders, that it has not been told yet
    wi_item **items; // (room) by slot; NULL: free
    int *vacant;     // [vacant_count] of room: slots that are free
    int room, vacant_count;
    int64_t running;         // continuations that are there, or on their way
    int64_t promised;        // positions that they may come to
    int64_t asked;           // orders to return some
    int64_t returned_before; // the last of them
    int barren;              // waiting when one brought nothing
    bool told_stop;
    wi_report_head standing; // what it told last; its own replica's as it is
    int64_t requests, tokens, returned;
} wi_branch;

struct wi_batch {
    const wi_batch_options *options;
    wi_model *model;
    wi_control *control;
    weft_engine_stats *stats; // or NULL, as the metrics
    weft_metrics *metrics;
    wi_replica replica;
    weft_mailbox *letters; // between rank 0 of the replicas; NULL: this rank has no part in that, or there is only one
    wi_words report;       // of rank 0 of another replica than the first
    wi_report_head reported;
    // The world's rank 0's; the others have none.
    wi_feed *feed;
    wi_sink *sink;
    const wi_result_style *style;
    wi_branch *branches;   // [branch_count]
    int branch_count;      // of all replicas
    wi_item *first, *last; // in input order, from the first that is not written on
    wi_item *untold;       // the first that was not handed out
    wi_item **back;        // [back_count] of back_room: that a replica has returned
    int back_count, back_room;
    int64_t live;      // that are not written
    size_t live_bytes; // of their lines
    bool input_ended, input_moved;
    weft_status status; // of what failed in a callback
    char error[WEFT_ERROR_TEXT_MAX];
    int64_t start_ns, shown_ns;
    int64_t written_before;
    wi_batch_figures figures;
};

// Rank 0, before the run: takes an item of an earlier run that is not written.
weft_status wi_batch_take(wi_batch *batch, wi_item *item);
// Runs until all is written, or the job is to stop: DRAINED. Collective over the world.
weft_status wi_batch_run(wi_batch *batch);
void wi_batch_free(wi_batch *batch);
// Of a run that has ended: a sum over the replicas.
weft_engine_state wi_batch_state(const wi_batch *batch);

// ---- what stands in branches.c: rank 0 and the replicas ----

weft_status wi_branches_create(wi_batch *batch);
void wi_branches_free(wi_batch *batch);
// The failure of a callback is kept; the first one counts.
void wi_batch_remember(wi_batch *batch, weft_status status);
// The one that is to have the next request; NULL: all have enough.
wi_branch *wi_branch_roomiest(wi_batch *batch);
weft_status wi_branch_hand(wi_branch *branch, wi_item *item);
// Where one has nothing to do that others have waiting, they are to return it.
void wi_branches_level(wi_batch *batch);
// Takes what the others report. *heard: there was something.
weft_status wi_branches_hear(wi_batch *batch, bool *heard);
// Sends what they are to be told. *all: with a stop, that the others have stopped.
weft_status wi_branches_tell(wi_batch *batch, wi_stop stop, bool *all);
int wi_branches_signal(const wi_batch *batch); // that reached a rank of another replica, or 0
extern const wi_replica_calls wi_branch_calls; // of rank 0's own replica, for its branch

// ---- what stands in serve.c: rank 0 of another replica ----

// Takes letters and reports until it is told to stop; *stop is then what.
weft_status wi_batch_serve(wi_batch *batch);

#endif
