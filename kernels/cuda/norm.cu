// RMSNorm. Narrow pieces (heads): one on sixteen threads, a lane of the sum each, in registers. Wider ones: a block
// each, which reads the piece once, 16 bytes a thread, holds it in shared memory, lets sixteen threads walk their lanes
// and writes what comes out. Many rows are bound by memory: while one block walks, others on its multiprocessor read. A
// few rows are bound by the walk: width / 16 steps of four cycles.
#include "kernels/cuda/rows.cuh"

#include "kernels/cuda/norm.cuh"

enum { NARROW = 128, NARROW_THREADS = 128, MIDDLE = 1024 };

// Lane threadIdx.x % 16 of piece p: elements lane + 16 j, in registers.
template <int COUNT> static __global__ void __launch_bounds__(NARROW_THREADS) norm_narrow(weft_norm a)
{
    const size_t p = ((size_t)blockIdx.x * NARROW_THREADS + threadIdx.x) / WI_LANES;
    const int lane = (int)(threadIdx.x % WI_LANES), left = p < a.rows * a.heads ? (int)a.width - lane : 0;
    const size_t place = left > 0 ? p : 0;
    const float *from = a.in + wi_norm_place_of(a, place, a.in_stride) + lane;
    float x[COUNT], sum = 0;
#pragma unroll
    for (int j = 0; j < COUNT; j++) x[j] = 16 * j < left ? from[16 * j] : 0.0F;
    if (a.add) {
        const float *add = a.add + wi_norm_place_of(a, place, a.add_stride) + lane;
        float *kept = a.sum + wi_norm_place_of(a, place, a.sum_stride) + lane;
#pragma unroll
        for (int j = 0; j < COUNT; j++)
            if (16 * j < left) kept[16 * j] = x[j] += add[16 * j];
    }
#pragma unroll
    for (int j = 0; j < COUNT; j++) sum = fmaf(x[j], x[j], sum); // what is not there adds nothing
    const float factor = wi_norm_factor_of(a, wi_lanes_sum(sum));
    const size_t to = wi_norm_place_of(a, place, a.out_stride) + (size_t)lane;
#pragma unroll
    for (int j = 0; j < COUNT; j++) {
        if (16 * j >= left) break;
        const float y = wi_norm_outcome(a, x[j], factor, a.weight ? a.weight[lane + 16 * j] : 1.0F);
        if (a.halves)
            a.halves[to + 16 * j] = wi_bf16_of_normal(y);
        else
            a.out[to + 16 * j] = y;
    }
}

// The elements [at, at + n) of a piece come into shared memory, summed where something is added.
template <int N, int THREADS>
static __device__ __forceinline__ void stage(float *held, const float *in, const float *add, float *kept, size_t n)
{
#pragma unroll 4
    for (size_t i = threadIdx.x * N; i < n; i += THREADS * N) {
        wi_floats<N> x = wi_read<N>(in + i);
        if (add) {
            const wi_floats<N> y = wi_read<N>(add + i);
#pragma unroll
            for (int j = 0; j < N; j++) x.at[j] += y.at[j];
            wi_write<N>(kept + i, x);
        }
        wi_write<N>(held + i, x);
    }
}

template <int N, int THREADS> static __global__ void __launch_bounds__(THREADS) norm_wide(weft_norm a)
{
    float *held = (float *)wi_shared();
    const size_t p = blockIdx.x, to = wi_norm_place_of(a, p, a.out_stride);
    const float *in = a.in + wi_norm_place_of(a, p, a.in_stride);
    const float *add = a.add ? a.add + wi_norm_place_of(a, p, a.add_stride) : NULL;
    float *kept = a.add ? a.sum + wi_norm_place_of(a, p, a.sum_stride) : NULL;
    float sum = 0;
    for (size_t at = 0; at < a.width; at += WI_PIECE) {
        const size_t n = a.width - at < WI_PIECE ? a.width - at : (size_t)WI_PIECE;
        if (at > 0) __syncthreads();
        stage<N, THREADS>(held, in + at, add ? add + at : NULL, kept ? kept + at : NULL, n);
        __syncthreads();
        sum = wi_norm_walk(held, n, sum);
    }
    const float factor = wi_norm_shared_factor(a, sum);
    if (a.width <= WI_PIECE) {
        wi_norm_finish<N, THREADS>(a, to, held, 0, a.width, factor);
        return;
    }
    for (size_t at = 0; at < a.width; at += WI_PIECE) // each thread finds again what it has written itself
        wi_norm_finish<N, THREADS>(a, to, (kept ? kept : in) + at, at,
                                   a.width - at < WI_PIECE ? a.width - at : (size_t)WI_PIECE, factor);
}

static bool in_fours(const weft_norm *a)
{
    return a->width % 4 == 0 && (a->heads <= 1 || a->head_stride % 4 == 0) && wi_at16(a->weight) &&
           wi_rows_at16(a->in, a->in_stride) && wi_rows_at16(a->add, a->add_stride) &&
           wi_rows_at16(a->add ? a->sum : NULL, a->sum_stride) &&
           wi_rows_at16(a->halves ? (const void *)a->halves : a->out, a->out_stride);
}

void wi_cuda_norm(const weft_op *op, const weft_norm *args)
{
    const size_t pieces = args->rows * args->heads, width = args->width;
    if (pieces == 0) return;
    if (width <= NARROW) {
        const dim3 grid(wi_grid_of(pieces, NARROW_THREADS / WI_LANES)), block(NARROW_THREADS);
        if (width <= NARROW / 2)
            wi_launch(op, "norm", norm_narrow<NARROW / WI_LANES / 2>, grid, block, 0, *args);
        else
            wi_launch(op, "norm", norm_narrow<NARROW / WI_LANES>, grid, block, 0, *args);
        return;
    }
    const dim3 grid((unsigned)pieces);
    const size_t shared = (width < WI_PIECE ? width : (size_t)WI_PIECE) * sizeof(float);
    if (width <= MIDDLE && in_fours(args))
        wi_launch(op, "norm", norm_wide<4, 64>, grid, dim3(64), shared, *args);
    else if (width <= MIDDLE)
        wi_launch(op, "norm", norm_wide<1, 64>, grid, dim3(64), shared, *args);
    else if (in_fours(args))
        wi_launch(op, "norm", norm_wide<4, 256>, grid, dim3(256), shared, *args);
    else
        wi_launch(op, "norm", norm_wide<1, 256>, grid, dim3(256), shared, *args);
}
