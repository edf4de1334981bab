// GEMM by cuBLASLt, for --numerics fast: the library's product of bf16 rows, and after it the epilogue where it is more
// than a residual.
#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/stream.cuh"

enum { FINISH_THREADS = 256 };

// Sums (rows, stride) to rows from `first` on. A thread finishes one column of a row. Grid: columns by rows. Bound by
// the bytes of sums and results.
static __global__ void __launch_bounds__(FINISH_THREADS)
    finish_rows(const wi_gemm_task t, const float *sums, size_t stride, int64_t first, int64_t rows)
{
    const int64_t column = (int64_t)blockIdx.x * FINISH_THREADS + threadIdx.x;
    if (column >= t.columns) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        const float *from = sums + (size_t)row * stride + (t.gate ? column / 8 * 16 + column % 8 : column);
        t.out[0][(size_t)(first + row) * t.out_stride + (size_t)column] =
            wi_gemm_finished(t, t.bias, first + row, column, from[0], t.gate ? from[8] : 0.0F);
    }
}

static void multiply_finished(const weft_op *op, const wi_gemm_task &t, const weft_gemm_weight *w, wi_blas_product p)
{
    const wi_gemm_blas_scratch room = wi_gemm_blas_scratch_of(w, t.m);
    float *sums = (float *)(void *)((unsigned char *)op->scratch + room.sums_at);
    const uint16_t *rows = p.a;
    p.n = w->panels * WEFT_GEMM_PANEL;
    p.out = sums;
    p.out_stride = (size_t)p.n;
    p.add = NULL;
    for (int64_t first = 0; first < t.m; first += WI_BLAS_ROWS) {
        const int64_t left = t.m - first;
        p.m = left < WI_BLAS_ROWS ? left : (int64_t)WI_BLAS_ROWS;
        p.a = rows + (size_t)first * p.a_stride;
        wi_blas_multiply(op, &p);
        const dim3 grid(wi_grid_of((size_t)t.columns, FINISH_THREADS), (unsigned)p.m);
        wi_launch(op, "gemm: epilogue", finish_rows, grid, dim3(FINISH_THREADS), 0, t, (const float *)sums,
                  p.out_stride, first, p.m);
    }
}

// A root is the product over the columns of its leaves, which follow each other.
void wi_cuda_gemm_blas(const weft_op *op, const weft_gemm_weight *w, const weft_gemm_args *args)
{
    if (args->m < 1) return;
    const wi_gemm_task t = wi_gemm_task_of(op, w, args);
    const wi_gemm_activations a = wi_gemm_round(op, w, args, NULL);
    const uint16_t *weight = (const uint16_t *)(const void *)w->data;
    wi_blas_product p = {};
    p.m = t.m;
    p.n = w->columns;
    p.w_stride = (size_t)w->padded;
    p.a_stride = a.stride;
    p.out_stride = t.out_stride;
    p.add_stride = t.residual_stride;
    p.workspace = (unsigned char *)op->scratch + wi_gemm_blas_scratch_of(w, t.m).workspace_at;
    int64_t begin = 0;
    for (int l = 0; l < w->leaves; l++) {
        if (t.leaf[l].root < 0) continue;
        const int64_t end = l + 1 < w->leaves ? w->leaf[l + 1].at : w->padded;
        p.w = weight + begin;
        p.a = a.rows + begin;
        p.k = end - begin;
        p.out = t.out[t.leaf[l].root];
        p.add = t.whole ? t.residual : NULL;
        if (t.gate || (t.whole && (t.bias || t.addend || t.act != WEFT_ACT_NONE)))
            multiply_finished(op, t, w, p);
        else
            wi_blas_multiply(op, &p);
        begin = end;
    }
}
