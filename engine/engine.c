// Requests, the queue, and the step.
#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

#include "engine/rows.h"

typedef struct active {
    struct active *next; // in order of arrival
    int64_t id;
    weft_request request;
    int32_t *tokens; // prompt and what was drawn, room for all
    int count;       // of them
    int cached;      // of them, from the first on
    int32_t *blocks; // of the cache, for all tokens that there may be; NULL before it is admitted
    int block_count; // -1 stands for those that other ranks hold
    int key;         // of the fold
    int rotation;
    int64_t rotation_limit;
    bool cancelled;
} active;

// What a request has of a step.
typedef struct {
    active *of;
    int rows;
    int logit_first, logits;
} share;

struct weft_engine {
    weft_op op;
    weft_model *model;
    weft_pool *pool;
    weft_engine_options options;
    int ranks, rank; // that positions are dealt over
    int64_t blocks;  // of the smallest pool
    int64_t *used;   // [ranks] blocks in use: every rank follows all
    int64_t *asked;  // [ranks] that a request would take
    active *first;
    int64_t last_id;
    int64_t steps; // so far
    wi_rows *rows; // of one step
    share *shares; // (requests)
    int share_count;
};

const char *weft_finish_name(weft_finish finish)
{
    static const char *const names[] = {"stop", "length", "scored", "cancelled"};
    return (size_t)finish < sizeof names / sizeof *names ? names[finish] : "unknown";
}

// Which rank holds a block of a request that is rotated by `key`.
static int owner_of(const weft_engine *e, int block, int key)
{
    if (e->ranks == 1) return 0;
    return weft_fold_owner((int64_t)block * weft_pool_block(e->pool) / WEFT_FOLD_CHUNK, e->ranks, key);
}

static void active_free(weft_engine *e, active *a)
{
    for (int i = 0; a->blocks && i < a->block_count; i++) {
        e->used[owner_of(e, i, a->key)]--;
        if (a->blocks[i] >= 0) weft_pool_give(e->pool, a->blocks[i]);
    }
    free(a->blocks);
    free(a->tokens);
    free(a);
}

static void end(weft_engine *e, active *a, weft_finish finish)
{
    active **at = &e->first;
    while (*at != a) at = &(*at)->next;
    *at = a->next;
    if (a->request.calls->end) a->request.calls->end(a->request.arg, finish);
    active_free(e, a);
}

// How many tokens the request may come to that are computed: the last one drawn never is.
static int64_t computed_of(const active *a)
{
    return (int64_t)a->request.token_count + (a->request.max_tokens > 0 ? a->request.max_tokens - 1 : 0);
}

static int blocks_of(const weft_engine *e, const active *a)
{
    const int block = weft_pool_block(e->pool);
    return (int)((computed_of(a) + block - 1) / block);
}

// Whether the request would fit an empty cache.
static bool fits_alone(const weft_engine *e, const active *a)
{
    for (int key = 0; key < (e->ranks > 1 ? WEFT_FOLD_PLACES : 1); key++) {
        int64_t most = 0;
        memset(e->asked, 0, (size_t)e->ranks * sizeof *e->asked);
        for (int i = 0; i < a->block_count; i++) e->asked[owner_of(e, i, key)]++;
        for (int r = 0; r < e->ranks; r++) most = e->asked[r] > most ? e->asked[r] : most;
        if (most <= e->blocks) return true;
    }
    return false;
}

