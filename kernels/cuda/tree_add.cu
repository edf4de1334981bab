// Sums by the binary tree. A thread takes a column, or four at 16 bytes: eight arrays are read at once and added to one
// subtree; the subtrees that wait for their partner lie in registers, one a level of the tree, as the bits of how many
// arrays came so far say. Which of them are there is the same for all threads. Bound by memory.
#include "kernels/cuda/rows.cuh"

#include "kernels/cuda/row.cuh"

enum { THREADS = 256, TOGETHER = 8, LOW = 3, LEVELS = 11 }; // 2^LOW arrays at once; n is up to 2^(LEVELS - 1)

template <int N> static __device__ __forceinline__ wi_floats<N> sum_of(wi_floats<N> x, const wi_floats<N> &y)
{
#pragma unroll
    for (int j = 0; j < N; j++) x.at[j] += y.at[j];
    return x;
}

// What two neighbours make: who has no partner goes up as it is.
template <int N>
static __device__ __forceinline__ void join(wi_floats<N> &x, bool &there, const wi_floats<N> &y, bool other)
{
    if (there && other)
        x = sum_of<N>(x, y);
    else if (other)
        x = y;
    there = there || other;
}

// The subtree over in[0..8), of which those before n are there unless they are NULL.
template <int N>
static __device__ __forceinline__ wi_floats<N> eight_of(const float *const *in, int n, size_t at, bool &there)
{
    wi_floats<N> x[TOGETHER];
    bool is[TOGETHER];
#pragma unroll
    for (int i = 0; i < TOGETHER; i++) {
        const float *from = i < n ? in[i] : NULL;
        is[i] = from != NULL;
        if (is[i]) x[i] = wi_read<N>(from + at);
    }
#pragma unroll
    for (int step = 1; step < TOGETHER; step *= 2)
#pragma unroll
        for (int i = 0; i < TOGETHER; i += 2 * step) join<N>(x[i], is[i], x[i + step], is[i + step]);
    there = is[0];
    return x[0];
}

template <int N>
static __global__ void __launch_bounds__(THREADS) add_eight(float *out, const float *const *in, int n, size_t count)
{
    const size_t at = ((size_t)blockIdx.x * THREADS + threadIdx.x) * N;
    bool there;
    if (at >= count) return;
    const wi_floats<N> x = eight_of<N>(in, n, at, there);
    if (there) wi_write<N>(out + at, x);
}

template <int N>
static __global__ void __launch_bounds__(THREADS) add_many(float *out, const float *const *in, int n, size_t count)
{
    const size_t at = ((size_t)blockIdx.x * THREADS + threadIdx.x) * N;
    wi_floats<N> waiting[LEVELS], x;
    bool is[LEVELS], there = false;
    if (at >= count) return;
    for (int i = 0; i < n; i += TOGETHER) {
        bool carried = true;
        x = eight_of<N>(in + i, n - i, at, there);
#pragma unroll
        for (int level = LOW; level < LEVELS; level++) {
            if (carried && (i >> level & 1)) {
                join<N>(waiting[level], is[level], x, there);
                x = waiting[level], there = is[level];
            } else if (carried) {
                waiting[level] = x, is[level] = there;
                carried = false;
            }
        }
    }
    // What waits now has nothing behind it but what waits below.
    const int subtrees = (n + TOGETHER - 1) / TOGETHER;
    there = false;
#pragma unroll
    for (int level = LOW; level < LEVELS; level++) {
        if (!(subtrees >> (level - LOW) & 1)) continue;
        join<N>(waiting[level], is[level], x, there);
        x = waiting[level], there = is[level];
    }
    if (there) wi_write<N>(out + at, x);
}

void wi_cuda_tree_add(const weft_op *op, float *out, const float *const *in, int n, size_t count)
{
    bool fours = wi_at16(out) && count % 4 == 0;
    for (int i = 0; i < n; i++) fours = fours && wi_at16(in[i]);
    const float *const *from = wi_arrived(op, in, (size_t)n);
    const dim3 grid(wi_grid_of(count, THREADS * (fours ? 4 : 1))), block(THREADS);
    if (n <= TOGETHER && fours)
        wi_launch(op, "tree_add", add_eight<4>, grid, block, 0, out, from, n, count);
    else if (n <= TOGETHER)
        wi_launch(op, "tree_add", add_eight<1>, grid, block, 0, out, from, n, count);
    else if (fours)
        wi_launch(op, "tree_add", add_many<4>, grid, block, 0, out, from, n, count);
    else
        wi_launch(op, "tree_add", add_many<1>, grid, block, 0, out, from, n, count);
}
