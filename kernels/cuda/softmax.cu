// Row softmax, the largest of a row, log-sum-exp by leaves. A block takes a row, or a leaf of one: all threads look for
// the largest and compute the exponentials, sixteen of them walk the lanes of the sum over what lies in shared memory.
// A row of a vocabulary is bound by what one multiprocessor reads from the L2, rows that many blocks share by memory.
#include "kernels/cuda/rows.cuh"

#include "kernels/cuda/key.cuh"
#include "kernels/cuda/math.cuh"

enum { MOST = 1024, BLOCK = 256 }; // the CPU's argmax goes by blocks of that many

static unsigned threads_for(size_t width) { return wi_row_threads((width + 7) / 8, MOST); }
static size_t shared_for(size_t width) { return (width < WI_PIECE ? width : (size_t)WI_PIECE) * sizeof(float); }

// -inf where there is none; NaN counts for nothing.
static __device__ __forceinline__ float largest(const float *x, size_t n, float *room)
{
    float max = -wi_infinity();
#pragma unroll 8
    for (size_t i = threadIdx.x; i < n; i += blockDim.x) max = x[i] > max ? x[i] : max;
    return wi_block_max(max, room);
}

// The sum of e^(x - max) by lanes, for the first warp to have. The exponentials are in `held` where they are one piece,
// else in `out`, if there is one.
static __device__ __forceinline__ float sum_of(float *held, float *out, const float *x, size_t n, float max)
{
    const float shift = max == -wi_infinity() ? 0.0F : max;
    float sum = 0;
    for (size_t at = 0; at < n; at += WI_PIECE) {
        const size_t part = n - at < WI_PIECE ? n - at : (size_t)WI_PIECE;
        if (at > 0) __syncthreads();
#pragma unroll 4
        for (size_t i = threadIdx.x; i < part; i += blockDim.x) {
            const float e = wi_exp_below(x[at + i] - shift);
            held[i] = e;
            if (out && n > WI_PIECE) out[at + i] = e;
        }
        __syncthreads();
        if (threadIdx.x < WI_LANES) {
#pragma unroll 16
            for (size_t i = threadIdx.x; i < part; i += WI_LANES) sum += held[i];
        }
    }
    return threadIdx.x < WI_WARP ? wi_lanes_sum(sum) : 0.0F;
}

static __global__ void __launch_bounds__(MOST)
    softmax_rows(float *out, size_t out_stride, const float *in, size_t in_stride, size_t width)
{
    __shared__ float room[WI_WARP], shared_factor;
    float *held = (float *)wi_shared(), *to = out + blockIdx.x * out_stride;
    const float *x = in + blockIdx.x * in_stride, max = largest(x, width, room);
    const float sum = sum_of(held, to, x, width, max);
    if (threadIdx.x == 0) shared_factor = sum == 0.0F ? 0.0F : 1.0F / sum;
    __syncthreads();
    const float factor = shared_factor, *from = width > WI_PIECE ? to : held;
#pragma unroll 4
    for (size_t i = threadIdx.x; i < width; i += blockDim.x) to[i] = from[i] * factor; // what this thread has written
}

void wi_cuda_softmax(const weft_op *op, float *out, size_t out_stride, const float *in, size_t in_stride, size_t rows,
                     size_t width)
{
    if (width == 0) return;
    wi_launch(op, "softmax", softmax_rows, dim3((unsigned)rows), dim3(threads_for(width)), shared_for(width), out,
              out_stride, in, in_stride, width);
}

// The grid's x counts rows, its y leaves.
static __global__ void __launch_bounds__(MOST)
    leaf_sums(const float *logits, size_t stride, const size_t *begin, weft_lse *out)
{
    __shared__ float room[WI_WARP];
    const size_t first = begin[blockIdx.y], n = begin[blockIdx.y + 1] - first;
    const float *x = logits + blockIdx.x * stride + first;
    const float max = largest(x, n, room), sum = sum_of((float *)wi_shared(), NULL, x, n, max);
    if (threadIdx.x >= WI_WARP) return;
    const float top = max == 0.0F ? wi_zero_of(x, n) : max;
    if (threadIdx.x == 0) {
        weft_lse *to = out + (size_t)blockIdx.x * gridDim.y + blockIdx.y;
        to->max = top;
        to->sum = sum;
    }
}

void wi_cuda_lse_leaves(const weft_op *op, const weft_logits *logits, const size_t *begin, size_t leaves, weft_lse *out)
{
    if (leaves == 0) return;
    const size_t width = logits->width / leaves + 1; // about that of a leaf
    wi_launch(op, "lse_leaves", leaf_sums, dim3((unsigned)logits->rows, (unsigned)leaves), dim3(threads_for(width)),
              shared_for(logits->width), logits->at, logits->stride, wi_arrived(op, begin, leaves + 1), out);
}

template <int N> static __global__ void __launch_bounds__(MOST) argmax_rows(weft_logits a, weft_choice *out)
{
    __shared__ uint64_t room[WI_WARP];
    const float *x = a.at + blockIdx.x * a.stride;
    float best = -wi_infinity();
    size_t at = 0;
    bool found = false;
#pragma unroll 4
    for (size_t i = threadIdx.x * N; i < a.width; i += blockDim.x * N) {
        const wi_floats<N> v = wi_read<N>(x + i);
#pragma unroll
        for (int j = 0; j < N; j++)
            if (v.at[j] > best) best = v.at[j], at = i + j, found = true;
    }
    const uint64_t key = wi_block_first(found ? wi_key(best, (uint32_t)at) : 0, room);
    if (threadIdx.x >= WI_WARP) return;
    const size_t first = key ? wi_key_id(key) : 0, block = first / BLOCK * BLOCK;
    float logit = key ? wi_key_value(key) : -wi_infinity();
    if (logit == 0.0F) logit = wi_zero_of(x + block, a.width - block < BLOCK ? a.width - block : (size_t)BLOCK);
    if (threadIdx.x == 0) {
        out[blockIdx.x].id = a.first + (int32_t)first;
        out[blockIdx.x].logit = logit;
    }
}

void wi_cuda_argmax(const weft_op *op, const weft_logits *logits, weft_choice *out)
{
    const dim3 grid((unsigned)logits->rows), block(threads_for(logits->width));
    if (logits->width % 4 == 0 && wi_rows_at16(logits->at, logits->stride))
        wi_launch(op, "argmax", argmax_rows<4>, grid, block, 0, *logits, out);
    else
        wi_launch(op, "argmax", argmax_rows<1>, grid, block, 0, *logits, out);
}
