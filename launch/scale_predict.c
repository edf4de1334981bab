// What weft plan says of a cell of weft bench scale: the same code, of the machine that the cell's own jobs measured.
#include <stdlib.h>

#include "launch/plan.h"
#include "launch/scale.h"

static weft_status machine_of(const weft_scale_spec *spec, const weft_scale_cell *cell, const weft_scale_sample *m,
                              wi_machine *out)
{
    if (spec->machine) return wi_machine_find(NULL, spec->machine, cell->node_ranks, (int)spec->threads, out);
    const wi_measured measured = {.bandwidth = m->read,
                                  .operations = m->operations,
                                  .linear = m->linear,
                                  .stream = m->stream,
                                  .near = m->near,
                                  .far = m->far};
    return wi_machine_measured(&measured, cell->node_ranks, out);
}

// `alone`: of one rank, for the operations of the whole.
static weft_status plan(const wi_scale_predictor *p, const weft_scale_cell *cell, const weft_scale_sample *m,
                        bool alone, wi_mesh_plan *out)
{
    wi_model_flags flags;
    wi_mesh_plan *meshes = NULL;
    int count = 0;
    const weft_cpu cpu = weft_cpu_detect();
    wi_plan_case c = {.ranks = alone ? 1 : cell->ranks,
                      .nodes = alone ? 1 : cell->nodes,
                      .dp = 1,
                      .context = cell->context + cell->generate / 2, // the mean of the steps
                      .batch = (int)cell->batch,
                      .prompt = cell->context,
                      .tokens = cell->generate - 1};
    WEFT_TRY(wi_cell_flags(p->spec, cell->variant, &flags));
    WEFT_TRY(wi_plan_flags(&flags, p->config, &cpu, &c));
    WEFT_TRY(machine_of(p->spec, cell, m, &c.machine));
    c.tp = alone ? 1 : m->tp;
    c.cp = alone ? 1 : m->cp;
    c.dense = m->dense;
    c.sizes.node_ranks = alone ? 1 : cell->node_ranks;
    c.sizes.threads = (int)p->spec->threads;
    WEFT_TRY(wi_plan_all(&c, &meshes, &count));
    *out = meshes[0];
    free(meshes);
    return WEFT_OK;
}

void wi_scale_predict(void *arg, const weft_scale_cell *cell, const weft_scale_sample *measured,
                      weft_scale_prediction *out)
{
    const wi_scale_predictor *p = arg;
    const double steps = (double)(cell->generate - 1);
    wi_mesh_plan here, alone;
    *out = (weft_scale_prediction){0};
    if (plan(p, cell, measured, false, &here) < 0 || plan(p, cell, measured, true, &alone) < 0) {
        weft_error_clear();
        return;
    }
    out->there = true;
    out->seconds[WEFT_SCALE_PROMPT] = here.prefill_s;
    out->seconds[WEFT_SCALE_STEP] = here.decode_s;
    out->seconds[WEFT_SCALE_TOTAL] = here.prefill_s + steps * here.decode_s;
    out->work = alone.prefill_operations + steps * alone.decode_operations;
}
