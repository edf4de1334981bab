// What may not show in bits: M, a row's place, the threads, the columns beside, how N is cut, who owns which leaves.
#include "tests/kernels/gemm_support.h"

static weft_cpu cpu;
static int64_t compared;

typedef struct {
    weft_kernels table;
    weft_family family;
    weft_team *team[5]; // by threads
    bool emulated;      // slow
} where;

static void expect_rows(const char *what, const where *w, const weight_case *c, const float *got, size_t got_stride,
                        const float *want, size_t want_stride, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++, compared++) {
            const float a = got[i * got_stride + j], b = want[i * want_stride + j];
            if (!same_bits(a, b))
                CHECK_FAIL("%s: %s at %s, %s, n %lld k %lld group %d: row %zu column %zu is %a, was %a", what,
                           weft_family_name(w->family), weft_isa_name(w->table.isa), weft_dtype_name(c->type),
                           (long long)c->n, (long long)c->k, c->group, i, j, (double)a, (double)b);
        }
}

static matrix run_new(const where *w, const packed *p, const float *a, size_t stride, size_t m, int threads)
{
    matrix out = matrix_make(m, (size_t)p->weight.columns, true);
    const weft_gemm_args args = {
        .m = (int64_t)m, .a = a, .a_stride = stride, .out = {out.at}, .out_stride = out.stride};
    run_weight(&w->table, threads ? w->team[threads] : NULL, p, &args);
    matrix_check(&out);
    return out;
}

static matrix random_rows(size_t rows, size_t columns)
{
    matrix m = matrix_make(rows, columns, true);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) m.at[i * m.stride + j] = random_float(PLAIN);
    return m;
}

// The rows of `a` in pieces of their own, of which one is empty, as different ranks leave them; also rounded before.
static void check_pieces(const where *w, const weight_case *c, const packed *p, const matrix *a, const matrix *all,
                         bool halves)
{
    static const int64_t begin[] = {0, 1, 20, 20, 53, 67};
    enum { PIECES = sizeof begin / sizeof *begin - 1 };
    const size_t size = halves ? sizeof(uint16_t) : sizeof(float);
    const weft_kernels ref = weft_kernels_for(WEFT_ISA_REF);
    const weft_op op = {.table = &ref};
    void *pieces[PIECES];
    const void *at[PIECES];
    const weft_gemm_rows rows = {.count = PIECES, .begin = begin, .piece = at, .halves = halves};
    for (int i = 0; i < PIECES; i++) {
        const size_t floats = (size_t)(begin[i + 1] - begin[i]) * a->stride;
        const float *from = a->at + (size_t)begin[i] * a->stride;
        at[i] = pieces[i] = device_take(floats * size + 1);
        ref.rows.convert(&op, pieces[i], halves ? WEFT_BF16 : WEFT_F32, from, WEFT_F32, floats);
    }
    for (int threads = 0; threads <= 2; threads++) {
        matrix out = matrix_make(all->rows, all->columns, true);
        const weft_gemm_args args = {
            .m = (int64_t)all->rows, .rows = &rows, .a_stride = a->stride, .out = {out.at}, .out_stride = out.stride};
        run_weight(&w->table, threads ? w->team[threads] : NULL, p, &args);
        expect_rows("rows in pieces", w, c, out.at, out.stride, all->at, all->stride, all->rows, all->columns);
        matrix_check(&out);
        matrix_free(&out);
    }
    for (int i = 0; i < PIECES; i++) device_give(pieces[i]);
}

// One row alone, rows at another place, other counts of rows, threads.
static void check_rows(const where *w, const weight_case *c)
{
    enum { ROWS = 67 };
    sources s = make_sources(c);
    packed p = pack_weight(w->family, &s, NULL, w->team[2]);
    matrix a = random_rows(ROWS, (size_t)c->k), all = run_new(w, &p, a.at, a.stride, ROWS, 0);
    static const size_t cuts[][2] = {{0, 1}, {66, 1}, {5, 2}, {1, 16}, {3, 33}, {20, 47}, {17, 12}, {2, 7}};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        const size_t row = cuts[i][0], rows = cuts[i][1];
        matrix some = run_new(w, &p, a.at + row * a.stride, a.stride, rows, (int)(i % 5));
        expect_rows("rows alone", w, c, some.at, some.stride, all.at + row * all.stride, all.stride, rows, all.columns);
        matrix_free(&some);
    }
    for (int threads = 1; threads <= 4; threads++) {
        matrix again = run_new(w, &p, a.at, a.stride, ROWS, threads);
        expect_rows("threads", w, c, again.at, again.stride, all.at, all.stride, ROWS, all.columns);
        matrix_free(&again);
    }
    check_pieces(w, c, &p, &a, &all, false);
    if (w->family != WEFT_FAMILY_FMA && !(w->family == WEFT_FAMILY_AMX && p.weight.exact))
        check_pieces(w, c, &p, &a, &all, true);
    matrix_free(&a);
    matrix_free(&all);
    free_packed(&p);
    free_sources(&s);
}

