// Attention's WGMMA family: wgmma of bf16 into f32 for bf16 caches with heads of up to 128 columns, prefill and decode
// by the same instructions; what it does not serve goes by the mma family's kernel, so the family's bits are a function
// of the cache's type and sizes. attention_tile.cuh says the arithmetic beside the products.
//
// A block takes 128 rows, two warpgroups 64 each; in decode the query heads of a KV head fill some rows of the first.
// A third warpgroup's first thread copies: whole chunks of K and of V, 256 positions, box by box from the paged pool
// (bulk tensor copies, zeros where a block is not there), into a ring of units in the 128-byte swizzle. A unit holds
// 256 rows of 64 columns, and those of the next 64 columns behind them. Scores of a chunk stand in registers, 64 x 256
// a warpgroup; weights become the A operand where they stand; V is read MN-major. While one warpgroup turns scores into
// weights the other multiplies, and while a unit is read the next ones come. Rows of fewer heads waste products, not
// bytes: decode stays bound by the copies, since a chunk's products take a third of its bytes' time.
#include "kernels/cuda/attention_tile.cuh"

enum {
    GROUPS = 2,
    CONSUMERS = GROUPS * 128,
    THREADS = CONSUMERS + 128,
    ROWS = GROUPS * 64,
    COLUMNS_MAX = 128,
    HALF_BYTES = WI_CHUNK * 128, // of 64 columns
    UNITS_MAX = 5,
    ALL_GROUPS = 1, // named barriers: both warpgroups; then one of each
};

template <int HALVES> struct shapes {
    static constexpr int units = HALVES == 1 ? UNITS_MAX : 2, unit_bytes = HALVES * HALF_BYTES;
    static constexpr int query_bytes = HALVES * 64 * 128, queries = units * unit_bytes;
    static constexpr int chains = queries + GROUPS * query_bytes; // (HALVES * 8, CONSUMERS) pieces of 16 bytes
    static constexpr int shared = chains + CONSUMERS * HALVES * 32 * (int)sizeof(float);
};

// What the roles of a block share beside the units.
struct wgmma_shared {
    uint64_t full[UNITS_MAX], empty[UNITS_MAX];
    wi_work_now now[GROUPS], ahead; // each role's own
    int wild;
};

#if WI_HOPPER

struct ring {
    int unit, parity; // the next unit, and the parity of its phase
};

template <int HALVES> static __device__ __forceinline__ void ring_next(ring *r)
{
    if (++r->unit < shapes<HALVES>::units) return;
    r->unit = 0;
    r->parity ^= 1;
}

template <int HALVES> static __device__ __forceinline__ unsigned char *unit_at(int unit)
{
    return wi_shared() + unit * shapes<HALVES>::unit_bytes;
}

template <int HALVES> static __device__ __forceinline__ unsigned char *queries_at(int group)
{
    return wi_shared() + shapes<HALVES>::queries + group * shapes<HALVES>::query_bytes;
}

// ---- the copying thread ---------------------------------------------------------------------------------------------

// One chunk of K or V. A block that is not here, or that no row sees, comes as zeros: from outside of the tensor.
template <int HALVES>
static __device__ __forceinline__ void copy_unit(const wi_attention &w, const wi_tile &t, const CUtensorMap *map,
                                                 int chunk, wgmma_shared *s, ring *r)
{
    const int shift = w.cache.shift, from = chunk * WI_CHUNK;
    unsigned char *unit = unit_at<HALVES>(r->unit);
    uint64_t *full = &s->full[r->unit];
    wi_mbar_wait(&s->empty[r->unit], r->parity ^ 1);
    wi_mbar_expect(full, (uint32_t)shapes<HALVES>::unit_bytes);
#pragma unroll 1
    for (int at = 0; at < WI_CHUNK; at += w.cache.block) {
        const bool seen = from + at < t.high && from + at + w.cache.block > t.low;
        const int block = seen ? t.blocks[(from + at) >> shift] : -1;
#pragma unroll
        for (int half = 0; half < HALVES; half++)
            wi_tensor3(unit + half * HALF_BYTES + at * 128, map, half * 64, t.kv_head << shift, block, full);
    }
    ring_next<HALVES>(r);
}

