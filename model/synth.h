// Checkpoints of random weights: any published shape, for scaling runs and tests. What is written is a Hugging Face
// directory like any other, streamed to disk; the same seed gives the same bytes on every machine, by any threads.
#ifndef WEFT_MODEL_SYNTH_H
#define WEFT_MODEL_SYNTH_H

#include "core/json.h"
#include "core/team.h"
#include "model/config.h"

#ifdef __cplusplus
extern "C" {
#endif

// A model by its sizes. What a family does not have is 0.
typedef struct {
    const char *name;   // "llama-3-8b", or a family's name
    const char *family; // as weft_architecture_family says it
    int64_t hidden, layers, heads, kv_heads, head_dim, ffn, vocab, positions;
    int64_t window, experts, experts_used, expert_ffn;
    double base, eps; // 0: the family's own
    bool tied;
} weft_model_shape;

// A named shape or a family (with small sizes); NULL: none of that name.
const weft_model_shape *weft_model_shape_find(const char *name);
const weft_model_shape *weft_model_shape_at(int index); // NULL behind the last; the named ones first
// config.json of a shape, checked as any other. The text belongs to the writer, which the caller finishes with fini.
weft_status weft_model_shape_config(const weft_model_shape *shape, weft_dtype dtype, weft_json_writer *writer,
                                    const char **text, size_t *bytes);

typedef struct {
    uint64_t seed;
    weft_dtype dtype;   // bf16, f16 or f32
    size_t shard_bytes; // files are at most so large, but hold at least one tensor; 0: 5 GB, as hubs have them
    weft_team *team;    // NULL: the caller alone
    void (*progress)(void *arg, uint64_t done, uint64_t total); // by the calling thread, now and then; may be NULL
    void *progress_arg;
} weft_synth_options;

// Makes `directory` if need be; one that holds a model is refused. Local, blocking. `written`, which may be NULL:
// bytes.
weft_status weft_synth_write(const weft_model_shape *shape, const char *directory, const weft_synth_options *options,
                             uint64_t *written);

#ifdef __cplusplus
}
#endif
#endif
