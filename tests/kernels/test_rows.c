// Conversions, rows by index, RMSNorm and RoPE: every level and team against `ref`, and `ref` against formulas that are
// written here once more in plain C.
#include <math.h>

#include "tests/check.h"
#include "tests/kernels/walk.h"

static float of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

// The value of a bf16 or f16 by its definition.
static double narrow_value(uint16_t bits, weft_dtype type)
{
    const int fraction = type == WEFT_BF16 ? 7 : 10, width = 15 - fraction, bias = (1 << (width - 1)) - 1;
    const int exponent = bits >> fraction & ((1 << width) - 1), mantissa = bits & ((1 << fraction) - 1);
    double value = exponent == 0 ? ldexp(mantissa, 1 - bias - fraction)
                                 : ldexp(mantissa + (1 << fraction), exponent - bias - fraction);
    if (exponent == (1 << width) - 1) value = mantissa ? NAN : INFINITY;
    return bits & 0x8000 ? -value : value;
}

// The nearest, found by bisection over all of one sign; the infinity counts as the number that would follow the
// largest.
static uint16_t narrow_nearest(float x, weft_dtype type)
{
    const uint16_t sign = signbit(x) ? 0x8000 : 0, top = type == WEFT_BF16 ? 0x7f80 : 0x7c00;
    if (isnan(x)) return (uint16_t)(bits_of(x) >> (type == WEFT_BF16 ? 16 : 13)); // not compared but for the quiet bit
    const double target = fabs((double)x), beyond = type == WEFT_BF16 ? 0x1p128 : 0x1p16;
    uint16_t low = 0, high = top; // low <= target
    if (target >= beyond) return sign | top;
    while (high - low > 1) {
        const uint16_t middle = (uint16_t)((low + high) / 2);
        if (narrow_value(middle, type) <= target)
            low = middle;
        else
            high = middle;
    }
    const double under = target - narrow_value(low, type);
    const double over = (high == top ? beyond : narrow_value(high, type)) - target;
    const bool up = over < under || (over == under && (low & 1));
    return sign | (up ? high : low);
}

static void test_convert_values(weft_walk *walk)
{
    enum { COUNT = 1 << 16 };
    uint16_t *all = weft_walk_memory(walk, COUNT * sizeof *all, 2),
             *back = weft_walk_memory(walk, COUNT * sizeof *back, 0);
    float *wide = weft_walk_memory(walk, COUNT * sizeof *wide, 4);
    for (int i = 0; i < COUNT; i++) all[i] = (uint16_t)i;
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        for (weft_dtype type = WEFT_F16; type <= WEFT_BF16; type++) {
            op->table->rows.convert(op, wide, WEFT_F32, all, type, COUNT);
            for (int i = 0; i < COUNT; i++) {
                const double value = narrow_value((uint16_t)i, type);
                if (isnan(value))
                    CHECK(isnan(wide[i]));
                else
                    CHECK(bits_of(wide[i]) == bits_of((float)value));
            }
            op->table->rows.convert(op, back, type, wide, WEFT_F32, COUNT);
            const uint16_t top = type == WEFT_BF16 ? 0x7f80 : 0x7c00, quiet = type == WEFT_BF16 ? 0x40 : 0x200;
            for (int i = 0; i < COUNT; i++) CHECK_INT(back[i], (i & 0x7fff) > top ? i | quiet : i);
        }
        // Random bits, and what lies at and beside every middle between two f16.
        for (weft_dtype type = WEFT_F16; type <= WEFT_BF16; type++) {
            for (int i = 0; i < COUNT; i++) {
                const uint64_t r = weft_walk_random(type, (uint64_t)i);
                uint32_t bits = (uint32_t)r;
                if (r >> 63) bits = (bits & 0xfffff000) + 0x1000 + (uint32_t)((int)(r >> 40) % 3 - 1);
                if ((r >> 61) % 4 == 1) bits = (bits & 0x87ffffff) | 0x30000000; // where f16 has its denormals
                wide[i] = of_bits(bits);
            }
            op->table->rows.convert(op, back, type, wide, WEFT_F32, COUNT);
            for (int i = 0; i < COUNT; i++) {
                const uint16_t expected = narrow_nearest(wide[i], type);
                if (isnan(wide[i]))
                    CHECK(isnan(narrow_value(back[i], type)));
                else if (back[i] != expected)
                    CHECK_FAIL("%s: %a becomes %04x, expected %04x", weft_walk_name(walk, way), (double)wide[i],
                               back[i], expected);
            }
        }
    }
    weft_walk_release(walk);
}

