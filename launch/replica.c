#include "launch/replica.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    wi_guest *guest;
    int index;
    int64_t id; // the engine's; 0: not there, or not any more
    weft_request_times times;
    bool dropped;
} guest_part;

struct wi_guest {
    wi_replica *replica;
    wi_guest *before, *next;
    int slot, others, here; // of the parts
    bool stays;             // is not to go back
    bool returning, back;   // is on its way back; some of it was taken from the engine
    int part_count;
    guest_part parts[];
};

// ---- guests, on the replica's rank 0 ----

static weft_status make_guest(wi_replica *r, const wi_order_request *request, wi_guest **out)
{
    const size_t bytes = sizeof(wi_guest) + (size_t)request->part_count * sizeof(guest_part);
    if (request->slot >= r->slot_room) {
        const int room = 2 * request->slot + 16;
        wi_guest **more = realloc(r->slots, (size_t)room * sizeof(wi_guest *));
        if (!more) return weft_fail(WEFT_NO_MEMORY, "no memory for %d requests", room);
        memset(more + r->slot_room, 0, (size_t)(room - r->slot_room) * sizeof(wi_guest *));
        r->slots = more;
        r->slot_room = room;
    }
    wi_guest *g = calloc(1, bytes);
    if (!g) return weft_fail(WEFT_NO_MEMORY, "no memory for a request");
    g->replica = r;
    g->slot = request->slot;
    g->others = request->logprobs;
    g->stays = request->stays;
    g->part_count = g->here = request->part_count;
    for (int i = 0; i < g->part_count; i++) g->parts[i] = (guest_part){.guest = g, .index = request->parts[i].index};
    g->before = r->last;
    if (r->last)
        r->last->next = g;
    else
        r->first = g;
    r->last = g;
    r->slots[g->slot] = g;
    *out = g;
    return WEFT_OK;
}

static void remove_guest(wi_guest *g)
{
    wi_replica *r = g->replica;
    *(g->before ? &g->before->next : &r->first) = g->next;
    *(g->next ? &g->next->before : &r->last) = g->before;
    r->slots[g->slot] = NULL;
    free(g);
}

static void on_token(void *arg, const weft_drawn *drawn)
{
    guest_part *p = arg;
    wi_replica *r = p->guest->replica;
    const int others = p->guest->others;
    wi_drawn d = {.token = drawn->id, .has_logprob = others >= 0, .others = others > 0 ? others : 0};
    weft_engine_stats_token(r->stats, &p->times);
    if (d.has_logprob) d.logprob = drawn->logprob;
    for (int i = 0; i < d.others; i++) {
        d.other[i].id = i < drawn->top_count ? drawn->top[i].id : -1;
        d.other[i].logprob = i < drawn->top_count ? drawn->top[i].logprob : 0;
    }
    r->calls->token(r->arg, p->guest->slot, p->index, &d);
}

static void on_end(void *arg, weft_finish finish)
{
    guest_part *p = arg;
    wi_guest *g = p->guest;
    wi_replica *r = g->replica;
    p->id = 0;
    weft_engine_stats_ended(r->stats, &p->times, finish, p->dropped);
    if (finish == WEFT_FINISH_CANCELLED && g->returning && !p->dropped)
        g->back = true;
    else
        r->calls->end(r->arg, g->slot, p->index, finish);
    if (--g->here > 0) return;
    if (g->returning && --r->returning == 0) r->returns = r->asked;
    if (g->back) r->calls->back(r->arg, g->slot);
    remove_guest(g);
}

static const weft_request_calls speaking_calls = {.token = on_token, .end = on_end}, silent_calls;

// ---- what rank 0 of the replica tells the others ----

static wi_words *next_of(wi_replica *r)
{
    wi_words *o = &r->orders[r->turn];
    if (o->used == 0) wi_orders_begin(o, &(wi_orders_head){0});
    return o;
}

static void drop(wi_replica *r, int slot, int index)
{
    wi_guest *g = slot < r->slot_room ? r->slots[slot] : NULL;
    for (int i = 0; g && i < g->part_count; i++) {
        guest_part *p = &g->parts[i];
        if (p->index != index || p->id == 0) continue; // it has ended meanwhile
        p->dropped = true;
        wi_orders_cancel(next_of(r), p->id);
    }
}

static bool waits(const wi_guest *g, const weft_engine *engine)
{
    weft_engine_cached cached;
    for (int i = 0; i < g->part_count; i++)
        if (g->parts[i].id != 0 && weft_engine_look(engine, g->parts[i].id, &cached)) return false;
    return !g->returning && !g->stays;
}

// The last ones that wait go back, of so many continuations.
static void return_some(wi_replica *r, int64_t count)
{
    r->asked++;
    for (wi_guest *g = r->last; g && count > 0; g = g->before) {
        if (g->here > count || !waits(g, r->model->engine)) continue;
        count -= g->here;
        g->returning = true;
        r->returning++;
        for (int i = 0; i < g->part_count; i++)
            if (g->parts[i].id != 0) wi_orders_cancel(next_of(r), g->parts[i].id);
    }
    if (r->returning == 0) r->returns = r->asked;
}

