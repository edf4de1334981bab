// Attention's FMA family: the bits of `ref` (kernels/cpu/attention_fma.inc). It serves f32 caches and the tests of all
// others; its speed is that of plain fma.
//
// A block takes ROWS rows and the 256 positions of a chunk at a time. Scores: a thread has one position and a chain for
// each row. Weights: a warp has two rows; l goes by sixteen of its lanes. O: a thread has one column of some rows, and
// keeps the chain of the class beside it. The parts of classes that wait lie in scratch, each thread's own. The grid is
// as wide as the device and steps over items. Bound by fma, two for each loaded value and row.
#include "kernels/cuda/attention.cuh"

enum { ROWS = 16, THREADS = 256, WARPS = THREADS / WI_WARP };

struct fma_shared {
    float q[ROWS * WEFT_HEAD_SIZE_MAX]; // (ROWS, k_size)
    float s[ROWS][WI_CHUNK];
    float m[ROWS], l[ROWS];             // of the chunk
    float chain_m[ROWS], chain_l[ROWS]; // of the class, then of what it is joined with
    wi_joined join[ROWS];
    int begin[ROWS], end[ROWS]; // of the chunk's positions that a row sees
};
static_assert(sizeof(fma_shared) <= 48 * 1024, "shared memory without asking");

static __device__ __forceinline__ float cap(float x, float softcap)
{
    const float y = x / softcap, e = wi_exp(y + y);
    return softcap * (1.0F - 2.0F / (e + 1.0F));
}

// Four neighbouring values of a row. TYPE INT8 serves fp8 too: `floats`.
template <int TYPE> static __device__ __forceinline__ float4 load_four(const unsigned char *row, int at, bool floats)
{
    if (TYPE == WEFT_CACHE_F32) return *(const float4 *)(row + (size_t)at * 4);
    if (TYPE == WEFT_CACHE_BF16) {
        const uint2 w = *(const uint2 *)(row + (size_t)at * 2);
        return make_float4(wi_float_of_bits(w.x << 16), wi_float_of_bits(w.x & 0xffff0000), wi_float_of_bits(w.y << 16),
                           wi_float_of_bits(w.y & 0xffff0000));
    }
    const uint32_t w = *(const uint32_t *)(row + at);
    if (floats)
        return make_float4(wi_cached_e4m3(w, 0), wi_cached_e4m3(w, 8), wi_cached_e4m3(w, 16), wi_cached_e4m3(w, 24));
    return make_float4((float)(int8_t)w, (float)(int8_t)(w >> 8), (float)(int8_t)(w >> 16), (float)(int8_t)(w >> 24));
}

template <int TYPE> static __device__ __forceinline__ float load_one(const unsigned char *at, bool floats)
{
    if (TYPE == WEFT_CACHE_F32) return *(const float *)at;
    if (TYPE == WEFT_CACHE_BF16) return wi_float_of_bf16(*(const uint16_t *)at);
    return floats ? wi_cached_e4m3(*at, 0) : (float)*(const int8_t *)at;
}

template <int TYPE> static __device__ constexpr size_t element(void)
{
    return TYPE == WEFT_CACHE_F32 ? 4 : TYPE == WEFT_CACHE_BF16 ? 2 : 1;
}

static __device__ void load_queries(const wi_attention &w, const wi_tile &t, fma_shared *s)
{
    const int size = w.cache.k_size;
    for (int i = (int)threadIdx.x; i < ROWS * size; i += THREADS) {
        const int row = i / size;
        float x = 0;
        if (row < t.rows) {
            const size_t head = (size_t)(t.head + row % t.heads);
            x = w.q[((size_t)t.row + row / t.heads) * w.q_stride + head * (size_t)size + (size_t)(i % size)];
        }
        s->q[i] = x;
    }
}

static __device__ void enter_chunk(const wi_attention &w, const wi_tile &t, int chunk, fma_shared *s)
{
    const int row = (int)threadIdx.x;
    if (row >= ROWS) return;
    int64_t low = 0, high = 0;
    if (row < t.rows) wi_query_sees(w, w.requests[t.request], t.first + row / t.heads, &low, &high);
    low -= (int64_t)chunk * WI_CHUNK;
    high -= (int64_t)chunk * WI_CHUNK;
    s->begin[row] = (int)(low < 0 ? 0 : low > WI_CHUNK ? WI_CHUNK : low);
    s->end[row] = (int)(high < 0 ? 0 : high > WI_CHUNK ? WI_CHUNK : high);
}

