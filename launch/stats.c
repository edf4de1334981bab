#include "launch/stats.h"

#include <stdio.h>

weft_status wi_stats_open(bool wanted, const wi_model *model, wi_stats *out)
{
    if (!wanted) return WEFT_OK;
    out->speaks = model->speaks;
    WEFT_TRY(weft_metrics_create(&out->metrics));
    return weft_engine_stats_create(out->metrics, model->mesh.times, &out->engine);
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
