// E4M3: all codes as floats, and floats as codes, to nearest even and no farther than 448, by plain C and by each
// table.
#include <math.h>

#include "kernels/convert.inc"
#include "tests/check.h"
#include "tests/kernels/walk.h"

// By the format's definition.
static double value_of(int code)
{
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    const double size = ldexp(exponent ? mantissa + 8 : mantissa, (exponent ? exponent : 1) - 10);
    return code & 0x80 ? -size : size;
}

// The nearest code; of two as near the even one.
static int nearest(float x)
{
    int best = 0;
    if (x != x) return 0x7f;
    for (int code = 1; code < 0x7f; code++) {
        const double far = fabs(fabs((double)x) - value_of(code)), least = fabs(fabs((double)x) - value_of(best));
        if (far < least || (far == least && code % 2 == 0)) best = code;
    }
    return best | (signbit(x) ? 0x80 : 0);
}

static void check_all_codes(void)
{
    for (int code = 0; code < 256; code++) {
        const float x = wi_float_of_e4m3((uint8_t)code);
        if ((code & 0x7f) == 0x7f) {
            CHECK(x != x);
            CHECK_INT(wi_e4m3_of_float(x), 0x7f);
            continue;
        }
        CHECK_REAL((double)x, value_of(code));
        CHECK_INT(signbit(x) != 0, code >> 7);
        CHECK_INT(wi_e4m3_of_float(x), code);
    }
    CHECK_INT(wi_e4m3_of_float(INFINITY), 0x7e);
    CHECK_INT(wi_e4m3_of_float(-INFINITY), 0xfe);
    CHECK_INT(wi_e4m3_of_float(1e30F), 0x7e);
    CHECK_INT(wi_e4m3_of_float(-464), 0xfe);
}

// Codes, what lies halfway between them, and the floats beside both.
static size_t near_codes(float *out)
{
    size_t count = 0;
    for (int code = 0; code < 0x7e; code++)
        for (int half = 0; half < 2; half++) {
            const float x = (float)((value_of(code) + value_of(code + half)) / 2);
            const float three[] = {x, nextafterf(x, 0), nextafterf(x, 448)};
            for (int i = 0; i < 3; i++) out[count++] = three[i], out[count++] = -three[i];
        }
    return count;
}

enum { ROWS = 64, WIDTH = 65, NEAR = 126 * 2 * 6 };

int main(void)
{
    static float near[NEAR], in[ROWS][WIDTH], back[ROWS][WIDTH];
    weft_walk *walk = weft_walk_begin();
    check_all_codes();
    CHECK_INT(near_codes(near), NEAR);
    for (size_t i = 0; i < NEAR; i++) CHECK_INT(wi_e4m3_of_float(near[i]), nearest(near[i]));
    for (size_t i = 0; i < ROWS * WIDTH; i++) // a row's largest makes its scale 1
        in[i / WIDTH][i % WIDTH] = i % WIDTH == 7 ? 448 : near[(i * 5 + i / NEAR) % NEAR];
    weft_walk_case(walk, "e4m3");
    uint8_t *codes = weft_walk_memory(walk, ROWS * WIDTH, 1);
    float *scales = weft_walk_memory(walk, ROWS * sizeof *scales, 0);
    float *given = weft_walk_memory(walk, sizeof in, 0), *out = weft_walk_memory(walk, sizeof back, 0);
    memcpy(given, in, sizeof in);
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        weft_walk_again(walk, codes);
        op->table->rows.quantize(
            op, &(weft_quantize){given, WIDTH, codes, WIDTH, WEFT_E4M3, scales, NULL, 1, 0, ROWS, WIDTH});
        for (size_t i = 0; i < ROWS * WIDTH; i++) CHECK_INT(codes[i], nearest(in[i / WIDTH][i % WIDTH]));
        for (size_t i = 0; i < ROWS * WIDTH; i++) codes[i] = (uint8_t)i;
        op->table->rows.dequantize(
            op, &(weft_dequantize){out, WIDTH, codes, WIDTH, WEFT_E4M3, scales, NULL, 1, 0, ROWS, WIDTH});
        for (size_t i = 0; i < ROWS * WIDTH; i++) {
            const float expected = wi_float_of_e4m3((uint8_t)i);
            weft_walk_same_floats(walk, way, "a code", &out[i], &expected, 1);
        }
    }
    weft_walk_release(walk);
    weft_walk_end(walk);
    return 0;
}
