// Every family at every level: `ref` against sums in double made from the source, each level against `ref`.
#include <math.h>

#include "tests/kernels/gemm_support.h"

static weft_cpu cpu;
static weft_isa best;
static const on_device *device; // NULL: none
static int64_t against_source, against_ref, equal_bits, from_device;

// What stands after the sums.
typedef struct {
    bool bias, addend, residual;
    weft_act act;
} epilogue;

typedef struct {
    weight_case weight;
    int64_t m;
    epilogue after;
} gemm_case;

static double activated(double x, weft_act act)
{
    switch (act) {
    case WEFT_ACT_SILU:
        return x / (1 + exp(-x));
    case WEFT_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    case WEFT_ACT_GELU_ERF:
        return 0.5 * x * (1 + erf(x * 0.7071067811865476));
    default:
        return x;
    }
}

typedef struct {
    matrix a, bias, addend, residual;
    weft_gemm_args args;
} inputs;

static matrix random_matrix(size_t rows, size_t columns, values kind)
{
    matrix m = matrix_make(rows, columns, random_bits() & 1);
    for (size_t i = 0; i < rows; i++) {
        const bool zero = kind == EXTREME && random_bits() % 8 == 0;
        for (size_t j = 0; j < columns; j++) m.at[i * m.stride + j] = zero ? 0 : random_float(kind);
    }
    return m;
}

static inputs make_inputs(const gemm_case *c, const weft_gemm_weight *w)
{
    inputs in = {.args = {.m = c->m, .act = c->after.act}};
    const size_t m = (size_t)c->m;
    in.a = random_matrix(m, (size_t)w->k, c->weight.kind);
    in.args.a = in.a.at;
    in.args.a_stride = in.a.stride;
    if (c->after.bias) in.bias = random_matrix(1, (size_t)w->n, PLAIN), in.args.bias = in.bias.at;
    if (c->after.addend) {
        in.addend = random_matrix(m, (size_t)w->n, PLAIN);
        in.args.addend = in.addend.at;
        in.args.addend_stride = in.addend.stride;
    }
    if (c->after.residual) {
        in.residual = random_matrix(m, (size_t)w->columns, PLAIN);
        in.args.residual = in.residual.at;
        in.args.residual_stride = in.residual.stride;
    }
    return in;
}

static void free_inputs(inputs *in)
{
    matrix_free(&in->a);
    matrix_free(&in->bias);
    matrix_free(&in->addend);
    matrix_free(&in->residual);
}

// The sum of a row over columns [begin, end) of K and how much it may be off.
static double exact(const sources *s, weft_family family, const float *a, int64_t row, int64_t begin, int64_t end,
                    double *slack)
{
    double sum = 0, size = 0;
    const int32_t *order = s->source[0].permutation;
    for (int64_t k = begin; k < end; k++) {
        const double x = rounded_activation(family, a[order ? order[k - begin] : k - begin]);
        const double y = value_of(s, family, row, k);
        double term = x * y;
        sum += term;
        // with a zero the levels are summed first, and they are larger than the values
        size += fabs(term) + (s->what.zeros && family < WEFT_FAMILY_AMX ? fabs(x) * 300 * 0.02 : 0);
    }
    *slack = size * 0x1p-22 * sqrt((double)(end - begin + 4)) + 1e-30;
    return sum;
}

