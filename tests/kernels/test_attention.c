// Attention's FMA family: every level and team against the rules written down a second time, to the bit, and against
// the softmax in double.
#include <math.h>

#include "tests/check.h"
#include "tests/kernels/scene.h"

static void run_shape(weft_walk *walk, const scene_shape *shape, const char *name)
{
    scene s;
    weft_scene_make(walk, shape, &s);
    const size_t floats = weft_scene_out_floats(&s), heads = (size_t)s.rows * (size_t)shape->heads;
    const weft_op *ref = weft_walk_way(walk, 0);
    float *expected = weft_walk_memory(walk, floats * sizeof(float), 0);
    float *m = weft_walk_memory(walk, heads * sizeof(float), 0), *l = weft_walk_memory(walk, heads * sizeof(float), 0);
    double *exact = weft_walk_memory(walk, floats * sizeof(double), 0);
    float *out = weft_walk_memory(walk, floats * sizeof(float), 4);
    float *row_m = weft_walk_memory(walk, heads * sizeof(float), 4);
    float *row_l = weft_walk_memory(walk, heads * sizeof(float), 4);
    weft_scene_write(ref, &s);
    weft_scene_expected(ref, &s, expected, m, l);
    weft_scene_exact(ref, &s, false, exact);
    weft_attention args = weft_scene_args(&s);
    args.out = out, args.row_m = row_m, args.row_l = row_l;
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        weft_walk_case(walk, "%s, type %d, block %d, %d of %d heads, sizes %d %d, %s", name, shape->type, shape->block,
                       shape->heads, shape->kv_heads, shape->k_size, shape->v_size, weft_values_name(shape->values));
        weft_walk_again(walk, out);
        if (weft_walk_on_device(walk, way)) weft_scene_write(op, &s);
        op->table->attention.run[WEFT_ATTENTION_FMA](op, &args);
        weft_walk_same_floats(walk, way, "out", out, expected, floats);
        for (size_t i = 0; i < heads; i++)
            if (isnan(l[i])) m[i] = row_m[i]; // m of a row of NaNs is not defined
        weft_walk_same_floats(walk, way, "m", row_m, m, heads);
        weft_walk_same_floats(walk, way, "l", row_l, l, heads);
        if (shape->values == WEFT_VALUES_PLAIN) weft_walk_close(walk, way, "out", out, exact, floats, 1e-5, 4);
    }
    weft_walk_release(walk);
}

static const scene_shape small = {.block = 16,
                                  .kv_heads = 2,
                                  .heads = 4,
                                  .k_size = 32,
                                  .v_size = 48,
                                  .requests = 2,
                                  .rows = {5, 1},
                                  .length = {21, 270},
                                  .seed = 1};

static void test_types_and_blocks(weft_walk *walk)
{
    for (weft_cache_type type = 0; type < WEFT_CACHE_COUNT; type++) {
        for (int block = 16; block <= 256; block *= 2) {
            scene_shape shape = small;
            shape.type = type, shape.block = block, shape.seed = (uint64_t)block;
            run_shape(walk, &shape, "blocks");
        }
        for (weft_values values = 0; values < WEFT_VALUES_COUNT; values++) {
            scene_shape shape = small;
            shape.type = type, shape.block = 32, shape.values = values, shape.seed = (uint64_t)values;
            run_shape(walk, &shape, "values");
        }
    }
}

static void test_sizes(weft_walk *walk)
{
    const int sizes[][2] = {{8, 8},     {8, 24},   {24, 8},    {40, 72},   {64, 64}, {80, 80}, {96, 128},
                            {128, 128}, {192, 64}, {192, 128}, {256, 256}, {120, 8}, {16, 248}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        scene_shape shape = small;
        shape.type = (weft_cache_type)(i % 4), shape.k_size = sizes[i][0], shape.v_size = sizes[i][1], shape.seed = i;
        shape.block = 16 << i % 5, shape.length[1] = 70;
        run_shape(walk, &shape, "sizes");
    }
}

static void test_masks(weft_walk *walk)
{
    for (int i = 0; i < 12; i++) {
        scene_shape shape = small;
        shape.type = (weft_cache_type)(i % 3);
        shape.window = (const int64_t[]){0, 1, 7, 100, 256, 300}[i % 6];
        shape.softcap = i & 1 ? 3.5F : 0;
        shape.sinks = i & 2;
        shape.bidirectional = i >= 8;
        shape.rows[0] = 21;
        shape.rows[1] = 2;
        shape.length[1] = 530;
        shape.block = 64;
        shape.seed = 50 + (uint64_t)i;
        run_shape(walk, &shape, "masks");
        shape.values = WEFT_VALUES_EXTREME;
        run_shape(walk, &shape, "masks");
    }
}

// Groups of any size: none, one, uneven, and larger than a tile.
static void test_groups(weft_walk *walk)
{
    static const int first[] = {0, 0, 3, 4, 9};
    scene_shape shape = small;
    shape.kv_heads = 4, shape.heads = 9, shape.first_head = first;
    shape.rows[0] = 9;
    run_shape(walk, &shape, "uneven groups");
    shape = small;
    shape.kv_heads = 1, shape.heads = 71, shape.k_size = 16, shape.v_size = 16;
    run_shape(walk, &shape, "one group");
    shape.kv_heads = 3, shape.heads = 3;
    run_shape(walk, &shape, "no groups");
}

// Enough chunks that classes hold several of them and the tree is full; few rows, so that teams share a tile.
static void test_long(weft_walk *walk)
{
    scene_shape shape = {.type = WEFT_CACHE_BF16,
                         .block = 128,
                         .kv_heads = 1,
                         .heads = 2,
                         .k_size = 8,
                         .v_size = 8,
                         .requests = 4,
                         .rows = {3, 1, 0, 2},
                         .length = {16900, 2049, 300, 4097},
                         .rotation = {5, 0, 1, 31},
                         .seed = 7};
    run_shape(walk, &shape, "long");
    shape.window = 2500;
    run_shape(walk, &shape, "long, window");
    shape.requests = 1;
    run_shape(walk, &shape, "long, alone");
    shape.rows[0] = 150, shape.length[0] = 600, shape.window = 0;
    run_shape(walk, &shape, "prefill");
}

int main(void)
{
    weft_walk *walk = weft_walk_begin();
    weft_scene_scratch(walk);
    test_types_and_blocks(walk);
    test_sizes(walk);
    test_masks(walk);
    test_groups(walk);
    test_long(walk);
    weft_walk_end(walk);
    return 0;
}
