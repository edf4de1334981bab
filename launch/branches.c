// The world's rank 0 and the replicas: who gets which request, what became of it, and what is taken back for one that
// has nothing to do. Which replica computes a request never shows in what it answers, so all this may depend on time.
#include <stdlib.h>
#include <string.h>

#include "launch/batch.h"

enum { RETURNS_MAX = 2 }; // else what has no room anywhere would wander

void wi_batch_remember(wi_batch *b, weft_status status)
{
    if (status >= 0 || b->status < 0) return;
    b->status = status;
    snprintf(b->error, sizeof b->error, "%s", weft_error_text());
}

weft_status wi_branches_create(wi_batch *b)
{
    const int count = b->model->replicas.count;
    b->branches = calloc((size_t)count, sizeof *b->branches);
    if (!b->branches) return weft_fail(WEFT_NO_MEMORY, "no memory for %d replicas", count);
    b->branch_count = count;
    for (int i = 0; i < count; i++) {
        b->branches[i].batch = b;
        b->branches[i].number = i;
        wi_orders_begin(&b->branches[i].letter, &(wi_orders_head){0});
    }
    return WEFT_OK;
}

void wi_branches_free(wi_batch *b)
{
    for (int i = 0; i < b->branch_count; i++) {
        wi_words_free(&b->branches[i].letter);
        free(b->branches[i].items);
        free(b->branches[i].vacant);
    }
    free(b->branches);
    b->branches = NULL;
    b->branch_count = 0;
}

// ---- what a replica tells ----

static void leave(wi_branch *r, wi_item *item)
{
    r->items[item->slot] = NULL;
    r->vacant[r->vacant_count++] = item->slot;
    r->promised -= item->promised;
}

static void on_token(void *arg, int slot, int index, const wi_drawn *d)
{
    wi_branch *r = arg;
    wi_batch *b = r->batch;
    wi_part *p = &r->items[slot]->parts[index];
    if (p->ended) return;
    if (b->sink->journal) wi_journal_token(b->sink->journal, p->item->number, index, d);
    b->figures.tokens++;
    r->tokens++;
    wi_batch_remember(b, wi_part_add(p, d));
    if (p->ended) wi_orders_drop(&r->letter, slot, index);
}

// A request of which one continuation fails, fails. That is not journalled: it would fail again.
static void fail_item(wi_branch *r, wi_item *item)
{
    wi_batch_remember(r->batch, wi_item_fail(item));
    for (int i = 0; i < (int)item->request.how.n; i++)
        if (item->parts[i].away) wi_orders_drop(&r->letter, item->slot, i);
}

static void on_end(void *arg, int slot, int index, weft_finish finish)
{
    wi_branch *r = arg;
    wi_batch *b = r->batch;
    wi_item *item = r->items[slot];
    wi_part *p = &item->parts[index];
    r->running--;
    p->away = false;
    if (--item->away == 0) {
        r->requests++;
        leave(r, item);
    }
    if (p->ended) return; // at a stop text
    if (finish == WEFT_FINISH_FAILED) {
        fail_item(r, item);
        return;
    }
    if (b->sink->journal) wi_journal_end(b->sink->journal, item->number, index, (int)finish);
    wi_batch_remember(b, wi_part_end(p, finish));
}

static void on_back(void *arg, int slot)
{
    wi_branch *r = arg;
    wi_batch *b = r->batch;
    wi_item *item = r->items[slot];
    for (int i = 0; i < (int)item->request.how.n; i++) {
        wi_part *p = &item->parts[i];
        if (!p->away) continue;
        p->away = false;
        item->away--;
        r->running--;
        b->figures.prompt_tokens -= item->request.token_count + p->draws.count; // counted where it goes to
        b->figures.again_tokens -= p->draws.count;
    }
    leave(r, item);
    if (wi_item_has_ended(item)) return;
    r->returned++;
    item->returned++;
    if (b->back_count == b->back_room) {
        const int room = 2 * b->back_room + 16;
        wi_item **more = realloc(b->back, (size_t)room * sizeof(wi_item *));
        if (!more) {
            wi_batch_remember(b, weft_fail(WEFT_NO_MEMORY, "no memory for %d requests", room));
            return;
        }
        b->back = more;
        b->back_room = room;
    }
    b->back[b->back_count++] = item;
}

