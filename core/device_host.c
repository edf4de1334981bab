#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/cgroup.h"
#include "core/checked.h"
#include "core/clock.h"
#include "core/cpu.h"
#include "core/device.h"

enum { PAGE = 4096, HUGE_PAGE = 2 << 20 };

#ifndef MADV_POPULATE_WRITE // Linux 5.14; headers may be older than the kernel
#define MADV_POPULATE_WRITE 23
#endif

static weft_status host_memory(weft_device *device, size_t *free_bytes, size_t *total_bytes)
{
    FILE *file = fopen("/proc/meminfo", "re");
    if (!file) return weft_fail(WEFT_IO, "/proc/meminfo: %s; is /proc mounted?", strerror(errno));
    char line[128];
    int64_t available = -1, total = -1, kib;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemAvailable: %" SCNd64, &kib) == 1) available = kib * 1024;
        if (sscanf(line, "MemTotal: %" SCNd64, &kib) == 1) total = kib * 1024;
    }
    fclose(file);
    if (available < 0 || total < 0) return weft_fail(WEFT_IO, "/proc/meminfo lacks MemAvailable or MemTotal");
    wi_cgroup_memory cgroup = wi_cgroup_memory_read();
    *free_bytes = (size_t)(cgroup.available < available ? cgroup.available : available);
    *total_bytes = (size_t)(cgroup.limit < total ? cgroup.limit : total);
    return WEFT_OK;
}

static const char *amount(size_t bytes, char text[32])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    int unit = 0;
    for (; value >= 1024 && unit < 6; unit++) value /= 1024;
    snprintf(text, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

static weft_status refuse(weft_device *device, size_t bytes)
{
    char wanted[32], held[32], left[32], all[32];
    size_t free_bytes = 0, total_bytes = 0;
    if (host_memory(device, &free_bytes, &total_bytes) < 0) free_bytes = total_bytes = 0;
    return weft_fail(WEFT_NO_MEMORY,
                     "%s: no memory for %s beside the %s already held: %s of %s are available; use more ranks or "
                     "nodes, or a smaller model, batch or cache",
                     device->name, amount(bytes, wanted), amount(device->allocated, held), amount(free_bytes, left),
                     amount(total_bytes, all));
}

// Memory that is mapped but not there would end the process when it is touched, so what is large is compared first.
static bool is_there(weft_device *device, size_t bytes)
{
    size_t free_bytes = 0, total_bytes = 0;
    if (host_memory(device, &free_bytes, &total_bytes) < 0) return true; // not known: the kernel decides
    return bytes <= free_bytes;
}

typedef struct {
    unsigned char *memory;
    size_t bytes;
    uint32_t failed; // set by any thread
} touching;

// A write, for a read would map the kernel's page of zeros. The call does in one go what a store a page does by faults,
// in about two thirds of the time.
static void touch(void *arg, int thread, int threads)
{
    touching *t = arg;
    int64_t begin, end;
    weft_team_share((int64_t)t->bytes, HUGE_PAGE, thread, threads, &begin, &end);
    if (begin == end) return;
    if (madvise(t->memory + begin, (size_t)(end - begin), MADV_POPULATE_WRITE) == 0) return;
    if (errno == ENOMEM || errno == EFAULT) {
        __atomic_store_n(&t->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    volatile unsigned char *memory = t->memory;
    for (int64_t at = begin; at < end; at += PAGE) memory[at] = 0;
}

// Maps `bytes`, a multiple of PAGE, from a multiple of `alignment`.
static void *map_aligned(size_t bytes, size_t alignment)
{
    size_t extra = alignment - PAGE, whole;
    if (!weft_size_add(bytes, extra, &whole)) return NULL;
    unsigned char *memory = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    size_t before = (size_t)(-(uintptr_t)memory) & (alignment - 1);
    if (before) munmap(memory, before);
    if (extra > before) munmap(memory + before + bytes, extra - before);
    return memory + before;
}

static weft_status host_alloc(weft_device *device, size_t bytes, void **out)
{
    size_t whole;
    if (bytes == 0) bytes = 1; // an address of its own all the same
    bool large = bytes >= HUGE_PAGE;
    if (!weft_size_round_up(bytes, PAGE, &whole) || (large && !is_there(device, whole))) return refuse(device, bytes);
    void *memory = map_aligned(whole, large ? HUGE_PAGE : PAGE);
    if (!memory) return refuse(device, bytes);
    if (large) madvise(memory, whole, MADV_HUGEPAGE); // where the kernel has them
    touching t = {.memory = memory, .bytes = whole};
    if (large && device->team) {
        weft_team_run(device->team, touch, &t);
    } else {
        touch(&t, 0, 1);
    }
    if (t.failed) {
        munmap(memory, whole);
        return refuse(device, bytes);
    }
    *out = memory;
    return WEFT_OK;
}

static void host_free(weft_device *device, void *memory, size_t bytes)
{
    if (memory) munmap(memory, weft_align_up(bytes ? bytes : 1, PAGE));
}

static weft_status host_copy(weft_device *device, void *to, const void *from, size_t bytes)
{
    if (bytes) memcpy(to, from, bytes);
    return WEFT_OK;
}

static void host_move(weft_device *device, void *to, const void *from, size_t bytes)
{
    if (bytes) memcpy(to, from, bytes);
}

static weft_status host_sync(weft_device *device) { return WEFT_OK; }

static void host_mark(weft_device *device, int which) {}

static weft_status host_wait(weft_device *device, int which) { return WEFT_OK; }

static void host_step(weft_device *device) {}

static void host_clock_start(weft_device *device) { device->clock_began = weft_clock_ns(); }

static weft_status host_clock_stop(weft_device *device, double *seconds)
{
    *seconds = (double)(weft_clock_ns() - device->clock_began) * 1e-9;
    return WEFT_OK;
}

static weft_status host_lend(weft_device *device, void *host, size_t bytes) { return WEFT_OK; }

static void host_give_back(weft_device *device, void *host) {}

static void host_destroy(weft_device *device) { free(device); }

static const weft_device_ops host_ops = {
    .kind = "cpu",
    .is_host = true,
    .alloc = host_alloc,
    .free = host_free,
    .copy_in = host_copy,
    .copy_out = host_copy,
    .copy = host_move,
    .sync = host_sync,
    .mark = host_mark,
    .wait = host_wait,
    .begin = host_step,
    .end = host_step,
    .clock_start = host_clock_start,
    .clock_stop = host_clock_stop,
    .lend = host_lend,
    .give_back = host_give_back,
    .memory = host_memory,
    .destroy = host_destroy,
};

weft_status weft_device_host(weft_team *team, weft_device **out)
{
    weft_device *device = calloc(1, sizeof *device);
    if (!device) return weft_fail(WEFT_NO_MEMORY, "no memory for a device");
    device->ops = &host_ops;
    device->team = team;
    snprintf(device->name, sizeof device->name, "%s", weft_cpu_detect().name);
    *out = device;
    return WEFT_OK;
}
