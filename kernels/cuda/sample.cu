// Sampling. Three launches for a batch of rows: the largest of each group of logits; the mass of each group, or where
// something is filtered by rank how many logits and how much mass each bucket of depth holds, both over the whole
// device; then a block a row draws. A filter by rank finds its bucket by the sums, lists the bucket's keys and finds
// the one up to which tokens are kept; then the masses of the groups that hold any are added. All sums are of whole
// numbers, so the order in which blocks and threads come does not matter. The first two launches are bound by memory,
// the last by its steps: some microseconds without filters, some tens with them.
#include "kernels/cuda/rows.cuh"

#include "core/philox.h"
#include "kernels/cuda/pick_cut.cuh"

enum { BATCH = 256, THREADS = WI_TOPS_WARPS * WI_WARP };

static __device__ __forceinline__ bool by_rank(const wi_pick_how &how) { return how.top_k > 0 || how.top_p < 1.0F; }

// ---- masses over the whole device -----------------------------------------------------------------------------------

// What is in no bucket yet goes there: first in the block's own, for many fall into the same.
static __device__ __forceinline__ void fill_buckets(const wi_pick_row &row, const wi_pick_how &how, float max,
                                                    unsigned group, uint64_t *masses, uint32_t *counts)
{
    for (unsigned i = threadIdx.x; i < WI_BUCKETS; i += THREADS) masses[i] = counts[i] = 0;
    __syncthreads();
    for (unsigned j = 0; j < WI_GROUP_EACH && group < row.groups; j++) {
        const float x = wi_pick_load(row, (size_t)group * WI_GROUP + j * WI_WARP + threadIdx.x % WI_WARP);
        if (x == -wi_infinity()) continue;
        const uint64_t mass = wi_pick_mass(wi_pick_weight(x, max, how.factor));
        const unsigned bucket = wi_pick_bucket(x, max, how.factor);
        atomicAdd(&counts[bucket], 1U);
        if (mass > 0) atomicAdd((unsigned long long *)&masses[bucket], (unsigned long long)mass);
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < WI_BUCKETS; i += THREADS) {
        if (counts[i] == 0) continue;
        atomicAdd(&row.bucket_count[i], counts[i]);
        if (masses[i] > 0) atomicAdd((unsigned long long *)&row.bucket_mass[i], (unsigned long long)masses[i]);
    }
}

// The mass of what a group keeps, for the whole warp to have.
static __device__ __forceinline__ uint64_t group_mass(const wi_pick_row &row, const wi_pick_how &how, float max,
                                                      uint64_t cut, unsigned group)
{
    uint64_t sum = 0;
#pragma unroll
    for (unsigned j = 0; j < WI_GROUP_EACH; j++) {
        const size_t i = (size_t)group * WI_GROUP + j * WI_WARP + threadIdx.x % WI_WARP;
        const float x = wi_pick_load(row, i), w = wi_pick_weight(x, max, how.factor);
        if (w >= how.least && wi_key(x, (uint32_t)i) >= cut) sum += wi_pick_mass(w);
    }
    return wi_warp_sum(sum);
}

static __global__ void __launch_bounds__(THREADS)
    row_masses(weft_logits logits, size_t first, const wi_pick_how *hows, unsigned char *memory, size_t row_bytes)
{
    __shared__ uint64_t masses[WI_BUCKETS];
    __shared__ uint32_t counts[WI_BUCKETS];
    __shared__ float room[WI_WARP];
    const wi_pick_how how = hows[blockIdx.y];
    if (how.factor < 0) return; // the largest alone
    const wi_pick_row row = wi_pick_row_at(logits, first + blockIdx.y, how.allowed, memory + blockIdx.y * row_bytes);
    const unsigned group = blockIdx.x * WI_TOPS_WARPS + threadIdx.x / WI_WARP;
    const float max = wi_pick_max(row, room);
    if (by_rank(how)) {
        fill_buckets(row, how, max, group, masses, counts);
        return;
    }
    if (group >= row.groups) return;
    const uint64_t mass = row.tops[group] == -wi_infinity() ? 0 : group_mass(row, how, max, 0, group);
    if (threadIdx.x % WI_WARP == 0) row.group_mass[group] = mass;
}

// ---- a row's draw ---------------------------------------------------------------------------------------------------

// The upper half of a product: u * mass * 2^-64.
static __device__ __forceinline__ uint64_t point_of(uint64_t u, uint64_t mass)
{
    const uint64_t u1 = u >> 32, u0 = u & 0xffffffff, high = mass >> 32, low = mass & 0xffffffff;
    const uint64_t middle = u1 * low + (u0 * low >> 32), crossed = u0 * high + (middle & 0xffffffff);
    return u1 * high + (middle >> 32) + (crossed >> 32);
}

