// Attention's MMA family: mma.sync of bf16 into f32, for bf16, int8 and fp8 caches. One instruction for a row alone and
// for a tile of them, so how queries are cut does not show. attention_tile.cuh says the arithmetic.
//
// A block takes 64 rows, a warp sixteen of them. A chunk's K and V come in four slots of 64 positions each, three steps
// ahead (cp.async; int8 and fp8 are widened on their way), in a ring that goes on over chunks. A warp keeps the scores
// of all 256 positions in registers, so that their largest is known before any weight; then O of the chunk and the
// class's chain. Two blocks a multiprocessor where shared memory allows. Decode is bound by bytes: a warp without rows
// only copies. Prefill is bound by mma and ldmatrix. Heads of V beyond 128 columns are two items.
#include "kernels/cuda/attention_tile.cuh"

enum { WARPS = 4, THREADS = WARPS * WI_WARP, ROWS = 64, KEYS = 64, SLOTS = 4, STEPS = 8 };

struct mma_layout {
    int k_row, v_row, k_steps; // bytes of a row in a slot; sixteens of k_size
    size_t slot_bytes;
};

struct mma_shared {
    unsigned char *q, *ring;
    float *scales; // (2, 256): of K, of V
    int *wild;
};

static inline mma_layout layout_of(const wi_attention &w, int columns)
{
    mma_layout l;
    l.k_row = (w.cache.k_size + 63) / 64 * 128;
    l.v_row = columns * 2;
    l.k_steps = (w.cache.k_size + 15) / 16;
    l.slot_bytes = (size_t)KEYS * (size_t)(l.k_row > l.v_row ? l.k_row : l.v_row);
    return l;
}

static inline size_t shared_bytes(const mma_layout &l)
{
    return (size_t)ROWS * (size_t)l.k_row + SLOTS * l.slot_bytes + 2 * WI_CHUNK * sizeof(float) + 16;
}

static __device__ __forceinline__ mma_shared shared_of(const mma_layout &l)
{
    mma_shared s;
    s.q = wi_shared();
    s.ring = s.q + ROWS * l.k_row;
    s.scales = (float *)(s.ring + SLOTS * l.slot_bytes);
    s.wild = (int *)(s.scales + 2 * WI_CHUNK);
    return s;
}

// Pieces of 16 bytes, mixed among eight rows so that ldmatrix meets no bank twice.
static __device__ __forceinline__ unsigned char *piece_at(unsigned char *rows, int row_bytes, int row, int piece)
{
    return rows + row * row_bytes + ((piece ^ (row & 7)) << 4);
}

// Two levels as bf16.
static __device__ __forceinline__ uint32_t widen(uint32_t levels, int shift, bool floats)
{
    float low = (float)(int8_t)(levels >> shift), high = (float)(int8_t)(levels >> (shift + 8));
    if (floats) low = wi_cached_e4m3(levels, shift), high = wi_cached_e4m3(levels, shift + 8);
    return wi_bits_of_float(low) >> 16 | (wi_bits_of_float(high) & 0xffff0000);
}

// 64 rows of K or V of a chunk, from `key` on, `size` columns of each from the `column`th: zeros where no row of the
// tile sees a position.
template <bool SCALED>
static __device__ __forceinline__ void load_rows(const wi_attention &w, const wi_tile &t, int chunk, int key, bool of_v,
                                                 int row_bytes, unsigned char *slot)
{
    const wi_cache_view &c = w.cache;
    const int columns = of_v ? c.columns : c.k_size, column = of_v ? t.column : 0;
#pragma unroll 1
    for (int row = (int)threadIdx.x / 8; row < KEYS; row += THREADS / 8) {
        const int p = chunk * WI_CHUNK + key + row;
        const bool seen = p >= t.low && p < t.high;
        const unsigned char *from = c.pool;
        if (seen) {
            const int32_t block = t.blocks[p >> c.shift];
            from = of_v ? wi_cache_v(c, block, t.kv_head) : wi_cache_k(c, block, t.kv_head);
            from += ((size_t)(p & (c.block - 1)) * (size_t)columns + (size_t)column) * (SCALED ? 1 : 2);
        }
#pragma unroll 1
        for (int piece = (int)threadIdx.x % 8; piece < row_bytes / 16; piece += 8) {
            const bool there = seen && column + piece * 8 < columns;
            unsigned char *to = piece_at(slot, row_bytes, row, piece);
            if (!SCALED) {
                wi_copy16(to, there ? from + piece * 16 : c.pool, there);
                continue;
            }
            uint2 levels = make_uint2(0, 0);
            if (there) levels = *(const uint2 *)(from + piece * 8);
            const bool floats = c.type == WEFT_CACHE_FP8;
            *(uint4 *)to = make_uint4(widen(levels.x, 0, floats), widen(levels.x, 16, floats),
                                      widen(levels.y, 0, floats), widen(levels.y, 16, floats));
        }
    }
}

