// What the mma and wgmma families share: a warp's sixteen rows of a tile in the registers of the tensor cores. A thread
// has the rows lane / 4 and lane / 4 + 8 of its warp, h = 0 and 1, and of each eight columns those at 2 (lane % 4) and
// the next. Scores of a chunk are s[4 j + 2 h + x] for key 8 j + 2 (lane % 4) + x, O the same with columns of V.
//
// The arithmetic beside the products, which both families have:
//   s = x, times the key's scale of an int8 or fp8 cache. Where there is a soft-cap (or a scale that is not positive)
//       s = cap(s * scale) and scale is 1 from here on.
//   top = the largest s that the row sees; m = top * scale + 0
//   p = ex2.approx(fma(s, slope, -(top * slope))), slope = scale * log2(e); 0 where the row does not see
//   l = the sum of p by the sixteen lanes and their tree
//   P = bf16(p), times V's scale of such a cache before rounding; O = P V, sixteen keys a step, from 0 in each chunk.
// Chunks, classes and roots are joined as in all families.
//
// 0 * inf is NaN in a product, so a value of V that is not finite would reach rows that do not see it. In a chunk that
// some row of the tile does not see as a whole such values are replaced by 0 in shared memory, keys that nobody sees
// too, and the rows that do see one get a NaN in its column. For a row's bits not to depend on those beside it, what is
// infinite in the end is NaN everywhere: these families have no infinite results.
#ifndef WEFT_KERNELS_CUDA_ATTENTION_TILE_CUH
#define WEFT_KERNELS_CUDA_ATTENTION_TILE_CUH

#include "kernels/cuda/attention.cuh"

#define WI_LOG2E 0x1.715476p+0F

// What a thread knows of its two rows: the positions that they see. Rows that the tile lacks are as its last one, and
// never stored.
struct wi_two_rows {
    int low[2], high[2];
};

static __device__ __forceinline__ int wi_own_row(int first, int h)
{
    return first + (int)(threadIdx.x % WI_WARP) / 4 + 8 * h;
}

static __device__ __forceinline__ void wi_tile_begin(const wi_attention &w, const wi_tile &t, int first, wi_two_rows *r)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int64_t low, high;
        const int own = wi_own_row(first, h), row = own < t.rows ? own : t.rows - 1;
        wi_query_sees(w, w.requests[t.request], t.first + row / t.heads, &low, &high);
        r->low[h] = (int)low;
        r->high[h] = (int)high;
    }
}

// The same inside a chunk.
static __device__ __forceinline__ int wi_in_chunk(int position, int chunk)
{
    const int at = position - chunk * WI_CHUNK;
    return at < 0 ? 0 : at > WI_CHUNK ? (int)WI_CHUNK : at;
}

// ---- scores to weights ----------------------------------------------------------------------------------------------

static __device__ __forceinline__ float wi_quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, 2));
    return fmaxf(x, __shfl_xor_sync(0xffffffff, x, 1));
}

// softcap * tanh(s * scale / softcap), by e = e^(2 s scale / softcap); 1 / (e + 1) by three steps of Newton's: far from
// denormals and cheaper than a division.
static __device__ __forceinline__ float wi_capped(const wi_attention &w, float s)
{
    const float e = wi_exp2(s * w.cap_slope), d = (e > 0x1p60F ? 0x1p60F : e) + 1.0F;
    float r = wi_float_of_bits(0x7ef311c7 - wi_bits_of_float(d));
    r = r * fmaf(-d, r, 2.0F);
    r = r * fmaf(-d, r, 2.0F);
    r = r * fmaf(-d, r, 2.0F);
    return w.softcap * fmaf(-2.0F, r, 1.0F);
}

// Volatile, so that they come one by one: there are no registers for all at once.
static __device__ __forceinline__ float wi_scale_at(const float *scales, int i)
{
    return *(const volatile float *)(scales + i);
}

// SHAPED: by the soft-cap or a scale that is not positive. WHOLE: all rows of the tile see all positions of the chunk.
// `scales`: of the chunk's K, then of V, where SCALED.
template <bool SCALED, bool SHAPED, bool WHOLE>
static __device__ __forceinline__ void wi_soften(const wi_attention &w, const wi_two_rows &r, int chunk,
                                                 const float *scales, float (&s)[128], uint32_t (&p)[64], float (&m)[2],
                                                 float (&l)[2])
{
    const int at = 2 * (int)(threadIdx.x % 4);
#pragma unroll
    for (int i = 0; i < 128 && (SCALED || SHAPED); i++) {
        if (SCALED) s[i] = s[i] * wi_scale_at(scales + at, 8 * (i / 4) + i % 2);
        if (SHAPED) s[i] = w.softcap > 0 ? wi_capped(w, s[i]) : s[i] * w.scale;
    }
    if (!WHOLE) {
        int begin[2], end[2];
#pragma unroll
        for (int h = 0; h < 2; h++)
            begin[h] = wi_in_chunk(r.low[h], chunk) - at, end[h] = wi_in_chunk(r.high[h], chunk) - at;
#pragma unroll
        for (int i = 0; i < 128; i++) {
            const int key = 8 * (i / 4) + i % 2;
            s[i] = key >= begin[i / 2 % 2] && key < end[i / 2 % 2] ? s[i] : -wi_infinity();
        }
    }
    const float unit = SHAPED ? 1.0F : w.scale, slope = unit * WI_LOG2E;
    float less[2], sum[2][2][2] = {};
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float top = -wi_infinity();
#pragma unroll
        for (int j = 0; j < 32; j++) top = fmaxf(top, fmaxf(s[4 * j + 2 * h], s[4 * j + 2 * h + 1]));
        top = wi_quad_max(top);
        m[h] = top * unit + 0.0F;
        less[h] = top == -wi_infinity() ? 0.0F : -(top * slope);
    }
