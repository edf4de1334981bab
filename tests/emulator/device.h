// What a kernel may say in CUDA C++, for threads that are fibers. A function that waits gives the processor to another
// thread of the block. Where a call stands in the source (`file`, `line`) is for reports.
#ifndef WEFT_TESTS_EMULATOR_DEVICE_H
#define WEFT_TESTS_EMULATOR_DEVICE_H

#include "tests/emulator/types.h"

#define EMU_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

struct emu_thread {
    uint3 index;
    int lane, warp;
};
extern EMU_HIDDEN emu_thread *emu_thread_now;
extern EMU_HIDDEN unsigned char *emu_shared_now; // the block's dynamic shared memory
extern EMU_HIDDEN size_t emu_shared_bytes;

#define threadIdx (emu_thread_now->index)
extern EMU_HIDDEN uint3 blockIdx;
extern EMU_HIDDEN dim3 blockDim, gridDim;
enum { warpSize = 32 };

// ---- barriers, fences and spinning ----------------------------------------------------------------------------------

enum emu_barrier_kind { EMU_BARRIER_PLAIN, EMU_BARRIER_OR, EMU_BARRIER_AND, EMU_BARRIER_COUNT, EMU_BARRIER_ARRIVE };
// Barrier 0 is for all threads that live (threads = 0).
EMU_HIDDEN int emu_barrier(int id, int threads, emu_barrier_kind kind, int value, const char *file, int line);
// Perhaps runs other threads first.
EMU_HIDDEN void emu_pause(void);

static inline void __syncthreads(EMU_HERE) { emu_barrier(0, 0, EMU_BARRIER_PLAIN, 0, file, line); }
static inline int __syncthreads_or(int value, EMU_HERE) { return emu_barrier(0, 0, EMU_BARRIER_OR, value, file, line); }
static inline int __syncthreads_and(int value, EMU_HERE)
{
    return emu_barrier(0, 0, EMU_BARRIER_AND, value, file, line);
}
static inline int __syncthreads_count(int value, EMU_HERE)
{
    return emu_barrier(0, 0, EMU_BARRIER_COUNT, value, file, line);
}
static inline void __threadfence(void) { emu_pause(); }
static inline void __threadfence_block(void) { emu_pause(); }
static inline void __threadfence_system(void) { emu_pause(); }
static inline void __nanosleep(unsigned) { emu_pause(); }
[[noreturn]] EMU_HIDDEN void emu_trap(const char *file, int line);
[[noreturn]] static inline void __trap(EMU_HERE) { emu_trap(file, line); }

// ---- what the lanes of a warp do together ---------------------------------------------------------------------------

// All lanes of the mask come here with the same `finish`; the last runs it. at[i] is lane i's operand, NULL for a lane
// that is not in the mask or has ended. Results are written into the operands.
typedef void (*emu_meet_finish)(void *const at[32], unsigned mask);
EMU_HIDDEN void emu_meet(unsigned mask, emu_meet_finish finish, void *operand, const char *what, const char *file,
                         int line);

struct emu_exchange {
    uint64_t value, result;
    int from; // the lane read
};
EMU_HIDDEN void emu_finish_nothing(void *const at[32], unsigned mask);
EMU_HIDDEN void emu_finish_shuffle(void *const at[32], unsigned mask);
EMU_HIDDEN void emu_finish_ballot(void *const at[32], unsigned mask);

