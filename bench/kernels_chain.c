// What a step's launches cost: the small ops of 32 layers on one row, one behind the other, as one step (on a device: a
// graph from its second time on) and launched one by one. Nothing in it takes longer than a launch, so its time by the
// number of ops is the latency of one.
#include <stdlib.h>

#include "bench/kernels_impl.h"

enum { LAYERS = 32, LAYERS_EMULATED = 2, WIDTH = 4096, HEADS = 32, HEAD = 128, OPS_OF_LAYER = 4 };

typedef struct {
    int layers;
    wi_bench_block rows; // x, y, weight, cos and sin, each of WIDTH
} chain_bench;

static void run(wi_kernel_bench *b, void *state, int64_t turn)
{
    const chain_bench *g = state;
    const weft_op op = wi_bench_op(b, NULL);
    const weft_row_ops *rows = &b->kernels.rows;
    float *x = g->rows.at, *y = x + WIDTH, *weight = y + WIDTH, *cos = weight + WIDTH, *sin = cos + HEAD / 2;
    const weft_norm norm = {.in = x,
                            .out = y,
                            .weight = weight,
                            .out_stride = WIDTH,
                            .in_stride = WIDTH,
                            .rows = 1,
                            .heads = 1,
                            .width = WIDTH,
                            .eps = 1e-5F};
    const weft_rope rope = {.x = y,
                            .row_stride = WIDTH,
                            .head_stride = HEAD,
                            .rows = 1,
                            .heads = HEADS,
                            .rotary = HEAD,
                            .cos = cos,
                            .sin = sin,
                            .table_stride = HEAD / 2,
                            .positions = &(int32_t){0}};
    const weft_gate gate = {.in = y,
                            .out = x,
                            .up = weight,
                            .out_stride = WIDTH,
                            .in_stride = WIDTH,
                            .up_stride = WIDTH,
                            .act = WEFT_ACT_SILU,
                            .rows = 1,
                            .width = WIDTH};
    for (int i = 0; i < g->layers; i++) {
        rows->norm(&op, &norm);
        rows->rope(&op, &rope);
        rows->gate(&op, &gate);
        weft_copy_floats(&op, y, x, WIDTH);
    }
}

weft_status wi_bench_chain(wi_kernel_bench *b)
{
    const weft_bench_kernels_options *o = b->options;
    weft_status status;
    chain_bench g = {.layers = b->emulated ? LAYERS_EMULATED : LAYERS};
    wi_kernel_case cases[2] = {{.run = run, .state = &g}, {.run = run, .state = &g, .apart = true}};
    if (!o->op && (!b->on_device || o->shape || o->weights || o->family)) return WEFT_OK; // another op's
    if (!b->on_device) return weft_fail(WEFT_USAGE, "--op chain: launches are a device's; use it with --device cuda");
    WEFT_TRY_GOTO(wi_bench_take(b, 4 * WIDTH * sizeof(float), NULL, &g.rows));
    for (int i = 0; i < 2; i++) {
        snprintf(cases[i].op, sizeof cases[i].op, "chain");
        snprintf(cases[i].shape, sizeof cases[i].shape, "%d ops on a row, %s", g.layers * OPS_OF_LAYER,
                 i == 0 ? "one step" : "one by one");
    }
    status = wi_bench_cases(b, cases, 2);
fail:
    wi_bench_drop(b, &g.rows);
    return status;
}
