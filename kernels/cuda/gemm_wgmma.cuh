// The GEMM of sm_90a: wgmma with the weight on the left, fed by bulk copies through a ring of stages.
//
// A block has a tile. One thread of its last warps, the producer, keeps the ring full: a stage is a record of each of
// the tile's panels and the activations that meet it. One warpgroup (64 rows) or two (128) multiply; bf16 goes from
// shared memory as it is, codes become fragments in registers. The chain of a leaf stays in the accumulators; sums of
// leaves that wait for their partners stay in shared memory and, for the widest tiles, in registers.
// Grid: tiles, in groups that keep their weights in L2; and leaves, where they are dealt to blocks.
// Bound by tensor FLOPs for many tokens, by the weight's bytes for few: then the ring is what keeps memory busy.
#ifndef WEFT_KERNELS_CUDA_GEMM_WGMMA_CUH
#define WEFT_KERNELS_CUDA_GEMM_WGMMA_CUH

#include "kernels/cuda/gemm_expand.cuh"

enum {
    WI_GROUP = 128,    // threads of a warpgroup
    WI_TILE_TURN = 16, // row tiles that meet a token tile one behind the other
    WI_STAGES_MAX = 32,
    WI_GEMM_PAD = 4096, // behind the ring: a tile of 32 rows is multiplied as one of 64, whose other sums are dropped
};

// How a block of a format and width works; the same sums for the host.
struct wi_wgmma_plan {
    int consumers;        // warpgroups
    int threads;          // all
    int columns;          // of a stage
    int in_registers;     // slots for sums that wait
    int activation_bytes; // of a stage
};

static constexpr __host__ __device__ wi_wgmma_plan wi_wgmma_plan_of(int format, int tokens)
{
    const int columns = wi_gemm_columns(format);
    return {tokens > 64 ? 2 : 1, tokens > 64 ? 3 * WI_GROUP : WI_GROUP + WI_WARP, columns,
            tokens == 128 ? (format == WI_GEMM_BF16 ? 2 : 1) : 0, tokens * columns * 2};
}

// The block's shared memory: activations, weights, waiting sums, barriers.
struct wi_wgmma_ring {
    unsigned char *activations, *weights;
    int weight_bytes;
    float *slots;
    uint64_t *full, *empty;
    int *word;
};

static inline __host__ __device__ size_t wi_wgmma_shared(int format, int tokens, int planes, int record_bytes,
                                                         int stages, int slots)
{
    const wi_wgmma_plan plan = wi_wgmma_plan_of(format, tokens);
    const int waiting = slots > plan.in_registers ? slots - plan.in_registers : 0;
    return (size_t)stages * (size_t)(plan.activation_bytes + planes * record_bytes) + WI_GEMM_PAD +
           (size_t)waiting * (size_t)plan.consumers * 64 * (size_t)tokens * sizeof(float) +
           2 * WI_STAGES_MAX * sizeof(uint64_t) + 64;
}

void wi_wgmma_bf16(const wi_gemm_task &t, const weft_op *op, int tokens, const CUtensorMap &weights,
                   const CUtensorMap &activations);
void wi_wgmma_i8(const wi_gemm_task &t, const weft_op *op, int tokens, const CUtensorMap &weights,
                 const CUtensorMap &activations);
void wi_wgmma_i8_groups(const wi_gemm_task &t, const weft_op *op, int tokens, const CUtensorMap &weights,
                        const CUtensorMap &activations);
void wi_wgmma_i4(const wi_gemm_task &t, const weft_op *op, int tokens, const CUtensorMap &weights,
                 const CUtensorMap &activations);
void wi_wgmma_i4_any(const wi_gemm_task &t, const weft_op *op, int tokens, const CUtensorMap &weights,
                     const CUtensorMap &activations);

#if WI_HOPPER

template <int FORMAT, int TOKENS>
static __device__ __forceinline__ wi_wgmma_ring wi_wgmma_ring_of(const wi_gemm_task &t)
{
    constexpr wi_wgmma_plan plan = wi_wgmma_plan_of(FORMAT, TOKENS);
    wi_wgmma_ring r;
    r.activations = wi_shared();
    r.weights = r.activations + t.stages * plan.activation_bytes;
    r.weight_bytes = t.planes * t.record_bytes;
    unsigned char *end = r.weights + t.stages * r.weight_bytes + WI_GEMM_PAD;
    r.slots = (float *)(void *)end;
    const int waiting = t.slots > plan.in_registers ? t.slots - plan.in_registers : 0;
    end += (size_t)waiting * plan.consumers * 64 * TOKENS * sizeof(float);
    r.full = (uint64_t *)(void *)end;
    r.empty = r.full + WI_STAGES_MAX;
    r.word = (int *)(void *)(r.empty + WI_STAGES_MAX);
    return r;
}

