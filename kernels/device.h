// A device with kernels of its own: CUDA's. It comes as a plug-in, so that a build that has it starts on a machine
// without a driver. `emulated` is the same code compiled for the host, thread by thread: slow, for tests alone, built
// with them and never installed.
//
// Where memory lies. All that an op writes, all floats and all packed weights are the device's memory, from its alloc.
// What describes the work may be the host's or the device's: index arrays that an op reads (ids, positions, spans,
// requests and their block lists, settings of sampling): the op takes a copy before it returns. Arrays of pointers
// (those of sampling's settings and masks, and tree_add's inputs) are the host's.
//
// Ops are ordered by op->stream and return before they are done. They cannot fail, as ops on the host; what goes wrong
// on the device is kept and told by the device's sync, with the name of the op.
#ifndef WEFT_KERNELS_DEVICE_H
#define WEFT_KERNELS_DEVICE_H

#include "core/device.h"
#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char *kind;               // "cuda", "emulated"
    weft_status (*count)(int *out); // devices; a driver that fails says why
    weft_status (*open)(int index, weft_device **device, weft_kernels *table, void **stream);
    // Memory that host and device both reach, for tests. Freed by the second.
    weft_status (*alloc_shared)(weft_device *device, size_t bytes, void **out);
    void (*free_shared)(weft_device *device, void *memory);
    // Where it is plugged in, "0000:1b:00.0"; "" where it is nowhere.
    weft_status (*bus)(int index, char bus[16]);
    // Adds the family BLAS to the device's table. NOT_FOUND with the loader's words where cuBLASLt is not installed.
    weft_status (*open_blas)(weft_device *device, weft_kernels *table);
} weft_device_kind;

// The kind with that name, cuda or emulated, and how many devices there are: at least one, else NOT_FOUND. USAGE for
// another name.
weft_status weft_device_kind_find(const char *name, const weft_device_kind **out, int *count);

// Opens the plug-in of a kind. NOT_FOUND where it was not built or its driver is not there.
weft_status weft_device_kind_open(const char *kind, const weft_device_kind **out);

#ifdef __cplusplus
}
#endif
#endif