// `odd` is 1 where memory and rows are not aligned, 0 where all lie at 16 bytes.
static void test_convert_shapes(weft_walk *walk, size_t odd)
{
    const size_t counts[] = {0, 1, 15, 16, 17, 4095, 100003};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        for (weft_dtype from = WEFT_F32; from <= WEFT_BF16; from++) {
            for (weft_dtype to = WEFT_F32; to <= WEFT_BF16; to++) {
                const size_t count = counts[c], in_size = from == WEFT_F32 ? 4 : 2, out_size = to == WEFT_F32 ? 4 : 2;
                weft_walk_case(walk, "convert %zu from %s to %s", count, weft_dtype_name(from), weft_dtype_name(to));
                void *in = weft_walk_memory(walk, count * in_size, 12 * odd);
                void *expected = weft_walk_memory(walk, count * out_size, 0);
                void *out = weft_walk_memory(walk, count * out_size, 4 * odd);
                for (size_t i = 0; i < count * in_size / 2; i++)
                    ((uint16_t *)in)[i] = (uint16_t)weft_walk_random(count, i);
                for (int way = 0; way < weft_walk_ways(walk); way++) {
                    const weft_op *op = weft_walk_way(walk, way);
                    weft_walk_again(walk, out);
                    op->table->rows.convert(op, way == 0 ? expected : out, to, in, from, count);
                    if (way > 0) weft_walk_same(walk, way, "out", out, expected, count * out_size);
                }
                weft_walk_release(walk);
            }
        }
    }
}

