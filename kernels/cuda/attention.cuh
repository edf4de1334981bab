// Attention on the device: how a call is cut into items, and what the families share. The order of every sum is that of
// kernels/attention.h; nothing here changes a bit of a result.
//
// A tile is some query rows of a request that share a KV head: row i is query i / heads from `first` on, query head
// i % heads. An item is a tile times a piece: an aligned subtree of the places held here. A block walks the chunks of
// an item by place, then ascending: the chunks of a class go into a chain in its registers, and classes wait in scratch
// for their partners in the tree, one part a level at most. Where a request is one piece (or one a root) the item's
// rows are finished where they are; else their parts go to scratch and a last kernel joins them.
//
// The grid is as large as the device; how requests are cut is decided on the device (attention_plan.cu), by what they
// need of all the work, so that the same launches serve all lengths.
#ifndef WEFT_KERNELS_CUDA_ATTENTION_CUH
#define WEFT_KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/cache.cuh"
#include "kernels/cuda/math.cuh"

enum { WI_CHUNK = WEFT_FOLD_CHUNK, WI_PLACES = WEFT_FOLD_PLACES, WI_LEVELS = 5 };

// One request's cut. Counts are those of the requests before it; the last stands behind all requests.
struct wi_attention_plan {
    int64_t items, parts, groups; // a group is all parts of a tile; both count cut requests alone
    int32_t tiles, slices;        // of a KV head: tiles of queries, times slices of a group larger than a tile
    int32_t each, pieces;         // places of a piece at most: WI_PLACES where rows are finished at once
};

// A call, as kernels take it.
struct wi_attention {
    wi_cache_view cache;
    const weft_attention_request *requests;
    const int *first_head;
    wi_attention_plan *plan; // (request_count + 1)
    float *pending, *parts;
    const float *q, *sinks;
    float *out, *row_m, *row_l, *part_o, *part_m, *part_l;
    size_t q_stride, out_stride;
    size_t pending_floats, part_floats; // of a block, of a part
    int64_t window;
    float scale, softcap, cap_slope; // e^(2 s scale / softcap) = 2^(s cap_slope)
    uint32_t places;
    int request_count, rows, heads;
    int tile_rows, tile_columns, column_slices; // columns of V that a tile takes, and how often
    int budget;                                 // parts that scratch has room for
    bool causal;
    bool tame; // results that are infinite are NaN: see attention_tile.cuh
};

// ---- the fold, as kernels/fold.c ------------------------------------------------------------------------------------

static __device__ __forceinline__ int wi_class_at(int place)
{
    int k = 0;
    for (int n = 2, bit = WI_PLACES / 2; n <= WI_PLACES; n *= 2, bit /= 2) {
        if (place & bit) k = n - 1 - k;
    }
    return k;
}

static __device__ __forceinline__ uint32_t wi_rotated(uint32_t places, int key)
{
    uint32_t rotated = 0;
    for (int p = 0; p < WI_PLACES; p++) {
        if (places >> p & 1) rotated |= 1U << (p ^ key);
    }
    return rotated;
}

struct wi_row_piece {
    int first, places, root;
};

// Counts the pieces of a set of places: its maximal aligned subtrees, cut into at most `each`. Piece `number` goes to
// `out`.
static __device__ __forceinline__ int wi_row_pieces(uint32_t places, int each, int number, wi_row_piece *out)
{
    int count = 0, root = 0;
    for (int p = 0; p < WI_PLACES;) {
        if (!(places >> p & 1)) {
            p++;
            continue;
        }
        int n = 1;
        while (n < WI_PLACES && p % (2 * n) == 0) {
            const uint32_t upper = ((1U << n) - 1) << (p + n);
            if ((places & upper) != upper) break;
            n *= 2;
        }
        const int size = n < each ? n : each;
        if (number >= count && number < count + n / size) {
            out->first = p + (number - count) * size;
            out->places = size;
            out->root = root;
        }
        count += n / size;
        p += n;
        root++;
    }
    return count;
}

// ---- items ----------------------------------------------------------------------------------------------------------

static __device__ __forceinline__ void wi_head_range(const wi_attention &w, int kv_head, int *first, int *last)
{
    const int each = w.heads / w.cache.heads;
    *first = w.first_head ? w.first_head[kv_head] : kv_head * each;
    *last = w.first_head ? w.first_head[kv_head + 1] : (kv_head + 1) * each;
}

static __device__ __forceinline__ void wi_query_sees(const wi_attention &w, const weft_attention_request &r, int query,
                                                     int64_t *low, int64_t *high)
{
    const int64_t at = r.position + query, after = at - w.window + 1;
    *low = w.window > 0 && after > 0 ? after : 0;
    *high = w.causal && at + 1 < r.length ? at + 1 : r.length;
    if (*high < *low) *high = *low;
}

struct wi_tile {
    const int32_t *blocks;
    int request, kv_head, column; // the first column of V
    int head, heads;              // query heads of the slice
    int first, rows;              // first query of the request, rows of the tile
    int row;                      // of q and out, of the first query
    wi_row_piece piece;
    int64_t part;      // in scratch; -1: rows are finished, or the piece's root is a plane
    int64_t low, high; // positions that some row sees
};

