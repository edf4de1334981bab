// engine: one replica at work. Requests come in, wait in order until the cache has room for them, run together in steps
// over ragged batches, and each ends once, which its owner is told. It names no device and no transport.
//
// A request is a list of tokens of which some are in the cache. A step computes rows for tokens that are not (which, is
// schedule.h's matter). When a request's last token was computed the next one is drawn. So prompts in pieces,
// generation, starting over and going on with what another has computed are one thing. What a request gets does not
// depend on the requests beside it.
//
// Threads: one thread owns an engine. Callbacks come from inside weft_engine_step.
#ifndef WEFT_ENGINE_ENGINE_H
#define WEFT_ENGINE_ENGINE_H

#include "engine/pool.h"
#include "engine/sampling.h"
#include "engine/schedule.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_engine weft_engine;

typedef enum {
    WEFT_FINISH_STOP,      // a stop token was drawn; it is not part of the text
    WEFT_FINISH_LENGTH,    // max_tokens were drawn
    WEFT_FINISH_SCORED,    // a request that draws nothing has been computed
    WEFT_FINISH_CANCELLED, // by weft_engine_cancel
    WEFT_FINISH_FAILED,    // weft_error_text says why, while the owner is told
    WEFT_FINISH_MOVED      // by weft_kv_send: it goes on in another replica
} weft_finish;

const char *weft_finish_name(weft_finish finish); // "stop", "length", "scored", "cancelled", "error", "moved"

// Any of them may be NULL. `arg` is the request's own.
typedef struct {
    void (*token)(void *arg, const weft_drawn *drawn);
    // Logits of `rows` positions from `position` on, one after the other, before anything is drawn from them: of the
    // whole prompt where the request wants that, else of the positions that are drawn from. On all ranks or on none.
    void (*logits)(void *arg, int64_t position, int rows, const float *logits, size_t vocab);
    void (*end)(void *arg, weft_finish finish);
} weft_request_calls;

typedef struct {
    const int32_t *tokens; // the prompt, at least one; copied
    int token_count;
    int drawn; // of them, at the end: drawn before, where a job stopped; they count as drawn and are not told again
    int max_tokens;  // to draw; 0: none, the prompt is only computed
    int priority;    // the higher one goes first
    int64_t fork_of; // a request with the same prompt, whose cached prompt this one goes on with; 0: none
    weft_request_sampling sampling;  // not looked at where nothing is drawn
    bool prompt_logits;              // give the logits of every position
    const weft_request_calls *calls; // borrowed until the end
    void *arg;
} weft_request;

typedef struct {
    int block;           // positions in a block of the cache
    int64_t cache_bytes; // of each rank's pool; at least a unit is taken. 0:
    int64_t cache_units; // so many units on each rank
    int requests;        // the most that run at once
    int chunk;           // the most rows that a rank computes in a step; not above the model's
    weft_schedule schedule;
    // Begin as soon as there is room for the prompt, and throw out the last in order when blocks run out; else begin
    // when there is room for all that a request may come to.
    bool preempts;
    double margin;       // of the cache that a beginning request leaves, with `preempts`
    int64_t read_budget; // positions that a step reads before it takes no more prompts; 0: any
    bool unshared;       // requests do not use what others with the same tokens have in the cache
    weft_eviction eviction;
    // The ranks of the same place in all replicas, by the replicas' numbers, whose caches then lie in one window:
    // running requests can move between them (weft_kv_send). NULL: they stay. Borrowed.
    weft_comm *peers;
} weft_engine_options;

// How many units of the cache each rank needs, so that options->requests of so many positions run at once. Local.
int64_t weft_engine_units(const weft_cache_cut *cut, const weft_mesh_shape *mesh, const weft_engine_options *options,
                          int64_t positions);
// What an engine takes of a rank beside model and cache: rows of a step, logits, scratch, the books of the cache.
// Local.
uint64_t weft_engine_bytes(const weft_model_config *config, const weft_cache_cut *cut, const weft_mesh_shape *mesh,
                           const weft_engine_options *options, int logit_rows, int threads);
// And of a device's memory, where that computes: logits, and what drawing there needs. `threads` are the host's.
uint64_t weft_engine_device_bytes(const weft_model_config *config, const weft_cache_cut *cut,
                                  const weft_mesh_shape *mesh, const weft_engine_options *options, int logit_rows,
                                  int threads);

// `op` is the host's, by which tokens are drawn. The model and its device are borrowed. Collective over the model's
// mesh, and over the peers' meshes, blocking: MISMATCH where replicas that are peers have unlike caches. Every rank
// then makes the same calls in the same order.
weft_status weft_engine_create(const weft_op *op, weft_model *model, weft_device *device,
                               const weft_engine_options *options, weft_engine **out);
void weft_engine_destroy(weft_engine *engine); // its requests end unheard; with peers after a barrier; accepts NULL

// LIMIT where the request could never fit; INVALID for what is outside of its limits. *id is the request's number.
weft_status weft_engine_submit(weft_engine *engine, const weft_request *request, int64_t *id);
void weft_engine_cancel(weft_engine *engine, int64_t id); // one that has ended, or never was, is left alone

// One step. *rows says how many rows it has: 0 when there is nothing to do. On a device it may still run when this
// returns, and what it drew is told by the next call; WEFT_AHEAD=off, or 0 rows: all that was drawn is told.
weft_status weft_engine_step(weft_engine *engine, int *rows);
const weft_pool *weft_engine_pool(const weft_engine *engine);
int64_t weft_engine_longest(const weft_engine *engine); // positions of a request that would fit where there is no other

// A request moves to replica `to`, where one of the same tokens waits that was told to be `drawn` so far, and receives:
// what is in the cache goes there, each rank's part to the rank of the same place, and that request goes on behind it
// as if it had computed it. Here it ends as MOVED, and its blocks are free. On failure both get the status, the one
// here runs on and the one there waits on: LIMIT where there is no room now, MISMATCH where the tokens differ, INVALID
// where one does not run or the other does not wait. Collective over both replicas, between steps; blocking, with the
// deadline.
weft_status weft_kv_send(weft_engine *engine, int64_t id, int to);
weft_status weft_kv_receive(weft_engine *engine, int64_t id, int from);

// What the engine is doing; the same on every rank but for times.
typedef struct {
    int running, waiting;        // requests
    int64_t steps, preempted;    // so far
    int64_t found, computed;     // positions, so far: taken from the cache at the beginning of requests; computed
    int64_t units, held, cached; // of the fullest rank's pool: in all; in use; free but still found
    int64_t evicted;             // blocks, so far
    int64_t computing_ns;        // so far, in the model and in drawing; this rank's own
    uint64_t decisions;          // a hash of all decisions so far: ranks that differ have gone astray
} weft_engine_state;
weft_engine_state weft_engine_state_of(const weft_engine *engine);
// That the books of the cache are in order; with nothing to do, that all blocks are free or cached. INTERNAL.
weft_status weft_engine_check(const weft_engine *engine);

// What a running request has in this rank's cache: of positions 0 to cached - 1 those whose block is not -1.
typedef struct {
    const int32_t *blocks; // of each group of layers, one table behind the other
    int table;             // entries of one
    int cached;
    int key; // of the fold
} weft_engine_cached;
bool weft_engine_look(const weft_engine *engine, int64_t id, weft_engine_cached *out); // false: no such request

#ifdef __cplusplus
}
#endif
#endif
