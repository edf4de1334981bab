// What each rank has of a model: one table, made of the model's numbers and the mesh's, which the loader, the forward
// pass and the planner read. Ranges are in the whole model's numbers.
#ifndef WEFT_MODEL_LAYOUT_H
#define WEFT_MODEL_LAYOUT_H

#include "kernels/attention.h"
#include "model/config.h"
#include "parallel/attention.h"
#include "parallel/linear.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    weft_mesh mesh;      // its groups are borrowed, and NULL where only sizes are wanted
    weft_range heads;    // query heads that attend here; with --dense mesh over the keys held here
    weft_range kv_heads; // those that they read
    weft_range finished; // query heads whose attention ends here, as inputs of o
    weft_range qkv;      // rows of the heads' stack of q, k and v that are multiplied here
    // Row linears, and what this rank has of them. `rows` of the shapes is not set.
    weft_row_shape o, down, expert_down;
    weft_range o_inputs, down_inputs, expert_inputs; // of the leaves
    weft_range ffn, expert_ffn;                      // columns of gate and of up
    weft_mesh expert_mesh;                           // that shares one expert: a rank alone where ranks have whole ones
    weft_range experts;                              // that this rank has, of each layer
    weft_range outputs, expert_outputs;              // of row linears
    weft_range vocab;                                // rows of the embedding and of the head
} weft_layout;

// `mesh` NULL: a rank alone. `group`: columns that share a scale of the weights, 0 where none do.
weft_layout weft_layout_of(const weft_model_config *config, const weft_mesh *mesh, int group);

int64_t weft_layout_qkv_width(const weft_model_config *config, const weft_layout *layout); // of the heads' stack
// The rows of q, of k and of v that are multiplied here, each in its own tensor's numbers.
void weft_layout_qkv_rows(const weft_model_config *config, const weft_layout *layout, weft_range out[3]);
weft_range weft_layout_finished(const weft_model_config *config, const weft_mesh *mesh); // `finished` of any rank

// How a rank's cache is cut. Layers are of kinds, by how far they see; those of a kind stand in groups, which all have
// equally many layers. A unit of the pool holds a block of positions of one group's layers, so that any unit serves any
// group, and each kind gives back what lies behind its window.
enum { WEFT_CACHE_KINDS_MAX = 4 };
typedef struct {
    int kinds;
    int64_t window[WEFT_CACHE_KINDS_MAX]; // of each, ascending; 0: all positions
    int groups[WEFT_CACHE_KINDS_MAX];     // of each; kind after kind they are numbered
    size_t unit;                          // bytes
} weft_cache_cut;

// For blocks of so many positions: the view of layer i in `layers` (config.layers of them, their pool not set) and its
// group in `group_of`. NULL: only measure. More kinds than there may be are taken as one that keeps all.
weft_cache_cut weft_layout_cache(const weft_model_config *config, const weft_layout *layout, weft_cache_type type,
                                 int block, weft_cache *layers, int *group_of);
// Attention over a cp group, of passes of so many rows a rank; but for the heads that dealt heads are cut into.
weft_dealt_shape weft_layout_dealt(const weft_model_config *config, const weft_layout *layout, int rows,
                                   weft_cache_type type);
// The experts that another rank of the dense group has.
weft_range weft_layout_experts_of(const weft_model_config *config, const weft_mesh *mesh, int dense_rank);
// The rows of the vocabulary that another rank of the dense group has, and the most that any has.
weft_range weft_layout_vocab_of(const weft_model_config *config, const weft_mesh *mesh, int dense_rank);
int64_t weft_layout_vocab_most(const weft_model_config *config, const weft_mesh *mesh);

#ifdef __cplusplus
}
#endif
#endif
