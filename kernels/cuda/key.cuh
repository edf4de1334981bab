// A number and where it stands as one integer: ordered as the ranks of kernels/pick.h are, the first in rank is the
// largest. Both zeros are one. No number's key is 0; a NaN has none.
#ifndef WEFT_KERNELS_CUDA_KEY_CUH
#define WEFT_KERNELS_CUDA_KEY_CUH

#include "kernels/cuda/row.cuh"

static __device__ __forceinline__ uint32_t wi_ordered(float x)
{
    const uint32_t bits = wi_bits_of_float(x + 0.0F);
    return bits >> 31 ? ~bits : bits | 0x80000000;
}
static __device__ __forceinline__ float wi_unordered(uint32_t order)
{
    return wi_float_of_bits(order >> 31 ? order & 0x7fffffff : ~order);
}
static __device__ __forceinline__ uint64_t wi_key(float x, uint32_t id) { return (uint64_t)wi_ordered(x) << 32 | ~id; }
static __device__ __forceinline__ uint32_t wi_key_id(uint64_t key) { return ~(uint32_t)key; }
static __device__ __forceinline__ float wi_key_value(uint64_t key) { return wi_unordered((uint32_t)(key >> 32)); }

// The largest of a warp, for all to have.
static __device__ __forceinline__ uint64_t wi_warp_first(uint64_t key)
{
    for (int half = WI_WARP / 2; half > 0; half /= 2) {
        const uint64_t other = __shfl_xor_sync(WI_EVERYONE, (unsigned long long)key, half);
        key = other > key ? other : key;
    }
    return key;
}

// The largest of a block of whole warps, for all to have. `room` is of 32 in shared memory and is free again behind the
// next barrier.
static __device__ __forceinline__ uint64_t wi_block_first(uint64_t key, uint64_t *room)
{
    const unsigned warps = blockDim.x / WI_WARP, lane = threadIdx.x % WI_WARP;
    key = wi_warp_first(key);
    if (lane == 0) room[threadIdx.x / WI_WARP] = key;
    __syncthreads();
    return wi_warp_first(lane < warps ? room[lane] : 0);
}

// Of n numbers whose largest is zero: the one of the two zeros that the lanes of `ref` come to
// (kernels/cpu/reduce.inc). By one whole warp. Four vectors of sixteen go side by side there; of equals the earlier one
// stays inside a lane of a vector, then the later vector wins, then the upper lane, the lowest bit last.
static __device__ __forceinline__ float wi_zero_of(const float *x, size_t n)
{
    uint64_t key = 0;
    for (size_t i = threadIdx.x % WI_WARP; i < n; i += WI_WARP) {
        if (x[i] != 0.0F) continue;
        const uint32_t lane = (uint32_t)(i % 16), vector = i < n / 64 * 64 ? (uint32_t)(i % 64 / 16) : 0;
        const uint32_t upper = (lane & 1) << 3 | (lane & 2) << 1 | (lane & 4) >> 1 | lane >> 3;
        const uint64_t other = (uint64_t)(upper << 2 | vector) << 32 | ~(uint32_t)i;
        key = other > key ? other : key;
    }
    return x[wi_key_id(wi_warp_first(key))];
}

#endif
