// What the GEMMs of the device share: a run as a kernel takes it, how leaves are joined, and the epilogue.
//
// Names: a tile is `planes` panels of the weight by `tokens` activation rows, one block's work. In the tensor families
// the weight is the left operand, so that tokens are as few or many as there are; a warp holds 16 x tokens sums as the
// instructions leave them: acc[4 j + i] of a lane is row lane/4 + i/2*8 of the 16 and token 8 j + lane%4*2 + i%2.
#ifndef WEFT_KERNELS_CUDA_GEMM_CUH
#define WEFT_KERNELS_CUDA_GEMM_CUH

#include "kernels/cuda/math.cuh"
#include "kernels/gemm_records.h"

// What becomes an operand, and how: bf16 as it is; int8 as it is; int8 by groups, or e4m3 (`floats`); int4 of linear
// levels with zeros of int8 or none; int4 of any.
enum { WI_GEMM_BF16, WI_GEMM_I8, WI_GEMM_I8_GROUPS, WI_GEMM_I4, WI_GEMM_I4_ANY };

// Columns of a record.
static constexpr __host__ __device__ int wi_gemm_columns(int format)
{
    return format == WI_GEMM_I4 || format == WI_GEMM_I4_ANY ? WI_RECORD_I4 : WI_RECORD;
}

// Tokens of a tile, at most; formats that are rare have fewer widths, for each takes its time to compile.
static constexpr __host__ __device__ bool wi_gemm_has_width(int format, int tokens)
{
    const bool rare = format == WI_GEMM_I8_GROUPS || format == WI_GEMM_I4_ANY;
    return rare ? tokens == 8 || tokens == 32 || tokens == 64 : tokens >= 8;
}

struct wi_gemm_leaf {
    int steps;  // records
    int at;     // its first record in a panel
    int column; // of the activations as the kernel reads them
    int top;    // sums of its root's subtree that wait when it begins
    int merges; // of these it joins when it ends
    int root;   // which it then completes, or -1
};

struct wi_gemm_task {
    // the weight
    const unsigned char *data;
    size_t panel_bytes, codes_at;
    int record_bytes;
    int shift; // of a record's column to the number of its scale
    int panels;
    int64_t columns; // of the result
    weft_dtype scale_type, zero_type;
    bool scaled, has_zero, exact, whole, gate;
    int format;
    bool pairs;  // int4 whose scales are bf16
    bool floats; // codes of eight bits are e4m3
    float codebook[16];
    int leaves, slots; // slots: the most sums that wait
    struct wi_gemm_leaf leaf[WEFT_LEAVES];
    // whose rows meet which weight
    int groups; // weights one behind the other, 0: this one alone
    const int32_t *offsets;
    size_t bias_stride;
    // what follows
    int64_t m;
    float *out[WEFT_ROOTS_MAX];
    size_t out_stride;
    const float *bias, *addend, *residual;
    size_t addend_stride, residual_stride;
    weft_act act;
    // activations in bf16
    const uint16_t *rows;
    size_t row_stride;
    int row_columns;
    // how it is cut
    int planes, stages, row_tiles, token_tiles;
    bool dealt; // leaves to blocks, which are joined by the last
    int *tickets;
    float *roots; // (leaves, row_tiles, tokens, planes * 32)
};

// All but the activations and how it is cut.
wi_gemm_task wi_gemm_task_of(const weft_op *op, const weft_gemm_weight *weight, const weft_gemm_args *args);
// Of the tensor families: rounds the activations into op->scratch where they are not bf16 that can be read in place,
// and decides whether leaves are dealt to blocks (gemm_round.cu).
wi_gemm_task wi_gemm_prepare(const weft_op *op, const weft_gemm_weight *weight, const weft_gemm_args *args);

// Token tiles of a width that a run takes at most: where rows belong to groups only the device knows how many it needs.
int wi_gemm_token_tiles(const wi_gemm_task &t, int tokens);
// Rows that meet one weight, about.
int64_t wi_gemm_rows_each(const wi_gemm_task &t);
// Activations as bf16 rows: where they were made, if that is so, else rounded into op->scratch, leaves where the packed
// weight has them; `tickets`, if given, are set to 0 beside it, and then it is scratch always.
struct wi_gemm_activations {
    const uint16_t *rows;
    size_t stride;
    int columns;
    bool in_place;
};
wi_gemm_activations wi_gemm_round(const weft_op *op, const weft_gemm_weight *weight, const weft_gemm_args *args,
                                  int *tickets);

