// Activations, element-wise ops and quantization: every level and team against `ref`, and `ref` against definitions
// that are written here once more. The activations must have the bits of the scalar form that a GEMM's epilogue is made
// of.
#include <math.h>

#include "kernels/cpu/vec1.inc"

#include "kernels/cpu/math_one.inc"
#include "tests/check.h"
#include "tests/kernels/walk.h"

static float plain_act(float x, weft_act act)
{
    switch (act) {
    case WEFT_ACT_SILU:
        return v_silu(x);
    case WEFT_ACT_GELU_TANH:
        return v_gelu_tanh(x);
    case WEFT_ACT_GELU_ERF:
        return v_gelu_erf(x);
    default:
        return x;
    }
}

static double true_act(double x, weft_act act)
{
    switch (act) {
    case WEFT_ACT_SILU:
        return x / (1 + exp(-x));
    case WEFT_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case WEFT_ACT_GELU_ERF:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    default:
        return x;
    }
}

// Rows lie at 16 bytes where `odd` is 0, else nowhere.
static void test_gate(weft_walk *walk, size_t rows, size_t width, weft_act act, bool with_up, weft_values values,
                      size_t odd)
{
    weft_walk_case(walk, "gate (%zu, %zu) act %d%s %s", rows, width, act, with_up ? " up" : "",
                   weft_values_name(values));
    const size_t stride = width + 4 - odd, all = rows * stride;
    float *in = weft_walk_memory(walk, all * sizeof *in, 4 * odd),
          *up = weft_walk_memory(walk, all * sizeof *up, 8 * odd);
    float *out = weft_walk_memory(walk, all * sizeof *out, 12 * odd),
          *expected = weft_walk_memory(walk, all * sizeof *out, 0);
    weft_walk_fill(in, all, values, width);
    weft_walk_fill(up, all, values, width + 1);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = r * stride; i < r * stride + width; i++) {
            const float x = plain_act(in[i], act);
            expected[i] = with_up ? x * up[i] : x;
            const double close = true_act((double)in[i], act);
            if (values == WEFT_VALUES_PLAIN) weft_walk_close(walk, 0, "act", &x, &close, 1, 1e-6, 0.25);
        }
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        weft_walk_again(walk, out);
        op->table->rows.gate(
            op, &(weft_gate){out, stride, in, stride, with_up ? up : NULL, stride, act, rows, width, false, 0, 0});
        weft_walk_same_floats(walk, way, "out", out, expected, all);
        memcpy(out, in, all * sizeof *in);
        op->table->rows.gate(
            op, &(weft_gate){out, stride, out, stride, with_up ? up : NULL, stride, act, rows, width, false, 0, 0});
        for (size_t r = 0; r < rows; r++)
            weft_walk_same_floats(walk, way, "in place", out + r * stride, expected + r * stride, width);
    }
    weft_walk_release(walk);
}

static void test_clamped(weft_walk *walk, size_t width, weft_values values, size_t odd)
{
    weft_walk_case(walk, "clamped gate (3, %zu) %s", width, weft_values_name(values));
    const float alpha = 1.702F, limit = 0.75F;
    float *in = weft_walk_memory(walk, 3 * width * sizeof *in, 4 * odd),
          *up = weft_walk_memory(walk, 3 * width * sizeof *up, 8 * odd);
    float *out = weft_walk_memory(walk, 3 * width * sizeof *out, 12 * odd);
    float *expected = weft_walk_memory(walk, 3 * width * sizeof *out, 0);
    weft_walk_fill(in, 3 * width, values, width);
    weft_walk_fill(up, 3 * width, values, width + 1);
    for (size_t i = 0; i < 3 * width; i++) {
        const float g = in[i] > limit ? limit : in[i], u = up[i] > limit ? limit : up[i] < -limit ? -limit : up[i];
        expected[i] = (u + 1) * (v_silu(alpha * g) / alpha);
        const double close = ((double)u + 1) * (double)g / (1 + exp(-(double)alpha * (double)g));
        if (values == WEFT_VALUES_PLAIN) weft_walk_close(walk, 0, "clamped", expected + i, &close, 1, 1e-6, 0.25);
    }
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        const weft_gate args = {out, width, in, width, up, width, WEFT_ACT_NONE, 3, width, true, alpha, limit};
        weft_walk_again(walk, out);
        op->table->rows.gate(op, &args);
        weft_walk_same_floats(walk, way, "out", out, expected, 3 * width);
    }
    weft_walk_release(walk);
}

