// The GEMM of sm_80: mma.sync with the weight on the left, fed by cp.async through a ring of stages.
//
// A block has a tile, a warp of it a panel of 32 rows by all the tile's tokens. All threads copy; bf16 becomes
// fragments by ldmatrix, codes from where a lane's own lie. Sums of leaves that wait stay in shared memory. Grid:
// tiles, in groups that keep their weights in L2; and leaves, where they are dealt to blocks. Bound by tensor FLOPs for
// many tokens, by the weight's bytes for few: then many small blocks keep memory busy.
#ifndef WEFT_KERNELS_CUDA_GEMM_MMA_CUH
#define WEFT_KERNELS_CUDA_GEMM_MMA_CUH

#include "kernels/cuda/gemm_expand.cuh"

enum {
    WI_MMA_PLANES = 4, // at most
    WI_MMA_TURN = 16,  // row tiles that meet a token tile one behind the other
};

static constexpr __host__ __device__ int wi_mma_stages(int tokens) { return tokens <= 16 ? 6 : tokens <= 64 ? 4 : 2; }
// int4 by 128 tokens would not fit the registers.
static constexpr __host__ __device__ bool wi_mma_has_width(int format, int tokens)
{
    return wi_gemm_has_width(format, tokens) && tokens <= (format == WI_GEMM_I4 ? 64 : 128);
}

// The ring, behind it the sums that wait; finished sums lie over both.
static inline __host__ __device__ size_t wi_mma_ring(int format, int tokens, int planes, int record_bytes)
{
    return (size_t)wi_mma_stages(tokens) * (size_t)(tokens * wi_gemm_columns(format) * 2 + planes * record_bytes);
}
static inline size_t wi_mma_shared(int format, int tokens, int planes, int record_bytes, int slots)
{
    const size_t rows = (size_t)planes * WEFT_GEMM_PANEL, all = (size_t)tokens * sizeof(float);
    const size_t work = wi_mma_ring(format, tokens, planes, record_bytes) + (size_t)slots * rows * all;
    const size_t sums = (rows + 4) * all + 3 * rows * sizeof(float);
    return work > sums ? work : sums;
}

void wi_mma_bf16(const wi_gemm_task &t, const weft_op *op, int tokens);
void wi_mma_i8(const wi_gemm_task &t, const weft_op *op, int tokens);
void wi_mma_i8_groups(const wi_gemm_task &t, const weft_op *op, int tokens);
void wi_mma_i4(const wi_gemm_task &t, const weft_op *op, int tokens);
void wi_mma_i4_any(const wi_gemm_task &t, const weft_op *op, int tokens);

// Copies one record of each panel and the activations that meet it; rows of another group among these are multiplied
// and dropped.
template <int FORMAT, int TOKENS>
static __device__ __forceinline__ void wi_mma_fill(const wi_gemm_task &t, unsigned char *stage, int panel,
                                                   const wi_gemm_tokens &of, int record, int column)
{
    constexpr int columns = wi_gemm_columns(FORMAT), each = columns / 8;
    const int thread = (int)threadIdx.x, threads = (int)blockDim.x;
    for (int i = thread; i < TOKENS * each; i += threads) {
        const int row = i / each, c = i % each;
        const bool there = of.token + row < t.m && column + c * 8 < t.row_columns;
        unsigned char *to = stage + c / 8 * TOKENS * 128 + row * 128 + ((c % 8 ^ row % 8) * 16);
        const uint16_t *from =
            t.rows + (there ? (size_t)(of.token + row) * t.row_stride + (size_t)(column + c * 8) : 0);
        wi_copy16(to, from, there);
    }
    stage += TOKENS * columns * 2;
    for (int p = 0; p < t.planes; p++) {
        const int at = of.group * t.panels + (panel + p < t.panels ? panel + p : t.panels - 1);
        const unsigned char *from =
            t.data + (size_t)at * t.panel_bytes + t.codes_at + (size_t)record * (size_t)t.record_bytes;
        for (int i = thread; i < t.record_bytes / 16; i += threads) {
            const int row = i / 8, place = FORMAT == WI_GEMM_BF16 ? row * 8 + (i % 8 ^ row % 8) : i;
            wi_copy16(stage + p * t.record_bytes + place * 16, from + i * 16, true);
        }
    }
}

