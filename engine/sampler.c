#include "engine/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct wi_sampler {
    weft_request_sampling how; // its pointers are the sampler's own
    size_t vocab;
    uint64_t position; // of the token that is drawn next
    uint64_t ahead;    // draws that are under way, on a device
    int generated;
    bool penalizes;    // the request has penalties
    weft_bias *biases; // [how.bias_count]
    int32_t *stops;    // [stop_count] ascending, the model's among them where they count
    weft_bias *bans;   // [stop_count] the same, as what keeps them from being drawn
    int stop_count;    // of both
    weft_seen *seen;   // [seen_max], seen_count so far
    int32_t *slots;    // [slot_mask + 1] by hash, open: a place in `seen` and one, 0 where empty
    size_t seen_count, seen_max, slot_mask;
    float *saved; // logits before they were changed: of the seen, the biases and the bans
    weft_logprob top[WEFT_TOP_LOGPROBS_MAX];
    weft_lse lse; // of the logits that are being drawn from
};

struct wi_drawing {
    size_t vocab;
    int room;
    weft_op op; // with scratch
    const weft_sampling **how;
    uint64_t *position;
    weft_choice *choices;
    // where a device draws
    weft_device *device;
    weft_op there; // with scratch
    weft_choice *chosen;
    weft_choice *arrived; // [WEFT_DEVICE_MARKS][room] the host's copies, in pages that are lent to the device
    size_t arrived_bytes;
};

static size_t slot_of(const wi_sampler *s, int32_t id)
{
    size_t slot = ((uint32_t)id * 2654435769U) >> 7;
    for (slot &= s->slot_mask; s->slots[slot] && s->seen[s->slots[slot] - 1].id != id;)
        slot = (slot + 1) & s->slot_mask;
    return slot;
}

static void see(wi_sampler *s, int32_t id, uint32_t times)
{
    if (!s->penalizes) return;
    const size_t slot = slot_of(s, id);
    if (s->slots[slot] == 0) {
        s->seen[s->seen_count] = (weft_seen){.id = id};
        s->slots[slot] = (int32_t)++s->seen_count;
    }
    s->seen[s->slots[slot] - 1].count += times;
}