#pragma unroll
    for (int j = 0; j < 32; j++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float e[2];
#pragma unroll
            for (int x = 0; x < 2; x++) {
                e[x] = wi_exp2(fmaf(s[4 * j + 2 * h + x], slope, less[h]));
                sum[h][j % 2][x] = sum[h][j % 2][x] + e[x];
                if (SCALED) e[x] = e[x] == 0 ? 0.0F : e[x] * wi_scale_at(scales + at, WI_CHUNK + 8 * j + x);
            }
            p[j / 2 * 4 + j % 2 * 2 + h] = wi_bf16_pair(e[0], e[1]);
        }
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float lane[2];
#pragma unroll
        for (int x = 0; x < 2; x++) {
            lane[x] = sum[h][0][x] + sum[h][1][x];
            lane[x] = lane[x] + __shfl_xor_sync(0xffffffff, lane[x], 2);
            lane[x] = lane[x] + __shfl_xor_sync(0xffffffff, lane[x], 1);
        }
        l[h] = lane[0] + lane[1];
    }
}

// ---- values that are not finite -------------------------------------------------------------------------------------

static __device__ __forceinline__ bool wi_is_wild(uint32_t bf16) { return (bf16 & 0x7f80) == 0x7f80; }

static __device__ __forceinline__ uint32_t wi_tamed(uint32_t pair, bool *wild)
{
    if (wi_is_wild(pair)) pair &= 0xffff0000, *wild = true;
    if (wi_is_wild(pair >> 16)) pair &= 0x0000ffff, *wild = true;
    return pair;
}

// Eight values of V in shared memory.
static __device__ __forceinline__ void wi_tame_piece(uint4 *piece, bool *wild)
{
    uint4 v = *piece;
    v.x = wi_tamed(v.x, wild), v.y = wi_tamed(v.y, wild);
    v.z = wi_tamed(v.z, wild), v.w = wi_tamed(v.w, wild);
    *piece = v;
}

// A thread's O gets a NaN for every value that is not finite and that its row sees, read once more from the cache.
template <int N>
static __device__ __forceinline__ void wi_poison(const wi_attention &w, const wi_tile &t, int chunk,
                                                 const wi_two_rows &r, float (&o)[N])
{
    const wi_cache_view &c = w.cache;
    const int from = chunk * WI_CHUNK, low = r.low[0] < r.low[1] ? r.low[0] : r.low[1];
    const int high = r.high[0] > r.high[1] ? r.high[0] : r.high[1];
    const int begin = low > from ? low : from, end = high < from + WI_CHUNK ? high : from + WI_CHUNK;
#pragma unroll 1
    for (int p = begin; p < end; p++) {
        const uint16_t *v = (const uint16_t *)wi_cache_v(c, t.blocks[p >> c.shift], t.kv_head) +
                            (size_t)(p & (c.block - 1)) * (size_t)c.columns + t.column + 2 * (threadIdx.x % 4);
#pragma unroll
        for (int n = 0; n < N / 4; n++) {
            if (t.column + 8 * n >= c.columns) continue;
            const uint32_t pair = *(const uint32_t *)(v + 8 * n);
#pragma unroll
            for (int h = 0; h < 2; h++) {
                if (p < r.low[h] || p >= r.high[h]) continue;
                if (wi_is_wild(pair)) o[4 * n + 2 * h] = wi_nan();
                if (wi_is_wild(pair >> 16)) o[4 * n + 2 * h + 1] = wi_nan();
            }
        }
    }
}

// ---- chains, classes and the end ------------------------------------------------------------------------------------

// to = the join of lower and upper, one of which is `to` itself. Most often all rows of a warp are alike.
template <int N>
static __device__ __forceinline__ void wi_join_all(const wi_joined (&j)[2], const float (&lower)[N],
                                                   const float (&upper)[N], float (&to)[N])
{
    if (__all_sync(0xffffffff, j[0].which == WI_BOTH && j[1].which == WI_BOTH)) {
#pragma unroll
        for (int i = 0; i < N; i++) to[i] = j[i / 2 % 2].a * lower[i] + j[i / 2 % 2].b * upper[i];
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) to[i] = wi_join_value(j[i / 2 % 2], lower[i], upper[i]);
    }
}

