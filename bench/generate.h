// weft bench prefill and decode: a model at work, beside the ceiling of this machine that binds it.
#ifndef WEFT_BENCH_GENERATE_H
#define WEFT_BENCH_GENERATE_H

#include "bench/bench.h"
#include "engine/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    bool decode;      // steps of one token a request; else whole prompts
    int64_t tokens;   // of a prompt; in decoding, those before the first step that is timed
    int64_t batch;    // requests at once
    int64_t steps;    // decoding: of one round
    int64_t rounds;   // turns that the work and its ceiling take
    const char *json; // file for the record, "-" for stdout (the table is then left out), or NULL
} weft_bench_generate_options;

// What is measured: an engine with room for the requests, and all that it was made with.
typedef struct {
    const char *name; // of the model, for reports
    const weft_model *model;
    weft_engine *engine;
    weft_team *team;
    const weft_cpu *cpu;
    weft_isa isa;
    weft_device *device;      // what computes; NULL or the host's: team, cpu and isa say
    const weft_op *device_op; // its table and stream
} weft_bench_subject;
void weft_bench_subject_write(const weft_bench_subject *subject, weft_json_writer *json); // into open settings

// Tokens that a request comes to, warm-up included.
int64_t weft_bench_generate_positions(const weft_bench_generate_options *options);
// Collective over the job, blocking; rank 0 writes a table to `out`.
weft_status weft_bench_generate(weft_job *job, const weft_bench_generate_options *options,
                                const weft_bench_subject *subject, FILE *out);

#ifdef __cplusplus
}
#endif
#endif
