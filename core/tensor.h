// A view of a tensor: a pointer, a type, a shape and strides. Owns nothing, computes nothing.
#ifndef WEFT_CORE_TENSOR_H
#define WEFT_CORE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// X(NAME, bits of one element, the name in safetensors files, the name in flags)
#define WEFT_DTYPE_LIST(X)                                                                                             \
    X(F32, 32, "F32", "f32")                                                                                           \
    X(F16, 16, "F16", "f16")                                                                                           \
    X(BF16, 16, "BF16", "bf16")                                                                                        \
    X(F64, 64, "F64", "f64")                                                                                           \
    X(E4M3, 8, "F8_E4M3", "e4m3")                                                                                      \
    X(E5M2, 8, "F8_E5M2", "e5m2")                                                                                      \
    X(I4, 4, "I4", "int4")                                                                                             \
    X(I8, 8, "I8", "int8")                                                                                             \
    X(U8, 8, "U8", "u8")                                                                                               \
    X(I16, 16, "I16", "i16")                                                                                           \
    X(U16, 16, "U16", "u16")                                                                                           \
    X(I32, 32, "I32", "i32")                                                                                           \
    X(U32, 32, "U32", "u32")                                                                                           \
    X(I64, 64, "I64", "i64")                                                                                           \
    X(U64, 64, "U64", "u64")                                                                                           \
    X(BOOL, 8, "BOOL", "bool")

typedef enum {
#define WEFT_DTYPE_ENUM(name, bits, file, flag) WEFT_##name,
    WEFT_DTYPE_LIST(WEFT_DTYPE_ENUM)
#undef WEFT_DTYPE_ENUM
        WEFT_DTYPE_COUNT
} weft_dtype;

int weft_dtype_bits(weft_dtype type);
const char *weft_dtype_name(weft_dtype type);                 // "bf16"
bool weft_dtype_from_name(const char *name, weft_dtype *out); // "bf16"
bool weft_dtype_from_file(const char *name, weft_dtype *out); // "BF16"

enum { WEFT_TENSOR_RANK_MAX = 5 };

typedef struct {
    void *data;
    weft_dtype type;
    int rank; // 0 is a scalar
    int64_t shape[WEFT_TENSOR_RANK_MAX];
    int64_t stride[WEFT_TENSOR_RANK_MAX]; // in elements
} weft_tensor;

// A dense row-major view. Fails with LIMIT on too many dimensions, INVALID on a negative one or when a sub-byte row
// does not end on a byte, OVERFLOW when the bytes do not fit half the address space.
weft_status weft_tensor_view(void *data, weft_dtype type, int rank, const int64_t *shape, weft_tensor *out);
size_t weft_tensor_count(const weft_tensor *tensor); // elements
size_t weft_tensor_bytes(const weft_tensor *tensor); // of a dense tensor
bool weft_tensor_dense(const weft_tensor *tensor);
// The part [begin, end) of one dimension: same memory, same strides. Fails with INVALID outside the shape or when a
// sub-byte part does not begin and end on a byte.
weft_status weft_tensor_slice(const weft_tensor *tensor, int dim, int64_t begin, int64_t end, weft_tensor *out);
char *weft_tensor_describe(const weft_tensor *tensor, char *text, size_t capacity); // "bf16 (32, 4096)"

#ifdef __cplusplus
}
#endif
#endif