// The thread's position of the chunk with all rows.
template <int TYPE> static __device__ void score(const wi_attention &w, const wi_tile &t, int chunk, fma_shared *s)
{
    const wi_cache_view &c = w.cache;
    const int64_t p = (int64_t)chunk * WI_CHUNK + threadIdx.x;
    if (p < t.low || p >= t.high) return;
    const unsigned char *k = wi_cache_k(c, t.blocks[p / c.block], t.kv_head);
    const int at = (int)(p % c.block);
    const unsigned char *row = k + (size_t)at * (size_t)c.k_size * element<TYPE>();
    float x[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) x[r] = 0;
    for (int d = 0; d < c.k_size; d += 4) {
        const float4 v = load_four<TYPE>(row, d, c.type == WEFT_CACHE_FP8);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const float4 q = *(const float4 *)(s->q + r * c.k_size + d);
            x[r] = fmaf(q.x, v.x, x[r]);
            x[r] = fmaf(q.y, v.y, x[r]);
            x[r] = fmaf(q.z, v.z, x[r]);
            x[r] = fmaf(q.w, v.w, x[r]);
        }
    }
    const float scale = TYPE == WEFT_CACHE_INT8 ? ((const float *)(k + c.k_values))[at] : 1;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        if (TYPE == WEFT_CACHE_INT8) x[r] = x[r] * scale;
        x[r] = x[r] * w.scale;
        if (w.softcap > 0) x[r] = cap(x[r], w.softcap);
        s->s[r][threadIdx.x] = x[r];
    }
}

// Scores to weights, for one row by a warp.
template <int TYPE>
static __device__ void soften(const wi_attention &w, const wi_tile &t, int chunk, int row, fma_shared *s)
{
    const int lane = (int)threadIdx.x % WI_WARP, begin = s->begin[row], end = s->end[row];
    float *x = s->s[row], top = -wi_infinity();
    for (int i = lane; i < WI_CHUNK; i += WI_WARP) {
        if (i >= begin && i < end) top = x[i] > top ? x[i] : top;
    }
    for (int half = WI_WARP / 2; half > 0; half /= 2) {
        const float other = __shfl_xor_sync(0xffffffff, top, half);
        top = other > top ? other : top;
    }
    const float m = top + 0.0F, less = m == -wi_infinity() ? 0 : m;
    for (int i = lane; i < WI_CHUNK; i += WI_WARP) x[i] = i >= begin && i < end ? wi_exp(x[i] - less) : 0;
    __syncwarp();
    float sum = 0;
    for (int i = lane % 16; i < WI_CHUNK; i += 16) sum = sum + x[i];
    for (int half = 8; half > 0; half /= 2) sum = sum + __shfl_xor_sync(0xffffffff, sum, half);
    __syncwarp();
    for (int i = lane; TYPE == WEFT_CACHE_INT8 && i < WI_CHUNK; i += WI_WARP) {
        if (i < begin || i >= end) continue;
        const int64_t p = (int64_t)chunk * WI_CHUNK + i;
        const unsigned char *v = wi_cache_v(w.cache, t.blocks[p / w.cache.block], t.kv_head);
        x[i] = x[i] * ((const float *)(v + w.cache.v_values))[p % w.cache.block];
    }
    if (lane > 0) return;
    s->m[row] = begin < end ? m : -wi_infinity();
    s->l[row] = begin < end ? sum : 0;
}

// What a row does not see is not multiplied at all. RT rows of a thread, its column and the rows from `first` on.
template <int TYPE, int RT>
static __device__ void weigh(const wi_attention &w, const wi_tile &t, int chunk, const fma_shared *s, int first,
                             int column, float (&o)[RT])
{
    const wi_cache_view &c = w.cache;
    const int64_t from = (int64_t)chunk * WI_CHUNK;
    int begin = t.low > from ? (int)(t.low - from) : 0;
    const int end = t.high - from < WI_CHUNK ? (int)(t.high - from) : (int)WI_CHUNK;
#pragma unroll
    for (int r = 0; r < RT; r++) o[r] = 0;
    if (column >= c.columns) return;
    while (begin < end) {
        const int at = (int)((from + begin) % c.block), left = c.block - at;
        const int next = begin + left < end ? begin + left : end;
        const unsigned char *v = wi_cache_v(c, t.blocks[(from + begin) / c.block], t.kv_head) +
                                 ((size_t)at * (size_t)c.columns + (size_t)column) * element<TYPE>();
        for (int i = begin; i < next; i++, v += (size_t)c.columns * element<TYPE>()) {
            const float x = load_one<TYPE>(v, c.type == WEFT_CACHE_FP8);
#pragma unroll
            for (int r = 0; r < RT; r++) {
                if (i >= s->begin[first + r] && i < s->end[first + r]) o[r] = fmaf(s->s[first + r][i], x, o[r]);
            }
        }
        begin = next;
    }
}

// Factors of all rows for x (m and l in `m`, `l`) joined with what the block holds in chain_m and chain_l.
static __device__ void join_rows(fma_shared *s, float m, float l, bool chain_is_lower)
{
    const int row = (int)threadIdx.x;
    if (row >= ROWS) return;
    s->join[row] = chain_is_lower ? wi_join_parts(s->chain_m[row], s->chain_l[row], m, l)
                                  : wi_join_parts(m, l, s->chain_m[row], s->chain_l[row]);
    s->chain_m[row] = s->join[row].m;
    s->chain_l[row] = s->join[row].l;
}

// Each thread's part of a level: RT values and, of the threads that have a row, m and l.
template <int RT> static __device__ float *level_at(const wi_attention &w, int level)
{
    return w.pending + (size_t)blockIdx.x * w.pending_floats + (size_t)level * THREADS * (RT + 2) + threadIdx.x;
}

