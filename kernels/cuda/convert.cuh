// Single conversions on the device, the bits of `ref` (kernels/cpu/rows.inc, kernels/convert.inc). The processor's own
// conversions give other NaNs, so these go by the bits; they cost a few integer instructions and hide behind memory.
#ifndef WEFT_KERNELS_CUDA_CONVERT_CUH
#define WEFT_KERNELS_CUDA_CONVERT_CUH

#include <string.h>

#include "kernels/cuda/cuda.cuh"

static __device__ __forceinline__ float wi_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static __device__ __forceinline__ uint32_t wi_bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static __device__ __forceinline__ float wi_infinity(void) { return wi_float_of_bits(0x7f800000); }
static __device__ __forceinline__ float wi_nan(void) { return wi_float_of_bits(0x7fc00000); }

static __device__ __forceinline__ float wi_float_of_bf16(uint16_t half)
{
    return wi_float_of_bits((uint32_t)half << 16);
}

// To nearest even; a NaN keeps its upper bits and is quiet.
static __device__ __forceinline__ uint16_t wi_bf16_of_float(float value)
{
    const uint32_t bits = wi_bits_of_float(value);
    return (uint16_t)(value == value ? (bits + 0x7fff + (bits >> 16 & 1)) >> 16 : bits >> 16 | 0x40);
}

// The same with denormals as zeros: what a GEMM of the tensor families reads.
static __device__ __forceinline__ uint16_t wi_bf16_of_normal(float value)
{
    return wi_bf16_of_float((wi_bits_of_float(value) & 0x7fffffff) < 0x00800000 ? 0.0F : value);
}

static __device__ __forceinline__ float wi_float_of_f16(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, mantissa = half & 0x3ff;
    if (exponent == 31) return wi_float_of_bits(sign | 0x7f800000 | mantissa << 13 | (mantissa ? 0x400000 : 0));
    if (exponent) return wi_float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    return wi_float_of_bits(sign | wi_bits_of_float((float)mantissa * 0x1p-24F)); // exact
}

static __device__ __forceinline__ uint16_t wi_f16_of_float(float value)
{
    const uint32_t bits = wi_bits_of_float(value), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (rest >> 13 & 0x1ff));
    if (rest >= 0x477ff000) return (uint16_t)(sign | 0x7c00); // 65520 and above
    if (rest >= 0x38800000) return (uint16_t)(sign | ((rest + 0xfff + (rest >> 13 & 1) - 0x38000000) >> 13));
    // Below 2^-14: adding 1/2 leaves a multiple of 2^-24, rounded by the addition, in the lower bits.
    return (uint16_t)(sign | (wi_bits_of_float(wi_float_of_bits(rest) + 0.5F) - 0x3f000000));
}

// Four bits of exponent, three of mantissa, no infinity; all ones is NaN.
static __device__ __forceinline__ float wi_float_of_e4m3(uint32_t code)
{
    // where a float has its own, but for an exponent 120 too small, denormals too
    const float value = wi_float_of_bits((code & 0x80) << 24 | (code & 0x7f) << 20) * 0x1p120F;
    return (code & 0x7f) == 0x7f ? wi_nan() : value;
}

// To nearest even, and no farther than 448; NaN is 0x7f.
static __device__ __forceinline__ uint32_t wi_e4m3_of_float(float value)
{
    const uint32_t bits = wi_bits_of_float(value), sign = bits >> 24 & 0x80, size = bits & 0x7fffffff;
    if (size > 0x7f800000) return 0x7f;
    if (size >= 0x43e00000) return sign | 0x7e; // 448
    if (size >= 0x3c800000) return sign | ((size + 0x7ffff + (size >> 20 & 1) - 0x3c000000) >> 20);
    // Below 2^-6: adding 2^14 leaves a multiple of 2^-9, rounded by the addition, in the lower bits.
    return sign | (wi_bits_of_float(wi_float_of_bits(size) + 16384.0F) - 0x46800000);
}

// What is left of x as a number of that type.
// A call, since no model of today asks for it: code that stands there many times takes minutes to compile.
static __device__ __noinline__ float wi_rounded_narrow(float x, weft_dtype type)
{
    return type == WEFT_BF16 ? wi_float_of_bf16(wi_bf16_of_float(x)) : wi_float_of_f16(wi_f16_of_float(x));
}
static __device__ __forceinline__ float wi_rounded_to(float x, weft_dtype type)
{
    return type == WEFT_F32 ? x : wi_rounded_narrow(x, type);
}

#endif