// Fragment `f` of 16 columns of both tiles of rows times all tokens.
template <int TOKENS>
static __device__ __forceinline__ void wi_mma_multiply(float (&acc)[2][TOKENS / 2], const uint32_t (&upper)[4],
                                                       const uint32_t (&lower)[4], const unsigned char *activations,
                                                       int f)
{
    const int lane = (int)threadIdx.x % WI_WARP;
    const unsigned char *rows = activations + f / 4 * TOKENS * 128;
    if constexpr (TOKENS == 8) {
        uint32_t b[2];
        wi_ldmatrix2(b, rows + lane % 8 * 128 + ((f % 4 * 2 + lane / 8 % 2) ^ lane % 8) * 16);
        wi_mma(acc[0], upper, b);
        wi_mma(acc[1], lower, b);
    } else {
#pragma unroll
        for (int j = 0; j < TOKENS / 16; j++) {
            uint32_t b[4];
            const int row = j * 16 + lane % 8 + lane / 16 * 8;
            wi_ldmatrix4(b, rows + row * 128 + ((f % 4 * 2 + lane / 8 % 2) ^ lane % 8) * 16);
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const uint32_t of_eight[2] = {b[2 * i], b[2 * i + 1]};
                const int at = (2 * j + i) * 4;
                wi_mma(*(float(*)[4])(acc[0] + at), upper, of_eight);
                wi_mma(*(float(*)[4])(acc[1] + at), lower, of_eight);
            }
        }
    }
}

template <int FORMAT, int TOKENS>
static __device__ __forceinline__ void wi_mma_step(const wi_gemm_task &t, float (&acc)[2][TOKENS / 2],
                                                   const unsigned char *stage, const float *codebook)
{
    const int lane = (int)threadIdx.x % WI_WARP, warp = (int)threadIdx.x / WI_WARP;
    const unsigned char *record = stage + TOKENS * wi_gemm_columns(FORMAT) * 2 + warp * t.record_bytes;
    if constexpr (FORMAT == WI_GEMM_BF16) {
#pragma unroll
        for (int f = 0; f < 4; f++) {
            uint32_t a[2][4];
#pragma unroll
            for (int i = 0; i < 2; i++)
                wi_ldmatrix4(a[i], record + (i * 16 + lane % 16) * 128 + ((f * 2 + lane / 16) ^ lane % 8) * 16);
            wi_mma_multiply<TOKENS>(acc, a[0], a[1], stage, f);
        }
    } else {
        constexpr int fragments = wi_gemm_columns(FORMAT) / 32;
        wi_gemm_scales s[2] = {};
#pragma unroll
        for (int half = 0; half < 2; half++) {
            uint32_t a[2][fragments][4];
#pragma unroll
            for (int i = 0; i < 2; i++) wi_gemm_expand<FORMAT, fragments>(t, record, half, i, codebook, &s[i], a[i]);
#pragma unroll
            for (int f = 0; f < fragments; f++)
                wi_mma_multiply<TOKENS>(acc, a[0][f], a[1][f], stage, half * fragments + f);
        }
    }
}

// A whole leaf: scaled, joined with what waits, and left to wait unless it completes a root.
template <int TOKENS>
static __device__ __forceinline__ void wi_mma_end_leaf(const wi_gemm_leaf &leaf, float (&acc)[2][TOKENS / 2],
                                                       float *slots)
{
    const int thread = (int)threadIdx.x, threads = (int)blockDim.x, half = TOKENS / 2 * threads;
    int top = leaf.top;
    for (int i = 0; i < leaf.merges; i++) {
        top--;
        wi_gemm_join(acc[0], slots + 2 * top * half, thread, threads);
        wi_gemm_join(acc[1], slots + (2 * top + 1) * half, thread, threads);
    }
    if (leaf.root >= 0) return;
    wi_gemm_push(acc[0], slots + 2 * top * half, thread, threads);
    wi_gemm_push(acc[1], slots + (2 * top + 1) * half, thread, threads);
}

// What follows the last leaf, or a leaf that was dealt: whole sums to the result by way of shared memory.
template <int TOKENS>
static __device__ __forceinline__ void wi_mma_end(const wi_gemm_task &t, const float (&acc)[2][TOKENS / 2], int leaf,
                                                  int row_tile, const volatile wi_gemm_later *later, int *word)
{
    const int thread = (int)threadIdx.x, threads = (int)blockDim.x, warp = thread / WI_WARP;
    const int width = t.planes * WEFT_GEMM_PANEL, stride = width + 4;
    float *sums = (float *)(void *)wi_shared();
    if (t.dealt) {
        wi_gemm_put_leaf(t, acc[0], leaf, row_tile, warp * WEFT_GEMM_PANEL, TOKENS);
        wi_gemm_put_leaf(t, acc[1], leaf, row_tile, warp * WEFT_GEMM_PANEL + 16, TOKENS);
        if (!wi_gemm_is_last(t, row_tile, word, thread, threads, 1)) return;
        wi_gemm_fold(t, sums, stride, sums + TOKENS * stride, TOKENS, row_tile, thread, threads);
    } else {
        __syncthreads(); // the ring was read
        wi_gemm_put(acc[0], sums, stride, warp * WEFT_GEMM_PANEL);
        wi_gemm_put(acc[1], sums, stride, warp * WEFT_GEMM_PANEL + 16);
    }
    __syncthreads();
    if (!t.whole) return;
    wi_gemm_finish(t, sums, stride, width, row_tile * t.planes, wi_gemm_tokens_of(later), TOKENS, thread, threads);
}

