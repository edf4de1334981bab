// What top-k lists and sampling share on the device. A row of logits is cut into groups of 256. One launch, wide over
// the whole device, finds the largest of every group; later ones read only the groups that can matter. What is chosen
// is found by counting, never by the order in which threads come: counts and masses are whole numbers.
#ifndef WEFT_KERNELS_CUDA_PICK_CUH
#define WEFT_KERNELS_CUDA_PICK_CUH

#include "kernels/cuda/key.cuh"
#include "kernels/cuda/math.cuh"

enum {
    WI_GROUP = 256, // a warp's: eight logits a lane
    WI_GROUP_EACH = 8,
    WI_BUCKETS = 1024, // of depth below the largest, 1 / 32 in the exponent each
    WI_TALLY = 256,    // of eight bits of a key
    WI_LIST = 4096,    // keys that a block holds
    WI_TOPS_WARPS = 8, // groups of a block that reads the whole row
    WI_PICK_MOST = 1024
};

// What a row wants, as the device reads it.
typedef struct {
    const uint32_t *allowed; // or NULL
    uint64_t seed;
    float factor; // a weight is e^((x - max) * factor); below 0: the largest alone
    float top_p, least;
    uint32_t top_k, continuation; // 0: all
} wi_pick_how;

// One row in the memory that the launches hand on.
typedef struct {
    const float *x;
    const uint32_t *allowed;
    size_t width;
    unsigned groups;
    uint64_t *group_mass, *bucket_mass;
    uint32_t *bucket_count;
    float *tops;
    unsigned char *behind; // what is left
} wi_pick_row;

static __host__ __device__ __forceinline__ unsigned wi_pick_groups(size_t width)
{
    return (unsigned)((width + WI_GROUP - 1) / WI_GROUP);
}
static __host__ __device__ __forceinline__ size_t wi_pick_bytes(size_t width)
{
    const size_t groups = wi_pick_groups(width);
    return (groups * (sizeof(uint64_t) + sizeof(float)) + WI_BUCKETS * (sizeof(uint64_t) + sizeof(uint32_t)) + 63) /
           64 * 64;
}

static __device__ __forceinline__ wi_pick_row wi_pick_row_at(const weft_logits &logits, size_t which,
                                                             const uint32_t *allowed, unsigned char *memory)
{
    wi_pick_row row;
    row.x = logits.at + which * logits.stride;
    row.allowed = allowed;
    row.width = logits.width;
    row.groups = wi_pick_groups(logits.width);
    row.group_mass = (uint64_t *)memory;
    row.bucket_mass = row.group_mass + row.groups;
    row.bucket_count = (uint32_t *)(row.bucket_mass + WI_BUCKETS);
    row.tops = (float *)(row.bucket_count + WI_BUCKETS);
    row.behind = memory + wi_pick_bytes(logits.width);
    return row;
}

// A logit; -inf where it is none, not allowed or NaN.
static __device__ __forceinline__ float wi_pick_load(const wi_pick_row &row, size_t i)
{
    if (i >= row.width) return -wi_infinity();
    const float x = row.x[i];
    const bool allowed = !row.allowed || (row.allowed[i / 32] >> (i % 32) & 1);
    return allowed && x == x ? x : -wi_infinity();
}

// The largest of the row, for the whole block to have.
static __device__ __forceinline__ float wi_pick_max(const wi_pick_row &row, float *room)
{
    float max = -wi_infinity();
    for (unsigned g = threadIdx.x; g < row.groups; g += blockDim.x) max = row.tops[g] > max ? row.tops[g] : max;
    return wi_block_max(max, room);
}

// -inf weighs nothing; the depth is held finite so that a factor of 0 gives 0.
static __device__ __forceinline__ float wi_pick_weight(float x, float max, float factor)
{
    const float least = wi_float_of_bits(0xff7fffff), depth = x - max > least ? x - max : least;
    const float far = wi_exp(depth * factor);
    return x == max ? 1.0F : x == -wi_infinity() ? 0.0F : far;
}

