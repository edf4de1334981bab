// How much memory a model takes of a rank, from its config and a layout alone: no checkpoint, no ranks, no job. By the
// functions that the loader, the model and the cache allocate by, so that what is told here is what they take.
#ifndef WEFT_MODEL_SIZES_H
#define WEFT_MODEL_SIZES_H

#include "model/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    weft_model_options model; // its mesh is not looked at
    weft_dtype stored;        // of the checkpoint's tensors
    weft_isa isa;             // with model.weights.cpu decides the families
    int threads;              // of each rank
    int node_ranks;           // ranks of the mesh that share a node
    weft_links links;         // of devices; AUTO: ipc on one node, else nccl
    int block;                // positions in a block of the cache
} weft_sizes_options;

typedef struct {
    uint64_t weights;         // weft_weights.bytes
    uint64_t pass;            // what a forward pass writes
    uint64_t books;           // what the host keeps of a pass, whatever the device
    uint64_t rotations;       // tables of one key, beside the pass
    uint64_t exchange;        // slots and buffers between ranks: the host's
    uint64_t exchange_device; // what lies on a device where that computes, by its links
    weft_cache_cut cut;       // of the cache, whose memory is so many units
} weft_model_sizes;

// What the rank of `layout` takes. Local.
weft_status weft_model_sizes_of(const weft_model_config *config, const weft_layout *layout,
                                const weft_sizes_options *options, weft_model_sizes *out);

// Bytes of the tables that turn so many positions by one key.
uint64_t weft_rotation_bytes(const weft_model_config *config, int64_t positions);

#ifdef __cplusplus
}
#endif
#endif
