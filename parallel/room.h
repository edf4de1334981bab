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
void wi_room_give(wi_room *room); // accepts a zeroed one

// What one of the team's threads computes by: the op without its team; of a device, which has none, the op itself.
static inline weft_op wi_op_alone(const weft_op *op, const weft_kernels *kernels)
{
    return op && op->stream ? *op : (weft_op){.table = kernels};
}

// to[i] = from[i], in the op's order.
static inline void wi_copy_floats(const weft_op *op, float *to, const float *from, size_t count)
{
    op->table->rows.convert(op, to, WEFT_F32, from, WEFT_F32, count);
}

// Rows of `width` floats from stride to stride.
static inline void wi_copy_rows(const weft_op *op, float *to, size_t to_stride, const float *from, size_t from_stride,
                                size_t rows, size_t width)
{
    if (rows == 0 || width == 0) return;
    op->table->rows.gather(op, &(weft_move){.out = to,
                                            .out_stride = to_stride * sizeof *to,
                                            .in = from,
                                            .in_stride = from_stride * sizeof *from,
                                            .rows = rows,
                                            .bytes = width * sizeof *to});
}

#endif