// Rows of a packed weight, of each family that packs the type as it is.
static void test_embed(weft_walk *walk, weft_dtype type, weft_family family, size_t rows, size_t width)
{
    enum { FIRST = 40, COUNT = 53 };
    weft_walk_case(walk, "embed %s, packed for %s (%zu, %zu)", weft_dtype_name(type), weft_family_name(family), rows,
                   width);
    const size_t size = (size_t)weft_dtype_bits(type) / 8, stride = width + 3;
    float *wide = weft_walk_memory(walk, COUNT * width * sizeof *wide, 0);
    unsigned char *table = weft_walk_memory(walk, COUNT * width * size, 4);
    float *scales = weft_walk_memory(walk, COUNT * sizeof *scales, 4);
    int32_t *ids = weft_walk_memory(walk, rows * sizeof *ids, 4),
            *given = weft_walk_memory(walk, rows * sizeof *ids, 4);
    weft_choice *drawn = weft_walk_memory(walk, rows * sizeof *drawn, 4);
    uint8_t *held = weft_walk_memory(walk, rows, 1);
    float *out = weft_walk_memory(walk, rows * stride * sizeof *out, 8),
          *expected = weft_walk_memory(walk, rows * stride * sizeof *out, 0);
    const weft_op *ref = weft_walk_way(walk, 0);
    weft_walk_fill(wide, COUNT * width, WEFT_VALUES_EXTREME, width);
    if (type == WEFT_I8) {
        for (size_t i = 0; i < COUNT; i++) scales[i] = 0.01F * (float)(i + 1);
        for (size_t i = 0; i < COUNT * width; i++) {
            const int level = (int)(weft_walk_random(width, i) % 255) - 127;
            table[i] = (unsigned char)level;
            wide[i] = (float)level * scales[i / width];
        }
    } else {
        ref->table->rows.convert(ref, table, type, wide, WEFT_F32, COUNT * width);
        ref->table->rows.convert(ref, wide, WEFT_F32, table, type, COUNT * width);
    }
    for (size_t i = 0; i < rows; i++) {
        ids[i] = (int32_t)(weft_walk_random(rows, i) % (COUNT + 8)) + FIRST - 4;
        if (i == 3) ids[i] = INT32_MIN;
        if (i == 4) ids[i] = INT32_MAX;
        drawn[rows - 1 - i] = (weft_choice){.id = ids[i]};
        given[i] = ids[i] < 0 || i % 3 == 0 ? -1 - (int32_t)(rows - 1 - i) : ids[i];
        const int64_t at = (int64_t)ids[i] - FIRST;
        if (at >= 0 && at < COUNT)
            for (size_t j = 0; j < width; j++) expected[i * stride + j] = wide[(size_t)at * width + j] * 1.5F;
    }
    const weft_gemm_source source = {.type = type,
                                     .data = table,
                                     .n = COUNT,
                                     .k = (int64_t)width,
                                     .row_bytes = width * size,
                                     .scales = type == WEFT_I8 ? scales : NULL,
                                     .scale_type = WEFT_F32,
                                     .scale_row_bytes = sizeof *scales};
    weft_gemm_weight packed;
    size_t bytes;
    CHECK_OK(weft_gemm_pack_bytes(family, &source, 1, WEFT_FUSE_STACK, NULL, &bytes));
    void *memory = weft_walk_memory(walk, bytes, 0);
    CHECK_OK(weft_gemm_pack(ref, family, &source, 1, WEFT_FUSE_STACK, NULL, memory, &packed));
    weft_embed args = {&packed, FIRST, ids, 1.5F, out, stride, held, rows, NULL};
    for (int turn = 0; turn < 2 * weft_walk_ways(walk); turn++) {
        const int way = turn / 2;
        const weft_op *op = weft_walk_way(walk, way);
        if (family >= WEFT_FAMILY_HOST_COUNT && !weft_walk_on_device(walk, way)) continue;
        weft_walk_again(walk, out);
        args.held = way % 2 ? NULL : held;
        args.ids = turn % 2 ? given : ids;
        args.drawn = turn % 2 ? drawn : NULL;
        op->table->rows.embed(op, &args);
        weft_walk_same_floats(walk, way, "out", out, expected, rows * stride);
        for (size_t i = 0; i < rows && args.held; i++) CHECK_INT(held[i], ids[i] >= FIRST && ids[i] < FIRST + COUNT);
    }
    weft_walk_release(walk);
}

// Ids, given and drawn, that a part of the vocabulary has.
static void test_sift(weft_walk *walk, size_t rows)
{
    enum { FIRST = 7, COUNT = 50, DRAWN = 9 };
    weft_walk_case(walk, "sift (%zu)", rows);
    int32_t *ids = weft_walk_memory(walk, rows * sizeof *ids, 4),
            *place = weft_walk_memory(walk, rows * sizeof *ids, 4);
    int32_t *out = weft_walk_memory(walk, rows * sizeof *out, 4), *want = weft_walk_memory(walk, rows * sizeof *out, 0);
    weft_choice *drawn = weft_walk_memory(walk, DRAWN * sizeof *drawn, 4);
    for (size_t i = 0; i < DRAWN; i++) drawn[i] = (weft_choice){.id = i == 5 ? -1 : (int32_t)(i * 8)};
    for (size_t i = 0; i < rows; i++) {
        ids[i] = (int32_t)(weft_walk_random(rows, i) % (COUNT + 20)) - DRAWN;
        place[i] = (int32_t)(weft_walk_random(rows, i + rows) % 1000);
        const int32_t id = ids[i] < 0 ? drawn[-1 - ids[i]].id : ids[i];
        want[i] = id >= FIRST && id < FIRST + COUNT ? place[i] : -1;
    }
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        weft_walk_again(walk, out);
        op->table->rows.sift(op, &(weft_sift){ids, place, drawn, FIRST, COUNT, out, rows});
        weft_walk_same(walk, way, "out", out, want, rows * sizeof *out);
    }
    weft_walk_release(walk);
}

