// What comes before a GEMM of the tensor families: the run as its kernel takes it, and activations rounded to bf16 rows
// whose leaves begin at whole records.
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cuda/gemm.cuh"

enum { ROUND_THREADS = 256, ROUND_EACH = 8, ROUND_ROWS = 32768 };

struct rounding {
    const float *a; // (m, k), or pieces
    size_t stride;
    int pieces;
    const int64_t *begin;
    const void *const *piece;
    bool halves;
    const int32_t *index; // of `a`, or NULL
    const int32_t *permutation;
    int leaves;
    struct {
        int begin, end, at;
    } leaf[WEFT_LEAVES];
    int64_t m;
    int padded;
    uint16_t *out; // (m, padded)
    int *tickets;  // NULL, or counts that begin at 0
    int count;
};

static __device__ __forceinline__ const void *row_of(const rounding &r, int64_t row)
{
    if (!r.pieces) return r.a + (size_t)(r.index ? r.index[row] : row) * r.stride;
    int p = 0;
    while (r.begin[p + 1] <= row) p++;
    const size_t at = (size_t)(row - r.begin[p]) * r.stride;
    if (r.halves) return (const uint16_t *)r.piece[p] + at;
    return (const float *)r.piece[p] + at;
}

static __device__ __forceinline__ uint16_t rounded(const rounding &r, const void *row, int k)
{
    const int at = r.permutation ? r.permutation[k] : k;
    return r.halves ? ((const uint16_t *)row)[at] : wi_bf16_of_normal(((const float *)row)[at]);
}

// A thread rounds eight columns of a row, a block 2048. Grid: columns by rows. Bound by the bytes of the activations,
// and for few rows by its launch.
static __global__ void __launch_bounds__(ROUND_THREADS) round_rows(const rounding r)
{
    const int first = (int)(blockIdx.x * ROUND_THREADS + threadIdx.x) * ROUND_EACH;
    if (r.tickets && blockIdx.y == 0)
        for (int i = (int)(blockIdx.x * ROUND_THREADS + threadIdx.x); i < r.count;
             i += (int)(gridDim.x * ROUND_THREADS))
            r.tickets[i] = 0;
    if (first >= r.padded) return;
    int l = 0;
    while (l + 1 < r.leaves && r.leaf[l + 1].at <= first) l++;
    const int k = r.leaf[l].begin + first - r.leaf[l].at, left = r.leaf[l].end - k;
    for (int64_t row = blockIdx.y; row < r.m; row += gridDim.y) {
        const void *from = row_of(r, row);
        uint32_t pair[ROUND_EACH / 2];
#pragma unroll
        for (int i = 0; i < ROUND_EACH / 2; i++) {
            const uint32_t low = 2 * i < left ? rounded(r, from, k + 2 * i) : 0;
            const uint32_t high = 2 * i + 1 < left ? rounded(r, from, k + 2 * i + 1) : 0;
            pair[i] = low | high << 16;
        }
        uint16_t *to = r.out + (size_t)row * (size_t)r.padded + first;
        *(uint4 *)(void *)to = make_uint4(pair[0], pair[1], pair[2], pair[3]);
    }
}

static bool is_linear(const float *codebook)
{
    for (int i = 0; i < 16; i++)
        if (codebook[i] != (float)(i - 8)) return false;
    return true;
}

static int format_of(const weft_gemm_weight *w)
{
    if (w->type == WEFT_E4M3) return WI_GEMM_I8_GROUPS;
    if (w->type == WEFT_I8) return w->exact ? WI_GEMM_I8 : WI_GEMM_I8_GROUPS;
    if (w->type != WEFT_I4) return WI_GEMM_BF16;
    const bool whole_zeros = !w->has_zero || w->zero_type == WEFT_I8;
    return whole_zeros && is_linear(w->codebook) ? WI_GEMM_I4 : WI_GEMM_I4_ANY;
}

wi_gemm_task wi_gemm_task_of(const weft_op *op, const weft_gemm_weight *w, const weft_gemm_args *args)
{
    wi_gemm_task t = {};
    t.data = w->data;
    t.panel_bytes = w->panel_bytes;
    t.codes_at = w->codes_at;
    t.record_bytes = (int)w->record_bytes;
    while (1 << t.shift < w->sub) t.shift++;
    t.panels = (int)w->panels;
    t.columns = w->columns;
    t.scale_type = w->scale_type;
    t.zero_type = w->zero_type;
    t.scaled = w->scaled;
    t.has_zero = w->has_zero;
    t.exact = w->exact;
    t.whole = w->whole;
    t.gate = w->fuse == WEFT_FUSE_GATE;
    t.format = format_of(w);
    t.pairs = w->scale_type == WEFT_BF16;
    t.floats = w->type == WEFT_E4M3;
    for (int i = 0; i < 16; i++) t.codebook[i] = w->codebook[i];
    t.leaves = w->leaves;
    const int64_t record = wi_gemm_record_columns(w->type);
    int roots = 0; // complete so far
    for (int l = 0; l < w->leaves; l++) {
        wi_gemm_leaf *leaf = &t.leaf[l];
        leaf->steps = (int)((w->leaf[l].end - w->leaf[l].begin + record - 1) / record);
        leaf->at = (int)(w->leaf[l].at / record);
        leaf->column = (int)w->leaf[l].at;
        leaf->top = w->leaf[l].depth - roots;
        leaf->merges = w->leaf[l].merges;
        leaf->root = -1;
        // what is at the bottom of the stack is a root as soon as no later leaf joins it
        const int depth = w->leaf[l].depth - w->leaf[l].merges;
        bool joined = depth > roots;
        for (int i = l + 1; i < w->leaves; i++) joined = joined || w->leaf[i].depth - w->leaf[i].merges <= depth;
        if (!joined) leaf->root = roots++;
        if (leaf->top > t.slots) t.slots = leaf->top;
    }
    if (args->groups) {
        t.groups = args->groups->count;
        t.offsets = wi_arrived(op, args->groups->offsets, (size_t)t.groups + 1);
        t.bias_stride = args->groups->bias_stride;
    }
    t.m = args->m;
    for (int i = 0; i < WEFT_ROOTS_MAX; i++) t.out[i] = args->out[i];
    t.out_stride = args->out_stride;
    t.bias = args->bias;
    t.addend = args->addend;
    t.addend_stride = args->addend_stride;
    t.act = args->act;
    t.residual = args->residual;
    t.residual_stride = args->residual_stride;
    return t;
}

