// The binary tree over numbered arrays, eight at once: in registers.
#ifndef WEFT_KERNELS_CUDA_TREE_CUH
#define WEFT_KERNELS_CUDA_TREE_CUH

#include "kernels/cuda/row.cuh"

enum { WI_TREE_TOGETHER = 8 };

template <int N> static __device__ __forceinline__ wi_floats<N> wi_tree_sum(wi_floats<N> x, const wi_floats<N> &y)
{
#pragma unroll
    for (int j = 0; j < N; j++) x.at[j] += y.at[j];
    return x;
}

// What two neighbours make: who has no partner goes up as it is.
template <int N>
static __device__ __forceinline__ void wi_tree_join(wi_floats<N> &x, bool &there, const wi_floats<N> &y, bool other)
{
    if (there && other)
        x = wi_tree_sum<N>(x, y);
    else if (other)
        x = y;
    there = there || other;
}

// The subtree over in[0..8), of which those before n are there unless they are NULL.
template <int N>
static __device__ __forceinline__ wi_floats<N> wi_tree_eight(const float *const *in, int n, size_t at, bool &there)
{
    wi_floats<N> x[WI_TREE_TOGETHER];
    bool is[WI_TREE_TOGETHER];
#pragma unroll
    for (int i = 0; i < WI_TREE_TOGETHER; i++) {
        const float *from = i < n ? in[i] : NULL;
        is[i] = from != NULL;
        if (is[i]) x[i] = wi_read<N>(from + at);
    }
#pragma unroll
    for (int step = 1; step < WI_TREE_TOGETHER; step *= 2)
#pragma unroll
        for (int i = 0; i < WI_TREE_TOGETHER; i += 2 * step) wi_tree_join<N>(x[i], is[i], x[i + step], is[i + step]);
    there = is[0];
    return x[0];
}

#endif