weft_status weft_engine_submit(weft_engine *e, const weft_request *request, int64_t *id)
{
    const weft_model_config *config = weft_model_config_of(e->model);
    const int64_t most = (int64_t)request->token_count + request->max_tokens;
    if (request->token_count < 1) return weft_fail(WEFT_INVALID, "a request without tokens: give at least one");
    for (int i = 0; i < request->token_count; i++)
        if (request->tokens[i] < 0 || request->tokens[i] >= config->vocab)
            return weft_fail(WEFT_INVALID, "token %d is %d: the vocabulary has 0 to %lld", i, request->tokens[i],
                             (long long)config->vocab - 1);
    active *a = calloc(1, sizeof *a);
    if (!a || !(a->tokens = malloc((size_t)most * sizeof *a->tokens))) {
        free(a);
        return weft_fail(WEFT_NO_MEMORY, "no memory for a request of %lld tokens", (long long)most);
    }
    a->request = *request;
    a->request.tokens = NULL;
    memcpy(a->tokens, request->tokens, (size_t)request->token_count * sizeof *a->tokens);
    a->count = request->token_count;
    a->block_count = blocks_of(e, a);
    weft_status status = WEFT_OK;
    if (!fits_alone(e, a))
        status = weft_fail(WEFT_LIMIT, "a request of up to %lld tokens: the cache has room for %lld; use --cache-bytes",
                           (long long)most, (long long)(e->blocks * e->ranks * weft_pool_block(e->pool)));
    if (status == WEFT_OK && computed_of(a) > weft_model_options_of(e->model)->positions)
        status = weft_fail(WEFT_LIMIT, "a request of up to %lld tokens: the model was opened for %lld positions",
                           (long long)most, (long long)weft_model_options_of(e->model)->positions);
    if (status == WEFT_OK) status = weft_model_rotation(e->model, a->count, &a->rotation);
    if (status != WEFT_OK) {
        active_free(e, a);
        return status;
    }
    a->rotation_limit = weft_model_rotation_limit(e->model, a->count);
    a->id = ++e->last_id;
    active **at = &e->first;
    while (*at) at = &(*at)->next;
    *at = a;
    *id = a->id;
    return WEFT_OK;
}

void weft_engine_cancel(weft_engine *e, int64_t id)
{
    for (active *a = e->first; a; a = a->next)
        if (a->id == id) a->cancelled = true;
}

// The key that leaves the fullest rank with the fewest blocks; false where the request does not fit under any.
static bool find_key(const weft_engine *e, const active *a, int *key)
{
    int64_t best = e->blocks + 1;
    for (int k = 0; k < (e->ranks > 1 ? WEFT_FOLD_PLACES : 1); k++) {
        int64_t most = 0;
        memcpy(e->asked, e->used, (size_t)e->ranks * sizeof *e->asked);
        for (int i = 0; i < a->block_count; i++) e->asked[owner_of(e, i, k)]++;
        for (int r = 0; r < e->ranks; r++) most = e->asked[r] > most ? e->asked[r] : most;
        if (most >= best) continue;
        best = most;
        *key = k;
    }
    return best <= e->blocks;
}

static weft_status admit_one(weft_engine *e, active *a)
{
    a->blocks = malloc((size_t)a->block_count * sizeof *a->blocks);
    if (!a->blocks) return weft_fail(WEFT_NO_MEMORY, "no memory for the table of %d blocks", a->block_count);
    for (int i = 0; i < a->block_count; i++) {
        const int owner = owner_of(e, i, a->key);
        e->used[owner]++;
        a->blocks[i] = owner == e->rank ? weft_pool_take(e->pool) : -1;
    }
    return WEFT_OK;
}

// In order: the first that does not fit keeps those behind it waiting.
static weft_status admit(weft_engine *e)
{
    int running = 0;
    for (active *a = e->first; a; a = a->next, running++) {
        if (a->blocks) continue;
        if (running == e->options.requests || !find_key(e, a, &a->key)) return WEFT_OK;
        WEFT_TRY(admit_one(e, a));
    }
    return WEFT_OK;
}

static bool is_generating(const active *a) { return a->count - a->cached == 1 && a->count > a->request.token_count; }

