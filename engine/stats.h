// What an engine does, as metrics of core/metrics.h: steps, tokens, requests by outcome, latencies, the cache,
// exchanges. Who owns the engine steps it through here and says when a request of his is submitted, gets a token and
// ends. Nothing is allocated after creation. With NULL for the stats every call does what it would do without:
// weft_engine_stats_step steps, the others nothing.
#ifndef WEFT_ENGINE_STATS_H
#define WEFT_ENGINE_STATS_H

#include "core/metrics.h"
#include "engine/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_engine_stats weft_engine_stats;

// The names are listed in docs/formats.md. `times` are those of the mesh, or NULL. Both are borrowed.
weft_status weft_engine_stats_create(weft_metrics *metrics, const weft_mesh_times *times, weft_engine_stats **out);
void weft_engine_stats_destroy(weft_engine_stats *stats); // accepts NULL; the metrics keep their values

weft_status weft_engine_stats_step(weft_engine_stats *stats, weft_engine *engine, int *rows);

// When things happened to a request, by weft_clock_ns. Zero at first; the stats fill it in, and with NULL nobody does.
typedef struct {
    int64_t submitted, first, last; // and of its tokens
} weft_request_times;
void weft_engine_stats_submitted(weft_engine_stats *stats, weft_request_times *times, int prompt_tokens);
void weft_engine_stats_token(weft_engine_stats *stats, weft_request_times *times);
// `finish` as the engine says it; by_text: its owner cancelled it because its text came to a stop text.
void weft_engine_stats_ended(weft_engine_stats *stats, const weft_request_times *times, weft_finish finish,
                             bool by_text);
void weft_engine_stats_refused(weft_engine_stats *stats); // a request that could not be submitted

#ifdef __cplusplus
}
#endif
#endif