// More rows than are packed at once: the rows of the second chunk are those of a run of their own.
static void check_chunks(const where *w)
{
    enum { ROWS = 1100, FROM = 509, SOME = 20 };
    const weight_case c = {.type = WEFT_BF16, .n = 40, .k = 96};
    sources s = make_sources(&c);
    packed p = pack_weight(w->family, &s, NULL, NULL);
    matrix a = random_rows(ROWS, (size_t)c.k), all = run_new(w, &p, a.at, a.stride, ROWS, 3);
    matrix some = run_new(w, &p, a.at + FROM * a.stride, a.stride, SOME, 0);
    expect_rows("chunks", w, &c, some.at, some.stride, all.at + FROM * all.stride, all.stride, SOME, 40);
    matrix_free(&a);
    matrix_free(&all);
    matrix_free(&some);
    free_packed(&p);
    free_sources(&s);
}

// A weight of some of the rows gives their columns; so does one that has them behind others.
static void check_split(const where *w, const weight_case *c)
{
    enum { ROWS = 19 };
    sources s = make_sources(c);
    packed whole = pack_weight(w->family, &s, NULL, NULL);
    matrix a = random_rows(ROWS, (size_t)c->k), all = run_new(w, &whole, a.at, a.stride, ROWS, 0);
    const int64_t begin = c->n / 3, end = c->n - c->n / 4;
    sources part = s;
    part.source[0].n = end - begin;
    part.source[0].first_row = begin;
    part.source[0].data = (const char *)s.source[0].data + (size_t)begin * s.source[0].row_bytes;
    packed some = pack_weight(w->family, &part, NULL, NULL);
    matrix got = run_new(w, &some, a.at, a.stride, ROWS, 2);
    expect_rows("split of N", w, c, got.at, got.stride, all.at + begin, all.stride, ROWS, (size_t)(end - begin));
    part.source[1] = part.source[0], part.count = 2;
    packed twice = pack_weight(w->family, &part, NULL, NULL);
    matrix both = run_new(w, &twice, a.at, a.stride, ROWS, 2);
    expect_rows("columns beside", w, c, both.at + (end - begin), both.stride, all.at + begin, all.stride, ROWS,
                (size_t)(end - begin));
    matrix_free(&a);
    matrix_free(&all);
    matrix_free(&got);
    matrix_free(&both);
    free_packed(&whole);
    free_packed(&some);
    free_packed(&twice);
    free_sources(&s);
}

// What the ranks have computed: the roots of all, and the tree over them.
typedef struct {
    weft_gemm_root root[WEFT_LEAVES * WEFT_ROOTS_MAX];
    matrix sums[WEFT_LEAVES * WEFT_ROOTS_MAX];
    int count;
} forest;

// The sum of the subtree at `first` in `out`; false when nobody has a column of it. A missing partner is a copy.
static bool tree_sum(const weft_kernels *ref, const forest *f, int first, int count, float *out, size_t floats)
{
    for (int i = 0; i < f->count; i++)
        if (f->root[i].first <= first && first + count <= f->root[i].first + f->root[i].count) {
            memcpy(out, f->sums[i].at, floats * sizeof *out);
            return true;
        }
    if (count == 1) return false;
    float *right = malloc(floats * sizeof *right);
    CHECK(right);
    const bool lower = tree_sum(ref, f, first, count / 2, out, floats);
    const bool upper = tree_sum(ref, f, first + count / 2, count / 2, right, floats);
    const float *in[2] = {out, right};
    if (lower && upper)
        ref->tree_add(&(weft_op){.table = ref}, out, in, 2, floats);
    else if (upper)
        memcpy(out, right, floats * sizeof *out);
    free(right);
    return lower || upper;
}

