// Memory that ops write: the host's, or that of the device that computes. Inside parallel/ only.
#ifndef WEFT_PARALLEL_ROOM_H
#define WEFT_PARALLEL_ROOM_H

#include "core/device.h"
#include "kernels/kernels.h"

typedef struct {
    float *at; // aligned to 64
    size_t bytes;
    weft_device *device; // NULL: the host
} wi_room;

weft_status wi_room_take(weft_device *device, size_t bytes, const char *what, wi_room *out);
size_t wi_room_bytes(size_t bytes); // that one of so many takes
void wi_room_give(wi_room *room);   // accepts a zeroed one

// What one of the team's threads computes by: the op without its team; of a device, which has none, the op itself.
static inline weft_op wi_op_alone(const weft_op *op, const weft_kernels *kernels)
{
    return op && op->stream ? *op : (weft_op){.table = kernels};
}

#endif
