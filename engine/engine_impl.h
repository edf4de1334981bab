// An engine from inside: its requests, its steps, the shapes of its parts. Inside engine/ only.
#ifndef WEFT_ENGINE_ENGINE_IMPL_H
#define WEFT_ENGINE_ENGINE_IMPL_H

#include "engine/engine.h"
#include "engine/sampler.h"

typedef struct wi_moves wi_moves;

typedef struct {
    wi_work work; // first: who has one has the other
    weft_request request;
    int32_t *tokens;     // prompt and what was drawn, room for all
    wi_sampler *sampler; // of a request that draws
    int64_t rotation_limit;
    bool cancelled;
} wi_active;

static inline wi_active *wi_active_of(wi_work *work) { return (wi_active *)work; }

// A step from its launch until it is told of.
typedef struct {
    wi_slice *slices; // [requests]; `of` NULL: the request has ended since
    int slice_count;
    wi_draw *draws;      // [requests] in the slices' order; `sampler` NULL: likewise
    wi_active **drawers; // [requests] whose they are
    int draw_count;
    float *logits;  // (logit_rows, V)
    int logit_rows; // in all
    bool there;     // the logits are in the device's memory, nobody looks at them, and it draws
    bool settles;   // it is told of before the next one is decided
    int mark;       // of the device: behind it
} wi_flight;

struct weft_engine {
    weft_op op; // the host's
    weft_device *device;
    float *logits; // (logit rows, V) of a device that is not the host; copied to the rows' own
    size_t logits_bytes;
    weft_model *model;
    weft_pool *pool;
    weft_engine_options options;
    wi_kv *cache;
    wi_rows *rows; // of one step
    wi_schedule *schedule;
    wi_drawing *drawing;
    wi_flight flight[WEFT_DEVICE_MARKS];
    wi_flight *under_way; // the one that was not told of when weft_engine_step returned; NULL: none
    wi_moves *moves;      // NULL: there are no peers
    bool ahead;           // a step may be under way while the next one is decided
    bool has_cancelled;   // somebody
    int64_t computing_ns;
};

wi_active *wi_engine_find(const weft_engine *engine, int64_t id); // NULL: there is none
void wi_engine_end(weft_engine *engine, wi_active *a, weft_finish finish);
// The rotations of a text: those of its prompt, until it grew over a limit of the model.
weft_status wi_engine_turn(weft_engine *engine, wi_active *a);

// What requests move by: a window over the memory of a pool of so many units of this rank's and its peers'. `units` are
// those of the replica and become what all replicas have. Collective over the peers, blocking.
weft_status wi_moves_create(const weft_model *model, const weft_device *device, const weft_engine_options *options,
                            const weft_cache_cut *cut, int64_t *units, wi_moves **out);
void wi_moves_destroy(wi_moves *moves);       // accepts NULL
void *wi_moves_memory(const wi_moves *moves); // the pool's; NULL: there is none

// `rank` is not set.
wi_kv_shape wi_engine_kv(const weft_cache_cut *cut, const weft_mesh_shape *mesh, const weft_engine_options *options);
// `own` is not set.
wi_rows_shape wi_engine_rows(const weft_cache_cut *cut, const weft_mesh_shape *mesh, const weft_engine_options *options,
                             int logit_rows, size_t vocab);

#endif
