// What the ops of `weft bench kernels` share. An op is a line in the table of kernels.c and one function, which makes
// its cases and has those that are to be compared measured together by wi_bench_cases:
//
//   wi_kernel_case c = {.run = run, .state = &mine, .operations = ..., .bytes = ..., .compute = ..., .read = ...};
//   snprintf(c.op, ...); snprintf(c.shape, ...);
//   ... run once, check the result, then
//   WEFT_TRY_GOTO(wi_bench_cases(bench, &c, 1));
#ifndef WEFT_BENCH_KERNELS_IMPL_H
#define WEFT_BENCH_KERNELS_IMPL_H

#include "bench/ceilings.h"
#include "bench/device_ceilings.h"
#include "bench/kernels.h"
#include "bench/peers.h"
#include "core/device.h"

enum { WI_KERNEL_CASES_MAX = 16, WI_KERNEL_ROWS_MAX = 8, WI_KERNEL_PEERS_MAX = 2 };

typedef struct {
    const weft_bench_kernels_options *options;
    FILE *table; // NULL where only the record is wanted
    weft_record record;
    weft_cpu cpu;
    weft_kernels kernels;             // what is measured
    int64_t rows[WI_KERNEL_ROWS_MAX]; // what --rows says
    int row_counts;                   // 0: nothing
    int threads;                      // of the team, all of which take part
    weft_team *team;                  // beside a device it packs
    weft_device *device;
    bool on_device, emulated; // not on the host; where figures mean nothing
    void *stream;
    weft_ceilings *ceilings; // the host's, or
    weft_device_ceilings *device_ceilings;
    wi_peers *peers;
} wi_kernel_bench;

// Another library at the same work.
typedef struct {
    wi_peer peer;
    void *state;
    void (*run)(void *state);
} wi_kernel_peer;

typedef struct {
    char op[24], shape[56];
    void *state;
    // Once. What takes turns in memory takes that of this number; on a device the same number gives the same launches.
    void (*run)(wi_kernel_bench *bench, void *state, int64_t turn);
    int64_t turn;               // on the host: the next
    int runs;                   // on a device: of a turn, once that was found
    bool apart;                 // on a device: launched one by one, not as a step
    double operations, bytes;   // of one run; the bytes that must come from memory
    weft_ceiling compute, read; // the two that may bind it
    wi_kernel_peer peer[WI_KERNEL_PEERS_MAX];
    int peers;
} wi_kernel_case;

// Measures up to WI_KERNEL_CASES_MAX cases by turns with their peers and ceilings, and reports each. All have run once
// and their results have been checked.
weft_status wi_bench_cases(wi_kernel_bench *bench, wi_kernel_case *cases, int count);
// The numbers of rows to measure: those of --rows, else the op's own (at most WI_KERNEL_ROWS_MAX). Returns how many.
int wi_bench_rows(const wi_kernel_bench *bench, const int64_t *own, int count, int64_t rows[WI_KERNEL_ROWS_MAX]);
// How many copies of so many bytes are larger than every cache together.
weft_status wi_bench_copies(wi_kernel_bench *bench, size_t bytes, int most, int *out);

// Memory where ops run.
typedef struct {
    void *at;
    size_t bytes;
} wi_bench_block;
weft_op wi_bench_op(const wi_kernel_bench *bench,
                    const wi_bench_block *scratch); // scratch: NULL where none is asked for
weft_status wi_bench_take(wi_kernel_bench *bench, size_t bytes, const void *from, wi_bench_block *out); // NULL: zeros
void wi_bench_drop(wi_kernel_bench *bench, wi_bench_block *block); // one of nothing too
// What lies there, in memory of the host that the caller frees; all that was given is done.
weft_status wi_bench_look(wi_kernel_bench *bench, const void *at, size_t bytes, void **out);

// A turn of a case, a peer, a ceiling: seconds of one run, units a second.
weft_status wi_bench_time_case(wi_kernel_bench *bench, wi_kernel_case *c, double *seconds);
double wi_bench_time_peer(wi_kernel_bench *bench, const wi_kernel_peer *peer);
bool wi_bench_ceiling_there(const wi_kernel_bench *bench, weft_ceiling ceiling);
weft_status wi_bench_ceiling(wi_kernel_bench *bench, weft_ceiling ceiling, double *rate);

weft_status wi_bench_check_family(const wi_kernel_bench *bench); // what --family says; UNSUPPORTED
weft_status wi_bench_gemm(wi_kernel_bench *bench);
weft_status wi_bench_attention(wi_kernel_bench *bench);
weft_status wi_bench_row_ops(wi_kernel_bench *bench);
weft_status wi_bench_chain(wi_kernel_bench *bench); // of a device alone

#endif
