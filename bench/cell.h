// weft bench cell: one job of weft bench scale. The same requests again and again: what they take, what part of that
// each rank computed, what they drew, and how fast this job's processors, memory and links are beside it.
#ifndef WEFT_BENCH_CELL_H
#define WEFT_BENCH_CELL_H

#include "bench/generate.h"
#include "bench/scale.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int64_t prompt, generate; // tokens of a request: given, drawn
    int64_t batch;            // requests, all at once
    int64_t rounds;
} weft_bench_cell_options;

// What exchanges take over the group's links; all 0 for one rank. Collective over `comm`, blocking: about so many
// seconds where messages are fast. Of all ranks the slowest.
weft_status weft_link_measure(weft_comm *comm, const weft_kernels *kernels, double seconds, weft_link *out);

// Of this rank, with so many rows: operations and bytes of weights a second. Local, blocking.
typedef struct {
    double operations, bytes;
} weft_multiply_rates;
weft_status weft_multiply_measure(const weft_bench_subject *subject, const weft_kernels *kernels, int64_t rows,
                                  double seconds, weft_multiply_rates *out);

// Collective over the job, blocking; rank 0 writes one line of JSON to `out` (weft.cell/1, docs/formats.md). INTERNAL
// where a round draws other tokens than the one before.
weft_status weft_bench_cell(weft_job *job, const weft_bench_cell_options *options, const weft_bench_subject *subject,
                            double load_s, FILE *out);

#ifdef __cplusplus
}
#endif
#endif
