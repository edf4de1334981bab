// Rows by index. A thread moves 16 bytes, or what the alignment of all rows allows. Bound by memory.
#include "kernels/cuda/rows.cuh"

#include "kernels/cuda/row.cuh"

// Where `index` is NULL each row is its own. `scattered`: the index is of `out`, else of `in`.
template <typename T> static __global__ void move_rows(weft_move a, bool scattered)
{
    const size_t row = blockIdx.x;
    const int64_t at = a.index ? a.index[row] : (int64_t)row;
    if (at < 0) return;
    const T *in = (const T *)((const unsigned char *)a.in + (scattered ? row : (size_t)at) * a.in_stride);
    T *out = (T *)((unsigned char *)a.out + (scattered ? (size_t)at : row) * a.out_stride);
    for (size_t i = wi_row_item(); i < a.bytes / sizeof(T); i += wi_items()) out[i] = in[i];
}

static void move(const weft_op *op, const char *name, const weft_move *args, bool scattered)
{
    weft_move a = *args;
    const size_t odd = (size_t)((uintptr_t)a.out | (uintptr_t)a.in) | a.out_stride | a.in_stride | a.bytes;
    const size_t word = odd % 16 == 0 ? 16 : odd % 4 == 0 ? 4 : 1, words = a.bytes / word;
    const unsigned threads = wi_row_threads(words, 256);
    const dim3 grid = wi_row_grid(a.rows, words, threads);
    if (a.index) a.index = wi_arrived(op, a.index, a.rows);
    if (word == 16)
        wi_launch(op, name, move_rows<uint4>, grid, dim3(threads), 0, a, scattered);
    else if (word == 4)
        wi_launch(op, name, move_rows<uint32_t>, grid, dim3(threads), 0, a, scattered);
    else
        wi_launch(op, name, move_rows<uint8_t>, grid, dim3(threads), 0, a, scattered);
}

void wi_cuda_gather(const weft_op *op, const weft_move *args)
{
    if (args->rows > 0) move(op, "gather", args, false);
}

void wi_cuda_scatter(const weft_op *op, const weft_move *args)
{
    if (args->rows > 0) move(op, "scatter", args, true);
}

void wi_cuda_copy(const weft_op *op, void *out, const void *in, size_t bytes)
{
    const weft_move whole = {out, 0, in, 0, NULL, 1, bytes};
    move(op, "copy", &whole, false);
}
