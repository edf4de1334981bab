// What every command that computes with a model has in common: from MODEL to an engine that is ready.
// Inside launch/ only.
#ifndef WEFT_LAUNCH_MODEL_OPEN_H
#define WEFT_LAUNCH_MODEL_OPEN_H

#include "engine/engine.h"
#include "launch/commands.h"
#include "launch/model_flags.h"
#include "launch/seat.h"
#include "model/tokenizer.h"

typedef struct {
    int64_t positions; // of the longest request
    int requests;      // at once
    int logit_rows;    // of a step
    // For the choice of a mesh: what a request reads and then draws, where both are 0 a prompt of all positions and
    // some tokens; and whether the time to load is of no interest.
    int64_t prompt, tokens;
    bool loaded;
    int64_t cache_limit; // bytes that the cache takes at most, but for one request's; 0: no limit
    wi_engine_flags engine;
} wi_model_needs;

typedef struct {
    weft_comm *world;
    bool speaks; // this rank writes for all
    weft_replicas replicas;
    weft_mesh mesh;           // of this rank's replica
    weft_family family_limit; // what the processors of all ranks can do
    weft_attention_family attention_limit;
    weft_cpu cpu;
    weft_topology topology;
    weft_kernels kernels;
    weft_op op; // the host's
    weft_team *team;
    wi_rank_seat seat; // where that is; of another device than the host
    weft_device *device;
    weft_kernels device_kernels; // of another device than the host
    weft_op device_op;           // what the model computes by; `op` itself on the host
    weft_model_config config;
    weft_checkpoint *checkpoint;
    weft_tokenizer *tokenizer;
    weft_model *model;
    weft_engine *engine;
    double load_s;
    uint64_t loaded_all, loaded_most; // bytes of weights, of all ranks of a replica and of the fullest
} wi_model;

// Collective over the job: each step succeeds on all ranks or on none, and every rank then makes the same calls of the
// engine. In two steps, since what a command needs depends on the tokens of its input: first config and tokenizer, and
// that the checkpoint is whole; then mesh, weights, cache and engine. Close accepts what either has left.
weft_status wi_model_begin(weft_job *job, const wi_call *call, const wi_model_flags *flags, bool with_tokenizer,
                           wi_model *out);
weft_status wi_model_load(wi_model *model, const wi_call *call, const wi_model_flags *flags,
                          const wi_model_needs *needs);
void wi_model_close(wi_model *model);

// The mesh of each replica: what flags leave open is chosen as weft plan does, by rank 0 for all; with several ranks a
// line on stderr tells it. Between begin and load, for load. Collective.
weft_status wi_mesh_choose(wi_model *model, const wi_model_flags *flags, const wi_model_needs *needs,
                           weft_mesh_shape *out);

// The ids of a text; freed by the caller. With the tokens that the tokenizer puts around it.
weft_status wi_model_encode(const wi_model *model, const char *text, size_t bytes, int32_t **ids, int *count);

// The line of --digest: the hash, and what it holds for.
void wi_print_digest(const wi_model *model, const char hash[65]);

// All of a file, or of standard input for "-", as rank 0 finds it; for every rank. Freed by the caller. Collective.
weft_status wi_read_text(weft_comm *world, const char *path, char **text, size_t *bytes);

#endif
