// How each weight of a model is divided over the ranks of a mesh, as one table of words, and what a rank has of it.
#ifndef WEFT_MODEL_LAYOUT_TABLE_H
#define WEFT_MODEL_LAYOUT_TABLE_H

#include "model/layout.h"
#include "model/names.h"

#ifdef __cplusplus
extern "C" {
#endif

// X(NAME, name, what it does)
#define WEFT_DIVISION_LIST(X)                                                                                          \
    X(VOCAB, "vocab", "rows of the vocabulary in parts; rows of the embedding, or logits, are gathered")               \
    X(COLUMN, "column", "outputs in parts, by heads or FFN columns; inputs whole; nothing is sent")                    \
    X(COLUMN_KV, "column-kv", "as column; a head stands on every rank that has one of its query heads")                \
    X(COLUMN_GATHER, "column-gather", "outputs in parts over the context ranks too, which gather them")                \
    X(EXPERT, "expert", "whole experts, some on each rank; what they say of a row goes to the row's owner")            \
    X(ROW, "row", "inputs in parts, by leaves (beyond 8 ranks outputs too); roots are sent and added by the tree")     \
    X(ONCE, "once", "whole on every rank; added once, behind the tree")                                                \
    X(REPLICATE, "replicate", "whole on every rank; nothing is sent")

typedef enum {
#define WEFT_DIVISION_ENUM(name, text, what) WEFT_DIVISION_##name,
    WEFT_DIVISION_LIST(WEFT_DIVISION_ENUM)
#undef WEFT_DIVISION_ENUM
        WEFT_DIVISION_COUNT
} weft_division;

const char *weft_division_name(weft_division division); // "column"
const char *weft_division_text(weft_division division); // one line

weft_division weft_layout_division(weft_part part, const weft_mesh_shape *shape);

// What the rank of a layout has of a weight, in the order of the weight's own dimensions.
void weft_layout_share(const weft_model_config *config, const weft_layout *layout, const weft_expected *weight,
                       int64_t shape[3]);

#ifdef __cplusplus
}
#endif
#endif