template <int FORMAT, int TOKENS>
static __device__ __forceinline__ void
wi_wgmma_produce(const wi_gemm_task &t, const wi_wgmma_ring &r, const CUtensorMap *weights,
                 const CUtensorMap *activations, int panel, const wi_gemm_tokens &of, int first_leaf, int leaf_end)
{
    constexpr wi_wgmma_plan plan = wi_wgmma_plan_of(FORMAT, TOKENS);
    const int before = of.group * t.panels, token = (int)of.token; // panels
    int stage = 0, phase = 1;
    for (int l = first_leaf; l < leaf_end; l++)
        for (int s = 0; s < t.leaf[l].steps; s++) {
            wi_mbar_wait(&r.empty[stage], phase);
            wi_mbar_expect(&r.full[stage], (uint32_t)(r.weight_bytes + plan.activation_bytes));
            unsigned char *to = r.weights + stage * r.weight_bytes;
            const int record = t.leaf[l].at + s;
            if constexpr (FORMAT == WI_GEMM_BF16) {
                wi_tensor3(to, weights, 0, record * WEFT_GEMM_PANEL, before + panel, &r.full[stage]);
            } else {
                for (int p = 0; p < t.planes; p++) {
                    const int there = before + (panel + p < t.panels ? panel + p : t.panels - 1);
                    wi_bulk(to + p * t.record_bytes,
                            t.data + (size_t)there * t.panel_bytes + t.codes_at +
                                (size_t)record * (size_t)t.record_bytes,
                            (uint32_t)t.record_bytes, &r.full[stage]);
                }
            }
            to = r.activations + stage * plan.activation_bytes;
#pragma unroll
            for (int c = 0; c < plan.columns; c += WI_RECORD)
                wi_tensor2(to + c * TOKENS * 2, activations, t.leaf[l].column + s * plan.columns + c, token,
                           &r.full[stage]);
            if (++stage == t.stages) stage = 0, phase ^= 1;
        }
}

// A stage on top of the accumulators. When it returns the stage before it has been read.
template <int FORMAT, int TOKENS>
static __device__ __forceinline__ void wi_wgmma_step(const wi_gemm_task &t, float (&acc)[TOKENS / 2],
                                                     const unsigned char *weights, const unsigned char *activations,
                                                     int warp, const float *codebook)
{
    if constexpr (FORMAT == WI_GEMM_BF16) {
        const unsigned char *rows = weights + warp / 4 * 64 * WI_RECORD * 2;
        wi_wgmma_fence();
#pragma unroll
        for (int i = 0; i < 4; i++)
            wi_wgmma<TOKENS>(acc, wi_descriptor(rows + 32 * i), wi_descriptor(activations + 32 * i), true);
        wi_wgmma_commit();
        wi_wgmma_wait<1>();
    } else {
        constexpr int fragments = wi_gemm_columns(FORMAT) / 32;
        uint32_t a[2][fragments][4];
        wi_gemm_scales s = {};
        const int plane = warp / 2 < t.planes ? warp / 2 : 0;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            wi_gemm_expand<FORMAT, fragments>(t, weights + plane * t.record_bytes, half, warp % 2, codebook, &s,
                                              a[half]);
            wi_wgmma_fence();
#pragma unroll
            for (int f = 0; f < fragments; f++) {
                const int column = (half * fragments + f) * 16;
                const unsigned char *b = activations + column / WI_RECORD * TOKENS * WI_RECORD * 2;
                wi_wgmma_regs<TOKENS>(acc, a[half][f], wi_descriptor(b + column % WI_RECORD * 2), true);
            }
            wi_wgmma_commit();
            wi_wgmma_wait<1>();
        }
    }
}

