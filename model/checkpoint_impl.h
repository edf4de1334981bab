// A checkpoint's insides. Inside model/ only.
#ifndef WEFT_MODEL_CHECKPOINT_IMPL_H
#define WEFT_MODEL_CHECKPOINT_IMPL_H

#include "model/checkpoint.h"

typedef struct {
    char *path; // directory and name, for errors
    const char *name;
    int fd;
    uint64_t bytes;
    weft_safetensors header;
} wi_checkpoint_file;

struct weft_checkpoint {
    char *directory;
    wi_checkpoint_file *file; // [files]
    int files;
    weft_tensor_entry *tensor; // [count], by name; names are owned by the files' headers
    size_t count;
    uint64_t bytes;
};

#endif