// The key up to which tokens are kept, where counts or masses reach `limit`; 0 where they do not.
template <bool MASS>
static __device__ __forceinline__ uint64_t cut_at(wi_pick_at &at, wi_pick_block *block, uint64_t limit)
{
    uint64_t before;
    const unsigned bucket = MASS ? wi_crossing(at.row.bucket_mass, WI_BUCKETS, limit, &before, &block->crossing)
                                 : wi_crossing(at.row.bucket_count, WI_BUCKETS, limit, &before, &block->crossing);
    if (bucket == WI_BUCKETS) return 0;
    at.bucket = bucket;
    limit -= before;
    if (at.row.bucket_count[bucket] > WI_LIST / 2) return wi_select<WI_KEYS_OF_BUCKET, MASS>(at, block, limit);
    const unsigned listed = wi_list<WI_KEYS_OF_BUCKET>(at, block, block->list, WI_LIST / 2);
    uint64_t *masses = block->list + WI_LIST / 2; // of the sorted
    wi_sort(block->list, listed);
    unsigned last = (unsigned)limit - 1;
    if constexpr (MASS) {
        for (unsigned i = threadIdx.x; i < listed; i += blockDim.x)
            masses[i] = wi_pick_mass(wi_pick_weight(wi_key_value(block->list[i]), at.max, at.factor));
        __syncthreads();
        last = wi_crossing(masses, listed, limit, &before, &block->crossing);
    }
    return block->list[last];
}

// Writes the masses of all groups down to a cut; returns their sum.
static __device__ __forceinline__ uint64_t kept_mass(const wi_pick_at &at, const wi_pick_how &how, uint64_t cut,
                                                     wi_pick_block *block)
{
    uint64_t sum = 0;
    for (unsigned g = threadIdx.x / WI_WARP; g < at.row.groups; g += blockDim.x / WI_WARP) {
        const float top = at.row.tops[g];
        const bool any = top > -wi_infinity() && (uint32_t)(cut >> 32) <= wi_ordered(top);
        const uint64_t mass = any ? group_mass(at.row, how, at.max, cut, g) : 0;
        if (threadIdx.x % WI_WARP == 0) {
            at.row.group_mass[g] = mass;
            sum += mass;
        }
    }
    return wi_block_sum(sum, block->crossing.sums); // a barrier too
}

// The key that top-k and top-p leave last; 0 where they leave all.
static __device__ __forceinline__ uint64_t rank_cut(wi_pick_at &at, wi_pick_how how, wi_pick_block *block)
{
    uint64_t cut = how.top_k > 0 ? cut_at<false>(at, block, how.top_k) : 0, all = 0;
    if (how.top_p < 1.0F) {
        how.least = 0;
        if (cut)
            all = kept_mass(at, how, cut, block);
        else
            for (unsigned i = threadIdx.x; i < WI_BUCKETS; i += blockDim.x) all += at.row.bucket_mass[i];
        if (!cut) all = wi_block_sum(all, block->crossing.sums);
        const uint64_t limit = (uint64_t)((double)how.top_p * (double)all);
        const uint64_t deeper = cut_at<true>(at, block, limit > 0 ? limit : 1);
        cut = deeper > cut ? deeper : cut;
    }
    return cut;
}

// The lowest id in a group with more than `point` of its mass at or below it, by the first warp. A lane has eight ids
// in a row.
static __device__ __forceinline__ void find_in_group(const wi_pick_at &at, const wi_pick_how &how, uint64_t cut,
                                                     unsigned group, uint64_t point, weft_choice *out, int32_t id)
{
    const size_t first = (size_t)group * WI_GROUP + threadIdx.x * WI_GROUP_EACH;
    uint64_t sum = 0, before = 0;
    for (int pass = 0; pass < 2; pass++) {
        uint64_t here = before;
        for (size_t i = first; i < first + WI_GROUP_EACH; i++) {
            const float x = wi_pick_load(at.row, i), w = wi_pick_weight(x, at.max, how.factor);
            const uint64_t mass = w >= how.least && wi_key(x, (uint32_t)i) >= cut ? wi_pick_mass(w) : 0;
            if (pass == 1 && here <= point && point < here + mass) { // for one thread and one id
                out->id = id + (int32_t)i;
                out->logit = at.row.x[i];
            }
            here += mass;
        }
        if (pass == 0) {
            sum = here;
            before = wi_warp_before(sum);
        }
    }
}

// The first id that has the largest logit.
static __device__ __forceinline__ void find_largest(const wi_pick_at &at, wi_pick_block *block, weft_choice *out,
                                                    int32_t id)
{
    uint64_t key = 0;
    for (unsigned g = threadIdx.x; g < at.row.groups; g += blockDim.x) {
        const uint64_t other = wi_key(at.row.tops[g], g);
        key = other > key ? other : key;
    }
    const unsigned group = wi_key_id(wi_block_first(key, block->tally));
    if (threadIdx.x >= WI_WARP) return;
    for (unsigned j = WI_GROUP_EACH; j-- > 0;) {
        const size_t i = (size_t)group * WI_GROUP + j * WI_WARP + threadIdx.x;
        const unsigned votes = __ballot_sync(WI_EVERYONE, wi_pick_load(at.row, i) == at.max);
        if (votes != 0 && threadIdx.x == 0) { // an earlier one follows, or none
            const size_t found = (size_t)group * WI_GROUP + j * WI_WARP + (size_t)__popc((votes & (0U - votes)) - 1);
            out->id = id + (int32_t)found;
            out->logit = at.row.x[found];
        }
    }
}