static void check_owners(const where *w, const weight_case *c, const weft_gemm_leaves *leaves, size_t rows)
{
    sources s = make_sources(c);
    packed whole = pack_weight(w->family, &s, leaves, NULL);
    matrix a = random_rows(rows, (size_t)c->k);
    matrix all = run_new(w, &whole, a.at, a.stride, rows, 2);
    const size_t floats = rows * (size_t)c->n;
    const weft_kernels ref = weft_kernels_for(WEFT_ISA_REF);
    CHECK(whole.weight.whole);
    for (int owners = 1; owners <= WEFT_LEAVES; owners += w->emulated ? 2 : 1) {
        forest f = {0};
        for (int owner = 0; owner < owners; owner++) {
            weft_gemm_leaves mine = *leaves;
            weft_gemm_root roots[WEFT_ROOTS_MAX];
            mine.first = owner * WEFT_LEAVES / owners;
            mine.count = (owner + 1) * WEFT_LEAVES / owners - mine.first;
            const int count = weft_gemm_roots(&mine, roots);
            if (count == 0) continue;
            packed p = pack_weight(w->family, &s, &mine, NULL);
            CHECK_INT(p.weight.roots, count);
            weft_gemm_args args = {.m = (int64_t)rows,
                                   .a = a.at + mine.begin[mine.first],
                                   .a_stride = a.stride,
                                   .out_stride = (size_t)c->n};
            for (int i = 0; i < count; i++) {
                f.root[f.count] = roots[i];
                f.sums[f.count] = matrix_make(rows, (size_t)c->n, false);
                args.out[i] = f.sums[f.count++].at;
            }
            run_weight(&w->table, w->team[1 + owner % 3], &p, &args);
            free_packed(&p);
        }
        float *sum = malloc(floats * sizeof *sum);
        CHECK(sum && tree_sum(&ref, &f, 0, WEFT_LEAVES, sum, floats));
        expect_rows("owners of leaves", w, c, sum, (size_t)c->n, all.at, all.stride, rows, (size_t)c->n);
        free(sum);
        for (int i = 0; i < f.count; i++) {
            matrix_check(&f.sums[i]);
            matrix_free(&f.sums[i]);
        }
    }
    matrix_free(&a);
    matrix_free(&all);
    free_packed(&whole);
    free_sources(&s);
}

static void check_leaves(const where *w)
{
    // equal, unequal, with empty ones, cut inside groups, a tail that is no multiple of 8
    static const weft_gemm_leaves cuts[] = {
        {{0, 64, 128, 192, 256, 320, 384, 448, 512}, 0, WEFT_LEAVES},
        {{0, 128, 224, 352, 448, 576, 672, 800, 896}, 0, WEFT_LEAVES},
        {{0, 64, 64, 128, 128, 192, 192, 256, 256}, 0, WEFT_LEAVES},
        {{0, 0, 40, 48, 104, 104, 104, 184, 203}, 0, WEFT_LEAVES},
        {{0, 0, 0, 0, 0, 0, 24, 24, 24}, 0, WEFT_LEAVES},
    };
    static const weft_dtype types[] = {WEFT_BF16, WEFT_I8, WEFT_I4, WEFT_F32, WEFT_F16, WEFT_E4M3};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            const weight_case c = {.type = types[t],
                                   .scale_type = WEFT_BF16,
                                   .zero_type = WEFT_I8,
                                   .zeros = t == 2,
                                   .group = i % 2 ? 32 : 0,
                                   .n = 37,
                                   .k = cuts[i].begin[WEFT_LEAVES]};
            check_owners(w, &c, &cuts[i], t % 2 ? 5 : 35);
        }
}

// On a device the tile is chosen by size: every one gives the same bits.
static void check_tiles(const where *w, const weight_case *c, size_t rows)
{
    static const char *const tiles[] = {"8x1",  "8x2",  "8x4",  "16x1", "16x2",  "16x4", "32x1",
                                        "32x2", "64x1", "64x2", "64x4", "128x4", "256x4"};
    sources s = make_sources(c);
    packed p = pack_weight(w->family, &s, c->leaves, NULL);
    matrix a = random_rows(rows, (size_t)c->k), all = run_new(w, &p, a.at, a.stride, rows, 0);
    for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
        CHECK(setenv("WEFT_GEMM_TILE", tiles[i], 1) == 0);
        matrix some = run_new(w, &p, a.at, a.stride, rows, 0);
        expect_rows(tiles[i], w, c, some.at, some.stride, all.at, all.stride, rows, all.columns);
        matrix_free(&some);
    }
    CHECK(unsetenv("WEFT_GEMM_TILE") == 0);
    matrix_free(&a);
    matrix_free(&all);
    free_packed(&p);
    free_sources(&s);
}

