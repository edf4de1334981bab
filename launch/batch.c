#include "launch/batch.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "launch/batch_show.h"
#include "launch/stats.h"

enum { LIVE_MAX = 4096, WAIT_MS = 200, NAP_NS = 20000000, NAP_FIRST_NS = 20000, NAP_LAST_NS = 1000000 };
static const size_t live_bytes_max = (size_t)256 << 20;

// ---- rank 0: what comes next ----

weft_status wi_batch_take(wi_batch *b, wi_item *item)
{
    for (int i = 0; item->parts && i < (int)item->request.how.n; i++)
        b->figures.begun += !item->parts[i].ended && item->parts[i].draws.count > 0;
    if (b->last)
        b->last->next = item;
    else
        b->first = item;
    b->last = item;
    if (!b->untold) b->untold = item;
    b->live++;
    b->live_bytes += item->line_bytes;
    return WEFT_OK;
}

static bool has_room(const wi_batch *b)
{
    return b->live < LIVE_MAX + 2 * b->options->at_once * b->branch_count &&
           (b->live == 0 || b->live_bytes < live_bytes_max);
}

static bool has_orders(const wi_batch *b)
{
    for (int i = 0; i < b->branch_count; i++)
        if (b->branches[i].letter.used > sizeof(wi_orders_head)) return true;
    return false;
}

// What is next to be handed out: what a replica returned, what an earlier run left, then the input as long as there is
// room. Waits only where there is nothing to do. NULL: nothing now.
static weft_status next_item(wi_batch *b, wi_item **out)
{
    *out = NULL;
    if (b->back_count > 0) {
        *out = b->back[--b->back_count];
        return WEFT_OK;
    }
    if (!has_room(b)) return WEFT_OK;
    if (!b->untold) {
        wi_lines_found found;
        wi_item *item;
        if (b->input_ended) return WEFT_OK;
        const int wait = b->live > 0 || has_orders(b) ? 0 : WAIT_MS;
        WEFT_TRY(wi_feed_next(b->feed, wait, &found, &item));
        b->input_ended = found == WI_LINES_END;
        b->input_moved = true;
        if (found != WI_LINES_ONE) return WEFT_OK;
        WEFT_TRY(wi_batch_take(b, item));
    }
    *out = b->untold;
    b->untold = b->untold->next;
    return WEFT_OK;
}

static weft_status hand_out(wi_batch *b)
{
    for (;;) {
        wi_branch *to = wi_branch_roomiest(b);
        wi_item *item;
        if (!to) return WEFT_OK;
        WEFT_TRY(next_item(b, &item));
        if (!item) return WEFT_OK;
        if (wi_item_has_ended(item)) continue;
        WEFT_TRY(wi_branch_hand(to, item));
    }
}

// Before the first token of what was read.
static void note_input(wi_batch *b)
{
    if (b->input_moved && b->sink->journal) {
        wi_lines_place place;
        int64_t requests;
        wi_feed_tell(b->feed, &place, &requests);
        wi_journal_input(b->sink->journal, &place, requests);
    }
    b->input_moved = false;
}

static wi_stop decide(wi_batch *b)
{
    const bool late = b->options->stop_ns && weft_clock_ns() >= b->options->stop_ns;
    const int signal = wi_control_signal(b->control);
    if (b->status < 0) return WI_STOP_FAILED;
    if (b->input_ended && b->live == 0) return WI_STOP_DONE;
    return signal || wi_branches_signal(b) || late ? WI_STOP_DRAINED : WI_GO_ON;
}

// The message for the step after the next, and what the other replicas are told. Rank 0's own replica stops when the
// others have.
static weft_status send(wi_batch *b)
{
    bool all;
    const wi_stop stop = decide(b);
    if (stop == WI_GO_ON) {
        wi_batch_remember(b, hand_out(b));
        wi_branches_level(b);
    }
    note_input(b);
    WEFT_TRY(wi_branches_tell(b, stop, &all));
    return wi_replica_send(&b->replica, all ? stop : WI_GO_ON);
}

// With nothing to compute here: until another replica tells something, or there may be something new to read.
static weft_status nap(wi_batch *b)
{
    const int64_t until = weft_clock_ns() + NAP_NS;
    int64_t nap = NAP_FIRST_NS;
    bool heard = false;
    while (!heard && weft_clock_ns() < until) {
        weft_clock_sleep_ns(nap);
        nap = nap < NAP_LAST_NS ? 2 * nap : nap;
        WEFT_TRY(wi_branches_hear(b, &heard));
    }
    return WEFT_OK;
}

// ---- rank 0: what was answered ----

static weft_status write_item(wi_batch *b, wi_item *item)
{
    WEFT_TRY(wi_sink_add(b->sink, item, b->style));
    item->written = true;
    b->live--;
    b->live_bytes -= item->line_bytes;
    return WEFT_OK;
}

