// A model and an engine over one of the golden checkpoints, for tests.
#ifndef WEFT_TESTS_ENGINE_RIG_H
#define WEFT_TESTS_ENGINE_RIG_H

#include "engine/engine.h"

typedef struct {
    weft_dtype type; // of the weights
    int group;
    weft_cache_type cache;
    weft_isa isa;
    int threads, chunk, block, requests;
    int64_t cache_bytes, cache_units;
    int64_t positions;
    weft_schedule schedule;
    bool preempts, unshared;
    double margin;
    int64_t read_budget;
    const weft_mesh *mesh; // NULL: a rank alone
    const char *device;    // kind of it; NULL: the host
    weft_comm *peers;
    weft_status expected; // of making the engine
} rig_options;

typedef struct {
    weft_kernels table, device_table;
    weft_mesh mesh; // with the device
    weft_team *team;
    weft_device *device;
    weft_model *model;
    weft_engine *engine;
    size_t vocab;
} rig;

rig_options rig_defaults(void);        // f32, the best level, one thread, 64 rows, blocks of 16, 8 requests
bool rig_has_device(const char *kind); // else weft_error_text() says why
void rig_open(rig *r, const char *name, const rig_options *options);
void rig_close(rig *r);

// What a request has got.
typedef struct {
    float *logits; // (positions, vocab) where they were wanted
    int positions;
    int32_t tokens[256];
    int count;
    weft_finish finish;
    int ends;
    size_t vocab;
} result;
extern const weft_request_calls rig_calls;                                         // their arg is a result
weft_request_sampling rig_sampling(float temperature, float top_p, uint64_t seed); // ignoring stop tokens
void rig_run(rig *r);                                                              // steps until there is nothing to do

// Where the golden checkpoints are: those of the tree, or GOLDEN_DIR.
const char *golden_root(void);

// case.json and logits.npy of a golden checkpoint.
typedef struct {
    int32_t prompt[256], greedy[64];
    double margin[64];
    int prompt_count;
    double kl_mean; // of transformers in bf16 from itself in f32
    float *logits;  // (prompt_count, vocab)
    float *half;    // transformers in bf16
    size_t vocab;
} golden;
void golden_read(const char *name, golden *g);
void golden_free(golden *g);

#endif
