#include "bench/ceilings.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "bench/machine.h"
#include "bench/peak/peak.h"
#include "core/clock.h"
#include "core/device.h"
#include "kernels/gemm.h"

typedef double peak_fn(int64_t rounds);
typedef uint64_t read_fn(const void *data, size_t bytes);
typedef void copy_fn(void *to, const void *from, size_t bytes);

struct weft_ceilings {
    weft_team *team;
    weft_device *device;
    unsigned char *memory;
    size_t bytes;                    // a thread's part of the memory
    size_t span[WEFT_CEILING_COUNT]; // what a thread reads of its part, again and again; 0: not there
    peak_fn *peak[WEFT_CEILING_COUNT];
    read_fn *read;
    copy_fn *copy;
    // of the measurement that is running
    weft_ceiling running;
    int threads;
    int64_t until;
    _Atomic uint64_t sum; // so that the reads are not left out
    struct {
        _Alignas(128) double done;
    } * thread;
};

static const char *const names[WEFT_CEILING_COUNT][2] = {
#define NAME(name, text, unit) {text, unit},
    WEFT_CEILING_LIST(NAME)
#undef NAME
};

const char *weft_ceiling_name(weft_ceiling ceiling) { return names[ceiling][0]; }

const char *weft_ceiling_unit(weft_ceiling ceiling) { return names[ceiling][1]; }

bool weft_ceiling_there(const weft_ceilings *c, weft_ceiling ceiling) { return c->peak[ceiling] || c->span[ceiling]; }

static void find_peaks(weft_ceilings *c, const weft_cpu *cpu, weft_isa isa)
{
    c->read = wi_read_ref;
    c->copy = wi_copy_ref;
#if defined(__x86_64__)
    if (isa >= WEFT_ISA_AVX2) {
        c->read = wi_read_avx2;
        c->copy = wi_copy_avx2;
        c->peak[WEFT_CEILING_FMA_CHAIN] = wi_peak_chain_avx2;
        c->peak[WEFT_CEILING_FMA_AVX2] = wi_peak_fma_avx2;
    }
    if (isa >= WEFT_ISA_AVX512) {
        c->read = wi_read_avx512;
        c->copy = wi_copy_avx512;
        c->peak[WEFT_CEILING_FMA_CHAIN] = wi_peak_chain_avx512;
        c->peak[WEFT_CEILING_FMA_AVX512] = wi_peak_fma_avx512;
        if (cpu->features & WEFT_CPU_AVX512_BF16) c->peak[WEFT_CEILING_BF16_DOT] = wi_peak_dot_avx512;
    }
    if (isa >= WEFT_ISA_AMX) {
        c->peak[WEFT_CEILING_AMX_BF16] = wi_peak_bf16_amx;
        if (cpu->features & WEFT_CPU_AMX_INT8) c->peak[WEFT_CEILING_AMX_INT8] = wi_peak_int8_amx;
    }
#endif
}

// What a thread reads to stay in a cache: half of its own, or more than all of its own but a part of the shared one.
static void find_spans(weft_ceilings *c, const weft_topology *t, int threads)
{
    const size_t grain = 4096, l1 = (size_t)t->l1d, l2 = (size_t)t->l2, l3 = (size_t)t->l3 / (size_t)threads;
    c->span[WEFT_CEILING_READ_L1] = l1 / 2 / grain * grain;
    c->span[WEFT_CEILING_READ_L2] = l2 / 2 / grain * grain;
    if (l3 >= 4 * l2) c->span[WEFT_CEILING_READ_L3] = (l3 >= 8 * l2 ? 4 * l2 : 2 * l2) / grain * grain;
    c->span[WEFT_CEILING_READ_DRAM] = c->bytes;
    for (int i = WEFT_CEILING_READ_L1; i <= WEFT_CEILING_READ_DRAM; i++)
        c->span[i + WEFT_CEILING_COPY_L1 - WEFT_CEILING_READ_L1] = c->span[i];
}

weft_status weft_ceilings_create(weft_team *team, const weft_cpu *cpu, weft_isa isa, weft_ceilings **out)
{
    weft_status status;
    weft_topology topology;
    size_t free_bytes, total_bytes;
    void *memory;
    const size_t threads = (size_t)weft_team_threads(team), grain = (size_t)2 << 20;
    weft_ceilings *c = calloc(1, sizeof *c);
    if (!c) return weft_fail(WEFT_NO_MEMORY, "no memory to measure the machine's ceilings");
    c->team = team;
    WEFT_TRY_GOTO(weft_topology_read(&topology));
    WEFT_TRY_GOTO(weft_device_host(team, &c->device));
    WEFT_TRY_GOTO(c->device->ops->memory(c->device, &free_bytes, &total_bytes));
    c->thread = aligned_alloc(128, threads * sizeof *c->thread);
    if (!c->thread) {
        status = weft_fail(WEFT_NO_MEMORY, "no memory to measure the machine's ceilings");
        goto fail;
    }
    c->bytes = weft_read_test_bytes(&topology, free_bytes) / threads / grain * grain;
    WEFT_TRY_GOTO(weft_device_alloc(c->device, c->bytes * threads, &memory));
    c->memory = memory;
    find_peaks(c, cpu, isa);
    find_spans(c, &topology, (int)threads);
    *out = c;
    return WEFT_OK;
fail:
    weft_ceilings_destroy(c);
    return status;
}

