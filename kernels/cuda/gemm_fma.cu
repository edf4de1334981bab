// The FMA family on a device: the chains of `ref`, one an output, so the same bits.
//
// A warp has a panel, a lane a row of it, and a few tokens; the block's four warps share the panel's codes, which come
// by cp.async through a ring, 64 columns a stage. Activations are read as they are, each warp those of its tokens, and
// stay for as many stages as fit. Grid: panels by tokens. Bound by the weight's bytes for few tokens, by fma for many.
#include "kernels/cuda/gemm.cuh"

enum { THREADS = 128, WARPS = THREADS / WI_WARP, COLUMNS = 64 };

struct fma_task {
    wi_gemm_task t;
    int begin[WEFT_LEAVES], end[WEFT_LEAVES]; // of leaves, columns held
    int k, padded, group;
    int64_t k_first, group_first;
    size_t zeros_at;
    const float *a;
    size_t a_stride;
    int pieces;
    const int64_t *piece_begin;
    const void *const *piece;
    const int32_t *index, *permutation;
};

static constexpr __host__ __device__ int stages_of(int tokens) { return tokens == 1 ? 8 : 3; }
// stages whose activations are read at once
static constexpr __host__ __device__ int span_of(int tokens) { return tokens == 1 ? 16 : 1; }
static constexpr __host__ __device__ int bits_of(weft_dtype type)
{
    return type == WEFT_F32 ? 32 : type == WEFT_I8 ? 8 : type == WEFT_I4 ? 4 : 16;
}
static constexpr __host__ __device__ int stage_bytes(weft_dtype type)
{
    return COLUMNS * WEFT_GEMM_PANEL * bits_of(type) / 8;
}

// Eight columns' levels of a lane's row, from a column that is a multiple of 8.
template <weft_dtype TYPE>
static __device__ __forceinline__ void levels(const unsigned char *codes, int column, const float *codebook,
                                              bool floats, float (&out)[8])
{
    const int lane = (int)threadIdx.x % WI_WARP;
    const uint32_t *words = (const uint32_t *)(const void *)codes;
    const uint16_t *halves = (const uint16_t *)(const void *)codes;
    const uint32_t eight = TYPE == WEFT_I4 ? words[column / 8 * WEFT_GEMM_PANEL + lane] : 0;
#pragma unroll
    for (int j = 0; j < 8; j++) {
        const int at = (column + j) * WEFT_GEMM_PANEL + lane;
        if constexpr (TYPE == WEFT_F32) out[j] = ((const float *)(const void *)codes)[at];
        if constexpr (TYPE == WEFT_F16) out[j] = wi_float_of_f16(halves[at]);
        if constexpr (TYPE == WEFT_BF16) {
            const uint32_t pair = words[(column + j) / 2 * WEFT_GEMM_PANEL + lane];
            out[j] = wi_float_of_bits(j & 1 ? pair & 0xffff0000 : pair << 16);
        }
        if constexpr (TYPE == WEFT_I8)
            out[j] = floats ? wi_float_of_e4m3(codes[at]) : (float)((const signed char *)codes)[at];
        if constexpr (TYPE == WEFT_I4) out[j] = codebook[eight >> (16 * (j & 1) + 4 * (j / 2)) & 15];
    }
}