static int64_t groups_with_rows(const wi_gemm_task &t) { return t.groups < t.m ? t.groups : t.m; } // at most

int wi_gemm_token_tiles(const wi_gemm_task &t, int tokens)
{
    if (!t.groups) return (int)((t.m + tokens - 1) / tokens);
    const int64_t some = groups_with_rows(t); // of each the first row opens a tile, and then every `tokens`-th
    return (int)(some + (t.m - some) / tokens);
}

int64_t wi_gemm_rows_each(const wi_gemm_task &t)
{
    if (!t.groups) return t.m;
    const int64_t some = groups_with_rows(t);
    return (t.m + some - 1) / some;
}

// Whether bf16 rows can be read where they are: by copies of 16 bytes, and no step of a leaf reaches into the next.
static bool in_place(const weft_gemm_weight *w, const weft_gemm_args *args)
{
    const weft_gemm_rows *rows = args->rows;
    const int64_t record = wi_gemm_record_columns(w->type);
    if (!rows || !rows->halves || rows->count != 1 || w->permutation || w->k % 8 || args->a_stride % 8) return false;
    for (int l = 0; l + 1 < w->leaves; l++)
        if ((w->leaf[l].end - w->leaf[l].begin) % record) return false;
    return (uintptr_t)rows->piece[0] % 16 == 0;
}

wi_gemm_wanted wi_gemm_tile_wanted(void)
{
    const char *text = getenv("WEFT_GEMM_TILE");
    wi_gemm_wanted wanted = {0, 0};
    if (text && sscanf(text, "%dx%d", &wanted.tokens, &wanted.planes) == 2) return wanted;
    return {0, 0};
}

// Few rows of a weight of few tiles leave the processors idle where each tile takes all leaves, one behind the other.
static bool is_dealt(const weft_op *op, const weft_gemm_weight *w, const weft_gemm_args *args)
{
    if (wi_gemm_tile_wanted().tokens) return false;
    return args->m <= WI_DEALT_ROWS && w->leaves > 1 && !args->groups && w->panels < 4 * (int64_t)wi_processors(op);
}

wi_gemm_activations wi_gemm_round(const weft_op *op, const weft_gemm_weight *w, const weft_gemm_args *args,
                                  int *tickets)
{
    if (!tickets && in_place(w, args)) return {(const uint16_t *)args->rows->piece[0], args->a_stride, (int)w->k, true};
    rounding r = {};
    r.a = args->a;
    r.stride = args->a_stride;
    if (args->rows) {
        r.a = NULL;
        r.pieces = args->rows->count;
        r.begin = wi_arrived(op, args->rows->begin, (size_t)r.pieces + 1);
        r.piece = wi_arrived(op, args->rows->piece, (size_t)r.pieces);
        r.halves = args->rows->halves;
    }
    r.index = wi_arrived(op, args->index, (size_t)args->m);
    r.permutation = w->permutation;
    r.leaves = w->leaves;
    for (int l = 0; l < w->leaves; l++) {
        r.leaf[l].begin = (int)w->leaf[l].begin;
        r.leaf[l].end = (int)w->leaf[l].end;
        r.leaf[l].at = (int)w->leaf[l].at;
    }
    r.m = args->m;
    r.padded = (int)w->padded;
    r.out = (uint16_t *)op->scratch;
    r.tickets = tickets;
    r.count = (int)w->panels;
    const int64_t most = ROUND_ROWS;
    const unsigned rows = (unsigned)(args->m < most ? args->m : most);
    const dim3 grid(wi_grid_of((size_t)r.padded, ROUND_THREADS * ROUND_EACH), rows);
    wi_launch(op, "gemm: activations", round_rows, grid, dim3(ROUND_THREADS), 0, r);
    return {r.out, (size_t)w->padded, (int)w->padded, false};
}

wi_gemm_task wi_gemm_prepare(const weft_op *op, const weft_gemm_weight *w, const weft_gemm_args *args)
{
    wi_gemm_task t = wi_gemm_task_of(op, w, args);
    unsigned char *scratch = (unsigned char *)op->scratch;
    const wi_gemm_records_scratch room = wi_gemm_records_scratch_of(w, args->m);
    t.dealt = is_dealt(op, w, args);
    t.tickets = (int *)(void *)(scratch + room.tickets_at);
    t.roots = (float *)(void *)(scratch + room.roots_at);
    const wi_gemm_activations a = wi_gemm_round(op, w, args, t.dealt ? t.tickets : NULL);
    t.rows = a.rows;
    t.row_stride = a.stride;
    t.row_columns = a.columns;
    for (int l = 0; l < w->leaves && a.in_place; l++) t.leaf[l].column = (int)w->leaf[l].begin;
    return t;
}