static __device__ __forceinline__ int wi_request_of(const wi_attention_plan *plan, int count, int64_t number,
                                                    int64_t wi_attention_plan::*kind)
{
    int low = 0, high = count;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (plan[middle].*kind <= number)
            low = middle;
        else
            high = middle;
    }
    return low;
}

// Group `n` of a request: which tile. Heads, slices of columns, and tiles from the last one on, which sees most.
static __device__ __forceinline__ void wi_tile_at(const wi_attention &w, int request, int64_t n, wi_tile *t)
{
    const weft_attention_request &r = w.requests[request];
    const wi_attention_plan &p = w.plan[request];
    const int tile = p.tiles - 1 - (int)(n % p.tiles);
    n /= p.tiles;
    t->column = (int)(n % w.column_slices) * w.tile_columns;
    n /= w.column_slices;
    const int slice = (int)(n % p.slices);
    int first, last;
    t->request = request;
    t->kv_head = (int)(n / p.slices);
    wi_head_range(w, t->kv_head, &first, &last);
    t->head = first + slice * w.tile_rows;
    t->heads = last - t->head < w.tile_rows ? last - t->head : w.tile_rows;
    t->rows = 0;
    t->low = t->high = 0;
    t->blocks = r.blocks;
    if (t->heads <= 0) return;
    const int queries = w.tile_rows / t->heads;
    t->first = tile * queries;
    t->row = r.row + t->first;
    const int left = r.rows - t->first;
    if (left <= 0) return;
    t->rows = (left < queries ? left : queries) * t->heads;
    int64_t unused;
    wi_query_sees(w, r, t->first, &t->low, &unused);
    wi_query_sees(w, r, t->first + (t->rows - 1) / t->heads, &unused, &t->high);
}

static __device__ __forceinline__ int64_t wi_item_count(const wi_attention &w) { return w.plan[w.request_count].items; }

static __device__ __forceinline__ void wi_item_at(const wi_attention &w, int64_t number, wi_tile *t)
{
    const int request = wi_request_of(w.plan, w.request_count, number, &wi_attention_plan::items);
    const wi_attention_plan &p = w.plan[request];
    const int64_t n = number - p.items;
    const int piece = (int)(n % p.pieces);
    wi_tile_at(w, request, n / p.pieces, t);
    wi_row_pieces(wi_rotated(w.places, w.requests[request].rotation), p.each, piece, &t->piece);
    t->part = p.each == WI_PLACES ? -1 : p.parts + n;
}

// ---- the walk over an item's chunks ---------------------------------------------------------------------------------

struct wi_walk {
    int place, end, turn; // turn: 2 * (rounds through all classes), + 1 on the way back
    int first, last;      // chunks
    int chunk;
};

static __device__ __forceinline__ void wi_walk_begin(const wi_tile &t, wi_walk *w)
{
    w->place = t.piece.first;
    w->end = t.low < t.high ? t.piece.first + t.piece.places : w->place;
    w->first = (int)(t.low / WI_CHUNK);
    w->last = (int)((t.high - 1) / WI_CHUNK);
    w->turn = w->first / (2 * WI_PLACES) * 2;
    w->chunk = -1;
}

static __device__ __forceinline__ bool wi_walk_next(wi_walk *w)
{
    const int lap = 2 * WI_PLACES;
    for (; w->place < w->end; w->place++, w->turn = w->first / lap * 2) {
        const int k = wi_class_at(w->place);
        while (w->turn / 2 * lap <= w->last) {
            w->chunk = w->turn / 2 * lap + (w->turn % 2 ? lap - 1 - k : k);
            w->turn++;
            if (w->chunk >= w->first && w->chunk <= w->last) return true;
        }
    }
    w->chunk = -1;
    return false;
}

// What a block works on, kept by one of its threads for all.
struct wi_work_now {
    wi_tile t;
    wi_walk next;               // the chunk after this one
    int chunk, place;           // of this one
    int next_chunk, next_place; // -1: there is none
    bool whole;                 // all rows see all positions of the chunk
};

static __device__ __forceinline__ void wi_work_begin(const wi_attention &w, int64_t item, wi_work_now *n)
{
    wi_item_at(w, item, &n->t);
    n->chunk = n->place = n->next_chunk = n->next_place = -1;
    if (n->t.rows == 0) return;
    wi_walk_begin(n->t, &n->next);
    if (!wi_walk_next(&n->next)) return;
    n->next_chunk = n->next.chunk;
    n->next_place = n->next.place;
}

static __device__ __forceinline__ bool wi_sees_whole(const wi_attention &w, const wi_tile &t, int chunk)
{
    const weft_attention_request &r = w.requests[t.request];
    int64_t low, high, unused;
    wi_query_sees(w, r, t.first, &unused, &high);
    wi_query_sees(w, r, t.first + (t.rows - 1) / t.heads, &low, &unused);
    return low <= (int64_t)chunk * WI_CHUNK && high >= ((int64_t)chunk + 1) * WI_CHUNK;
}

