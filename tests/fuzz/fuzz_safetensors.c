// A whole file, whose first 8 bytes are the length of its header; and the bytes as a header before some data.
#include "model/safetensors.h"
#include "tests/fuzz/fuzz.h"

// What a reader would do with the entries: they lie inside the file and do not overlap.
static void walk(const weft_safetensors *file, uint64_t bytes)
{
    uint64_t end = 0;
    for (size_t i = 0; i < file->count; i++) {
        const weft_tensor_entry *e = &file->at[i];
        if (e->offset < end || e->offset > bytes || e->bytes > bytes - e->offset || !e->name) abort();
        end = e->offset + e->bytes;
    }
    if (file->count && end != bytes) abort();
}

static void parse(const char *header, size_t header_bytes, uint64_t file_bytes)
{
    weft_safetensors file = {0};
    if (weft_safetensors_parse(header, header_bytes, file_bytes, "fuzz.safetensors", &file) == WEFT_OK)
        walk(&file, file_bytes);
    weft_safetensors_fini(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char first[8] = {0};
    size_t header = 0;
    memcpy(first, data, size < sizeof first ? size : sizeof first);
    if (weft_safetensors_length(first, size, "fuzz.safetensors", &header) == WEFT_OK)
        parse((const char *)data + sizeof first, header, size);
    if (size > 2) parse((const char *)data + 2, size - 2, 8 + size - 2 + (uint64_t)(data[0] | data[1] << 8));
    return 0;
}