static __global__ void __launch_bounds__(WI_PICK_MOST, 1)
    draw_rows(weft_logits logits, size_t first, const wi_pick_how *hows, const uint64_t *position, weft_choice *all_out,
              unsigned char *memory, size_t row_bytes)
{
    wi_pick_block *block = (wi_pick_block *)wi_shared();
    const wi_pick_how how = hows[blockIdx.x];
    weft_choice *out = all_out + first + blockIdx.x;
    wi_pick_at at = {};
    at.row = wi_pick_row_at(logits, first + blockIdx.x, how.allowed, memory + blockIdx.x * row_bytes);
    at.factor = how.factor;
    at.max = wi_pick_max(at.row, block->room);
    if (at.max == -wi_infinity()) {
        if (threadIdx.x == 0) {
            out->id = -1;
            out->logit = -wi_infinity();
        }
        return;
    }
    if (how.factor < 0) {
        find_largest(at, block, out, logits.first);
        return;
    }
    uint64_t mass = 0, cut = 0, before;
    if (by_rank(how)) {
        cut = rank_cut(at, how, block);
        mass = kept_mass(at, how, cut, block);
    } else {
        for (unsigned g = threadIdx.x; g < at.row.groups; g += blockDim.x) mass += at.row.group_mass[g];
        mass = wi_block_sum(mass, block->crossing.sums);
    }
    const weft_philox4 drawn = weft_draw4(how.seed, how.continuation, position[blockIdx.x], WEFT_DRAW_SAMPLE);
    const uint64_t point = point_of((uint64_t)drawn.word[0] << 32 | drawn.word[1], mass);
    const unsigned group = wi_crossing(at.row.group_mass, at.row.groups, point + 1, &before, &block->crossing);
    if (threadIdx.x < WI_WARP && group < at.row.groups)
        find_in_group(at, how, cut, group, point - before, out, logits.first);
}

// ---- the host's side ------------------------------------------------------------------------------------------------

static wi_pick_how how_of(const weft_sampling *how, const uint32_t *allowed, size_t width)
{
    wi_pick_how row = {};
    const float factor = 1.0F / how->temperature;
    row.allowed = allowed;
    row.seed = how->seed;
    row.continuation = how->continuation;
    row.factor = !(how->temperature > 0) ? -1.0F : factor < 0x1p120F ? factor : 0x1p120F;
    row.top_p = how->top_p < 1 ? how->top_p : 1.0F;
    row.least = how->min_p > 0 ? (how->min_p < 1 ? how->min_p : 1.0F) : 0.0F;
    row.top_k = how->top_k > 0 && (size_t)how->top_k < width ? (uint32_t)how->top_k : 0;
    return row;
}

// Returns where the device finds the settings of some rows; NULL where there is no room.
static const wi_pick_how *settings_of(const weft_op *op, const weft_sample *a, size_t first, size_t rows, bool *drawn)
{
    const uint32_t *allowed[BATCH] = {};
    const void *device;
    for (size_t r = 0; r < rows && a->allowed; r++)
        allowed[r] = wi_arrived(op, a->allowed[first + r], (a->logits.width + 31) / 32);
    wi_pick_how *hows = (wi_pick_how *)wi_arrive_room(op, rows * sizeof *hows, &device);
    if (!hows) return NULL;
    for (size_t r = 0; r < rows; r++) {
        hows[r] = how_of(a->how[first + r], allowed[r], a->logits.width);
        *drawn = *drawn || hows[r].factor >= 0;
    }
    return (const wi_pick_how *)device;
}

void wi_cuda_sample(const weft_op *op, const weft_sample *args)
{
    const weft_logits *logits = &args->logits;
    const size_t row_bytes = wi_pick_bytes(logits->width), room = op->scratch_bytes / row_bytes;
    const size_t most = room < BATCH ? room : (size_t)BATCH;
    const unsigned threads = wi_row_threads(logits->width / 16, WI_PICK_MOST);
    const dim3 block(WI_TOPS_WARPS * WI_WARP);
    unsigned char *memory = (unsigned char *)op->scratch;
    for (size_t first = 0; first < logits->rows && most > 0; first += most) {
        const size_t rows = logits->rows - first < most ? logits->rows - first : most;
        const dim3 whole(wi_grid_of(wi_pick_groups(logits->width), WI_TOPS_WARPS), (unsigned)rows);
        bool drawn = false;
        const uint64_t *position = wi_arrived(op, args->position + first, rows);
        const wi_pick_how *hows = settings_of(op, args, first, rows, &drawn);
        if (!hows) return;
        wi_pick_tops(op, "sample", logits, first, rows, hows, row_bytes);
        if (drawn) wi_launch(op, "sample", row_masses, whole, block, 0, *logits, first, hows, memory, row_bytes);
        wi_launch(op, "sample", draw_rows, dim3((unsigned)rows), dim3(threads), sizeof(wi_pick_block), *logits, first,
                  hows, position, args->out, memory, row_bytes);
    }
}
