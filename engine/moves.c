// Requests that move to another replica. The caches of peers, the ranks of one place in all replicas, are one window:
// the rank that gives writes its units into those that the one that takes has taken for them. Before and after that
// they tell each other notes, which lie behind the cache in the same window:
//
//     gives                                  takes
//     OFFER  what has been computed     ->
//                                       <-   ANSWER  into which units, or why not
//     the units, a flag                 ->
//                                       <-   DONE    whether all ranks of the replica have theirs
//
// Every note is answered, also one that says what is wrong, so that neither waits for what will not come.
#include <stdlib.h>
#include <string.h>

#include "comm/window.h"
#include "core/checked.h"
#include "core/sha256.h"
#include "engine/engine_impl.h"

typedef enum { OFFER = 1, ANSWER, DONE } note_kind;

enum { TEXT = 256, SLOTS = 2 };

typedef struct {
    int32_t kind, status;      // a weft_status
    char text[TEXT];           // of a failure
    int32_t key, cached;       // OFFER: how positions are dealt; how many are there
    unsigned char request[32]; // OFFER: a hash of what both must have alike
    int32_t unit_count;
    int32_t units[]; // ANSWER: of this rank, in order
} note;

struct wi_moves {
    weft_comm *peers; // borrowed
    weft_window *window;
    size_t notes, note_bytes; // where they begin: SLOTS for each peer, that it writes in turn
    note *mine;               // before it is told
    uint32_t *told, *heard;   // [peers] notes and flags
};

// ---- making it ----

static void describe(const weft_model *model, const weft_engine_options *o, const weft_cache_cut *cut, char *text,
                     size_t capacity)
{
    const weft_model_config *c = weft_model_config_of(model);
    const weft_mesh_shape *s = &weft_model_layout_of(model)->mesh.shape;
    const weft_weights *w = weft_model_weights_of(model);
    snprintf(text, capacity,
             "tp %d, cp %d, dense %s, %s\n"
             "blocks of %d positions, units of %zu bytes\n"
             "%lld layers, %lld KV heads, %lld tokens in the vocabulary\n"
             "weights in %s, multiplied by %s, attention by %s\n",
             s->tp, s->cp, s->dense == WEFT_DENSE_MESH ? "mesh" : "tp", s->fast ? "fast" : "invariant", o->block,
             cut->unit, (long long)c->layers, (long long)c->kv_heads, (long long)c->vocab, weft_dtype_name(w->type),
             weft_family_name(w->family), weft_model_attention_name(model));
}

static weft_status make(weft_comm *peers, const weft_cache_cut *cut, int64_t units, size_t *bytes, wi_moves **out)
{
    const size_t size = (size_t)weft_comm_size(peers);
    size_t notes;
    wi_moves *m = calloc(1, sizeof *m);
    if (!m) return weft_fail(WEFT_NO_MEMORY, "no memory to move requests");
    *out = m; // the caller frees it
    m->peers = peers;
    m->note_bytes = weft_align_up(sizeof(note) + (size_t)units * sizeof(int32_t), 64);
    if (!weft_size_mul(cut->unit, (size_t)units, &m->notes) || !weft_size_round_up(m->notes, 64, &m->notes) ||
        !weft_size_mul(m->note_bytes, SLOTS * size, &notes) || !weft_size_add(m->notes, notes, bytes))
        return weft_fail(WEFT_OVERFLOW, "a cache of %lld blocks of %zu bytes", (long long)units, cut->unit);
    m->mine = calloc(1, m->note_bytes);
    m->told = calloc(size, sizeof *m->told);
    m->heard = calloc(size, sizeof *m->heard);
    return m->mine && m->told && m->heard ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory to move requests");
}

weft_status wi_moves_create(const weft_model *model, const weft_device *device, const weft_engine_options *options,
                            const weft_cache_cut *cut, int64_t *units, wi_moves **out)
{
    weft_comm *peers = options->peers;
    wi_moves *m = NULL;
    char text[400];
    size_t bytes = 0;
    weft_status status = WEFT_OK;
    if (!device->ops->is_host)
        status =
            weft_fail(WEFT_UNSUPPORTED, "requests move between caches of hosts alone: these are in a device's memory");
    WEFT_TRY(weft_comm_agree(peers, status, NULL));
    describe(model, options, cut, text, sizeof text);
    WEFT_TRY(weft_comm_compare(peers, "replicas between which requests are to move", text));
    WEFT_TRY(weft_comm_min(peers, units, 1));
    WEFT_TRY_GOTO(weft_comm_agree(peers, make(peers, cut, *units, &bytes, &m), NULL));
    WEFT_TRY_GOTO(weft_window_create(peers, bytes, "cache", &m->window));
    *out = m;
    return WEFT_OK;
fail:
    wi_moves_destroy(m);
    return status;
}