static weft_status deliver(wi_batch *b, bool to_disk)
{
    if (b->options->unordered)
        for (wi_item *i = b->first; i; i = i->next)
            if (!i->written && wi_item_has_ended(i)) WEFT_TRY(write_item(b, i));
    while (b->first && b->first != b->untold && wi_item_has_ended(b->first)) {
        wi_item *item = b->first;
        if (!item->written) WEFT_TRY(write_item(b, item));
        if (item->away > 0) break; // an engine still knows it
        b->first = item->next;
        if (!b->first) b->last = NULL;
        wi_item_destroy(item);
    }
    WEFT_TRY(wi_sink_flush(b->sink, to_disk));
    wi_batch_show(b);
    return WEFT_OK;
}

// ---- the loops ----

// Rank 0 of the world.
static weft_status lead(wi_batch *b, wi_stop *stop)
{
    bool heard;
    b->replica.calls = &wi_branch_calls;
    b->replica.arg = &b->branches[0];
    wi_batch_remember(b, deliver(b, false)); // what an earlier run had ready
    WEFT_TRY(send(b));
    for (;;) {
        WEFT_TRY(wi_replica_obey(&b->replica, stop));
        if (*stop != WI_GO_ON) return WEFT_OK;
        WEFT_TRY(send(b));
        WEFT_TRY(wi_replica_step(&b->replica));
        WEFT_TRY(wi_branches_hear(b, &heard)); // what they drew is journalled with what was drawn here
        if (b->status == WEFT_OK) wi_batch_remember(b, deliver(b, false));
        if (b->letters && b->replica.idle && !b->replica.told && b->live > 0) WEFT_TRY(nap(b));
    }
}

// Who has nothing to say in its replica.
static weft_status follow(wi_batch *b)
{
    wi_stop stop = WI_GO_ON;
    WEFT_TRY(wi_replica_send(&b->replica, stop));
    for (;;) {
        WEFT_TRY(wi_replica_obey(&b->replica, &stop));
        if (stop != WI_GO_ON) return WEFT_OK;
        WEFT_TRY(wi_replica_send(&b->replica, stop));
        WEFT_TRY(wi_replica_step(&b->replica));
    }
}

static weft_status end(wi_batch *b, wi_stop stop)
{
    wi_batch_show_end(b);
    if (stop == WI_STOP_FAILED) return weft_fail(b->status, "%s", b->error);
    WEFT_TRY(deliver(b, true));
    if (stop == WI_STOP_DONE) return wi_sink_finish(b->sink);
    if (!b->sink->journal)
        return weft_fail(WEFT_DRAINED, "stopped with %lld requests answered; what is not a file cannot be gone on with",
                         (long long)b->sink->written);
    return weft_fail(WEFT_DRAINED, "stopped with %lld requests answered; run the same command again to go on",
                     (long long)b->sink->written);
}

weft_status wi_batch_run(wi_batch *b)
{
    wi_stop stop = WI_GO_ON;
    weft_status status;
    weft_job *job = weft_comm_job(b->model->world);
    const bool leads = weft_comm_rank(b->model->replicas.own) == 0, speaks = b->feed != NULL;
    b->replica = (wi_replica){.model = b->model, .control = b->control, .stats = b->stats, .leads = leads};
    b->letters = wi_control_letters(b->control);
    b->start_ns = b->shown_ns = weft_clock_ns();
    b->written_before = b->sink ? b->sink->written : 0;
    status = speaks ? lead(b, &stop) : leads ? wi_batch_serve(b) : follow(b);
    if (status < 0 && speaks) wi_sink_flush(b->sink, true); // what failed is told; this saves what there is
    // Other replicas do not see that this one has failed.
    if (status < 0 && b->model->replicas.count > 1) weft_job_abort(job, status, weft_error_text());
    if (status == WEFT_OK) status = wi_control_wait(b->control, WEFT_OK); // nobody raises a flag or writes any more
    if (status == WEFT_OK && b->letters) wi_batch_remember(b, wi_stats_gather(b->metrics, b->model->replicas.leads));
    if (status == WEFT_OK && speaks) status = end(b, stop);
    if (speaks) b->branches[0].standing.state = weft_engine_state_of(b->model->engine);
    b->figures.seconds = (double)(weft_clock_ns() - b->start_ns) * 1e-9;
    if (!b->sink) return status;
    b->figures.requests = b->sink->written;
    b->figures.failed = b->sink->failed;
    b->figures.resumed = b->written_before;
    return status;
}

void wi_batch_free(wi_batch *b)
{
    wi_branches_free(b);
    wi_replica_free(&b->replica);
    wi_words_free(&b->report);
    while (b->first) {
        wi_item *next = b->first->next;
        wi_item_destroy(b->first);
        b->first = next;
    }
    free(b->back);
}
