// Inside model/ only.
#ifndef WEFT_MODEL_MODEL_IMPL_H
#define WEFT_MODEL_MODEL_IMPL_H

#include "model/model.h"

enum { WI_ROTATIONS_MAX = 64 }; // keys that live at once

// cos and sin of one rope for requests of one key.
typedef struct {
    float *cos, *sin; // (positions, rotary / 2)
} wi_rotation;

struct weft_model {
    weft_op op; // scratch is the model's own
    weft_model_config config;
    weft_weights weights;
    weft_device *device;
    weft_model_options options;
    weft_attention_family attention;
    struct {
        int64_t length;
        wi_rotation rope[WEFT_ROPES_MAX];
    } rotation[WI_ROTATIONS_MAX];
    int rotations;
    // T rows at most, all f32
    float *x;        // (T, H) hidden states
    float *normed;   // (T, H)
    float *branch;   // (T, H) what a sandwich model norms before it adds
    float *qkv;      // (T, (A + 2K) D)
    float *attended; // (T, A D)
    float *gated;    // (T, F)
    float *stacked;  // (T, 2F) of gates that the GEMM does not join
    struct {
        float *scores, *weights; // (T, E), (T, used)
        int32_t *ids, *place, *row_of, *offsets;
        float *in, *gated, *stacked, *out; // (T * used, H or F)
    } moe;
    float *last;  // (logit rows, H)
    void *memory; // all of these
    size_t memory_bytes;
};

#endif