void wi_moves_destroy(wi_moves *m)
{
    if (!m) return;
    weft_window_destroy(m->window);
    free(m->mine);
    free(m->told);
    free(m->heard);
    free(m);
}

void *wi_moves_memory(const wi_moves *m) { return m ? weft_window_memory(m->window) : NULL; }

// ---- notes ----

// A note of that kind without anything in it but a status, and the text that goes with it.
static note *begin_note(wi_moves *m, note_kind kind, weft_status status)
{
    note *n = m->mine;
    memset(n, 0, sizeof *n);
    n->kind = kind;
    n->status = status;
    if (status < 0) snprintf(n->text, sizeof n->text, "%s", weft_error_text());
    return n;
}

static weft_status raise_flag(wi_moves *m, int peer)
{
    m->told[peer]++;
    return weft_window_flag(m->window, peer);
}

static weft_status tell(wi_moves *m, int peer)
{
    const size_t slot = (size_t)weft_comm_rank(m->peers) * SLOTS + m->told[peer] % SLOTS;
    const size_t bytes = sizeof *m->mine + (size_t)m->mine->unit_count * sizeof(int32_t);
    WEFT_TRY(weft_window_put(m->window, peer, m->notes + slot * m->note_bytes, m->mine, bytes));
    return raise_flag(m, peer);
}

static weft_status await_flag(wi_moves *m, int peer) { return weft_window_wait(m->window, peer, ++m->heard[peer]); }

// The peer's next note; it stays until the one after the next. A failure that it tells is one here.
static weft_status hear(wi_moves *m, int peer, note_kind kind, const note **out)
{
    const size_t slot = (size_t)peer * SLOTS + m->heard[peer] % SLOTS;
    const unsigned char *memory = weft_window_memory(m->window);
    const note *n = (const note *)(const void *)(memory + m->notes + slot * m->note_bytes);
    WEFT_TRY(await_flag(m, peer));
    if (n->kind != (int32_t)kind)
        return weft_fail(WEFT_INVALID, "replicas %d and %d both send a request to each other: one has to receive",
                         weft_comm_rank(m->peers), peer);
    if (n->status < 0) return weft_fail((weft_status)n->status, "replica %d: %.*s", peer, TEXT, n->text);
    *out = n;
    return WEFT_OK;
}

// ---- what moves ----

// What both must have alike, so that what one has computed is what the other would.
static void hash_request(const wi_work *w, unsigned char out[32])
{
    const int32_t counts[] = {w->count, w->prompt};
    weft_sha256 hash;
    weft_sha256_begin(&hash);
    weft_sha256_add(&hash, counts, sizeof counts);
    weft_sha256_add(&hash, w->tokens, (size_t)w->count * sizeof *w->tokens);
    weft_sha256_finish(&hash, out);
}

// This rank's unit `i` of those that hold cached positions, in an order that all peers have alike; -1: the end. `at` is
// where the search goes on, 0 at first.
static int32_t next_unit(const weft_engine *e, const wi_work *w, int64_t cached, int64_t *at)
{
    const wi_kv_shape *shape = wi_cache_shape_of(e->cache);
    const int64_t blocks = (cached + shape->block - 1) / shape->block;
    int64_t groups = 0;
    for (int k = 0; k < shape->kind_count; k++) groups += shape->kinds[k].units;
    for (; *at < groups * blocks; ++*at) {
        const int32_t unit = w->sequence.units[*at / blocks * w->sequence.room + *at % blocks];
        if (unit < 0) continue;
        ++*at;
        return unit;
    }
    return -1;
}

// Writes this rank's units where the peer wants them; those that lie side by side here and there as one.
static weft_status write_units(weft_engine *e, const wi_work *w, int to, const note *answer)
{
    const size_t unit = weft_pool_cut(e->pool)->unit;
    const unsigned char *memory = wi_moves_memory(e->moves);
    int64_t at = 0;
    int32_t from = next_unit(e, w, w->cached, &at), i = 0;
    while (from >= 0 && i < answer->unit_count) {
        const int32_t first = from, place = answer->units[i];
        int32_t run = 0;
        do {
            run++;
            i++;
            from = next_unit(e, w, w->cached, &at);
        } while (from == first + run && i < answer->unit_count && answer->units[i] == place + run);
        WEFT_TRY(weft_window_lend(e->moves->window, to, (size_t)place * unit, memory + (size_t)first * unit,
                                  (size_t)run * unit));
    }
    if (from < 0 && i == answer->unit_count) return WEFT_OK;
    return weft_fail(WEFT_INTERNAL, "replica %d wants %d units of request %lld, which has others", to,
                     (int)answer->unit_count, (long long)w->id);
}

