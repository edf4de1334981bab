// The flags of every command that computes or plans with a model, and what they say of weights and cache.
// Inside launch/ only.
#ifndef WEFT_LAUNCH_MODEL_FLAGS_H
#define WEFT_LAUNCH_MODEL_FLAGS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/flags.h"
#include "kernels/attention.h"
#include "model/weights.h"

enum { WI_CACHE_BLOCK = 64 }; // positions in a block of the cache

typedef struct {
    const char *device;     // NULL: the host's processor
    int weights, kv, dtype; // choices
    int64_t group;
    const char *family;
    int64_t cache_bytes; // 0: as much as the command's requests need
    int64_t chunk;
    int64_t tp, cp, dp;
    int dense, experts; // choices; 0: open, else 1 + weft_dense; 0: open, 1: whole, 2: columns
    int numerics;       // choice
} wi_model_flags;

// X for a table of flags: those of wi_model_flags, which is the field `model` of the options struct.
#define WI_MODEL_FLAGS(options)                                                                                        \
    {.name = "weights",                                                                                                \
     .kind = WEFT_FLAG_CHOICE,                                                                                         \
     .offset = offsetof(options, model.weights),                                                                       \
     .help = "type of the weights in memory; stored: the checkpoint's",                                                \
     .choices = "stored|f32|bf16|f16|int8|int4|fp8"},                                                                  \
        {.name = "group",                                                                                              \
         .kind = WEFT_FLAG_INT,                                                                                        \
         .offset = offsetof(options, model.group),                                                                     \
         .help =                                                                                                       \
             "columns that share a scale of int8, int4 and fp8: 32, 64 or 128; 0: 64, 128 for fp8, the row for int8",  \
         .max = 128},                                                                                                  \
        {.name = "kv",                                                                                                 \
         .kind = WEFT_FLAG_CHOICE,                                                                                     \
         .offset = offsetof(options, model.kv),                                                                        \
         .help = "type of cached keys and values; auto: f32 beside f32 weights, else bf16",                            \
         .choices = "auto|f32|bf16|int8|fp8"},                                                                         \
        {.name = "dtype",                                                                                              \
         .kind = WEFT_FLAG_CHOICE,                                                                                     \
         .offset = offsetof(options, model.dtype),                                                                     \
         .help = "short for --weights T --kv T",                                                                       \
         .choices = "unset|f32|bf16"},                                                                                 \
        {.name = "family",                                                                                             \
         .kind = WEFT_FLAG_STRING,                                                                                     \
         .offset = offsetof(options, model.family),                                                                    \
         .help = "multiply by fma, bf16dot or amx, on a GPU by fma, mma or wgmma; not given: what suits it"},          \
        {.name = "cache-bytes",                                                                                        \
         .kind = WEFT_FLAG_BYTES,                                                                                      \
         .offset = offsetof(options, model.cache_bytes),                                                               \
         .help = "memory for keys and values; 0: what this command needs",                                             \
         .max = 1e15},                                                                                                 \
        {.name = "dp",                                                                                                 \
         .kind = WEFT_FLAG_INT,                                                                                        \
         .offset = offsetof(options, model.dp),                                                                        \
         .help = "replicas beside each other that share the requests of a batch, each of tp x cp ranks; 0: one",       \
         .max = 65536},                                                                                                \
        {.name = "tp",                                                                                                 \
         .kind = WEFT_FLAG_INT,                                                                                        \
         .offset = offsetof(options, model.tp),                                                                        \
         .help = "ranks that share heads and columns; 0: chosen",                                                      \
         .max = 65536},                                                                                                \
        {.name = "cp",                                                                                                 \
         .kind = WEFT_FLAG_INT,                                                                                        \
         .offset = offsetof(options, model.cp),                                                                        \
         .help = "ranks that share the positions of a text; 0: chosen",                                                \
         .max = 32},                                                                                                   \
        {.name = "dense",                                                                                              \
         .kind = WEFT_FLAG_CHOICE,                                                                                     \
         .offset = offsetof(options, model.dense),                                                                     \
         .help = "ranks that share the linear layers: tp, or mesh: tp x cp; auto: chosen",                             \
         .choices = "auto|tp|mesh"},                                                                                   \
        {.name = "experts",                                                                                            \
         .kind = WEFT_FLAG_CHOICE,                                                                                     \
         .offset = offsetof(options, model.experts),                                                                   \
         .help = "how ranks share the experts of a layer: whole ones each, or columns of every one; auto: chosen",     \
         .choices = "auto|whole|columns"},                                                                             \
        {.name = "numerics",                                                                                           \
         .kind = WEFT_FLAG_CHOICE,                                                                                     \
         .offset = offsetof(options, model.numerics),                                                                  \
         .help = "invariant: the same bits for every layout; fast: sums in any order, to measure what that costs",     \
         .choices = "invariant|fast"},                                                                                 \
    {                                                                                                                  \
        .name = "chunk", .kind = WEFT_FLAG_INT, .offset = offsetof(options, model.chunk),                              \
        .help = "most tokens of one step, of one context rank", .min = 1, .max = 65536                                 \
    }

// Beside them where there is computed: what computes.
#define WI_DEVICE_FLAG(options)                                                                                        \
    {                                                                                                                  \
        .name = "device", .kind = WEFT_FLAG_STRING, .offset = offsetof(options, model.device),                         \
        .help = "cpu, or cuda: a GPU for each rank"                                                                    \
    }

// How requests of many are served together.
typedef struct {
    int schedule, sharing; // choices
    bool preempts;
} wi_engine_flags;

// Likewise for wi_engine_flags, the field `engine`.
#define WI_ENGINE_FLAGS(options)                                                                                       \
    {.name = "scheduler",                                                                                              \
     .kind = WEFT_FLAG_CHOICE,                                                                                         \
     .offset = offsetof(options, engine.schedule),                                                                     \
     .help = "what a step takes first: what is being generated, or prompts that were begun",                           \
     .choices = "fifo|prefill-first"},                                                                                 \
        {.name = "prefix-sharing",                                                                                     \
         .kind = WEFT_FLAG_CHOICE,                                                                                     \
         .offset = offsetof(options, engine.sharing),                                                                  \
         .help = "requests that begin alike share what is computed of that",                                           \
         .choices = "on|off"},                                                                                         \
    {                                                                                                                  \
        .name = "preempt", .kind = WEFT_FLAG_BOOL, .offset = offsetof(options, engine.preempts),                       \
        .help =                                                                                                        \
            "begin as soon as a prompt fits the cache and start over where it runs out; else wait for room for all"    \
    }

#define WI_MODEL_DEFAULTS                                                                                              \
    {                                                                                                                  \
        .chunk = 256                                                                                                   \
    }

// --dp; and for commands whose work is one replica's, USAGE where it wants more.
static inline int wi_replicas_of(const wi_model_flags *flags) { return flags->dp > 0 ? (int)flags->dp : 1; }
weft_status wi_one_replica(const wi_model_flags *flags, const char *command);
// --weights, --group, --family and --dtype as the loader takes them; USAGE where they cannot be. Local.
weft_status wi_weights_of(const wi_model_flags *flags, const weft_cpu *cpu, weft_weights_options *out);
// --kv and --dtype, where tensors that are not converted have the type `stored`.
weft_cache_type wi_cache_of(const wi_model_flags *flags, const weft_weights_options *weights, weft_dtype stored);
// Of the checkpoint's tensors, as far as the config tells.
weft_dtype wi_stored_of(const weft_model_config *config);

#endif
