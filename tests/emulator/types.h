// Words and types of CUDA C++ that host and device share.
#ifndef WEFT_TESTS_EMULATOR_TYPES_H
#define WEFT_TESTS_EMULATOR_TYPES_H

#include <assert.h>
#include <functional>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <tuple>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
// Static shared memory lies in a section of its own, so that it can be poisoned before each block. `alignas` cannot
// follow `static`: write __align__. `used`: others than the compiler can see change it.
#define __shared__ static __attribute__((used, section("weft_shared")))

#define EMU_HIDDEN __attribute__((visibility("hidden")))

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef long long longlong;
typedef unsigned long long ulonglong;

// name, its word, alignment of 2 and of 4
#define EMU_VECTOR_LIST(X)                                                                                             \
    X(char, signed char, 2, 4)                                                                                         \
    X(uchar, unsigned char, 2, 4)                                                                                      \
    X(short, short, 4, 8)                                                                                              \
    X(ushort, unsigned short, 4, 8)                                                                                    \
    X(int, int, 8, 16)                                                                                                 \
    X(uint, unsigned int, 8, 16)                                                                                       \
    X(longlong, long long, 16, 16)                                                                                     \
    X(ulonglong, unsigned long long, 16, 16)                                                                           \
    X(float, float, 8, 16)                                                                                             \
    X(double, double, 16, 16)

#define EMU_VECTOR(name, word, two, four)                                                                              \
    struct name##1 { word x; };                                                                                        \
    struct __align__(two) name##2 { word x, y; };                                                                      \
    struct name##3 { word x, y, z; };                                                                                  \
    struct __align__(four) name##4 { word x, y, z, w; };                                                               \
    static inline name##1 make_##name##1(word x) { return {x}; }                                                       \
    static inline name##2 make_##name##2(word x, word y) { return {x, y}; }                                            \
    static inline name##3 make_##name##3(word x, word y, word z) { return {x, y, z}; }                                 \
    static inline name##4 make_##name##4(word x, word y, word z, word w) { return {x, y, z, w}; }
EMU_VECTOR_LIST(EMU_VECTOR)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// The map of a tensor: opaque to all but wi_tensor_map and the copies.
struct alignas(64) CUtensorMap {
    uint64_t opaque[16];
};

#endif
