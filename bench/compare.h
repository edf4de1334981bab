// weft bench compare: two sets of records of one benchmark, figure by figure.
#ifndef WEFT_BENCH_COMPARE_H
#define WEFT_BENCH_COMPARE_H

#include <stdio.h>

#include "bench/difference.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    weft_difference_options how;
    bool all;         // figures that are neither times nor rates too
    bool gate;        // FAILED where anything is slower
    const char *json; // file for the verdicts, "-" for stdout (the table is then left out), or NULL
} weft_bench_compare_options;

// `a` and `b`: a record (docs/formats.md), or a folder of records of one benchmark, which is taken for runs in the
// order of their times. `b` NULL: what the runs of `a` could tell. Local. NOT_FOUND, IO, FORMAT; MISMATCH where they
// are of different benchmarks; USAGE where there is too little to go by.
weft_status weft_bench_compare(const char *a, const char *b, const weft_bench_compare_options *options, FILE *out);

#ifdef __cplusplus
}
#endif
#endif
