// What the files of sums share.
#ifndef WEFT_PARALLEL_SUM_IMPL_H
#define WEFT_PARALLEL_SUM_IMPL_H

#include "parallel/room.h"
#include "parallel/sum.h"

enum { WI_LINE_FLOATS = 16 };

struct weft_sum {
    weft_kernels kernels;
    weft_comm *comm;
    weft_mesh_times *times;
    weft_device *device;
    bool devices, ordered;               // devices add; they order its channels
    weft_sum_places *places;             // [size]
    int tree;                            // places in all
    int arrays;                          // the most that one rank gives
    weft_channel *small;                 // ALLGATHER of all arrays of a rank: one-shot
    weft_channel *give[WEFT_SUM_ARRAYS]; // ALLTOALL of slices of the i-th array of each rank
    weft_channel *share;                 // ALLGATHER of the slices' sums
    int share_depth;
    size_t width, dealt_from; // floats of a row; the least of a sum that is dealt, or SIZE_MAX
    int64_t piece_rows;
    // of the sum under way
    bool two_shot, dealt;
    size_t count;
    uint64_t aside; // ticks of this thread for what is none of the exchange's
    weft_exchange given[WEFT_SUM_ARRAYS], shared;
    int pieces;
    weft_exchange flying[WEFT_ROW_PIECES][WEFT_SUM_ARRAYS];
    wi_room result;         // one-shot: the sum
    const float **in;       // [tree] pointers for tree_add
    const float **part;     // [size] of the result
    size_t *begin;          // [size + 1]
    size_t *offset, *bytes; // [size] of each rank's slice
};

// Waits for what the peers give; tells the mesh's times.
weft_status wi_sum_end(weft_sum *sum, weft_exchange *exchange);
// Array `index` of this rank, as it was cut, if it gives so many.
weft_status wi_sum_give(weft_sum *sum, weft_exchange *exchange, int index);
// Where array `index` of each rank lies in the views, at its place.
void wi_sum_take_arrays(weft_sum *sum, const weft_exchange *exchange, int index, size_t offset);
// Floats [begin, end) of the sum of the arrays at sum->in, and what `finish` says, to `out`.
void wi_sum_add(weft_sum *sum, const weft_sum_finish *finish, size_t begin, size_t end, float *out);
// The other ranks' slices, to where the whole sum is wanted.
void wi_sum_copy_parts(weft_sum *sum, const weft_sum_finish *finish);
// Whole rows, each on to what follows it.
void wi_sum_add_rows(weft_sum *sum, const weft_sum_finish *finish, weft_range rows, float *out);

// RMSNorm of rows that are summed, to where and as `norm` says.
static inline void wi_norm_sums(const weft_op *op, const weft_norm *norm, const float *sums, size_t stride, size_t rows,
                                size_t width)
{
    weft_norm of = *norm;
    of.in = sums;
    of.add = NULL;
    of.in_stride = stride;
    of.rows = rows;
    of.heads = 1;
    of.width = width;
    op->table->rows.norm(op, &of);
}

#endif
