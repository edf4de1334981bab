// What the parts of the emulator share: a block at work, its threads, and how one waits.
#ifndef WEFT_TESTS_EMULATOR_RUN_H
#define WEFT_TESTS_EMULATOR_RUN_H

#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "tests/emulator/device.h"
#include "tests/emulator/host.h"

enum { WI_THREADS_MAX = 1024, WI_WARPS_MAX = WI_THREADS_MAX / 32, WI_BARRIERS = 16 };
enum { WI_SHARED_LIMIT_90 = 227 * 1024, WI_SHARED_LIMIT_80 = 163 * 1024, WI_SHARED_FIRST = 1024 };

enum wi_state { WI_READY, WI_WAITING, WI_ENDED };

// A group of cp.async copies of one thread.
struct wi_copy16_job {
    unsigned char *to;
    const unsigned char *from; // NULL: zeros
};

struct wi_fiber : wi_emulated_thread {
    void *context; // its stack pointer, or its ucontext_t
    wi_state state;
    const char *what, *file; // that it waits for, and where
    int line;
    // what it waits for: a warp's meeting, a barrier or an mbarrier
    unsigned mask;
    wi_meet_finish finish;
    void *operand;
    int result;
    const uint64_t *bar;
    int parity;
    std::vector<wi_copy16_job> copies;
    std::vector<size_t> groups; // where each group that is not yet waited for ends in `copies`
    unsigned char *stack;       // its lowest usable byte
};

struct wi_warp {
    unsigned live, waiting; // lanes
};

struct wi_run {
    std::vector<wi_fiber *> fibers; // as many as a block ever had
    int threads, live;
    wi_warp warps[WI_WARPS_MAX];
    const std::function<void(void)> *kernel;
    const void *kernel_at;
    uint64_t random;
    int policy;
    // threads that can go on: a ring
    uint16_t ready[2 * WI_THREADS_MAX];
    unsigned first, end;
    void *home;   // the context of the one who launched
    wi_fiber *at; // who runs
};
extern WI_HIDDEN wi_run wi_at_work;

static inline uint32_t wi_random(void) // xorshift64*
{
    uint64_t x = wi_at_work.random;
    x ^= x >> 12, x ^= x << 25, x ^= x >> 27;
    wi_at_work.random = x;
    return (uint32_t)((x * 2685821657736338717ull) >> 32);
}
static inline uint32_t wi_random_below(uint32_t n) { return (uint32_t)((uint64_t)wi_random() * n >> 32); }
static inline bool wi_chance(uint32_t one_in) { return wi_random_below(one_in) == 0; }

// emulator.cc
WI_HIDDEN void wi_run_grid(dim3 grid, dim3 threads, size_t shared, const std::function<void(void)> &kernel,
                           const void *kernel_at);
// The calling thread waits, for what stands in its fiber, until wi_wake.
WI_HIDDEN void wi_wait(const char *what, const char *file, int line);
WI_HIDDEN void wi_wake(wi_fiber *fiber);
// Ends the program with one line.
[[noreturn]] WI_HIDDEN void wi_die(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
WI_HIDDEN void wi_poison(void *at, size_t bytes);

// async.cc: copies and mbarriers. Begins and ends a block; advance does one of the copies under way, if there is any.
WI_HIDDEN void wi_async_begin(void);
WI_HIDDEN void wi_async_end(void);
WI_HIDDEN bool wi_async_advance(void);
WI_HIDDEN std::string wi_mbar_text(const uint64_t *bar, int parity);
// wgmma.cc
WI_HIDDEN void wi_wgmma_begin(void);
WI_HIDDEN void wi_wgmma_end(void);
// memory.cc
struct wi_allocation {
    unsigned char *map; // with the page behind it that nobody can touch
    size_t mapped, bytes;
    cudaMemoryType type;
};
// One thread at a time calls the runtime or emulates.
extern WI_HIDDEN std::recursive_mutex wi_one_lock;
#define WI_ONE_AT_A_TIME std::lock_guard<std::recursive_mutex> one_at_a_time(wi_one_lock)
WI_HIDDEN int wi_setting(const char *name, int otherwise);
WI_HIDDEN cudaError_t wi_told(cudaError_t error);                              // keeps it for cudaGetLastError
WI_HIDDEN void wi_let_touch(bool may);                                         // the device's memory
WI_HIDDEN const wi_allocation *wi_allocation_of(const void *at, size_t bytes); // NULL: none holds all of it
WI_HIDDEN bool wi_device_reaches(const void *at, size_t bytes);
WI_HIDDEN cudaError_t wi_release(void *at, bool host);
// host.cc
typedef std::function<void(void)> wi_work;
WI_HIDDEN void wi_give(cudaStream_t to, wi_work work, const void *kernel = nullptr);
// launch.cc
WI_HIDDEN int wi_capability(void); // 90
// names.cc: what a function is called, from the symbols of the file that it lies in.
WI_HIDDEN std::string wi_name_of(const void *function);

#endif