template <int HALVES>
static __device__ __forceinline__ void run_copies(const wi_attention &w, const CUtensorMap *k_map,
                                                  const CUtensorMap *v_map, wgmma_shared *s)
{
    wi_work_now *n = &s->ahead;
    ring r = {0, 0};
    wi_tensor_prefetch(k_map);
    wi_tensor_prefetch(v_map);
    for (int i = (int)blockIdx.x; i < wi_item_count(w); i += (int)gridDim.x) {
        wi_work_begin(w, i, n);
        while (n->next_chunk >= 0) {
            wi_work_step(w, n);
            copy_unit<HALVES>(w, n->t, k_map, n->chunk, s, &r);
            copy_unit<HALVES>(w, n->t, v_map, n->chunk, s, &r);
        }
    }
}

// ---- the warpgroups that multiply -----------------------------------------------------------------------------------

static __device__ __forceinline__ int own_group(void) { return (int)threadIdx.x / 128; }
static __device__ __forceinline__ void group_together(void) { wi_barrier(ALL_GROUPS + 1 + own_group(), 128); }

static __device__ __forceinline__ void release(wgmma_shared *s, int unit)
{
    __syncwarp();
    if (threadIdx.x % WI_WARP == 0) wi_mbar_arrive(&s->empty[unit]);
}

template <int HALVES> static __device__ __forceinline__ void load_queries(const wi_attention &w, const wi_tile &t)
{
    const int pieces = HALVES * 8, first = own_group() * 64;
    unsigned char *q = queries_at<HALVES>(own_group());
#pragma unroll 1
    for (int i = (int)threadIdx.x % 128; i < 64 * pieces; i += 128) {
        const int row = i / pieces, piece = i % pieces;
        uint32_t pair[4];
#pragma unroll
        for (int n = 0; n < 4; n++) pair[n] = wi_query_pair(w, t, first + row, piece * 8 + 2 * n);
        *(uint4 *)(q + piece / 8 * (64 * 128) + row * 128 + ((piece ^ row) & 7) * 16) =
            make_uint4(pair[0], pair[1], pair[2], pair[3]);
    }
    wi_proxy_fence();
}

template <int HALVES> static __device__ __forceinline__ void scores(wgmma_shared *s, ring *r, float (&x)[128])
{
    const unsigned char *q = queries_at<HALVES>(own_group()), *k = unit_at<HALVES>(r->unit);
    wi_mbar_wait(&s->full[r->unit], r->parity);
    wi_wgmma_own(x);
    wi_wgmma_fence();
#pragma unroll
    for (int i = 0; i < HALVES * 4; i++)
        wi_wgmma<256>(x, wi_descriptor(q + i / 4 * (64 * 128) + i % 4 * 32),
                      wi_descriptor(k + i / 4 * HALF_BYTES + i % 4 * 32), i > 0);
    wi_wgmma_commit();
    wi_wgmma_wait<0>();
    wi_wgmma_own(x);
    release(s, r->unit);
    ring_next<HALVES>(r);
}

// Values that are not finite leave the unit, by both warpgroups before either multiplies. Returns whether there were
// any.
template <int HALVES> static __device__ __forceinline__ bool tame_unit(wgmma_shared *s, int unit)
{
    uint4 *pieces = (uint4 *)unit_at<HALVES>(unit);
    bool wild = false;
    wi_barrier(ALL_GROUPS, CONSUMERS); // both see that it came
#pragma unroll 1
    for (int i = (int)threadIdx.x; i < HALVES * HALF_BYTES / 16; i += CONSUMERS) wi_tame_piece(pieces + i, &wild);
    if (wild) s->wild = 1;
    wi_proxy_fence();
    wi_barrier(ALL_GROUPS, CONSUMERS);
    wild = *(volatile int *)&s->wild != 0;
    wi_barrier(ALL_GROUPS, CONSUMERS);
    if (threadIdx.x == 0) s->wild = 0; // it is set again behind the next barrier
    return wild;
}

template <int HALVES>
static __device__ __forceinline__ void values(wgmma_shared *s, int unit, const uint32_t (&p)[64],
                                              float (&o)[HALVES * 32])
{
    const unsigned char *v = unit_at<HALVES>(unit);
    wi_wgmma_own(o);
    wi_wgmma_fence();
#pragma unroll
    for (int i = 0; i < WI_CHUNK / 16; i++) {
        const uint32_t a[4] = {p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3]};
        wi_wgmma_regs_t<HALVES * 64>(o, a, wi_descriptor_t(v + i * 16 * 128, HALF_BYTES), i > 0);
    }
    wi_wgmma_commit();
    wi_wgmma_wait<0>();
    wi_wgmma_own(o);
}

