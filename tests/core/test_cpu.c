#include "core/cpu.h"

#include <sched.h>

#include "tests/check.h"

static void test_names(void)
{
    for (int i = 0; i < WEFT_ISA_COUNT; i++) {
        weft_isa isa = WEFT_ISA_COUNT;
        CHECK(weft_isa_from_name(weft_isa_name((weft_isa)i), &isa));
        CHECK_INT(isa, i);
    }
    weft_isa isa = WEFT_ISA_AVX2;
    CHECK(!weft_isa_from_name("AVX2", &isa));
    CHECK(!weft_isa_from_name("", &isa));
    CHECK_INT(isa, WEFT_ISA_AVX2);
    CHECK_TEXT(weft_isa_name(WEFT_ISA_AVX512), "avx512");
    CHECK_TEXT(weft_isa_name(WEFT_ISA_COUNT), "unknown");

    char text[160];
    CHECK_TEXT(weft_cpu_features_text(0, text), "");
    CHECK_TEXT(weft_cpu_features_text(WEFT_CPU_FMA | WEFT_CPU_AMX_INT8, text), "fma amx_int8");
    CHECK_TEXT(weft_cpu_features_text((1u << WEFT_CPU_COUNT) - 1, text),
               "avx2 fma f16c avx_vnni avx512 avx512_vnni avx512_bf16 avx512_fp16 amx_tile amx_bf16 amx_int8");
}

