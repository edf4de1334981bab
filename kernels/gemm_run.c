// How a run is cut among threads and caches: the same for every level, so that scratch does not depend on it.
#include "core/checked.h"
#include "kernels/gemm_impl.h"

enum {
    FEW_ROWS = 32,     // so few rows meet a panel once, in one pass over K
    L2_ROWS = 1 << 20, // bytes of packed rows that may stay in L2 beside a panel
    L2_SUMS = 3 << 18, // bytes of accumulators that may; four times as many of a stack, most of which is idle
    MANY_PANELS_A_THREAD = 8,
};

static int64_t parts(int64_t count, int64_t each) { return (count + each - 1) / each; }

// Threads along the panels first: then no panel is read twice. Along the rows too where panels are few.
static void cut_threads(const weft_gemm_weight *w, int64_t rows, int threads, wi_gemm_cut *cut)
{
    cut->n_parts = threads;
    cut->m_parts = 1;
    if (rows <= FEW_ROWS || w->panels >= (int64_t)MANY_PANELS_A_THREAD * threads) return;
    int64_t best = INT64_MAX;
    for (int m = 1; m <= threads; m++) {
        if (threads % m) continue;
        const int64_t work = parts(w->panels, threads / m) * parts(rows, (int64_t)m * FEW_ROWS);
        if (work >= best) continue;
        best = work;
        cut->m_parts = m;
        cut->n_parts = threads / m;
    }
}

static int64_t segments_of(const weft_gemm_weight *w)
{
    int64_t count = 0;
    for (int l = 0; l < w->leaves && w->has_zero; l++) {
        const int64_t begin = w->k_first + w->leaf[l].begin, end = w->k_first + w->leaf[l].end;
        count += w->group ? (end - 1) / w->group - begin / w->group + 1 : 1;
    }
    return count;
}

// Whether a leaf is one span, counted as the driver counts, and merged as soon as it is done.
static bool passes(const weft_gemm_weight *w, int64_t k_block, int leaf)
{
    const int64_t from = w->family == WEFT_FAMILY_AMX ? w->leaf[leaf].begin : -w->k_first;
    const int64_t first = (w->leaf[leaf].begin - from) / k_block, last = (w->leaf[leaf].end - 1 - from) / k_block;
    return w->leaf[leaf].merges > 0 && first == last;
}

static void cut_stack(const weft_gemm_weight *w, wi_gemm_cut *cut)
{
    cut->slots = 1;
    for (int l = 0; l < w->leaves; l++) {
        if (passes(w, cut->k_block, l))
            cut->passing |= 1u << l;
        else if (w->leaf[l].depth >= cut->slots)
            cut->slots = w->leaf[l].depth + 1;
    }
}

wi_gemm_cut wi_gemm_cut_of(const weft_gemm_weight *w, int64_t m, int threads)
{
    const int64_t rows = m < WI_CHUNK ? (m + WI_TILE_ROWS - 1) / WI_TILE_ROWS * WI_TILE_ROWS : WI_CHUNK;
    const size_t size = w->family == WEFT_FAMILY_FMA ? 4 : 2, row_bytes = (size_t)w->padded * size;
    wi_gemm_cut cut = {.chunk = WI_CHUNK, .k_block = w->type == WEFT_F32 ? WI_K_BLOCK / 2 : WI_K_BLOCK, .group = 1};
    cut_threads(w, rows, threads, &cut);
    const size_t sums_bytes = (size_t)rows * WI_PANEL * sizeof(float);
    const bool expands = w->family == WEFT_FAMILY_AMX && w->type != WEFT_BF16;
    if (rows <= (expands ? WI_TILE_ROWS : FEW_ROWS)) cut.k_block = INT64_MAX / 2;
    cut_stack(w, &cut);
    if (cut.k_block <= WI_K_BLOCK && (size_t)rows * row_bytes > L2_ROWS && sums_bytes * (size_t)cut.slots < L2_SUMS)
        cut.group = (int64_t)((cut.slots > 1 ? 4 : 1) * L2_SUMS / (sums_bytes * (size_t)cut.slots));
    cut.segments = w->family == WEFT_FAMILY_AMX ? 0 : segments_of(w);
    cut.slot_bytes = sums_bytes * (size_t)cut.group;
    cut.expanded_bytes = w->family == WEFT_FAMILY_AMX && w->type != WEFT_BF16 ? (size_t)WI_K_BLOCK * WI_PANEL * 2 : 0;
    cut.sums_at = weft_align_up((size_t)rows * row_bytes, WI_LINE);
    cut.threads_at = cut.sums_at + weft_align_up((size_t)(rows * cut.segments) * sizeof(float), WI_LINE);
    cut.thread_bytes = cut.slot_bytes * (size_t)cut.slots + cut.expanded_bytes;
    cut.bytes = cut.threads_at + cut.thread_bytes * (size_t)threads;
    return cut;
}

size_t weft_gemm_scratch(const weft_gemm_weight *weight, int64_t m, int threads)
{
    if (wi_gemm_in_records(weight->family)) { // fewer rows may need more
        const size_t few = wi_gemm_records_scratch_of(weight, m < WI_DEALT_ROWS ? m : WI_DEALT_ROWS).bytes;
        const size_t all = wi_gemm_records_scratch_of(weight, m).bytes;
        return few > all ? few : all;
    }
    if (weight->family == WEFT_FAMILY_BLAS) return wi_gemm_blas_scratch_of(weight, m).bytes;
    return wi_gemm_cut_of(weight, m, threads).bytes;
}

static const float *at_row(const float *matrix, int64_t row, size_t stride)
{
    return matrix ? matrix + (size_t)row * stride : NULL;
}

// One weight after the other: on the host each has all threads.
static void run_each(const weft_op *op, const weft_gemm_weight *weight, const weft_gemm_args *args)
{
    const weft_gemm_groups *g = args->groups;
    for (int i = 0; i < g->count; i++) {
        const int64_t first = g->offsets[i] - g->offsets[0];
        weft_gemm_weight one = *weight;
        weft_gemm_args part = *args;
        part.m = g->offsets[i + 1] - g->offsets[i];
        if (part.m == 0) continue;
        one.data += (size_t)i * (size_t)weight->panels * weight->panel_bytes;
        part.groups = NULL;
        if (args->index)
            part.index += first;
        else
            part.a = at_row(args->a, first, args->a_stride);
        for (int r = 0; r < weight->roots; r++) part.out[r] += (size_t)first * args->out_stride;
        part.bias = at_row(args->bias, i, g->bias_stride);
        part.addend = at_row(args->addend, first, args->addend_stride);
        part.residual = at_row(args->residual, first, args->residual_stride);
        op->table->gemm.run[weight->family](op, &one, &part);
    }
}

void weft_gemm_run(const weft_op *op, const weft_gemm_weight *weight, const weft_gemm_args *args)
{
    if (args->groups && op->table->capability == 0)
        run_each(op, weight, args);
    else
        op->table->gemm.run[weight->family](op, weight, args);
}