static int compare_ids(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static bool is_stop(const wi_sampler *s, int32_t id)
{
    return s->stop_count > 0 && bsearch(&id, s->stops, (size_t)s->stop_count, sizeof id, compare_ids);
}

// The ids that end the request, each once.
static weft_status make_stops(wi_sampler *s, const wi_sampler_model *model)
{
    const int of_model = s->how.ignore_stops ? 0 : model->stop_count, all = of_model + s->how.stop_count;
    if (all == 0) return WEFT_OK;
    s->stops = malloc((size_t)all * sizeof *s->stops);
    s->bans = malloc((size_t)all * sizeof *s->bans);
    if (!s->stops || !s->bans) return weft_fail(WEFT_NO_MEMORY, "no memory for %d stop tokens", all);
    for (int i = 0; i < all; i++) s->stops[i] = i < of_model ? model->stops[i] : s->how.stops[i - of_model];
    qsort(s->stops, (size_t)all, sizeof *s->stops, compare_ids);
    for (int i = 0; i < all; i++) {
        const int32_t id = s->stops[i];
        // A model may name stop tokens that it has no row for.
        if (id < 0 || (size_t)id >= s->vocab || (s->stop_count > 0 && s->stops[s->stop_count - 1] == id)) continue;
        s->bans[s->stop_count] = (weft_bias){.id = id, .add = -INFINITY};
        s->stops[s->stop_count++] = id;
    }
    return WEFT_OK;
}

static weft_status make_seen(wi_sampler *s, int64_t tokens)
{
    if (!s->penalizes) return WEFT_OK;
    s->seen_max = (uint64_t)tokens < s->vocab ? (size_t)tokens : s->vocab;
    for (s->slot_mask = 1; s->slot_mask < 2 * s->seen_max;) s->slot_mask *= 2;
    s->seen = malloc(s->seen_max * sizeof *s->seen);
    s->slots = calloc(s->slot_mask, sizeof *s->slots);
    s->slot_mask--;
    if (s->seen && s->slots) return WEFT_OK;
    return weft_fail(WEFT_NO_MEMORY, "no memory to count %zu tokens for penalties", s->seen_max);
}

static size_t saved_max(const wi_sampler *s) { return s->seen_max + (size_t)s->how.bias_count + (size_t)s->stop_count; }

static weft_status make_saved(wi_sampler *s)
{
    const bool changes = s->penalizes || s->how.bias_count > 0 || (s->how.min_tokens > 0 && s->stop_count > 0);
    if (!s->how.logprobs || !changes) return WEFT_OK;
    s->saved = malloc(saved_max(s) * sizeof *s->saved);
    return s->saved ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for %zu logits", saved_max(s));
}

static weft_status copy_biases(wi_sampler *s)
{
    const size_t bytes = (size_t)s->how.bias_count * sizeof *s->biases;
    if (bytes == 0) return WEFT_OK;
    s->biases = malloc(bytes);
    if (!s->biases) return weft_fail(WEFT_NO_MEMORY, "no memory for %d logit biases", s->how.bias_count);
    memcpy(s->biases, s->how.biases, bytes);
    return WEFT_OK;
}

weft_status wi_sampler_create(const wi_sampler_model *model, const weft_request_sampling *sampling,
                              const int32_t *tokens, int count, int drawn, int max_tokens, wi_sampler **out)
{
    wi_sampler *s = calloc(1, sizeof *s);
    weft_status status;
    if (!s) return weft_fail(WEFT_NO_MEMORY, "no memory for a sampler");
    s->how = *sampling;
    s->vocab = model->vocab;
    s->position = (uint64_t)count;
    s->generated = drawn;
    s->penalizes = sampling->repetition != 1 || sampling->frequency != 0 || sampling->presence != 0;
    WEFT_TRY_GOTO(copy_biases(s));
    WEFT_TRY_GOTO(make_stops(s, model));
    WEFT_TRY_GOTO(make_seen(s, (int64_t)count - drawn + max_tokens));
    WEFT_TRY_GOTO(make_saved(s));
    s->how.biases = s->biases;
    s->how.stops = NULL;
    for (int i = 0; i < count; i++) see(s, tokens[i], i >= count - drawn);
    *out = s;
    return WEFT_OK;
fail:
    wi_sampler_destroy(s);
    return status;
}

void wi_sampler_destroy(wi_sampler *s)
{
    if (!s) return;
    free(s->biases);
    free(s->stops);
    free(s->bans);
    free(s->seen);
    free(s->slots);
    free(s->saved);
    free(s);
}

size_t wi_sampler_bytes(const wi_sampler *s)
{
    const size_t slots = s->slots ? (s->slot_mask + 1) * sizeof *s->slots : 0;
    return sizeof *s + (size_t)s->how.bias_count * sizeof *s->biases +
           (size_t)s->stop_count * (sizeof *s->stops + sizeof *s->bans) + s->seen_max * sizeof *s->seen + slots +
           (s->saved ? saved_max(s) * sizeof *s->saved : 0);
}

weft_status wi_sampler_no_number(const wi_sampler *s)
{
    return weft_fail(WEFT_FAILED,
                     "no logit at position %lld is a number: the weights hold NaN, or what was computed "
                     "ran over",
                     (long long)s->position - 1);
}

weft_status wi_drawing_create(size_t vocab, int draws, int threads, wi_drawing **out)
{
    wi_drawing *d = calloc(1, sizeof *d);
    if (!d) return weft_fail(WEFT_NO_MEMORY, "no memory to draw with");
    d->vocab = vocab;
    d->room = draws;
    d->op.scratch_bytes = weft_pick_scratch(vocab, threads);
    d->op.scratch = aligned_alloc(64, (d->op.scratch_bytes + 63) / 64 * 64 + 64);
    d->how = malloc((size_t)draws * sizeof *d->how);
    d->position = malloc((size_t)draws * sizeof *d->position);
    d->choices = malloc((size_t)draws * sizeof *d->choices);
    if (!d->op.scratch || !d->how || !d->position || !d->choices) {
        wi_drawing_destroy(d);
        return weft_fail(WEFT_NO_MEMORY, "no memory to draw %d tokens at once", draws);
    }
    *out = d;
    return WEFT_OK;
}

void wi_drawing_destroy(wi_drawing *d)
{
    if (!d) return;
    if (d->device) {
        weft_device_free(d->device, d->there.scratch, d->there.scratch_bytes);
        weft_device_free(d->device, d->chosen, (size_t)d->room * sizeof *d->chosen);
        if (d->arrived) d->device->ops->give_back(d->device, d->arrived);
        free(d->arrived);
    }
    free(d->op.scratch);
    free(d->how);
    free(d->position);
    free(d->choices);
    free(d);
}

// Calls for each logit that the request changes, in an order that is always the same.
static void keep(wi_sampler *s, float *logits, bool back)
{
    size_t at = 0;
    const size_t seen = s->seen_count, biases = (size_t)s->how.bias_count, bans = (size_t)s->stop_count;
    for (size_t i = 0; i < seen + biases + bans; i++, at++) {
        const int32_t id = i < seen            ? s->seen[i].id
                           : i < seen + biases ? s->biases[i - seen].id
                                               : s->bans[i - seen - biases].id;
        if (back)
            logits[id] = s->saved[at];
        else
            s->saved[at] = logits[id];
    }
}

// The sum over the vocabulary, by its leaves, and the likeliest tokens.
static void take_logprobs(const weft_op *op, wi_draw *draw, const weft_logits *row)
{
    wi_sampler *s = draw->sampler;
    size_t begin[WEFT_LEAVES + 1];
    weft_lse leaves[WEFT_LEAVES];
    weft_choice top[WEFT_TOP_LOGPROBS_MAX];
    for (size_t i = 0; i <= WEFT_LEAVES; i++) begin[i] = i * s->vocab / WEFT_LEAVES;
    op->table->pick.lse_leaves(op, row, begin, WEFT_LEAVES, leaves);
    op->table->pick.lse_tree(op, leaves, WEFT_LEAVES, 1, &s->lse);
    draw->out.top = s->top;
    if (s->how.top_logprobs == 0) return;
    op->table->pick.top(op, row, (size_t)s->how.top_logprobs, top);
    for (int i = 0; i < s->how.top_logprobs && top[i].id >= 0; i++) {
        s->top[i].id = top[i].id;
        op->table->pick.logprob(op, row, &s->lse, &top[i].id, 1, &s->top[i].logprob);
        draw->out.top_count = i + 1;
    }
}

static weft_logits row_of(const wi_draw *draw)
{
    const size_t vocab = draw->sampler->vocab;
    return (weft_logits){.at = draw->logits, .stride = vocab, .rows = 1, .width = vocab};
}

// What comes before the drawing itself.
static void prepare(const weft_op *op, wi_draw *draw)
{
    wi_sampler *s = draw->sampler;
    const weft_logits row = row_of(draw);
    draw->out = (weft_drawn){.id = -1};
    draw->stops = false;
    if (s->how.logprobs) take_logprobs(op, draw, &row);
    if (s->saved) keep(s, draw->logits, false);
    const weft_penalty penalty = {.logits = draw->logits,
                                  .width = s->vocab,
                                  .seen = s->seen,
                                  .seen_count = s->seen_count,
                                  .repetition = s->how.repetition,
                                  .frequency = s->how.frequency,
                                  .presence = s->how.presence};
    if (s->penalizes) op->table->pick.penalize(op, &penalty);
    if (s->biases) op->table->pick.bias(op, draw->logits, s->vocab, 0, s->biases, (size_t)s->how.bias_count);
    if (s->generated < s->how.min_tokens)
        op->table->pick.bias(op, draw->logits, s->vocab, 0, s->bans, (size_t)s->stop_count);
}

static void finish(const weft_op *op, wi_draw *draw, weft_choice choice)
{
    wi_sampler *s = draw->sampler;
    draw->out.id = choice.id;
    draw->out.logit = choice.logit;
    s->ahead--;
    if (s->saved) keep(s, draw->logits, true);
    if (choice.id < 0) return;
    if (s->how.logprobs) {
        const weft_logits row = row_of(draw);
        op->table->pick.logprob(op, &row, &s->lse, &choice.id, 1, &draw->out.logprob);
    }
    draw->stops = is_stop(s, choice.id);
    if (draw->stops) return;
    see(s, choice.id, 1);
    s->position++;
    s->generated++;
}

bool wi_sampler_looks(const wi_sampler *s)
{
    return s->how.logprobs || s->penalizes || s->biases || (s->generated < s->how.min_tokens && s->stop_count > 0);
}

// Rows that lie one behind the other are drawn from together.
static void sample(wi_drawing *d, const weft_op *op, const wi_draw *draws, int count, weft_choice *out)
{
    for (int i = 0; i < count; i++) {
        d->how[i] = &draws[i].sampler->how.draw;
        d->position[i] = draws[i].sampler->position + draws[i].sampler->ahead++;
    }
    for (int i = 0, n; i < count; i += n) {
        for (n = 1; i + n < count && draws[i + n].logits == draws[i].logits + (size_t)n * d->vocab;) n++;
        const weft_sample args = {
            .logits = {.at = draws[i].logits, .stride = d->vocab, .rows = (size_t)n, .width = d->vocab},
            .how = d->how + i,
            .position = d->position + i,
            .out = out + i};
        op->table->pick.sample(op, &args);
    }
}

void wi_drawing_run(wi_drawing *d, const weft_op *op, wi_draw *draws, int count)
{
    weft_op own = *op;
    own.scratch = d->op.scratch;
    own.scratch_bytes = d->op.scratch_bytes;
    for (int i = 0; i < count; i++) prepare(&own, &draws[i]);
    sample(d, &own, draws, count, d->choices);
    for (int i = 0; i < count; i++) finish(&own, &draws[i], d->choices[i]);
}

static weft_status lend_arrived(wi_drawing *d)
{
    enum { PAGE = 4096 };
    d->arrived_bytes = WEFT_DEVICE_MARKS * (size_t)d->room * sizeof *d->arrived;
    d->arrived_bytes = (d->arrived_bytes + PAGE - 1) / PAGE * PAGE;
    void *memory = aligned_alloc(PAGE, d->arrived_bytes);
    if (!memory) return weft_fail(WEFT_NO_MEMORY, "no memory for %d drawn tokens", d->room);
    const weft_status status = d->device->ops->lend(d->device, memory, d->arrived_bytes);
    if (status < 0)
        free(memory);
    else
        d->arrived = memory;
    return status;
}

weft_status wi_drawing_go_there(wi_drawing *d, const weft_op *op, weft_device *device)
{
    void *chosen;
    d->device = device;
    d->there = *op;
    d->there.scratch = NULL;
    d->there.scratch_bytes = d->op.scratch_bytes;
    WEFT_TRY(weft_device_alloc(device, d->there.scratch_bytes, &d->there.scratch));
    WEFT_TRY(weft_device_alloc(device, (size_t)d->room * sizeof *d->chosen, &chosen));
    d->chosen = chosen;
    return lend_arrived(d);
}

const weft_choice *wi_drawing_chosen(const wi_drawing *d) { return d->chosen; }

void wi_drawing_begin_there(wi_drawing *d, wi_draw *draws, int count, int mark)
{
    const weft_device_ops *ops = d->device->ops;
    weft_choice *arrived = d->arrived + (size_t)mark * (size_t)d->room;
    if (count > 0) sample(d, &d->there, draws, count, d->chosen);
    if (count > 0) ops->copy(d->device, arrived, d->chosen, (size_t)count * sizeof *arrived);
    ops->mark(d->device, mark);
}

weft_status wi_drawing_end_there(wi_drawing *d, wi_draw *draws, int count, int mark)
{
    const weft_choice *arrived = d->arrived + (size_t)mark * (size_t)d->room;
    WEFT_TRY(d->device->ops->wait(d->device, mark));
    for (int i = 0; i < count; i++) {
        if (!draws[i].sampler) continue;
        draws[i].out = (weft_drawn){.id = -1};
        draws[i].stops = false;
        finish(&d->op, &draws[i], arrived[i]);
    }
    return WEFT_OK;
}
