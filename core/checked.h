// Size arithmetic on numbers that came from outside. Each returns false on overflow and then leaves *out alone.
#ifndef WEFT_CORE_CHECKED_H
#define WEFT_CORE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

bool weft_size_add(size_t a, size_t b, size_t *out);
bool weft_size_mul(size_t a, size_t b, size_t *out);
bool weft_size_product(const int64_t *factors, int count, size_t *out); // false too when a factor is negative
bool weft_size_round_up(size_t value, size_t multiple, size_t *out);    // multiple > 0
bool weft_size_from_i64(int64_t value, size_t *out);                    // false when negative

// Rounds up a size that is known to be far from the limit. `multiple` is a power of two.
static inline size_t weft_align_up(size_t value, size_t multiple) { return (value + multiple - 1) & ~(multiple - 1); }

#ifdef __cplusplus
}
#endif
#endif
