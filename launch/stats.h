// --stats: what a command's engine did, on stderr at exit, in the text form of Prometheus. Inside launch/ only.
#ifndef WEFT_LAUNCH_STATS_H
#define WEFT_LAUNCH_STATS_H

#include "engine/stats.h"
#include "launch/model_open.h"

// X for a table of flags: the bool `stats` of the options struct.
#define WI_STATS_FLAG(options)                                                                                         \
    {                                                                                                                  \
        .name = "stats", .kind = WEFT_FLAG_BOOL, .offset = offsetof(options, stats),                                   \
        .help = "print counters and latencies to stderr at the end, in the text form of Prometheus: of rank 0, and "   \
                "summed over the "                                                                                     \
                "first ranks of the replicas"                                                                          \
    }

typedef struct {
    weft_metrics *metrics;
    weft_engine_stats *engine; // NULL where they are not wanted: then all calls of engine/stats.h do nothing more
    bool speaks;
} wi_stats;

// Of a model that was loaded. `out` is zeroed; close it also when this fails.
weft_status wi_stats_open(bool wanted, const wi_model *model, wi_stats *out);
// Adds up what rank 0 of each replica has, on the first of them. `metrics` is NULL where they are not wanted.
// Collective over `leads`.
weft_status wi_stats_gather(weft_metrics *metrics, weft_comm *leads);
void wi_stats_print(const wi_stats *stats); // on rank 0, if wanted
void wi_stats_close(wi_stats *stats);

#endif
