// Samples of replicas that ran beside each other, as one.
#include <stdlib.h>
#include <string.h>

#include "bench/batch_impl.h"

// One behind the other on rank 0, which has room for all; each rank has its part of at most `most`.
static weft_status gather(weft_comm *leads, const int64_t *counts, int64_t most, double *values, size_t *count)
{
    const int ranks = weft_comm_size(leads);
    double *all = malloc(((size_t)ranks + 1) * (size_t)(most + 1) * sizeof *all);
    weft_status status = all ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for the samples of %d replicas", ranks);
    WEFT_TRY_GOTO(weft_comm_agree(leads, status, NULL));
    memset(all, 0, (size_t)(most + 1) * sizeof *all);
    memcpy(all, values, *count * sizeof *all);
    double *parts = all + most + 1;
    WEFT_TRY_GOTO(weft_comm_allgather(leads, all, (size_t)(most + 1) * sizeof *all, parts));
    if (weft_comm_rank(leads) == 0) {
        *count = 0;
        for (int i = 0; i < ranks; i++) {
            memcpy(values + *count, parts + (size_t)i * (size_t)(most + 1), (size_t)counts[i] * sizeof *values);
            *count += (size_t)counts[i];
        }
    }
fail:
    free(all);
    return status;
}

static weft_status gather_latency(weft_comm *leads, double *values, size_t *count)
{
    const int ranks = weft_comm_size(leads);
    const int64_t own = (int64_t)*count;
    int64_t most = own;
    int64_t *counts = malloc((size_t)ranks * sizeof *counts);
    weft_status status = counts ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for %d counts", ranks);
    WEFT_TRY_GOTO(weft_comm_agree(leads, status, NULL));
    WEFT_TRY_GOTO(weft_comm_allgather(leads, &own, sizeof own, counts));
    WEFT_TRY_GOTO(weft_comm_max(leads, &most, 1));
    WEFT_TRY_GOTO(gather(leads, counts, most, values, count));
fail:
    free(counts);
    return status;
}

// A round lasts until its last replica is done; what is at once adds up, what is a share is a mean.
static void join(wi_batch_samples *to, const wi_batch_samples *of, int count, int n, const weft_bench_load *load)
{
    wi_batch_samples *s = to;
    s->seconds[n] = s->running[n] = s->queued[n] = 0;
    s->rows[n] = s->fill[n] = s->held[n] = s->found[n] = s->exchange[n] = s->wait[n] = s->host[n] = 0;
    for (int i = 0; i < count; i++) {
        const wi_batch_samples *p = &of[i];
        if (p->seconds[n] > s->seconds[n]) s->seconds[n] = p->seconds[n];
        s->running[n] += p->running[n];
        s->queued[n] += p->queued[n];
        s->rows[n] += p->rows[n] / count;
        s->fill[n] += p->fill[n] / count;
        s->held[n] += p->held[n] / count;
        s->found[n] += p->found[n] / count;
        s->exchange[n] += p->exchange[n] / count;
        s->wait[n] += p->wait[n] / count;
        s->host[n] += p->host[n] / count;
    }
    s->generated[n] = (double)load->generated / s->seconds[n];
    s->all[n] = (double)(load->prompts + load->generated) / s->seconds[n];
    s->requests[n] = (double)load->count / s->seconds[n];
}

weft_status wi_batch_samples_gather(weft_comm *leads, const weft_bench_batch_options *options,
                                    const weft_bench_load *load, wi_batch_samples *s)
{
    const int count = weft_comm_size(leads);
    wi_batch_samples *all = calloc((size_t)count, sizeof *all);
    weft_status status = all ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for the samples of %d replicas", count);
    WEFT_TRY_GOTO(weft_comm_agree(leads, status, NULL));
    WEFT_TRY_GOTO(weft_comm_allgather(leads, s, sizeof *s, all)); // of the others' pointers nothing is read
    WEFT_TRY_GOTO(gather_latency(leads, s->first, &s->first_count));
    WEFT_TRY_GOTO(gather_latency(leads, s->between, &s->between_count));
    WEFT_TRY_GOTO(gather_latency(leads, s->whole, &s->whole_count));
    if (weft_comm_rank(leads) > 0) goto fail;
    s->preempted = 0;
    for (int i = 0; i < count; i++) s->preempted += all[i].preempted;
    for (int n = 0; n < (int)options->rounds; n++) join(s, all, count, n, load);
fail:
    free(all);
    return status;
}