// WEFT_GEMM_TILE=TOKENSxPLANES: the tile that tests and measurements want, where there is such a one; else 0 and 0.
// Leaves are then not dealt.
struct wi_gemm_wanted {
    int tokens, planes;
};
wi_gemm_wanted wi_gemm_tile_wanted(void);

void wi_cuda_gemm_fma(const weft_op *op, const weft_gemm_weight *weight, const weft_gemm_args *args);
void wi_cuda_gemm_mma(const weft_op *op, const weft_gemm_weight *weight, const weft_gemm_args *args);
void wi_cuda_gemm_wgmma(const weft_op *op, const weft_gemm_weight *weight, const weft_gemm_args *args);
void wi_cuda_gemm_blas(const weft_op *op, const weft_gemm_weight *weight, const weft_gemm_args *args);

static __device__ __forceinline__ float wi_load_as(weft_dtype type, const unsigned char *base, int index)
{
    if (type == WEFT_F32) return ((const float *)(const void *)base)[index];
    if (type == WEFT_I8) return (float)((const signed char *)base)[index];
    const uint16_t half = ((const uint16_t *)(const void *)base)[index];
    return type == WEFT_BF16 ? wi_float_of_bf16(half) : wi_float_of_f16(half);
}

// The tokens of a block: those from `token` on that lie before `end`, and the weight that they meet.
struct wi_gemm_tokens {
    int group;
    int64_t token, end;
};

// Token tile `tile` of `tokens` each. Tiles begin anew with each group. False where there are fewer: then the block has
// nothing to do. Every warp looks for itself, a group a lane.
static __device__ __forceinline__ bool wi_gemm_find_tokens(const wi_gemm_task &t, int tile, int tokens,
                                                           wi_gemm_tokens *out)
{
    *out = {0, (int64_t)tile * tokens, t.m};
    if (!t.groups) return true;
    const int lane = (int)threadIdx.x % WI_WARP, base = t.offsets[0];
    for (int first = 0; first < t.groups; first += WI_WARP) {
        const int g = first + lane < t.groups ? first + lane : t.groups - 1;
        const int begin = t.offsets[g] - base, end = t.offsets[g + 1] - base;
        const int tiles = first + lane < t.groups ? (end - begin + tokens - 1) / tokens : 0;
        int sum = tiles; // of this lane's group and those before it
#pragma unroll
        for (int by = 1; by < WI_WARP; by *= 2) {
            const int lower = __shfl_up_sync(0xffffffff, sum, by);
            sum += lane >= by ? lower : 0;
        }
        const unsigned behind = __ballot_sync(0xffffffff, sum > tile);
        if (behind) {
            const int at = __ffs((int)behind) - 1;
            const int inside = tile - (__shfl_sync(0xffffffff, sum, at) - __shfl_sync(0xffffffff, tiles, at));
            out->group = first + at;
            out->token = __shfl_sync(0xffffffff, begin, at) + (int64_t)inside * tokens;
            out->end = __shfl_sync(0xffffffff, end, at);
            return true;
        }
        tile -= __shfl_sync(0xffffffff, sum, WI_WARP - 1);
    }
    return false;
}

// Which tile a block has: turns of `turn` row tiles, in a turn token tile by token tile.
static __device__ __forceinline__ bool wi_gemm_tile(const wi_gemm_task &t, int turn, int tokens, int *row_tile,
                                                    wi_gemm_tokens *out)
{
    const int all = turn * t.token_tiles, first = (int)blockIdx.x / all * turn;
    const int inside = (int)blockIdx.x % all;
    const int rows = t.row_tiles - first < turn ? t.row_tiles - first : turn;
    *row_tile = first + inside % rows;
    return wi_gemm_find_tokens(t, inside / rows, tokens, out);
}

// ---- the epilogue ---------------------------------------------------------------------------------------------------

