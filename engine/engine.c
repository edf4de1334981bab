// Requests and the engine itself; its steps are in step.c.
#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

#include "engine/engine_impl.h"

wi_active *wi_engine_find(const weft_engine *e, int64_t id)
{
    for (wi_work *w = wi_schedule_first(e->schedule); w; w = wi_schedule_next(e->schedule, w))
        if (w->id == id) return wi_active_of(w);
    return NULL;
}

const char *weft_finish_name(weft_finish finish)
{
    static const char *const names[] = {"stop", "length", "scored", "cancelled", "error", "moved"};
    return (size_t)finish < sizeof names / sizeof *names ? names[finish] : "unknown";
}

static void active_free(wi_active *a)
{
    wi_sampler_destroy(a->sampler);
    free(a->tokens);
    free(a);
}

// Its rows and draws of steps that are under way are nobody's then.
static void forget(weft_engine *e, const wi_active *a)
{
    for (int i = 0; i < WEFT_DEVICE_MARKS; i++) {
        wi_flight *f = &e->flight[i];
        for (int j = 0; j < f->slice_count; j++)
            if (f->slices[j].of == &a->work) f->slices[j].of = NULL;
        for (int j = 0; j < f->draw_count; j++)
            if (f->drawers[j] == a) f->draws[j].sampler = NULL;
    }
}

void wi_engine_end(weft_engine *e, wi_active *a, weft_finish finish)
{
    forget(e, a);
    wi_schedule_remove(e->schedule, &a->work);
    if (a->request.calls->end) a->request.calls->end(a->request.arg, finish);
    active_free(a);
}

// ---- requests ----

// How many tokens a request may come to that are computed: the last one drawn never is.
static int64_t computed_of(const weft_request *r)
{
    const int64_t prompt = (int64_t)r->token_count - r->drawn;
    return prompt + (r->max_tokens > 0 ? r->max_tokens - 1 : 0);
}

