// parallel: how the work is divided. It joins comm, which moves bytes, and kernels, which add; every sum over ranks is
// evaluated here, in canonical order. It knows no model.
//
// A sum adds one array of floats a rank, by the binary tree over the ranks' numbers in the group. The arrays are
// written straight into the exchange's slot and, where the sum is large, the result is read in place, in one part a
// rank.
//
//     float *mine;
//     weft_sum_acquire(sum, &mine);        // write `count` floats
//     weft_sum_run(sum, &result);          // collective
//     ... result.part[p][0 .. result.begin[p + 1] - result.begin[p]) ...
//     weft_sum_release(sum);
#ifndef WEFT_PARALLEL_PARALLEL_H
#define WEFT_PARALLEL_PARALLEL_H

#include <stddef.h>

#include "comm/comm.h"
#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_sum weft_sum;

typedef enum {
    WEFT_SUM_AUTO,     // one-shot up to a size, two-shot above it
    WEFT_SUM_ONE_SHOT, // every rank adds everything: one exchange
    WEFT_SUM_TWO_SHOT  // every rank adds a slice, then the slices are gathered: two exchanges, each byte added once
} weft_sum_kind;

typedef struct {
    const char *name; // for reports
    size_t count;     // floats
    weft_sum_kind kind;
} weft_sum_spec;

typedef struct {
    int parts;
    const float *const *part; // [parts] views, valid until release
    const size_t *begin;      // [parts + 1] the first float of each part; begin[parts] is count
} weft_sum_result;

// Collective, blocking. The kernels are copied.
weft_status weft_sum_create(weft_comm *comm, const weft_kernels *kernels, const weft_sum_spec *spec, weft_sum **out);
void weft_sum_destroy(weft_sum *sum); // Local; accepts NULL
weft_sum_kind weft_sum_kind_of(const weft_sum *sum);

weft_status weft_sum_acquire(weft_sum *sum, float **mine); // aligned to 64; mine to write until run
weft_status weft_sum_run(weft_sum *sum, weft_sum_result *out);
void weft_sum_release(weft_sum *sum);

#ifdef __cplusplus
}
#endif
#endif