// Of one result: what the tree gave of gate (or of all there is) and of up. `bias` is that of its weight.
static __device__ __forceinline__ float wi_gemm_finished(const wi_gemm_task &t, const float *bias, int64_t row,
                                                         int64_t column, float x, float up)
{
    if (bias) x += bias[column];
    if (t.addend) x += t.addend[(size_t)row * t.addend_stride + (size_t)column];
    x = wi_act_of(x, t.act);
    if (t.gate) {
        const int64_t other = t.columns + column;
        if (bias) up += bias[other];
        if (t.addend) up += t.addend[(size_t)row * t.addend_stride + (size_t)other];
        x *= up;
    }
    if (t.residual) x += t.residual[(size_t)row * t.residual_stride + (size_t)column];
    return x;
}

static __device__ __forceinline__ const float *wi_gemm_bias(const wi_gemm_task &t, int group)
{
    return t.bias ? t.bias + (size_t)group * t.bias_stride : NULL;
}

// Sums of `width` packed rows by tokens, [token][stride] in shared memory, to the result: a warp takes a token, a lane
// a column, so lines are written whole.
static __device__ void wi_gemm_finish(const wi_gemm_task &t, const float *sums, int stride, int width, int panel,
                                      const wi_gemm_tokens &of, int tokens, int thread, int threads)
{
    const int lane = thread % WI_WARP, columns = t.gate ? width / 2 : width;
    const float *bias = wi_gemm_bias(t, of.group);
    const int64_t first = (int64_t)panel * (t.gate ? WEFT_GEMM_PANEL / 2 : WEFT_GEMM_PANEL);
    for (int i = thread / WI_WARP; i < tokens && of.token + i < of.end; i += threads / WI_WARP)
        for (int c = lane; c < columns && first + c < t.columns; c += WI_WARP) {
            const float *from = sums + i * stride + (t.gate ? c / 8 * 16 + c % 8 : c);
            t.out[0][(size_t)(of.token + i) * t.out_stride + (size_t)(first + c)] =
                wi_gemm_finished(t, bias, of.token + i, first + c, from[0], t.gate ? from[8] : 0.0F);
        }
}

// ---- 16 x tokens sums of a warp -------------------------------------------------------------------------------------

// To [token][stride], `row` being the first of the 16 there.
template <int COUNT>
static __device__ __forceinline__ void wi_gemm_put(const float (&acc)[COUNT], float *to, int stride, int row)
{
    const int lane = (int)threadIdx.x % WI_WARP;
    float *at = to + lane % 4 * 2 * stride + row + lane / 4;
#pragma unroll
    for (int i = 0; i < COUNT; i++) at[(i / 4 * 8 + i % 2) * stride + i % 4 / 2 * 8] = acc[i];
}

// What is not needed until a leaf is done waits in shared memory, for then the compiler does not fill the registers
// with addresses before the loop over leaves.
struct wi_gemm_later {
    int64_t stride; // of the result
    wi_gemm_tokens of;
};

static __device__ __forceinline__ void wi_gemm_put_off(const wi_gemm_task &t, const wi_gemm_tokens &of,
                                                       volatile wi_gemm_later *later)
{
    later->stride = (int64_t)t.out_stride;
    later->of.group = of.group;
    later->of.token = of.token;
    later->of.end = of.end;
}

static __device__ __forceinline__ wi_gemm_tokens wi_gemm_tokens_of(const volatile wi_gemm_later *later)
{
    return {later->of.group, later->of.token, later->of.end};
}

// A root that is not the whole sum: to its matrix as it is.
template <int COUNT>
static __device__ __forceinline__ void wi_gemm_put_root(const wi_gemm_task &t, const float (&acc)[COUNT], int root,
                                                        int64_t row, const volatile wi_gemm_later *later)
{
    const int lane = (int)threadIdx.x % WI_WARP;
    const int64_t column = row + lane / 4, first = later->of.token + lane % 4 * 2, stride = later->stride;
    const int64_t left = later->of.end - first;
    const bool upper = column < t.columns, lower = column + 8 < t.columns;
    float *out = t.out[root] + first * stride + column;
#pragma unroll
    for (int i = 0; i < COUNT; i += 4) {
        if (upper && i * 2 < left) out[0] = acc[i];
        if (lower && i * 2 < left) out[8] = acc[i + 2];
        out += stride;
        if (upper && i * 2 + 1 < left) out[0] = acc[i + 1];
        if (lower && i * 2 + 1 < left) out[8] = acc[i + 3];
        out += 7 * stride;
    }
}

