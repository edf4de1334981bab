// How a call of attention is cut, decided on the device: lengths differ from step to step, launches should not.
#include <assert.h>

#include "kernels/attention_device.inc"
#include "kernels/cuda/attention.cuh"

enum { THREADS = 128 };

static_assert(sizeof(wi_attention_plan) <= DEVICE_PLAN_BYTES, "the plan of a request");

// Sums of three kinds over the threads before this one; `all` gets those over all threads.
struct counts {
    int64_t at[3];
};

static __device__ counts sums_before(counts mine, counts *all)
{
    __shared__ counts sum[2][THREADS];
    int side = 0;
    sum[0][threadIdx.x] = mine;
    __syncthreads();
    for (unsigned step = 1; step < THREADS; step *= 2, side = !side) {
        counts s = sum[side][threadIdx.x];
        for (int k = 0; k < 3 && threadIdx.x >= step; k++) s.at[k] += sum[side][threadIdx.x - step].at[k];
        sum[!side][threadIdx.x] = s;
        __syncthreads();
    }
    const counts until = sum[side][threadIdx.x];
    *all = sum[side][THREADS - 1];
    __syncthreads();
    for (int k = 0; k < 3; k++) mine.at[k] = until.at[k] - mine.at[k];
    return mine;
}

static __device__ int largest_group(const wi_attention &w)
{
    int most = 0;
    for (int h = 0; h < w.cache.heads; h++) {
        int first, last;
        wi_head_range(w, h, &first, &last);
        most = last - first > most ? last - first : most;
    }
    return most;
}

// The tiles of a request, of all its heads, and how many chunks they see at most.
static __device__ int64_t request_tiles(const wi_attention &w, int request, int group, wi_attention_plan *p,
                                        int64_t *chunks)
{
    const weft_attention_request &r = w.requests[request];
    const int heads = group < w.tile_rows ? group : w.tile_rows;
    int64_t low = 0, high = 0, unused;
    p->slices = 0, p->tiles = 0, *chunks = 0;
    if (group == 0 || r.rows <= 0) return 0;
    p->slices = (group + w.tile_rows - 1) / w.tile_rows;
    const int queries = w.tile_rows / heads;
    p->tiles = (r.rows + queries - 1) / queries;
    wi_query_sees(w, r, 0, &low, &unused);
    wi_query_sees(w, r, r.rows - 1, &unused, &high);
    if (low < high) *chunks = (high - 1) / WI_CHUNK - low / WI_CHUNK + 1;
    return (int64_t)w.cache.heads * p->slices * w.column_slices * p->tiles;
}

// A request is cut as far as its share of the budget goes, and not into more pieces than it has chunks.
static __device__ void cut(const wi_attention &w, int request, int64_t chunks, int64_t all_work, wi_attention_plan *p)
{
    const uint32_t places = wi_rotated(w.places, w.requests[request].rotation);
    wi_row_piece unused;
    p->each = WI_PLACES;
    p->pieces = wi_row_pieces(places, WI_PLACES, -1, &unused);
    for (int each = WI_PLACES / 2; each > 0 && WI_PLACES / each < 2 * chunks; each /= 2) {
        const int pieces = wi_row_pieces(places, each, -1, &unused);
        if ((int64_t)pieces * all_work > chunks * w.budget) break;
        p->each = each;
        p->pieces = pieces;
    }
}

// One block; each thread some requests that follow each other.
static __global__ void plan_requests(wi_attention w)
{
    const int group = largest_group(w), share = (w.request_count + THREADS - 1) / THREADS;
    const int begin = (int)threadIdx.x * share;
    const int end = begin + share < w.request_count ? begin + share : w.request_count;
    counts mine = {{0, 0, 0}}, all;
    wi_attention_plan p = {};
    int64_t chunks;
    for (int i = begin; i < end; i++) {
        const int64_t tiles = request_tiles(w, i, group, &p, &chunks);
        mine.at[0] += tiles * chunks;
    }
    sums_before(mine, &all);
    const int64_t all_work = all.at[0];
    mine.at[0] = 0;
    for (int i = begin; i < end; i++) {
        const int64_t tiles = request_tiles(w, i, group, &p, &chunks);
        cut(w, i, chunks, all_work, &p);
        w.plan[i] = p;
        mine.at[0] += tiles * p.pieces;
        mine.at[1] += p.each == WI_PLACES ? 0 : tiles * p.pieces;
        mine.at[2] += p.each == WI_PLACES ? 0 : tiles;
    }
    counts before = sums_before(mine, &all);
    for (int i = begin; i < end; i++) {
        wi_attention_plan *to = &w.plan[i];
        const int64_t tiles = (int64_t)w.cache.heads * to->slices * w.column_slices * to->tiles;
        to->items = before.at[0];
        to->parts = before.at[1];
        to->groups = before.at[2];
        before.at[0] += tiles * to->pieces;
        before.at[1] += to->each == WI_PLACES ? 0 : tiles * to->pieces;
        before.at[2] += to->each == WI_PLACES ? 0 : tiles;
    }
    if (threadIdx.x > 0) return;
    w.plan[w.request_count] = {all.at[0], all.at[1], all.at[2], 0, 0, WI_PLACES, 0};
}

