// What attention must not depend on, family by family, to the bit: the team, how queries are cut into calls, what else
// is in the batch, which places are held by whom, and the bytes of keys that a row does not see. And that each family
// is close to the softmax in double.
#include <math.h>

#include "tests/check.h"
#include "tests/kernels/scene.h"

typedef struct {
    weft_walk *walk;
    const weft_op *op;
    int way;
    weft_attention_family family;
    const scene *s;
    float *out; // what the whole batch gave
} tested;

static void run(const tested *t, const weft_attention *args) { t->op->table->attention.run[t->family](t->op, args); }

static void check_close(const tested *t)
{
    const scene *s = t->s;
    const size_t floats = weft_scene_out_floats(s);
    double *exact = malloc(floats * sizeof *exact);
    CHECK(exact);
    weft_scene_exact(t->op, s, t->family != WEFT_ATTENTION_FMA, exact);
    weft_walk_close(t->walk, t->way, "out beside double", t->out, exact, floats,
                    t->family == WEFT_ATTENTION_FMA ? 1e-5 : 4e-3, 4);
    free(exact);
}

// One request at a time, its queries in calls of 1, 2, 3... rows.
static void check_chunked(const tested *t)
{
    const scene *s = t->s;
    const size_t row = (size_t)s->shape.heads * (size_t)s->shape.v_size;
    float *out = weft_walk_memory(t->walk, weft_scene_out_floats(s) * sizeof *out, 4);
    for (int i = 0; i < s->shape.requests; i++) {
        for (int at = 0, n = 1; at < s->shape.rows[i]; at += n, n++) {
            if (n > s->shape.rows[i] - at) n = s->shape.rows[i] - at;
            weft_attention_request r = s->requests[i];
            r.row += at, r.rows = n, r.position += at;
            if (!s->shape.bidirectional) r.length = r.position + n; // what came later is not there yet
            weft_attention args = weft_scene_args(s);
            args.requests = &r, args.request_count = 1, args.out = out;
            run(t, &args);
        }
    }
    weft_walk_same_floats(t->walk, t->way, "out in pieces", out, t->out, (size_t)s->rows * row);
}

// Every rank of P computes its parts with only its own blocks in the tables; the parts, merged, are the whole.
static void check_places(const tested *t, int ranks)
{
    const scene *s = t->s;
    const size_t heads = (size_t)s->rows * (size_t)s->shape.heads, floats = weft_scene_out_floats(s);
    weft_attention_part parts[SCENE_REQUESTS][WEFT_FOLD_PLACES];
    int counts[SCENE_REQUESTS] = {0};
    float *out = weft_walk_memory(t->walk, floats * sizeof *out, 4);
    for (int rank = 0; rank < ranks; rank++) {
        const uint32_t mine = weft_fold_owned(rank, ranks);
        weft_fold_root roots[WEFT_FOLD_ROOTS_MAX];
        const size_t planes = (size_t)weft_fold_roots(mine, roots);
        float *o = weft_walk_memory(t->walk, planes * floats * sizeof(float), 4);
        float *m = weft_walk_memory(t->walk, planes * heads * sizeof(float), 4);
        float *l = weft_walk_memory(t->walk, planes * heads * sizeof(float), 4);
        weft_attention_request requests[SCENE_REQUESTS];
        for (int i = 0; i < s->shape.requests; i++) {
            int32_t *table = weft_walk_memory(t->walk, s->table_blocks[i] * sizeof *table, 4);
            for (size_t b = 0; b < s->table_blocks[i]; b++) {
                const int64_t chunk = (int64_t)b * s->shape.block / WEFT_FOLD_CHUNK;
                const bool here = weft_fold_owner(chunk, ranks, s->shape.rotation[i]) == rank;
                table[b] = here ? s->tables[i][b] : -1;
            }
            requests[i] = s->requests[i];
            requests[i].blocks = table;
            const int n = weft_fold_roots(weft_fold_rotate(mine, s->shape.rotation[i]), roots);
            for (int p = 0; p < n; p++) {
                const size_t at = (size_t)p * heads + (size_t)s->requests[i].row * (size_t)s->shape.heads;
                parts[i][counts[i]++] = (weft_attention_part){.first = roots[p].first,
                                                              .places = roots[p].places,
                                                              .o = o + at * (size_t)s->shape.v_size,
                                                              .m = m + at,
                                                              .l = l + at};
            }
        }
        weft_attention args = weft_scene_args(s);
        args.requests = requests, args.places = mine;
        args.part_o = o, args.part_m = m, args.part_l = l;
        run(t, &args);
    }
    for (int i = 0; i < s->shape.requests; i++) {
        for (int a = 1; a < counts[i]; a++) { // place order: a rotation mixes the ranks' parts
            for (int b = a; b > 0 && parts[i][b].first < parts[i][b - 1].first; b--) {
                const weft_attention_part swap = parts[i][b];
                parts[i][b] = parts[i][b - 1];
                parts[i][b - 1] = swap;
            }
        }
        const weft_attention_merge merge = {.parts = parts[i],
                                            .part_count = counts[i],
                                            .rows = s->shape.rows[i],
                                            .heads = s->shape.heads,
                                            .v_size = s->shape.v_size,
                                            .sinks = s->shape.sinks ? s->sinks : NULL,
                                            .out = out + (size_t)s->requests[i].row * weft_scene_args(s).out_stride,
                                            .out_stride = weft_scene_args(s).out_stride};
        t->op->table->attention.merge(t->op, &merge);
    }
    weft_walk_same_floats(t->walk, t->way, "out of merged parts", out, t->out, floats);
}