static void check_against_source(const gemm_case *c, weft_family family, const sources *s, const inputs *in,
                                 const matrix *out)
{
    const weft_gemm_args *args = &in->args;
    const int64_t n = s->what.n, skip = c->m * n * s->what.k / 20000 + 1; // a sample where there are many
    for (int64_t row = 0; row < c->m; row++)
        for (int64_t column = 0; column < n; column++) {
            if ((row * n + column) % skip) continue;
            double value[2] = {0}, slack[2] = {0};
            for (int part = 0; part < (s->what.gate ? 2 : 1); part++) {
                const int64_t at = column + part * n;
                value[part] = exact(s, family, args->a + (size_t)row * args->a_stride, at, 0, s->what.k, &slack[part]);
                if (args->bias) value[part] += args->bias[at];
                if (args->addend) value[part] += args->addend[(size_t)row * args->addend_stride + (size_t)at];
                slack[part] += fabs(value[part]) * 0x1p-22;
            }
            double y = activated(value[0], args->act), tolerance = 1.2 * slack[0];
            if (args->act) tolerance += fabs(y) * 0x1p-20 + 1e-6;
            if (s->what.gate) {
                tolerance = fabs(y) * slack[1] + (fabs(value[1]) + slack[1]) * tolerance;
                y *= value[1];
            }
            if (args->residual) {
                y += args->residual[(size_t)row * args->residual_stride + (size_t)column];
                tolerance += fabs(y) * 0x1p-22 + 1e-7;
            }
            const double got = out->at[(size_t)row * out->stride + (size_t)column];
            against_source++;
            if (!(fabs(got - y) <= tolerance))
                CHECK_FAIL("%s of %s, m %lld n %lld k %lld group %d, row %lld column %lld: %.9g, expected %.9g +- %.3g",
                           weft_family_name(family), weft_dtype_name(s->what.type), (long long)c->m, (long long)n,
                           (long long)s->what.k, s->what.group, (long long)row, (long long)column, got, y, tolerance);
        }
}

static bool close_enough(const gemm_case *c, float a, float b, float size)
{
    if (same_bits(a, b)) return true;
    if (c->weight.kind == EXTREME) return !isfinite(a) || !isfinite(b) || fabsf(a - b) <= 1e-3f * fmaxf(fabsf(a), size);
    return fabsf(a - b) <= 1e-5f * (fabsf(a) + size);
}

static void compare(const gemm_case *c, const char *what, const matrix *out, const matrix *expected, bool bits)
{
    for (size_t row = 0; row < out->rows; row++) {
        float size = 0; // of the row's results: sums of both signs may cancel
        for (size_t column = 0; column < out->columns; column++) {
            const float y = fabsf(expected->at[row * expected->stride + column]);
            if (isfinite(y)) size = fmaxf(size, y);
        }
        for (size_t column = 0; column < out->columns; column++) {
            const float got = out->at[row * out->stride + column], want = expected->at[row * expected->stride + column];
            against_ref++;
            equal_bits += same_bits(got, want);
            if (bits ? same_bits(got, want) : close_enough(c, got, want, size)) continue;
            CHECK_FAIL("%s of %s, m %lld n %lld k %lld group %d, row %zu column %zu: %a, ref gives %a", what,
                       weft_dtype_name(c->weight.type), (long long)c->m, (long long)c->weight.n, (long long)c->weight.k,
                       c->weight.group, row, column, (double)got, (double)want);
        }
    }
}

static void check_level(const gemm_case *c, weft_isa isa, const packed *p, const inputs *in, const matrix *expected,
                        bool bits, int threads)
{
    const weft_kernels table = weft_kernels_for(isa);
    const weft_gemm_weight *w = &p->weight;
    weft_team *team;
    CHECK_OK(weft_team_create(&(weft_team_options){.threads = threads}, &team));
    matrix out = matrix_make((size_t)c->m, (size_t)w->columns, true);
    weft_gemm_args args = in->args;
    args.out[0] = out.at;
    args.out_stride = out.stride;
    run_weight(&table, threads > 1 ? team : NULL, p, &args);
    matrix_check(&out);
    char what[64];
    snprintf(what, sizeof what, "%s at %s", weft_family_name(w->family), weft_isa_name(isa));
    compare(c, what, &out, expected, bits);
    matrix_free(&out);
    weft_team_destroy(team);
}

