#include "engine/schedule.h"

#include <stdlib.h>

typedef struct {
    wi_work *first, *last;
    int count;
} queue;

struct wi_schedule {
    wi_schedule_options options;
    wi_kv *cache;
    wi_rows *rows;
    queue running, waiting;
    wi_slice *shares; // (requests)
    int share_count;
    int64_t read;    // positions, in this step
    bool starved;    // who runs lacks blocks: nobody begins
    int64_t no_room; // what wi_kv_freed said when the first that waits did not fit; -1
    int64_t unfit;   // its id
    int64_t last_id;
    wi_schedule_state state;
};

weft_status wi_schedule_create(const wi_schedule_options *options, wi_kv *cache, wi_rows *rows, wi_schedule **out)
{
    wi_schedule *s = calloc(1, sizeof *s);
    wi_slice *shares = calloc((size_t)options->requests, sizeof *shares);
    if (!s || !shares) {
        free(s);
        free(shares);
        return weft_fail(WEFT_NO_MEMORY, "no memory for %d requests", options->requests);
    }
    *s = (wi_schedule){.options = *options, .cache = cache, .rows = rows, .shares = shares};
    *out = s;
    return WEFT_OK;
}

void wi_schedule_destroy(wi_schedule *s)
{
    if (!s) return;
    free(s->shares);
    free(s);
}

// ---- queues ----

static bool comes_before(const wi_work *one, const wi_work *other)
{
    return one->priority != other->priority ? one->priority > other->priority : one->id < other->id;
}

static void enter(queue *q, wi_work *w)
{
    wi_work *before = q->last;
    while (before && comes_before(w, before)) before = before->before;
    w->before = before;
    w->after = before ? before->after : q->first;
    *(before ? &before->after : &q->first) = w;
    *(w->after ? &w->after->before : &q->last) = w;
    q->count++;
}

static void leave(queue *q, wi_work *w)
{
    *(w->before ? &w->before->after : &q->first) = w->after;
    *(w->after ? &w->after->before : &q->last) = w->before;
    w->before = w->after = NULL;
    q->count--;
}

weft_status wi_schedule_add(wi_schedule *s, wi_work *w)
{
    WEFT_TRY(wi_sequence_create(s->cache, w->positions, &w->sequence));
    w->id = ++s->last_id;
    w->sequence.priority = w->priority;
    wi_kv_hash(s->cache, &w->sequence, w->turned, w->tokens, w->count);
    if (w->parent) w->parent->forks++;
    enter(&s->waiting, w);
    return WEFT_OK;
}

// Whoever waited for it goes on alone.
static void forget_parent(const wi_schedule *s, wi_work *parent)
{
    for (wi_work *w = s->waiting.first; w && parent->forks > 0; w = w->after) {
        if (w->parent != parent) continue;
        w->parent = NULL;
        parent->forks--;
    }
}

static void stop(wi_schedule *s, wi_work *w)
{
    if (!w->runs) return;
    wi_kv_release(s->cache, &w->sequence);
    leave(&s->running, w);
    w->runs = w->taken = false;
    w->cached = 0;
}

void wi_schedule_remove(wi_schedule *s, wi_work *w)
{
    forget_parent(s, w);
    if (w->runs) {
        stop(s, w);
    } else {
        if (w->parent) w->parent->forks--;
        leave(&s->waiting, w);
    }
    wi_sequence_free(&w->sequence);
}

static void wait_again(wi_schedule *s, wi_work *w)
{
    stop(s, w);
    enter(&s->waiting, w);
}

void wi_schedule_restart(wi_schedule *s, wi_work *w)
{
    wait_again(s, w);
    w->sequence.hashed = 0;
    wi_kv_hash(s->cache, &w->sequence, w->turned, w->tokens, w->count);
}

// ---- a step ----

static bool is_generating(const wi_work *w) { return w->count - w->cached == 1 && w->count > w->prompt; }

static void decided(wi_schedule *s, uint64_t a, uint64_t b)
{
    uint64_t x = (s->state.decisions ^ a) * UINT64_C(0x9e3779b97f4a7c15) + b;
    x = (x ^ x >> 32) * UINT64_C(0xd6e8feb86659fd93);
    s->state.decisions = x ^ x >> 29;
}

