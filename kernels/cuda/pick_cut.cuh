// The key up to which something is kept, by a block. Few keys are listed and sorted; of many it is found eight bits at
// a time, from the highest, by what each value of them weighs, the row being read again each time.
#ifndef WEFT_KERNELS_CUDA_PICK_CUT_CUH
#define WEFT_KERNELS_CUDA_PICK_CUT_CUH

#include "kernels/cuda/pick.cuh"

typedef enum { WI_KEYS_OF_BUCKET, WI_KEYS_FROM } wi_pick_keys; // those of one bucket, or from a key on

// What a block finds out about its row.
typedef struct {
    wi_pick_row row;
    float max, factor;
    unsigned bucket; // WI_KEYS_OF_BUCKET
    uint64_t least;  // WI_KEYS_FROM
} wi_pick_at;

typedef struct {
    uint64_t list[WI_LIST];
    uint64_t tally[WI_TALLY];
    wi_crossing_room crossing;
    float room[WI_WARP];
    unsigned listed;
} wi_pick_block;

// Whether a group holds anything that is asked for, by its largest.
template <wi_pick_keys KEYS> static __device__ __forceinline__ bool wi_group_matters(const wi_pick_at &at, float top)
{
    if (top == -wi_infinity()) return false;
    return KEYS == WI_KEYS_OF_BUCKET ? wi_pick_bucket(top, at.max, at.factor) <= at.bucket : wi_key(top, 0) >= at.least;
}

// A logit's key; 0 where it is not asked for.
template <wi_pick_keys KEYS> static __device__ __forceinline__ uint64_t wi_key_asked(const wi_pick_at &at, size_t i)
{
    const float x = wi_pick_load(at.row, i);
    if (x == -wi_infinity()) return 0;
    const uint64_t key = wi_key(x, (uint32_t)i);
    if (KEYS == WI_KEYS_OF_BUCKET) return wi_pick_bucket(x, at.max, at.factor) == at.bucket ? key : 0;
    return key >= at.least ? key : 0;
}

// Adds what each value of the eight bits at `shift` weighs among the keys that begin as `prefix`; the highest first.
// What goes to one place comes together where the first lane's does.
template <wi_pick_keys KEYS, bool MASS>
static __device__ __forceinline__ void wi_tally(const wi_pick_at &at, wi_pick_block *block, int shift, uint64_t prefix)
{
    const unsigned lane = threadIdx.x % WI_WARP;
    for (unsigned g = threadIdx.x / WI_WARP; g < at.row.groups; g += blockDim.x / WI_WARP) {
        if (!wi_group_matters<KEYS>(at, at.row.tops[g])) continue;
        for (size_t j = 0; j < WI_GROUP_EACH; j++) {
            const uint64_t key = wi_key_asked<KEYS>(at, (size_t)g * WI_GROUP + j * WI_WARP + lane);
            const bool counts = key != 0 && (shift == 56 || key >> (shift + 8) == prefix >> (shift + 8));
            const float x = wi_key_value(key);
            const uint64_t weight = !counts ? 0
                                    : MASS  ? wi_pick_mass(wi_pick_weight(x, at.max, at.factor))
                                            : (uint64_t)1;
            const unsigned digit = 255 - ((unsigned)(key >> shift) & 255), common = __shfl_sync(WI_EVERYONE, digit, 0);
            const bool shared = digit == common;
            const uint64_t sum = wi_warp_sum(shared ? weight : 0);
            const uint64_t mine = lane == 0 ? sum : shared ? 0 : weight;
            if (mine > 0) atomicAdd((unsigned long long *)&block->tally[digit], (unsigned long long)mine);
        }
    }
}

// The first in rank with which the keys weigh `limit` (at least 1) together; 0 where they do not.
template <wi_pick_keys KEYS, bool MASS>
static __device__ __forceinline__ uint64_t wi_select(const wi_pick_at &at, wi_pick_block *block, uint64_t limit)
{
    uint64_t prefix = 0;
    for (int shift = 56; shift >= 0; shift -= 8) {
        __syncthreads();
        for (unsigned i = threadIdx.x; i < WI_TALLY; i += blockDim.x) block->tally[i] = 0;
        __syncthreads();
        wi_tally<KEYS, MASS>(at, block, shift, prefix);
        __syncthreads();
        uint64_t before;
        const unsigned bin = wi_crossing(block->tally, WI_TALLY, limit, &before, &block->crossing);
        if (bin == WI_TALLY) return 0;
        limit -= before;
        prefix |= (uint64_t)(255 - bin) << shift;
    }
    return prefix;
}

// Lists the keys that are asked for, in any order, as far as there is room; returns how many there are.
template <wi_pick_keys KEYS>
static __device__ __forceinline__ unsigned wi_list(const wi_pick_at &at, wi_pick_block *block, uint64_t *list,
                                                   unsigned most)
{
    const unsigned lane = threadIdx.x % WI_WARP;
    __syncthreads();
    if (threadIdx.x == 0) block->listed = 0;
    __syncthreads();
    for (unsigned g = threadIdx.x / WI_WARP; g < at.row.groups; g += blockDim.x / WI_WARP) {
        if (!wi_group_matters<KEYS>(at, at.row.tops[g])) continue;
        for (size_t j = 0; j < WI_GROUP_EACH; j++) {
            const uint64_t key = wi_key_asked<KEYS>(at, (size_t)g * WI_GROUP + lane + j * WI_WARP);
            const unsigned votes = __ballot_sync(WI_EVERYONE, key != 0);
            if (votes == 0) continue;
            unsigned place = 0;
            if (lane == 0) place = atomicAdd(&block->listed, (unsigned)__popc(votes));
            place = __shfl_sync(WI_EVERYONE, place, 0) + (unsigned)__popc(votes & ((1U << lane) - 1));
            if (key && place < most) list[place] = key;
        }
    }
    __syncthreads();
    return block->listed;
}

static __device__ __forceinline__ unsigned wi_power_from(unsigned n)
{
    unsigned power = 1;
    while (power < n) power *= 2;
    return power;
}

// Sorts keys, the largest first; there is room for a power of two of them.
static __device__ __forceinline__ void wi_sort(uint64_t *keys, unsigned count)
{
    const unsigned all = wi_power_from(count);
    for (unsigned i = count + threadIdx.x; i < all; i += blockDim.x) keys[i] = 0;
    for (unsigned whole = 2; whole <= all; whole *= 2)
        for (unsigned apart = whole / 2; apart > 0; apart /= 2) {
            __syncthreads();
            for (unsigned i = threadIdx.x; i < all / 2; i += blockDim.x) {
                const unsigned low = 2 * i - i % apart, high = low + apart;
                const uint64_t x = keys[low], y = keys[high];
                if ((x < y) != ((low & whole) != 0)) keys[low] = y, keys[high] = x;
            }
        }
    __syncthreads();
}

#endif