// A weight as a whole number of 2^-44, to nearest even.
static __device__ __forceinline__ uint64_t wi_pick_mass(float weight)
{
    const double shifted = (double)weight * 0x1p44 + 0x1p52;
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return bits - 0x4330000000000000;
}

// Which bucket a logit falls into: it never grows with x.
static __device__ __forceinline__ unsigned wi_pick_bucket(float x, float max, float factor)
{
    const float depth = (max - x) * (factor * (WI_BUCKETS / 32));
    return x == max ? 0 : depth < WI_BUCKETS - 1 ? (unsigned)rintf(depth) : WI_BUCKETS - 1;
}

// The largest of each group of `rows` rows from `first` on, and empty buckets. `how` may be NULL. By tops.cu.
void wi_pick_tops(const weft_op *op, const char *name, const weft_logits *logits, size_t first, size_t rows,
                  const wi_pick_how *how, size_t row_bytes);

// ---- sums over many bins, by a block --------------------------------------------------------------------------------

typedef struct {
    uint64_t sums[WI_WARP];
    uint64_t before;
    unsigned bin;
} wi_crossing_room;

static __device__ __forceinline__ uint64_t wi_warp_sum(uint64_t x)
{
    for (int half = WI_WARP / 2; half > 0; half /= 2) x += __shfl_xor_sync(WI_EVERYONE, (unsigned long long)x, half);
    return x;
}

// What stands in the lanes before this one.
static __device__ __forceinline__ uint64_t wi_warp_before(uint64_t x)
{
    const unsigned lane = threadIdx.x % WI_WARP;
    uint64_t sum = x;
    for (unsigned by = 1; by < WI_WARP; by *= 2) {
        const uint64_t lower = __shfl_up_sync(WI_EVERYONE, (unsigned long long)sum, by);
        sum += lane >= by ? lower : 0;
    }
    return sum - x;
}

static __device__ __forceinline__ uint64_t wi_block_sum(uint64_t x, uint64_t *sums)
{
    const unsigned warps = blockDim.x / WI_WARP, lane = threadIdx.x % WI_WARP;
    x = wi_warp_sum(x);
    __syncthreads();
    if (lane == 0) sums[threadIdx.x / WI_WARP] = x;
    __syncthreads();
    return wi_warp_sum(lane < warps ? sums[lane] : 0);
}

// The first of `count` bins with which the sum reaches `limit`, and the sum before it; `count` where none does. For the
// whole block to have.
template <typename T>
static __device__ __forceinline__ unsigned wi_crossing(const T *bins, unsigned count, uint64_t limit, uint64_t *before,
                                                       wi_crossing_room *room)
{
    const unsigned warps = blockDim.x / WI_WARP, lane = threadIdx.x % WI_WARP, warp = threadIdx.x / WI_WARP;
    const unsigned each = (count + blockDim.x - 1) / blockDim.x, first = threadIdx.x * each;
    const unsigned end = first + each < count ? first + each : count;
    uint64_t sum = 0;
    for (unsigned i = first; i < end; i++) sum += bins[i];
    const uint64_t in_warp = wi_warp_before(sum);
    __syncthreads();
    if (lane == WI_WARP - 1) room->sums[warp] = in_warp + sum;
    if (threadIdx.x == 0) room->bin = count, room->before = 0;
    __syncthreads();
    const uint64_t of_warps = wi_warp_before(lane < warps ? room->sums[lane] : 0);
    uint64_t at = in_warp + __shfl_sync(WI_EVERYONE, (unsigned long long)of_warps, (int)warp);
    if (at < limit && limit <= at + sum) { // one thread at most
        unsigned i = first;
        for (; at + bins[i] < limit; i++) at += bins[i];
        room->bin = i;
        room->before = at;
    }
    __syncthreads();
    *before = room->before;
    return room->bin;
}

#endif
