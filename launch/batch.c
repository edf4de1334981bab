#include "launch/batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "launch/batch_show.h"

enum { LIVE_MAX = 4096, WAIT_MS = 200 };
static const size_t live_bytes_max = (size_t)256 << 20;

// ---- what the engine tells, on rank 0 ----

static void remember(wi_batch *b, weft_status status)
{
    if (status >= 0 || b->status < 0) return;
    b->status = status;
    snprintf(b->error, sizeof b->error, "%s", weft_error_text());
}

static void add_cancel(wi_batch *b, int64_t id)
{
    if (b->cancel_count == b->cancel_room) {
        const int room = 2 * b->cancel_room + 16;
        int64_t *more = realloc(b->cancels, (size_t)room * sizeof *more);
        if (!more) {
            remember(b, weft_fail(WEFT_NO_MEMORY, "no memory for %d requests", room));
            return;
        }
        b->cancels = more;
        b->cancel_room = room;
    }
    b->cancels[b->cancel_count++] = id;
}

static void on_token(void *arg, const weft_drawn *drawn)
{
    wi_part *p = arg;
    wi_batch *b = p->item->owner;
    const int others = p->item->request.logprobs;
    wi_drawn d = {.token = drawn->id, .has_logprob = others >= 0, .others = others > 0 ? others : 0};
    weft_engine_stats_token(b->stats, &p->times);
    if (p->ended) return;
    if (d.has_logprob) d.logprob = drawn->logprob;
    for (int i = 0; i < d.others; i++) {
        d.other[i].id = i < drawn->top_count ? drawn->top[i].id : -1;
        d.other[i].logprob = i < drawn->top_count ? drawn->top[i].logprob : 0;
    }
    if (b->sink->journal) wi_journal_token(b->sink->journal, p->item->number, p->index, &d);
    b->figures.tokens++;
    remember(b, wi_part_add(p, &d));
    if (p->ended) add_cancel(b, p->id);
}

// A request of which one continuation fails, fails. That is not journalled: it would fail again.
static void fail_item(wi_batch *b, wi_item *item)
{
    remember(b, wi_item_fail(item));
    for (int64_t i = 0; i < item->request.how.n; i++)
        if (item->parts[i].id != 0) add_cancel(b, item->parts[i].id);
}

static void on_end(void *arg, weft_finish finish)
{
    wi_part *p = arg;
    wi_batch *b = p->item->owner;
    b->running--;
    p->id = 0;
    weft_engine_stats_ended(b->stats, &p->times, finish, p->ended);
    if (p->ended) return; // at a stop text
    if (finish == WEFT_FINISH_FAILED) {
        fail_item(b, p->item);
        return;
    }
    if (b->sink->journal) wi_journal_end(b->sink->journal, p->item->number, p->index, (int)finish);
    remember(b, wi_part_end(p, finish));
}

static const weft_request_calls speaking_calls = {.token = on_token, .end = on_end}, silent_calls;

// ---- orders ----

static weft_request request_of(const wi_order_request *r, const wi_order_part *part, int32_t *tokens)
{
    const wi_request_settings *how = &r->how;
    memcpy(tokens, r->tokens, (size_t)r->token_count * sizeof *tokens);
    if (part->drawn_count > 0) memcpy(tokens + r->token_count, part->drawn, (size_t)part->drawn_count * sizeof *tokens);
    weft_request_sampling sampling = weft_request_sampling_default();
    sampling.draw = (weft_sampling){.temperature = (float)how->temperature,
                                    .top_k = (int32_t)how->top_k,
                                    .top_p = (float)how->top_p,
                                    .min_p = (float)how->min_p,
                                    .seed = (uint64_t)how->seed,
                                    .continuation = (uint32_t)part->index};
    sampling.repetition = (float)how->repetition_penalty;
    sampling.frequency = (float)how->frequency_penalty;
    sampling.presence = (float)how->presence_penalty;
    sampling.biases = r->biases;
    sampling.bias_count = r->bias_count;
    sampling.stops = r->stop_ids;
    sampling.stop_count = r->stop_id_count;
    sampling.ignore_stops = how->ignore_eos;
    sampling.min_tokens = (int)how->min_tokens;
    sampling.logprobs = r->logprobs >= 0;
    sampling.top_logprobs = r->logprobs > 0 ? r->logprobs : 0;
    return (weft_request){.tokens = tokens,
                          .token_count = r->token_count + part->drawn_count,
                          .drawn = part->drawn_count,
                          .max_tokens = (int)how->max_tokens,
                          .priority = (int)how->priority,
                          .sampling = sampling,
                          .calls = &silent_calls};
}

