// Sums by the binary tree. A thread takes a column, or four at 16 bytes: eight arrays are read at once and added to one
// subtree; the subtrees that wait for their partner lie in registers, one a level of the tree, as the bits of how many
// arrays came so far say. Which of them are there is the same for all threads. Bound by memory.
#include "kernels/cuda/rows.cuh"

#include "kernels/cuda/tree.cuh"

enum { THREADS = 256, LOW = 3, LEVELS = 11 }; // WI_TREE_TOGETHER is 2^LOW; n is up to 2^(LEVELS - 1)

template <int N>
static __global__ void __launch_bounds__(THREADS) add_eight(float *out, const float *const *in, int n, size_t count)
{
    const size_t at = ((size_t)blockIdx.x * THREADS + threadIdx.x) * N;
    bool there;
    if (at >= count) return;
    const wi_floats<N> x = wi_tree_eight<N>(in, n, at, there);
    if (there) wi_write<N>(out + at, x);
}

template <int N>
static __global__ void __launch_bounds__(THREADS) add_many(float *out, const float *const *in, int n, size_t count)
{
    const size_t at = ((size_t)blockIdx.x * THREADS + threadIdx.x) * N;
    wi_floats<N> waiting[LEVELS], x;
    bool is[LEVELS], there = false;
    if (at >= count) return;
    for (int i = 0; i < n; i += WI_TREE_TOGETHER) {
        bool carried = true;
        x = wi_tree_eight<N>(in + i, n - i, at, there);
#pragma unroll
        for (int level = LOW; level < LEVELS; level++) {
            if (carried && (i >> level & 1)) {
                wi_tree_join<N>(waiting[level], is[level], x, there);
                x = waiting[level], there = is[level];
            } else if (carried) {
                waiting[level] = x, is[level] = there;
                carried = false;
            }
        }
    }
    // What waits now has nothing behind it but what waits below.
    const int subtrees = (n + WI_TREE_TOGETHER - 1) / WI_TREE_TOGETHER;
    there = false;
#pragma unroll
    for (int level = LOW; level < LEVELS; level++) {
        if (!(subtrees >> (level - LOW) & 1)) continue;
        wi_tree_join<N>(waiting[level], is[level], x, there);
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
    if (n <= WI_TREE_TOGETHER && fours)
        wi_launch(op, "tree_add", add_eight<4>, grid, block, 0, out, from, n, count);
    else if (n <= WI_TREE_TOGETHER)
        wi_launch(op, "tree_add", add_eight<1>, grid, block, 0, out, from, n, count);
    else if (fours)
        wi_launch(op, "tree_add", add_many<4>, grid, block, 0, out, from, n, count);
    else
        wi_launch(op, "tree_add", add_many<1>, grid, block, 0, out, from, n, count);
}