static weft_status check_peer(const weft_engine *e, int peer)
{
    if (!e->moves) return weft_fail(WEFT_INVALID, "this engine was made without peers: its requests cannot move");
    if (peer >= 0 && peer < weft_comm_size(e->moves->peers) && peer != weft_comm_rank(e->moves->peers)) return WEFT_OK;
    return weft_fail(WEFT_INVALID, "a request between replica %d, of %d, and replica %d",
                     weft_comm_rank(e->moves->peers), weft_comm_size(e->moves->peers), peer);
}

// One rank's failure is the replica's.
static weft_status agree(const weft_engine *e, weft_status status)
{
    weft_comm *all = weft_model_layout_of(e->model)->mesh.all;
    return all ? weft_comm_agree(all, status, NULL) : status;
}

// ---- giving ----

static weft_status give(weft_engine *e, const wi_active *a, int64_t id, int to)
{
    wi_moves *m = e->moves;
    const note *answer, *done;
    weft_status status = WEFT_OK;
    if (!a || !a->work.runs || a->work.unknown > 0)
        status = weft_fail(WEFT_INVALID, "request %lld does not run here: there is nothing of it that could move",
                           (long long)id);
    note *offer = begin_note(m, OFFER, status);
    if (status == WEFT_OK) {
        offer->key = a->work.sequence.key;
        offer->cached = a->work.cached;
        hash_request(&a->work, offer->request);
    }
    WEFT_TRY(tell(m, to));
    const weft_status answered = hear(m, to, ANSWER, &answer);
    if (status < 0) return weft_fail(status, "%s", offer->text);
    WEFT_TRY(answered);
    status = write_units(e, &a->work, to, answer);
    WEFT_TRY(raise_flag(m, to));
    WEFT_TRY(weft_window_flush(m->window, to));
    WEFT_TRY(hear(m, to, DONE, &done));
    return status;
}

weft_status weft_kv_send(weft_engine *e, int64_t id, int to)
{
    wi_active *a = wi_engine_find(e, id);
    WEFT_TRY(check_peer(e, to));
    WEFT_TRY(agree(e, give(e, a, id, to)));
    wi_engine_end(e, a, WEFT_FINISH_MOVED);
    return WEFT_OK;
}

// ---- taking ----

// Blocks for what is offered.
static weft_status place(weft_engine *e, wi_active *a, int64_t id, const note *offer)
{
    unsigned char request[32];
    if (!a || a->work.runs)
        return weft_fail(WEFT_INVALID, "request %lld does not wait: it can take over nothing", (long long)id);
    hash_request(&a->work, request);
    if (memcmp(request, offer->request, sizeof request) != 0)
        return weft_fail(WEFT_MISMATCH, "request %lld has other tokens than the one that is to move there",
                         (long long)id);
    if (wi_schedule_place(e->schedule, &a->work, offer->key, offer->cached)) return WEFT_OK;
    return weft_fail(WEFT_LIMIT, "there is no room now for request %lld of %d tokens: try again when others have ended",
                     (long long)id, a->work.count);
}

static weft_status take(weft_engine *e, wi_active *a, int64_t id, int from, bool *placed)
{
    wi_moves *m = e->moves;
    const note *offer;
    weft_status status = hear(m, from, OFFER, &offer);
    if (status == WEFT_OK) status = place(e, a, id, offer);
    *placed = status == WEFT_OK;
    note *answer = begin_note(m, ANSWER, status);
    int64_t at = 0;
    for (int32_t unit; *placed && (unit = next_unit(e, &a->work, offer->cached, &at)) >= 0;)
        answer->units[answer->unit_count++] = unit;
    const weft_status told = tell(m, from);
    if (status < 0) return weft_fail(status, "%s", answer->text);
    WEFT_TRY(told);
    return await_flag(m, from);
}

weft_status weft_kv_receive(weft_engine *e, int64_t id, int from)
{
    wi_active *a = wi_engine_find(e, id);
    bool placed = false;
    WEFT_TRY(check_peer(e, from));
    weft_status status = agree(e, take(e, a, id, from, &placed));
    if (!placed) return status;
    if (status == WEFT_OK)
        wi_schedule_known(e->schedule, &a->work);
    else
        wi_schedule_restart(e->schedule, &a->work);
    begin_note(e->moves, DONE, status);
    const weft_status told = tell(e->moves, from);
    return status < 0 ? weft_fail(status, "%s", e->moves->mine->text) : told;
}