static matrix run_on_device(const gemm_case *c, const packed *p, const inputs *in)
{
    matrix out = matrix_make((size_t)c->m, (size_t)p->weight.columns, true);
    weft_gemm_args args = in->args;
    args.out[0] = out.at;
    args.out_stride = out.stride;
    run_weight(&device->table, NULL, p, &args);
    matrix_check(&out);
    from_device += c->m * p->weight.columns;
    return out;
}

// A family of the device's own: against the source; extremes against AMX, whose values are the same.
static void check_device_case(const gemm_case *c, weft_family family)
{
    sources s = make_sources(&c->weight);
    packed p = pack_weight(family, &s, NULL, NULL), like = pack_weight(WEFT_FAMILY_AMX, &s, NULL, NULL);
    inputs in = make_inputs(c, &p.weight);
    matrix out = run_on_device(c, &p, &in);
    if (c->weight.kind == PLAIN) {
        check_against_source(c, family, &s, &in, &out);
    } else {
        const weft_kernels ref = weft_kernels_for(WEFT_ISA_REF);
        matrix expected = matrix_make(out.rows, out.columns, false);
        in.args.out[0] = expected.at;
        in.args.out_stride = expected.stride;
        run_weight(&ref, NULL, &like, &in.args);
        compare(c, weft_family_name(family), &out, &expected, false);
        matrix_free(&expected);
    }
    matrix_free(&out);
    free_inputs(&in);
    free_packed(&p);
    free_packed(&like);
    free_sources(&s);
}

static void check_case(const gemm_case *c, weft_family family)
{
    if (family >= WEFT_FAMILY_HOST_COUNT) {
        if (device && device->table.gemm.run[family]) check_device_case(c, family);
        return;
    }
    sources s = make_sources(&c->weight);
    packed p = pack_weight(family, &s, NULL, NULL);
    inputs in = make_inputs(c, &p.weight);
    const weft_kernels ref = weft_kernels_for(WEFT_ISA_REF);
    matrix expected = matrix_make((size_t)c->m, (size_t)p.weight.columns, false);
    in.args.out[0] = expected.at;
    in.args.out_stride = expected.stride;
    run_weight(&ref, NULL, &p, &in.args);
    matrix_check(&expected);
    if (c->weight.kind == PLAIN) check_against_source(c, family, &s, &in, &expected);
    for (int isa = WEFT_ISA_AVX2; isa <= (int)best; isa++) {
        if (!weft_family_native(&cpu, (weft_isa)isa, family)) continue;
        check_level(c, (weft_isa)isa, &p, &in, &expected, family == WEFT_FAMILY_FMA, 1 + (int)(random_bits() % 3));
    }
    if (device && family == WEFT_FAMILY_FMA) {
        matrix out = run_on_device(c, &p, &in);
        compare(c, device->device->name, &out, &expected, true);
        matrix_free(&out);
    }
    matrix_free(&expected);
    free_inputs(&in);
    free_packed(&p);
    free_sources(&s);
}

static const weft_dtype types[] = {WEFT_F32, WEFT_BF16, WEFT_F16, WEFT_I8, WEFT_I4, WEFT_E4M3};
static const weft_dtype scale_types[] = {WEFT_F32, WEFT_BF16, WEFT_F16};
static const weft_dtype zero_types[] = {WEFT_I8, WEFT_F32, WEFT_BF16, WEFT_F16};
static const int groups[] = {0, 16, 32, 64, 128};