// Step 0 to 3 is K, 4 to 7 is V, of 64 positions each. Steps beyond are those of the chunk after.
template <bool SCALED>
static __device__ __forceinline__ void load_step(const wi_attention &w, const mma_layout &l, const wi_tile &t,
                                                 const mma_shared &s, int chunk, int next, int step)
{
    if (step >= STEPS) chunk = next, step -= STEPS;
    if (chunk >= 0) {
        const bool of_v = step >= STEPS / 2;
        load_rows<SCALED>(w, t, chunk, step % (STEPS / 2) * KEYS, of_v, of_v ? l.v_row : l.k_row,
                          s.ring + step % SLOTS * l.slot_bytes);
    }
    wi_copy_commit();
}

static __device__ __forceinline__ void load_scales(const wi_attention &w, const wi_tile &t, int chunk, float *scales)
{
    const wi_cache_view &c = w.cache;
#pragma unroll 1
    for (int i = (int)threadIdx.x; i < WI_CHUNK; i += THREADS) {
        const int p = chunk * WI_CHUNK + i;
        float k = 0, v = 0;
        if (p >= t.low && p < t.high) {
            const int32_t block = t.blocks[p >> c.shift];
            const int at = (int)(p & (c.block - 1));
            k = ((const float *)(wi_cache_k(c, block, t.kv_head) + c.k_values))[at];
            v = ((const float *)(wi_cache_v(c, block, t.kv_head) + c.v_values))[at];
        }
        scales[i] = k;
        scales[WI_CHUNK + i] = v;
    }
}

static __device__ __forceinline__ void load_queries(const wi_attention &w, const mma_layout &l, const wi_tile &t,
                                                    unsigned char *q)
{
    const int pieces = l.k_row / 16;
#pragma unroll 1
    for (int i = (int)threadIdx.x; i < ROWS * pieces; i += THREADS) {
        const int row = i / pieces, piece = i % pieces;
        uint32_t pair[4];
#pragma unroll
        for (int n = 0; n < 4; n++) pair[n] = wi_query_pair(w, t, row, piece * 8 + 2 * n);
        *(uint4 *)piece_at(q, l.k_row, row, piece) = make_uint4(pair[0], pair[1], pair[2], pair[3]);
    }
}

// d[from..from+3] += a * b
template <int N>
static __device__ __forceinline__ void multiply(float (&d)[N], int from, const uint32_t (&a)[4], uint32_t b0,
                                                uint32_t b1)
{
    float sum[4] = {d[from], d[from + 1], d[from + 2], d[from + 3]};
    const uint32_t b[2] = {b0, b1};
    wi_mma(sum, a, b);
#pragma unroll
    for (int i = 0; i < 4; i++) d[from + i] = sum[i];
}