// What was found fits together, and what the compiler's own look says.
static void test_detect(void)
{
    weft_cpu cpu = weft_cpu_detect(), again = weft_cpu_detect();
    char text[160];
    printf("%s, %s, family %d model %d stepping %d: %s; %s\n", cpu.vendor, cpu.name, cpu.family, cpu.model,
           cpu.stepping, weft_cpu_features_text(cpu.features, text), weft_isa_name(cpu.isa));
    CHECK_INT(cpu.features, again.features);
    CHECK_INT(cpu.isa, again.isa);
    CHECK_TEXT(cpu.name, again.name);
    CHECK(cpu.vendor[0] && cpu.name[0]);
    if (cpu.isa >= WEFT_ISA_AVX2) CHECK((cpu.features & WEFT_CPU_AVX2) && (cpu.features & WEFT_CPU_FMA));
    if (cpu.isa >= WEFT_ISA_AVX512) CHECK(cpu.features & WEFT_CPU_AVX512);
    if (cpu.isa >= WEFT_ISA_AMX) CHECK(cpu.features & WEFT_CPU_AMX_TILE);
    if (cpu.amx_denied) CHECK(!(cpu.features & WEFT_CPU_AMX_TILE));
    if (strcmp(cpu.vendor, "GenuineIntel") == 0) CHECK(!cpu.bf16_dot_is_fast);
#if defined(__x86_64__)
    CHECK_INT(!(cpu.features & WEFT_CPU_AVX2), !__builtin_cpu_supports("avx2"));
    CHECK_INT(!(cpu.features & WEFT_CPU_FMA), !__builtin_cpu_supports("fma"));
    CHECK_INT(!(cpu.features & WEFT_CPU_AVX512),
              !(__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")));
#else
    CHECK_INT(cpu.isa, WEFT_ISA_REF);
#endif
}

static void test_choose(void)
{
    weft_cpu cpu = {.isa = WEFT_ISA_AVX512, .name = "Test Processor"};
    weft_isa isa = WEFT_ISA_COUNT;
    unsetenv("WEFT_ISA");
    CHECK_OK(weft_isa_choose(&cpu, &isa));
    CHECK_INT(isa, WEFT_ISA_AVX512);
    setenv("WEFT_ISA", "avx2", 1);
    CHECK_OK(weft_isa_choose(&cpu, &isa));
    CHECK_INT(isa, WEFT_ISA_AVX2);
    setenv("WEFT_ISA", "avx512", 1);
    CHECK_OK(weft_isa_choose(&cpu, &isa));
    CHECK_INT(isa, WEFT_ISA_AVX512);
    setenv("WEFT_ISA", "nonsense", 1);
    CHECK_FAILS(weft_isa_choose(&cpu, &isa), WEFT_USAGE, "WEFT_ISA=nonsense");
    CHECK_HAS(weft_error_text(), "ref, avx2, avx512 or amx");
    setenv("WEFT_ISA", "amx", 1);
    CHECK_FAILS(weft_isa_choose(&cpu, &isa), WEFT_UNSUPPORTED, "(Test Processor) reaches avx512;");
    cpu.amx_denied = true;
    CHECK_FAILS(weft_isa_choose(&cpu, &isa), WEFT_UNSUPPORTED, "the kernel denies AMX");
    CHECK_INT(isa, WEFT_ISA_AVX512);
    setenv("WEFT_ISA", "", 1);
    CHECK_OK(weft_isa_choose(&cpu, &isa));
    unsetenv("WEFT_ISA");
}

static void test_topology(void)
{
    weft_topology *t = malloc(sizeof *t);
    CHECK(t);
    CHECK_OK(weft_topology_read(t));
    printf("%d packages, %d NUMA nodes, %d cores, %d cpus; %d cpus on %d cores allowed; L1d %" PRId64 ", L2 %" PRId64
           ", L3 %" PRId64 "; memory %" PRId64 ", limit %" PRId64 "\n",
           t->packages, t->numa_nodes, t->cores, t->cpus, t->allowed_count, t->allowed_cores, t->l1d, t->l2, t->l3,
           t->memory, t->memory_limit);
    CHECK(t->packages >= 1 && t->numa_nodes >= 1 && t->cores >= 1 && t->cpus >= t->cores);
    CHECK(t->allowed_count >= 1 && t->allowed_count <= t->cpus);
    CHECK(t->allowed_cores >= 1 && t->allowed_cores <= t->allowed_count && t->allowed_cores <= t->cores);
    CHECK(t->memory > 0 && t->memory_limit > 0 && t->memory_limit <= t->memory);
    cpu_set_t set, seen;
    CPU_ZERO(&seen);
    CHECK_INT(sched_getaffinity(0, sizeof set, &set), 0);
    for (int i = 0; i < t->allowed_count; i++) {
        CHECK(CPU_ISSET(t->allowed[i], &set));
        CHECK(!CPU_ISSET(t->allowed[i], &seen));
        CHECK(t->numa_of[i] >= 0);
        CPU_SET(t->allowed[i], &seen);
    }
    CHECK(CPU_EQUAL(&seen, &set)); // the kernel keeps the affinity inside the cgroup's cpus

    int all = t->allowed_count, last = t->allowed[all - 1];
    CPU_ZERO(&set);
    CPU_SET(last, &set);
    CHECK_INT(sched_setaffinity(0, sizeof set, &set), 0);
    CHECK_OK(weft_topology_read(t));
    CHECK_INT(t->allowed_count, 1);
    CHECK_INT(t->allowed_cores, 1);
    CHECK_INT(t->allowed[0], last);
    CHECK(t->cpus >= all);
    free(t);
}

// A machine with two threads a core, which hwloc is told of: 2 packages of 2 cores; cpus 2c and 2c+1 are core c.
static void test_siblings(void)
{
    setenv("HWLOC_SYNTHETIC", "pack:2 [numa] l2:2(size=1000000) core:1 pu:2", 1);
    weft_topology *t = malloc(sizeof *t);
    CHECK(t);
    CHECK_OK(weft_topology_read(t));
    unsetenv("HWLOC_SYNTHETIC");
    CHECK_INT(t->packages, 2);
    CHECK_INT(t->numa_nodes, 2);
    CHECK_INT(t->cores, 4);
    CHECK_INT(t->cpus, 8);
    CHECK_INT(t->allowed_count, 8);
    CHECK_INT(t->allowed_cores, 4);
    CHECK_INT(t->l2, 1000000);
    CHECK_INT(t->l3, 0);
    const int cpus[] = {0, 2, 4, 6, 1, 3, 5, 7}, nodes[] = {0, 0, 1, 1, 0, 0, 1, 1};
    for (int i = 0; i < 8; i++) {
        CHECK_INT(t->allowed[i], cpus[i]);
        CHECK_INT(t->numa_of[i], nodes[i]);
    }
    free(t);
}

int main(void)
{
    test_names();
    test_detect();
    test_choose();
    test_siblings();
    test_topology();
    return 0;
}