// The chunk that follows: one thread walks for its warpgroup.
static __device__ __forceinline__ void enter_chunk(const wi_attention &w, wi_work_now *n)
{
    group_together();
    if (threadIdx.x % 128 == 0) wi_work_step(w, n);
    group_together();
}

// A thread's chain rests in shared memory: beside the scores of a chunk there are not enough registers for it.
template <int HALVES> static __device__ __forceinline__ float4 *chain_at(void)
{
    return (float4 *)(wi_shared() + shapes<HALVES>::chains) + threadIdx.x;
}

template <int HALVES> static __device__ __forceinline__ void chain_load(wi_chain<HALVES * 32> *c)
{
    const float4 *at = chain_at<HALVES>();
#pragma unroll
    for (int i = 0; i < HALVES * 32; i += 4) {
        const float4 four = at[i / 4 * CONSUMERS];
        c->o[i] = four.x, c->o[i + 1] = four.y, c->o[i + 2] = four.z, c->o[i + 3] = four.w;
    }
}

template <int HALVES> static __device__ __forceinline__ void chain_save(const wi_chain<HALVES * 32> &c)
{
    float4 *at = chain_at<HALVES>();
#pragma unroll
    for (int i = 0; i < HALVES * 32; i += 4)
        at[i / 4 * CONSUMERS] = make_float4(c.o[i], c.o[i + 1], c.o[i + 2], c.o[i + 3]);
}

// The weights of a chunk, and its O, at the end of the chain.
template <int HALVES, bool SHAPED, bool WHOLE>
static __device__ __forceinline__ void run_chunk(const wi_attention &w, const wi_work_now *n, wgmma_shared *s, ring *r,
                                                 bool first, wi_chain<HALVES * 32> *chain)
{
    float m[2], sum[2], o[HALVES * 32];
    uint32_t p[64];
    wi_two_rows rows = {};
    {
        float x[128];
        scores<HALVES>(s, r, x);
        if (!WHOLE) wi_tile_begin(w, n->t, (int)(threadIdx.x / WI_WARP) * 16, &rows);
        wi_soften<false, SHAPED, WHOLE>(w, rows, n->chunk, NULL, x, p, m, sum);
    }
    wi_mbar_wait(&s->full[r->unit], r->parity);
    bool wild = false;
    if (!WHOLE) wild = tame_unit<HALVES>(s, r->unit);
    values<HALVES>(s, r->unit, p, o);
    release(s, r->unit);
    ring_next<HALVES>(r);
    if (!WHOLE && wild) wi_poison(w, n->t, n->chunk, rows, o);
    chain_load<HALVES>(chain);
    wi_chain_add(chain, first, o, m, sum);
    chain_save<HALVES>(*chain);
}

template <int HALVES, bool SHAPED>
static __device__ __forceinline__ void run_rows(const wi_attention &w, wi_work_now *n, wgmma_shared *s, ring *r)
{
    const int first = (int)(threadIdx.x / WI_WARP) * 16;
    uint32_t waiting = 0;
    wi_chain<HALVES * 32> chain = {};
    wi_chain_begin(&chain);
    chain_save<HALVES>(chain);
    bool fresh = true;
    while (n->next_chunk >= 0) {
        enter_chunk(w, n);
        if (n->whole)
            run_chunk<HALVES, SHAPED, true>(w, n, s, r, fresh, &chain);
        else
            run_chunk<HALVES, SHAPED, false>(w, n, s, r, fresh, &chain);
        fresh = n->next_place != n->place;
        if (!fresh) continue;
        chain_load<HALVES>(&chain);
        wi_climb(wi_waiting_parts(w), CONSUMERS, n->place, n->next_place, n->next_place >= 0, &waiting, &chain);
        chain_save<HALVES>(chain);
    }
    chain_load<HALVES>(&chain);
    wi_tile_store(w, n->t, first, chain);
}