// Requests of the host arrive with their block lists. Those of the device name lists of the device.
static const weft_attention_request *requests_arrived(const weft_op *op, const weft_attention *a)
{
    const size_t count = (size_t)a->request_count;
    const void *device;
    const weft_attention_request *there = wi_arrived(op, a->requests, count);
    if (there == a->requests) return there;
    weft_attention_request *with_lists =
        (weft_attention_request *)wi_arrive_room(op, count * sizeof *with_lists, &device);
    if (!with_lists) return NULL;
    for (size_t i = 0; i < count; i++) {
        const int64_t block = a->cache->block;
        with_lists[i] = a->requests[i];
        assert(!with_lists[i].tails);
        with_lists[i].blocks =
            wi_arrived(op, a->requests[i].blocks, (size_t)((a->requests[i].length + block - 1) / block));
    }
    return (const weft_attention_request *)device;
}

static void scratch_of(const weft_op *op, int v_size, unsigned blocks, int blocks_each, wi_attention *w)
{
    unsigned char *scratch = (unsigned char *)op->scratch;
    const size_t plan = device_plan_bytes(w->request_count), pending = device_pending_bytes(v_size);
    const size_t part = device_part_bytes(v_size);
    assert(op->scratch_bytes >= plan + blocks * (pending + DEVICE_PARTS_EACH * part));
    w->plan = (wi_attention_plan *)(void *)scratch;
    w->pending = (float *)(void *)(scratch + plan);
    w->pending_floats = pending / sizeof(float) / (size_t)blocks_each;
    w->parts = (float *)(void *)(scratch + plan + blocks * pending);
    w->part_floats = part / sizeof(float);
    w->budget = (int)blocks * DEVICE_PARTS_EACH;
}

unsigned wi_attention_begin(const weft_op *op, const weft_attention *a, wi_tiling tiling, wi_attention *w)
{
    const int columns = (a->cache->v_size + 15) / 16 * 16;
    *w = {};
    if (a->request_count <= 0 || a->rows <= 0 || a->heads <= 0) return 0;
    assert(!a->out || a->places == WEFT_FOLD_ALL);
    w->cache = wi_cache_task_of(a->cache);
    w->request_count = a->request_count;
    w->requests = requests_arrived(op, a);
    if (!w->requests) return 0;
    w->first_head = wi_arrived(op, a->first_head, (size_t)a->cache->heads + 1);
    w->q = a->q, w->q_stride = a->q_stride;
    w->sinks = a->sinks;
    w->out = a->out, w->out_stride = a->out_stride;
    w->row_m = a->row_m, w->row_l = a->row_l;
    w->part_o = a->part_o, w->part_m = a->part_m, w->part_l = a->part_l;
    w->window = a->window;
    w->scale = a->scale, w->softcap = a->softcap;
    w->cap_slope = a->softcap > 0 ? a->scale / a->softcap * (2 * 0x1.715476p+0F) : 0;
    w->causal = a->causal;
    w->places = a->places;
    w->rows = a->rows, w->heads = a->heads;
    w->tile_rows = tiling.rows;
    w->tile_columns = columns < tiling.columns ? columns : tiling.columns;
    w->column_slices = (columns + tiling.columns - 1) / tiling.columns;
    const size_t most = device_blocks(a->rows, a->heads), processors = (size_t)wi_processors(op);
    const unsigned blocks = (unsigned)(most < processors ? most : processors);
    scratch_of(op, a->cache->v_size, blocks, tiling.blocks_each, w);
    wi_launch(op, "attention, plan", plan_requests, dim3(1), THREADS, 0, *w);
    return blocks * (unsigned)tiling.blocks_each;
}