static void test_embeds(weft_walk *walk, size_t width)
{
    static const struct {
        weft_dtype type;
        weft_family family;
    } packs[] = {{WEFT_F32, WEFT_FAMILY_FMA},  {WEFT_F16, WEFT_FAMILY_FMA},       {WEFT_BF16, WEFT_FAMILY_FMA},
                 {WEFT_BF16, WEFT_FAMILY_AMX}, {WEFT_BF16, WEFT_FAMILY_BF16_DOT}, {WEFT_I8, WEFT_FAMILY_FMA},
                 {WEFT_I8, WEFT_FAMILY_AMX},   {WEFT_I8, WEFT_FAMILY_BF16_DOT},   {WEFT_BF16, WEFT_FAMILY_MMA},
                 {WEFT_I8, WEFT_FAMILY_MMA},   {WEFT_BF16, WEFT_FAMILY_WGMMA},    {WEFT_I8, WEFT_FAMILY_WGMMA},
                 {WEFT_BF16, WEFT_FAMILY_BLAS}};
    for (size_t i = 0; i < sizeof packs / sizeof *packs; i++) {
        test_embed(walk, packs[i].type, packs[i].family, 1, width);
        test_embed(walk, packs[i].type, packs[i].family, 19, width);
    }
}

static void test_move(weft_walk *walk, size_t rows, size_t bytes, size_t odd)
{
    weft_walk_case(walk, "gather and scatter (%zu, %zu bytes)", rows, bytes);
    const size_t stride = bytes + (odd ? 5 : 16);
    unsigned char *in = weft_walk_memory(walk, rows * stride, 3 * odd),
                  *out = weft_walk_memory(walk, rows * bytes, odd);
    unsigned char *expected = weft_walk_memory(walk, rows * bytes, 0), *back = weft_walk_memory(walk, rows * stride, 0);
    int32_t *index = weft_walk_memory(walk, rows * sizeof *index, 4);
    for (size_t i = 0; i < rows * stride; i++) in[i] = (unsigned char)weft_walk_random(1, i);
    for (size_t i = 0; i < rows; i++)
        index[i] = (int32_t)((i * 7 + 3) % rows); // a permutation but where 7 divides rows
    if (rows % 7 == 0)
        for (size_t i = 0; i < rows; i++) index[i] = (int32_t)(rows - 1 - i);
    if (rows > 2) index[rows / 2] = -1;
    for (size_t i = 0; i < rows; i++)
        if (index[i] >= 0) memcpy(expected + i * bytes, in + (size_t)index[i] * stride, bytes);
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        weft_walk_again(walk, out);
        op->table->rows.gather(op, &(weft_move){out, bytes, in, stride, index, rows, bytes});
        weft_walk_same(walk, way, "gathered", out, expected, rows * bytes);
        op->table->rows.gather(op, &(weft_move){back, stride, out, bytes, NULL, rows, bytes});
        for (size_t i = 0; i < rows; i++)
            weft_walk_same(walk, way, "copied", back + i * stride, out + i * bytes, bytes);
        weft_walk_again(walk, back);
        op->table->rows.scatter(op, &(weft_move){back, stride, out, bytes, index, rows, bytes});
        for (size_t i = 0; i < rows; i++)
            if (index[i] >= 0)
                weft_walk_same(walk, way, "scattered", back + (size_t)index[i] * stride, in + (size_t)index[i] * stride,
                               bytes);
    }
    weft_walk_release(walk);
}