// A warpgroup without rows lets the units go by.
template <int HALVES>
static __device__ __forceinline__ void run_idle(const wi_attention &w, wi_work_now *n, wgmma_shared *s, ring *r)
{
    while (n->next_chunk >= 0) {
        enter_chunk(w, n);
        wi_mbar_wait(&s->full[r->unit], r->parity);
        release(s, r->unit);
        ring_next<HALVES>(r);
        wi_mbar_wait(&s->full[r->unit], r->parity);
        if (!n->whole) tame_unit<HALVES>(s, r->unit);
        release(s, r->unit);
        ring_next<HALVES>(r);
    }
}

template <int HALVES, bool SHAPED>
static __device__ __forceinline__ void run_products(const wi_attention &w, wgmma_shared *s)
{
    wi_work_now *n = &s->now[own_group()];
    ring r = {0, 0};
    for (int i = (int)blockIdx.x; i < wi_item_count(w); i += (int)gridDim.x) {
        group_together();
        if (threadIdx.x % 128 == 0) wi_work_begin(w, i, n);
        group_together();
        if (own_group() * 64 >= n->t.rows) {
            run_idle<HALVES>(w, n, s, &r);
            continue;
        }
        load_queries<HALVES>(w, n->t);
        group_together();
        run_rows<HALVES, SHAPED>(w, n, s, &r);
    }
}

#endif

template <int HALVES, bool SHAPED>
static __global__ void __launch_bounds__(THREADS, 1)
    attend(const __grid_constant__ wi_attention w, const __grid_constant__ CUtensorMap k_map,
           const __grid_constant__ CUtensorMap v_map)
{
#if WI_HOPPER
    __shared__ wgmma_shared s;
    if (threadIdx.x == 0) {
        s.wild = 0;
        for (int i = 0; i < shapes<HALVES>::units; i++) {
            wi_mbar_init(&s.full[i], 1);
            wi_mbar_init(&s.empty[i], CONSUMERS / WI_WARP);
        }
        wi_mbar_init_done();
    }
    __syncthreads();
    if (threadIdx.x >= CONSUMERS) {
        wi_registers_down<24>();
        if (threadIdx.x == CONSUMERS) run_copies<HALVES>(w, &k_map, &v_map, &s);
    } else {
        wi_registers_up<240>();
        run_products<HALVES, SHAPED>(w, &s);
    }
#endif
}

// K or V of the layer as planes of blocks of rows: a head's positions follow those of the head before. As many planes
// as the pool's memory has room for.
static cudaError_t map_of(const weft_op *op, const wi_cache_view &c, bool of_v, CUtensorMap *out)
{
    const unsigned char *first = c.pool + (of_v ? c.v_offset : 0);
    const size_t width = (size_t)(of_v ? c.columns : c.k_size), rows = (size_t)c.heads * (size_t)c.block;
    const size_t plane = rows * width * 2, reach = wi_reach(op, first);
    if (reach < plane) return cudaErrorInvalidValue;
    return wi_tensor_map3(out, first, width, rows, width * 2, (reach - plane) / c.block_bytes + 1, c.block_bytes, 64,
                          (uint32_t)c.block, 1);
}

template <int HALVES>
static void launch(const weft_op *op, unsigned grid, const wi_attention &w, const CUtensorMap &k, const CUtensorMap &v)
{
    const bool shaped = w.softcap > 0 || !(w.scale > 0);
    wi_launch(op, "attention, wgmma", shaped ? attend<HALVES, true> : attend<HALVES, false>, dim3(grid), THREADS,
              (size_t)shapes<HALVES>::shared, w, k, v);
}

void wi_cuda_attention_wgmma(const weft_op *op, const weft_attention *args)
{
    const weft_cache *c = args->cache;
    wi_attention w;
    CUtensorMap k, v;
    if (c->type != WEFT_CACHE_BF16 || c->k_size > COLUMNS_MAX || c->v_size > COLUMNS_MAX) {
        wi_cuda_attention_mma(op, args);
        return;
    }
    const unsigned grid = wi_attention_begin(op, args, {ROWS, COLUMNS_MAX, 1}, &w);
    if (grid == 0) return;
    w.tame = true;
    cudaError_t status = map_of(op, w.cache, false, &k);
    if (status == cudaSuccess) status = map_of(op, w.cache, true, &v);
    if (status != cudaSuccess) {
        wi_failed(op, "attention, wgmma", status);
        return;
    }
    if (c->k_size <= 64 && c->v_size <= 64)
        launch<1>(op, grid, w, k, v);
    else
        launch<2>(op, grid, w, k, v);
    wi_attention_end(op, &w);
}
