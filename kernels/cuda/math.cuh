// exp, log, tanh, erf and the activations on the device: the steps of kernels/cpu/exp.inc, log.inc and math.inc in
// their order, so the same bits. The constants and what they are good for are said there.
#ifndef WEFT_KERNELS_CUDA_MATH_CUH
#define WEFT_KERNELS_CUDA_MATH_CUH

#include <math.h>

#include "kernels/cuda/convert.cuh"

static __device__ __forceinline__ float wi_pow2(int32_t n) { return wi_float_of_bits((uint32_t)(n + 127) << 23); }

// Of numbers between -104.5 and 89; NaN stays NaN. The integer is what adding ROUND left in the lower bits: for a NaN
// it is anything, and so is what the NaN is multiplied by.
static __device__ __forceinline__ float wi_exp_between(float x)
{
    const float round = 0x1.8p23F;
    const float rounded = fmaf(x, 0x1.715476p+0F, round), whole = rounded - round;
    float r = fmaf(whole, -0x1.62e43p-1F, x);
    r = fmaf(whole, 0x1.05c610p-29F, r);
    float q = fmaf(0x1.6a2268p-10F, r, 0x1.123b08p-7F);
    q = fmaf(q, r, 0x1.5558f8p-5F);
    q = fmaf(q, r, 0x1.55549p-3F);
    q = fmaf(q, r, 0x1.fffffcp-2F);
    const float e = fmaf(q, r * r, r) + 1.0F;
    const int32_t n = (int32_t)(wi_bits_of_float(rounded) - 0x4b400000U), half = n >> 1;
    return e * wi_pow2(half) * wi_pow2(n - half);
}

static __device__ __forceinline__ float wi_exp(float x)
{
    x = 89.0F < x ? 89.0F : x;
    x = -104.5F > x ? -104.5F : x;
    return wi_exp_between(x);
}

// Of numbers that are at most 0, or NaN; the same bits.
static __device__ __forceinline__ float wi_exp_below(float x) { return wi_exp_between(-104.5F > x ? -104.5F : x); }

static __device__ __forceinline__ float wi_log(float x)
{
    const bool small = x < 0x1p-126F;
    const uint32_t bits = wi_bits_of_float(small ? x * 0x1p23F : x);
    const int32_t exponent = (int32_t)(bits - 0x3f3504f3U) >> 23;
    const float k = (float)exponent - (small ? 23.0F : 0.0F);
    const float f = wi_float_of_bits(bits - ((uint32_t)exponent << 23)) - 1.0F, square = f * f;
    float p = fmaf(-0x1.38b57cp-4F, f, 0x1.055b68p-3F);
    p = fmaf(p, f, -0x1.0d8542p-3F);
    p = fmaf(p, f, 0x1.22da1ep-3F);
    p = fmaf(p, f, -0x1.547244p-3F);
    p = fmaf(p, f, 0x1.99a008p-3F);
    p = fmaf(p, f, -0x1.000226p-2F);
    p = fmaf(p, f, 0x1.555554p-2F);
    float low = fmaf(k, -0x1.05c610p-29F, f * square * p);
    low = fmaf(square, -0.5F, low) + f;
    const float r = fmaf(k, 0x1.62e43p-1F, low);
    if (x == 0.0F) return -wi_infinity();
    if (x < 0.0F) return wi_nan();
    return x < wi_infinity() ? r : x + x;
}

static __device__ __forceinline__ float wi_copy_sign(float x, float sign)
{
    return wi_float_of_bits((wi_bits_of_float(x) & 0x7fffffff) | (wi_bits_of_float(sign) & 0x80000000));
}

static __device__ __forceinline__ float wi_size(float x) { return wi_float_of_bits(wi_bits_of_float(x) & 0x7fffffff); }

static __device__ __forceinline__ float wi_tanh(float x)
{
    const float size = wi_size(x), square = x * x;
    float p = fmaf(0x1.18e144p-9F, square, -0x1.0bf4d4p-7F);
    p = fmaf(p, square, 0x1.638b5p-6F);
    p = fmaf(p, square, -0x1.b9ee9p-5F);
    p = fmaf(p, square, 0x1.11106p-3F);
    p = fmaf(p, square, -0x1.555554p-2F);
    const float near = fmaf(x * square, p, x);
    const float grown = wi_exp(size + size);
    const float far = 1.0F - 2.0F / (grown + 1.0F);
    return size < 0.625F ? near : wi_copy_sign(far, x);
}

static __device__ __forceinline__ float wi_erf(float x)
{
    const float size = wi_size(x), square = x * x;
    float p = fmaf(0x1.5d76e4p-14F, square, -0x1.aa6fc6p-11F);
    p = fmaf(p, square, 0x1.54cd62p-8F);
    p = fmaf(p, square, -0x1.b80f1ep-6F);
    p = fmaf(p, square, 0x1.ce2e1p-4F);
    p = fmaf(p, square, -0x1.812742p-2F);
    p = fmaf(p, square, 0x1.06eba8p-3F);
    const float near = fmaf(x, p, x);
    const float t = 4.05F < size ? 4.05F : size;
    p = fmaf(-0x1.638288p-16F, t, 0x1.c8b834p-12F);
    p = fmaf(p, t, -0x1.11b44p-8F);
    p = fmaf(p, t, 0x1.9bc972p-6F);
    p = fmaf(p, t, -0x1.bb9ab6p-4F);
    p = fmaf(p, t, -0x1.44437p-1F);
    p = fmaf(p, t, -0x1.212888p+0F);
    p = fmaf(p, t, 0x1.729f74p-13F);
    const float far = 1.0F - wi_exp(p);
    return size < 0.9277F ? near : wi_copy_sign(far, x);
}

static __device__ __forceinline__ float wi_silu(float x) { return x / (1.0F + wi_exp(-x)); }

static __device__ __forceinline__ float wi_gelu_tanh(float x)
{
    const float cube = x * x * x;
    const float inner = 0x1.988454p-1F * fmaf(0x1.6e4e26p-5F, cube, x);
    return 0.5F * x * (1.0F + wi_tanh(inner));
}

static __device__ __forceinline__ float wi_gelu_erf(float x) { return 0.5F * x * (1.0F + wi_erf(x * 0x1.6a09e6p-1F)); }

// An activation that is known when it is compiled.
template <weft_act ACT> static __device__ __forceinline__ float wi_act(float x)
{
    if (ACT == WEFT_ACT_SILU) return wi_silu(x);
    if (ACT == WEFT_ACT_GELU_TANH) return wi_gelu_tanh(x);
    if (ACT == WEFT_ACT_GELU_ERF) return wi_gelu_erf(x);
    return x;
}

// One that is not: for epilogues, where it is the same for all threads.
static __device__ __forceinline__ float wi_act_of(float x, weft_act act)
{
    if (act == WEFT_ACT_SILU) return wi_silu(x);
    if (act == WEFT_ACT_GELU_TANH) return wi_gelu_tanh(x);
    if (act == WEFT_ACT_GELU_ERF) return wi_gelu_erf(x);
    return x;
}

#endif
