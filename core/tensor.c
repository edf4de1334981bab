// Types of elements, and views.
#include "core/tensor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/checked.h"

typedef struct {
    int bits;
    const char *file, *flag;
} dtype_facts;

static const dtype_facts dtypes[WEFT_DTYPE_COUNT] = {
#define DTYPE_FACTS(name, element_bits, file_name, flag_name) {element_bits, file_name, flag_name},
    WEFT_DTYPE_LIST(DTYPE_FACTS)
#undef DTYPE_FACTS
};

static bool is_dtype(weft_dtype type) { return (unsigned)type < WEFT_DTYPE_COUNT; }

int weft_dtype_bits(weft_dtype type) { return is_dtype(type) ? dtypes[type].bits : 0; }
const char *weft_dtype_name(weft_dtype type) { return is_dtype(type) ? dtypes[type].flag : "unknown"; }

bool weft_dtype_from_name(const char *name, weft_dtype *out)
{
    for (int i = 0; i < WEFT_DTYPE_COUNT; i++) {
        if (strcmp(dtypes[i].flag, name) != 0) continue;
        *out = (weft_dtype)i;
        return true;
    }
    return false;
}

bool weft_dtype_from_file(const char *name, weft_dtype *out)
{
    for (int i = 0; i < WEFT_DTYPE_COUNT; i++) {
        if (strcmp(dtypes[i].file, name) != 0) continue;
        *out = (weft_dtype)i;
        return true;
    }
    return false;
}

// Elements times bits as whole bytes, without the product that could overflow.
static size_t bytes_of(size_t count, int bits) { return count / 8 * (size_t)bits + count % 8 * (size_t)bits / 8; }

// The elements that the strides span: a dimension of 0 counts as 1, so that strides are checked even in an empty view.
static bool span_of(int rank, const int64_t *shape, int bits, size_t *out)
{
    int64_t factors[WEFT_TENSOR_RANK_MAX];
    for (int i = 0; i < rank; i++) factors[i] = shape[i] == 0 ? 1 : shape[i];
    return weft_size_product(factors, rank, out) && *out / 8 < (size_t)PTRDIFF_MAX / (size_t)bits;
}

weft_status weft_tensor_view(void *data, weft_dtype type, int rank, const int64_t *shape, weft_tensor *out)
{
    weft_tensor view = {.data = data, .type = type, .rank = rank};
    size_t span;
    if (!is_dtype(type)) return weft_fail(WEFT_INVALID, "a tensor of unknown type %d", (int)type);
    if (rank < 0 || rank > WEFT_TENSOR_RANK_MAX)
        return weft_fail(WEFT_LIMIT, "a tensor of %d dimensions; at most %d are allowed", rank, WEFT_TENSOR_RANK_MAX);
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 0) return weft_fail(WEFT_INVALID, "dimension %d of a tensor is %" PRId64, i, shape[i]);
        view.shape[i] = shape[i];
    }
    int bits = dtypes[type].bits;
    if (!span_of(rank, shape, bits, &span)) {
        char text[128];
        view.rank = rank;
        return weft_fail(WEFT_OVERFLOW, "a tensor %s has more bytes than an address can count",
                         weft_tensor_describe(&view, text, sizeof text));
    }
    int64_t row = rank > 0 ? shape[rank - 1] : 1;
    if (row % 8 * bits % 8 != 0)
        return weft_fail(WEFT_INVALID, "a row of %" PRId64 " %s elements does not end on a byte", row,
                         dtypes[type].flag);
    int64_t stride = 1;
    for (int i = rank - 1; i >= 0; i--) {
        view.stride[i] = stride;
        stride *= shape[i] == 0 ? 1 : shape[i];
    }
    *out = view;
    return WEFT_OK;
}

size_t weft_tensor_count(const weft_tensor *tensor)
{
    size_t count = 1;
    for (int i = 0; i < tensor->rank; i++) count *= (size_t)tensor->shape[i];
    return count;
}

size_t weft_tensor_bytes(const weft_tensor *tensor)
{
    return bytes_of(weft_tensor_count(tensor), weft_dtype_bits(tensor->type));
}

bool weft_tensor_dense(const weft_tensor *tensor)
{
    int64_t stride = 1;
    if (weft_tensor_count(tensor) == 0) return true;
    for (int i = tensor->rank - 1; i >= 0; i--) {
        if (tensor->shape[i] != 1 && tensor->stride[i] != stride) return false;
        stride *= tensor->shape[i];
    }
    return true;
}

weft_status weft_tensor_slice(const weft_tensor *tensor, int dim, int64_t begin, int64_t end, weft_tensor *out)
{
    weft_tensor part = *tensor;
    char text[128];
    if (dim < 0 || dim >= tensor->rank)
        return weft_fail(WEFT_INVALID, "no dimension %d in %s", dim, weft_tensor_describe(tensor, text, sizeof text));
    if (begin < 0 || end < begin || end > tensor->shape[dim])
        return weft_fail(WEFT_INVALID, "part [%" PRId64 ", %" PRId64 ") of dimension %d is not inside %s", begin, end,
                         dim, weft_tensor_describe(tensor, text, sizeof text));
    int bits = weft_dtype_bits(tensor->type);
    int64_t stride = tensor->stride[dim];
    if (begin * stride % 8 * bits % 8 != 0 || end * stride % 8 * bits % 8 != 0)
        return weft_fail(WEFT_INVALID,
                         "part [%" PRId64 ", %" PRId64 ") of dimension %d of %s does not begin and end on a byte",
                         begin, end, dim, weft_tensor_describe(tensor, text, sizeof text));
    part.shape[dim] = end - begin;
    if (part.data) part.data = (unsigned char *)part.data + bytes_of((size_t)(begin * stride), bits);
    *out = part;
    return WEFT_OK;
}

char *weft_tensor_describe(const weft_tensor *tensor, char *text, size_t capacity)
{
    char shape[WEFT_TENSOR_RANK_MAX * 24] = "";
    size_t used = 0;
    for (int i = 0; i < tensor->rank; i++)
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%" PRId64, i ? ", " : "", tensor->shape[i]);
    snprintf(text, capacity, "%s (%s)", weft_dtype_name(tensor->type), shape);
    return text;
}
