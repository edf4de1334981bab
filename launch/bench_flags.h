// Flags that all benchmarks have, beside wi_common_flags. Inside launch/ only.
#ifndef WEFT_LAUNCH_BENCH_FLAGS_H
#define WEFT_LAUNCH_BENCH_FLAGS_H

#include "core/flags.h"

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

#endif
