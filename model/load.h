// The plan of a load: what is read for each slot of the weights. Inside model/ only.
#ifndef WEFT_MODEL_LOAD_H
#define WEFT_MODEL_LOAD_H

#include "model/weights.h"

enum { WI_SOURCES_MAX = 3 };

// Rows of a packed matrix: a range of a tensor, whose reader and receiver it names.
typedef struct {
    weft_read range;
    int64_t rows; // of the packed matrix
    // 0: they are the range's rows. Else they are its columns (the tensor stands inputs by outputs): row i is the
    // range's column first + i * step, and the range's rows are the columns read.
    int64_t first, step;
} wi_source;

typedef struct {
    weft_gemm_weight *weight; // what is made
    weft_family family;
    weft_dtype type;
    int group;
    weft_fuse fuse;
    wi_source source[WI_SOURCES_MAX];
    int count;
    int64_t k;          // of the whole matrix
    weft_range columns; // those read: the ones held, in whole quantization groups
    bool cut;           // `leaves` are given
    weft_gemm_leaves leaves;
    void *memory; // on the device
    size_t bytes;
    bool follows;  // it stands right behind the matrix before, which is as large
    int64_t times; // it stands for so many alike
    int reader;    // of those who have the same weights, who packs it
    // 0, or the rows of the whole tensor: a row's one scale is made of columns that other ranks of the dense group
    // read, and they tell each other the largest.
    int64_t scaled_rows;
} wi_matrix;

// A vector of f32: every step-th element of a range of one row, from `first` on.
typedef struct {
    const float **slot; // set to where it lies; NULL for what continues the one before
    weft_read range;
    int64_t first, step, count;
    size_t at; // among the floats of all vectors
} wi_vector;

typedef struct {
    wi_matrix *matrix;
    size_t matrices, matrix_room;
    wi_vector *vector;
    size_t vectors, vector_room;
    size_t floats;    // of all vectors, each rounded up to 16
    float *floats_at; // on the device
    uint64_t bytes;   // of all packed matrices and vectors
} wi_plan;

// Without a checkpoint the plan only tells sizes: it is made of the tensors that there would be, and of layers and of
// experts that are alike it has one for all.
typedef struct {
    const weft_checkpoint *checkpoint;
    weft_dtype stored;           // without one: the type that its tensors would have
    weft_tensor_entry *expected; // without one: (WEFT_PART_COUNT), for the plan to fill
    int64_t times;               // what is added now stands for so many
    int64_t layer;               // that what is added now is of
    int replicas, replica;       // ranks with the same weights, and which of them this is; 0 counts as 1
    const weft_model_config *config;
    const weft_weights_options *options;
    const weft_layout *layout;
    const weft_op *op;   // the host's
    weft_device *device; // that the weights are for
    weft_name_style style;
    weft_weights *weights;
    wi_plan *plan;
} wi_planner;

// Fills the plan and weights->layer; reads nothing.
weft_status wi_plan_make(wi_planner *p);
void wi_plan_free(wi_plan *plan);

// The type that a matrix is packed from; its source as the GEMM knows it, without data.
weft_gemm_source wi_matrix_source(const wi_matrix *m, int index);

// Packs what this rank is the reader of, to memory that is there. Where ranks share rows' scales it is collective over
// the dense group, and a rank that fails goes on to the end with them.
weft_status wi_plan_run(const wi_planner *p);

// The largest of each number over the ranks. Collective.
weft_status wi_share_largest(weft_comm *comm, uint32_t *bits, int64_t count);

// What ranks with the same weights have packed, each its part, to all of them. Collective over the cp group.
weft_status wi_plan_share(const wi_planner *p);

#endif
