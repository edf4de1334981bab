// What the files of weft bench batch share. Inside bench/ only.
#ifndef WEFT_BENCH_BATCH_IMPL_H
#define WEFT_BENCH_BATCH_IMPL_H

#include "bench/batch.h"

enum { WI_ROUNDS_MAX = 1000 };

// All samples, of all rounds. Latencies in ms.
typedef struct {
    double *first, *between, *whole; // [rounds * requests], [rounds * gaps], [rounds * requests]
    size_t first_count, between_count, whole_count;
    double seconds[WI_ROUNDS_MAX];
    double generated[WI_ROUNDS_MAX], all[WI_ROUNDS_MAX], requests[WI_ROUNDS_MAX]; // a second
    double running[WI_ROUNDS_MAX], rows[WI_ROUNDS_MAX];                           // of a step, the mean
    double fill[WI_ROUNDS_MAX], held[WI_ROUNDS_MAX], found[WI_ROUNDS_MAX];        // %
    double exchange[WI_ROUNDS_MAX], wait[WI_ROUNDS_MAX], host[WI_ROUNDS_MAX];     // % of the time that was not idle
    double queued[WI_ROUNDS_MAX];                                                 // requests, the mean over steps
    int64_t preempted;
} wi_batch_samples;

// Makes rank 0's samples those of all replicas: latencies of all their requests, and over each round sums and means.
// Collective over rank 0 of the replicas.
weft_status wi_batch_samples_gather(weft_comm *leads, const weft_bench_batch_options *options,
                                    const weft_bench_load *load, wi_batch_samples *samples);

#endif