// What becomes of a whole leaf's sums: scaled, joined with what waits, and either left to wait or complete.
template <int FORMAT, int TOKENS>
static __device__ __forceinline__ void wi_wgmma_end_leaf(const wi_gemm_task &t, const wi_gemm_leaf &leaf,
                                                         float (&acc)[TOKENS / 2], float (&near)[TOKENS / 2],
                                                         float (&nearer)[TOKENS / 2], float *slots, int thread)
{
    constexpr wi_wgmma_plan plan = wi_wgmma_plan_of(FORMAT, TOKENS);
    constexpr int threads = plan.consumers * WI_GROUP;
    constexpr int near_by = plan.in_registers;
    float *const shared = slots - (size_t)near_by * (TOKENS / 2) * threads; // the others are in registers
    const int to = leaf.top - leaf.merges;
    int from = leaf.top;
    while (from > to && from > near_by)
        wi_gemm_join(acc, shared + (size_t)--from * (TOKENS / 2) * threads, thread, threads);
    // by choice and not by branch: then every sum keeps its register
    const bool join_nearer = near_by > 1 && from == 2 && to<2, join_near = near_by> 0 && from > 0 && to == 0;
    const bool keep_near = leaf.root < 0 && to == 0, keep_nearer = leaf.root < 0 && to == 1;
#pragma unroll
    for (int j = 0; j < TOKENS / 2; j++) {
        if (near_by > 1) acc[j] = join_nearer ? nearer[j] + acc[j] : acc[j];
        if (near_by > 0) acc[j] = join_near ? near[j] + acc[j] : acc[j];
        if (near_by > 1) nearer[j] = keep_nearer ? acc[j] : nearer[j];
        if (near_by > 0) near[j] = keep_near ? acc[j] : near[j];
    }
    if (leaf.root < 0 && to >= near_by)
        wi_gemm_push(acc, shared + (size_t)to * (TOKENS / 2) * threads, thread, threads);
}

// A tile whose leaves are dealt: this one's sums to scratch; the last block joins all.
template <int TOKENS>
static __device__ __forceinline__ void wi_wgmma_deal(const wi_gemm_task &t, const wi_wgmma_ring &r,
                                                     const float (&acc)[TOKENS / 2], int leaf, int row_tile)
{
    const int thread = (int)threadIdx.x, stride = 64 + 4;
    float *sums = (float *)(void *)wi_shared(), *stack = sums + TOKENS * stride;
    wi_gemm_put_leaf(t, acc, leaf, row_tile, thread / WI_WARP * 16, TOKENS);
    if (!wi_gemm_is_last(t, row_tile, r.word, thread, WI_GROUP, 1)) return;
    wi_gemm_fold(t, sums, stride, stack, TOKENS, row_tile, thread, WI_GROUP);
    wi_barrier(1, WI_GROUP);
    if (t.whole)
        wi_gemm_finish(t, sums, stride, t.planes * WEFT_GEMM_PANEL, row_tile * t.planes, {0, 0, t.m}, TOKENS, thread,
                       WI_GROUP);
}

template <int FORMAT, int TOKENS>
static __device__ __forceinline__ void wi_wgmma_consume(const wi_gemm_task &t, const wi_wgmma_ring &r, int row_tile,
                                                        int first_leaf, int leaf_end, const float *codebook,
                                                        const volatile wi_gemm_later *later)
{
    constexpr wi_wgmma_plan plan = wi_wgmma_plan_of(FORMAT, TOKENS);
    const int thread = (int)threadIdx.x, warp = thread / WI_WARP, lane = thread % WI_WARP, stride = 64 + 4;
    const int panel = row_tile * t.planes;
    float acc[TOKENS / 2], near[TOKENS / 2], nearer[TOKENS / 2];
    int stage = 0, phase = 0, before = -1;
#pragma unroll
    for (int i = 0; i < TOKENS / 2; i++) near[i] = nearer[i] = 0.0F;
    for (int l = first_leaf; l < leaf_end; l++) {
#pragma unroll
        for (int i = 0; i < TOKENS / 2; i++) acc[i] = 0.0F;
        for (int s = 0; s < t.leaf[l].steps; s++) {
            wi_mbar_wait(&r.full[stage], phase);
            wi_wgmma_step<FORMAT, TOKENS>(t, acc, r.weights + stage * r.weight_bytes,
                                          r.activations + stage * plan.activation_bytes, warp, codebook);
            if (before >= 0 && lane == 0) wi_mbar_arrive(&r.empty[before]);
            before = stage;
            if (++stage == t.stages) stage = 0, phase ^= 1;
        }
        wi_wgmma_wait<0>();
        wi_wgmma_own(acc);
        if (lane == 0) wi_mbar_arrive(&r.empty[before]);
        before = -1;
        if (FORMAT == WI_GEMM_I8) wi_gemm_scale(t, acc, panel * WEFT_GEMM_PANEL + warp * 16, later->of.group);
        if (TOKENS <= WI_DEALT_ROWS && t.dealt) {
            wi_wgmma_deal<TOKENS>(t, r, acc, l, row_tile);
            return;
        }
        if (TOKENS > 128) break; // for one leaf alone
        wi_wgmma_end_leaf<FORMAT, TOKENS>(t, t.leaf[l], acc, near, nearer, r.slots, thread);
        if (t.leaf[l].root >= 0 && !t.whole && warp / 2 < t.planes)
            wi_gemm_put_root(t, acc, t.leaf[l].root, (int64_t)panel * WEFT_GEMM_PANEL + warp * 16, later);
    }
    if (TOKENS <= 128 && !t.whole) return;
    // all is read: the ring takes the sums
    const int group = warp / 4;
    float *sums = (float *)(void *)wi_shared() + group * TOKENS * stride;
    wi_barrier(1, plan.consumers * WI_GROUP);
    wi_gemm_put(acc, sums, stride, warp % 4 * 16);
    wi_barrier(2 + group, WI_GROUP);
    wi_gemm_finish(t, sums, stride, (t.planes < 2 ? t.planes : 2) * WEFT_GEMM_PANEL, panel + 2 * group,
                   wi_gemm_tokens_of(later), TOKENS, thread % WI_GROUP, WI_GROUP);
}

