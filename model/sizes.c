#include "model/sizes.h"

#include <stdlib.h>

#include "model/load.h"
#include "model/model_impl.h"

// The packed weights without their memory: what a pass asks of them is their shape.
static weft_status lay_out(const wi_plan *plan)
{
    for (size_t i = 0; i < plan->matrices; i++) {
        const wi_matrix *m = &plan->matrix[i];
        weft_gemm_source sources[WI_SOURCES_MAX];
        if (m->count == 0) continue;
        for (int s = 0; s < m->count; s++) sources[s] = wi_matrix_source(m, s);
        WEFT_TRY(
            weft_gemm_pack_begin(m->family, sources, m->count, m->fuse, m->cut ? &m->leaves : NULL, NULL, m->weight));
    }
    return WEFT_OK;
}

static weft_status plan_weights(const weft_model_config *c, const weft_layout *layout, const weft_sizes_options *o,
                                weft_weights *weights, uint64_t *bytes)
{
    const weft_kernels table = {.isa = o->isa};
    const weft_op op = {.table = &table};
    weft_tensor_entry expected[WEFT_PART_COUNT];
    wi_plan plan = {0};
    wi_planner planner = {.stored = o->stored,
                          .expected = expected,
                          .times = 1,
                          .config = c,
                          .layout = layout,
                          .options = &o->model.weights,
                          .op = &op,
                          .weights = weights,
                          .plan = &plan};
    weft_status status = wi_plan_make(&planner);
    if (status == WEFT_OK) status = lay_out(&plan);
    *bytes = plan.bytes;
    wi_plan_free(&plan);
    return status;
}

uint64_t weft_rotation_bytes(const weft_model_config *c, int64_t positions)
{
    uint64_t bytes = 0;
    for (int i = 0; i < WEFT_ROPES_MAX; i++)
        if (c->ropes[i].rotary > 0) bytes += wi_rotation_bytes(&c->ropes[i], positions);
    return bytes;
}

weft_status weft_model_sizes_of(const weft_model_config *config, const weft_layout *layout,
                                const weft_sizes_options *options, weft_model_sizes *out)
{
    weft_model m = {.config = *config, .layout = *layout, .options = options->model, .threads = options->threads};
    weft_model_sizes sizes = {.rotations = weft_rotation_bytes(config, options->model.positions)};
    weft_status status;
    wi_cutter pass = {0}, books = {0};
    wi_groups groups;
    WEFT_TRY_GOTO(plan_weights(config, layout, options, &m.weights, &sizes.weights));
    wi_model_cut(&m, &pass);
    sizes.pass = pass.used;
    wi_model_cut_books(&m, &books);
    sizes.books = books.used;
    m.layout.mesh.devices = options->model.weights.capability > 0;
    wi_groups_of(config, &m.layout, &options->model, &groups);
    sizes.exchange = wi_groups_bytes(&m.layout, &groups, options->node_ranks);
    if (options->model.weights.capability > 0)
        sizes.exchange_device = wi_groups_device_bytes(&m.layout, &groups, options->node_ranks, options->links);
    sizes.cut = weft_layout_cache(config, layout, options->model.cache, options->block, NULL, NULL);
    *out = sizes;
fail:
    for (int64_t i = 0; m.weights.layer && i < config->layers; i++) free(m.weights.layer[i].expert);
    free(m.weights.layer);
    return status;
}
