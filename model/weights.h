// The weights of a model as the forward pass reads them: packed matrices and vectors in f32. They go from file to
// packed form in one pass, each thread the panels that it will read, and nothing is held twice: beside the packed
// weights there is a panel or two a thread. Letters: H hidden, D head_dim, A heads, K kv_heads, F ffn, E experts, I
// expert_ffn, V vocab, all of them by what this rank has of them (layout.h). Row linears have all H outputs, but where
// ranks share a leaf.
#ifndef WEFT_MODEL_WEIGHTS_H
#define WEFT_MODEL_WEIGHTS_H

#include "core/cpu.h"
#include "core/device.h"
#include "kernels/kernels.h"
#include "model/checkpoint.h"
#include "model/layout.h"

#ifdef __cplusplus
extern "C" {
#endif

// A gated FFN: a layer's own, or one expert's. N is F or I.
typedef struct {
    // One WEFT_FUSE_GATE of gate and up: its run gives act(gate) * up, (m, N). With WEFT_FFN_CLAMPED_SWISH, which is no
    // act of a GEMM, WEFT_FUSE_STACK: its run gives gate's N columns, then up's.
    weft_gemm_weight gate_up;  // (2*N, H)
    weft_gemm_weight down;     // (H, N), K cut into leaves
    const float *gate_up_bias; // (2*N): gate, then up; NULL: none
    const float *down_bias;    // (H) or NULL
} weft_ffn_weights;

typedef struct {
    const float *input_norm;           // (H)
    const float *after_attention_norm; // (H); NULL unless config->sandwich
    const float *ffn_norm;             // (H)
    const float *after_ffn_norm;       // (H); NULL unless config->sandwich
    const float *q_norm, *k_norm;      // (D); NULL unless config->qk_norm
    weft_gemm_weight qkv;              // (A*D + 2*K*D, H): q by heads, then k, then v; of those layout->qkv
    const float *qkv_bias;             // of the same rows, or NULL
    weft_gemm_weight o;                // (H, A*D), K cut into leaves of whole heads
    const float *o_bias;               // (H) or NULL
    const float *sinks;                // (A) or NULL
    weft_ffn_weights ffn;              // where the layer is dense; else zeroed
    weft_gemm_weight router;           // (E, H); never quantized
    const float *router_bias;          // (E) or NULL
    // [E], or NULL where the layer is dense. Of those that this rank has, each matrix lies right behind that of the
    // expert before (weft_gemm_groups), and biases lie as far from each other.
    weft_ffn_weights *expert;
} weft_layer_weights;

typedef struct {
    weft_gemm_weight embedding; // (V, H), for weft_embed, without embedding_scale; a tied head's is the head itself
    weft_layer_weights *layer;  // [layers]
    const float *final_norm;    // (H)
    weft_gemm_weight head;      // (V, H), column form
    weft_dtype type;            // of the matrices; beside int4 embedding and head are int8, beside e4m3 `plain`
    weft_dtype plain;           // of what is never quantized
    weft_family family;         // that multiplies the head
    bool rounds;                // the GEMMs of the layers read f32 as bf16; so of all ranks alike
    uint64_t bytes;             // all of it
    struct weft_weights_memory *memory; // who owns what; for model/ alone
} weft_weights;

typedef struct {
    bool as_stored;  // each matrix in the type of the checkpoint's embedding, or as e4m3 that it is stored in; else:
    weft_dtype type; // f32, bf16, f16, int8, int4 or e4m3
    int group;       // int8, int4, e4m3: columns that share a scale, 32, 64 or 128; 0: the row (int8)
    bool has_family; // multiply by `family` instead of by what weft_family_choose says for each type
    weft_family family;
    bool has_limit; // no family above `limit`, which is what all ranks have
    weft_family limit;
    const weft_cpu *cpu; // for weft_family_choose, with the table's level
    int capability;      // of the device that multiplies, whose families they are then; 0: the host
    // Told now and then by the calling thread; may be NULL.
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    void *progress_arg;
} weft_weights_options;

// Whether matrices that the checkpoint has in e4m3 keep their codes and scales.
static inline bool weft_weights_kept(const weft_model_config *config, const weft_weights_options *options)
{
    return config->fp8_rows > 0 && (options->as_stored || options->type == WEFT_E4M3);
}

// The type of the matrices, `stored` being the embedding's.
static inline weft_dtype weft_weights_type(const weft_model_config *config, const weft_weights_options *options,
                                           weft_dtype stored)
{
    if (weft_weights_kept(config, options)) return WEFT_E4M3;
    return options->as_stored ? stored : options->type;
}

// Columns that share a scale, as weft_layout_of takes them: 0 where none do.
static inline int weft_weights_group(const weft_model_config *config, const weft_weights_options *options)
{
    if (weft_weights_kept(config, options)) return config->fp8_columns;
    const bool codes = options->type == WEFT_I8 || options->type == WEFT_I4 || options->type == WEFT_E4M3;
    return codes && !options->as_stored ? options->group : 0;
}

// Reads and packs what the layout says, by op, which is the host's, and its team. Where the layout's mesh has its
// groups it is collective over them: ranks that have the same weights (context ranks, unless the dense group is the
// whole mesh) read and pack a part each and send each other what is packed (for another device than the host each reads
// all). Else local. Blocking. The checkpoint may be closed afterwards; the device must outlive the weights. Sizes are
// known and compared with the memory that is there before anything is allocated.
weft_status weft_weights_load(const weft_checkpoint *checkpoint, const weft_model_config *config,
                              const weft_layout *layout, const weft_weights_options *options, const weft_op *op,
                              weft_device *device, weft_weights *out);
void weft_weights_free(weft_weights *weights); // accepts a zeroed one

#ifdef __cplusplus
}
#endif
#endif
