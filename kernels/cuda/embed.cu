// Rows of a packed weight. A thread takes one element: what it reads stands alone where the layout has the rows side by
// side, so a sector of 32 bytes is fetched for a few of them. Bound by those fetches.
#include "kernels/cuda/rows.cuh"

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/row.cuh"

static __global__ void embed_rows(weft_gemm_weight w, weft_embed a)
{
    const size_t row = blockIdx.x;
    const int64_t at = (int64_t)wi_id_of(a.ids[row], a.drawn) - a.first;
    const bool held = at >= 0 && at < w.n;
    if (a.held && wi_row_item() == 0) a.held[row] = held;
    if (!held) return;
    for (size_t k = wi_row_item(); k < (size_t)w.k; k += wi_items())
        a.out[row * a.out_stride + k] = wi_element(w, (size_t)at, k) * a.scale;
}

void wi_cuda_embed(const weft_op *op, const weft_embed *args)
{
    if (args->rows == 0) return;
    const unsigned threads = wi_row_threads((size_t)args->in->k, 256);
    weft_embed a = *args;
    a.ids = wi_arrived(op, args->ids, args->rows);
    wi_launch(op, "embed", embed_rows, wi_row_grid(args->rows, (size_t)args->in->k, threads), dim3(threads), 0,
              *args->in, a);
}
