// What a link gives to the exchange that layers make: the canonical sum, small and large.
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/cell.h"
#include "core/clock.h"
#include "parallel/sum.h"

enum { SMALL = 64, LARGE = 1 << 18, CALLS_MAX = 200 }; // floats; calls

// The median over calls of the slowest rank's time, in as many calls as fit the time of rank 0.
static weft_status time_of(weft_comm *comm, const weft_kernels *kernels, weft_sum_kind kind, size_t count,
                           double seconds, double *out)
{
    double took[CALLS_MAX];
    int64_t calls = 0, more = 1;
    weft_sum *sum = NULL;
    weft_sum_result result;
    weft_status status;
    float *mine;
    WEFT_TRY(weft_sum_create(comm, kernels, &(weft_sum_spec){.name = "link", .count = count, .kind = kind}, &sum));
    const int64_t until = weft_clock_ns() + (int64_t)(seconds * 1e9);
    for (int call = -1; more; call++) { // the first is not counted
        WEFT_TRY_GOTO(weft_comm_barrier(comm));
        const int64_t began = weft_clock_ns();
        WEFT_TRY_GOTO(weft_sum_acquire(sum, count, &mine));
        memset(mine, 0, count * sizeof *mine);
        WEFT_TRY_GOTO(weft_sum_run(sum, NULL, &result));
        weft_sum_release(sum);
        int64_t ns = weft_clock_ns() - began;
        int64_t told[2] = {ns, weft_comm_rank(comm) == 0 && weft_clock_ns() < until};
        WEFT_TRY_GOTO(weft_comm_max(comm, told, 2));
        if (call >= 0) took[calls++] = (double)told[0] * 1e-9;
        more = calls < 3 || (told[1] && calls < CALLS_MAX);
    }
    weft_sort(took, (size_t)calls);
    *out = weft_quantile(took, (size_t)calls, 0.5);
    status = WEFT_OK;
fail:
    weft_sum_destroy(sum);
    return status;
}

weft_status weft_link_measure(weft_comm *comm, const weft_kernels *kernels, double seconds, weft_link *out)
{
    const double ranks = weft_comm_size(comm);
    double small = 0, large = 0;
    *out = (weft_link){0};
    if (ranks < 2) return WEFT_OK;
    WEFT_TRY(time_of(comm, kernels, WEFT_SUM_ONE_SHOT, SMALL, seconds / 2, &small));
    WEFT_TRY(time_of(comm, kernels, WEFT_SUM_TWO_SHOT, LARGE, seconds / 2, &large));
    // Two exchanges: slices to who adds them, sums back.
    const double sent = 2 * (ranks - 1) / ranks * LARGE * sizeof(float), rest = large - 2 * small;
    *out = (weft_link){.exchange_s = small, .bytes_per_s = sent / (rest > large / 10 ? rest : large / 10)};
    return WEFT_OK;
}
