// The shapes of an engine's parts. Inside engine/ only.
#ifndef WEFT_ENGINE_ENGINE_IMPL_H
#define WEFT_ENGINE_ENGINE_IMPL_H

#include "engine/engine.h"

// `rank` is not set.
wi_kv_shape wi_engine_kv(const weft_cache_cut *cut, const weft_mesh_shape *mesh, const weft_engine_options *options);
// `own` is not set.
wi_rows_shape wi_engine_rows(const weft_cache_cut *cut, const weft_mesh_shape *mesh, const weft_engine_options *options,
                             int logit_rows, size_t vocab);

#endif