// Rows of one request into the step, as many as there is room for.
static void add_rows(weft_engine *e, active *a)
{
    const bool all = a->request.prompt_logits && a->count == a->request.token_count; // not again when it starts over
    const wi_rows_wanted wanted = {.tokens = a->tokens + a->cached,
                                   .position = a->cached,
                                   .count = a->count - a->cached,
                                   .blocks = a->blocks,
                                   .key = a->key,
                                   .rotation = a->rotation,
                                   .all_logits = all,
                                   .last_logit = a->request.max_tokens > 0};
    share s = {.of = a, .logit_first = wi_rows_logits(e->rows)};
    s.rows = wi_rows_add(e->rows, &wanted);
    s.logits = wi_rows_logits(e->rows) - s.logit_first;
    if (s.rows > 0) e->shares[e->share_count++] = s;
}

static void schedule(weft_engine *e)
{
    e->share_count = 0;
    wi_rows_begin(e->rows);
    for (active *a = e->first; a && a->blocks; a = a->next)
        if (is_generating(a)) add_rows(e, a);
    for (active *a = e->first; a && a->blocks; a = a->next)
        if (!is_generating(a)) add_rows(e, a);
}

static bool is_stop(const weft_engine *e, const active *a, int32_t token)
{
    const weft_model_config *config = weft_model_config_of(e->model);
    for (int i = 0; i < config->stop_count && !a->request.ignore_stops; i++)
        if (config->stops[i] == token) return true;
    return false;
}

// Draws the token behind the last one.
static weft_status draw(weft_engine *e, active *a, const float *logits)
{
    const size_t vocab = (size_t)weft_model_config_of(e->model)->vocab;
    const weft_sampling *how = &a->request.sampling;
    const uint64_t position = (uint64_t)a->count;
    weft_choice choice = {.id = -1};
    const weft_sample args = {.logits = {.at = logits, .stride = vocab, .rows = 1, .width = vocab},
                              .how = &how,
                              .position = &position,
                              .out = &choice};
    e->op.table->pick.sample(&e->op, &args);
    if (choice.id < 0)
        return weft_fail(WEFT_FAILED, "no logit at position %d is a number: the weights hold NaN", a->count - 1);
    if (is_stop(e, a, choice.id)) {
        end(e, a, WEFT_FINISH_STOP);
        return WEFT_OK;
    }
    a->tokens[a->count++] = choice.id;
    if (a->request.calls->token) a->request.calls->token(a->request.arg, choice.id, choice.logit);
    if (a->count - a->request.token_count == a->request.max_tokens) {
        end(e, a, WEFT_FINISH_LENGTH);
        return WEFT_OK;
    }
    if (a->count <= a->rotation_limit) return WEFT_OK;
    // The model turns longer texts in another way: what is cached was turned in the old one.
    a->cached = 0;
    a->rotation_limit = weft_model_rotation_limit(e->model, a->count);
    return weft_model_rotation(e->model, a->count, &a->rotation);
}

static weft_status deliver(weft_engine *e, const share *s, const float *all_logits)
{
    active *a = s->of;
    const size_t vocab = (size_t)weft_model_config_of(e->model)->vocab;
    const float *logits = all_logits + (size_t)s->logit_first * vocab;
    a->cached += s->rows;
    if (s->logits > 0 && a->request.calls->logits)
        a->request.calls->logits(a->request.arg, a->cached - s->logits, s->logits, logits, vocab);
    if (a->cached < a->count) return WEFT_OK;
    if (a->request.max_tokens > 0) return draw(e, a, logits + (size_t)(s->logits - 1) * vocab);
    end(e, a, WEFT_FINISH_SCORED);
    return WEFT_OK;
}

weft_status weft_engine_step(weft_engine *e, int *rows)
{
    *rows = 0;
    for (active *a = e->first, *next; a; a = next) {
        next = a->next;
        if (a->cancelled) end(e, a, WEFT_FINISH_CANCELLED);
    }
    WEFT_TRY(admit(e));
    schedule(e);
    if (e->share_count == 0) return WEFT_OK;
    weft_comm *all = weft_model_layout_of(e->model)->mesh.all;
    if (all) weft_job_set_step(weft_comm_job(all), ++e->steps); // for reports
    weft_batch b = *wi_rows_batch(e->rows);
    b.layers = weft_pool_layers(e->pool);
    WEFT_TRY(weft_model_forward(e->model, &b));
    for (int i = 0; i < e->share_count; i++) WEFT_TRY(deliver(e, &e->shares[i], b.logits));
    *rows = (int)wi_rows_count(e->rows);
    return WEFT_OK;
}