// Every rank alike. What one rank alone lacks memory for ends the job there.
static weft_status submit(wi_batch *b, const wi_order_request *r, wi_item *item)
{
    const int64_t longest = (int64_t)r->token_count + r->how.max_tokens;
    int64_t first = 0, id;
    int32_t *tokens = malloc((size_t)longest * sizeof *tokens);
    weft_status status = tokens ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for %lld tokens", (long long)longest);
    for (int i = 0; i < r->part_count && status == WEFT_OK; i++) {
        const wi_order_part *part = &r->parts[i];
        weft_request request = request_of(r, part, tokens);
        request.fork_of = part->drawn_count == 0 ? first : 0; // the prompt is computed once
        if (item) {
            request.calls = &speaking_calls;
            request.arg = &item->parts[part->index];
        }
        status = weft_engine_submit(b->model->engine, &request, &id);
        if (status < 0) weft_engine_stats_refused(b->stats);
        if (status < 0) break;
        if (!first) first = id;
        if (item) item->parts[part->index].id = id;
        if (item) weft_engine_stats_submitted(b->stats, &item->parts[part->index].times, r->token_count);
        b->figures.prompt_tokens += request.token_count;
        b->figures.again_tokens += part->drawn_count;
    }
    free(tokens);
    if (status == WEFT_NO_MEMORY) weft_job_abort(weft_comm_job(b->model->world), status, weft_error_text());
    return status;
}

static weft_status obey(wi_batch *b, const unsigned char *message, size_t bytes, wi_stop *stop)
{
    wi_orders_reader reader;
    wi_orders_head head;
    wi_order_request request;
    wi_order_kind kind;
    int arrival = 0;
    int64_t id;
    wi_orders_read(&reader, message, bytes, &head);
    *stop = head.stop;
    if (head.decisions != b->decided) {
        const weft_status status =
            weft_fail(WEFT_INTERNAL, "after step %lld this rank's scheduler and rank 0's have decided otherwise",
                      (long long)weft_engine_state_of(b->model->engine).steps);
        weft_job_abort(weft_comm_job(b->model->world), status, weft_error_text());
        return status;
    }
    while ((kind = wi_orders_next(&reader, &request, &id)) != WI_ORDER_NONE) {
        if (kind == WI_ORDER_CANCEL)
            weft_engine_cancel(b->model->engine, id);
        else
            WEFT_TRY(submit(b, &request, b->arrivals ? b->arrivals[arrival++] : NULL));
    }
    b->arrival_count = 0;
    return WEFT_OK;
}

// ---- rank 0: what comes next ----

static weft_status tell_arrival(wi_batch *b, wi_item *item)
{
    wi_order_part parts[WI_CONTINUATIONS_MAX];
    const wi_query *r = &item->request;
    wi_order_request order = {.request = item->number,
                              .how = r->how,
                              .tokens = r->tokens,
                              .token_count = r->token_count,
                              .biases = r->biases,
                              .bias_count = r->bias_count,
                              .stop_ids = r->stop_ids,
                              .stop_id_count = r->stop_id_count,
                              .logprobs = r->logprobs,
                              .parts = parts};
    for (int i = 0; i < r->how.n; i++) {
        const wi_part *p = &item->parts[i];
        if (p->ended) continue;
        parts[order.part_count++] =
            (wi_order_part){.index = i, .drawn_count = p->draws.count, .drawn = p->draws.tokens};
        b->figures.begun += p->draws.count > 0;
    }
    if (b->arrival_count == b->arrival_room) {
        const int room = 2 * b->arrival_room + 16;
        wi_item **more = realloc(b->arrivals, (size_t)room * sizeof(wi_item *));
        if (!more) return weft_fail(WEFT_NO_MEMORY, "no memory for %d requests", room);
        b->arrivals = more;
        b->arrival_room = room;
    }
    b->arrivals[b->arrival_count++] = item;
    b->running += order.part_count;
    wi_orders_submit(&b->orders[b->turn], &order);
    return WEFT_OK;
}

weft_status wi_batch_take(wi_batch *b, wi_item *item)
{
    item->owner = b;
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
    return b->running < 2 * b->options->at_once && b->live < LIVE_MAX + 2 * b->options->at_once &&
           (b->live == 0 || b->live_bytes < live_bytes_max);
}