static gemm_case random_case(int index)
{
    gemm_case c = {0};
    weight_case *w = &c.weight;
    w->type = types[index % 6];
    c.m = 1 + random_bits() % (random_bits() % 3 ? 5 : 50);
    w->n = 1 + random_bits() % (random_bits() % 3 ? 40 : 150);
    w->k = 1 + random_bits() % (random_bits() % 3 ? 80 : 700);
    w->kind = index % 4 == 3 ? EXTREME : PLAIN;
    w->scale_type = scale_types[random_bits() % 3];
    w->zero_type = zero_types[random_bits() % 4];
    w->group = groups[random_bits() % 5];
    w->zeros = random_bits() & 1;
    w->codebook = random_bits() % 3 == 0;
    w->permuted = random_bits() % 5 == 0;
    w->gate = random_bits() % 5 == 0;
    if (random_bits() % 4 == 0 && w->n > 3) w->sources = 3;
    if (random_bits() % 6 == 0 && w->kind == PLAIN) w->scale_rows = 128, w->group = 128;
    if (random_bits() % 2) {
        c.after.bias = random_bits() & 1;
        c.after.addend = random_bits() & 1;
        c.after.residual = random_bits() & 1;
        c.after.act = (weft_act)(random_bits() % 4);
    }
    return c;
}

// Large enough for blocks along K, groups of panels and chunks of rows. Each shape meets a third of the types.
static void check_large(void)
{
    static const int64_t shapes[][3] = {{70, 100, 1100}, {530, 17, 620}, {515, 10, 1300}, {16, 100, 1100}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int family = 0; family < WEFT_FAMILY_COUNT; family++)
            for (int type = 0; type < 6; type++) {
                if ((type + (int)i + family) % 3) continue;
                const gemm_case c = {
                    .m = shapes[i][0],
                    .weight = {.type = types[type], .n = shapes[i][1], .k = shapes[i][2], .group = 64}};
                check_case(&c, (weft_family)family);
            }
}

// Scales above 0, as most weights have them: codes become floats in a shorter way.
static void check_positive(void)
{
    static const int64_t rows[] = {1, 5, 40};
    for (int family = 0; family < WEFT_FAMILY_COUNT; family++)
        for (int type = 0; type < 3; type++)
            for (int scale = 0; scale < 3; scale++)
                for (int group = 0; group < 5; group++) {
                    const gemm_case c = {.m = rows[(scale + group) % 3],
                                         .weight = {.type = types[3 + type],
                                                    .n = 75,
                                                    .k = 660,
                                                    .group = groups[group],
                                                    .scale_type = scale_types[scale],
                                                    .positive = true}};
                    check_case(&c, (weft_family)family);
                }
}

// E4M3 by AMX: rows whose scale takes values out of the normal ones, a kind in each panel of 32 rows; codes that are no
// number in the last two.
static void check_far_scales(void)
{
    static const float scales[] = {0, 0x1p-110F, 1e36F, -0.37F};
    const gemm_case c = {.m = 3, .weight = {.type = WEFT_E4M3, .n = 150, .k = 640, .group = 128, .positive = true}};
    const weft_kernels ref = weft_kernels_for(WEFT_ISA_REF);
    if (!weft_family_native(&cpu, best, WEFT_FAMILY_AMX)) return;
    sources s = make_sources(&c.weight);
    unsigned char *codes = s.memory[0];
    float *scale = s.memory[1];
    for (size_t row = 5; row < 128; row += 32)
        for (size_t group = 0; group < 5; group++) scale[row * 5 + group] = scales[row / 32];
    codes[100 * s.source[0].row_bytes + 300] = 0x7f;
    codes[131 * s.source[0].row_bytes + 7] = 0xff;
    packed p = pack_weight(WEFT_FAMILY_AMX, &s, NULL, NULL);
    inputs in = make_inputs(&c, &p.weight);
    matrix expected = matrix_make(3, 150, false);
    in.args.out[0] = expected.at;
    in.args.out_stride = expected.stride;
    run_weight(&ref, NULL, &p, &in.args);
    CHECK(expected.at[5] == 0 && isnan(expected.at[100]) && isnan(expected.at[131]) && isfinite(expected.at[101]));
    check_level(&c, best, &p, &in, &expected, true, 1);
    matrix_free(&expected);
    free_inputs(&in);
    free_packed(&p);
    free_sources(&s);
}