// Infinities and NaNs in keys and values from position `from` of request 0 on: rows before it keep their bits.
static void check_poison(const tested *t, int64_t from)
{
    const scene *s = t->s;
    const int64_t length = s->shape.length[0], first = s->requests[0].position;
    if (s->shape.bidirectional) return;
    const size_t ks = (size_t)s->shape.kv_heads * (size_t)s->shape.k_size;
    const size_t vs = (size_t)s->shape.kv_heads * (size_t)s->shape.v_size;
    const size_t count = (size_t)(length - from);
    float *k = weft_walk_memory(t->walk, count * ks * sizeof *k, 4), *v = weft_walk_memory(t->walk, count * vs * 4, 4);
    const float bad[] = {INFINITY, -INFINITY, NAN};
    for (size_t i = 0; i < count * ks; i++) k[i] = bad[i % 3];
    for (size_t i = 0; i < count * vs; i++) v[i] = bad[i / vs % 3];
    weft_cache_span span = {.rows = (int)count, .position = from, .blocks = s->tables[0]};
    weft_cache_write write = {
        .cache = &s->cache, .k = k, .v = v, .k_stride = ks, .v_stride = vs, .spans = &span, .span_count = 1};
    t->op->table->attention.cache_write(t->op, &write);
    float *out = weft_walk_memory(t->walk, weft_scene_out_floats(s) * sizeof *out, 4);
    weft_attention args = weft_scene_args(s);
    args.out = out;
    run(t, &args);
    const size_t row = (size_t)s->shape.heads * (size_t)s->shape.v_size;
    const int clean = (int)(from - first);
    weft_walk_same_floats(t->walk, t->way, "rows before the poison", out, t->out, (size_t)clean * row);
    for (size_t i = (size_t)clean * row; i < (size_t)s->shape.rows[0] * row; i++) CHECK(isnan(out[i]));
    write.k = s->k[0] + (size_t)from * ks;
    write.v = s->v[0] + (size_t)from * vs;
    t->op->table->attention.cache_write(t->op, &write);
}

static void check_family(weft_walk *walk, int way, weft_attention_family family, const scene *s, float *first_out,
                         bool first)
{
    const weft_op *op = weft_walk_way(walk, way);
    const size_t floats = weft_scene_out_floats(s);
    tested t = {.walk = walk, .op = op, .way = way, .family = family, .s = s};
    t.out = weft_walk_memory(walk, floats * sizeof(float), 4);
    weft_attention args = weft_scene_args(s);
    args.out = t.out;
    run(&t, &args);
    if (first)
        memcpy(first_out, t.out, floats * sizeof(float));
    else
        weft_walk_same_floats(walk, way, "out by another team or level", t.out, first_out, floats);
    if (s->shape.values == WEFT_VALUES_PLAIN) check_close(&t);
    const bool team_of_two = way % 4 == 2, device = weft_walk_on_device(walk, way);
    if (!first && !team_of_two && !device) return;
    check_chunked(&t);
    for (int ranks = device ? 3 : 1 + !first; ranks <= (device ? 3 : 8); ranks += 2) check_places(&t, ranks);
    check_places(&t, 32);
    if (s->shape.values == WEFT_VALUES_PLAIN && s->shape.rows[0] > 1)
        check_poison(&t, s->shape.length[0] - s->shape.rows[0] / 2);
}