#endif

template <int FORMAT, int TOKENS>
static __global__ void __launch_bounds__(wi_wgmma_plan_of(FORMAT, TOKENS).threads, 1)
    wi_gemm_wgmma(const __grid_constant__ CUtensorMap weights, const __grid_constant__ CUtensorMap activations,
                  const __grid_constant__ wi_gemm_task t)
{
#if WI_HOPPER
    constexpr wi_wgmma_plan plan = wi_wgmma_plan_of(FORMAT, TOKENS);
    constexpr int consuming = plan.consumers * WI_GROUP;
    const wi_wgmma_ring r = wi_wgmma_ring_of<FORMAT, TOKENS>(t);
    __shared__ float codebook[16];
    __shared__ volatile wi_gemm_later later;
    const int thread = (int)threadIdx.x;
    const int first_leaf = t.dealt ? (int)blockIdx.y : 0, leaf_end = t.dealt ? first_leaf + 1 : t.leaves;
    int row_tile;
    wi_gemm_tokens of;
    if (!wi_gemm_tile(t, WI_TILE_TURN, TOKENS, &row_tile, &of)) return;
    if (FORMAT == WI_GEMM_I4_ANY && thread < 16) codebook[thread] = t.codebook[thread];
    if (thread == 0) {
        wi_gemm_put_off(t, of, &later);
        for (int i = 0; i < t.stages; i++) {
            wi_mbar_init(&r.full[i], 1);
            wi_mbar_init(&r.empty[i], consuming / WI_WARP);
        }
        wi_mbar_init_done();
    }
    __syncthreads();
    if (thread >= consuming) {
        if constexpr (plan.consumers == 2) wi_registers_down<40>();
        if (thread == consuming) {
            if (FORMAT == WI_GEMM_BF16) wi_tensor_prefetch(&weights);
            wi_tensor_prefetch(&activations);
            wi_wgmma_produce<FORMAT, TOKENS>(t, r, &weights, &activations, row_tile * t.planes, of, first_leaf,
                                             leaf_end);
        }
    } else {
        if constexpr (plan.consumers == 2) wi_registers_up<232>();
        wi_wgmma_consume<FORMAT, TOKENS>(t, r, row_tile, first_leaf, leaf_end, codebook, &later);
    }
#endif
}

template <int FORMAT, int TOKENS>
static void wi_wgmma_launch(const wi_gemm_task &t, const weft_op *op, const CUtensorMap &weights,
                            const CUtensorMap &activations)
{
    if constexpr (wi_gemm_has_width(FORMAT, TOKENS)) {
        const dim3 grid((unsigned)(t.row_tiles * t.token_tiles), t.dealt ? (unsigned)t.leaves : 1);
        const size_t shared = wi_wgmma_shared(FORMAT, TOKENS, t.planes, t.record_bytes, t.stages, t.slots);
        wi_launch(op, "gemm: wgmma", wi_gemm_wgmma<FORMAT, TOKENS>, grid,
                  dim3(wi_wgmma_plan_of(FORMAT, TOKENS).threads), shared, weights, activations, t);
    }
}

template <int FORMAT>
static void wi_wgmma_launch_width(const wi_gemm_task &t, const weft_op *op, int tokens, const CUtensorMap &weights,
                                  const CUtensorMap &activations)
{
    if (tokens == 8) wi_wgmma_launch<FORMAT, 8>(t, op, weights, activations);
    if (tokens == 16) wi_wgmma_launch<FORMAT, 16>(t, op, weights, activations);
    if (tokens == 32) wi_wgmma_launch<FORMAT, 32>(t, op, weights, activations);
    if (tokens == 64) wi_wgmma_launch<FORMAT, 64>(t, op, weights, activations);
    if (tokens == 128) wi_wgmma_launch<FORMAT, 128>(t, op, weights, activations);
    if (tokens == 256) wi_wgmma_launch<FORMAT, 256>(t, op, weights, activations);
}

#endif