template <int N> struct wi_chain {
    float o[N], m[2], l[2];
};

template <int N> static __device__ __forceinline__ void wi_chain_begin(wi_chain<N> *c)
{
#pragma unroll
    for (int h = 0; h < 2; h++) c->m[h] = -wi_infinity(), c->l[h] = 0;
}

// A chunk at the end of a chain; the first one is copied.
template <int N>
static __device__ __forceinline__ void wi_chain_add(wi_chain<N> *c, bool first, const float (&o)[N],
                                                    const float (&m)[2], const float (&l)[2])
{
    if (first) {
#pragma unroll
        for (int i = 0; i < N; i++) c->o[i] = o[i];
#pragma unroll
        for (int h = 0; h < 2; h++) c->m[h] = m[h], c->l[h] = l[h];
        return;
    }
    wi_joined j[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        j[h] = wi_join_parts(c->m[h], c->l[h], m[h], l[h]);
        c->m[h] = j[h].m, c->l[h] = j[h].l;
    }
    wi_join_all(j, c->o, o, c->o);
}

// The class at `place` is done and `next` is the next one with chunks, if there is `more`: it joins the parts that wait
// for its subtree, and waits itself where `next` belongs to the same one. `at`: where the thread's parts wait, sixteen
// bytes of it beside those of the other `threads`.
template <int N>
static __device__ __forceinline__ void wi_climb(float4 *at, int threads, int place, int next, bool more,
                                                uint32_t *waiting, wi_chain<N> *c)
{
#pragma unroll 1
    for (int level = 0; level < WI_LEVELS; level++, at += (N / 4 + 1) * threads) {
        if (*waiting >> level & 1) {
            const float4 sums = at[N / 4 * threads];
            wi_joined j[2];
            j[0] = wi_join_parts(sums.x, sums.y, c->m[0], c->l[0]);
            j[1] = wi_join_parts(sums.z, sums.w, c->m[1], c->l[1]);
#pragma unroll
            for (int i = 0; i < N; i += 4) {
                const float4 lower = at[i / 4 * threads];
                c->o[i] = wi_join_value(j[0], lower.x, c->o[i]);
                c->o[i + 1] = wi_join_value(j[0], lower.y, c->o[i + 1]);
                c->o[i + 2] = wi_join_value(j[1], lower.z, c->o[i + 2]);
                c->o[i + 3] = wi_join_value(j[1], lower.w, c->o[i + 3]);
            }
#pragma unroll
            for (int h = 0; h < 2; h++) c->m[h] = j[h].m, c->l[h] = j[h].l;
            *waiting &= ~(1U << level);
        } else if (more && place >> (level + 1) == next >> (level + 1)) {
#pragma unroll
            for (int i = 0; i < N; i += 4)
                at[i / 4 * threads] = make_float4(c->o[i], c->o[i + 1], c->o[i + 2], c->o[i + 3]);
            at[N / 4 * threads] = make_float4(c->m[0], c->l[0], c->m[1], c->l[1]);
            *waiting |= 1U << level;
            return;
        }
    }
}

// Where the parts of this thread wait.
static __device__ __forceinline__ float4 *wi_waiting_parts(const wi_attention &w)
{
    return (float4 *)(w.pending + (size_t)blockIdx.x * w.pending_floats) + threadIdx.x;
}

template <int N>
static __device__ __forceinline__ void wi_tile_store(const wi_attention &w, const wi_tile &t, int first,
                                                     const wi_chain<N> &c)
{
    const int left = w.cache.v_size - t.column, columns = left < w.tile_columns ? left : w.tile_columns;
    const int lane = (int)(threadIdx.x % 4);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int row = wi_own_row(first, h);
        if (row >= t.rows) continue;
        const wi_store_part s = wi_store_row(w, t, row, c.m[h], c.l[h], lane == 0);
#pragma unroll
        for (int n = 0; n < N / 4; n++) {
            if (8 * n >= columns) continue;
#pragma unroll
            for (int x = 0; x < 2; x++) s.o[8 * n + 2 * lane + x] = wi_stored(s, c.o[4 * n + 2 * h + x]);
        }
    }
}

// Two neighbouring columns of a query as bf16, zeros outside of the tile and of k_size.
static __device__ __forceinline__ uint32_t wi_query_pair(const wi_attention &w, const wi_tile &t, int row, int column)
{
    if (row >= t.rows || column >= w.cache.k_size) return 0;
    const float *q = w.q + ((size_t)t.row + (size_t)(row / t.heads)) * w.q_stride +
                     (size_t)(t.head + row % t.heads) * (size_t)w.cache.k_size + (size_t)column;
    return wi_bf16_pair(q[0], q[1]);
}

#endif
