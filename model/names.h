// Which tensors a checkpoint of a model holds, by name and shape: what the loader looks for, what weft synth writes and
// what weft plan counts. One walk tells all of them.
#ifndef WEFT_MODEL_NAMES_H
#define WEFT_MODEL_NAMES_H

#include "model/config.h"

#ifdef __cplusplus
extern "C" {
#endif

// X(NAME): the parts of a model as checkpoints hold them. Matrices are (rows = outputs, columns = inputs) unless it
// says otherwise. H hidden, D head_dim, A heads, K kv_heads, F ffn, E experts, I expert_ffn, V vocab.
#define WEFT_PART_LIST(X)                                                                                              \
    X(EMBEDDING)            /* (V, H) */                                                                               \
    X(FINAL_NORM)           /* (H) */                                                                                  \
    X(HEAD)                 /* (V, H) */                                                                               \
    X(INPUT_NORM)           /* (H) */                                                                                  \
    X(AFTER_ATTENTION_NORM) /* (H) */                                                                                  \
    X(FFN_NORM)             /* (H) */                                                                                  \
    X(AFTER_FFN_NORM)       /* (H) */                                                                                  \
    X(Q_NORM)               /* (D) */                                                                                  \
    X(K_NORM)               /* (D) */                                                                                  \
    X(Q)                    /* (A*D, H) */                                                                             \
    X(K)                    /* (K*D, H) */                                                                             \
    X(V)                    /* (K*D, H) */                                                                             \
    X(QKV)                  /* (A*D + 2*K*D, H): q, then k, then v */                                                  \
    X(O)                    /* (H, A*D) */                                                                             \
    X(Q_BIAS)               /* (A*D) */                                                                                \
    X(K_BIAS)               /* (K*D) */                                                                                \
    X(V_BIAS)               /* (K*D) */                                                                                \
    X(O_BIAS)               /* (H) */                                                                                  \
    X(SINKS)                /* (A) */                                                                                  \
    X(GATE)                 /* (F, H) */                                                                               \
    X(UP)                   /* (F, H) */                                                                               \
    X(GATE_UP)              /* (2*F, H): gate, then up */                                                              \
    X(DOWN)                 /* (H, F) */                                                                               \
    X(GATE_BIAS)            /* (F) */                                                                                  \
    X(UP_BIAS)              /* (F) */                                                                                  \
    X(DOWN_BIAS)            /* (H) */                                                                                  \
    X(ROUTER)               /* (E, H) */                                                                               \
    X(ROUTER_BIAS)          /* (E) */                                                                                  \
    X(EXPERT_GATE)          /* (I, H), one an expert */                                                                \
    X(EXPERT_UP)            /* (I, H) */                                                                               \
    X(EXPERT_DOWN)          /* (H, I) */                                                                               \
    X(EXPERTS_GATE_UP)      /* (E, H, 2*I): inputs by outputs, gate and up take turns */                               \
    X(EXPERTS_GATE_UP_BIAS) /* (E, 2*I): take turns */                                                                 \
    X(EXPERTS_DOWN)         /* (E, I, H): inputs by outputs */                                                         \
    X(EXPERTS_DOWN_BIAS)    /* (E, H) */

typedef enum {
#define WEFT_PART_ENUM(name) WEFT_PART_##name,
    WEFT_PART_LIST(WEFT_PART_ENUM)
#undef WEFT_PART_ENUM
        WEFT_PART_COUNT
} weft_part;

// Where the text model stands among a checkpoint's names.
typedef enum {
    WEFT_NAMES_PLAIN,    // "model.layers.0..."
    WEFT_NAMES_INNER,    // "language_model.model.layers.0...": texts and images, transformers 4
    WEFT_NAMES_INNER_V5, // "model.language_model.layers.0..."
    WEFT_NAMES_COUNT
} weft_name_style;

enum { WEFT_NAME_MAX = 160 };
typedef struct {
    weft_part part;
    int64_t layer, expert; // -1: none
    char name[WEFT_NAME_MAX];
    int rank; // 1 to 3
    int64_t shape[3];
} weft_expected;

// Calls `each` for every tensor of the model, layer by layer; what it returns below 0 ends the walk and is returned.
typedef weft_status weft_expected_fn(void *arg, const weft_expected *tensor);
weft_status weft_model_tensors(const weft_model_config *config, weft_name_style style, weft_expected_fn *each,
                               void *arg);
// One of them; false when the model has no such part there. `layer` and `expert` are looked at where a part has them.
bool weft_model_tensor(const weft_model_config *config, weft_name_style style, weft_part part, int64_t layer,
                       int64_t expert, weft_expected *out);
// Whether a name may stand in a checkpoint although nothing reads it: buffers of old files, the other half of a model
// for texts and images, the head beside a tied embedding.
bool weft_name_ignored(const weft_model_config *config, weft_name_style style, const char *name);

#ifdef __cplusplus
}
#endif
#endif
