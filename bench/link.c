// What exchanges take over a group's links, as layers see them: the canonical sum in one shot, of some sizes.
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/cell.h"
#include "bench/scale_impl.h"
#include "core/clock.h"
#include "parallel/sum.h"

enum { CALLS_MAX = 200 };
static const size_t sizes[WEFT_LINK_POINTS] = {256, 16 << 10, 128 << 10, 1 << 20}; // bytes of a rank's array

// The median over calls of the slowest rank's time, in as many calls as fit the time of rank 0.
static weft_status time_of(weft_comm *comm, const weft_kernels *kernels, size_t count, double seconds, double *out)
{
    double took[CALLS_MAX];
    int64_t calls = 0, more = 1;
    weft_sum *sum = NULL;
    weft_sum_result result;
    weft_status status;
    float *mine;
    WEFT_TRY(weft_sum_create(comm, kernels, &(weft_sum_spec){.name = "link", .count = count, .kind = WEFT_SUM_ONE_SHOT},
                             &sum));
    const int64_t until = weft_clock_ns() + (int64_t)(seconds * 1e9);
    for (bool first = true; more; first = false) { // the first is not counted, unless it took all of the time
        WEFT_TRY_GOTO(weft_comm_barrier(comm));
        const int64_t began = weft_clock_ns();
        WEFT_TRY_GOTO(weft_sum_acquire(sum, count, &mine));
        memset(mine, 0, count * sizeof *mine);
        WEFT_TRY_GOTO(weft_sum_run(sum, NULL, &result));
        weft_sum_release(sum);
        const int64_t now = weft_clock_ns();
        int64_t told[2] = {now - began, weft_comm_rank(comm) == 0 && now < until};
        WEFT_TRY_GOTO(weft_comm_max(comm, told, 2));
        if (!first || !told[1]) took[calls++] = (double)told[0] * 1e-9;
        more = told[1] && calls < CALLS_MAX;
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
    weft_link link = {0};
    *out = link;
    if (weft_comm_size(comm) < 2) return WEFT_OK;
    for (int i = 0; i < WEFT_LINK_POINTS; i++) {
        link.bytes[i] = (double)sizes[i] * (weft_comm_size(comm) - 1); // to each of the others
        WEFT_TRY(time_of(comm, kernels, sizes[i] / sizeof(float), seconds / WEFT_LINK_POINTS, &link.seconds[i]));
    }
    *out = link;
    return WEFT_OK;
}

double weft_link_seconds(const weft_link *link, double bytes)
{
    int i = 0;
    while (i < WEFT_LINK_POINTS - 2 && bytes > link->bytes[i + 1]) i++;
    if (bytes <= link->bytes[0]) return link->seconds[0];
    const double slope = (link->seconds[i + 1] - link->seconds[i]) / (link->bytes[i + 1] - link->bytes[i]);
    return link->seconds[i] + (bytes - link->bytes[i]) * (slope > 0 ? slope : 0);
}

void wi_link_write(weft_json_writer *w, const char *key, const weft_link *link)
{
    weft_json_write_array(w, key);
    for (int i = 0; i < WEFT_LINK_POINTS && link->bytes[0] > 0; i++) {
        weft_json_write_array(w, NULL);
        weft_json_write_real(w, NULL, link->bytes[i]);
        weft_json_write_real(w, NULL, link->seconds[i]);
        weft_json_write_end(w);
    }
    weft_json_write_end(w);
}