static float rounded(float x, weft_dtype type)
{
    const weft_kernels ref = weft_kernels_for(WEFT_ISA_REF);
    const weft_op op = {.table = &ref};
    uint16_t narrow;
    if (type == WEFT_F32) return x;
    ref.rows.convert(&op, &narrow, type, &x, WEFT_F32, 1);
    ref.rows.convert(&op, &x, WEFT_F32, &narrow, type, 1);
    return x;
}

// The definition in rows.h, in plain C.
static void plain_norm(const weft_norm *a)
{
    for (size_t p = 0; p < a->rows * a->heads; p++) {
        const size_t row = p / a->heads, head = p % a->heads * a->head_stride;
        float lane[16] = {0};
        const float *in = a->in + row * a->in_stride + head;
        float *out = a->out + row * a->out_stride + head;
        float *sum = a->add ? a->sum + row * a->sum_stride + head : NULL;
        for (size_t i = 0; i < a->width && sum; i++) sum[i] = in[i] + a->add[row * a->add_stride + head + i];
        if (sum) in = sum;
        for (size_t i = 0; i < a->width; i++) lane[i % 16] = fmaf(in[i], in[i], lane[i % 16]);
        for (int half = 8; half > 0; half /= 2)
            for (int i = 0; i < half; i++) lane[i] += lane[i + half];
        const float factor = 1.0F / sqrtf(lane[0] / (float)a->width + a->eps);
        for (size_t i = 0; i < a->width; i++) {
            const float weight = a->weight ? a->weight[i] : 1, w = a->one_plus ? 1 + weight : weight;
            out[i] = rounded(rounded(in[i] * factor, a->before) * w, a->after);
        }
    }
}

typedef struct {
    size_t rows, heads, width;
    weft_values values;
    bool fused, one_plus, weight;
    weft_dtype before, after;
    bool aligned;
} norm_case;

// The same rounded as GEMMs round.
static void same_halves(weft_walk *walk, int way, const weft_norm *args, const float *expected)
{
    const weft_op *op = weft_walk_way(walk, way);
    const size_t head = args->heads > 1 ? args->head_stride : 0;
    const size_t all = args->rows * args->out_stride;
    uint16_t *halves = weft_walk_memory(walk, all * sizeof *halves, head % 2 * 2);
    weft_norm rounding = *args;
    memset(halves, 0x5b, all * sizeof *halves);
    rounding.out = NULL;
    rounding.halves = halves;
    op->table->rows.norm(op, &rounding);
    for (size_t p = 0; p < args->rows * args->heads; p++)
        for (size_t i = 0; i <= args->width; i++) {
            const size_t at = p / args->heads * args->out_stride + p % args->heads * head + i;
            const uint32_t got = (uint32_t)halves[at] << 16;
            float value, whole = fabsf(expected[at]) < 0x1p-126F ? 0 : rounded(expected[at], WEFT_BF16);
            memcpy(&value, &got, sizeof value);
            if (i == args->width ? halves[at] != 0x5b5b : value != whole && (value == value || whole == whole))
                CHECK_FAIL("piece %zu [%zu] is %a in halves, %a in floats", p, i, (double)value, (double)expected[at]);
        }
}