static inline void __syncwarp(unsigned mask = 0xffffffffu, EMU_HERE)
{
    emu_meet(mask, emu_finish_nothing, nullptr, "__syncwarp", file, line);
}
template <typename T> T emu_exchanged(unsigned mask, T value, int from, const char *what, const char *file, int line)
{
    static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "shuffles take 4 or 8 bytes");
    emu_exchange mine = {0, 0, from};
    memcpy(&mine.value, &value, sizeof value);
    emu_meet(mask, emu_finish_shuffle, &mine, what, file, line);
    memcpy(&value, &mine.result, sizeof value);
    return value;
}
template <typename T> T __shfl_sync(unsigned mask, T value, int from, int width = 32, EMU_HERE)
{
    int first = emu_thread_now->lane & -width;
    return emu_exchanged(mask, value, first | (from & (width - 1)), "__shfl_sync", file, line);
}
template <typename T> T __shfl_xor_sync(unsigned mask, T value, int flip, int width = 32, EMU_HERE)
{
    int lane = emu_thread_now->lane, from = lane ^ flip;
    return emu_exchanged(mask, value, from <= (lane | (width - 1)) ? from : lane, "__shfl_xor_sync", file, line);
}
template <typename T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, EMU_HERE)
{
    int lane = emu_thread_now->lane, from = lane - (int)by;
    return emu_exchanged(mask, value, from >= (lane & -width) ? from : lane, "__shfl_up_sync", file, line);
}
template <typename T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, EMU_HERE)
{
    int lane = emu_thread_now->lane, from = lane + (int)by;
    return emu_exchanged(mask, value, from <= (lane | (width - 1)) ? from : lane, "__shfl_down_sync", file, line);
}
static inline unsigned __ballot_sync(unsigned mask, int value, EMU_HERE)
{
    emu_exchange mine = {(uint64_t)(value != 0), 0, 0};
    emu_meet(mask, emu_finish_ballot, &mine, "__ballot_sync", file, line);
    return (unsigned)mine.result;
}
static inline int __any_sync(unsigned mask, int value, EMU_HERE)
{
    emu_exchange mine = {(uint64_t)(value != 0), 0, 0};
    emu_meet(mask, emu_finish_ballot, &mine, "__any_sync", file, line);
    return mine.result != 0;
}
static inline int __all_sync(unsigned mask, int value, EMU_HERE)
{
    emu_exchange mine = {(uint64_t)(value == 0), 0, 0};
    emu_meet(mask, emu_finish_ballot, &mine, "__all_sync", file, line);
    return mine.result == 0;
}
template <typename T, typename Join> T emu_reduced(unsigned mask, T value, Join join, const char *file, int line)
{
    static_assert(std::is_integral_v<T> && sizeof(T) == 4, "__reduce_*_sync takes 4 bytes");
    T all = value;
    unsigned there = __ballot_sync(mask, 1, file, line);
    bool first = true;
    for (int lane = 0; lane < 32; lane++) {
        if (!(there >> lane & 1)) continue;
        T other = emu_exchanged(mask, value, lane, "__reduce_sync", file, line);
        all = first ? other : join(all, other);
        first = false;
    }
    return all;
}
template <typename T> T __reduce_add_sync(unsigned mask, T value, EMU_HERE)
{
    return emu_reduced(
        mask, value, [](T a, T b) { return (T)((unsigned)a + (unsigned)b); }, file, line);
}
template <typename T> T __reduce_min_sync(unsigned mask, T value, EMU_HERE)
{
    return emu_reduced(
        mask, value, [](T a, T b) { return b < a ? b : a; }, file, line);
}
template <typename T> T __reduce_max_sync(unsigned mask, T value, EMU_HERE)
{
    return emu_reduced(
        mask, value, [](T a, T b) { return b > a ? b : a; }, file, line);
}

// ---- atomics, on integers alone -------------------------------------------------------------------------------------

template <typename T, typename Next> T emu_atomic(T *at, Next next)
{
    static_assert(std::is_integral_v<T> && (sizeof(T) == 4 || sizeof(T) == 8),
                  "atomics are on integers of 4 or 8 bytes");
    emu_pause();
    T was = *at;
    *at = next(was);
    return was;
}
// The second argument is converted as a call of CUDA's overloads would.
template <typename T> using emu_same = std::common_type_t<T>;
template <typename T> T atomicAdd(T *at, emu_same<T> by)
{
    return emu_atomic(at, [=](T was) { return (T)((std::make_unsigned_t<T>)was + (std::make_unsigned_t<T>)by); });
}
template <typename T> T atomicSub(T *at, emu_same<T> by)
{
    return emu_atomic(at, [=](T was) { return (T)((std::make_unsigned_t<T>)was - (std::make_unsigned_t<T>)by); });
}
template <typename T> T atomicExch(T *at, emu_same<T> to)
{
    return emu_atomic(at, [=](T) { return to; });
}
template <typename T> T atomicMin(T *at, emu_same<T> other)
{
    return emu_atomic(at, [=](T was) { return other < was ? other : was; });
}
template <typename T> T atomicMax(T *at, emu_same<T> other)
{
    return emu_atomic(at, [=](T was) { return other > was ? other : was; });
}
template <typename T> T atomicAnd(T *at, emu_same<T> other)
{
    return emu_atomic(at, [=](T was) { return (T)(was & other); });
}
template <typename T> T atomicOr(T *at, emu_same<T> other)
{
    return emu_atomic(at, [=](T was) { return (T)(was | other); });
}
template <typename T> T atomicXor(T *at, emu_same<T> other)
{
    return emu_atomic(at, [=](T was) { return (T)(was ^ other); });
}
template <typename T> T atomicCAS(T *at, emu_same<T> old, emu_same<T> to)
{
    return emu_atomic(at, [=](T was) { return was == old ? to : was; });
}
static inline unsigned atomicInc(unsigned *at, unsigned limit)
{
    return emu_atomic(at, [=](unsigned was) { return was >= limit ? 0 : was + 1; });
}

#include "tests/emulator/math.h"

#endif
