// Which rows go to which expert, and the sum of what the experts return.
#include "kernels/cuda/rows.cuh"

#include "kernels/cuda/row.cuh"

enum { THREADS = 256, GROUP_THREADS = 512, GROUP_EACH = 8 };

// What stands in the threads before this one; `all` is the sum over the block.
static __device__ __forceinline__ unsigned block_before(unsigned x, unsigned *room, unsigned *all)
{
    const unsigned warps = blockDim.x / WI_WARP, warp = threadIdx.x / WI_WARP, lane = threadIdx.x % WI_WARP;
    unsigned sum = x, before = 0, total = 0;
    for (unsigned by = 1; by < WI_WARP; by *= 2) {
        const unsigned lower = __shfl_up_sync(WI_EVERYONE, sum, by);
        sum += lane >= by ? lower : 0;
    }
    __syncthreads();
    if (lane == WI_WARP - 1) room[warp] = sum;
    __syncthreads();
    for (unsigned w = 0; w < warps; w++) {
        before += w < warp ? room[w] : 0;
        total += room[w];
    }
    *all = total;
    return before + sum - x;
}

// A block takes an expert: counts what belongs to those before it, then gives its own their places, ascending, a thread
// eight ids in a row at a time. All blocks read all ids twice, from the caches: bound by experts times ids. What
// belongs to nobody here is told by the blocks in turn.
static __global__ void __launch_bounds__(GROUP_THREADS) group_expert(weft_route_group a)
{
    __shared__ unsigned room[GROUP_THREADS / WI_WARP];
    const size_t all = a.rows * a.k;
    const int64_t expert = blockIdx.x;
    unsigned lower = 0, at, count;
    if (a.experts > 0) {
#pragma unroll 4
        for (size_t i = threadIdx.x; i < all; i += blockDim.x) {
            const int64_t e = (int64_t)a.ids[i] - a.first;
            lower += e >= 0 && e < expert;
        }
    }
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < all; i += (size_t)gridDim.x * blockDim.x) {
        const int64_t e = (int64_t)a.ids[i] - a.first;
        if (e < 0 || e >= (int64_t)a.experts) a.place[i] = -1;
    }
    block_before(lower, room, &at);
    if (expert == 0 && threadIdx.x == 0) a.offsets[0] = 0;
    if (a.experts == 0) return;
    for (size_t begin = 0; begin < all; begin += (size_t)blockDim.x * GROUP_EACH) {
        const size_t first = begin + threadIdx.x * (size_t)GROUP_EACH;
        unsigned mine = 0;
#pragma unroll
        for (unsigned j = 0; j < GROUP_EACH; j++)
            if (first + j < all && (int64_t)a.ids[first + j] - a.first == expert) mine |= 1U << j;
        unsigned place = at + block_before((unsigned)__popc(mine), room, &count);
        for (; mine; mine &= mine - 1, place++) {
            const size_t i = first + (size_t)__popc((mine & (0U - mine)) - 1);
            a.place[i] = (int32_t)place;
            a.row_of[place] = (int32_t)(i / a.k);
        }
        at += count;
    }
    if (threadIdx.x == 0) a.offsets[expert + 1] = (int32_t)at;
}

void wi_cuda_group(const weft_op *op, const weft_route_group *args)
{
    weft_route_group a = *args;
    const unsigned threads = wi_row_threads(a.rows * a.k / GROUP_EACH, GROUP_THREADS);
    a.ids = wi_arrived(op, args->ids, args->rows * args->k);
    wi_launch(op, "group", group_expert, dim3(a.experts ? (unsigned)a.experts : 1), dim3(threads), 0, a);
}

// A thread takes a column, or four at 16 bytes. Bound by memory.
template <int N> static __global__ void __launch_bounds__(THREADS) combine_rows(weft_combine a)
{
    const size_t row = blockIdx.x;
    const int32_t *place = a.place + row * a.k;
    const float *weights = a.weights + row * a.k;
    for (size_t i = wi_row_item() * N; i < a.width; i += wi_items() * N) {
        wi_floats<N> sum = {};
        bool begun = false;
#pragma unroll 4
        for (size_t j = 0; j < a.k; j++) {
            if (place[j] < 0) continue;
            wi_floats<N> x = wi_read<N>(a.in + (size_t)place[j] * a.in_stride + i);
            if (a.bias) {
                const float *bias = a.bias + (size_t)a.ids[row * a.k + j] * a.bias_stride + i;
#pragma unroll
                for (int c = 0; c < N; c++) x.at[c] += bias[c];
            }
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
    a.ids = wi_arrived(op, args->ids, args->rows * args->k);
    if (fours)
        wi_launch(op, "combine", combine_rows<4>, wi_row_grid(a.rows, items, threads), dim3(threads), 0, a);
    else
        wi_launch(op, "combine", combine_rows<1>, wi_row_grid(a.rows, items, threads), dim3(threads), 0, a);
}