template <int FORMAT, int TOKENS>
static __global__ void __launch_bounds__(WI_MMA_PLANES *WI_WARP, 1) wi_gemm_mma(const __grid_constant__ wi_gemm_task t)
{
    constexpr int stages = wi_mma_stages(TOKENS), columns = wi_gemm_columns(FORMAT);
    __shared__ float codebook[16];
    __shared__ volatile wi_gemm_later later;
    __shared__ int word;
    unsigned char *ring = wi_shared();
    const int thread = (int)threadIdx.x, warp = thread / WI_WARP;
    const int stage_bytes = TOKENS * columns * 2 + t.planes * t.record_bytes;
    float *slots = (float *)(void *)(ring + stages * stage_bytes);
    int row_tile;
    wi_gemm_tokens of;
    if (!wi_gemm_tile(t, WI_MMA_TURN, TOKENS, &row_tile, &of)) return;
    const int panel = row_tile * t.planes, first = t.dealt ? (int)blockIdx.y : 0, end = t.dealt ? first + 1 : t.leaves;
    if (FORMAT == WI_GEMM_I4_ANY && thread < 16) codebook[thread] = t.codebook[thread];
    if (thread == 0) wi_gemm_put_off(t, of, &later);

    int next_leaf = first, next_step = 0, filled = 0, read = 0; // what is copied next, and stages by turns
    float acc[2][TOKENS / 2];
    const auto fill = [&] {
        if (next_leaf < end) {
            wi_mma_fill<FORMAT, TOKENS>(t, ring + filled * stage_bytes, panel, of, t.leaf[next_leaf].at + next_step,
                                        t.leaf[next_leaf].column + next_step * columns);
            if (++next_step == t.leaf[next_leaf].steps) next_leaf++, next_step = 0;
        }
        if (++filled == stages) filled = 0;
        wi_copy_commit();
    };
#pragma unroll
    for (int i = 0; i < stages - 1; i++) fill();
    for (int l = first; l < end; l++) {
#pragma unroll
        for (int i = 0; i < TOKENS / 2; i++) acc[0][i] = acc[1][i] = 0.0F;
        for (int s = 0; s < t.leaf[l].steps; s++) {
            wi_copy_wait<stages - 2>();
            __syncthreads();
            fill();
            wi_mma_step<FORMAT, TOKENS>(t, acc, ring + read * stage_bytes, codebook);
            if (++read == stages) read = 0;
        }
        if (FORMAT == WI_GEMM_I8) {
            wi_gemm_scale(t, acc[0], (panel + warp) * WEFT_GEMM_PANEL, later.of.group);
            wi_gemm_scale(t, acc[1], (panel + warp) * WEFT_GEMM_PANEL + 16, later.of.group);
        }
        if (t.dealt) break;
        wi_mma_end_leaf<TOKENS>(t.leaf[l], acc, slots);
        if (t.leaf[l].root >= 0 && !t.whole) {
            const int64_t row = (int64_t)(panel + warp) * WEFT_GEMM_PANEL;
            wi_gemm_put_root(t, acc[0], t.leaf[l].root, row, &later);
            wi_gemm_put_root(t, acc[1], t.leaf[l].root, row + 16, &later);
        }
    }
    wi_copy_wait<0>();
    if (t.dealt || t.whole) wi_mma_end<TOKENS>(t, acc, first, row_tile, &later, &word);
}

template <int FORMAT, int TOKENS> static void wi_mma_launch(const wi_gemm_task &t, const weft_op *op)
{
    if constexpr (wi_mma_has_width(FORMAT, TOKENS)) {
        const dim3 grid((unsigned)(t.row_tiles * t.token_tiles), t.dealt ? (unsigned)t.leaves : 1);
        const size_t shared = wi_mma_shared(FORMAT, TOKENS, t.planes, t.record_bytes, t.slots);
        wi_launch(op, "gemm: mma", wi_gemm_mma<FORMAT, TOKENS>, grid, dim3((unsigned)(t.planes * WI_WARP)), shared, t);
    }
}

template <int FORMAT> static void wi_mma_launch_width(const wi_gemm_task &t, const weft_op *op, int tokens)
{
    if (tokens == 8) wi_mma_launch<FORMAT, 8>(t, op);
    if (tokens == 16) wi_mma_launch<FORMAT, 16>(t, op);
    if (tokens == 32) wi_mma_launch<FORMAT, 32>(t, op);
    if (tokens == 64) wi_mma_launch<FORMAT, 64>(t, op);
    if (tokens == 128) wi_mma_launch<FORMAT, 128>(t, op);
}

#endif