static __device__ __forceinline__ void wi_work_step(const wi_attention &w, wi_work_now *n)
{
    n->chunk = n->next_chunk;
    n->place = n->next_place;
    n->next_chunk = n->next_place = -1;
    if (n->chunk < 0) return;
    n->whole = wi_sees_whole(w, n->t, n->chunk);
    if (!wi_walk_next(&n->next)) return;
    n->next_chunk = n->next.chunk;
    n->next_place = n->next.place;
}

// ---- joining two parts ----------------------------------------------------------------------------------------------

enum { WI_BOTH, WI_LOWER, WI_UPPER }; // which of them there are

struct wi_joined {
    float m, l, a, b; // O = a * lower + b * upper, two products and one sum
    int which;
};

static __device__ __forceinline__ wi_joined wi_join_parts(float m1, float l1, float m2, float l2)
{
    wi_joined j = {m1, l1, 1, 0, WI_LOWER};
    if (l2 == 0) return j;
    if (l1 == 0) {
        j.m = m2, j.l = l2, j.which = WI_UPPER;
        return j;
    }
    j.m = m1 > m2 ? m1 : m2;
    j.a = wi_exp(m1 - j.m);
    j.b = wi_exp(m2 - j.m);
    const float lower = j.a * l1, upper = j.b * l2;
    j.l = lower + upper;
    j.which = WI_BOTH;
    return j;
}

static __device__ __forceinline__ float wi_join_value(const wi_joined &j, float lower, float upper)
{
    const float both = j.a * lower + j.b * upper;
    return j.which == WI_BOTH ? both : j.which == WI_LOWER ? lower : upper;
}

// ---- what becomes of a row ------------------------------------------------------------------------------------------

struct wi_store_part {
    float *o;       // its first column
    float scale, l; // scale * O / l, where l is not 0; parts keep O
    bool empty, divides, tame;
};

// Row i of a tile, whose part over the item's places is (O, m, l): writes m and l where they are wanted, and says where
// O goes. `one`: whether this thread is the row's one that writes them.
static __device__ __forceinline__ wi_store_part wi_store_row(const wi_attention &w, const wi_tile &t, int i, float m,
                                                             float l, bool one)
{
    wi_store_part s = {NULL, 1, 1, l == 0, false, w.tame};
    if (t.part >= 0) { // rows of tile_columns, then m, then l
        float *part = w.parts + (size_t)t.part * w.part_floats;
        s.o = part + (size_t)i * w.tile_columns;
        s.tame = false;
        if (one) {
            part[(size_t)w.tile_rows * w.tile_columns + i] = m;
            part[(size_t)w.tile_rows * w.tile_columns + w.tile_rows + i] = l;
        }
        return s;
    }
    const size_t row = (size_t)t.row + (size_t)(i / t.heads), head = (size_t)(t.head + i % t.heads);
    size_t at = row * (size_t)w.heads + head;
    one = one && t.column == 0;
    if (!w.out) {
        at += (size_t)t.piece.root * (size_t)w.rows * (size_t)w.heads;
        s.o = w.part_o + at * (size_t)w.cache.v_size + t.column;
        if (one) w.part_m[at] = m;
        if (one) w.part_l[at] = l;
        return s;
    }
    s.o = w.out + row * w.out_stride + head * (size_t)w.cache.v_size + t.column;
    s.divides = true;
    if (w.sinks) { // a part of m = sink, l = 1 and O = 0, on the right
        const float sink = w.sinks[head], top = s.empty || !(m > sink) ? sink : m;
        if (s.empty) {
            l = 1;
        } else {
            s.scale = wi_exp(m - top);
            l = s.scale * l + wi_exp(sink - top);
        }
        m = top;
    }
    s.l = l;
    if (one && w.row_m) w.row_m[at] = m;
    if (one && w.row_l) w.row_l[at] = l;
    return s;
}

static __device__ __forceinline__ float wi_stored(const wi_store_part &s, float o)
{
    if (s.empty) return 0;
    if (s.divides) o = s.scale * o / s.l;
    return s.tame && !(wi_size(o) < wi_infinity()) ? wi_nan() : o;
}

// ---- the host's side ------------------------------------------------------------------------------------------------

// How a family's kernel works.
struct wi_tiling {
    int rows, columns; // of a tile, at most
    int blocks_each;   // blocks of a multiprocessor
};

// Fills `w`, and launches what cuts the call. Returns the kernel's grid; 0: there is nothing to do.
unsigned wi_attention_begin(const weft_op *op, const weft_attention *args, wi_tiling tiling, wi_attention *w);
void wi_attention_end(const weft_op *op, const wi_attention *w); // joins what was cut

void wi_cuda_cache_write(const weft_op *op, const weft_cache_write *args);
void wi_cuda_cache_copy(const weft_op *op, const weft_cache_copy *args);
void wi_cuda_attention_fma(const weft_op *op, const weft_attention *args);
void wi_cuda_attention_mma(const weft_op *op, const weft_attention *args);
void wi_cuda_attention_wgmma(const weft_op *op, const weft_attention *args);
void wi_cuda_attention_merge(const weft_op *op, const weft_attention_merge *args);

#endif