void weft_ceilings_destroy(weft_ceilings *c)
{
    if (!c) return;
    if (c->device) weft_device_free(c->device, c->memory, c->bytes * (size_t)weft_team_threads(c->team));
    weft_device_destroy(c->device);
    free(c->thread);
    free(c);
}

// Bytes between two looks at the clock, of a large span or of a small one many times. DRAM is read in several streams
// at once: one alone leaves a third of the bandwidth unused, for the processor looks ahead page by page.
enum { PIECE = 1 << 20, STREAMS = 8, STEP = 512 };

static uint64_t read_span(const weft_ceilings *c, const unsigned char *from, size_t span, double *done)
{
    const bool far = c->running == WEFT_CEILING_READ_DRAM && span % PIECE == 0;
    uint64_t sum = 0;
    for (size_t at = 0; weft_clock_ns() < c->until; at = at + PIECE < span ? at + PIECE : 0) {
        const size_t bytes = span - at < PIECE ? span - at : PIECE;
        for (size_t i = 0; far && i < PIECE / STREAMS; i += STEP)
            for (size_t k = 0; k < STREAMS; k++) sum += c->read(from + at + k * (PIECE / STREAMS) + i, STEP);
        if (far) *done += PIECE;
        for (size_t again = 0; !far && again < PIECE; again += bytes, *done += (double)bytes)
            sum += c->read(from + at, bytes);
    }
    return sum;
}

// The lower half over the upper one.
static void copy_span(const weft_ceilings *c, unsigned char *from, size_t span, double *done)
{
    const size_t half = span / 2 / 1024 * 1024;
    const double each = c->running == WEFT_CEILING_COPY_L1 ? 2 : 3;
    for (size_t at = 0; weft_clock_ns() < c->until; at = at + PIECE < half ? at + PIECE : 0) {
        const size_t bytes = half - at < PIECE ? half - at : PIECE;
        for (size_t again = 0; again < PIECE; again += bytes, *done += each * (double)bytes)
            c->copy(from + half + at, from + at, bytes);
    }
}

static void measure(void *arg, int thread, int threads)
{
    enum { ROUNDS = 20000 }; // under a millisecond; what a peak sets up first no longer counts
    weft_ceilings *c = arg;
    const size_t span = c->span[c->running];
    unsigned char *mine = span ? c->memory + (size_t)thread * c->bytes : NULL;
    double done = 0;
    uint64_t sum = 0;
    c->thread[thread].done = 0;
    if (thread >= c->threads) return;
    if (!span)
        while (weft_clock_ns() < c->until) done += c->peak[c->running](ROUNDS);
    else if (c->running >= WEFT_CEILING_COPY_L1)
        copy_span(c, mine, span, &done);
    else
        sum = read_span(c, mine, span, &done);
    c->thread[thread].done = done;
    atomic_fetch_add(&c->sum, sum);
}

double weft_ceiling_measure(weft_ceilings *c, weft_ceiling ceiling, int threads, double seconds)
{
    double done = 0;
    if (!weft_ceiling_there(c, ceiling)) return 0;
    c->running = ceiling;
    c->threads = threads < weft_team_threads(c->team) ? threads : weft_team_threads(c->team);
    const int64_t began = weft_clock_ns();
    c->until = began + (int64_t)(seconds * 1e9);
    weft_team_run(c->team, measure, c);
    for (int i = 0; i < c->threads; i++) done += c->thread[i].done;
    return done / ((double)(weft_clock_ns() - began) * 1e-9);
}

// What multiplies bf16 here: the ceiling of its family.
static weft_ceiling arithmetic_of(const weft_cpu *cpu, weft_isa isa)
{
    switch (weft_family_choose(cpu, isa, WEFT_BF16)) {
    case WEFT_FAMILY_AMX:
        return WEFT_CEILING_AMX_BF16;
    case WEFT_FAMILY_BF16_DOT:
        return WEFT_CEILING_BF16_DOT;
    default:
        return isa >= WEFT_ISA_AVX512 ? WEFT_CEILING_FMA_AVX512 : WEFT_CEILING_FMA_AVX2;
    }
}

double weft_arithmetic_measure(weft_team *team, const weft_cpu *cpu, weft_isa isa, double seconds, weft_ceiling *which)
{
    weft_ceilings c = {.team = team};
    const size_t threads = (size_t)weft_team_threads(team);
    c.thread = aligned_alloc(128, threads * sizeof *c.thread);
    if (!c.thread) return 0;
    find_peaks(&c, cpu, isa);
    *which = arithmetic_of(cpu, isa);
    const double found = weft_ceiling_measure(&c, *which, (int)threads, seconds);
    free(c.thread);
    return found;
}