int64_t weft_engine_blocks(const weft_model *model, int block, int64_t positions, int requests)
{
    return weft_engine_blocks_over(weft_model_layout_of(model)->mesh.shape.cp, block, positions, requests);
}

bool weft_engine_look(const weft_engine *e, int64_t id, weft_engine_cached *out)
{
    for (const active *a = e->first; a; a = a->next) {
        if (a->id != id || !a->blocks) continue;
        *out = (weft_engine_cached){.blocks = a->blocks, .cached = a->cached, .key = a->key};
        return true;
    }
    return false;
}

const weft_pool *weft_engine_pool(const weft_engine *e) { return e->pool; }

static weft_status make_buffers(weft_engine *e)
{
    const weft_mesh *mesh = &weft_model_layout_of(e->model)->mesh;
    const size_t vocab = (size_t)weft_model_config_of(e->model)->vocab;
    e->ranks = mesh->shape.cp;
    e->rank = mesh->cp_rank;
    e->op.scratch_bytes = weft_pick_scratch(vocab, e->op.team ? weft_team_threads(e->op.team) : 1);
    e->op.scratch = aligned_alloc(64, (e->op.scratch_bytes + 63) / 64 * 64 + 64);
    e->shares = malloc((size_t)e->options.requests * sizeof *e->shares);
    e->used = calloc((size_t)e->ranks, sizeof *e->used);
    e->asked = calloc((size_t)e->ranks, sizeof *e->asked);
    if (!e->op.scratch || !e->shares || !e->used || !e->asked)
        return weft_fail(WEFT_NO_MEMORY, "no memory for %d requests", e->options.requests);
    return wi_rows_create(e->model, e->options.chunk, weft_model_options_of(e->model)->logit_rows, &e->rows);
}

static weft_status make(weft_engine *e, weft_device *device)
{
    const weft_engine_options *o = &e->options;
    const int64_t block_bytes = (int64_t)weft_model_cache_layout(e->model, o->block, NULL);
    int64_t blocks = o->cache_bytes ? o->cache_bytes / block_bytes : o->cache_blocks;
    WEFT_TRY(make_buffers(e));
    WEFT_TRY(weft_pool_create(e->model, device, o->block, blocks < 1 ? 1 : blocks, &e->pool));
    e->blocks = weft_pool_blocks(e->pool);
    return WEFT_OK;
}

weft_status weft_engine_create(const weft_op *op, weft_model *model, weft_device *device,
                               const weft_engine_options *options, weft_engine **out)
{
    weft_comm *all = weft_model_layout_of(model)->mesh.all;
    weft_engine *e = calloc(1, sizeof *e);
    weft_status status = e ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for an engine");
    if (e) {
        e->op = *op;
        e->op.scratch = NULL;
        e->model = model;
        e->options = *options;
        if (e->options.chunk > weft_model_options_of(model)->rows)
            e->options.chunk = weft_model_options_of(model)->rows;
        status = make(e, device);
    }
    WEFT_TRY_GOTO(all ? weft_comm_agree(all, status, NULL) : status);
    // Ranks may have KV heads in unlike numbers, and so pools of unlike numbers of blocks.
    if (all) WEFT_TRY_GOTO(weft_comm_min(all, &e->blocks, 1));
    *out = e;
    return WEFT_OK;
fail:
    weft_engine_destroy(e);
    return status;
}

void weft_engine_destroy(weft_engine *e)
{
    if (!e) return;
    while (e->first) {
        active *a = e->first;
        e->first = a->next;
        active_free(e, a);
    }
    weft_pool_destroy(e->pool);
    wi_rows_destroy(e->rows);
    free(e->op.scratch);
    free(e->shares);
    free(e->used);
    free(e->asked);
    free(e);
}
