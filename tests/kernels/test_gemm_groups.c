// Several weights in one run: every row has the bits that a run of its weight alone gives it, whatever the sizes of the
// groups.
#include "tests/kernels/gemm_support.h"

static int64_t compared;

typedef struct {
    weft_kernels table;
    weft_family family;
    weft_team *team; // of two threads
} where;

static void expect_rows(const where *w, const weight_case *c, const matrix *got, const matrix *want)
{
    for (size_t i = 0; i < want->rows; i++)
        for (size_t j = 0; j < want->columns; j++, compared++) {
            const float a = got->at[i * got->stride + j], b = want->at[i * want->stride + j];
            if (!same_bits(a, b))
                CHECK_FAIL("groups: %s at %s, %s, n %lld k %lld group %d: row %zu column %zu is %a, was %a",
                           weft_family_name(w->family), weft_isa_name(w->table.isa), weft_dtype_name(c->type),
                           (long long)c->n, (long long)c->k, c->group, i, j, (double)a, (double)b);
        }
}

static matrix random_rows(size_t rows, size_t columns)
{
    matrix m = matrix_make(rows, columns, true);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) m.at[i * m.stride + j] = random_float(PLAIN);
    return m;
}

enum { GROUPS_MAX = 40 };

typedef struct {
    packed one[GROUPS_MAX]; // each weight by itself
    packed all;             // the first of them all, one behind the other
    float *bias;
    size_t bias_stride;
    int count;
} family_of_weights;

static family_of_weights make_alike(const where *w, const weight_case *c, int count)
{
    family_of_weights f = {.count = count};
    size_t bytes = 0;
    float codebook[16];
    for (int g = 0; g < count; g++) {
        sources s = make_sources(c);
        if (g == 0) memcpy(codebook, s.codebook, sizeof codebook); // they have one
        memcpy(s.codebook, codebook, sizeof codebook);
        f.one[g] = pack_weight(w->family, &s, c->leaves, NULL);
        free_sources(&s);
        const weft_gemm_weight *one = &f.one[g].weight;
        bytes = (size_t)one->panels * one->panel_bytes;
        if (g == 0) f.all = (packed){*one, device_take((size_t)count * bytes + 64)};
        memcpy((unsigned char *)f.all.memory + (size_t)g * bytes, one->data, bytes);
    }
    weft_gemm_weight_move(&f.all.weight, f.all.memory);
    f.bias_stride = (size_t)f.all.weight.n + 3;
    f.bias = device_take((size_t)count * f.bias_stride * sizeof *f.bias);
    for (size_t i = 0; i < (size_t)count * f.bias_stride; i++) f.bias[i] = random_float(PLAIN);
    return f;
}

static void free_alike(family_of_weights *f)
{
    for (int g = 0; g < f->count; g++) free_packed(&f->one[g]);
    free_packed(&f->all);
    device_give(f->bias);
}

// Rows of each group: any, mostly none, all in one, one each. From some number on, as for a rank's part of all groups.
static void draw_offsets(int32_t *offsets, int count, int rows, int kind)
{
    const int chosen = (int)(random_bits() % (uint32_t)count);
    int32_t of[GROUPS_MAX] = {0};
    for (int i = 0; i < rows; i++)
        of[kind == 0 ? (int)(random_bits() % (uint32_t)count) : kind == 1 ? chosen : i % count]++;
    offsets[0] = kind == 2 ? 0 : 7;
    for (int g = 0; g < count; g++) offsets[g + 1] = offsets[g] + of[g];
}

