// bench: measurement. Figures come as samples with their spread, never as single numbers; what is compared is measured
// in one run, by turns; a figure whose result was wrong is an error. Timing lives here, what is timed lives below.
#ifndef WEFT_BENCH_BENCH_H
#define WEFT_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "comm/comm.h"
#include "core/json.h"
#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- statistics -----------------------------------------------------------------------------------------------------

typedef struct {
    size_t count;
    double min, p10, median, p90, max; // percentiles by linear interpolation
    double p99;                        // NaN below 459 samples, where it would be a guess
    double mad;                        // median of the absolute deviations from the median
} weft_stats;

void weft_sort(double *samples, size_t count);                      // ascending
void weft_stats_of(double *samples, size_t count, weft_stats *out); // sorts the samples; count > 0
double weft_quantile(const double *sorted, size_t count, double q);

// ---- the record that every benchmark writes: schema weft.bench/1, docs/formats.md -----------------------------------

typedef struct {
    weft_json_writer json;
} weft_record;

// `kind` names the benchmark ("comm"). Opens the settings, which the caller writes next into record->json.
void weft_record_begin(weft_record *record, const char *kind, weft_job *job);
void weft_record_results(weft_record *record); // closes the settings, opens the results
// One figure: what was measured, the case as name = value pairs written by the caller between the two calls, the
// samples.
void weft_record_result_begin(weft_record *record, const char *name, const char *unit);
void weft_record_result_end(weft_record *record, const double *samples, size_t count, const weft_stats *stats);
// Writes the file ("-" for stdout) and frees the record.
weft_status weft_record_end(weft_record *record, const char *path);

// ---- exchanges ------------------------------------------------------------------------------------------------------

typedef struct {
    int64_t min_bytes, max_bytes; // and the powers of two between them
    int64_t rounds;               // turns of weft and of MPI for each size
    bool mpi;                     // beside MPI_Allreduce where the job has MPI
    double loop;                  // instead: exchanges of 8 KiB for so many seconds, one a step, for trying faults
    const char *json;             // file for the record, "-" for stdout (the table is then left out), or NULL
    weft_isa isa;
} weft_bench_comm_options;

// Collective. Rank 0 writes the table. DRAINED when a signal asked for an end.
weft_status weft_bench_comm(weft_job *job, const weft_bench_comm_options *options, FILE *out);

#ifdef __cplusplus
}
#endif
#endif