const wi_replica_calls wi_branch_calls = {.token = on_token, .end = on_end, .back = on_back};

static void read_report(wi_branch *r, const unsigned char *report, size_t bytes)
{
    wi_words_reader reader;
    wi_event e;
    wi_report_read(&reader, report, bytes, &r->standing);
    for (wi_report_next(&reader, &e); e.kind != WI_EVENT_NONE; wi_report_next(&reader, &e)) {
        if (e.kind == WI_EVENT_TOKEN) on_token(r, e.slot, e.index, &e.drawn);
        if (e.kind == WI_EVENT_BACK) on_back(r, e.slot);
        if (e.kind != WI_EVENT_END) continue;
        if (e.error) weft_fail(WEFT_FAILED, "%s", e.error);
        on_end(r, e.slot, e.index, e.finish);
    }
}

weft_status wi_branches_hear(wi_batch *b, bool *heard)
{
    *heard = false;
    b->branches[0].standing.state = weft_engine_state_of(b->model->engine);
    b->branches[0].standing.returns = b->replica.returns;
    for (int i = 1; i < b->branch_count; i++) {
        wi_branch *r = &b->branches[i];
        const unsigned char *letter = NULL;
        size_t bytes;
        while (!r->standing.ended) {
            WEFT_TRY(weft_mailbox_take(b->letters, i, &letter, &bytes));
            if (!letter) break;
            read_report(r, letter, bytes);
            *heard = true;
        }
        if (!r->standing.ended) WEFT_TRY(weft_mailbox_keep(b->letters, i));
    }
    return WEFT_OK;
}

int wi_branches_signal(const wi_batch *b)
{
    int signal = 0;
    for (int i = 1; i < b->branch_count && !signal; i++) signal = b->branches[i].standing.signal;
    return signal;
}

// ---- what it is told ----

static bool has_seat(const wi_branch *r) { return r->running < r->batch->options->at_once; }

// One with seats that are free goes first, then one with little to do.
wi_branch *wi_branch_roomiest(wi_batch *b)
{
    wi_branch *best = NULL;
    for (int i = 0; i < b->branch_count; i++) {
        wi_branch *r = &b->branches[i];
        if (r->running >= 2 * b->options->at_once) continue;
        if (!best || (has_seat(r) && !has_seat(best)) ||
            (has_seat(r) == has_seat(best) && r->promised < best->promised))
            best = r;
    }
    return best;
}

static weft_status find_slot(wi_branch *r, wi_item *item)
{
    if (r->vacant_count == 0) {
        const int room = 2 * r->room + 16;
        wi_item **items = realloc(r->items, (size_t)room * sizeof(wi_item *));
        if (items) r->items = items;
        int *vacant = realloc(r->vacant, (size_t)room * sizeof *vacant);
        if (vacant) r->vacant = vacant;
        if (!items || !vacant) return weft_fail(WEFT_NO_MEMORY, "no memory for %d requests", room);
        for (int slot = room - 1; slot >= r->room; slot--) {
            items[slot] = NULL;
            vacant[r->vacant_count++] = slot;
        }
        r->room = room;
    }
    item->slot = r->vacant[--r->vacant_count];
    r->items[item->slot] = item;
    return WEFT_OK;
}

