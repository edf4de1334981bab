// The table of architectures, and what the files that read a config share. Inside model/ only.
#ifndef WEFT_MODEL_CONFIG_IMPL_H
#define WEFT_MODEL_CONFIG_IMPL_H

#include "model/config.h"
#include "model/names.h"

// Which layers have a sliding window.
typedef enum {
    WI_WINDOW_NONE,
    WI_WINDOW_ALL,        // every one, where sliding_window is a number
    WI_WINDOW_ALL_ON_ASK, // the same, where use_sliding_window is true as well
    WI_WINDOW_FROM_LAYER, // use_sliding_window: those of layer_types, or from max_window_layers on
    WI_WINDOW_PATTERN,    // those of layer_types, or all but every `pattern`-th
} wi_window_rule;

typedef enum { WI_BIAS_NEVER, WI_BIAS_QKV, WI_BIAS_ON_ASK } wi_bias_rule; // ON_ASK: by attention_bias, o included

typedef enum {
    WI_MOE_NONE,
    WI_MOE_ALL,    // every layer; normalized
    WI_MOE_SPARSE, // decoder_sparse_step, mlp_only_layers, norm_topk_prob, moe_intermediate_size
    WI_MOE_BIASED, // every layer; softmax over the chosen; biases everywhere, clamped swish
} wi_moe_rule;

typedef enum {
    WI_ROPE_ONE,
    WI_ROPE_PHI3,             // the length it was trained for stands at the top level; "su" and "yarn" mean longrope
    WI_ROPE_LOCAL_AND_GLOBAL, // layers with a window have a rope of their own
} wi_rope_rule;

// What a checkpoint calls a part. '#' stands for the expert.
typedef struct {
    weft_part part;
    const char *pattern; // behind "model." and "layers.N."
} wi_name;

extern const wi_name wi_names_gemma[], wi_names_phi3[], wi_names_mixtral[], wi_names_gpt_oss[]; // model/names.c

// One architecture. What is absent is 0; a size of 0 has no default and must stand in config.json.
struct weft_architecture {
    const char *family, *model_type, *class_name;
    weft_norm_kind norm;
    bool qk_norm, sandwich, sinks, scaled_embedding, tied;
    bool activation_key;    // "hidden_activation" instead of "hidden_act"
    bool query_scalar;      // query_pre_attn_scalar
    bool caps;              // attn_logit_softcapping, final_logit_softcapping
    bool logit_cap;         // the latter alone
    bool mlp_bias_flag;     // mlp_bias
    bool attention_default; // of attention_bias
    wi_bias_rule bias;
    wi_window_rule windows;
    int pattern;
    wi_moe_rule moe;
    wi_rope_rule rope;
    double base, eps;                                    // defaults
    int64_t heads, kv_heads, head_dim, vocab, positions; // defaults
    int64_t window, experts, experts_used, expert_ffn;
    double attention_cap, final_cap;
    const wi_name *names; // beside the common ones, before them; ends with a NULL pattern
};

extern const weft_architecture wi_architectures[]; // ends with a NULL family

// What is being read.
typedef struct {
    const char *name;      // of the file
    const weft_json *root; // the whole
    const weft_json *text; // the text model's part of it
    const weft_architecture *a;
    weft_model_config *c;
} wi_reader;

// What a failure of core/json says, with the file's name before it.
weft_status wi_reader_fail(const wi_reader *r, weft_status status);
weft_status wi_read_int(const wi_reader *r, const char *key, int64_t min, int64_t max, int64_t fallback, int64_t *out);
weft_status wi_read_bool(const wi_reader *r, const char *key, bool fallback, bool *out);
weft_status wi_read_string(const wi_reader *r, const char *key, const char *fallback, const char **out);
// From `object`; within [min, max].
weft_status wi_read_real(const wi_reader *r, const weft_json *object, const char *key, double min, double max,
                         double fallback, double *out);

weft_status wi_config_ropes(wi_reader *r);                                    // model/config_rope.c
weft_status wi_config_layers(wi_reader *r);                                   // model/config_layers.c
weft_status wi_config_stops(const wi_reader *r, const weft_json *generation); // model/config_layers.c

#endif
