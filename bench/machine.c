#include "bench/machine.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/device.h"

enum { GRAIN = 2 << 20, PIECE = 1 << 20, WINDOWS = 5 };

struct weft_read_test {
    weft_team *team;
    weft_device *device;
    unsigned char *memory;
    size_t bytes;
    // of the window that is running
    int threads;
    size_t limit;
    int64_t until;
    _Atomic size_t read;
    _Atomic uint64_t sum; // so that the reads are not left out
};

size_t weft_read_test_bytes(const weft_topology *topology, size_t free_bytes)
{
    const size_t least = (size_t)256 << 20, most = (size_t)1 << 30;
    size_t bytes = 2 * (size_t)topology->l3;
    if (bytes < least) bytes = least;
    if (bytes > most) bytes = most;
    if (bytes > free_bytes / 8) bytes = free_bytes / 8;
    return bytes / GRAIN * GRAIN;
}

weft_status weft_read_test_create(weft_team *team, size_t bytes, weft_read_test **out)
{
    weft_read_test *test = calloc(1, sizeof *test);
    weft_status status;
    void *memory;
    if (!test) return weft_fail(WEFT_NO_MEMORY, "no memory to measure memory");
    test->team = team;
    test->bytes = bytes;
    WEFT_TRY_GOTO(weft_device_host(team, &test->device));
    WEFT_TRY_GOTO(weft_device_alloc(test->device, bytes, &memory));
    test->memory = memory;
    *out = test;
    return WEFT_OK;
fail:
    weft_read_test_destroy(test);
    return status;
}

void weft_read_test_destroy(weft_read_test *test)
{
    if (!test) return;
    if (test->device) weft_device_free(test->device, test->memory, test->bytes);
    weft_device_destroy(test->device);
    free(test);
}

// Sums that do not wait for each other, which the compiler makes vectors of, over four streams, which keep more of the
// processor's prefetchers at work than one does.
static uint64_t sum_of(const uint64_t *data, size_t count)
{
    enum { STREAMS = 4, LANES = 8 };
    uint64_t sums[LANES] = {0}, sum = 0;
    size_t part = count / STREAMS;
    for (size_t i = 0; i + LANES <= part; i += LANES)
        for (size_t lane = 0; lane < LANES; lane++)
            sums[lane] +=
                (data[i + lane] + data[i + lane + part]) + (data[i + lane + 2 * part] + data[i + lane + 3 * part]);
    for (int lane = 0; lane < LANES; lane++) sum += sums[lane];
    return sum;
}

static void read_part(void *arg, int thread, int threads)
{
    weft_read_test *test = arg;
    int64_t begin, end;
    if (thread >= test->threads) return;
    weft_team_share((int64_t)test->bytes, GRAIN, thread, test->threads, &begin, &end);
    size_t count = (size_t)(end - begin), limit = test->limit / (size_t)test->threads, done = 0;
    if (count > limit) count = limit;
    if (count < PIECE) return;
    uint64_t sum = 0;
    for (size_t at = 0; weft_clock_ns() < test->until; at = at + 2 * PIECE <= count ? at + PIECE : 0) {
        sum += sum_of((const uint64_t *)(const void *)(test->memory + begin + at), PIECE / sizeof(uint64_t));
        done += PIECE;
    }
    atomic_fetch_add(&test->read, done);
    atomic_fetch_add(&test->sum, sum);
}

double weft_read_test_run(weft_read_test *test, int threads, size_t bytes, double seconds)
{
    double best = 0;
    test->threads = threads < weft_team_threads(test->team) ? threads : weft_team_threads(test->team);
    test->limit = bytes && bytes < test->bytes ? bytes : test->bytes;
    for (int i = 0; i < WINDOWS; i++) {
        int64_t began = weft_clock_ns();
        test->until = began + (int64_t)(seconds / WINDOWS * 1e9);
        atomic_store(&test->read, 0);
        weft_team_run(test->team, read_part, test);
        double rate = (double)atomic_load(&test->read) / ((double)(weft_clock_ns() - began) * 1e-9);
        if (rate > best) best = rate;
    }
    return best;
}
