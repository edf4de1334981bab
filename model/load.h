// The plan of a load: what is read for each slot of the weights. Inside model/ only.
#ifndef WEFT_MODEL_LOAD_H
#define WEFT_MODEL_LOAD_H

#include "model/weights.h"

enum { WI_SOURCES_MAX = 3 };

// Rows of a packed matrix: a range of a tensor, whose reader and receiver it names.
typedef struct {
    weft_read range;
    weft_read scales; // of an e4m3 tensor: the range's blocks; its tensor is NULL where there are none
    int64_t rows;     // of the packed matrix
    // 0: they are the range's rows. Else they are its columns (the tensor stands inputs by outputs): row i is the
    // range's column first + i * step, and the range's rows are the columns read.
    int64_t first, step;
} wi_source;

typedef struct {
    weft_gemm_weight *weight; // what is made
    weft_family family;
    weft_dtype type;
    int group;
    bool kept; // e4m3 with the scales of the checkpoint
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
    bool together;               // and several run at once, so that no library takes them one by one
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

// The scales beside some rows of an e4m3 tensor, (blocks of rows, blocks of columns) in f32.
typedef struct {
    const float *at;
    size_t stride;               // blocks of columns
    int64_t row, column;         // of the tensor, where the first block begins
    int rows, columns;           // of a block
    int64_t first, first_column; // of the rows, in the tensor
} wi_scales;

// What one thread of a load needs beside the weights.
typedef struct {
    void *raw;     // a panel's rows as stored, or a whole slice whose columns are rows
    void *turned;  // a panel's rows, where they were columns
    float *floats; // a panel's rows in f32, or in the type that is packed
    void *codes;
    float *scales;
    void *raw_blocks; // the scales of a part of e4m3 as stored
    float *blocks;    // in f32, those of a panel's parts one behind the other
    float *row;       // one row in f32
} wi_staging;

// A panel's rows of one source, as stored.
typedef struct {
    const wi_source *source;
    weft_dtype stored;
    const void *rows;
    int64_t begin, count; // of the source's rows
    int64_t at;           // rows of the panel before them
    wi_scales scales;     // of e4m3
} wi_part_rows;

// Floats that the scales of some rows take at most; 0 where a checkpoint is not quantized.
size_t wi_scales_room(const weft_model_config *config, int64_t columns, int64_t rows);
// Fills in part->scales. False where they cannot be read, as errno says.
bool wi_read_scales(const wi_planner *p, wi_staging *s, wi_part_rows *part);
// `width` columns of row `row` of a part in f32.
void wi_widen_row(const wi_planner *p, const wi_part_rows *part, int64_t row, size_t width, float *to);
// What the pack takes of a part: the same type, another one, or codes with scales. Sets `out`'s data and scales.
void wi_turn(const wi_planner *p, wi_staging *s, const wi_matrix *m, const wi_part_rows *part, weft_gemm_source *out);
// The same of columns that are held, where a scale is that of the whole row: `largest` of all its columns, as bits.
void wi_turn_scaled(const wi_planner *p, wi_staging *s, const wi_matrix *m, const wi_part_rows *part,
                    const uint32_t *largest, weft_gemm_source *out);

// Packs what this rank is the reader of, to memory that is there. Where ranks share rows' scales it is collective over
// the dense group, and a rank that fails goes on to the end with them.
weft_status wi_plan_run(const wi_planner *p);

// The largest of each number over the ranks. Collective.
weft_status wi_share_largest(weft_comm *comm, uint32_t *bits, int64_t count);

// What ranks with the same weights have packed, each its part, to all of them. Collective over the cp group.
weft_status wi_plan_share(const wi_planner *p);

#endif
