// Which ids a part of the vocabulary has. A thread takes one. Bound by the launch.
#include "kernels/cuda/rows.cuh"

#include "kernels/cuda/row.cuh"

enum { THREADS = 256 };

static __global__ void sift_ids(weft_sift a)
{
    const size_t row = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (row >= a.rows) return;
    const int64_t at = (int64_t)wi_id_of(a.ids[row], a.drawn) - a.first;
    a.out[row] = at >= 0 && at < a.count ? a.place[row] : -1;
}

void wi_cuda_sift(const weft_op *op, const weft_sift *args)
{
    weft_sift a = *args;
    if (a.rows == 0) return;
    a.ids = wi_arrived(op, args->ids, args->rows);
    a.place = wi_arrived(op, args->place, args->rows);
    wi_launch(op, "sift", sift_ids, dim3(wi_grid_of(a.rows, THREADS)), dim3(THREADS), 0, a);
}
