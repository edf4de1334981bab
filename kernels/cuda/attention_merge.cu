// Joining parts by the tree over places: those that attention left in scratch, and those of the op that merges.
#include "kernels/cuda/attention.cuh"

enum { THREADS = 128, NODES = 2 * WI_PLACES - 1, ROW_BLOCKS = 8 };

// The tree over the places, a node for each aligned subtree, level by level: the places, then pairs and so on up to the
// root. A part over several places stands at the first of them; those beside it are empty.
struct tree {
    const float *o[WI_PLACES];
    wi_joined node[NODES];
};

static __device__ void put_nothing(tree *t, int place)
{
    t->o[place] = NULL;
    t->node[place].m = -wi_infinity();
    t->node[place].l = 0;
}

// m and l of all nodes, and how their columns are joined. Called by the block, between barriers.
static __device__ void join_nodes(tree *t)
{
    for (int level = WI_PLACES / 2, below = 0, here = WI_PLACES; level > 0; level /= 2) {
        const int i = (int)threadIdx.x;
        if (i < level) {
            const wi_joined &x = t->node[below + 2 * i], &y = t->node[below + 2 * i + 1];
            t->node[here + i] = wi_join_parts(x.m, x.l, y.m, y.l);
        }
        below = here;
        here += level;
        __syncthreads();
    }
}

template <int LEVEL, int HERE> static __device__ __forceinline__ void join_level(const tree *t, float (&v)[WI_PLACES])
{
#pragma unroll
    for (int i = 0; i < LEVEL; i++) v[i] = wi_join_value(t->node[HERE + i], v[2 * i], v[2 * i + 1]);
    if constexpr (LEVEL > 1) join_level<LEVEL / 2, HERE + LEVEL>(t, v);
}

// One column of the root, by the same steps.
static __device__ float join_column(const tree *t, size_t column)
{
    float v[WI_PLACES];
#pragma unroll
    for (int p = 0; p < WI_PLACES; p++) v[p] = t->node[p].l != 0 ? t->o[p][column] : 0;
    join_level<WI_PLACES / 2, WI_PLACES>(t, v);
    return v[0];
}

// The rows of a tile whose parts are in scratch, root by root. A block takes a row at a time; the x of the grid steps
// over tiles, its y over rows. Bound by reading the parts.
static __global__ void join_parts(wi_attention w)
{
    __shared__ tree nodes;
    const int64_t groups = w.plan[w.request_count].groups;
    for (int64_t g = blockIdx.x; g < groups; g += gridDim.x) {
        wi_tile t;
        const int request = wi_request_of(w.plan, w.request_count, g, &wi_attention_plan::groups);
        const wi_attention_plan p = w.plan[request];
        const uint32_t places = wi_rotated(w.places, w.requests[request].rotation);
        wi_tile_at(w, request, g - p.groups, &t);
        const int columns = w.cache.v_size - t.column < w.tile_columns ? w.cache.v_size - t.column : w.tile_columns;
        const float *parts = w.parts + (size_t)(p.parts + (g - p.groups) * p.pieces) * w.part_floats;
        for (int row = (int)blockIdx.y; row < t.rows; row += (int)gridDim.y) {
            wi_row_pieces(places, p.each, p.pieces - 1, &t.piece);
            const int roots = t.piece.root + 1;
            for (int root = 0; root < roots; root++) {
                if (threadIdx.x < WI_PLACES) put_nothing(&nodes, (int)threadIdx.x);
                __syncthreads();
                if ((int)threadIdx.x < p.pieces) {
                    wi_row_pieces(places, p.each, (int)threadIdx.x, &t.piece);
                    const float *part = parts + (size_t)threadIdx.x * w.part_floats;
                    const float *m = part + (size_t)w.tile_rows * w.tile_columns + row, *l = m + w.tile_rows;
                    if (t.piece.root == root) {
                        nodes.o[t.piece.first] = part + (size_t)row * w.tile_columns;
                        nodes.node[t.piece.first].m = *m;
                        nodes.node[t.piece.first].l = *l;
                    }
                }
                __syncthreads();
                join_nodes(&nodes);
                t.part = -1;
                t.piece.root = root;
                const wi_joined &top = nodes.node[NODES - 1];
                const wi_store_part s = wi_store_row(w, t, row, top.m, top.l, threadIdx.x == 0);
                for (int c = (int)threadIdx.x; c < columns; c += THREADS)
                    s.o[c] = wi_stored(s, s.empty ? 0 : join_column(&nodes, (size_t)c));
                __syncthreads();
            }
        }
    }
}

void wi_attention_end(const weft_op *op, const wi_attention *w)
{
    const unsigned blocks = (unsigned)w->budget / 4;
    const int rows = w->rows * w->heads;
    wi_launch(op, "attention, join", join_parts, dim3(blocks, (unsigned)(rows < ROW_BLOCKS ? rows : ROW_BLOCKS)),
              THREADS, 0, *w);
}

struct merge_work {
    const weft_attention_part *parts;
    const float *sinks;
    float *out, *o, *m, *l;
    size_t out_stride;
    int part_count, rows, heads, v_size;
};

// A block joins the parts of one row and head. Bound by reading them.
static __global__ void merge_rows(merge_work w)
{
    __shared__ tree nodes;
    const size_t at = blockIdx.x, n = (size_t)w.v_size;
    if (threadIdx.x < WI_PLACES) put_nothing(&nodes, (int)threadIdx.x);
    __syncthreads();
    if ((int)threadIdx.x < w.part_count) {
        const weft_attention_part &part = w.parts[threadIdx.x];
        nodes.o[part.first] = part.o + at * n;
        nodes.node[part.first].m = part.m[at];
        nodes.node[part.first].l = part.l[at];
    }
    __syncthreads();
    join_nodes(&nodes);
    const wi_joined &top = nodes.node[NODES - 1];
    wi_attention a = {};
    wi_tile t = {};
    a.heads = w.heads, a.rows = w.rows;
    a.cache.v_size = w.v_size;
    a.out = w.out, a.out_stride = w.out_stride;
    a.row_m = w.m, a.row_l = w.l;
    a.part_o = w.o, a.part_m = w.m, a.part_l = w.l;
    a.sinks = w.out ? w.sinks : NULL;
    t.heads = w.heads;
    t.part = -1;
    const wi_store_part s = wi_store_row(a, t, (int)at, top.m, top.l, threadIdx.x == 0);
    for (size_t c = threadIdx.x; c < n; c += THREADS) s.o[c] = wi_stored(s, s.empty ? 0 : join_column(&nodes, c));
}

void wi_cuda_attention_merge(const weft_op *op, const weft_attention_merge *args)
{
    merge_work w = {};
    w.parts = wi_arrived(op, args->parts, (size_t)args->part_count);
    w.sinks = args->sinks;
    w.out = args->out, w.out_stride = args->out_stride;
    w.o = args->o, w.m = args->m, w.l = args->l;
    w.part_count = args->part_count;
    w.rows = args->rows, w.heads = args->heads, w.v_size = args->v_size;
    wi_launch(op, "attention, merge", merge_rows, dim3((unsigned)(args->rows * args->heads)), THREADS, 0, w);
}
