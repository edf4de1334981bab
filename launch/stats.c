#include "launch/stats.h"

#include <stdio.h>
#include <stdlib.h>

weft_status wi_stats_open(bool wanted, const wi_model *model, wi_stats *out)
{
    if (!wanted) return WEFT_OK;
    out->speaks = model->speaks;
    WEFT_TRY(weft_metrics_create(&out->metrics));
    return weft_engine_stats_create(out->metrics, model->mesh.times, &out->engine);
}

weft_status wi_stats_gather(weft_metrics *metrics, weft_comm *leads)
{
    if (!metrics) return WEFT_OK;
    const int count = weft_comm_size(leads);
    const size_t bytes = weft_metrics_bytes(metrics);
    unsigned char *all = calloc((size_t)count + 1, bytes);
    weft_status status = all ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for the figures of %d replicas", count);
    WEFT_TRY_GOTO(weft_comm_agree(leads, status, NULL));
    weft_metrics_save(metrics, all);
    WEFT_TRY_GOTO(weft_comm_allgather(leads, all, bytes, all + bytes));
    for (int i = 1; i < count && weft_comm_rank(leads) == 0; i++)
        WEFT_TRY_GOTO(weft_metrics_join(metrics, all + (size_t)(i + 1) * bytes, bytes));
fail:
    free(all);
    return status;
}

void wi_stats_print(const wi_stats *s)
{
    if (s->metrics && s->speaks) weft_metrics_print(s->metrics, stderr);
}

void wi_stats_close(wi_stats *s)
{
    weft_engine_stats_destroy(s->engine);
    weft_metrics_destroy(s->metrics);
    *s = (wi_stats){0};
}