static void check_all_tiles(const where *w)
{
    static const weft_gemm_leaves leaves = {{0, 64, 192, 320, 384, 448, 560, 624, 760}, 0, WEFT_LEAVES};
    static const weight_case cases[] = {
        {.type = WEFT_BF16, .n = 150, .k = 760},
        {.type = WEFT_BF16, .n = 150, .k = 760, .leaves = &leaves},
        {.type = WEFT_BF16, .n = 70, .k = 200, .gate = true},
        {.type = WEFT_I8, .n = 150, .k = 760, .leaves = &leaves},
        {.type = WEFT_I8, .n = 150, .k = 300, .group = 32, .zeros = true, .zero_type = WEFT_F16},
        {.type = WEFT_I8, .n = 140, .k = 760, .group = 16, .scale_type = WEFT_F16, .leaves = &leaves},
        {.type = WEFT_E4M3, .n = 150, .k = 760, .group = 64, .leaves = &leaves},
        {.type = WEFT_E4M3, .n = 140, .k = 300, .group = 128, .scale_rows = 128, .scale_type = WEFT_BF16},
        {.type = WEFT_I4, .n = 150, .k = 760, .group = 16, .scale_type = WEFT_BF16, .leaves = &leaves},
        {.type = WEFT_I4, .n = 70, .k = 330, .group = 128, .scale_type = WEFT_F16, .zeros = true, .zero_type = WEFT_I8},
        {.type = WEFT_I4, .n = 150, .k = 300, .codebook = true, .gate = true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        random_seed((uint32_t)i + 300);
        check_tiles(w, &cases[i], 19);
        if (i < 2) check_tiles(w, &cases[i], 300);
    }
}

static void check_family(const where *w)
{
    static const weight_case cases[] = {
        {.type = WEFT_BF16, .n = 75, .k = 203},
        {.type = WEFT_F32, .n = 33, .k = 65},
        {.type = WEFT_F16, .n = 70, .k = 130},
        {.type = WEFT_I8, .n = 95, .k = 203},
        {.type = WEFT_I8, .n = 64, .k = 256, .group = 64, .scale_type = WEFT_F16},
        {.type = WEFT_I4, .n = 70, .k = 300, .group = 32, .scale_type = WEFT_BF16, .zeros = true, .zero_type = WEFT_I8},
        {.type = WEFT_I4, .n = 40, .k = 256, .group = 128, .codebook = true},
        {.type = WEFT_E4M3, .n = 300, .k = 256, .group = 128, .scale_rows = 128},
        {.type = WEFT_BF16, .n = 1000, .k = 72},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        random_seed((uint32_t)i + 100);
        if ((w->table.isa == WEFT_ISA_REF || w->emulated) && cases[i].n > 300) continue; // slow
        check_rows(w, &cases[i]);
        check_split(w, &cases[i]);
    }
    if (w->table.isa != WEFT_ISA_REF && !w->emulated) check_chunks(w);
    check_leaves(w);
}

int main(void)
{
    where w = {0};
    weft_isa best;
    cpu = weft_cpu_detect();
    CHECK_OK(weft_isa_choose(&cpu, &best));
    for (int threads = 1; threads <= 4; threads++)
        CHECK_OK(weft_team_create(&(weft_team_options){.threads = threads, .waiters = 8}, &w.team[threads]));
    const on_device *device = device_open(); // then of its families alone
    for (int isa = WEFT_ISA_REF; isa <= (int)best && !device; isa++)
        for (int family = 0; family < WEFT_FAMILY_HOST_COUNT; family++) {
            w.table = weft_kernels_for((weft_isa)isa);
            w.family = (weft_family)family;
            if (isa != WEFT_ISA_REF && !weft_family_native(&cpu, (weft_isa)isa, w.family)) {
                printf("not run here: %s at %s\n", weft_family_name(w.family), weft_isa_name((weft_isa)isa));
                continue;
            }
            check_family(&w);
        }
    for (int family = 0; family < WEFT_FAMILY_COUNT && device; family++) {
        w.table = device->table;
        w.family = (weft_family)family;
        w.emulated = device->emulated;
        if (!w.table.gemm.run[family] || family == WEFT_FAMILY_BLAS) continue;
        check_family(&w);
        if (family >= WEFT_FAMILY_HOST_COUNT) check_all_tiles(&w);
    }
    device_close();
    for (int threads = 1; threads <= 4; threads++) weft_team_destroy(w.team[threads]);
    printf("%lld results compared to the bit\n", (long long)compared);
    return 0;
}
