// What the row ops on the device share: pieces of a row in one access, sums by the sixteen lanes, and how a grid covers
// rows. Lane i of a sum takes the elements i, i + 16, ...: a chain of one addition after the other, which sixteen
// threads walk while the others have loaded; such a walk takes four cycles an element of its lane.
#ifndef WEFT_KERNELS_CUDA_ROW_CUH
#define WEFT_KERNELS_CUDA_ROW_CUH

#include "kernels/cuda/convert.cuh"

enum {
    WI_LANES = 16,
    WI_PIECE = 8192, // floats of a row that a block holds in shared memory
};
static constexpr unsigned WI_EVERYONE = 0xffffffff; // the mask of a whole warp

template <int N> struct alignas(4 * N) wi_floats {
    float at[N];
};
template <int N> struct alignas(2 * N) wi_halves {
    uint16_t at[N];
};
template <int N> static __device__ __forceinline__ wi_floats<N> wi_read(const float *p)
{
    return *(const wi_floats<N> *)p;
}
template <int N> static __device__ __forceinline__ void wi_write(float *p, wi_floats<N> x) { *(wi_floats<N> *)p = x; }

// Whether accesses of 16 bytes fit; a pointer that is NULL does.
static inline bool wi_at16(const void *p) { return (uintptr_t)p % 16 == 0; }
static inline bool wi_rows_at16(const void *p, size_t stride) { return !p || (wi_at16(p) && stride % 4 == 0); }

// The x of the grid counts rows, its y pieces of a row; wi_row_item and wi_items walk the items of a row, one a thread.
static inline unsigned wi_row_threads(size_t items, unsigned most)
{
    return items >= most ? most : items <= WI_WARP ? (unsigned)WI_WARP : (unsigned)(items + 31) / 32 * 32;
}
static inline dim3 wi_row_grid(size_t rows, size_t items, unsigned threads)
{
    const size_t pieces = (items + threads - 1) / threads;
    return dim3((unsigned)rows, (unsigned)(pieces < 65535 ? pieces : 65535));
}
static __device__ __forceinline__ size_t wi_row_item(void) { return (size_t)blockIdx.y * blockDim.x + threadIdx.x; }
static __device__ __forceinline__ size_t wi_items(void) { return (size_t)gridDim.y * blockDim.x; }

// The sixteen lanes of each half of a warp, added as the contract says, for all sixteen to have.
static __device__ __forceinline__ float wi_lanes_sum(float x)
{
    for (int half = WI_LANES / 2; half > 0; half /= 2) x += __shfl_xor_sync(WI_EVERYONE, x, half);
    return x;
}

// The largest of a warp, for all to have. NaN must not come; which of two zeros it is does not matter to the callers.
static __device__ __forceinline__ float wi_warp_max(float x)
{
    for (int half = WI_WARP / 2; half > 0; half /= 2) {
        const float y = __shfl_xor_sync(WI_EVERYONE, x, half);
        x = y > x ? y : x;
    }
    return x;
}

// The largest of a block of whole warps, for all to have. `room` is of 32 floats in shared memory and is free again
// behind the next barrier.
static __device__ __forceinline__ float wi_block_max(float x, float *room)
{
    const unsigned warps = blockDim.x / WI_WARP, lane = threadIdx.x % WI_WARP;
    x = wi_warp_max(x);
    if (lane == 0) room[threadIdx.x / WI_WARP] = x;
    __syncthreads();
    return wi_warp_max(lane < warps ? room[lane] : room[0]);
}

// An id, or the drawn one that it stands for (weft_embed).
static __device__ __forceinline__ int32_t wi_id_of(int32_t given, const weft_choice *drawn)
{
    return given < 0 && drawn ? drawn[-1 - given].id : given;
}

#endif
