// How weights are made: sources that are fetched row by row while they are packed. Inside model/ only.
#ifndef WEFT_MODEL_WEIGHTS_IMPL_H
#define WEFT_MODEL_WEIGHTS_IMPL_H

#include <stdatomic.h>

#include "core/arena.h"
#include "model/weights.h"

// A block of device memory, in a list that is freed from its end.
typedef struct wi_block {
    void *memory;
    size_t bytes;
} wi_block;

struct weft_weights_store {
    weft_device *device;
    weft_arena arena; // vectors, structs and the list of blocks
    wi_block *blocks;
    size_t block_count, block_capacity;
};

typedef struct {
    weft_op op; // its scratch is the loader's own and grows
    size_t threads;
    weft_device *device;
    const weft_model_config *config;
    const weft_checkpoint *checkpoint;
    weft_name_style style;
    const weft_weights_options *options;
    weft_weights *weights;
    size_t done, all; // bytes of the checkpoint
} wi_loader;

// Rows of a matrix that a weight is packed from: of a tensor in the checkpoint, or in memory.
typedef struct {
    const weft_tensor_entry *tensor;
    int64_t row;      // the tensor's first row
    const void *data; // where `tensor` is NULL
    weft_dtype type;  // of what stands there
    size_t stride;    // bytes from row to row in `data`
    int64_t n, k;
} wi_matrix;

// Packs the matrices, one under the other or as gate and up, in the type and by the family given. `unit` is that of the
// leaves along K; 0: the column form.
typedef struct {
    const wi_matrix *matrix;
    int count;
    weft_fuse fuse;
    int64_t unit;
    weft_dtype type;
    int group;
    weft_family family;
} wi_linear_plan;
weft_status wi_load_linear(wi_loader *loader, const wi_linear_plan *plan, weft_linear *out);

void *wi_load_memory(wi_loader *loader, size_t bytes); // of the weights' device; NULL and an error when there is none
weft_status wi_load_find(wi_loader *loader, weft_part part, int64_t layer, int64_t expert, wi_matrix *out);
// `count` floats from `first` on of a tensor, every `step`th, into the weights' arena.
weft_status wi_load_vector(wi_loader *loader, weft_part part, int64_t layer, const float **out);
weft_status wi_load_floats(wi_loader *loader, const wi_matrix *matrix, float *out); // all n x k of them
void wi_load_advance(wi_loader *loader, size_t bytes);

#endif
