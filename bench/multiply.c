// How fast this rank multiplies by the model's own weights when nothing else is asked of it: the linear layers one
// after the other, as a pass meets them, without what stands between.
#include <stdlib.h>

#include "bench/cell.h"
#include "core/clock.h"

enum { LINEARS = 4 };

typedef struct {
    weft_op op;
    int64_t rows;
    float *a;   // (rows, the largest K)
    float *out; // (roots, rows, the largest N)
    size_t wide;
    double operations, bytes; // done
} multiplier;

static int linears_of(const weft_layer_weights *l, const weft_gemm_weight **out)
{
    const weft_ffn_weights *ffn = l->expert ? &l->expert[0] : &l->ffn;
    const weft_gemm_weight *all[LINEARS] = {&l->qkv, &l->o, &ffn->gate_up, &ffn->down};
    int count = 0;
    for (int i = 0; i < LINEARS; i++)
        if (all[i]->n > 0 && all[i]->k > 0) out[count++] = all[i];
    return count;
}

static weft_status take_room(multiplier *m, const weft_bench_subject *s)
{
    const weft_model_config *c = weft_model_config_of(s->model);
    const weft_weights *w = weft_model_weights_of(s->model);
    size_t deep = 1, scratch = 1;
    for (int64_t i = 0; i < c->layers; i++) {
        const weft_gemm_weight *linear[LINEARS];
        for (int j = 0, count = linears_of(&w->layer[i], linear); j < count; j++) {
            const size_t own = weft_gemm_scratch(linear[j], m->rows, weft_team_threads(s->team));
            if ((size_t)linear[j]->k > deep) deep = (size_t)linear[j]->k;
            if ((size_t)linear[j]->columns > m->wide) m->wide = (size_t)linear[j]->columns;
            if (own > scratch) scratch = own;
        }
    }
    const size_t rows = (size_t)m->rows;
    m->op.scratch_bytes = (scratch + 63) / 64 * 64;
    m->op.scratch = aligned_alloc(64, m->op.scratch_bytes);
    m->a = aligned_alloc(64, (rows * deep * sizeof *m->a + 63) / 64 * 64);
    m->out = aligned_alloc(64, (WEFT_ROOTS_MAX * rows * m->wide * sizeof *m->out + 63) / 64 * 64);
    if (!m->op.scratch || !m->a || !m->out) return weft_fail(WEFT_NO_MEMORY, "no memory for %zu rows", rows);
    for (size_t i = 0; i < rows * deep; i++) m->a[i] = (float)(i % 7) - 2.5F; // zeros are multiplied faster
    return WEFT_OK;
}

static void multiply(multiplier *m, const weft_gemm_weight *w)
{
    weft_gemm_args args = {.m = m->rows,
                           .a = m->a,
                           .a_stride = (size_t)w->k,
                           .out_stride = (size_t)w->columns,
                           .act = w->fuse == WEFT_FUSE_GATE ? WEFT_ACT_SILU : WEFT_ACT_NONE};
    for (int r = 0; r < WEFT_ROOTS_MAX; r++) args.out[r] = m->out + (size_t)r * (size_t)m->rows * m->wide;
    weft_gemm_run(&m->op, w, &args);
    m->operations += 2 * (double)w->n * (double)w->k * (double)m->rows;
    m->bytes += (double)w->panels * (double)w->panel_bytes;
}

weft_status weft_multiply_measure(const weft_bench_subject *s, const weft_kernels *kernels, int64_t rows,
                                  double seconds, weft_multiply_rates *out)
{
    const weft_model_config *c = weft_model_config_of(s->model);
    const weft_weights *w = weft_model_weights_of(s->model);
    multiplier m = {.op = {.table = kernels, .team = s->team}, .rows = rows};
    weft_status status;
    WEFT_TRY_GOTO(take_room(&m, s));
    for (int turn = 0; turn < 2; turn++) { // the first touches the memory
        const int64_t began = weft_clock_ns(), until = began + (int64_t)(seconds * (turn ? 1e9 : 1e8));
        m.operations = m.bytes = 0;
        for (int64_t i = 0; weft_clock_ns() < until; i = (i + 1) % c->layers) {
            const weft_gemm_weight *linear[LINEARS];
            for (int j = 0, count = linears_of(&w->layer[i], linear); j < count; j++) multiply(&m, linear[j]);
        }
        const double took = (double)(weft_clock_ns() - began) * 1e-9;
        *out = (weft_multiply_rates){.operations = m.operations / took, .bytes = m.bytes / took};
    }
fail:
    free(m.op.scratch);
    free(m.a);
    free(m.out);
    return status;
}