static void test_flat(weft_walk *walk, size_t count, weft_values values, size_t odd)
{
    weft_walk_case(walk, "add, scale, softcap of %zu %s", count, weft_values_name(values));
    float *x = weft_walk_memory(walk, count * sizeof *x, 4 * odd),
          *y = weft_walk_memory(walk, count * sizeof *y, 8 * odd);
    float *out = weft_walk_memory(walk, count * sizeof *out, 12 * odd),
          *expected = weft_walk_memory(walk, count * sizeof *x, 0);
    weft_walk_fill(x, count, values, 1);
    weft_walk_fill(y, count, values, 2);
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        for (size_t i = 0; i < count; i++) expected[i] = x[i] + y[i];
        weft_walk_again(walk, out);
        op->table->rows.add(op, out, x, y, count);
        weft_walk_same_floats(walk, way, "add", out, expected, count);
        memcpy(out, x, count * sizeof *x);
        op->table->rows.add(op, out, out, y, count);
        weft_walk_same_floats(walk, way, "add in place", out, expected, count);
        for (size_t i = 0; i < count; i++) expected[i] = x[i] * 1.75F;
        op->table->rows.scale(op, out, x, 1.75F, count);
        weft_walk_same_floats(walk, way, "scale", out, expected, count);
        for (size_t i = 0; i < count; i++) expected[i] = 30 * v_tanh(x[i] / 30);
        op->table->rows.softcap(op, out, x, 30, count);
        weft_walk_same_floats(walk, way, "softcap", out, expected, count);
    }
    weft_walk_release(walk);
}

// The definition in rows.h; writes the levels, not the codes.
static void plain_quantize(const weft_quantize *a, int *levels)
{
    const size_t group = a->group ? a->group : a->width, groups = (a->width + group - 1) / group;
    const bool wide = a->type == WEFT_I8;
    for (size_t r = 0; r < a->rows; r++) {
        for (size_t g = 0; g < groups; g++) {
            const float *x = a->in + r * a->in_stride;
            const size_t begin = g * group, end = begin + group < a->width ? begin + group : a->width;
            float low = 0, high = 0;
            bool good = true;
            for (size_t i = begin; i < end; i++) {
                if (!isfinite(x[i])) good = false;
                if (x[i] < low) low = x[i];
                if (x[i] > high) high = x[i];
            }
            float scale = a->zeros ? high / (wide ? 255 : 15) - low / (wide ? 255 : 15)
                                   : (high > -low ? high : -low) / (wide ? 127 : 7);
            if (scale < 0x1p-126F) scale = 0;
            const float inverse = scale > 0 ? 1 / scale : 0, lowest = wide ? -128 : -8, highest = wide ? 127 : 7;
            const float zero = a->zeros && good ? fminf(fmaxf(rintf(lowest - low * inverse), lowest), highest) : 0;
            a->scales[r * a->scale_stride + g] = good ? scale : NAN;
            if (a->zeros) a->zeros[r * a->scale_stride + g] = (int8_t)zero;
            for (size_t i = begin; i < end; i++) {
                const float level = good ? rintf(x[i] * inverse) + zero : zero;
                levels[r * a->width + i] = (int)fminf(fmaxf(level, a->zeros ? lowest : -highest), highest);
            }
        }
    }
}

