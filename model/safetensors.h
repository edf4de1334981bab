// The header of one safetensors file, checked whole before anything is allocated by what it says: 8 bytes of length, so
// many bytes of JSON, then the tensors' bytes one after the other without a hole.
#ifndef WEFT_MODEL_SAFETENSORS_H
#define WEFT_MODEL_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "core/json.h"
#include "core/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { WEFT_SAFETENSORS_HEADER_MAX = 100000000 }; // bytes of JSON; the format's own limit

typedef struct {
    const char *name; // owned by whoever gave the entry
    weft_dtype type;
    int rank; // 0 is one element
    int64_t shape[WEFT_TENSOR_RANK_MAX];
    int file;        // number of the file in its checkpoint; 0 for a single one
    uint64_t offset; // of the first byte, from the beginning of the file
    uint64_t bytes;
} weft_tensor_entry;

typedef struct {
    weft_tensor_entry *at; // [count], by offset; a zero-size tensor stands before what begins at its place
    size_t count;
    weft_json *document; // the names' owner
} weft_safetensors;

// The length of the header, from the first 8 bytes of a file of `file_bytes`. FORMAT or LIMIT.
weft_status weft_safetensors_length(const unsigned char first[8], uint64_t file_bytes, const char *name,
                                    size_t *header_bytes);
// The header itself. `name` is the file's, for errors: each names file, tensor and reason. Local.
weft_status weft_safetensors_parse(const char *header, size_t header_bytes, uint64_t file_bytes, const char *name,
                                   weft_safetensors *out);
void weft_safetensors_fini(weft_safetensors *file); // accepts a zeroed one

#ifdef __cplusplus
}
#endif
#endif
