#include "kernels/kernels.h"

void weft_copy_floats(const weft_op *op, float *to, const float *from, size_t count)
{
    if (count > 0) op->table->rows.convert(op, to, WEFT_F32, from, WEFT_F32, count);
}

void weft_copy_rows(const weft_op *op, float *to, size_t to_stride, const float *from, size_t from_stride, size_t rows,
                    size_t width)
{
    if (rows == 0 || width == 0) return;
    op->table->rows.gather(op, &(weft_move){.out = to,
                                            .out_stride = to_stride * sizeof *to,
                                            .in = from,
                                            .in_stride = from_stride * sizeof *from,
                                            .rows = rows,
                                            .bytes = width * sizeof *to});
}
