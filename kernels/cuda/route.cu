// The router of a mixture of experts. A warp takes a row: scores, ranks and the groups' scores lie in shared memory,
// who is taken in registers: bit j of lane l is expert 32 j + l. Bound by k rounds over the experts.
#include "kernels/cuda/rows.cuh"

#include "kernels/cuda/key.cuh"
#include "kernels/cuda/math.cuh"

enum { WARPS = 4, THREADS = WARPS * WI_WARP };

static __device__ __forceinline__ unsigned my_lane(void) { return threadIdx.x % WI_WARP; }

// Takes the best that is not taken: of equals the lowest, where all are -inf the lowest too.
static __device__ __forceinline__ uint32_t take(const float *ranks, unsigned count, uint32_t taken)
{
    const unsigned lane = my_lane();
    uint64_t best = 0;
    for (unsigned i = lane, j = 0; i < count; i += WI_WARP, j++) {
        const uint64_t key = taken >> j & 1 ? 0 : wi_key(ranks[i], i);
        best = key > best ? key : best;
    }
    const uint32_t id = wi_key_id(wi_warp_first(best));
    return id % WI_WARP == lane ? taken | 1U << id / WI_WARP : taken;
}

// e^(x - max) of n numbers in place, the largest being of those that are not NaN.
static __device__ __forceinline__ void soften(float *x, unsigned n)
{
    float max = -wi_infinity();
    for (unsigned i = my_lane(); i < n; i += WI_WARP) max = x[i] > max ? x[i] : max;
    max = wi_warp_max(max);
    const float shift = max == -wi_infinity() ? 0.0F : max;
    for (unsigned i = my_lane(); i < n; i += WI_WARP) x[i] = wi_exp_below(x[i] - shift);
    __syncwarp();
}

static __device__ __forceinline__ void values_of(const weft_route &a, const float *scores, float *values)
{
    const unsigned n = (unsigned)a.experts;
    for (unsigned i = my_lane(); i < n; i += WI_WARP) {
        const float x = scores[i];
        values[i] = a.kind == WEFT_ROUTE_SIGMOID ? 1.0F / (1.0F + wi_exp(0.0F - x)) : x;
    }
    if (a.kind != WEFT_ROUTE_SOFTMAX) return;
    soften(values, n);
    float sum = 0; // both halves of the warp walk the same lanes
    for (unsigned i = my_lane() % WI_LANES; i < n; i += WI_LANES) sum += values[i];
    const float factor = 1.0F / wi_lanes_sum(sum);
    __syncwarp();
    for (unsigned i = my_lane(); i < n; i += WI_WARP) values[i] *= factor;
}

// Only the best groups stay in the running; a group's score is the sum of its two best.
static __device__ __forceinline__ void limit_groups(const weft_route &a, float *ranks, float *scores)
{
    const unsigned groups = (unsigned)a.groups, each = (unsigned)a.experts / groups;
    uint32_t kept = 0;
    for (unsigned g = my_lane(); g < groups; g += WI_WARP) {
        float first = -wi_infinity(), second = first;
        for (unsigned i = g * each; i < (g + 1) * each; i++) {
            const float x = ranks[i];
            second = x > first ? first : x > second ? x : second;
            first = x > first ? x : first;
        }
        const float score = each > 1 ? first + second : first;
        scores[g] = score == score ? score : -wi_infinity();
    }
    for (unsigned i = 0; i < (unsigned)a.groups_kept; i++) kept = take(scores, groups, kept);
    for (unsigned g = my_lane(), j = 0; g < groups; g += WI_WARP, j++) scores[g] = (float)(kept >> j & 1);
    __syncwarp();
    for (unsigned i = my_lane(); i < (unsigned)a.experts; i += WI_WARP)
        if (scores[i / each] == 0.0F) ranks[i] = -wi_infinity();
    __syncwarp();
}

// The ids of the taken, ascending, and their values.
static __device__ __forceinline__ void list_taken(const weft_route &a, uint32_t taken, const float *values,
                                                  int32_t *ids, float *list)
{
    const unsigned lane = my_lane();
    unsigned before = 0;
    for (unsigned j = 0; j * WI_WARP < (unsigned)a.experts; j++) {
        const bool mine = taken >> j & 1;
        const unsigned all = __ballot_sync(WI_EVERYONE, mine);
        const unsigned at = before + (unsigned)__popc(all & ((1U << lane) - 1));
        if (mine) {
            ids[at] = (int32_t)(j * WI_WARP + lane);
            list[at] = values[j * WI_WARP + lane];
        }
        before += (unsigned)__popc(all);
    }
    __syncwarp();
}

static __global__ void __launch_bounds__(THREADS) route_rows(weft_route a)
{
    const size_t row = (size_t)blockIdx.x * WARPS + threadIdx.x / WI_WARP;
    const unsigned n = (unsigned)a.experts, k = (unsigned)a.k;
    float *values = (float *)wi_shared() + (size_t)(threadIdx.x / WI_WARP) * 3 * n, *ranks = values + n;
    float *scores = ranks + n, *list = ranks, sum = 0;
    uint32_t taken = 0;
    if (row >= a.rows) return;
    values_of(a, a.scores + row * a.stride, values);
    for (unsigned i = my_lane(); i < n; i += WI_WARP) {
        const float v = a.bias ? values[i] + a.bias[i] : values[i];
        ranks[i] = v == v ? v : -wi_infinity();
    }
    __syncwarp();
    if (a.groups > 1) limit_groups(a, ranks, scores);
    for (unsigned j = 0; j < k; j++) taken = take(ranks, n, taken);
    __syncwarp();
    list_taken(a, taken, values, a.ids + row * k, list);
    if (a.kind == WEFT_ROUTE_SELECTED) soften(list, k);
    for (unsigned j = 0; j < k; j++) sum += list[j];
    if (a.kind == WEFT_ROUTE_SIGMOID) sum += 1e-20F;
    const bool divide = a.normalize || a.kind == WEFT_ROUTE_SELECTED;
    for (unsigned j = my_lane(); j < k; j += WI_WARP)
        a.weights[row * k + j] = (divide ? list[j] / sum : list[j]) * a.scale;
}

void wi_cuda_route(const weft_op *op, const weft_route *args)
{
    wi_launch(op, "route", route_rows, dim3(wi_grid_of(args->rows, WARPS)), dim3(THREADS),
              WARPS * 3 * args->experts * sizeof(float), *args);
}
