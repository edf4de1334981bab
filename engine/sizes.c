// How much memory an engine needs, by its numbers alone; and the shapes of its parts, by which it takes it.
#include "engine/demand.h"
#include "engine/engine.h"
#include "engine/engine_impl.h"

// Ranks that rows are dealt over; 1 where each computes all.
static int dealt_over(const weft_mesh_shape *mesh) { return mesh->dense == WEFT_DENSE_TP ? mesh->cp : 1; }

wi_kv_shape wi_engine_kv(const weft_cache_cut *cut, const weft_mesh_shape *mesh, const weft_engine_options *options)
{
    wi_kv_shape shape = {.ranks = mesh->cp,
                         .units = options->cache_units,
                         .block = options->block,
                         .rows = options->chunk * dealt_over(mesh),
                         .requests = options->requests,
                         .kind_count = cut->kinds,
                         .eviction = options->eviction,
                         .sharing = !options->unshared};
    for (int k = 0; k < cut->kinds; k++) shape.kinds[k] = (wi_kind){.window = cut->window[k], .units = cut->groups[k]};
    return shape;
}

wi_rows_shape wi_engine_rows(const weft_cache_cut *cut, const weft_mesh_shape *mesh, const weft_engine_options *options,
                             int logit_rows, size_t vocab)
{
    wi_rows_shape shape = {.ranks = dealt_over(mesh), .room = options->chunk, .logit_room = logit_rows, .vocab = vocab};
    for (int k = 0; k < cut->kinds; k++) shape.groups += cut->groups[k];
    return shape;
}

int64_t weft_engine_units(const weft_cache_cut *cut, const weft_mesh_shape *mesh, const weft_engine_options *options,
                          int64_t positions)
{
    const wi_kv_shape shape = wi_engine_kv(cut, mesh, options);
    return wi_demand_most(&shape, positions) * options->requests;
}

uint64_t weft_engine_bytes(const weft_model_config *config, const weft_cache_cut *cut, const weft_mesh_shape *mesh,
                           const weft_engine_options *options, int logit_rows, int threads)
{
    const wi_rows_shape rows = wi_engine_rows(cut, mesh, options, logit_rows, (size_t)config->vocab);
    return weft_pick_scratch((size_t)config->vocab, threads) + wi_rows_bytes(&rows) +
           wi_blocks_bytes(mesh->cp, options->cache_units);
}

uint64_t weft_engine_device_bytes(const weft_model_config *config, const weft_cache_cut *cut,
                                  const weft_mesh_shape *mesh, const weft_engine_options *options, int logit_rows,
                                  int threads)
{
    const size_t vocab = (size_t)config->vocab;
    const wi_rows_shape rows = wi_engine_rows(cut, mesh, options, logit_rows, vocab);
    return (uint64_t)rows.logit_room * vocab * sizeof(float) + weft_pick_scratch(vocab, threads) +
           (uint64_t)options->requests * sizeof(weft_choice);
}
