// The tree over the leaves of log-sum-exp, log-probabilities, and changes of logits before sampling: a thread for each
// number, a few hundred at most. Bound by their launch.
#include "kernels/cuda/rows.cuh"

#include "kernels/cuda/math.cuh"

enum { THREADS = 256, LEVELS = 6 };

static __device__ __forceinline__ weft_lse join(weft_lse x, weft_lse y)
{
    if (y.max == -wi_infinity() && y.sum == 0.0F) return x;
    if (x.max == -wi_infinity() && x.sum == 0.0F) return y;
    const float max = x.max > y.max ? x.max : y.max;
    const float left = x.sum * wi_exp(x.max - max), right = y.sum * wi_exp(y.max - max);
    weft_lse joined;
    joined.max = max;
    joined.sum = left + right;
    return joined;
}

// The subtrees that wait for their partner are in registers, one a level; who has none goes up as it is.
static __device__ __forceinline__ weft_lse tree_of(const weft_lse *in, unsigned leaves)
{
    weft_lse waiting[LEVELS], x = in[0];
    for (unsigned i = 0; i < leaves; i++) {
        bool carried = true;
        x = in[i];
#pragma unroll
        for (int level = 0; level < LEVELS; level++) {
            if (carried && (i >> level & 1))
                x = join(waiting[level], x);
            else if (carried)
                waiting[level] = x, carried = false;
        }
    }
    bool begun = false;
#pragma unroll
    for (int level = 0; level < LEVELS; level++) {
        if (!(leaves >> level & 1)) continue;
        x = begun ? join(waiting[level], x) : waiting[level];
        begun = true;
    }
    return x;
}

// A row's result may lie where another row has its leaves, as long as that is an earlier one: so the rows of a block
// are read before any is written, and only one block runs then.
static __global__ void __launch_bounds__(THREADS)
    lse_trees(const weft_lse *in, unsigned leaves, size_t rows, weft_lse *out)
{
    for (size_t first = (size_t)blockIdx.x * THREADS; first < rows; first += (size_t)gridDim.x * THREADS) {
        const size_t row = first + threadIdx.x;
        weft_lse x = {0, 0};
        if (row < rows) x = tree_of(in + row * leaves, leaves);
        __syncthreads();
        if (row < rows) out[row] = x;
        __syncthreads();
    }
}

void wi_cuda_lse_tree(const weft_op *op, const weft_lse *in, size_t leaves, size_t rows, weft_lse *out)
{
    const bool apart = out + rows <= in || in + rows * leaves <= out;
    if (rows == 0) return;
    wi_launch(op, "lse_tree", lse_trees, dim3(apart ? wi_grid_of(rows, THREADS) : 1), dim3(THREADS), 0, in,
              (unsigned)leaves, rows, out);
}

static __global__ void logprobs(weft_logits a, const weft_lse *lse, const int32_t *ids, size_t each, float *out)
{
    const size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x, row = i / each;
    if (row >= a.rows) return;
    const int64_t at = (int64_t)ids[i] - a.first;
    if (at < 0 || (uint64_t)at >= a.width) return;
    out[i] = (a.at[row * a.stride + (size_t)at] - lse[row].max) - wi_log(lse[row].sum);
}

void wi_cuda_logprob(const weft_op *op, const weft_logits *logits, const weft_lse *lse, const int32_t *ids, size_t each,
                     float *out)
{
    const size_t count = logits->rows * each;
    if (count == 0) return;
    wi_launch(op, "logprob", logprobs, dim3(wi_grid_of(count, THREADS)), dim3(THREADS), 0, *logits, lse,
              wi_arrived(op, ids, count), each, out);
}

static __global__ void penalize_some(weft_penalty a)
{
    const size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= a.seen_count) return;
    const int64_t at = (int64_t)a.seen[i].id - a.first;
    if (at < 0 || (uint64_t)at >= a.width) return;
    float x = a.logits[at];
    x = x > 0.0F ? x / a.repetition : x * a.repetition;
    x -= a.frequency * (float)a.seen[i].count;
    if (a.seen[i].count > 0) x -= a.presence;
    a.logits[at] = x;
}

void wi_cuda_penalize(const weft_op *op, const weft_penalty *args)
{
    weft_penalty a = *args;
    if (a.seen_count == 0) return;
    a.seen = wi_arrived(op, args->seen, args->seen_count);
    wi_launch(op, "penalize", penalize_some, dim3(wi_grid_of(a.seen_count, THREADS)), dim3(THREADS), 0, a);
}

// An id may come several times: the thread of the first time adds for all, in their order.
static __global__ void bias_some(float *logits, size_t width, int32_t first, const weft_bias *biases, size_t count)
{
    const size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count) return;
    const int32_t id = biases[i].id;
    const int64_t at = (int64_t)id - first;
    if (at < 0 || (uint64_t)at >= width) return;
    for (size_t j = 0; j < i; j++)
        if (biases[j].id == id) return;
    float x = logits[at];
    for (size_t j = i; j < count; j++)
        if (biases[j].id == id) x += biases[j].add;
    logits[at] = x;
}

void wi_cuda_bias(const weft_op *op, float *logits, size_t width, int32_t first, const weft_bias *biases, size_t count)
{
    if (count == 0) return;
    wi_launch(op, "bias", bias_some, dim3(wi_grid_of(count, THREADS)), dim3(THREADS), 0, logits, width, first,
              wi_arrived(op, biases, count), count);
}
