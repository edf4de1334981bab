// What a model is: one plain description, read from config.json in the spellings of transformers 4 and 5, that a single
// forward pass follows. Nothing here allocates by what a file says before it was checked against the ranges below.
// A config that asks for anything that is not described here is refused by name, with the list of what is known.
//
// One layer, H wide, for hidden states x:
//   a = attention(norm(x, input_norm));            x = x + (sandwich ? norm(a, after_attention_norm) : a)
//   f = ffn(norm(x, ffn_norm));                    x = x + (sandwich ? norm(f, after_ffn_norm) : f)
// before it x = embedding * embedding_scale, after it logits = softcap(head * norm(x, final_norm), logit_cap).
// Attention: q, k, v = qkv * x + bias; q and k by heads through norm (qk_norm), then rotated; scores = q.k *
// attention_scale, softcap(attention_cap), keys by the layer's window, softmax with the sinks; o * result + bias.
#ifndef WEFT_MODEL_CONFIG_H
#define WEFT_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/json.h"
#include "core/tensor.h"
#include "kernels/pick.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_architecture weft_architecture; // a row of the table in model/architecture.c

typedef enum {
    WEFT_ROPE_PLAIN,
    WEFT_ROPE_LINEAR,  // frequencies / factor
    WEFT_ROPE_DYNAMIC, // the base grows with the length, once that is over `original`
    WEFT_ROPE_LLAMA3,
    WEFT_ROPE_YARN,
    WEFT_ROPE_LONGROPE // short_factor up to `original` positions, long_factor for all positions beyond that
} weft_rope_type;

typedef struct {
    weft_rope_type type;
    int rotary; // elements at the head of each q and k that are rotated: pairs (i, i + rotary / 2)
    double base;
    double factor;
    double attention_factor;                 // what cos and sin are multiplied with
    int64_t original;                        // positions that the model was trained for, before it was stretched
    double low, high;                        // LLAMA3: low_freq_factor, high_freq_factor
    double fast, slow;                       // YARN: beta_fast, beta_slow
    bool truncate;                           // YARN: its bounds are whole numbers
    const float *short_factor, *long_factor; // LONGROPE: (rotary / 2), owned by the config
} weft_rope_config;

typedef enum {
    WEFT_NORM_ROUND_THEN_WEIGHT, // the normed value takes the type of activations, then meets w (Llama and most)
    WEFT_NORM_WEIGHT_THEN_ROUND, // in f32 to the end (gpt-oss)
    WEFT_NORM_ONE_PLUS,          // likewise, by 1 + w (Gemma)
} weft_norm_kind;

typedef enum {
    WEFT_FFN_SILU,      // down * (silu(gate) * up)
    WEFT_FFN_GELU_TANH, // down * (gelu_tanh(gate) * up)
    WEFT_FFN_GELU_ERF,  // down * (gelu(gate) * up)
    // gate <= limit, -limit <= up <= limit; down * ((up + 1) * gate * sigmoid(alpha * gate))
    WEFT_FFN_CLAMPED_SWISH,
} weft_ffn_kind;

typedef struct {
    int64_t window; // keys that a query sees, its own included; 0: all before it
    int rope;       // which of ropes
    bool moe;
} weft_layer_config;

enum { WEFT_ROPES_MAX = 2, WEFT_STOPS_MAX = 32 };

typedef struct {
    const weft_architecture *architecture;
    bool has_dtype; // config.json says which type the weights were saved in
    weft_dtype dtype;
    // The matrices of the layers may be E4M3, with a scale for so many rows and columns of them in a tensor beside
    // (quant_method fp8); 0: the checkpoint is not quantized.
    int fp8_rows, fp8_columns;
    int64_t hidden, layers, heads, kv_heads, head_dim, vocab;
    int64_t ffn;       // width of the dense FFN
    int64_t positions; // max_position_embeddings
    bool tied;         // the head is the embedding
    // As HF multiplies: rounded to the type of the weights first (sqrt(3072) is 55.5 in bf16). 1: none.
    double embedding_scale;
    double logit_cap;     // 0: none
    double attention_cap; // 0: none
    double attention_scale;
    double eps;
    weft_norm_kind norm;
    bool qk_norm, sandwich, sinks;
    bool qkv_bias, o_bias;
    bool ffn_bias; // of gate, up and down, in dense layers and in experts
    weft_ffn_kind ffn_kind;
    double ffn_alpha, ffn_limit; // CLAMPED_SWISH
    // mixture of experts; experts is 0 where no layer has one
    int64_t experts, experts_used, expert_ffn;
    weft_route_kind route;
    bool route_normalize, route_bias; // route_bias: added to the scores themselves
    weft_rope_config ropes[WEFT_ROPES_MAX];
    weft_layer_config *layer;      // [layers], owned
    int32_t stops[WEFT_STOPS_MAX]; // token ids that end a text
    int stop_count;
    float *factors; // what the ropes' factors point into, owned
} weft_model_config;

// DIR/config.json, and DIR/generation_config.json where there is one (its stop ids replace those of config.json).
// `path` may name a config.json itself. Local. INVALID, FORMAT, LIMIT, UNSUPPORTED, NOT_FOUND, IO.
weft_status weft_model_config_read(const char *path, weft_model_config *out);
// From text; `generation` may be NULL. `name` is what errors call the first.
weft_status weft_model_config_parse(const char *text, size_t bytes, const char *name, const char *generation,
                                    size_t generation_bytes, weft_model_config *out);
void weft_model_config_fini(weft_model_config *config); // accepts a zeroed one

const char *weft_architecture_family(const weft_architecture *architecture); // "qwen3-moe", as weft synth calls it
const char *weft_architecture_class(const weft_architecture *architecture);  // "Qwen3MoeForCausalLM"
const char *weft_architecture_list(void);                                    // "llama, mistral, ..."
const weft_architecture *weft_architecture_at(int index);                    // NULL behind the last

// The inverse frequencies, (rotary / 2) of them, for texts that may reach `length` positions: only DYNAMIC and LONGROPE
// look at it. Angle = position * inverse[i] in f32; cos and sin are then multiplied with attention_factor.
void weft_rope_frequencies(const weft_rope_config *rope, int64_t length, float *inverse);

const char *weft_rope_name(weft_rope_type type);    // "llama3"
const char *weft_ffn_kind_name(weft_ffn_kind kind); // "silu"

#ifdef __cplusplus
}
#endif
#endif
