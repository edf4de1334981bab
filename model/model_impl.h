// Inside model/ only.
#ifndef WEFT_MODEL_MODEL_IMPL_H
#define WEFT_MODEL_MODEL_IMPL_H

#include "model/model.h"
#include "parallel/transfer.h"

enum { WI_ROTATIONS_MAX = 64 }; // keys that live at once

// cos and sin of one rope for requests of one key.
typedef struct {
    float *cos, *sin; // (positions, rotary / 2)
} wi_rotation;

struct weft_model {
    weft_op op; // scratch is the model's own
    weft_model_config config;
    weft_layout layout;
    weft_weights weights;
    weft_device *device;
    weft_model_options options;
    weft_attention_family attention;
    struct {
        int64_t length;
        wi_rotation rope[WEFT_ROPES_MAX];
    } rotation[WI_ROTATIONS_MAX];
    int rotations;
    // How ranks talk; NULL where one rank has it all.
    weft_row_sum *o_sum, *down_sum, *expert_sum; // those of equal places are one
    weft_transfer *embedded;                     // rows of the embedding
    weft_transfer *projected;                    // --dense mesh: columns of q, k and v
    weft_transfer *found;                        // logits
    weft_dealt *dealt;                           // attention
    int *first_head;                             // (local KV heads + 1) for weft_attention
    // T rows at most, all f32; A, K, F by what this rank has
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
    int32_t *ids;  // (T) of the embedding's rows
    size_t *taken; // (dense ranks) rows that were taken of each
    float *last;   // (logit rows, H)
    void *memory;  // all of these
    size_t memory_bytes;
};

#endif
