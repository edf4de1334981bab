// What RMSNorm and what has it behind it share: pieces of a row are staged in shared memory, sixteen threads walk their
// lanes over them, and all write what comes out.
#ifndef WEFT_KERNELS_CUDA_NORM_CUH
#define WEFT_KERNELS_CUDA_NORM_CUH

#include "kernels/cuda/row.cuh"

static __device__ __forceinline__ size_t wi_norm_place_of(const weft_norm &a, size_t p, size_t stride)
{
    return p / a.heads * stride + (a.heads > 1 ? p % a.heads * a.head_stride : 0);
}

static __device__ __forceinline__ float wi_norm_factor_of(const weft_norm &a, float squares)
{
    return 1.0F / sqrtf(squares / (float)a.width + a.eps);
}

static __device__ __forceinline__ float wi_norm_outcome(const weft_norm &a, float x, float factor, float weight)
{
    const float w = a.one_plus ? 1.0F + weight : weight;
    return wi_rounded_to(wi_rounded_to(x * factor, a.before) * w, a.after);
}

// The sum of squares of the lane of each of the first sixteen threads, over the next piece.
static __device__ __forceinline__ float wi_norm_walk(const float *held, size_t n, float sum)
{
    if (threadIdx.x < WI_LANES) {
#pragma unroll 16
        for (size_t i = threadIdx.x; i < n; i += WI_LANES) sum = fmaf(held[i], held[i], sum);
    }
    return sum;
}

// From those sums, for all threads of the block to have.
static __device__ __forceinline__ float wi_norm_shared_factor(const weft_norm &a, float sum)
{
    __shared__ float shared;
    if (threadIdx.x < WI_WARP) {
        const float factor = wi_norm_factor_of(a, wi_lanes_sum(sum));
        if (threadIdx.x == 0) shared = factor;
    }
    __syncthreads();
    return shared;
}

template <int N, int THREADS>
static __device__ __forceinline__ void wi_norm_finish(const weft_norm &a, size_t to, const float *x, size_t at,
                                                      size_t n, float factor)
{
#pragma unroll 2
    for (size_t i = threadIdx.x * N; i < n; i += THREADS * N) {
        const wi_floats<N> v = wi_read<N>(x + i);
        wi_floats<N> w, y;
        if (a.weight) w = wi_read<N>(a.weight + at + i);
#pragma unroll
        for (int j = 0; j < N; j++) y.at[j] = wi_norm_outcome(a, v.at[j], factor, a.weight ? w.at[j] : 1.0F);
        if (a.halves) {
            wi_halves<N> half;
#pragma unroll
            for (int j = 0; j < N; j++) half.at[j] = wi_bf16_of_normal(y.at[j]);
            *(wi_halves<N> *)(a.halves + to + at + i) = half;
        } else {
            wi_write<N>(a.out + to + at + i, y);
        }
    }
}

#endif
