// Arithmetic and bits of CUDA C++ that the host's library lacks. What the device only approximates (__expf, rsqrtf and
// the like) is missing on purpose: it would have other bits here.
#ifndef WEFT_TESTS_EMULATOR_MATH_H
#define WEFT_TESTS_EMULATOR_MATH_H

#include "tests/emulator/types.h"

template <typename A, typename B> using emu_wider = std::common_type_t<A, B>;
template <typename A, typename B, typename = std::enable_if_t<std::is_integral_v<A> && std::is_integral_v<B>>>
static inline emu_wider<A, B> min(A a, B b)
{
    return (emu_wider<A, B>)b < (emu_wider<A, B>)a ? (emu_wider<A, B>)b : (emu_wider<A, B>)a;
}
template <typename A, typename B, typename = std::enable_if_t<std::is_integral_v<A> && std::is_integral_v<B>>>
static inline emu_wider<A, B> max(A a, B b)
{
    return (emu_wider<A, B>)a < (emu_wider<A, B>)b ? (emu_wider<A, B>)b : (emu_wider<A, B>)a;
}
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

template <typename To, typename From> static inline To emu_same_bits(From from)
{
    static_assert(sizeof(To) == sizeof(From), "bits of one size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline unsigned __float_as_uint(float x) { return emu_same_bits<unsigned>(x); }
static inline int __float_as_int(float x) { return emu_same_bits<int>(x); }
static inline float __uint_as_float(unsigned x) { return emu_same_bits<float>(x); }
static inline float __int_as_float(int x) { return emu_same_bits<float>(x); }
static inline long long __double_as_longlong(double x) { return emu_same_bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return emu_same_bits<double>(x); }

static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __frcp_rn(float a) { return 1.0f / a; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }

// Conversions saturate, and NaN is 0 (the smallest for 64 bits is left out: no kernel wants it).
static inline int emu_int_of(double whole)
{
    return whole != whole           ? 0
           : whole >= 2147483647.0  ? 2147483647
           : whole <= -2147483648.0 ? -2147483647 - 1
                                    : (int)whole;
}
static inline unsigned emu_uint_of(double whole)
{
    return !(whole > 0) ? 0 : whole >= 4294967295.0 ? 4294967295u : (unsigned)whole;
}
static inline int __float2int_rn(float x) { return emu_int_of(rint((double)x)); }
static inline int __float2int_rz(float x) { return emu_int_of(trunc((double)x)); }
static inline int __float2int_rd(float x) { return emu_int_of(floor((double)x)); }
static inline int __float2int_ru(float x) { return emu_int_of(ceil((double)x)); }
static inline unsigned __float2uint_rn(float x) { return emu_uint_of(rint((double)x)); }
static inline unsigned __float2uint_rz(float x) { return emu_uint_of(trunc((double)x)); }
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __uint2float_rn(unsigned x) { return (float)x; }
static inline float __double2float_rn(double x) { return (float)x; }

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
static inline unsigned __brev(unsigned x)
{
    unsigned y = 0;
    for (int i = 0; i < 32; i++) y |= (x >> i & 1) << (31 - i);
    return y;
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
static inline int __mulhi(int a, int b) { return (int)((int64_t)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    __extension__ typedef unsigned __int128 wide;
    return (unsigned long long)((wide)a * b >> 64);
}
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned select)
{
    uint64_t both = (uint64_t)b << 32 | a;
    unsigned out = 0;
    for (int i = 0; i < 4; i++) {
        unsigned nibble = select >> 4 * i & 15, byte = both >> 8 * (nibble & 7) & 255;
        if (nibble & 8) byte = byte & 128 ? 255 : 0;
        out |= byte << 8 * i;
    }
    return out;
}
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by)
{
    return (unsigned)(((uint64_t)high << 32 | low) << (by & 31) >> 32);
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by)
{
    return (unsigned)(((uint64_t)high << 32 | low) >> (by & 31));
}
static inline int __dp4a(int a, int b, int c)
{
    for (int i = 0; i < 4; i++) c += (int8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
    return c;
}
template <typename T> static inline T __ldg(const T *at) { return *at; }
template <typename T> static inline T __ldcs(const T *at) { return *at; }
template <typename T> static inline T __ldcg(const T *at) { return *at; }
template <typename T> static inline void __stcs(T *at, T value) { *at = value; }
template <typename T> static inline void __stcg(T *at, T value) { *at = value; }

#endif