// Hands out what an earlier run left, then reads on as long as there is room. Waits only where there is nothing to do.
static weft_status arrivals(wi_batch *b)
{
    while (has_room(b)) {
        if (!b->untold) {
            wi_lines_found found;
            wi_item *item;
            if (b->input_ended) return WEFT_OK;
            const int wait = b->live > 0 || b->cancel_count > 0 ? 0 : WAIT_MS;
            WEFT_TRY(wi_feed_next(b->feed, wait, &found, &item));
            b->input_ended = found == WI_LINES_END;
            b->input_moved = true;
            if (found != WI_LINES_ONE) return WEFT_OK;
            WEFT_TRY(wi_batch_take(b, item));
        }
        wi_item *item = b->untold;
        b->untold = item->next;
        if (!wi_item_has_ended(item)) WEFT_TRY(tell_arrival(b, item));
    }
    return WEFT_OK;
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
    if (b->status < 0) return WI_STOP_FAILED;
    if (b->input_ended && b->live == 0) return WI_STOP_DONE;
    return wi_control_signal(b->control) || late ? WI_STOP_DRAINED : WI_GO_ON;
}

// The message for the step after the next. Only rank 0 has something to say.
static weft_status send(wi_batch *b)
{
    wi_orders *o = &b->orders[b->turn];
    b->decided = weft_engine_state_of(b->model->engine).decisions;
    if (!b->feed) {
        wi_control_signal(b->control);
        return wi_control_begin(b->control, NULL, 0);
    }
    const wi_stop stop = decide(b);
    wi_orders_begin(o, &(wi_orders_head){.stop = stop, .decisions = b->decided});
    for (int i = 0; i < b->cancel_count; i++) wi_orders_cancel(o, b->cancels[i]);
    b->cancel_count = 0;
    if (stop == WI_GO_ON) remember(b, arrivals(b));
    note_input(b);
    if (o->failed) return weft_fail(WEFT_NO_MEMORY, "no memory for the orders of a step");
    b->turn = !b->turn;
    return wi_control_begin(b->control, o->bytes, o->used);
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
        if (!wi_item_is_free(item)) break; // the engine still knows it
        b->first = item->next;
        if (!b->first) b->last = NULL;
        wi_item_destroy(item);
    }
    WEFT_TRY(wi_sink_flush(b->sink, to_disk));
    wi_batch_show(b);
    return WEFT_OK;
}

// ---- the loop ----

static weft_status turn(wi_batch *b, wi_stop *stop)
{
    const unsigned char *message;
    size_t bytes;
    int rows;
    WEFT_TRY(wi_control_end(b->control, &message, &bytes));
    WEFT_TRY(obey(b, message, bytes, stop));
    if (*stop != WI_GO_ON) return WEFT_OK;
    WEFT_TRY(send(b));
    WEFT_TRY(weft_engine_stats_step(b->stats, b->model->engine, &rows));
    b->figures.steps += rows > 0;
    if (b->feed && b->status == WEFT_OK) remember(b, deliver(b, false));
    return WEFT_OK;
}

static weft_status end(wi_batch *b, wi_stop stop)
{
    if (!b->feed) return WEFT_OK; // rank 0 tells
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
    weft_status status = WEFT_OK;
    b->start_ns = b->shown_ns = weft_clock_ns();
    b->written_before = b->sink ? b->sink->written : 0;
    if (b->feed) remember(b, deliver(b, false)); // what an earlier run had ready
    WEFT_TRY(send(b));
    while (status == WEFT_OK && stop == WI_GO_ON) status = turn(b, &stop);
    if (status == WEFT_OK) status = weft_comm_barrier(b->model->world); // nobody raises a flag any more
    if (status == WEFT_OK)
        status = end(b, stop);
    else if (b->feed)
        wi_sink_flush(b->sink, true); // what failed is told; this saves what there is
    b->figures.seconds = (double)(weft_clock_ns() - b->start_ns) * 1e-9;
    if (!b->sink) return status;
    b->figures.requests = b->sink->written;
    b->figures.failed = b->sink->failed;
    b->figures.resumed = b->written_before;
    return status;
}

void wi_batch_free(wi_batch *b)
{
    while (b->first) {
        wi_item *next = b->first->next;
        wi_item_destroy(b->first);
        b->first = next;
    }
    free(b->arrivals);
    free(b->cancels);
    wi_orders_free(&b->orders[0]);
    wi_orders_free(&b->orders[1]);
}
