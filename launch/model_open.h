// What every command that computes with a model has in common: its flags, and from MODEL to an engine that is ready.
// Inside launch/ only.
#ifndef WEFT_LAUNCH_MODEL_OPEN_H
#define WEFT_LAUNCH_MODEL_OPEN_H

#include "engine/engine.h"
#include "launch/commands.h"
#include "model/tokenizer.h"

typedef struct {
    int weights, kv, dtype; // choices
    int64_t group;
    const char *family;
    int64_t cache_bytes; // 0: as much as the command's requests need
    int64_t chunk;
    int64_t tp, cp;
    int dense, experts, numerics; // choices
} wi_model_flags;

// X for a table of flags: those of wi_model_flags, which is the field `model` of the options struct.
#define WI_MODEL_FLAGS(options)                                                                                        \
    {.name = "weights",                                                                                                \
     .kind = WEFT_FLAG_CHOICE,                                                                                         \
     .offset = offsetof(options, model.weights),                                                                       \
     .help = "type of the weights in memory; stored: the checkpoint's",                                                \
     .choices = "stored|f32|bf16|f16|int8|int4"},                                                                      \
        {.name = "group",                                                                                              \
         .kind = WEFT_FLAG_INT,                                                                                        \
         .offset = offsetof(options, model.group),                                                                     \
         .help = "columns that share a scale of int8 and int4: 32, 64 or 128; 0: 64 for int4, the row for int8",       \
         .max = 128},                                                                                                  \
        {.name = "kv",                                                                                                 \
         .kind = WEFT_FLAG_CHOICE,                                                                                     \
         .offset = offsetof(options, model.kv),                                                                        \
         .help = "type of cached keys and values; auto: f32 beside f32 weights, else bf16",                            \
         .choices = "auto|f32|bf16|int8"},                                                                             \
        {.name = "dtype",                                                                                              \
         .kind = WEFT_FLAG_CHOICE,                                                                                     \
         .offset = offsetof(options, model.dtype),                                                                     \
         .help = "short for --weights T --kv T",                                                                       \
         .choices = "unset|f32|bf16"},                                                                                 \
        {.name = "family",                                                                                             \
         .kind = WEFT_FLAG_STRING,                                                                                     \
         .offset = offsetof(options, model.family),                                                                    \
         .help = "multiply by fma, bf16dot or amx; not given: what suits the processor and the weights"},              \
        {.name = "cache-bytes",                                                                                        \
         .kind = WEFT_FLAG_BYTES,                                                                                      \
         .offset = offsetof(options, model.cache_bytes),                                                               \
         .help = "memory for keys and values; 0: what this command needs",                                             \
         .max = 1e15},                                                                                                 \
        {.name = "tp",                                                                                                 \
         .kind = WEFT_FLAG_INT,                                                                                        \
         .offset = offsetof(options, model.tp),                                                                        \
         .help = "ranks that share heads and columns; 0: what --cp leaves",                                            \
         .max = 4096},                                                                                                 \
        {.name = "cp",                                                                                                 \
         .kind = WEFT_FLAG_INT,                                                                                        \
         .offset = offsetof(options, model.cp),                                                                        \
         .help = "ranks that share the positions of a text; 0: what --tp leaves, or 1",                                \
         .max = 32},                                                                                                   \
        {.name = "dense",                                                                                              \
         .kind = WEFT_FLAG_CHOICE,                                                                                     \
         .offset = offsetof(options, model.dense),                                                                     \
         .help = "ranks that share the linear layers: tp, or mesh: tp x cp",                                           \
         .choices = "tp|mesh"},                                                                                        \
        {.name = "experts",                                                                                            \
         .kind = WEFT_FLAG_CHOICE,                                                                                     \
         .offset = offsetof(options, model.experts),                                                                   \
         .help = "how ranks share the experts of a layer: whole ones each, or columns of every one",                   \
         .choices = "whole|columns"},                                                                                  \
        {.name = "numerics",                                                                                           \
         .kind = WEFT_FLAG_CHOICE,                                                                                     \
         .offset = offsetof(options, model.numerics),                                                                  \
         .help = "invariant: the same bits for every layout; fast: sums in any order, to measure what that costs",     \
         .choices = "invariant|fast"},                                                                                 \
    {                                                                                                                  \
        .name = "chunk", .kind = WEFT_FLAG_INT, .offset = offsetof(options, model.chunk),                              \
        .help = "most tokens of one step, of one context rank", .min = 1, .max = 65536                                 \
    }

#define WI_MODEL_DEFAULTS                                                                                              \
    {                                                                                                                  \
        .chunk = 256                                                                                                   \
    }

typedef struct {
    int64_t positions;   // of the longest request
    int requests;        // at once
    int logit_rows;      // of a step
    int64_t cache_limit; // bytes that the cache takes at most, but for one request's; 0: no limit
    weft_schedule schedule;
    bool unshared, preempts; // as in weft_engine_options
} wi_model_needs;

typedef struct {
    weft_comm *world;
    bool speaks; // this rank writes for all
    weft_mesh mesh;
    weft_family family_limit; // what the processors of all ranks can do
    weft_attention_family attention_limit;
    weft_cpu cpu;
    weft_topology topology;
    weft_kernels kernels;
    weft_op op;
    weft_team *team;
    weft_device *device;
    weft_model_config config;
    weft_checkpoint *checkpoint;
    weft_tokenizer *tokenizer;
    weft_model *model;
    weft_engine *engine;
    double load_s;
} wi_model;

// Collective over the job: each step succeeds on all ranks or on none, and every rank then makes the same calls of the
// engine. In two steps, since what a command needs depends on the tokens of its input: first config and tokenizer, and
// that the checkpoint is whole; then weights, cache and engine. Close accepts what either has left.
weft_status wi_model_begin(weft_job *job, const wi_call *call, const wi_model_flags *flags, bool with_tokenizer,
                           wi_model *out);
weft_status wi_model_load(wi_model *model, const wi_call *call, const wi_model_flags *flags,
                          const wi_model_needs *needs);
void wi_model_close(wi_model *model);

// The ids of a text; freed by the caller. With the tokens that the tokenizer puts around it.
weft_status wi_model_encode(const wi_model *model, const char *text, size_t bytes, int32_t **ids, int *count);

// All of a file, or of standard input for "-", as rank 0 finds it; for every rank. Freed by the caller. Collective.
weft_status wi_read_text(weft_comm *world, const char *path, char **text, size_t *bytes);
weft_status wi_write_text(const char *path, const char *text, size_t bytes); // "-": to standard output

#endif
