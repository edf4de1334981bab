// What benchmarks have in common: flags, beside wi_common_flags, and what the models' measure. Inside launch/ only.
#ifndef WEFT_LAUNCH_BENCH_FLAGS_H
#define WEFT_LAUNCH_BENCH_FLAGS_H

#include "bench/generate.h"
#include "core/flags.h"
#include "launch/model_open.h"

// X for a table of flags, with the offset of the options' fields.
#define WI_ROUNDS_FLAG(at, text)                                                                                       \
    {                                                                                                                  \
        .name = "rounds", .kind = WEFT_FLAG_INT, .offset = (at), .help = (text), .min = 1, .max = 1000                 \
    }
#define WI_RECORD_FLAG(at)                                                                                             \
    {                                                                                                                  \
        .name = "json", .kind = WEFT_FLAG_STRING, .offset = (at), .value = "FILE",                                     \
        .help = "write settings, samples and statistics there; -: to stdout, without the table"                        \
    }

// What is measured of a model that is loaded; it borrows from both.
weft_bench_subject wi_bench_subject(const wi_model *model, const wi_call *call);

#endif