weft_status wi_branch_hand(wi_branch *r, wi_item *item)
{
    wi_order_part parts[WI_CONTINUATIONS_MAX];
    wi_batch *b = r->batch;
    const wi_query *q = &item->request;
    WEFT_TRY(find_slot(r, item));
    wi_order_request order = {.slot = item->slot,
                              .how = q->how,
                              .tokens = q->tokens,
                              .token_count = q->token_count,
                              .biases = q->biases,
                              .bias_count = q->bias_count,
                              .stop_ids = q->stop_ids,
                              .stop_id_count = q->stop_id_count,
                              .logprobs = q->logprobs,
                              .stays = item->returned >= RETURNS_MAX,
                              .parts = parts};
    for (int i = 0; i < (int)q->how.n; i++) {
        wi_part *p = &item->parts[i];
        if (p->ended) continue;
        p->away = true;
        parts[order.part_count++] =
            (wi_order_part){.index = i, .drawn_count = p->draws.count, .drawn = p->draws.tokens};
        b->figures.prompt_tokens += q->token_count + p->draws.count;
        b->figures.again_tokens += p->draws.count;
    }
    item->away = order.part_count;
    item->promised = order.part_count * (q->token_count + q->how.max_tokens);
    r->running += order.part_count;
    r->promised += item->promised;
    wi_orders_submit(&r->letter, &order);
    return WEFT_OK;
}

// An order to return some brought nothing: the next one would not either, as long as the same wait.
static bool is_barren(wi_branch *r)
{
    if (r->asked > 0 && r->returned == r->returned_before) r->barren = r->standing.state.waiting;
    r->returned_before = -1;
    return r->barren == r->standing.state.waiting;
}

// Who has most waiting, and is not asked for it already.
static wi_branch *longest_queue(wi_batch *b)
{
    wi_branch *longest = NULL;
    for (int i = 0; i < b->branch_count; i++) {
        wi_branch *r = &b->branches[i];
        const int waiting = r->standing.state.waiting;
        if (waiting == 0 || r->standing.returns < r->asked || is_barren(r)) continue;
        if (!longest || waiting > longest->standing.state.waiting) longest = r;
    }
    return longest;
}

void wi_branches_level(wi_batch *b)
{
    if (b->branch_count == 1 || b->untold || b->back_count > 0) return;
    int64_t seats = 0;
    for (int i = 0; i < b->branch_count; i++) {
        const wi_branch *r = &b->branches[i];
        if (has_seat(r) && r->standing.state.waiting == 0) seats += b->options->at_once - r->running;
    }
    while (seats > 0) {
        wi_branch *r = longest_queue(b);
        if (!r) return;
        const int waiting = r->standing.state.waiting;
        const int count = seats < waiting ? (int)seats : waiting;
        wi_orders_return(&r->letter, count);
        r->asked++;
        r->returned_before = r->returned;
        seats -= count;
    }
}

static weft_status tell(wi_batch *b, wi_branch *r, wi_stop stop)
{
    const wi_orders_head head = {.stop = stop};
    wi_words *letter = &r->letter;
    if (letter->failed) return weft_fail(WEFT_NO_MEMORY, "no memory for the orders of a step");
    if (r->told_stop || (stop == WI_GO_ON && letter->used == sizeof head)) return WEFT_OK;
    memcpy(letter->bytes, &head, sizeof head);
    r->told_stop = stop != WI_GO_ON;
    WEFT_TRY(weft_mailbox_send(b->letters, r->number, letter->bytes, letter->used));
    wi_orders_begin(letter, &(wi_orders_head){0});
    return WEFT_OK;
}

weft_status wi_branches_tell(wi_batch *b, wi_stop stop, bool *all)
{
    wi_words *own = &b->branches[0].letter;
    wi_stop unused;
    *all = true;
    for (int i = 1; i < b->branch_count; i++) {
        wi_branch *r = &b->branches[i];
        WEFT_TRY(tell(b, r, stop));
        *all = *all && r->standing.ended;
    }
    if (own->failed) return weft_fail(WEFT_NO_MEMORY, "no memory for the orders of a step");
    WEFT_TRY(wi_replica_order(&b->replica, own->bytes, own->used, &unused));
    wi_orders_begin(own, &(wi_orders_head){0});
    return WEFT_OK;
}

weft_engine_state wi_batch_state(const wi_batch *b)
{
    weft_engine_state sum = {0};
    for (int i = 0; i < b->branch_count; i++) {
        const weft_engine_state *s = &b->branches[i].standing.state;
        sum.steps += s->steps;
        sum.computed += s->computed;
        sum.found += s->found;
        sum.preempted += s->preempted;
        sum.evicted += s->evicted;
    }
    return sum;
}
