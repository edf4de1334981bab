// A model's weights as a rank holds them: packed matrices and plain vectors, one struct a layer, loaded from a
// checkpoint in one pass. Bytes go from the file through a buffer of a few rows into packed form, on all threads at
// once; a tensor is never held twice.
#ifndef WEFT_MODEL_WEIGHTS_H
#define WEFT_MODEL_WEIGHTS_H

#include "core/device.h"
#include "kernels/kernels.h"
#include "model/checkpoint.h"
#include "parallel/linear.h"

#ifdef __cplusplus
extern "C" {
#endif

// H hidden, D head size, A heads, K KV heads, F width of the FFN, E experts, V vocabulary.
typedef struct {
    weft_linear gate_up; // (2F, H): gate, then up; joined by the activation where `fused`
    weft_linear down;    // (H, F), by leaves along F
} weft_ffn_weights;

typedef struct {
    const float *input_norm, *ffn_norm;                 // (H)
    const float *after_attention_norm, *after_ffn_norm; // (H), of sandwich models
    const float *q_norm, *k_norm;                       // (D), of models that norm queries and keys
    const float *sinks;                                 // (A)
    weft_linear qkv;                                    // ((A + 2K) D, H): q, then k, then v
    weft_linear o;                                      // (H, A D), by leaves along the heads
    weft_ffn_weights dense;                             // of a layer without experts
    weft_linear router;                                 // (E, H) in f32
    weft_ffn_weights *expert;                           // (E)
} weft_layer_weights;

typedef struct weft_weights_store weft_weights_store;
typedef struct weft_weights {
    const void *embedding; // (V, H)
    weft_dtype embedding_type;
    const float *final_norm; // (H)
    weft_linear head;        // (V, H)
    weft_layer_weights *layer;
    bool fused;         // gate and up are joined by the GEMM itself
    weft_family family; // that multiplies the large matrices
    weft_dtype type;    // that they are held in
    size_t bytes;       // of all that is held
    weft_weights_store *store;
} weft_weights;

typedef struct {
    weft_dtype type;    // WEFT_F32, BF16, F16, I8 or I4; what the checkpoint holds is rounded to it
    int group;          // columns that share a scale, of I8 and I4; 0: a row's
    weft_family family; // weft_family_choose says which
    void (*progress)(void *arg, size_t done, size_t all); // bytes of the checkpoint; may be NULL
    void *progress_arg;
} weft_weights_options;

// Local, blocking. `op` brings the table and the team. NO_MEMORY, or as the checkpoint fails.
weft_status weft_weights_load(const weft_op *op, weft_device *device, const weft_model_config *config,
                              const weft_checkpoint *checkpoint, const weft_weights_options *options,
                              weft_weights **out);
void weft_weights_destroy(weft_weights *weights); // accepts NULL

#ifdef __cplusplus
}
#endif
#endif