static wi_rows_wanted wanted_of(const wi_work *w)
{
    // Logits of the prompt are not given twice, where it starts over.
    const bool shows = w->all_logits && w->cached >= w->shown && w->cached < w->prompt;
    const int until = w->all_logits && w->cached < w->shown ? w->shown : shows ? w->prompt : w->count;
    return (wi_rows_wanted){.tokens = w->tokens + w->cached,
                            .position = w->cached,
                            .count = until - w->cached,
                            .blocks = w->sequence.units,
                            .table = w->sequence.room,
                            .key = w->sequence.key,
                            .rotation = w->turned,
                            .all_logits = shows,
                            .last_logit = w->draws && until == w->count};
}

// The last in order behind `w` that has no rows in this step.
static wi_work *victim_behind(const wi_schedule *s, const wi_work *w)
{
    for (wi_work *v = s->running.last; v != w; v = v->before)
        if (!v->taken) return v;
    return NULL;
}

// Blocks for the next rows of a running request, if need be those of others.
static bool find_blocks(wi_schedule *s, wi_work *w, int64_t positions)
{
    while (!wi_kv_extend(s->cache, &w->sequence, positions)) {
        wi_work *victim = victim_behind(s, w);
        s->starved = true;
        if (!victim) return false;
        decided(s, (uint64_t)victim->id, UINT64_MAX);
        s->state.preempted++;
        wait_again(s, victim);
    }
    return true;
}

// Rows of one request into the step, as many as there is room for.
static void serve(wi_schedule *s, wi_work *w)
{
    const int64_t budget = s->options.read_budget;
    wi_rows_wanted wanted = wanted_of(w);
    const int rows = wi_rows_fit(s->rows, &wanted);
    if (rows == 0 || w->taken) return;
    if (budget > 0 && s->share_count > 0 && !is_generating(w) && s->read + w->cached + rows > budget) return;
    if (!find_blocks(s, w, (int64_t)w->cached + rows)) return;
    wanted.last_logit = wanted.last_logit && rows == wanted.count;
    wanted.count = rows;
    wi_slice share = {.of = w,
                      .rows = rows,
                      .logit_first = wi_rows_logits(s->rows),
                      .first_logit = w->cached + rows - 1,
                      .last = w->cached + rows == w->count};
    wi_rows_add(s->rows, &wanted);
    share.logits = wi_rows_logits(s->rows) - share.logit_first;
    if (wanted.all_logits) share.first_logit = w->cached;
    s->shares[s->share_count++] = share;
    s->read += w->cached + rows;
    w->taken = true;
    decided(s, (uint64_t)w->id, (uint64_t)w->cached << 32 | (uint64_t)rows);
}

static void serve_running(wi_schedule *s, bool generating)
{
    for (wi_work *w = s->running.first, *next; w; w = next) {
        if (is_generating(w) == generating) serve(s, w);
        next = w->after; // those behind it may have left
    }
}