static void check_families(void)
{
    weft_family family;
    weft_cpu amd = {.features = WEFT_CPU_AVX512_BF16, .bf16_dot_is_fast = true}, intel = {0};
    CHECK(weft_family_from_name("bf16dot", &family));
    CHECK_INT(family, WEFT_FAMILY_BF16_DOT);
    CHECK(!weft_family_from_name("dot", &family));
    CHECK_TEXT(weft_family_name(WEFT_FAMILY_AMX), "amx");
    CHECK_INT(weft_family_choose(&intel, WEFT_ISA_AMX, WEFT_BF16), WEFT_FAMILY_AMX);
    CHECK_INT(weft_family_choose(&intel, WEFT_ISA_AMX, WEFT_F32), WEFT_FAMILY_FMA);
    CHECK_INT(weft_family_choose(&intel, WEFT_ISA_AMX, WEFT_F16), WEFT_FAMILY_FMA);
    CHECK_INT(weft_family_choose(&intel, WEFT_ISA_AVX512, WEFT_BF16), WEFT_FAMILY_FMA);
    CHECK_INT(weft_family_choose(&amd, WEFT_ISA_AVX512, WEFT_I4), WEFT_FAMILY_BF16_DOT);
    CHECK_INT(weft_family_choose(&amd, WEFT_ISA_AVX2, WEFT_I8), WEFT_FAMILY_FMA);
    CHECK(weft_family_from_name("wgmma", &family));
    CHECK(!weft_family_native(&intel, WEFT_ISA_AMX, family));
    CHECK_INT(weft_family_of_device(90, WEFT_BF16), WEFT_FAMILY_WGMMA);
    CHECK_INT(weft_family_of_device(90, WEFT_F32), WEFT_FAMILY_FMA);
    CHECK_INT(weft_family_of_device(80, WEFT_I4), WEFT_FAMILY_MMA);
    CHECK_INT(weft_family_of_device(100, WEFT_I8), WEFT_FAMILY_MMA);
}

