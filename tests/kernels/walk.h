// What the walkers over kernels share: every level of the table that this machine has (masked by WEFT_ISA), each alone
// and with teams of 1 to 3 threads, and the table of a device: a GPU's, or where there is none the emulated one's;
// memory between guard bytes, at any alignment; values that hurt; comparing by bits, and counting how much was
// compared. A failure names the level, the team, the case and the first element, and ends the test.
#ifndef WEFT_TESTS_KERNELS_WALK_H
#define WEFT_TESTS_KERNELS_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/device.h"
#include "kernels/kernels.h"

typedef struct weft_walk weft_walk;

weft_walk *weft_walk_begin(void);
// Checks the guards of what is left, prints what was compared, and frees all.
void weft_walk_end(weft_walk *walk);

// Ways to run an op. Way 0 is `ref` by the caller alone: the others are held against it. The op of a way has `scratch`
// of weft_walk_scratch bytes (0 at first).
int weft_walk_ways(const weft_walk *walk);
const weft_op *weft_walk_way(const weft_walk *walk, int way);
const char *weft_walk_name(const weft_walk *walk, int way); // "avx2, 3 threads"
bool weft_walk_on_device(const weft_walk *walk, int way);   // an emulated one is slow: smaller sizes will do
void weft_walk_scratch(weft_walk *walk, size_t bytes);

// What the following comparisons are about; printed when one fails.
void weft_walk_case(weft_walk *walk, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Memory between guards, `shift` bytes behind a multiple of 64, filled with a byte that is no good value. With
// WEFT_WALK_FLUSH set in the environment nothing lies behind it, so that valgrind sees a read behind the end too.
void *weft_walk_memory(weft_walk *walk, size_t bytes, size_t shift);
void weft_walk_again(weft_walk *walk, void *memory); // fills it as when it was new
void weft_walk_guards(weft_walk *walk);              // nothing was written outside of any memory
void weft_walk_release(weft_walk *walk);             // weft_walk_guards, then frees all memory

// Values as a function of the seed and the index alone.
typedef enum {
    WEFT_VALUES_PLAIN,   // between -4 and 4
    WEFT_VALUES_WIDE,    // any finite number: all exponents, denormals, zeros of both signs
    WEFT_VALUES_EXTREME, // plain, with infinities, NaNs, denormals, the largest numbers and zeros strewn in
    WEFT_VALUES_ZERO,    // zeros
    WEFT_VALUES_TIES,    // few different values, so that many are equal
    WEFT_VALUES_COUNT
} weft_values;
const char *weft_values_name(weft_values values);
void weft_walk_fill(float *p, size_t count, weft_values values, uint64_t seed);
uint64_t weft_walk_random(uint64_t seed, uint64_t index);

// Equal bytes; equal bits of floats where one NaN is as good as another. Either counts the elements compared.
void weft_walk_same(weft_walk *walk, int way, const char *what, const void *actual, const void *expected, size_t bytes);
void weft_walk_same_floats(weft_walk *walk, int way, const char *what, const float *actual, const float *expected,
                           size_t count);
// |actual - expected| <= bound * (|expected| + floor): for a check against another formula in double.
void weft_walk_close(weft_walk *walk, int way, const char *what, const float *actual, const double *expected,
                     size_t count, double bound, double floor);

#endif