static void test_quantize(weft_walk *walk, size_t rows, size_t width, size_t group, weft_dtype type, bool with_zeros,
                          weft_values values)
{
    weft_walk_case(walk, "quantize (%zu, %zu) %s group %zu%s %s", rows, width, weft_dtype_name(type), group,
                   with_zeros ? " zeros" : "", weft_values_name(values));
    const size_t groups = group ? (width + group - 1) / group : 1, bytes = type == WEFT_I8 ? width : width / 2,
                 code_stride = bytes + 3;
    float *in = weft_walk_memory(walk, rows * width * sizeof *in, 4),
          *back = weft_walk_memory(walk, rows * width * sizeof *in, 8);
    uint8_t *codes = weft_walk_memory(walk, rows * code_stride, 1);
    float *scales = weft_walk_memory(walk, rows * groups * sizeof *scales, 4),
          *expected_scales = weft_walk_memory(walk, rows * groups * sizeof *scales, 0);
    int8_t *zeros = weft_walk_memory(walk, rows * groups, 1),
           *expected_zeros = weft_walk_memory(walk, rows * groups, 0);
    int *levels = weft_walk_memory(walk, rows * width * sizeof *levels, 0);
    weft_walk_fill(in, rows * width, values, width);
    if (values == WEFT_VALUES_PLAIN && width > 40) memset(in, 0, 40 * sizeof *in); // a group of zeros
    weft_quantize args = {in,     width, codes, code_stride, type, expected_scales, with_zeros ? expected_zeros : NULL,
                          groups, group, rows,  width};
    plain_quantize(&args, levels);
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        weft_walk_again(walk, codes);
        weft_walk_again(walk, zeros);
        args.scales = scales, args.zeros = with_zeros ? zeros : NULL;
        op->table->rows.quantize(op, &args);
        weft_walk_same_floats(walk, way, "scales", scales, expected_scales, rows * groups);
        if (with_zeros) weft_walk_same(walk, way, "zeros", zeros, expected_zeros, rows * groups);
        op->table->rows.dequantize(op, &(weft_dequantize){back, width, codes, code_stride, type, scales, args.zeros,
                                                          groups, group, rows, width});
        for (size_t r = 0; r < rows; r++)
            for (size_t i = 0; i < width; i++) {
                const uint8_t *row = codes + r * code_stride;
                const int level = type == WEFT_I8 ? (int8_t)row[i] : (row[i / 2] >> i % 2 * 4 & 15) - 8,
                          expected = levels[r * width + i];
                if (level != expected)
                    CHECK_FAIL("%s: level %zu of row %zu is %d, expected %d", weft_walk_name(walk, way), i, r, level,
                               expected);
                const size_t g = r * groups + (group ? i / group : 0);
                const float value = ((float)level - (with_zeros ? (float)zeros[g] : 0)) * scales[g];
                weft_walk_same_floats(walk, way, "dequantized", back + r * width + i, &value, 1);
                if (values == WEFT_VALUES_PLAIN &&
                    !(fabsf(value - in[r * width + i]) <= 0.5001F * scales[g] * (with_zeros ? 2 : 1)))
                    CHECK_FAIL("%s: %g came back as %g, scale %g", weft_walk_name(walk, way), (double)in[r * width + i],
                               (double)value, (double)scales[g]);
            }
    }
    weft_walk_release(walk);
}

int main(void)
{
    weft_walk *walk = weft_walk_begin();
    const size_t widths[] = {1, 15, 16, 17, 130};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        for (weft_values values = 0; values < WEFT_VALUES_COUNT; values++) {
            for (weft_act act = WEFT_ACT_NONE; act <= WEFT_ACT_GELU_ERF; act++) {
                test_gate(walk, 3, widths[w], act, true, values, 1);
                test_gate(walk, 3, widths[w], act, false, values, 1);
                test_gate(walk, 2, 4 * widths[w], act, act != WEFT_ACT_GELU_ERF, values, 0);
            }
            for (size_t odd = 0; odd < 2; odd++) test_flat(walk, widths[w], values, odd);
            test_clamped(walk, widths[w], values, 1);
            test_clamped(walk, 4 * widths[w], values, 0);
            test_quantize(walk, 4, widths[w], 0, WEFT_I8, false, values);
            test_quantize(walk, 4, widths[w], 0, WEFT_I8, true, values);
            test_quantize(walk, 4, widths[w] + 70, 32, WEFT_I8, true, values);
        }
    }
    const size_t groups[] = {32, 64, 128, 0};
    for (size_t g = 0; g < 4; g++)
        for (weft_values values = 0; values < WEFT_VALUES_COUNT; values++) {
            test_quantize(walk, 3, 256 + 2 * g, groups[g], WEFT_I4, false, values);
            test_quantize(walk, 3, 256 + 2 * g, groups[g], WEFT_I4, true, values);
            test_quantize(walk, 2, 512, groups[g], WEFT_I8, false, values);
        }
    test_gate(walk, 67, 1003, WEFT_ACT_SILU, true, WEFT_VALUES_PLAIN, 1);
    test_gate(walk, 67, 1003, WEFT_ACT_GELU_TANH, true, WEFT_VALUES_EXTREME, 1);
    test_flat(walk, 70001, WEFT_VALUES_EXTREME, 1);
    test_quantize(walk, 67, 1000, 128, WEFT_I4, true, WEFT_VALUES_PLAIN);
    test_quantize(walk, 3, 3001, 0, WEFT_I8, true, WEFT_VALUES_PLAIN);
    weft_walk_end(walk);
    return 0;
}
