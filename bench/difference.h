// Whether two sets of samples differ, and how surely: a ratio of medians and its interval. No distribution is assumed.
// Of several runs each counts as its median, for what differs from one run to the next is the larger part of a
// machine's noise. Runs that were taken by turns give ratios of neighbours, whose interval is exact (that of the sign
// test); others, and the samples of single runs, are resampled (in blocks, for neighbouring samples are alike).
#ifndef WEFT_BENCH_DIFFERENCE_H
#define WEFT_BENCH_DIFFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// Samples in the order of time, of one run behind another. Plain data, borrowed.
typedef struct {
    const double *samples;
    const size_t *ends; // [runs] where the samples of each end; ascending, none is empty
    int runs;
} weft_runs;

typedef struct {
    double confidence; // of the interval, as 0.95
    double threshold;  // a smaller change is none, however sure: 0.01
    int draws;         // bootstrap samples
    uint64_t seed;     // equal seeds give equal answers
} weft_difference_options;
weft_difference_options weft_difference_default(void);

typedef struct {
    double a, b;             // medians
    double ratio, low, high; // of b over a, and its interval
    double sure;             // that the ratio is on its side of 1
    int verdict;             // -1: b is smaller; 1: larger; 0: no difference
    bool paired, few;        // few: there is too little for an interval at that confidence
} weft_difference;

// With as many runs on both sides, and at least two, run i of a is the neighbour of run i of b: they were taken by
// turns and are drawn together, so that what both went through falls out. Local. NO_MEMORY is the only failure.
weft_status weft_difference_of(const weft_runs *a, const weft_runs *b, const weft_difference_options *options,
                               weft_difference *out);

// What these runs of one thing could tell if the half of them were another: `alike`, how often two halves by turns are
// rightly found the same; `finds`, the smallest ratio that is found nine times in ten, infinity where none up to 4 is.
typedef struct {
    double alike, finds;
} weft_power;
// Needs at least two runs, or two samples of one; where halves are too few for a verdict nothing is ever found.
weft_status weft_difference_power(const weft_runs *runs, const weft_difference_options *options, weft_power *out);

#ifdef __cplusplus
}
#endif
#endif
