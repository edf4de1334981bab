// Row ops: all that a decoder does beside multiplying and attending. Every op works on rows of f32, shares the rows
// among op->team's threads, allocates nothing and cannot fail; a row's bits depend on nothing but the row and the
// arguments. Sums over a row go by 16 virtual lanes: lane i takes the elements i, i + 16, ... ascending, by fma where a
// product is summed; then lane i takes lane i + 8, then + 4, + 2, + 1. `ref`, AVX2 and AVX-512 give equal bits, but for
// the sign and the payload of a NaN. Strides count elements unless they say bytes. In place is allowed where a comment
// says so.
#ifndef WEFT_KERNELS_ROWS_H
#define WEFT_KERNELS_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/tensor.h"
#include "kernels/gemm.h"
#include "kernels/pick.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_op weft_op;

// out[i] = in[ids[i]] * scale, where `in` is a packed stack of rows in f32, bf16, f16, or int8 with a scale a row: its
// elements as they are packed, as level * the row's scale. Its rows are first, first + 1, ... of the vocabulary; an id
// outside leaves its row of `out` as it is. With `drawn` an id below 0, -1 - i, is drawn[i].id: what was drawn before
// and the host does not know yet.
typedef struct {
    const weft_gemm_weight *in; // of one leaf
    int32_t first;
    const int32_t *ids; // (rows)
    float scale;
    float *out; // (rows, in->k)
    size_t out_stride;
    uint8_t *held; // (rows): 1 where the row was written, 0 where not; may be NULL
    size_t rows;
    const weft_choice *drawn; // NULL: no id stands for another
} weft_embed;

// out[i] = place[i] where ids[i], or the drawn one that it stands for (weft_embed), is among first .. first + count -
// 1; else -1.
typedef struct {
    const int32_t *ids, *place; // (rows)
    const weft_choice *drawn;
    int32_t first, count;
    int32_t *out; // (rows)
    size_t rows;
} weft_sift;

// gather: out[i] = in[index[i]]; scatter: out[index[i]] = in[i]. A negative index leaves the row out. What a scatter
// writes must not repeat.
typedef struct {
    void *out;
    size_t out_stride; // in bytes
    const void *in;
    size_t in_stride;     // in bytes
    const int32_t *index; // (rows); NULL, of a gather: each row is its own, a copy from stride to stride
    size_t rows, bytes;   // bytes of a row
} weft_move;

// RMSNorm of rows x heads pieces of `width` elements, each on its own:
//   x = in, or in + add, which is then written to `sum`
//   y = x * (1 / sqrt(mean(x^2) + eps)), rounded to `before`;  out = y * w or y * (1 + w), rounded to `after`
// `out` and `sum` may each be `in`; `sum` may be `add`; out may not be sum.
typedef struct {
    float *out;
    const float *in, *add;                                // add may be NULL
    float *sum;                                           // NULL without add
    const float *weight;                                  // (width); NULL: 1
    size_t out_stride, in_stride, add_stride, sum_stride; // from row to row
    size_t head_stride;                                   // from head to head, in all four; nothing when heads is 1
    size_t rows, heads, width;
    float eps;
    bool one_plus;            // 1 + w
    weft_dtype before, after; // f32 (none), bf16 or f16
    // NULL, or where the outcome goes instead of `out`, as out_stride says: bf16, to nearest even, denormals as zeros.
    // So the GEMMs of the families dot and AMX round what they read.
    uint16_t *halves;
} weft_norm;

// Rotates the first `rotary` elements of every head in place. Pair i is (i, i + rotary / 2), or (2i, 2i + 1) when
// interleaved: (x, y) becomes (x cos - y sin, y cos + x sin), each fma(x, cos, -(y sin)), fma(y, cos, x sin).
typedef struct {
    float *x;
    size_t row_stride, head_stride;
    size_t rows, heads, rotary;
    bool interleaved;
    const float *cos, *sin; // (positions, rotary / 2)
    size_t table_stride;
    const int32_t *positions; // (rows), rows of the table
} weft_rope;

// out = act(in) * up, row by row; the bits of a GEMM's own gate. `out` may be `in` or `up` with the same stride.
// Clamped: g = min(in, limit), u = up within -limit..limit; out = (u + 1) * (silu(alpha * g) / alpha).
typedef struct {
    float *out;
    size_t out_stride;
    const float *in;
    size_t in_stride;
    const float *up; // NULL: act(in) alone
    size_t up_stride;
    weft_act act;
    size_t rows, width;
    bool clamped; // instead of act; `up` must be there
    float alpha, limit;
} weft_gate;

// Each row in groups of `group` columns (the last may be shorter; 0: the row is one), each with a scale and, where
// `zeros` is given, a zero. Codes are laid out and read as weft_gemm_source says: value = (level - zero) * scale, where
// an int4's level is its code - 8. Rounds to nearest even.
//   without zeros: scale = largest |x| / 127 (int4: / 7), levels -127..127 (-7..7)
//   with zeros: scale = (highest - lowest) / 255 (int4: / 15), 0 among them, levels -128..127 (-8..7)
//   e4m3: without zeros; scale = largest |x| / 448, levels as e4m3 has them
// A group of zeros, or too small for a scale, has scale 0. One that holds NaN or inf has scale NaN, so that it stays
// seen.
typedef struct {
    const float *in; // (rows, width)
    size_t in_stride;
    void *codes;
    size_t code_stride;  // in bytes
    weft_dtype type;     // int8, e4m3, or int4 where width and group are even
    float *scales;       // (rows, groups)
    int8_t *zeros;       // (rows, groups) or NULL
    size_t scale_stride; // of scales and of zeros
    size_t group;
    size_t rows, width;
} weft_quantize;

typedef struct {
    float *out; // (rows, width)
    size_t out_stride;
    const void *codes;
    size_t code_stride; // in bytes
    weft_dtype type;
    const float *scales;
    const int8_t *zeros; // or NULL
    size_t scale_stride;
    size_t group;
    size_t rows, width;
} weft_dequantize;

typedef struct {
    // Between f32, bf16 and f16: to nearest even, through the denormals; a NaN that becomes narrower keeps its upper
    // bits and is quiet. `out` may be `in` when the types are the same.
    void (*convert)(const weft_op *op, void *out, weft_dtype to, const void *in, weft_dtype from, size_t count);
    void (*embed)(const weft_op *op, const weft_embed *args);
    void (*sift)(const weft_op *op, const weft_sift *args);
    void (*gather)(const weft_op *op, const weft_move *args);
    void (*scatter)(const weft_op *op, const weft_move *args);
    void (*norm)(const weft_op *op, const weft_norm *args);
    void (*rope)(const weft_op *op, const weft_rope *args);
    void (*gate)(const weft_op *op, const weft_gate *args);
    // Over `count` elements in a row; `out` may be any of the inputs.
    void (*add)(const weft_op *op, float *out, const float *in, const float *other, size_t count);
    void (*scale)(const weft_op *op, float *out, const float *in, float factor, size_t count);
    void (*softcap)(const weft_op *op, float *out, const float *in, float cap, size_t count); // cap * tanh(in / cap)
    void (*quantize)(const weft_op *op, const weft_quantize *args);
    void (*dequantize)(const weft_op *op, const weft_dequantize *args);
} weft_row_ops;

#ifdef __cplusplus
}
#endif
#endif