// Columns [from, end) of a stage on top of the chains; with zeros, activations on top of their sums too.
template <weft_dtype TYPE, int TOKENS>
static __device__ __forceinline__ void chain(const unsigned char *codes, const float *a, int stride, int from, int end,
                                             bool totals, const float *codebook, bool floats, float (&sum)[TOKENS],
                                             float (&total)[TOKENS])
{
    for (; from < end; from += 8) {
        float w[8];
        levels<TYPE>(codes, from, codebook, floats, w);
#pragma unroll
        for (int i = 0; i < TOKENS; i++) {
            const float4 low = *(const float4 *)(const void *)(a + i * stride + from);
            const float4 high = *(const float4 *)(const void *)(a + i * stride + from + 4);
            const float x[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
            for (int j = 0; j < 8; j++)
                if (from + j < end) {
                    sum[i] = fmaf(x[j], w[j], sum[i]);
                    if (totals) total[i] += x[j];
                }
        }
    }
}

template <weft_dtype TYPE>
static __device__ __forceinline__ void fill(const fma_task &f, const unsigned char *panel, unsigned char *ring,
                                            int stage)
{
    constexpr int column_bytes = WEFT_GEMM_PANEL * bits_of(TYPE) / 8;
    const int first = stage * COLUMNS, left = f.padded - first;
    const int bytes = left < COLUMNS ? left * column_bytes : stage_bytes(TYPE);
    const unsigned char *from = panel + f.t.codes_at + (size_t)first * column_bytes;
    for (int i = (int)threadIdx.x * 16; i < bytes; i += THREADS * 16) wi_copy16(ring + i, from + i, true);
}

// Of a warp's tokens, columns [first, first + span).
template <int TOKENS>
static __device__ __forceinline__ void read_activations(const fma_task &f, float *to, int64_t token, int64_t end,
                                                        int first)
{
    constexpr int span = span_of(TOKENS) * COLUMNS;
    for (int i = 0; i < TOKENS; i++) {
        const int64_t row = token + i;
        if (row >= end) return;
        const float *from = f.a + (size_t)(f.index ? f.index[row] : row) * f.a_stride;
        if (f.pieces) {
            int p = 0;
            while (f.piece_begin[p + 1] <= row) p++;
            from = (const float *)f.piece[p] + (size_t)(row - f.piece_begin[p]) * f.a_stride;
        }
        for (int c = (int)threadIdx.x % WI_WARP; c < span && first + c < f.k; c += WI_WARP)
            to[i * span + c] = from[f.permutation ? f.permutation[first + c] : first + c];
    }
}

static __device__ __forceinline__ void finish(const wi_gemm_task &t, const wi_gemm_tokens &of, float x, int root,
                                              int64_t row)
{
    const int lane = (int)threadIdx.x % WI_WARP;
    const float up = __shfl_down_sync(0xffffffff, x, WEFT_GEMM_PANEL / 2);
    const int64_t column = (int64_t)blockIdx.x * (t.gate ? WEFT_GEMM_PANEL / 2 : WEFT_GEMM_PANEL) + lane;
    if (row >= of.end || column >= t.columns || (t.gate && lane >= WEFT_GEMM_PANEL / 2)) return;
    if (t.whole) x = wi_gemm_finished(t, wi_gemm_bias(t, of.group), row, column, x, up);
    t.out[root][(size_t)row * t.out_stride + (size_t)column] = x;
}

template <weft_dtype TYPE, int TOKENS>
static __global__ void __launch_bounds__(THREADS, 1) gemm_fma(const __grid_constant__ fma_task f)
{
    constexpr int stages = stages_of(TOKENS), span = span_of(TOKENS);
    __shared__ float codebook[16];
    unsigned char *ring = wi_shared();
    const int thread = (int)threadIdx.x, warp = thread / WI_WARP, lane = thread % WI_WARP;
    float *a = (float *)(void *)(ring + stages * stage_bytes(TYPE)) + warp * TOKENS * span * COLUMNS;
    float *stack = (float *)(void *)(ring + stages * stage_bytes(TYPE)) + WARPS * TOKENS * span * COLUMNS + thread;
    wi_gemm_tokens of;
    if (!wi_gemm_find_tokens(f.t, (int)blockIdx.y, WARPS * TOKENS, &of)) return;
    const int64_t token = of.token + warp * TOKENS;
    const unsigned char *panel = f.t.data + ((size_t)of.group * (size_t)f.t.panels + blockIdx.x) * f.t.panel_bytes;
    const int count = (f.k + COLUMNS - 1) / COLUMNS;
    if (thread < 16) codebook[thread] = f.t.codebook[thread];
    for (int s = 0; s < stages - 1; s++) {
        if (s < count) fill<TYPE>(f, panel, ring + s * stage_bytes(TYPE), s);
        wi_copy_commit();
    }
    int ready = -1; // the stage in hand
    float acc[TOKENS], sum[TOKENS], total[TOKENS];
    for (int l = 0; l < f.t.leaves; l++) {
#pragma unroll
        for (int i = 0; i < TOKENS; i++) acc[i] = 0.0F;
        for (int k = f.begin[l], next; k < f.end[l]; k = next) {
            const int64_t group = f.group ? (f.k_first + k) / f.group - f.group_first : 0;
            const int64_t whole = f.group ? (group + f.group_first + 1) * f.group - f.k_first : f.end[l];
            next = whole < f.end[l] ? (int)whole : f.end[l];
#pragma unroll
            for (int i = 0; i < TOKENS; i++) sum[i] = total[i] = 0.0F;
            for (int at = k, stop; at < next; at = stop) {
                const int stage = at / COLUMNS, first = stage * COLUMNS;
                stop = first + COLUMNS < next ? first + COLUMNS : next;
                if (stage != ready) {
                    wi_copy_wait<stages - 2>();
                    __syncthreads();
                    const int ahead = stage + stages - 1;
                    if (ahead < count) fill<TYPE>(f, panel, ring + ahead % stages * stage_bytes(TYPE), ahead);
                    wi_copy_commit();
                    if (stage % span == 0) read_activations<TOKENS>(f, a, token, of.end, first);
                    __syncwarp();
                    ready = stage;
                }
                if (token < of.end)
                    chain<TYPE, TOKENS>(ring + stage % stages * stage_bytes(TYPE), a + stage % span * COLUMNS,
                                        span * COLUMNS, at - first, stop - first, f.t.has_zero, codebook, f.t.floats,
                                        sum, total);
            }
            if (f.t.scaled) {
                const int index = (int)group * WEFT_GEMM_PANEL + lane;
                const float scale = wi_load_as(f.t.scale_type, panel, index);
                const float zero = f.t.has_zero ? wi_load_as(f.t.zero_type, panel + f.zeros_at, index) : 0.0F;
#pragma unroll
                for (int i = 0; i < TOKENS; i++) {
                    if (f.t.has_zero) sum[i] = fmaf(-zero, total[i], sum[i]);
                    acc[i] = fmaf(scale, sum[i], acc[i]);
                }
            } else {
#pragma unroll
                for (int i = 0; i < TOKENS; i++) acc[i] = sum[i];
            }
        }
        int top = f.t.leaf[l].top;
        for (int j = 0; j < f.t.leaf[l].merges; j++) {
            top--;
#pragma unroll
            for (int i = 0; i < TOKENS; i++) acc[i] = stack[(top * TOKENS + i) * THREADS] + acc[i];
        }
        // a root passes by shared memory as well, so that what finishes it stands here once
        if (f.t.leaf[l].root >= 0) top = f.t.slots;
#pragma unroll
        for (int i = 0; i < TOKENS; i++) stack[(top * TOKENS + i) * THREADS] = acc[i];
        if (f.t.leaf[l].root < 0) continue;
#pragma unroll 1
        for (int i = 0; i < TOKENS; i++)
            finish(f.t, of, stack[(top * TOKENS + i) * THREADS], f.t.leaf[l].root, token + i);
    }
}

template <weft_dtype TYPE, int TOKENS> static void launch(const weft_op *op, const fma_task &f)
{
    const size_t shared = (size_t)stages_of(TOKENS) * stage_bytes(TYPE) +
                          (size_t)WARPS * TOKENS * span_of(TOKENS) * COLUMNS * sizeof(float) +
                          (size_t)(f.t.slots + 1) * TOKENS * THREADS * sizeof(float);
    const dim3 grid((unsigned)f.t.panels, (unsigned)wi_gemm_token_tiles(f.t, WARPS * TOKENS));
    wi_launch(op, "gemm: fma", gemm_fma<TYPE, TOKENS>, grid, dim3(THREADS), shared, f);
}

template <weft_dtype TYPE> static void launch_width(const weft_op *op, const fma_task &f)
{
    const int64_t rows = wi_gemm_rows_each(f.t);
    if (rows <= WARPS)
        launch<TYPE, 1>(op, f);
    else if (rows <= WARPS * 4)
        launch<TYPE, 4>(op, f);
    else
        launch<TYPE, 16>(op, f);
}

void wi_cuda_gemm_fma(const weft_op *op, const weft_gemm_weight *w, const weft_gemm_args *args)
{
    if (args->m < 1) return;
    fma_task f = {};
    f.t = wi_gemm_task_of(op, w, args);
    for (int l = 0; l < w->leaves; l++) f.begin[l] = (int)w->leaf[l].begin, f.end[l] = (int)w->leaf[l].end;
    f.k = (int)w->k;
    f.padded = (int)w->padded;
    f.group = w->group;
    f.k_first = w->k_first;
    f.group_first = w->group_first;
    f.zeros_at = w->zeros_at;
    f.a = args->a;
    f.a_stride = args->a_stride;
    if (args->rows) {
        f.pieces = args->rows->count;
        f.piece_begin = wi_arrived(op, args->rows->begin, (size_t)f.pieces + 1);
        f.piece = wi_arrived(op, args->rows->piece, (size_t)f.pieces);
    }
    f.index = wi_arrived(op, args->index, (size_t)args->m);
    f.permutation = w->permutation;
    if (w->type == WEFT_F32) launch_width<WEFT_F32>(op, f);
    if (w->type == WEFT_F16) launch_width<WEFT_F16>(op, f);
    if (w->type == WEFT_BF16) launch_width<WEFT_BF16>(op, f);
    if (w->type == WEFT_I8 || w->type == WEFT_E4M3) launch_width<WEFT_I8>(op, f);
    if (w->type == WEFT_I4) launch_width<WEFT_I4>(op, f);
}
