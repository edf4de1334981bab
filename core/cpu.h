// What processor this is and what the process may use of it. Detection is built for the baseline and never runs an
// instruction that it has not found.
#ifndef WEFT_CORE_CPU_H
#define WEFT_CORE_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// Levels of the op table, each including the ones before it.
typedef enum { WEFT_ISA_REF, WEFT_ISA_AVX2, WEFT_ISA_AVX512, WEFT_ISA_AMX, WEFT_ISA_COUNT } weft_isa;

// X(NAME, text): single features, as bits
#define WEFT_CPU_LIST(X)                                                                                               \
    X(AVX2, "avx2")                                                                                                    \
    X(FMA, "fma")                                                                                                      \
    X(F16C, "f16c")                                                                                                    \
    X(AVX_VNNI, "avx_vnni")                                                                                            \
    X(AVX512, "avx512")                                                                                                \
    X(AVX512_VNNI, "avx512_vnni")                                                                                      \
    X(AVX512_BF16, "avx512_bf16")                                                                                      \
    X(AVX512_FP16, "avx512_fp16")                                                                                      \
    X(AMX_TILE, "amx_tile")                                                                                            \
    X(AMX_BF16, "amx_bf16")                                                                                            \
    X(AMX_INT8, "amx_int8")

enum {
#define WEFT_CPU_BIT(name, text) WEFT_CPU_INDEX_##name,
    WEFT_CPU_LIST(WEFT_CPU_BIT)
#undef WEFT_CPU_BIT
        WEFT_CPU_COUNT
};
enum {
#define WEFT_CPU_BIT(name, text) WEFT_CPU_##name = 1 << WEFT_CPU_INDEX_##name,
    WEFT_CPU_LIST(WEFT_CPU_BIT)
#undef WEFT_CPU_BIT
};

typedef struct {
    char vendor[16]; // "GenuineIntel"
    char name[64];   // the brand string
    int family, model, stepping;
    uint32_t features;     // WEFT_CPU_*; AVX512 means F, BW, CD, DQ and VL, with the OS saving their state
    weft_isa isa;          // the best level of this processor, before the mask
    bool bf16_dot_is_fast; // vdpbf16ps at the full rate (AMD Zen 4 and later; half rate on Intel)
    bool amx_denied;       // the processor has AMX and the kernel refused the permission
} weft_cpu;

// Asks the kernel for AMX state when the processor has it: call before threads start, so that all of them have it.
weft_cpu weft_cpu_detect(void);
const char *weft_isa_name(weft_isa isa); // "avx512"
bool weft_isa_from_name(const char *name, weft_isa *out);
// The level to use: the processor's, masked by WEFT_ISA where that is set. USAGE when WEFT_ISA names no level; a level
// above the processor's is UNSUPPORTED.
weft_status weft_isa_choose(const weft_cpu *cpu, weft_isa *out);
char *weft_cpu_features_text(uint32_t features, char text[160]); // "avx2 fma f16c ..."

// What hwloc says of the machine and of the cpus this process may run on.
enum { WEFT_CPUS_MAX = 1024 };
typedef struct {
    int packages, numa_nodes, cores, cpus; // of the machine
    int allowed_count;                     // cpus that this process may use (its affinity and its cgroup)
    int allowed[WEFT_CPUS_MAX];            // their OS numbers: one of each core first, then their siblings
    int allowed_cores;                     // distinct cores among them
    int numa_of[WEFT_CPUS_MAX];            // NUMA node of allowed[i]
    int64_t l1d, l2, l3;                   // bytes; 0 when unknown
    int64_t memory;                        // bytes of the machine
    int64_t memory_limit;                  // what the cgroup allows, or `memory`
} weft_topology;

weft_status weft_topology_read(weft_topology *out);

#ifdef __cplusplus
}
#endif
#endif