static void run_shape(weft_walk *walk, const scene_shape *shape, const char *name)
{
    const weft_cpu cpu = weft_cpu_detect();
    for (weft_attention_family family = 0; family < WEFT_ATTENTION_FAMILIES; family++) {
        if (shape->type == WEFT_CACHE_F32 && family != WEFT_ATTENTION_FMA) continue;
        if (family == WEFT_ATTENTION_DOT && !(cpu.features & WEFT_CPU_AVX512_BF16)) continue;
        scene s;
        weft_scene_make(walk, shape, &s);
        weft_scene_write(weft_walk_way(walk, 0), &s);
        float *out = weft_walk_memory(walk, weft_scene_out_floats(&s) * sizeof *out, 0);
        bool first = true;
        for (int way = 0; way < weft_walk_ways(walk); way++) {
            if (!weft_walk_way(walk, way)->table->attention.run[family]) continue;
            const bool device = weft_walk_on_device(walk, way);
            if (family == WEFT_ATTENTION_FMA && !device && way < weft_walk_ways(walk) - 5)
                continue;                            // as test_attention
            if (device && shape->seed % 2) continue; // slow where it is emulated
            if (device) weft_scene_write(weft_walk_way(walk, way), &s);
            weft_walk_case(walk, "%s, family %d, type %d, block %d, %d of %d heads, sizes %d %d, window %d, %s", name,
                           family, shape->type, shape->block, shape->heads, shape->kv_heads, shape->k_size,
                           shape->v_size, (int)shape->window, weft_values_name(shape->values));
            check_family(walk, way, family, &s, out, first);
            first = false;
        }
        weft_walk_release(walk);
    }
}

static const scene_shape small = {.type = WEFT_CACHE_BF16,
                                  .block = 32,
                                  .kv_heads = 2,
                                  .heads = 6,
                                  .k_size = 32,
                                  .v_size = 48,
                                  .requests = 3,
                                  .rows = {23, 1, 4},
                                  .length = {265, 300, 4},
                                  .rotation = {3, 0, 17},
                                  .seed = 1};

static void test_shapes(weft_walk *walk)
{
    const int sizes[][2] = {{8, 8}, {40, 72}, {64, 64}, {80, 96}, {128, 128}, {192, 128}, {256, 256}, {24, 248}};
    for (int i = 0; i < 16; i++) {
        scene_shape shape = small;
        shape.type = (weft_cache_type)(i == 4 ? 0 : 1 + i / 2 % 3);
        shape.k_size = sizes[i / 2][0], shape.v_size = sizes[i / 2][1];
        shape.block = 16 << i % 5;
        shape.window = i % 4 == 1 ? 37 : 0;
        shape.softcap = i % 3 == 1 ? 3.5F : 0;
        shape.sinks = i % 2;
        shape.bidirectional = i % 7 == 6;
        shape.values = i % 8 == 7 ? WEFT_VALUES_EXTREME : i % 8 == 5 ? WEFT_VALUES_TIES : WEFT_VALUES_PLAIN;
        shape.seed = (uint64_t)i;
        run_shape(walk, &shape, "shapes");
    }
}

// Tiles of many rows, chains of several chunks, and requests whose tiles are shared by threads.
static void test_long(weft_walk *walk)
{
    scene_shape shape = {.type = WEFT_CACHE_BF16,
                         .block = 64,
                         .kv_heads = 1,
                         .heads = 4,
                         .k_size = 16,
                         .v_size = 16,
                         .requests = 3,
                         .rows = {70, 1, 2},
                         .length = {601, 17000, 2300},
                         .rotation = {0, 9, 30},
                         .seed = 71};
    run_shape(walk, &shape, "long");
    shape.seed++;
    shape.requests = 1, shape.rows[0] = 1, shape.length[0] = 4099;
    run_shape(walk, &shape, "one row");
}

int main(void)
{
    weft_walk *walk = weft_walk_begin();
    weft_scene_scratch(walk);
    test_shapes(walk);
    test_long(walk);
    weft_walk_end(walk);
    return 0;
}