static void test_norm(weft_walk *walk, const norm_case *c)
{
    weft_walk_case(walk, "norm (%zu, %zu, %zu) %s%s%s %s %s", c->rows, c->heads, c->width, weft_values_name(c->values),
                   c->fused ? " add" : "", c->one_plus ? " 1+w" : "", weft_dtype_name(c->before),
                   weft_dtype_name(c->after));
    const size_t odd = c->aligned ? 0 : 1, more = c->aligned ? 4 : 1;
    const size_t head_stride = c->width + more, stride = c->heads * head_stride + 2 * more, all = c->rows * stride;
    float *in = weft_walk_memory(walk, all * sizeof *in, 4 * odd),
          *add = weft_walk_memory(walk, all * sizeof *add, 8 * odd);
    float *weight = weft_walk_memory(walk, c->width * sizeof *weight, 4 * odd);
    float *out = weft_walk_memory(walk, all * sizeof *out, 12 * odd),
          *sum = weft_walk_memory(walk, all * sizeof *sum, 0);
    float *expected = weft_walk_memory(walk, all * sizeof *out, 0),
          *expected_sum = weft_walk_memory(walk, all * sizeof *sum, 0);
    weft_walk_fill(in, all, c->values, 1);
    weft_walk_fill(add, all, c->values, 2);
    weft_walk_fill(weight, c->width, WEFT_VALUES_PLAIN, 3);
    for (size_t j = 0; j < c->width && c->rows > 1; j++) in[stride + j] = add[stride + j] = 0; // a row of zeros
    weft_norm args = {.out = expected,
                      .in = in,
                      .add = c->fused ? add : NULL,
                      .sum = c->fused ? expected_sum : NULL,
                      .weight = c->weight ? weight : NULL,
                      .out_stride = stride,
                      .in_stride = stride,
                      .add_stride = stride,
                      .sum_stride = stride,
                      .head_stride = head_stride,
                      .rows = c->rows,
                      .heads = c->heads,
                      .width = c->width,
                      .eps = 1e-5F,
                      .one_plus = c->one_plus,
                      .before = c->before,
                      .after = c->after};
    plain_norm(&args);
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        weft_walk_again(walk, out);
        weft_walk_again(walk, sum);
        args.out = out, args.sum = c->fused ? sum : NULL;
        op->table->rows.norm(op, &args);
        weft_walk_same_floats(walk, way, "out", out, expected, all);
        weft_walk_same_floats(walk, way, "sum", sum, expected_sum, all);
        weft_walk_guards(walk);
        same_halves(walk, way, &args, expected);
        // A row alone and in place gives the same bits.
        weft_norm one = args;
        const size_t row = c->rows - 1;
        one.rows = 1;
        memcpy(sum, in + row * stride, stride * sizeof *sum);
        one.in = sum, one.out = one.add ? out : sum, one.sum = one.add ? sum : NULL;
        if (one.add) one.add += row * stride;
        op->table->rows.norm(op, &one);
        for (size_t h = 0; h < c->heads; h++)
            weft_walk_same_floats(walk, way, "the row alone", one.out + h * head_stride,
                                  expected + row * stride + h * head_stride, c->width);
    }
    weft_walk_release(walk);
}

static void test_norms(weft_walk *walk)
{
    const weft_dtype types[] = {WEFT_F32, WEFT_BF16, WEFT_F16};
    const size_t widths[] = {1, 7, 16, 31, 64, 129, 260, 2048};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        for (int i = 0; i < 9 * 8; i++) {
            const norm_case c = {.rows = 1 + (size_t)i % 7,
                                 .heads = 1 + (size_t)i % 3,
                                 .width = widths[w],
                                 .values = (weft_values)(i / 8 % 4),
                                 .fused = i & 1,
                                 .one_plus = i & 2,
                                 .weight = !(i % 16 == 4),
                                 .before = types[i / 8 % 3],
                                 .after = types[i / 24],
                                 .aligned = i % 5 == 0};
            test_norm(walk, &c);
        }
    }
    test_norm(walk,
              &(norm_case){
                  .rows = 33, .heads = 1, .width = 4096, .values = WEFT_VALUES_PLAIN, .fused = true, .weight = true});
    test_norm(walk,
              &(norm_case){.rows = 2, .heads = 1, .width = 17000, .fused = true, .weight = true, .aligned = true});
    test_norm(walk, &(norm_case){.rows = 2, .heads = 1, .width = 8193, .weight = true});
    test_norm(walk, &(norm_case){.rows = 37, .heads = 8, .width = 128, .values = WEFT_VALUES_EXTREME, .weight = true});
}