// The class at `place` is done and `next` is the next one with chunks, if there is `more`: it joins the parts that wait
// for its subtree, and waits itself where `next` belongs to the same one.
template <int RT>
static __device__ void climb(const wi_attention &w, fma_shared *s, int place, int next, bool more, uint32_t *waiting,
                             int first, float (&chain)[RT])
{
    for (int level = 0; level < WI_LEVELS; level++) {
        float *at = level_at<RT>(w, level);
        if (*waiting >> level & 1) {
            __syncthreads();
            join_rows(s, at[RT * THREADS], at[(RT + 1) * THREADS], false);
            __syncthreads();
#pragma unroll
            for (int r = 0; r < RT; r++) chain[r] = wi_join_value(s->join[first + r], at[r * THREADS], chain[r]);
            *waiting &= ~(1U << level);
        } else if (more && place >> (level + 1) == next >> (level + 1)) {
            __syncthreads();
#pragma unroll
            for (int r = 0; r < RT; r++) at[r * THREADS] = chain[r];
            if (threadIdx.x < ROWS) {
                at[RT * THREADS] = s->chain_m[threadIdx.x];
                at[(RT + 1) * THREADS] = s->chain_l[threadIdx.x];
            }
            *waiting |= 1U << level;
            return;
        }
    }
}

template <int TYPE, int RT> static __device__ void run_item(const wi_attention &w, const wi_tile &t, fma_shared *s)
{
    const int column = (int)threadIdx.x % (ROWS * RT), first = (int)threadIdx.x / (ROWS * RT) * RT;
    float o[RT], chain[RT];
    uint32_t waiting = 0;
    wi_walk now, next;
    wi_walk_begin(t, &next);
    bool more = wi_walk_next(&next), fresh = true;
    load_queries(w, t, s);
    if (threadIdx.x < ROWS) s->chain_m[threadIdx.x] = -wi_infinity(), s->chain_l[threadIdx.x] = 0;
#pragma unroll
    for (int r = 0; r < RT; r++) chain[r] = 0;
    while (more) {
        now = next;
        more = wi_walk_next(&next);
        __syncthreads();
        if (fresh && threadIdx.x < ROWS) s->chain_m[threadIdx.x] = -wi_infinity(), s->chain_l[threadIdx.x] = 0;
        enter_chunk(w, t, now.chunk, s);
        __syncthreads();
        score<TYPE>(w, t, now.chunk, s);
        __syncthreads();
        for (int row = (int)threadIdx.x / WI_WARP; row < ROWS; row += WARPS) soften<TYPE>(w, t, now.chunk, row, s);
        __syncthreads();
        weigh<TYPE, RT>(w, t, now.chunk, s, first, column, o);
        if (threadIdx.x < ROWS) join_rows(s, s->m[threadIdx.x], s->l[threadIdx.x], true);
        __syncthreads();
#pragma unroll
        for (int r = 0; r < RT; r++) chain[r] = wi_join_value(s->join[first + r], chain[r], o[r]);
        fresh = !more || next.place != now.place;
        if (fresh) climb<RT>(w, s, now.place, next.place, more, &waiting, first, chain);
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < RT; r++) {
        const int row = first + r;
        if (row >= t.rows || column >= w.cache.v_size) continue;
        const wi_store_part to = wi_store_row(w, t, row, s->chain_m[row], s->chain_l[row], column == 0);
        to.o[column] = wi_stored(to, chain[r]);
    }
    __syncthreads();
}

template <int TYPE, int RT> static __global__ void __launch_bounds__(THREADS, 1) attend(wi_attention w)
{
    __shared__ __align__(16) fma_shared s;
    const int64_t count = wi_item_count(w);
    for (int64_t i = blockIdx.x; i < count; i += gridDim.x) {
        wi_tile t;
        wi_item_at(w, i, &t);
        if (t.rows > 0) run_item<TYPE, RT>(w, t, &s);
    }
}

template <int TYPE> static void launch(const weft_op *op, unsigned grid, const wi_attention &w)
{
    if (w.cache.columns <= 4 * ROWS)
        wi_launch(op, "attention, fma", attend<TYPE, 4>, dim3(grid), THREADS, 0, w);
    else if (w.cache.columns <= 8 * ROWS)
        wi_launch(op, "attention, fma", attend<TYPE, 8>, dim3(grid), THREADS, 0, w);
    else
        wi_launch(op, "attention, fma", attend<TYPE, 16>, dim3(grid), THREADS, 0, w);
}

void wi_cuda_attention_fma(const weft_op *op, const weft_attention *args)
{
    wi_attention w;
    const unsigned grid = wi_attention_begin(op, args, {ROWS, WEFT_HEAD_SIZE_MAX, 2}, &w);
    if (grid == 0) return;
    if (w.cache.type == WEFT_CACHE_F32)
        launch<WEFT_CACHE_F32>(op, grid, w);
    else if (w.cache.type == WEFT_CACHE_BF16)
        launch<WEFT_CACHE_BF16>(op, grid, w);
    else
        launch<WEFT_CACHE_INT8>(op, grid, w);
    wi_attention_end(op, &w);
}