// A run over all groups against one of each weight.
static void check_grouped(const where *w, const weight_case *c, const family_of_weights *f, int rows, int kind)
{
    const weft_gemm_weight *weight = &f->all.weight;
    const size_t columns = (size_t)weight->columns, k = (size_t)weight->k;
    int32_t *offsets = device_take((size_t)(f->count + 1) * sizeof *offsets),
            *index = device_take((size_t)rows * sizeof *index);
    matrix a = random_rows((size_t)rows + 3, k), in = matrix_make((size_t)rows, k, true);
    matrix residual = random_rows((size_t)rows, columns), got[WEFT_ROOTS_MAX] = {0}, want[WEFT_ROOTS_MAX] = {0};
    const bool whole = weight->whole;
    draw_offsets(offsets, f->count, rows, kind);
    for (int i = 0; i < rows; i++) index[i] = (int32_t)(random_bits() % (uint32_t)(rows + 3));
    for (int i = 0; i < rows; i++)
        memcpy(in.at + (size_t)i * in.stride, a.at + (size_t)index[i] * a.stride, k * sizeof *a.at);
    weft_gemm_args args = {.m = rows,
                           .a = kind == 0 ? a.at : in.at,
                           .a_stride = a.stride,
                           .index = kind == 0 ? index : NULL,
                           .groups = &(weft_gemm_groups){f->count, offsets, f->bias_stride},
                           .out_stride = columns + 3,
                           .bias = whole ? f->bias : NULL,
                           .act = whole ? WEFT_ACT_SILU : WEFT_ACT_NONE,
                           .residual = whole ? residual.at : NULL,
                           .residual_stride = residual.stride};
    for (int r = 0; r < weight->roots; r++) {
        got[r] = matrix_make((size_t)rows, columns, true);
        want[r] = matrix_make((size_t)rows, columns, true);
        args.out[r] = got[r].at;
    }
    run_weight(&w->table, w->team, &f->all, &args);
    args.groups = NULL;
    args.index = NULL;
    for (int g = 0; g < f->count; g++) {
        const size_t first = (size_t)(offsets[g] - offsets[0]);
        args.m = offsets[g + 1] - offsets[g];
        args.a = in.at + first * in.stride;
        for (int r = 0; r < weight->roots; r++) args.out[r] = want[r].at + first * want[r].stride;
        args.bias = whole ? f->bias + (size_t)g * f->bias_stride : NULL;
        args.residual = whole ? residual.at + first * residual.stride : NULL;
        if (args.m > 0) run_weight(&w->table, NULL, &f->one[g], &args);
    }
    for (int r = 0; r < weight->roots; r++) {
        expect_rows(w, c, &got[r], &want[r]);
        matrix_check(&got[r]);
        matrix_free(&got[r]);
        matrix_free(&want[r]);
    }
    matrix_free(&a);
    matrix_free(&in);
    matrix_free(&residual);
    device_give(offsets);
    device_give(index);
}

static void check_groups(const where *w)
{
    static const weft_gemm_leaves leaves = {{0, 64, 64, 128, 136, 136, 200, 264, 268}, 0, WEFT_LEAVES};
    static const weft_gemm_leaves some = {{0, 64, 64, 128, 136, 136, 200, 264, 268}, 1, 5};
    static const weight_case cases[] = {
        {.type = WEFT_BF16, .n = 70, .k = 136, .gate = true},
        {.type = WEFT_BF16, .n = 75, .k = 268, .leaves = &leaves},
        {.type = WEFT_BF16, .n = 75, .k = 268, .leaves = &some},
        {.type = WEFT_F32, .n = 40, .k = 65},
        {.type = WEFT_F16, .n = 40, .k = 65, .gate = true},
        {.type = WEFT_I8, .n = 75, .k = 268, .leaves = &leaves},
        {.type = WEFT_I8, .n = 40, .k = 96, .group = 32, .zeros = true, .zero_type = WEFT_F16, .gate = true},
        {.type = WEFT_I4, .n = 40, .k = 160, .group = 32, .scale_type = WEFT_BF16},
        {.type = WEFT_I4, .n = 40, .k = 96, .group = 32, .codebook = true},
    };
    static const char *const tiles[] = {"8x1", "16x2", "32x4", "64x1", "64x2", "128x4", "256x4"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        random_seed((uint32_t)i + 700);
        family_of_weights few = make_alike(w, &cases[i], 3), many = make_alike(w, &cases[i], GROUPS_MAX);
        for (int kind = 0; kind < 3; kind++) {
            check_grouped(w, &cases[i], &few, 23, kind);
            check_grouped(w, &cases[i], &many, kind == 2 ? 44 : 21, kind);
            check_grouped(w, &cases[i], &many, 1, kind);
        }
        for (size_t t = 0; t < sizeof tiles / sizeof *tiles && w->family >= WEFT_FAMILY_HOST_COUNT; t++) {
            CHECK(setenv("WEFT_GEMM_TILE", tiles[t], 1) == 0);
            check_grouped(w, &cases[i], &few, 23, 0);
        }
        CHECK(unsetenv("WEFT_GEMM_TILE") == 0);
        free_alike(&few);
        free_alike(&many);
    }
}

int main(void)
{
    where w = {0};
    weft_isa best;
    const weft_cpu cpu = weft_cpu_detect();
    CHECK_OK(weft_isa_choose(&cpu, &best));
    CHECK_OK(weft_team_create(&(weft_team_options){.threads = 2, .waiters = 8}, &w.team));
    const on_device *device = device_open(); // then of its families alone
    for (int isa = WEFT_ISA_REF; isa <= (int)best && !device; isa++)
        for (int family = 0; family < WEFT_FAMILY_HOST_COUNT; family++) {
            w.table = weft_kernels_for((weft_isa)isa);
            w.family = (weft_family)family;
            if (isa == WEFT_ISA_REF || weft_family_native(&cpu, (weft_isa)isa, w.family)) check_groups(&w);
        }
    for (int family = 0; family < WEFT_FAMILY_COUNT && device; family++) {
        w.table = device->table;
        w.family = (weft_family)family;
        if (w.table.gemm.run[family]) check_groups(&w);
    }
    device_close();
    weft_team_destroy(w.team);
    printf("%lld results compared to the bit\n", (long long)compared);
    return 0;
}