// Blocks from the first on that both have the same tokens in. Hashes are chained, so one says it of all before it.
static int shared_blocks(const wi_work *one, const wi_work *other)
{
    const wi_digest *a = one->sequence.hashes, *b = other->sequence.hashes;
    int low = 0, high = one->sequence.hashed < other->sequence.hashed ? one->sequence.hashed : other->sequence.hashed;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (a[middle - 1].word[0] == b[middle - 1].word[0] && a[middle - 1].word[1] == b[middle - 1].word[1])
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

// How much of a request need not be computed where it is found.
static int64_t sharable(const wi_work *w) { return w->all_logits ? w->shown : w->count - 1; }

// Whether a running request is about to compute what this one could find.
static bool is_on_its_way(const wi_schedule *s, const wi_work *w)
{
    const int block = wi_cache_shape_of(s->cache)->block;
    if (w->parent) return !w->parent->runs || w->parent->cached < w->prompt - 1;
    for (const wi_work *r = s->running.first; r; r = r->after) {
        if (r->count - r->cached <= 1) continue;
        int64_t shared = shared_blocks(r, w);
        if (shared > sharable(w) / block) shared = sharable(w) / block;
        if (shared * block > r->cached) return true;
    }
    return false;
}

static int64_t admit(wi_schedule *s, wi_work *w)
{
    const wi_kv_shape *shape = wi_cache_shape_of(s->cache);
    const bool alone = s->running.count == 0;
    const int64_t margin = alone || s->options.reserves ? 0 : (int64_t)(s->options.margin * (double)shape->units);
    const int64_t positions = s->options.reserves ? w->positions : w->count;
    int64_t found = -1;
    if (w->parent && w->parent->turned == w->turned)
        found = wi_kv_fork(s->cache, &w->parent->sequence, &w->sequence, w->prompt - 1, positions, margin);
    if (found < 0) found = wi_kv_admit(s->cache, &w->sequence, sharable(w), positions, margin);
    return found;
}

static void begin(wi_schedule *s, wi_work *w, int64_t found)
{
    leave(&s->waiting, w);
    enter(&s->running, w);
    if (w->parent) w->parent->forks--;
    w->parent = NULL;
    w->runs = true;
    w->cached = (int)found;
    s->state.found += found;
    decided(s, (uint64_t)w->id, (uint64_t)found);
}

static void begin_waiting(wi_schedule *s)
{
    for (wi_work *w = s->waiting.first, *next; w; w = next) {
        next = w->after;
        if (s->running.count == s->options.requests || s->starved) return;
        const wi_rows_wanted wanted = wanted_of(w);
        if (wi_rows_fit(s->rows, &wanted) == 0) return;
        if (is_on_its_way(s, w)) continue;
        if (s->unfit == w->id && s->no_room == wi_kv_freed(s->cache) && s->running.count > 0) return;
        const int64_t found = admit(s, w);
        if (found < 0) {
            s->unfit = w->id;
            s->no_room = wi_kv_freed(s->cache);
            return;
        }
        begin(s, w, found);
        serve(s, w);
    }
}

bool wi_schedule_place(wi_schedule *s, wi_work *w, int key, int cached)
{
    const int64_t positions = s->options.reserves ? w->positions : w->count;
    if (s->running.count == s->options.requests) return false;
    if (!wi_kv_place(s->cache, &w->sequence, key, cached, positions)) return false;
    begin(s, w, cached);
    return true;
}

int wi_schedule_step(wi_schedule *s, const wi_slice **shares)
{
    s->share_count = 0;
    s->read = 0;
    s->starved = false;
    wi_rows_begin(s->rows);
    for (wi_work *w = s->running.first; w; w = w->after) w->taken = false;
    serve_running(s, s->options.order == WEFT_SCHEDULE_FIFO);
    serve_running(s, s->options.order != WEFT_SCHEDULE_FIFO);
    begin_waiting(s);
    s->state.steps += s->share_count > 0;
    *shares = s->shares;
    return s->share_count;
}

void wi_schedule_computed(wi_schedule *s, const wi_slice *share)
{
    wi_work *w = share->of;
    w->cached += share->rows;
    if (w->all_logits && w->shown < w->cached) w->shown = w->cached < w->prompt ? w->cached : w->prompt;
    s->state.computed += share->rows;
    wi_schedule_known(s, w);
}

void wi_schedule_known(wi_schedule *s, wi_work *w)
{
    wi_kv_hash(s->cache, &w->sequence, w->turned, w->tokens, w->count - w->unknown);
    if (w->runs) wi_kv_computed(s->cache, &w->sequence, w->cached);
}

// ---- looking ----

wi_work *wi_schedule_first(const wi_schedule *s) { return s->running.first ? s->running.first : s->waiting.first; }

wi_work *wi_schedule_next(const wi_schedule *s, const wi_work *w)
{
    return w->after ? w->after : w->runs ? s->waiting.first : NULL;
}

wi_schedule_state wi_schedule_state_of(const wi_schedule *s)
{
    wi_schedule_state state = s->state;
    state.running = s->running.count;
    state.waiting = s->waiting.count;
    return state;
}

weft_status wi_schedule_check(const wi_schedule *s)
{
    const wi_sequence **sequences = malloc(((size_t)s->running.count + 1) * sizeof *sequences);
    int count = 0;
    if (!sequences) return weft_fail(WEFT_NO_MEMORY, "no memory to check a schedule");
    for (const wi_work *w = s->running.first; w; w = w->after) sequences[count++] = &w->sequence;
    const weft_status status = wi_kv_check(s->cache, sequences, count, s->options.reserves);
    free(sequences);
    return status;
}