// Levels that were multiplied as they are take their rows' scales. `row` is the first of the 16 in the weight, which is
// the group's.
template <int COUNT>
static __device__ __forceinline__ void wi_gemm_scale(const wi_gemm_task &t, float (&acc)[COUNT], int row, int group)
{
    const int lane = (int)threadIdx.x % WI_WARP, at = row % WEFT_GEMM_PANEL + lane / 4;
    const int panel = row / WEFT_GEMM_PANEL < t.panels ? row / WEFT_GEMM_PANEL : t.panels - 1;
    const unsigned char *scales = t.data + (size_t)(group * t.panels + panel) * t.panel_bytes;
    const float upper = wi_load_as(t.scale_type, scales, at), lower = wi_load_as(t.scale_type, scales, at + 8);
#pragma unroll
    for (int i = 0; i < COUNT; i++) acc[i] = acc[i] * (i % 4 / 2 ? lower : upper);
}

// Sums that wait in shared memory, each thread's by themselves: [i][thread].
template <int COUNT>
static __device__ __forceinline__ void wi_gemm_push(const float (&acc)[COUNT], float *slot, int thread, int threads)
{
#pragma unroll
    for (int i = 0; i < COUNT; i++) slot[i * threads + thread] = acc[i];
}
template <int COUNT>
static __device__ __forceinline__ void wi_gemm_join(float (&acc)[COUNT], const float *slot, int thread, int threads)
{
#pragma unroll
    for (int i = 0; i < COUNT; i++) acc[i] = slot[i * threads + thread] + acc[i];
}

// ---- leaves dealt to blocks -----------------------------------------------------------------------------------------

// A leaf's sums to where the last block of the tile finds them; rows from `width` on are nobody's.
template <int COUNT>
static __device__ __forceinline__ void wi_gemm_put_leaf(const wi_gemm_task &t, const float (&acc)[COUNT], int leaf,
                                                        int tile, int row, int tokens)
{
    const int width = t.planes * WEFT_GEMM_PANEL;
    if (row < width) wi_gemm_put(acc, t.roots + (size_t)(leaf * t.row_tiles + tile) * tokens * width, width, row);
}

// By all `threads`, of barrier `id`: whether this block's leaf is the last of its tile.
static __device__ bool wi_gemm_is_last(const wi_gemm_task &t, int tile, int *word, int thread, int threads, int id)
{
    __threadfence();
    wi_barrier(id, threads);
    if (thread == 0) *word = atomicAdd(&t.tickets[tile], 1);
    wi_barrier(id, threads);
    const bool last = *word == t.leaves - 1;
    __threadfence();
    return last;
}

// Folds the leaves by the tree, one number a thread at a time, its waiting sums in `stack`, [slot][thread]. A whole sum
// goes to `sums`, [token][stride], any other root to its matrix.
static __device__ void wi_gemm_fold(const wi_gemm_task &t, float *sums, int stride, float *stack, int tokens, int tile,
                                    int thread, int threads)
{
    const int width = t.planes * WEFT_GEMM_PANEL;
    const size_t leaf = (size_t)t.row_tiles * tokens * width;
    const volatile float *from = t.roots + (size_t)tile * tokens * width;
    for (int e = thread; e < tokens * width && e / width < t.m; e += threads) {
        const int64_t column = (int64_t)tile * width + e % width;
        float x[WEFT_LEAVES];
#pragma unroll
        for (int l = 0; l < WEFT_LEAVES; l++) x[l] = l < t.leaves ? from[(size_t)l * leaf + e] : 0.0F;
#pragma unroll
        for (int l = 0; l < WEFT_LEAVES; l++) {
            if (l >= t.leaves) break;
            int top = t.leaf[l].top;
            for (int i = 0; i < t.leaf[l].merges; i++) x[l] = stack[--top * threads + thread] + x[l];
            const int root = t.leaf[l].root;
            if (root < 0)
                stack[top * threads + thread] = x[l];
            else if (t.whole)
                sums[e / width * stride + e % width] = x[l];
            else if (column < t.columns)
                t.out[root][(size_t)(e / width) * t.out_stride + (size_t)column] = x[l];
        }
    }
}

#endif
