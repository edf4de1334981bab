#include "core/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct {
    unsigned eax, ebx, ecx, edx;
} leaf;

// Zeros where the processor does not have the leaf.
static leaf read_leaf(unsigned number, unsigned sub)
{
    leaf l = {0};
    if (!__get_cpuid_count(number, sub, &l.eax, &l.ebx, &l.ecx, &l.edx)) l = (leaf){0};
    return l;
}

static bool bit(unsigned word, int index) { return word >> index & 1; }

// Which register states the OS saves. Only where OSXSAVE is set, for the instruction traps elsewhere.
static uint64_t read_xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

enum { XCR0_YMM = 0x6, XCR0_ZMM = 0xe6, XCR0_TILES = 0x60000 };

static bool ask_for_tiles(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; // ARCH_REQ_XCOMP_PERM of asm/prctl.h, Linux 5.16
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

static void read_names(weft_cpu *cpu)
{
    leaf l = {0};
    __get_cpuid(0, &l.eax, &l.ebx, &l.ecx, &l.edx);
    memcpy(cpu->vendor, &l.ebx, 4);
    memcpy(cpu->vendor + 4, &l.edx, 4);
    memcpy(cpu->vendor + 8, &l.ecx, 4);
    char brand[49] = {0};
    for (unsigned i = 0; i < 3; i++) {
        leaf part = read_leaf(0x80000002 + i, 0);
        memcpy(brand + 16 * i, &part, 16);
    }
    const char *begin = brand + strspn(brand, " ");
    size_t length = strlen(begin);
    while (length > 0 && begin[length - 1] == ' ') length--;
    memcpy(cpu->name, begin, length);
}

static void read_model(weft_cpu *cpu, unsigned signature)
{
    cpu->stepping = signature & 15;
    cpu->model = signature >> 4 & 15;
    cpu->family = signature >> 8 & 15;
    if (cpu->family == 6 || cpu->family == 15) cpu->model |= (int)(signature >> 12 & 0xf0);
    if (cpu->family == 15) cpu->family += (int)(signature >> 20 & 255);
}

static uint32_t read_features(leaf one, bool *amx_denied)
{
    uint64_t xcr0 = bit(one.ecx, 27) ? read_xcr0() : 0;
    leaf seven = read_leaf(7, 0), more = seven.eax >= 1 ? read_leaf(7, 1) : (leaf){0};
    uint32_t found = 0;
    if (bit(one.ecx, 28) && (xcr0 & XCR0_YMM) == XCR0_YMM) {
        if (bit(seven.ebx, 5)) found |= WEFT_CPU_AVX2;
        if (bit(one.ecx, 12)) found |= WEFT_CPU_FMA;
        if (bit(one.ecx, 29)) found |= WEFT_CPU_F16C;
        if (bit(more.eax, 4)) found |= WEFT_CPU_AVX_VNNI;
    }
    const unsigned f_dq_cd_bw_vl = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;
    if ((xcr0 & XCR0_ZMM) == XCR0_ZMM && (seven.ebx & f_dq_cd_bw_vl) == f_dq_cd_bw_vl) {
        found |= WEFT_CPU_AVX512;
        if (bit(seven.ecx, 11)) found |= WEFT_CPU_AVX512_VNNI;
        if (bit(more.eax, 5)) found |= WEFT_CPU_AVX512_BF16;
        if (bit(seven.edx, 23)) found |= WEFT_CPU_AVX512_FP16;
    }
    if (bit(seven.edx, 24)) {
        *amx_denied = (xcr0 & XCR0_TILES) != XCR0_TILES || !ask_for_tiles();
        if (!*amx_denied) {
            found |= WEFT_CPU_AMX_TILE;
            if (bit(seven.edx, 22)) found |= WEFT_CPU_AMX_BF16;
            if (bit(seven.edx, 25)) found |= WEFT_CPU_AMX_INT8;
        }
    }
    return found;
}

static void detect(weft_cpu *cpu)
{
    read_names(cpu);
    leaf one = read_leaf(1, 0);
    read_model(cpu, one.eax);
    cpu->features = read_features(one, &cpu->amx_denied);
}
#else
static void detect(weft_cpu *cpu)
{
    strcpy(cpu->vendor, "unknown");
    strcpy(cpu->name, "unknown processor");
}
#endif

static weft_isa best_isa(uint32_t features)
{
    const uint32_t avx2 = WEFT_CPU_AVX2 | WEFT_CPU_FMA | WEFT_CPU_F16C,
                   amx = WEFT_CPU_AMX_TILE | WEFT_CPU_AMX_BF16 | WEFT_CPU_AVX512_VNNI | WEFT_CPU_AVX512_FP16;
    if ((features & avx2) != avx2) return WEFT_ISA_REF;
    if (!(features & WEFT_CPU_AVX512)) return WEFT_ISA_AVX2;
    return (features & amx) == amx ? WEFT_ISA_AMX : WEFT_ISA_AVX512;
}

weft_cpu weft_cpu_detect(void)
{
    weft_cpu cpu = {0};
    detect(&cpu);
    cpu.isa = best_isa(cpu.features);
    // Family 0x19 is Zen 3 and Zen 4, of which only Zen 4 has the instruction; 0x1a is Zen 5.
    cpu.bf16_dot_is_fast =
        (cpu.features & WEFT_CPU_AVX512_BF16) && strcmp(cpu.vendor, "AuthenticAMD") == 0 && cpu.family >= 0x19;
    return cpu;
}

static const char *const isa_names[WEFT_ISA_COUNT] = {"ref", "avx2", "avx512", "amx"};

const char *weft_isa_name(weft_isa isa) { return (unsigned)isa < WEFT_ISA_COUNT ? isa_names[isa] : "unknown"; }

bool weft_isa_from_name(const char *name, weft_isa *out)
{
    for (int i = 0; i < WEFT_ISA_COUNT; i++) {
        if (strcmp(name, isa_names[i]) != 0) continue;
        *out = (weft_isa)i;
        return true;
    }
    return false;
}

weft_status weft_isa_choose(const weft_cpu *cpu, weft_isa *out)
{
    const char *mask = getenv("WEFT_ISA");
    weft_isa wanted = cpu->isa;
    if (mask && *mask && !weft_isa_from_name(mask, &wanted)) {
        return weft_fail(WEFT_USAGE, "WEFT_ISA=%s names no instruction set: use ref, avx2, avx512 or amx", mask);
    }
    if (wanted > cpu->isa) {
        return weft_fail(WEFT_UNSUPPORTED, "WEFT_ISA=%s: this processor (%s) reaches %s%s; use that or unset WEFT_ISA",
                         mask, cpu->name, weft_isa_name(cpu->isa),
                         cpu->amx_denied ? ", for the kernel denies AMX to this process" : "");
    }
    *out = wanted;
    return WEFT_OK;
}

char *weft_cpu_features_text(uint32_t features, char text[160])
{
    static const char *const names[WEFT_CPU_COUNT] = {
#define NAME(name, text) text,
        WEFT_CPU_LIST(NAME)
#undef NAME
    };
    int length = 0;
    text[0] = 0;
    for (int i = 0; i < WEFT_CPU_COUNT; i++) {
        if (!(features >> i & 1)) continue;
        length += snprintf(text + length, 160 - (size_t)length, "%s%s", length ? " " : "", names[i]);
    }
    return text;
}
