// The ceilings of this machine: what its arithmetic and its memory give when nothing else is asked of them. A kernel's
// figure is told as a percentage of the one that binds it, measured beside it in the same run.
#ifndef WEFT_BENCH_CEILINGS_H
#define WEFT_BENCH_CEILINGS_H

#include <stdbool.h>

#include "core/cpu.h"
#include "core/team.h"

#ifdef __cplusplus
extern "C" {
#endif

// X(NAME, name, unit): operations are multiplications and additions, each counted. A chain's every fma
// waits for the one before. A copy's bytes are those that move between the core and where the data lies: L1 reads and
// writes each once; from farther away the line that is written is fetched before, so each copied byte counts three.
// Those of a device (bench/device_ceilings.h) come last; there a copied byte counts two.
#define WEFT_CEILING_LIST(X)                                                                                           \
    X(FMA_AVX2, "fma f32, avx2", "GFLOP/s")                                                                            \
    X(FMA_AVX512, "fma f32, avx512", "GFLOP/s")                                                                        \
    X(BF16_DOT, "bf16 dot, avx512", "GFLOP/s")                                                                         \
    X(AMX_BF16, "amx bf16", "GFLOP/s")                                                                                 \
    X(AMX_INT8, "amx int8", "GOP/s")                                                                                   \
    X(FMA_CHAIN, "fma f32, one chain", "GFLOP/s")                                                                      \
    X(READ_L1, "read L1", "GB/s")                                                                                      \
    X(READ_L2, "read L2", "GB/s")                                                                                      \
    X(READ_L3, "read L3", "GB/s")                                                                                      \
    X(READ_DRAM, "read DRAM", "GB/s")                                                                                  \
    X(COPY_L1, "copy L1", "GB/s")                                                                                      \
    X(COPY_L2, "copy L2", "GB/s")                                                                                      \
    X(COPY_L3, "copy L3", "GB/s")                                                                                      \
    X(COPY_DRAM, "copy DRAM", "GB/s")                                                                                  \
    X(DEVICE_READ, "read memory", "GB/s")                                                                              \
    X(DEVICE_COPY, "copy memory", "GB/s")                                                                              \
    X(DEVICE_FMA, "fma f32", "GFLOP/s")                                                                                \
    X(DEVICE_MMA, "bf16 by mma", "GFLOP/s")                                                                            \
    X(DEVICE_WGMMA, "bf16 by wgmma", "GFLOP/s")                                                                        \
    X(DEVICE_BLAS, "bf16 by cuBLASLt", "GFLOP/s")                                                                      \
    X(DEVICE_BF16, "bf16", "GFLOP/s")

typedef enum {
#define WEFT_CEILING_ENUM(name, text, unit) WEFT_CEILING_##name,
    WEFT_CEILING_LIST(WEFT_CEILING_ENUM)
#undef WEFT_CEILING_ENUM
        WEFT_CEILING_COUNT,
    WEFT_CEILING_DEVICE_FIRST = WEFT_CEILING_DEVICE_READ,
} weft_ceiling;

typedef struct weft_ceilings weft_ceilings;

// Takes and touches the memory that the reads need. The team is borrowed. Local, blocking.
weft_status weft_ceilings_create(weft_team *team, const weft_cpu *cpu, weft_isa isa, weft_ceilings **out);
void weft_ceilings_destroy(weft_ceilings *ceilings); // accepts NULL

const char *weft_ceiling_name(weft_ceiling ceiling);
const char *weft_ceiling_unit(weft_ceiling ceiling);
// Whether this processor, under the level, has it.
bool weft_ceiling_there(const weft_ceilings *ceilings, weft_ceiling ceiling);
// Units a second (not thousands of millions) by `threads` of the team together, over about so many seconds; 0 where it
// is not there. Blocking.
double weft_ceiling_measure(weft_ceilings *ceilings, weft_ceiling ceiling, int threads, double seconds);

// Operations a second in bf16 by the whole team, by the family that multiplies it here; *which is that one's ceiling.
// Needs no memory. 0 where there is none. Blocking.
double weft_arithmetic_measure(weft_team *team, const weft_cpu *cpu, weft_isa isa, double seconds, weft_ceiling *which);

#ifdef __cplusplus
}
#endif
#endif