// Packed panel by panel from sources cut to it, a weight has the bytes that it has when packed whole.
static void check_panels(void)
{
    static const weight_case cases[] = {
        {.type = WEFT_BF16, .n = 70, .k = 150},
        {.type = WEFT_BF16, .n = 41, .k = 72, .gate = true},
        {.type = WEFT_I8, .n = 41, .k = 200, .gate = true},
        {.type = WEFT_I4, .n = 70, .k = 256, .group = 32, .zeros = true, .zero_type = WEFT_I8},
        {.type = WEFT_I8, .n = 41, .k = 192, .group = 64, .scale_type = WEFT_BF16, .gate = true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int family = 0; family < WEFT_FAMILY_COUNT; family++) {
            sources s = make_sources(&cases[i]);
            packed whole = pack_weight((weft_family)family, &s, NULL, NULL);
            const weft_fuse fuse = cases[i].gate ? WEFT_FUSE_GATE : WEFT_FUSE_STACK;
            const int64_t lanes = cases[i].gate ? WEFT_GEMM_PANEL / 2 : WEFT_GEMM_PANEL;
            const size_t bytes = (size_t)whole.weight.panels * whole.weight.panel_bytes;
            weft_gemm_weight w;
            void *memory = device_take(bytes);
            CHECK_OK(weft_gemm_pack_begin((weft_family)family, s.source, s.count, fuse, NULL, memory, &w));
            for (int64_t panel = weft_gemm_panels(&w) - 1; panel >= 0; panel--) {
                weft_gemm_source part[2];
                for (int j = 0; j < s.count; j++) {
                    const int64_t first = panel * lanes, left = s.source[j].n - first;
                    part[j] = s.source[j];
                    part[j].n = left < lanes ? left : lanes;
                    part[j].data = (const char *)part[j].data + (size_t)first * part[j].row_bytes;
                    if (part[j].scales)
                        part[j].scales = (const char *)part[j].scales + (size_t)first * part[j].scale_row_bytes;
                    if (part[j].zeros)
                        part[j].zeros = (const char *)part[j].zeros + (size_t)first * part[j].zero_row_bytes;
                }
                weft_gemm_pack_panel(&w, panel, part, s.count);
            }
            CHECK_BYTES(memory, whole.weight.data, bytes);
            device_give(memory);
            free_packed(&whole);
            free_sources(&s);
        }
}

static void check_refusals(void)
{
    const float data[64] = {0};
    const weft_gemm_source good = {.type = WEFT_F32, .data = data, .n = 2, .k = 16, .row_bytes = 64};
    weft_gemm_source s = good;
    weft_gemm_leaves leaves = {.begin = {0, 8, 16, 16, 16, 16, 16, 16, 16}, .first = 0, .count = 2};
    size_t bytes;
    s.type = WEFT_I64;
    CHECK_FAILS(weft_gemm_pack_bytes(WEFT_FAMILY_FMA, &s, 1, WEFT_FUSE_STACK, NULL, &bytes), WEFT_UNSUPPORTED, "i64");
    s = good, s.type = WEFT_I8;
    CHECK_FAILS(weft_gemm_pack_bytes(WEFT_FAMILY_FMA, &s, 1, WEFT_FUSE_STACK, NULL, &bytes), WEFT_INVALID, "scales");
    s.scales = data, s.group = 48;
    CHECK_FAILS(weft_gemm_pack_bytes(WEFT_FAMILY_FMA, &s, 1, WEFT_FUSE_STACK, NULL, &bytes), WEFT_UNSUPPORTED, "48");
    s = good, s.n = 0;
    CHECK_FAILS(weft_gemm_pack_bytes(WEFT_FAMILY_FMA, &s, 1, WEFT_FUSE_STACK, NULL, &bytes), WEFT_INVALID, "rows");
    s = good;
    CHECK_FAILS(weft_gemm_pack_bytes(WEFT_FAMILY_FMA, &s, 1, WEFT_FUSE_GATE, NULL, &bytes), WEFT_INVALID, "gate");
    CHECK_OK(weft_gemm_pack_bytes(WEFT_FAMILY_FMA, &s, 1, WEFT_FUSE_STACK, &leaves, &bytes));
    leaves.begin[1] = 9;
    CHECK_FAILS(weft_gemm_pack_bytes(WEFT_FAMILY_FMA, &s, 1, WEFT_FUSE_STACK, &leaves, &bytes), WEFT_INVALID, "leaves");
    leaves.begin[1] = 8, leaves.first = 3;
    CHECK_FAILS(weft_gemm_pack_bytes(WEFT_FAMILY_FMA, &s, 1, WEFT_FUSE_STACK, &leaves, &bytes), WEFT_INVALID, "empty");
}

int main(int argc, char **argv)
{
    const int rounds = argc > 1 ? atoi(argv[1]) : 180;
    cpu = weft_cpu_detect();
    CHECK_OK(weft_isa_choose(&cpu, &best));
    device = device_open();
    check_families();
    check_refusals();
    check_panels();
    for (int i = 0; i < rounds; i++)
        for (int family = 0; family < WEFT_FAMILY_COUNT; family++) {
            random_seed((uint32_t)i * 4 + (uint32_t)family);
            const gemm_case c = random_case(i);
            check_case(&c, (weft_family)family);
        }
    check_large();
    check_positive();
    check_far_scales();
    for (int family = 0; family < WEFT_FAMILY_HOST_COUNT; family++)
        if (!weft_family_native(&cpu, best, (weft_family)family))
            printf("not run here: %s at %s\n", weft_family_name((weft_family)family), weft_isa_name(best));
    printf("%lld results against the source, %lld against ref, %lld of them equal to the bit\n",
           (long long)against_source, (long long)against_ref, (long long)equal_bits);
    if (device) printf("%lld results on %s\n", (long long)from_device, device->device->name);
    device_close();
    return 0;
}
