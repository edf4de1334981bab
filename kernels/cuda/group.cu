// Which rows go to which expert, and the sum of what the experts return.
#include "kernels/cuda/rows.cuh"

#include "kernels/cuda/row.cuh"

enum { THREADS = 256, WARPS = THREADS / WI_WARP };

// The sum over the block, for all to have.
static __device__ __forceinline__ unsigned block_sum(unsigned x, unsigned *room)
{
    for (int half = WI_WARP / 2; half > 0; half /= 2) x += __shfl_xor_sync(WI_EVERYONE, x, half);
    __syncthreads();
    if (threadIdx.x % WI_WARP == 0) room[threadIdx.x / WI_WARP] = x;
    __syncthreads();
    unsigned sum = 0;
    for (int w = 0; w < WARPS; w++) sum += room[w];
    return sum;
}

// A block takes an expert: counts what belongs to those before it, then gives its own their places, ascending. All
// blocks read all ids, from the caches: bound by experts times ids. What belongs to nobody here is told by the blocks
// in turn.
static __global__ void __launch_bounds__(THREADS) group_expert(weft_route_group a)
{
    __shared__ unsigned room[WARPS];
    const size_t all = a.rows * a.k;
    const int64_t expert = blockIdx.x;
    const unsigned warp = threadIdx.x / WI_WARP, lane = threadIdx.x % WI_WARP;
    unsigned lower = 0;
    for (size_t i = threadIdx.x, turn = 0; i < all; i += THREADS, turn++) {
        const int64_t e = (int64_t)a.ids[i] - a.first;
        lower += e >= 0 && e < expert;
        if ((e < 0 || e >= (int64_t)a.experts) && turn % gridDim.x == blockIdx.x) a.place[i] = -1;
    }
    unsigned at = block_sum(lower, room);
    if (a.experts == 0 || expert == 0) {
        if (threadIdx.x == 0) a.offsets[0] = 0;
        if (a.experts == 0) return;
    }
    for (size_t begin = 0; begin < all; begin += THREADS) {
        const size_t i = begin + threadIdx.x;
        const bool mine = i < all && (int64_t)a.ids[i] - a.first == expert;
        const unsigned votes = __ballot_sync(WI_EVERYONE, mine);
        __syncthreads();
        if (lane == 0) room[warp] = (unsigned)__popc(votes);
        __syncthreads();
        unsigned place = at + (unsigned)__popc(votes & ((1U << lane) - 1));
        for (unsigned w = 0; w < WARPS; w++) {
            place += w < warp ? room[w] : 0;
            at += room[w];
        }
        if (mine) {
            a.place[i] = (int32_t)place;
            a.row_of[place] = (int32_t)(i / a.k);
        }
    }
    if (threadIdx.x == 0) a.offsets[expert + 1] = (int32_t)at;
}

void wi_cuda_group(const weft_op *op, const weft_route_group *args)
{
    weft_route_group a = *args;
    a.ids = wi_arrived(op, args->ids, args->rows * args->k);
    wi_launch(op, "group", group_expert, dim3(a.experts ? (unsigned)a.experts : 1), dim3(THREADS), 0, a);
}

// A thread takes a column, or four at 16 bytes. Bound by memory.
template <int N> static __global__ void __launch_bounds__(THREADS) combine_rows(weft_combine a)
{
    const size_t row = blockIdx.x;
    const int32_t *place = a.place + row * a.k;
    const float *weights = a.weights + row * a.k;
    for (size_t i = wi_item() * N; i < a.width; i += wi_items() * N) {
        wi_floats<N> sum = {};
        bool begun = false;
#pragma unroll 4
        for (size_t j = 0; j < a.k; j++) {
            if (place[j] < 0) continue;
            const wi_floats<N> x = wi_read<N>(a.in + (size_t)place[j] * a.in_stride + i);
#pragma unroll
            for (int c = 0; c < N; c++) sum.at[c] = begun ? fmaf(weights[j], x.at[c], sum.at[c]) : weights[j] * x.at[c];
            begun = true;
        }
        wi_write<N>(a.out + row * a.out_stride + i, sum);
    }
}

void wi_cuda_combine(const weft_op *op, const weft_combine *args)
{
    weft_combine a = *args;
    const bool fours = a.width % 4 == 0 && wi_rows_at16(a.out, a.out_stride) && wi_rows_at16(a.in, a.in_stride);
    const size_t items = fours ? a.width / 4 : a.width;
    const unsigned threads = wi_row_threads(items, THREADS);
    if (a.rows == 0 || items == 0) return;
    a.place = wi_arrived(op, args->place, args->rows * args->k);
    if (fours)
        wi_launch(op, "combine", combine_rows<4>, wi_row_grid(a.rows, items, threads), dim3(threads), 0, a);
    else
        wi_launch(op, "combine", combine_rows<1>, wi_row_grid(a.rows, items, threads), dim3(threads), 0, a);
}