int64_t weft_engine_longest(const weft_engine *e)
{
    int64_t low = 0, high = weft_model_options_of(e->model)->positions;
    while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        if (wi_kv_fits(e->cache, middle))
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static weft_status check_request(weft_engine *e, const weft_request *r)
{
    const weft_model_config *config = weft_model_config_of(e->model);
    const int64_t room = weft_model_options_of(e->model)->positions, most = computed_of(r);
    if (r->token_count - r->drawn < 1) return weft_fail(WEFT_INVALID, "a request without tokens: give at least one");
    for (int i = 0; i < r->token_count; i++)
        if (r->tokens[i] < 0 || r->tokens[i] >= config->vocab)
            return weft_fail(WEFT_INVALID, "token %d is %d: the vocabulary has 0 to %lld", i, r->tokens[i],
                             (long long)config->vocab - 1);
    if (r->max_tokens > 0) WEFT_TRY(weft_request_sampling_check(&r->sampling, config->vocab, r->max_tokens));
    if (r->drawn < 0 || (r->drawn > 0 && r->drawn >= r->max_tokens))
        return weft_fail(WEFT_INVALID, "a request of %d tokens to draw, of which %d were drawn: nothing is left to do",
                         r->max_tokens, r->drawn);
    if (!wi_kv_fits(e->cache, most))
        return weft_fail(WEFT_LIMIT, "a request of up to %lld tokens: the cache has room for %lld; use --cache-bytes",
                         (long long)most + (r->max_tokens > 0), (long long)weft_engine_longest(e));
    if (most > room)
        return weft_fail(WEFT_LIMIT, "a request of up to %lld tokens: the model was opened for %lld positions",
                         (long long)most + (r->max_tokens > 0), (long long)room);
    return WEFT_OK;
}

weft_status wi_engine_turn(weft_engine *e, wi_active *a)
{
    int length = a->work.prompt;
    a->rotation_limit = weft_model_rotation_limit(e->model, length);
    while (a->work.count > a->rotation_limit) {
        length = (int)a->rotation_limit + 1;
        a->rotation_limit = weft_model_rotation_limit(e->model, length);
    }
    return weft_model_rotation(e->model, length, &a->work.turned);
}

static weft_status make_sampler(weft_engine *e, wi_active *a)
{
    const weft_model_config *config = weft_model_config_of(e->model);
    const weft_request *r = &a->request;
    const wi_sampler_model model = {
        .vocab = (size_t)config->vocab, .stops = config->stops, .stop_count = (int)config->stop_count};
    if (r->max_tokens == 0) return WEFT_OK;
    return wi_sampler_create(&model, &r->sampling, a->tokens, r->token_count, r->drawn, r->max_tokens, &a->sampler);
}

static weft_status make_active(weft_engine *e, const weft_request *request, wi_active **out)
{
    const size_t room = (size_t)(request->token_count - request->drawn) + (size_t)request->max_tokens;
    weft_status status;
    wi_active *parent = request->fork_of ? wi_engine_find(e, request->fork_of) : NULL;
    wi_active *a = calloc(1, sizeof *a);
    if (!a || !(a->tokens = malloc(room * sizeof *a->tokens)))
        WEFT_TRY_GOTO(weft_fail(WEFT_NO_MEMORY, "no memory for a request of %zu tokens", room));
    a->request = *request;
    a->request.tokens = NULL;
    memcpy(a->tokens, request->tokens, (size_t)request->token_count * sizeof *a->tokens);
    a->work = (wi_work){.priority = request->priority,
                        .tokens = a->tokens,
                        .count = request->token_count,
                        .prompt = request->token_count - request->drawn,
                        .positions = computed_of(request),
                        .all_logits = request->prompt_logits,
                        .draws = request->max_tokens > 0,
                        .parent = parent ? &parent->work : NULL};
    WEFT_TRY_GOTO(make_sampler(e, a));
    WEFT_TRY_GOTO(wi_engine_turn(e, a));
    WEFT_TRY_GOTO(wi_schedule_add(e->schedule, &a->work));
    *out = a;
    return WEFT_OK;
fail:
    if (a) active_free(a);
    return status;
}

weft_status weft_engine_submit(weft_engine *e, const weft_request *request, int64_t *id)
{
    wi_active *a;
    WEFT_TRY(check_request(e, request));
    WEFT_TRY(make_active(e, request, &a));
    *id = a->work.id;
    return WEFT_OK;
}

void weft_engine_cancel(weft_engine *e, int64_t id)
{
    wi_active *a = wi_engine_find(e, id);
    if (a) a->cancelled = e->has_cancelled = true;
}

// ---- looking ----

bool weft_engine_look(const weft_engine *e, int64_t id, weft_engine_cached *out)
{
    const wi_active *a = wi_engine_find(e, id);
    if (!a || !a->work.runs) return false;
    *out =
        (weft_engine_cached){.blocks = a->work.sequence.units, .cached = a->work.cached, .key = a->work.sequence.key};
    return true;
}

weft_engine_state weft_engine_state_of(const weft_engine *e)
{
    const wi_schedule_state s = wi_schedule_state_of(e->schedule);
    const wi_blocks *b = wi_kv_blocks(e->cache);
    weft_engine_state state = {.running = s.running,
                               .waiting = s.waiting,
                               .steps = s.steps,
                               .preempted = s.preempted,
                               .found = s.found,
                               .computed = s.computed,
                               .units = wi_blocks_units(b),
                               .held = -1,
                               .evicted = wi_blocks_evicted(b),
                               .computing_ns = e->computing_ns,
                               .decisions = s.decisions};
    for (int r = 0; r < wi_cache_shape_of(e->cache)->ranks; r++) {
        const int64_t held = state.units - wi_blocks_room(b, r);
        if (held <= state.held) continue;
        state.held = held;
        state.cached = wi_blocks_named(b, r);
    }
    return state;
}

weft_status weft_engine_check(const weft_engine *e)
{
    WEFT_TRY(wi_schedule_check(e->schedule));
    const weft_engine_state state = weft_engine_state_of(e);
    if (state.running == 0 && state.held != 0)
        return weft_fail(WEFT_INTERNAL, "%lld blocks are held by nobody", (long long)state.held);
    return WEFT_OK;
}

const weft_pool *weft_engine_pool(const weft_engine *e) { return e->pool; }

// ---- an engine ----

static weft_status make_flights(weft_engine *e)
{
    const size_t requests = (size_t)e->options.requests;
    for (int i = 0; i < WEFT_DEVICE_MARKS; i++) {
        wi_flight *f = &e->flight[i];
        f->mark = i;
        f->slices = calloc(requests, sizeof *f->slices);
        f->draws = calloc(requests, sizeof *f->draws);
        f->drawers = calloc(requests, sizeof *f->drawers);
        if (!f->slices || !f->draws || !f->drawers)
            return weft_fail(WEFT_NO_MEMORY, "no memory for %zu requests", requests);
    }
    return WEFT_OK;
}

static weft_status make_local(weft_engine *e, const weft_cache_cut *cut, weft_device *device)
{
    const weft_mesh *mesh = &weft_model_layout_of(e->model)->mesh;
    const weft_engine_options *o = &e->options;
    const size_t vocab = (size_t)weft_model_config_of(e->model)->vocab;
    wi_kv_shape kv = wi_engine_kv(cut, &mesh->shape, o);
    wi_rows_shape rows = wi_engine_rows(cut, &mesh->shape, o, weft_model_options_of(e->model)->logit_rows, vocab);
    const wi_schedule_options schedule = {.order = o->schedule,
                                          .requests = o->requests,
                                          .reserves = !o->preempts,
                                          .margin = o->margin,
                                          .read_budget = o->read_budget};
    kv.rank = mesh->cp_rank;
    rows.own = rows.ranks > 1 ? mesh->cp_rank : 0;
    WEFT_TRY(make_flights(e));
    WEFT_TRY(wi_drawing_create(vocab, o->requests, e->op.team ? weft_team_threads(e->op.team) : 1, &e->drawing));
    WEFT_TRY(wi_rows_create(&rows, &e->rows));
    WEFT_TRY(wi_kv_create(&kv, &e->cache));
    WEFT_TRY(wi_schedule_create(&schedule, e->cache, e->rows, &e->schedule));
    if (!device->ops->is_host) {
        void *logits;
        e->logits_bytes = (size_t)rows.logit_room * vocab * sizeof(float);
        WEFT_TRY(weft_device_alloc(device, e->logits_bytes, &logits));
        e->logits = logits;
        WEFT_TRY(wi_drawing_go_there(e->drawing, weft_model_op_of(e->model), device));
    }
    return weft_pool_create(e->model, device, o->block, o->cache_units, wi_moves_memory(e->moves), &e->pool);
}

// A host's ops are done when they return. WEFT_AHEAD=off: each step waits for the one before it.
static bool goes_ahead(const weft_engine *e)
{
    const char *ahead = getenv("WEFT_AHEAD");
    return !e->device->ops->is_host && (!ahead || strcmp(ahead, "off") != 0);
}

static weft_status make(weft_engine *e, weft_device *device)
{
    weft_comm *all = weft_model_layout_of(e->model)->mesh.all;
    const weft_cache_cut cut = weft_model_cache_cut(e->model, e->options.block, NULL, NULL);
    int64_t *units = &e->options.cache_units;
    if (e->options.cache_bytes) *units = e->options.cache_bytes / (int64_t)cut.unit;
    if (*units < 1) *units = 1;
    // Ranks may have KV heads in unlike numbers, and so pools of unlike numbers of units. What they decide depends on
    // whether they go ahead.
    int64_t agreed[] = {*units, goes_ahead(e)};
    if (all) WEFT_TRY(weft_comm_min(all, agreed, 2));
    *units = agreed[0];
    e->ahead = agreed[1];
    weft_status status = WEFT_OK;
    if (e->options.peers) status = wi_moves_create(e->model, device, &e->options, &cut, units, &e->moves);
    if (status == WEFT_OK) status = make_local(e, &cut, device);
    return all ? weft_comm_agree(all, status, NULL) : status;
}

weft_status weft_engine_create(const weft_op *op, weft_model *model, weft_device *device,
                               const weft_engine_options *options, weft_engine **out)
{
    weft_comm *all = weft_model_layout_of(model)->mesh.all;
    weft_engine *e = calloc(1, sizeof *e);
    weft_status status = e ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for an engine");
    WEFT_TRY_GOTO(all ? weft_comm_agree(all, status, NULL) : status);
    e->op = *op;
    e->op.scratch = NULL;
    e->model = model;
    e->device = device;
    e->options = *options;
    if (e->options.chunk > weft_model_options_of(model)->rows) e->options.chunk = weft_model_options_of(model)->rows;
    WEFT_TRY_GOTO(make(e, device));
    *out = e;
    return WEFT_OK;
fail:
    weft_engine_destroy(e);
    return status;
}

void weft_engine_destroy(weft_engine *e)
{
    if (!e) return;
    for (wi_work *w; e->schedule && (w = wi_schedule_first(e->schedule));) {
        wi_schedule_remove(e->schedule, w);
        active_free(wi_active_of(w));
    }
    wi_schedule_destroy(e->schedule);
    wi_kv_destroy(e->cache);
    weft_pool_destroy(e->pool);
    wi_moves_destroy(e->moves);
    if (e->logits) weft_device_free(e->device, e->logits, e->logits_bytes);
    wi_rows_destroy(e->rows);
    wi_drawing_destroy(e->drawing);
    for (int i = 0; i < WEFT_DEVICE_MARKS; i++) {
        free(e->flight[i].slices);
        free(e->flight[i].draws);
        free(e->flight[i].drawers);
    }
    free(e);
}
