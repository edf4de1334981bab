// weft bench batch: many requests of mixed lengths through one engine, as many at once as it is told, or as they
// arrive.
#ifndef WEFT_BENCH_BATCH_H
#define WEFT_BENCH_BATCH_H

#include "bench/bench.h"
#include "bench/generate.h"
#include "engine/stats.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { WEFT_LENGTHS_UNIFORM, WEFT_LENGTHS_LOGNORMAL };

typedef struct {
    int64_t requests;
    const char *prompt, *generate; // lengths: "N" or "FROM..TO"
    int lengths;                   // how they are spread: WEFT_LENGTHS_*
    int64_t concurrency;           // the most that run at once, of each replica
    double rate;                   // requests that arrive a second; 0: the next one when one has ended
    int64_t seed;                  // of lengths, tokens and arrivals
    int64_t rounds;                // turns; each has other tokens and arrivals, and the same lengths
    const char *json;              // file for the record, "-" for stdout (the table is then left out), or NULL
} weft_bench_batch_options;

// The requests of a round, in the order in which they come.
typedef struct {
    int prompt, generate; // tokens
} weft_bench_length;
typedef struct {
    weft_bench_length *at; // [count]
    int count;
    int64_t longest;            // tokens of the longest one, prompt and what it generates
    int64_t prompts, generated; // tokens of all
} weft_bench_load;

// Drawn from the options; `text`, where it is not NULL, is a file with a line {"prompt_tokens":N,"max_tokens":M} a
// request instead, and `name` what errors call it. Local, and the same on every rank of like processors. USAGE for
// lengths that make no sense, FORMAT and INVALID for the file's.
weft_status weft_bench_load_make(const weft_bench_batch_options *options, const char *text, size_t bytes,
                                 const char *name, weft_bench_load *out);
void weft_bench_load_free(weft_bench_load *load);

// When the request arrives, in seconds from the beginning of the round: `rate` a second, Poisson. Each is after the one
// before it; fills arrivals[0..count).
void weft_bench_arrivals(const weft_bench_batch_options *options, int round, double *arrivals, int count);

// Collective over the job, blocking; rank 0 writes a table to `out`. The replicas have the requests by turns, each with
// its own concurrency. `stats` may be NULL.
weft_status weft_bench_batch(weft_job *job, const weft_bench_batch_options *options, const weft_bench_load *load,
                             const weft_bench_subject *subject, const weft_replicas *replicas, weft_engine_stats *stats,
                             FILE *out);

#ifdef __cplusplus
}
#endif
#endif
