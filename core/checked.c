// Size arithmetic that notices overflow.
#include "core/checked.h"

bool weft_size_add(size_t a, size_t b, size_t *out)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return false;
    *out = sum;
    return true;
}

bool weft_size_mul(size_t a, size_t b, size_t *out)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product)) return false;
    *out = product;
    return true;
}

bool weft_size_product(const int64_t *factors, int count, size_t *out)
{
    // All factors are looked at first: a zero must hide neither a negative one nor an overflow that would depend on
    // where the zero stands.
    size_t product = 1;
    bool zero = false;
    for (int i = 0; i < count; i++) {
        if (factors[i] < 0) return false;
        if (factors[i] == 0)
            zero = true;
        else if (__builtin_mul_overflow(product, (uint64_t)factors[i], &product))
            return false;
    }
    *out = zero ? 0 : product;
    return true;
}

bool weft_size_round_up(size_t value, size_t multiple, size_t *out)
{
    size_t rest = value % multiple;
    return weft_size_add(value, rest ? multiple - rest : 0, out);
}

bool weft_size_from_i64(int64_t value, size_t *out)
{
    if (value < 0) return false;
    *out = (size_t)value;
    return true;
}
