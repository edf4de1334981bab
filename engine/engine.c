// Requests, the queue, and the step.
#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

typedef struct active {
    struct active *next; // in order of arrival
    int64_t id;
    weft_request request;
    int32_t *tokens; // prompt and what was drawn, room for all
    int count;       // of them
    int cached;      // of them, from the first on
    int32_t *blocks; // of the cache, for all tokens that there may be; NULL before it is admitted
    int block_count;
    int rotation;
    int64_t rotation_limit;
    bool cancelled;
} active;

struct weft_engine {
    weft_op op;
    weft_model *model;
    weft_pool *pool;
    weft_engine_options options;
    int logit_rows;
    active *first;
    int64_t last_id;
    // of one step
    int32_t *tokens, *positions, *logit_row; // (chunk)
    weft_attention_request *queries;         // (requests)
    weft_cache_span *spans;
    int *rotation;
    active **of;
    int *logit_first; // (requests) of a request's logits
    float *logits;    // (logit rows, V)
};

const char *weft_finish_name(weft_finish finish)
{
    static const char *const names[] = {"stop", "length", "scored", "cancelled"};
    return (size_t)finish < sizeof names / sizeof *names ? names[finish] : "unknown";
}

static void active_free(weft_engine *e, active *a)
{
    for (int i = 0; a->blocks && i < a->block_count; i++) weft_pool_give(e->pool, a->blocks[i]);
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
    if (a->block_count > weft_pool_blocks(e->pool))
        status = weft_fail(WEFT_LIMIT, "a request of up to %lld tokens: the cache has room for %lld; use --cache-bytes",
                           (long long)most, (long long)(weft_pool_blocks(e->pool) * weft_pool_block(e->pool)));
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

// In order: the first that does not fit keeps those behind it waiting.
static weft_status admit(weft_engine *e)
{
    int running = 0;
    for (active *a = e->first; a; a = a->next, running++) {
        if (a->blocks) continue;
        if (running == e->options.requests || weft_pool_free_blocks(e->pool) < a->block_count) return WEFT_OK;
        a->blocks = malloc((size_t)a->block_count * sizeof *a->blocks);
        if (!a->blocks) return weft_fail(WEFT_NO_MEMORY, "no memory for the table of %d blocks", a->block_count);
        for (int i = 0; i < a->block_count; i++) a->blocks[i] = weft_pool_take(e->pool);
    }
    return WEFT_OK;
}

static bool is_generating(const active *a) { return a->count - a->cached == 1 && a->count > a->request.token_count; }

// Rows of one request into the batch, as many as there is room for.
static void add_rows(weft_engine *e, weft_batch *b, active *a)
{
    int rows = a->count - a->cached;
    if (rows > e->options.chunk - b->rows) rows = e->options.chunk - b->rows;
    const bool all = a->request.prompt_logits && a->cached < a->request.token_count;
    if (all && rows > e->logit_rows - b->logit_rows) rows = e->logit_rows - b->logit_rows;
    const bool last = a->cached + rows == a->count && (a->request.max_tokens > 0 || all);
    if (rows <= 0 || (last && b->logit_rows == e->logit_rows)) return;
    const int r = b->request_count++;
    e->of[r] = a;
    e->logit_first[r] = b->logit_rows;
    e->rotation[r] = a->rotation;
    e->queries[r] = (weft_attention_request){
        .row = b->rows, .rows = rows, .position = a->cached, .length = a->cached + rows, .blocks = a->blocks};
    e->spans[r] = (weft_cache_span){.row = b->rows, .rows = rows, .position = a->cached, .blocks = a->blocks};
    for (int i = 0; i < rows; i++, b->rows++) {
        e->tokens[b->rows] = a->tokens[a->cached + i];
        e->positions[b->rows] = a->cached + i;
        if (all || (last && i == rows - 1)) e->logit_row[b->logit_rows++] = b->rows;
    }
}

static void schedule(weft_engine *e, weft_batch *b)
{
    for (active *a = e->first; a && a->blocks; a = a->next)
        if (is_generating(a)) add_rows(e, b, a);
    for (active *a = e->first; a && a->blocks; a = a->next)
        if (!is_generating(a)) add_rows(e, b, a);
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

static weft_status deliver(weft_engine *e, const weft_batch *b, int r)
{
    active *a = e->of[r];
    const size_t vocab = (size_t)weft_model_config_of(e->model)->vocab;
    const int next = r + 1 < b->request_count ? e->logit_first[r + 1] : b->logit_rows;
    const int count = next - e->logit_first[r];
    const float *logits = b->logits + (size_t)e->logit_first[r] * vocab;
    a->cached += b->requests[r].rows;
    if (count > 0 && a->request.calls->logits)
        a->request.calls->logits(a->request.arg, a->cached - count, count, logits, vocab);
    if (a->cached < a->count) return WEFT_OK;
    if (a->request.max_tokens > 0) return draw(e, a, logits + (size_t)(count - 1) * vocab);
    end(e, a, WEFT_FINISH_SCORED);
    return WEFT_OK;
}

weft_status weft_engine_step(weft_engine *e, int *rows)
{
    weft_batch b = {.tokens = e->tokens,
                    .positions = e->positions,
                    .layers = weft_pool_layers(e->pool),
                    .requests = e->queries,
                    .spans = e->spans,
                    .rotation = e->rotation,
                    .logit_row = e->logit_row,
                    .logits = e->logits};
    *rows = 0;
    for (active *a = e->first, *next; a; a = next) {
        next = a->next;
        if (a->cancelled) end(e, a, WEFT_FINISH_CANCELLED);
    }
    WEFT_TRY(admit(e));
    schedule(e, &b);
    if (b.rows == 0) return WEFT_OK;
    weft_model_forward(e->model, &b);
    for (int r = 0; r < b.request_count; r++) WEFT_TRY(deliver(e, &b, r));
    *rows = b.rows;
    return WEFT_OK;
}

const weft_pool *weft_engine_pool(const weft_engine *e) { return e->pool; }

static weft_status make_buffers(weft_engine *e, int model_rows)
{
    const size_t chunk = (size_t)e->options.chunk, requests = (size_t)e->options.requests;
    const size_t vocab = (size_t)weft_model_config_of(e->model)->vocab;
    e->op.scratch_bytes = weft_pick_scratch(vocab, e->op.team ? weft_team_threads(e->op.team) : 1);
    e->op.scratch = aligned_alloc(64, (e->op.scratch_bytes + 63) / 64 * 64 + 64);
    e->tokens = malloc(chunk * sizeof *e->tokens);
    e->positions = malloc(chunk * sizeof *e->positions);
    e->logit_row = malloc((size_t)model_rows * sizeof *e->logit_row);
    e->queries = malloc(requests * sizeof *e->queries);
    e->spans = malloc(requests * sizeof *e->spans);
    e->rotation = malloc(requests * sizeof *e->rotation);
    e->of = malloc(requests * sizeof(active *));
    e->logit_first = malloc(requests * sizeof *e->logit_first);
    e->logits = malloc((size_t)e->logit_rows * vocab * sizeof *e->logits);
    if (!e->op.scratch || !e->tokens || !e->positions || !e->logit_row || !e->queries || !e->spans || !e->rotation ||
        !e->of || !e->logit_first || !e->logits)
        return weft_fail(WEFT_NO_MEMORY, "no memory for steps of %zu rows", chunk);
    return WEFT_OK;
}

weft_status weft_engine_create(const weft_op *op, weft_model *model, weft_device *device,
                               const weft_engine_options *options, weft_engine **out)
{
    weft_status status;
    weft_engine *e = calloc(1, sizeof *e);
    const weft_model_options *limits = weft_model_options_of(model);
    if (!e) return weft_fail(WEFT_NO_MEMORY, "no memory for an engine");
    e->op = *op;
    e->op.scratch = NULL;
    e->model = model;
    e->options = *options;
    if (e->options.chunk > limits->rows) e->options.chunk = limits->rows;
    e->logit_rows = limits->logit_rows;
    const int64_t block_bytes = (int64_t)weft_model_cache_layout(model, options->block, NULL);
    const int64_t blocks = options->cache_bytes / block_bytes;
    WEFT_TRY_GOTO(weft_pool_create(model, device, options->block, blocks < 1 ? 1 : blocks, &e->pool));
    WEFT_TRY_GOTO(make_buffers(e, limits->rows));
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
    free(e->op.scratch);
    free(e->tokens);
    free(e->positions);
    free(e->logit_row);
    free(e->queries);
    free(e->spans);
    free(e->rotation);
    free(e->of);
    free(e->logit_first);
    free(e->logits);
    free(e);
}