static void test_rope(weft_walk *walk, size_t rows, size_t heads, size_t rotary, bool interleaved, weft_values values,
                      size_t odd)
{
    enum { POSITIONS = 11 };
    weft_walk_case(walk, "rope (%zu, %zu, %zu) %s %s", rows, heads, rotary, interleaved ? "interleaved" : "halves",
                   weft_values_name(values));
    const size_t pairs = rotary / 2, head_stride = rotary + (odd ? 5 : 4), stride = heads * head_stride + odd,
                 all = rows * stride;
    const size_t table_stride = pairs + (odd ? 2 : 4);
    float *in = weft_walk_memory(walk, all * sizeof *in, 0), *x = weft_walk_memory(walk, all * sizeof *x, 4 * odd);
    float *expected = weft_walk_memory(walk, all * sizeof *x, 0);
    float *cosines = weft_walk_memory(walk, (POSITIONS - 1) * table_stride * sizeof *x + pairs * sizeof *x, 4 * odd);
    float *sines = weft_walk_memory(walk, (POSITIONS - 1) * table_stride * sizeof *x + pairs * sizeof *x, 8 * odd);
    int32_t *positions = weft_walk_memory(walk, rows * sizeof *positions, 4);
    weft_walk_fill(in, all, values, 1);
    for (size_t i = 0; i < rows; i++) positions[i] = (int32_t)(weft_walk_random(2, i) % POSITIONS);
    for (size_t p = 0; p < POSITIONS; p++)
        for (size_t i = 0; i < pairs; i++) {
            const double angle = (double)p * pow(10000, -(double)i / (double)pairs);
            cosines[p * table_stride + i] = (float)cos(angle), sines[p * table_stride + i] = (float)sin(angle);
        }
    memcpy(expected, in, all * sizeof *in);
    for (size_t r = 0; r < rows; r++)
        for (size_t h = 0; h < heads; h++)
            for (size_t i = 0; i < pairs; i++) {
                const size_t head = r * stride + h * head_stride, at = (size_t)positions[r] * table_stride + i;
                const size_t a = head + (interleaved ? 2 * i : i), b = head + (interleaved ? 2 * i + 1 : i + pairs);
                expected[a] = fmaf(in[a], cosines[at], -(in[b] * sines[at]));
                expected[b] = fmaf(in[b], cosines[at], in[a] * sines[at]);
            }
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        memcpy(x, in, all * sizeof *in);
        op->table->rows.rope(op, &(weft_rope){x, stride, head_stride, rows, heads, rotary, interleaved, cosines, sines,
                                              table_stride, positions});
        weft_walk_same_floats(walk, way, "x", x, expected, all);
    }
    weft_walk_release(walk);
}

int main(void)
{
    weft_walk *walk = weft_walk_begin();
    test_convert_values(walk);
    for (size_t odd = 0; odd < 2; odd++) test_convert_shapes(walk, odd);
    test_sift(walk, 1);
    test_sift(walk, 700);
    const size_t widths[] = {1, 15, 16, 17, 40, 2048};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        test_embeds(walk, widths[w]);
        for (size_t odd = 0; odd < 2; odd++) {
            test_move(walk, 1, widths[w], odd);
            test_move(walk, 70, widths[w], odd);
        }
    }
    test_norms(walk);
    const size_t rotaries[] = {2, 6, 16, 32, 34, 64, 96, 128, 256};
    for (size_t i = 0; i < sizeof rotaries / sizeof *rotaries; i++) {
        for (int interleaved = 0; interleaved < 2; interleaved++) {
            test_rope(walk, 1, 3, rotaries[i], interleaved, WEFT_VALUES_PLAIN, 1);
            test_rope(walk, 5, 1, rotaries[i], interleaved, WEFT_VALUES_EXTREME, 1);
            test_rope(walk, 67, 9, rotaries[i], interleaved, WEFT_VALUES_WIDE, 1);
            test_rope(walk, 3, 5, rotaries[i], interleaved, WEFT_VALUES_PLAIN, 0);
        }
    }
    weft_walk_end(walk);
    return 0;
}
