// One turn of a case, a peer or a ceiling of `weft bench kernels`, on the host or on a device; and memory there.
#include "bench/kernels_impl.h"

#include <stdlib.h>
#include <string.h>

#include "bench/machine.h"
#include "core/clock.h"

static const double CASE_SECONDS = 0.01, CEILING_SECONDS = 0.02;

// Runs of a turn on a device: the launches of all are one step. And how often they come before they are timed: a step
// is a graph from its second time on, with each of the two places where its arrivals lie.
enum { RUNS_MAX = 256, WARM_TURNS = 4 };

static double seconds_since(int64_t began, int runs) { return (double)(weft_clock_ns() - began) * 1e-9 / runs; }

// A case runs for about CASE_SECONDS by itself, at least once; its peers as often as they can in the same time.
static double time_on_host(wi_kernel_bench *b, wi_kernel_case *c)
{
    const int64_t began = weft_clock_ns(), until = began + (int64_t)(CASE_SECONDS * 1e9);
    int runs = 0;
    for (int more = 1; runs == 0 || weft_clock_ns() < until; more += more < 64) { // the clock takes its time too
        for (int i = 0; i < more; i++) c->run(b, c->state, c->turn++);
        runs += more;
    }
    return seconds_since(began, runs);
}

// The same launches each time, behind a flush: nothing of the last turn is in the cache, and while the device is busy
// with that the host prepares what is timed.
static weft_status turn_on_device(wi_kernel_bench *b, const wi_kernel_case *c, double *seconds)
{
    const weft_device_ops *ops = b->device->ops;
    weft_device_ceilings_flush(b->device_ceilings);
    if (!c->apart) ops->begin(b->device);
    ops->clock_start(b->device);
    for (int i = 0; i < c->runs; i++) c->run(b, c->state, i);
    if (!c->apart) ops->end(b->device);
    return ops->clock_stop(b->device, seconds);
}

static weft_status time_on_device(wi_kernel_bench *b, wi_kernel_case *c, double *seconds)
{
    if (c->runs == 0) {
        const int64_t began = weft_clock_ns();
        c->run(b, c->state, 0);
        WEFT_TRY(b->device->ops->sync(b->device));
        const double runs = CASE_SECONDS / seconds_since(began, 1);
        c->runs = runs < 1 ? 1 : runs > RUNS_MAX ? RUNS_MAX : (int)runs;
        for (int i = 0; i < WARM_TURNS; i++) WEFT_TRY(turn_on_device(b, c, seconds));
    }
    WEFT_TRY(turn_on_device(b, c, seconds));
    *seconds /= c->runs;
    return WEFT_OK;
}

weft_status wi_bench_time_case(wi_kernel_bench *b, wi_kernel_case *c, double *seconds)
{
    if (b->on_device) return time_on_device(b, c, seconds);
    *seconds = time_on_host(b, c);
    return WEFT_OK;
}

double wi_bench_time_peer(wi_kernel_bench *b, const wi_kernel_peer *peer)
{
    wi_peer_begin(b->peers, peer->peer, b->threads);
    peer->run(peer->state); // its threads wake up
    const int64_t began = weft_clock_ns(), until = began + (int64_t)(CASE_SECONDS * 1e9);
    int runs = 0;
    do {
        peer->run(peer->state);
        runs++;
    } while (weft_clock_ns() < until);
    const double seconds = seconds_since(began, runs);
    wi_peer_end(b->peers, peer->peer);
    return seconds;
}

bool wi_bench_ceiling_there(const wi_kernel_bench *b, weft_ceiling ceiling)
{
    return b->on_device ? weft_device_ceiling_there(b->device_ceilings, ceiling)
                        : weft_ceiling_there(b->ceilings, ceiling);
}

weft_status wi_bench_ceiling(wi_kernel_bench *b, weft_ceiling ceiling, double *rate)
{
    if (b->on_device) return weft_device_ceiling_measure(b->device_ceilings, ceiling, CEILING_SECONDS, rate);
    *rate = weft_ceiling_measure(b->ceilings, ceiling, b->threads, CEILING_SECONDS);
    return WEFT_OK;
}

weft_status wi_bench_check_family(const wi_kernel_bench *b)
{
    weft_family family;
    const char *name = b->options->family;
    const bool known = name && weft_family_from_name(name, &family);
    if (!name) return WEFT_OK;
    if (b->on_device && known && b->kernels.gemm.run[family] &&
        (family == WEFT_FAMILY_FMA || family == WEFT_FAMILY_BLAS ||
         family <= weft_family_of_device(b->kernels.capability, WEFT_BF16)))
        return WEFT_OK;
    if (b->on_device) return weft_fail(WEFT_UNSUPPORTED, "family \"%s\" is not on this device", name);
    if (known && weft_family_native(&b->cpu, b->options->isa, family)) return WEFT_OK;
    return weft_fail(WEFT_UNSUPPORTED, "family \"%s\" is not on this processor at level %s", name,
                     weft_isa_name(b->options->isa));
}

// ---- memory ----

weft_op wi_bench_op(const wi_kernel_bench *b, const wi_bench_block *scratch)
{
    return (weft_op){.table = &b->kernels,
                     .team = b->on_device ? NULL : b->team,
                     .stream = b->stream,
                     .scratch = scratch ? scratch->at : NULL,
                     .scratch_bytes = scratch ? scratch->bytes : 0};
}

weft_status wi_bench_take(wi_kernel_bench *b, size_t bytes, const void *from, wi_bench_block *out)
{
    wi_bench_block block = {.bytes = bytes};
    WEFT_TRY(weft_device_alloc(b->device, bytes, &block.at));
    *out = block;
    return from ? b->device->ops->copy_in(b->device, block.at, from, bytes) : WEFT_OK;
}

void wi_bench_drop(wi_kernel_bench *b, wi_bench_block *block)
{
    if (block->at) weft_device_free(b->device, block->at, block->bytes);
    *block = (wi_bench_block){0};
}

weft_status wi_bench_look(wi_kernel_bench *b, const void *at, size_t bytes, void **out)
{
    void *seen = malloc(bytes);
    if (!seen) return weft_fail(WEFT_NO_MEMORY, "no memory to look at %zu bytes of results", bytes);
    const weft_status status = b->device->ops->copy_out(b->device, seen, at, bytes);
    if (status == WEFT_OK)
        *out = seen;
    else
        free(seen);
    return status;
}

// Beyond what every cache holds.
static size_t far_bytes(const wi_kernel_bench *b, const weft_topology *topology, size_t free_bytes)
{
    if (!b->on_device) return weft_read_test_bytes(topology, free_bytes);
    return b->emulated ? 0 : 4 * b->device->cache_bytes;
}

weft_status wi_bench_copies(wi_kernel_bench *b, size_t bytes, int most, int *out)
{
    weft_topology topology;
    size_t free_bytes, total_bytes;
    WEFT_TRY(weft_topology_read(&topology));
    WEFT_TRY(b->device->ops->memory(b->device, &free_bytes, &total_bytes));
    const size_t copies = far_bytes(b, &topology, free_bytes) / bytes + 1;
    *out = copies < (size_t)most ? (int)copies : most;
    if (bytes * (size_t)*out > free_bytes / 3)
        return weft_fail(WEFT_NO_MEMORY, "%zu MiB to measure, more than a third of what is free",
                         bytes * (size_t)*out >> 20);
    return WEFT_OK;
}
