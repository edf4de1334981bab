// A model at work: its weights, its tables of rotations and the memory of one forward pass. It knows rows of tokens and
// where their keys and values lie; which requests they belong to, and why, is the engine's matter.
//
// Over several ranks each has its share of the weights (layout.h), and a pass is collective over the mesh: every rank
// calls it for the same step.
//
// Threads: a model runs one forward pass at a time, on its team. Nothing is allocated in a pass.
#ifndef WEFT_MODEL_MODEL_H
#define WEFT_MODEL_MODEL_H

#include "kernels/attention.h"
#include "model/weights.h"
#include "parallel/attention.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_model weft_model;

typedef struct {
    weft_weights_options weights;
    const weft_op *host;                   // by which weights are packed where `op` is a device's; NULL: `op` itself
    const weft_mesh *mesh;                 // copied, its groups borrowed; NULL: a rank alone
    weft_cache_type cache;                 // of keys and values
    weft_attention_family attention_limit; // with weights.has_limit
    int rows;                              // the most rows that this rank computes in a pass
    int logit_rows;                        // the most rows of a pass, on all ranks together, whose logits are wanted
    int64_t positions;                     // the most positions of a request
} weft_model_options;

// Takes the config over, also when it fails. The team and the device are borrowed. Collective over the mesh, blocking:
// it succeeds on all ranks or on none.
weft_status weft_model_create(const weft_op *op, const weft_cpu *cpu, weft_device *device, weft_model_config *config,
                              const weft_checkpoint *checkpoint, const weft_model_options *options, weft_model **out);
void weft_model_destroy(weft_model *model); // accepts NULL

const weft_model_config *weft_model_config_of(const weft_model *model);
const weft_model_options *weft_model_options_of(const weft_model *model);
const weft_weights *weft_model_weights_of(const weft_model *model);
const weft_layout *weft_model_layout_of(const weft_model *model);
const weft_op *weft_model_op_of(const weft_model *model); // its scratch is the model's own
const char *weft_model_attention_name(const weft_model *model);

// How a pool for blocks of so many positions is cut: see weft_layout_cache. The views' pool is set by the caller.
weft_cache_cut weft_model_cache_cut(const weft_model *model, int block, weft_cache *layers, int *group_of);

// Rotations depend on the length of a request's prompt where the model stretches by it (dynamic, longrope): the key
// that a request of `length` tokens has, which stays the request's own. 0 where it makes no difference. Local; computes
// tables when the key is new. LIMIT when the request is longer than options.positions.
weft_status weft_model_rotation(weft_model *model, int64_t length, int *key);
// How long a request may grow that keeps the key of one of `length` tokens; longer, it starts over with another
// (longrope: all positions are turned by the long factors then).
int64_t weft_model_rotation_limit(const weft_model *model, int64_t length);

// Where the rows of a pass find and leave the keys of a group of layers (layout.h): runs of positions of requests.
typedef struct {
    const weft_attention_request *requests; // [requests] their lengths with all rows of this pass
    const weft_cache_span *spans;           // [requests] where their keys and values are written
    const weft_dealt_rows *rows_of;         // [cp] of each context rank, with this rank's blocks; of one rank: unused
} weft_batch_tables;

// One pass over rows of one or more requests. With dealt rows (cp ranks, --dense tp) a rank computes the rows whose
// places it holds; else every rank computes all.
typedef struct {
    int rows;                        // of this rank
    const int32_t *tokens;           // (rows); below 0: what was drawn before, see `drawn`
    const int32_t *positions;        // (rows)
    const weft_cache *layers;        // the cache, a view a layer
    const int *group_of;             // [layers] whose tables a layer uses
    const weft_batch_tables *tables; // [groups] alike but for the blocks
    const int *rotation;             // [requests] keys of the tables of rotations
    int request_count;
    int logit_rows;             // in all
    const int *logit_counts;    // [cp] how many each context rank has; NULL: every rank has all
    const int32_t *logit_row;   // the rows here whose logits are wanted, ascending
    const int32_t *logit_place; // (logit_rows) where each goes in `logits`, by context rank; NULL: in order
    float *logits;              // (logit_rows, V) on every rank
    const weft_choice *drawn;   // in the device's memory: token -1 - i is drawn[i].id
} weft_batch;
weft_status weft_model_forward(weft_model *model, const weft_batch *batch);

#ifdef __cplusplus
}
#endif
#endif