// The warp's rows with 64 positions.
static __device__ __forceinline__ void scores(const mma_layout &l, const mma_shared &s, int step, float (&x)[128])
{
    const int lane = (int)(threadIdx.x % WI_WARP), row = (int)(threadIdx.x / WI_WARP) * 16 + lane % 16;
    unsigned char *slot = s.ring + step % SLOTS * l.slot_bytes;
#pragma unroll
    for (int i = 0; i < 32; i++) x[step * 32 + i] = 0;
#pragma unroll 1
    for (int k = 0; k < l.k_steps; k++) {
        uint32_t a[4];
        wi_ldmatrix4(a, piece_at(s.q, l.k_row, row, 2 * k + lane / 16));
#pragma unroll
        for (int n = 0; n < KEYS; n += 16) {
            uint32_t b[4];
            wi_ldmatrix4(b, piece_at(slot, l.k_row, n + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
            multiply(x, step * 32 + n / 2, a, b[0], b[1]);
            multiply(x, step * 32 + n / 2 + 4, a, b[2], b[3]);
        }
    }
}

// O of the warp's rows gets 64 positions more.
template <int N>
static __device__ __forceinline__ void values(const mma_layout &l, const mma_shared &s, int step,
                                              const uint32_t (&p)[64], float (&o)[N])
{
    const int lane = (int)(threadIdx.x % WI_WARP);
    unsigned char *slot = s.ring + step % SLOTS * l.slot_bytes;
#pragma unroll
    for (int k = 0; k < KEYS / 16; k++) {
        const int at = (step - STEPS / 2) * KEYS / 4 + 4 * k;
        const uint32_t a[4] = {p[at], p[at + 1], p[at + 2], p[at + 3]};
#pragma unroll
        for (int n = 0; n < N / 4; n += 2) {
            uint32_t b[4];
            wi_ldmatrix4_t(b, piece_at(slot, l.v_row, 16 * k + lane % 16, n + lane / 16));
            multiply(o, 4 * n, a, b[0], b[1]);
            multiply(o, 4 * n + 4, a, b[2], b[3]);
        }
    }
}

// Values that are not finite leave the slot.
static __device__ __forceinline__ void tame_slot(const mma_layout &l, const mma_shared &s, int step)
{
    uint4 *slot = (uint4 *)(s.ring + step % SLOTS * l.slot_bytes);
    bool wild = false;
#pragma unroll 1
    for (int i = (int)threadIdx.x; i < KEYS * l.v_row / 16; i += THREADS) wi_tame_piece(slot + i, &wild);
    if (wild) *s.wild = 1;
}

// One barrier for warps with rows and without, which walk their own loops.
static __device__ __forceinline__ void together(void) { wi_barrier(1, THREADS); }

// What every warp does at a step: waits for its slot, and asks for the one three steps on.
template <bool SCALED>
static __device__ __forceinline__ void enter_step(const wi_attention &w, const mma_layout &l, const wi_work_now *n,
                                                  const mma_shared &s, int step)
{
    wi_copy_wait<2>();
    together();
    load_step<SCALED>(w, l, n->t, s, n->chunk, n->next_chunk, step + 3);
    if (step == 0) {
        if (SCALED) load_scales(w, n->t, n->chunk, s.scales);
        if (threadIdx.x == 0) *s.wild = 0;
    }
    if (SCALED || step < STEPS / 2 || n->whole) return;
    tame_slot(l, s, step);
    together();
}

static __device__ __forceinline__ void enter_chunk(const wi_attention &w, wi_work_now *n)
{
    together();
    if (threadIdx.x == 0) wi_work_step(w, n);
    together();
}

// A warp without rows only copies.
template <bool SCALED>
static __device__ __forceinline__ void run_idle(const wi_attention &w, const mma_layout &l, wi_work_now *n,
                                                const mma_shared &s)
{
    for (int step = 0; step < 3; step++) load_step<SCALED>(w, l, n->t, s, n->next_chunk, -1, step);
    while (n->next_chunk >= 0) {
        enter_chunk(w, n);
#pragma unroll 1
        for (int step = 0; step < STEPS; step++) enter_step<SCALED>(w, l, n, s, step);
    }
    wi_copy_wait<0>();
}

// Beside the scores of an int8 or fp8 cache there are not enough registers for the chain: it rests behind the parts
// that wait.
template <int N> static __device__ __forceinline__ float4 *chain_at(const wi_attention &w)
{
    return wi_waiting_parts(w) + WI_LEVELS * (N / 4 + 1) * THREADS;
}

template <int N, bool SCALED> static __device__ __forceinline__ void chain_load(const wi_attention &w, wi_chain<N> *c)
{
    const float4 *at = chain_at<N>(w);
#pragma unroll
    for (int i = 0; i < N && SCALED; i += 4) {
        const float4 four = at[i / 4 * THREADS];
        c->o[i] = four.x, c->o[i + 1] = four.y, c->o[i + 2] = four.z, c->o[i + 3] = four.w;
    }
}

template <int N, bool SCALED>
static __device__ __forceinline__ void chain_save(const wi_attention &w, const wi_chain<N> &c)
{
    float4 *at = chain_at<N>(w);
#pragma unroll
    for (int i = 0; i < N && SCALED; i += 4)
        at[i / 4 * THREADS] = make_float4(c.o[i], c.o[i + 1], c.o[i + 2], c.o[i + 3]);
}

// The weights of a chunk, and its O, at the end of the chain.
template <int N, bool SCALED, bool SHAPED, bool WHOLE>
static __device__ __forceinline__ void run_chunk(const wi_attention &w, const mma_layout &l, wi_work_now *n,
                                                 const mma_shared &s, bool first, wi_chain<N> *chain)
{
    float m[2], sum[2], o[N];
    uint32_t p[64];
    wi_two_rows r = {};
    {
        float x[128];
#pragma unroll
        for (int step = 0; step < STEPS / 2; step++) {
            enter_step<SCALED>(w, l, n, s, step);
            scores(l, s, step, x);
        }
        if (!WHOLE) wi_tile_begin(w, n->t, (int)(threadIdx.x / WI_WARP) * 16, &r);
        wi_soften<SCALED, SHAPED, WHOLE>(w, r, n->chunk, s.scales, x, p, m, sum);
    }
#pragma unroll
    for (int i = 0; i < N; i++) o[i] = 0;
#pragma unroll
    for (int step = STEPS / 2; step < STEPS; step++) {
        enter_step<SCALED>(w, l, n, s, step);
        values(l, s, step, p, o);
    }
    if (!SCALED && !WHOLE && *(volatile int *)s.wild) wi_poison(w, n->t, n->chunk, r, o);
    chain_load<N, SCALED>(w, chain);
    wi_chain_add(chain, first, o, m, sum);
    chain_save<N, SCALED>(w, *chain);
}

template <int N, bool SCALED, bool SHAPED>
static __device__ __forceinline__ void run_item(const wi_attention &w, const mma_layout &l, wi_work_now *n,
                                                const mma_shared &s)
{
    const int first = (int)(threadIdx.x / WI_WARP) * 16;
    uint32_t waiting = 0;
    wi_chain<N> chain = {};
    wi_chain_begin(&chain);
    chain_save<N, SCALED>(w, chain);
    for (int step = 0; step < 3; step++) load_step<SCALED>(w, l, n->t, s, n->next_chunk, -1, step);
    bool fresh = true;
    while (n->next_chunk >= 0) {
        enter_chunk(w, n);
        if (n->whole)
            run_chunk<N, SCALED, SHAPED, true>(w, l, n, s, fresh, &chain);
        else
            run_chunk<N, SCALED, SHAPED, false>(w, l, n, s, fresh, &chain);
        fresh = n->next_place != n->place;
        if (!fresh) continue;
        chain_load<N, SCALED>(w, &chain);
        wi_climb(wi_waiting_parts(w), THREADS, n->place, n->next_place, n->next_place >= 0, &waiting, &chain);
        chain_save<N, SCALED>(w, chain);
    }
    wi_copy_wait<0>();
    chain_load<N, SCALED>(w, &chain);
    wi_tile_store(w, n->t, first, chain);
}

template <int N, bool SCALED, bool SHAPED>
static __global__ void __launch_bounds__(THREADS, 2)
    attend(const __grid_constant__ wi_attention w, const __grid_constant__ mma_layout l)
{
    __shared__ wi_work_now n;
    const mma_shared s = shared_of(l);
    for (int i = (int)blockIdx.x; i < wi_item_count(w); i += (int)gridDim.x) {
        __syncthreads();
        if (threadIdx.x == 0) wi_work_begin(w, i, &n);
        __syncthreads();
        if (n.t.rows == 0) continue;
        load_queries(w, l, n.t, s.q);
        if ((int)(threadIdx.x / WI_WARP) * 16 < n.t.rows)
            run_item<N, SCALED, SHAPED>(w, l, &n, s);
        else
            run_idle<SCALED>(w, l, &n, s);
    }
}

template <int N, bool SCALED> static void launch(const weft_op *op, unsigned grid, const wi_attention &w)
{
    const mma_layout l = layout_of(w, 2 * N);
    const bool shaped = w.softcap > 0 || !(w.scale > 0);
    wi_launch(op, "attention, mma", shaped ? attend<N, SCALED, true> : attend<N, SCALED, false>, dim3(grid), THREADS,
              shared_bytes(l), w, l);
}

void wi_cuda_attention_mma(const weft_op *op, const weft_attention *args)
{
    wi_attention w;
    const unsigned grid = wi_attention_begin(op, args, {ROWS, 128, 2}, &w);
    if (grid == 0) return;
    w.tame = true;
    const bool narrow = w.cache.columns <= 64;
    if (w.cache.type >= WEFT_CACHE_INT8)
        narrow ? launch<32, true>(op, grid, w) : launch<64, true>(op, grid, w);
    else
        narrow ? launch<32, false>(op, grid, w) : launch<64, false>(op, grid, w);
    wi_attention_end(op, &w);
}
