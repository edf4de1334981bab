// weft bench kernels: each op and shape beside the ceiling of this machine that binds it.
#ifndef WEFT_BENCH_KERNELS_H
#define WEFT_BENCH_KERNELS_H

#include "bench/bench.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WEFT_BENCH_OPS "ceilings, gemm, attention, rows, chain"

enum { WEFT_BENCH_1B, WEFT_BENCH_8B, WEFT_BENCH_70B, WEFT_BENCH_MODELS, WEFT_BENCH_ALL = WEFT_BENCH_MODELS };

typedef struct {
    const char *op;      // one of WEFT_BENCH_OPS, or NULL for all
    int model;           // whose shapes: WEFT_BENCH_*
    const char *shape;   // one shape of the model ("qkv"), or "4096x4096"; NULL: all of the model
    const char *rows;    // "1,16": numbers of rows instead of the op's own; or NULL
    int64_t positions;   // that attention's steps read, instead of the op's own; 0: those
    const char *weights; // one type of weights, fp8 among them, or NULL for bf16, int8, int4 and f32
    const char *family;  // pins the instruction family of the GEMM; NULL: what the processor has
    const char *device;  // "cuda"; NULL or "cpu": the host
    int64_t group;       // columns that share a scale of int4
    int64_t threads;     // 0: one thread, then all
    int64_t rounds;      // turns that each case and its ceilings take
    bool peers;          // oneDNN and OpenBLAS beside it, where they are installed
    const char *json;    // file for the record, "-" for stdout (the table is then left out), or NULL
    weft_isa isa;
} weft_bench_kernels_options;

// Local, blocking; writes the table to `out`. USAGE or UNSUPPORTED for an op, shape, type or family that is not there.
weft_status weft_bench_kernels(weft_job *job, const weft_bench_kernels_options *options, FILE *out);

#ifdef __cplusplus
}
#endif
#endif
