// Inside model/ only.
#ifndef WEFT_MODEL_MODEL_IMPL_H
#define WEFT_MODEL_MODEL_IMPL_H

#include "kernels/fold.h"
#include "model/model.h"
#include "parallel/transfer.h"

enum { WI_ROTATIONS_MAX = 64 }; // keys that live at once

// cos and sin of one rope for requests of one key.
typedef struct {
    float *cos, *sin; // (positions, rotary / 2), of the device
    size_t bytes;
} wi_rotation;

struct weft_model {
    weft_op op;  // of the device; scratch is the model's own
    int threads; // where there is no team: what it would have; 0: one
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
    weft_transfer *embedded, *looked;            // rows of the embedding, to all; to those that finish them
    weft_transfer *projected;                    // --dense mesh: columns of q, k and v
    weft_transfer *found;                        // logits
    weft_transfer *said;                         // whole experts on each rank: what they say, to the rows' owners
    weft_transfer *joined;                       // rows that are dealt: what their owners made of them
    int64_t piece_rows;                          // for weft_row_pieces: they are joined in so many pieces
    const void **piece;                          // (dense ranks * pieces) and where they are
    int64_t *piece_begin;                        // (dense ranks * pieces + 1)
    weft_gemm_rows gathered;                     // the normed rows, until they are released; of no pieces: at `normed`
    size_t gathered_stride;
    size_t *said_offset, *said_count; // (dense ranks)
    weft_dealt *dealt;                // attention
    int *first_head;                  // (local KV heads + 1) for weft_attention
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
        float *gated, *stacked, *out; // (T * used, F, 2F or H)
    } moe;
    float *last;  // (logit rows, H)
    void *memory; // all of these, of the device
    size_t memory_bytes;
    void *books; // what is the host's whatever the device: of the following, and of those above that are no floats
    int32_t *ids, *places; // (T) tokens that a rank looks up, and their rows
    int32_t *sifted;       // (T) likewise, on the device
    // Where each rank has whole experts, the host deals what they say: it reads moe.row_of and moe.offsets here.
    int32_t *expert_row_of;  // (T * used)
    int32_t *expert_offsets; // (E + 1)
};

size_t wi_rotation_bytes(const weft_rope_config *rope, int64_t positions); // of its tables
int wi_model_threads(const weft_model *model);

// Two lists of what a pass writes, of the device's memory and of the host's: run first to count, then to hand out.
typedef struct {
    unsigned char *base;
    size_t used;
} wi_cutter;
void wi_model_cut(weft_model *model, wi_cutter *at);
void wi_model_cut_books(weft_model *model, wi_cutter *at);

// The groups that a model's ranks talk in, and the room that each needs. 0 and false: no such group.
typedef struct {
    weft_row_shape o, down, experts;   // rows set
    bool has_down, has_experts;        // without `down` its sums are those of `o`
    size_t embedded, found, projected; // floats that one rank gives
    size_t looked;                     // likewise, to one other
    size_t said, joined;               // of experts, where each rank has whole ones; of a piece
    int pieces;                        // of what is joined, at most
    bool has_dealt;
    weft_dealt_shape dealt; // may point into heads_of
    weft_range heads_of[WEFT_FOLD_PLACES];
} wi_groups;
void wi_groups_of(const weft_model_config *config, const weft_layout *layout, const weft_model_options *options,
                  wi_groups *out);
// What they take of the memory of this rank, where each node has so many ranks. The mesh's groups are not looked at.
uint64_t wi_groups_bytes(const weft_layout *layout, const wi_groups *groups, int node_ranks);
uint64_t wi_groups_device_bytes(const weft_layout *layout, const wi_groups *groups, int node_ranks, weft_links links);

// ---- forward.c, residual.c and experts.c ----

// `in` NULL: the normed rows.
void wi_column(weft_model *m, const weft_gemm_weight *weight, const float *bias, int64_t rows, const float *in,
               float *out, weft_act act);
// Places of rows among the experts: place i is row row_of[i] of the normed rows, and meets its group's weights.
typedef struct {
    const int32_t *row_of;
    weft_gemm_groups groups;
} wi_places;

// gated = act(gate(x)) * up(x) of the normed rows, or of `rows` places of them by the weights from `w` on, of the
// `width` columns that this rank has.
void wi_gate(weft_model *m, const weft_ffn_weights *w, int64_t rows, const wi_places *places, size_t width,
             float *stacked, float *gated);

// What comes behind a sum that joins the hidden states: the norm of a sandwich before that, and the next norm, whose
// outcome are then the normed rows; NULL behind the last layer.
typedef struct {
    weft_model *model;
    const float *after, *norm;
    bool halves; // only GEMMs read them that round them first, so that they may travel rounded
} wi_next;
void wi_norm(const weft_model *m, const weft_op *op, const weft_norm *what); // with the model's settings
void wi_norm_rows(const weft_model *m, const weft_op *op, float *out, const float *in, const float *weight,
                  size_t rows);
bool wi_deals(const weft_model *m, int rows); // so many rows are dealt over the dense group
void wi_release(weft_model *m);               // the normed rows were read
void wi_unite(weft_model *m, float *out);     // they are copied there first
// x = x + linear(in), or x = x + norm(linear(in)), and the next norm. `in` are the columns of this rank.
typedef struct {
    const weft_gemm_weight *weight;
    const float *bias;
    int rows;
    const float *in;
    int64_t in_width;
} wi_row;
weft_status wi_row_and_add(weft_row_sum *sum, const wi_row *row, const wi_next *next);
// The same from rows that are there: this rank's own, where they are dealt, with what joins them or NULL; behind x,
// where they are not.
weft_range wi_joined_rows(const weft_model *m, int rows, int rank, int piece); // of one rank in a piece of m->joined
weft_status wi_finish_own(weft_model *m, const wi_next *next, int rows, float *branch);
void wi_finish_all(weft_model *m, const wi_next *next, int rows);

weft_status wi_mix_experts(weft_model *m, const weft_layer_weights *w, int rows, const wi_next *next);

#endif