weft_status wi_replica_order(wi_replica *r, const unsigned char *letter, size_t bytes, wi_stop *stop)
{
    wi_orders_reader reader;
    wi_orders_head head;
    wi_order_item order;
    wi_orders_read(&reader, letter, bytes, &head);
    if (head.stop != WI_GO_ON) *stop = head.stop;
    for (wi_orders_next(&reader, &order); order.kind != WI_ORDER_NONE; wi_orders_next(&reader, &order)) {
        if (order.kind == WI_ORDER_SUBMIT) wi_orders_submit(next_of(r), &order.request);
        if (order.kind == WI_ORDER_DROP) drop(r, (int)order.id, order.index);
        if (order.kind == WI_ORDER_RETURN) return_some(r, order.id);
    }
    return WEFT_OK;
}

weft_status wi_replica_send(wi_replica *r, wi_stop stop)
{
    r->decided = weft_engine_state_of(r->model->engine).decisions;
    wi_control_signal(r->control);
    if (!r->leads) return wi_control_begin(r->control, NULL, 0);
    wi_words *o = next_of(r);
    const wi_orders_head head = {.stop = stop, .decisions = r->decided};
    if (o->failed) return weft_fail(WEFT_NO_MEMORY, "no memory for the orders of a step");
    memcpy(o->bytes, &head, sizeof head);
    r->told = o->used > sizeof head;
    r->turn = !r->turn;
    r->orders[r->turn].used = 0;
    return wi_control_begin(r->control, o->bytes, o->used);
}

// ---- what every rank does ----

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
static weft_status submit(wi_replica *rep, const wi_order_request *r)
{
    const int64_t longest = (int64_t)r->token_count + r->how.max_tokens;
    int64_t first = 0, id;
    wi_guest *guest = NULL;
    int32_t *tokens = malloc((size_t)longest * sizeof *tokens);
    weft_status status = tokens ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for %lld tokens", (long long)longest);
    if (rep->leads && status == WEFT_OK) status = make_guest(rep, r, &guest);
    for (int i = 0; i < r->part_count && status == WEFT_OK; i++) {
        const wi_order_part *part = &r->parts[i];
        weft_request request = request_of(r, part, tokens);
        request.fork_of = part->drawn_count == 0 ? first : 0; // the prompt is computed once
        if (guest) {
            request.calls = &speaking_calls;
            request.arg = &guest->parts[i];
        }
        status = weft_engine_submit(rep->model->engine, &request, &id);
        if (status < 0) weft_engine_stats_refused(rep->stats);
        if (status < 0) break;
        if (!first) first = id;
        if (guest) guest->parts[i].id = id;
        if (guest) weft_engine_stats_submitted(rep->stats, &guest->parts[i].times, r->token_count);
    }
    free(tokens);
    if (status == WEFT_NO_MEMORY) weft_job_abort(weft_comm_job(rep->model->world), status, weft_error_text());
    return status;
}

weft_status wi_replica_obey(wi_replica *r, wi_stop *stop)
{
    wi_orders_reader reader;
    wi_orders_head head;
    wi_order_item order;
    const unsigned char *message;
    size_t bytes;
    WEFT_TRY(wi_control_end(r->control, &message, &bytes));
    wi_orders_read(&reader, message, bytes, &head);
    *stop = head.stop;
    if (head.decisions != r->decided) {
        const weft_status status =
            weft_fail(WEFT_INTERNAL,
                      "after step %lld this rank's scheduler and its replica's rank 0's have decided "
                      "otherwise",
                      (long long)weft_engine_state_of(r->model->engine).steps);
        weft_job_abort(weft_comm_job(r->model->world), status, weft_error_text());
        return status;
    }
    for (wi_orders_next(&reader, &order); order.kind != WI_ORDER_NONE; wi_orders_next(&reader, &order)) {
        if (order.kind == WI_ORDER_CANCEL) weft_engine_cancel(r->model->engine, order.id);
        if (order.kind == WI_ORDER_SUBMIT) WEFT_TRY(submit(r, &order.request));
    }
    return WEFT_OK;
}

weft_status wi_replica_step(wi_replica *r)
{
    int rows;
    WEFT_TRY(weft_engine_stats_step(r->stats, r->model->engine, &rows));
    r->steps += rows > 0;
    r->idle = rows == 0;
    return WEFT_OK;
}

void wi_replica_free(wi_replica *r)
{
    for (wi_guest *g = r->first, *next; g; g = next) {
        next = g->next;
        free(g);
    }
    free(r->slots);
    wi_words_free(&r->orders[0]);
    wi_words_free(&r->orders[1]);
}
