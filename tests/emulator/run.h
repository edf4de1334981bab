// What the parts of the emulator share: a block at work, its threads, and how one waits.
#ifndef WEFT_TESTS_EMULATOR_RUN_H
#define WEFT_TESTS_EMULATOR_RUN_H

#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "tests/emulator/device.h"
#include "tests/emulator/host.h"

enum { EMU_THREADS_MAX = 1024, EMU_WARPS_MAX = EMU_THREADS_MAX / 32, EMU_BARRIERS = 16 };
enum { EMU_SHARED_LIMIT_90 = 227 * 1024, EMU_SHARED_LIMIT_80 = 163 * 1024, EMU_SHARED_FIRST = 1024 };

enum emu_state { EMU_READY, EMU_WAITING, EMU_ENDED };

// A group of cp.async copies of one thread.
struct emu_copy16_job {
    unsigned char *to;
    const unsigned char *from; // NULL: zeros
};

struct emu_fiber : emu_thread {
    void *context; // its stack pointer, or its ucontext_t
    emu_state state;
    const char *what, *file; // that it waits for, and where
    int line;
    // what it waits for: a warp's meeting, a barrier or an mbarrier
    unsigned mask;
    emu_meet_finish finish;
    void *operand;
    int result;
    const uint64_t *bar;
    int parity;
    std::vector<emu_copy16_job> copies;
    std::vector<size_t> groups; // where each group that is not yet waited for ends in `copies`
    unsigned char *stack;       // its lowest usable byte
};

struct emu_warp {
    unsigned live, waiting; // lanes
};

struct emu_run {
    emu_fiber *fibers[EMU_THREADS_MAX]; // as many as a block ever had
    int made, threads, live;
    emu_warp warps[EMU_WARPS_MAX];
    const std::function<void(void)> *kernel;
    const void *kernel_at;
    uint64_t random;
    int policy;
    // threads that can go on: a ring
    uint16_t ready[2 * EMU_THREADS_MAX];
    unsigned first, end;
    void *home;    // the context of the one who launched
    emu_fiber *at; // who runs
};
extern EMU_HIDDEN emu_run emu_at_work;

static inline uint32_t emu_random(void) // xorshift64*
{
    uint64_t x = emu_at_work.random;
    x ^= x >> 12, x ^= x << 25, x ^= x >> 27;
    emu_at_work.random = x;
    return (uint32_t)((x * 2685821657736338717ull) >> 32);
}
static inline uint32_t emu_random_below(uint32_t n) { return (uint32_t)((uint64_t)emu_random() * n >> 32); }
static inline bool emu_chance(uint32_t one_in) { return emu_random_below(one_in) == 0; }

// emulator.cc
EMU_HIDDEN void emu_run_grid(dim3 grid, dim3 threads, size_t shared, const std::function<void(void)> &kernel,
                             const void *kernel_at);
// The calling thread waits, for what stands in its fiber, until emu_wake.
EMU_HIDDEN void emu_wait(const char *what, const char *file, int line);
EMU_HIDDEN void emu_wake(emu_fiber *fiber);
// Ends the program with one line.
[[noreturn]] EMU_HIDDEN void emu_die(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
EMU_HIDDEN void emu_poison(void *at, size_t bytes);

// async.cc: copies and mbarriers. Begins and ends a block; advance does one of the copies under way, if there is any.
EMU_HIDDEN void emu_async_begin(void);
EMU_HIDDEN void emu_async_end(void);
EMU_HIDDEN bool emu_async_advance(void);
EMU_HIDDEN std::string emu_mbar_text(const uint64_t *bar, int parity);
// wgmma.cc
EMU_HIDDEN void emu_wgmma_begin(void);
EMU_HIDDEN void emu_wgmma_end(void);
// memory.cc
struct emu_allocation {
    unsigned char *map; // with the page behind it that nobody can touch
    size_t mapped, bytes;
    cudaMemoryType type;
    int file;    // that other processes map; -1: none
    bool theirs; // another process's
};
// One thread at a time calls the runtime or emulates. Who waits for another process lets the others go on meanwhile.
struct emu_lock {
    std::recursive_mutex mutex;
    int depth; // of the one who has it
    void lock() { mutex.lock(), depth++; }
    void unlock() { depth--, mutex.unlock(); }
};
extern EMU_HIDDEN emu_lock emu_one_lock;
#define EMU_ONE_AT_A_TIME std::lock_guard<emu_lock> one_at_a_time(emu_one_lock)
EMU_HIDDEN void emu_breathe(void); // with the lock: without it for a moment
EMU_HIDDEN int emu_setting(const char *name, int otherwise);
EMU_HIDDEN void emu_watch_faults(void);
EMU_HIDDEN cudaError_t emu_told(cudaError_t error);                               // keeps it for cudaGetLastError
EMU_HIDDEN void emu_let_touch(bool may);                                          // the device's memory
EMU_HIDDEN const emu_allocation *emu_allocation_of(const void *at, size_t bytes); // NULL: none holds all of it
EMU_HIDDEN bool emu_device_reaches(const void *at, size_t bytes);
EMU_HIDDEN cudaError_t emu_release(void *at, bool host);
// host.cc
typedef std::function<void(void)> emu_work;
EMU_HIDDEN void emu_give(cudaStream_t to, emu_work work, const void *kernel = nullptr);
// Of work that cannot go on now: it is done again, from its beginning, as a copy that remembers.
EMU_HIDDEN void emu_again(void);
// From now on a thread of its own does all work, as it does on a device: what waits for other processes needs that.
EMU_HIDDEN void emu_work_aside(void);
// launch.cc
EMU_HIDDEN int emu_capability(void); // 90
// names.cc: what a function is called, from the symbols of the file that it lies in.
EMU_HIDDEN std::string emu_name_of(const void *function);

#endif
