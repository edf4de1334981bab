#include "core/wait.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"

// No wake is lost. The writer stores `value`, then reads `sleepers`; the waiter adds to `sleepers`, then reads `value`.
// All four are sequentially consistent, so at least one of the two sees the other: either the waiter sees the new
// value and does not sleep, or the writer sees a sleeper and wakes. In the second case the kernel compares the word
// with what the waiter read while it queues the waiter, so a store in between makes FUTEX_WAIT return at once.
// What remains are cancel words, which the kernel does not compare: they are seen after one slice at the latest.
enum { SLICE_NS = 50 * 1000 * 1000, POLLS_BEFORE_PAUSE = 128, CLOCK_EVERY = 32 };

static inline void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

// The word may lie in memory that processes share, so the calls are not FUTEX_PRIVATE.
static void futex_wake_all(uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0); }

static void futex_sleep(uint32_t *word, uint32_t seen, int64_t ns)
{
    struct timespec slice = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    syscall(SYS_futex, word, FUTEX_WAIT, seen, &slice, NULL, 0); // the caller looks again, whatever this returned
}

void weft_signal_set(weft_signal *signal, uint32_t value)
{
    __atomic_exchange_n(&signal->value, value, __ATOMIC_SEQ_CST);
    // A waiter that was killed while it slept stays counted; that costs a needless call a set and nothing else.
    if (__atomic_load_n(&signal->sleepers, __ATOMIC_SEQ_CST)) futex_wake_all(&signal->value);
}

uint32_t weft_signal_get(const weft_signal *signal) { return __atomic_load_n(&signal->value, __ATOMIC_ACQUIRE); }

void weft_signal_interrupt(weft_signal *signal) { futex_wake_all(&signal->value); }

typedef enum { GO_ON, REACHED, CANCELLED, EXPIRED } outcome;

static inline outcome look(const weft_signal *signal, uint32_t target, const uint32_t *cancel)
{
    if (weft_signal_reached(weft_signal_get(signal), target)) return REACHED;
    return cancel && __atomic_load_n(cancel, __ATOMIC_ACQUIRE) ? CANCELLED : GO_ON;
}

static outcome sleep_once(weft_signal *signal, uint32_t target, const uint32_t *cancel, int64_t ns)
{
    __atomic_fetch_add(&signal->sleepers, 1, __ATOMIC_SEQ_CST);
    uint32_t seen = __atomic_load_n(&signal->value, __ATOMIC_SEQ_CST);
    bool cancelled = cancel && __atomic_load_n(cancel, __ATOMIC_ACQUIRE);
    if (!weft_signal_reached(seen, target) && !cancelled) futex_sleep(&signal->value, seen, ns);
    __atomic_fetch_sub(&signal->sleepers, 1, __ATOMIC_RELAXED);
    return look(signal, target, cancel);
}

// `deadline` in weft_clock_ns, or INT64_MAX.
static outcome wait_until(weft_signal *signal, uint32_t target, const weft_patience *patience, int64_t deadline)
{
    bool timed = deadline != INT64_MAX;
    const uint32_t *cancel = patience->cancel;
    outcome found = GO_ON;
    for (int i = 0; i < patience->spins; i++) {
        // A pause takes up to 70 ns, which is half of a hop between two cores: what is about to come is polled for,
        // for a third of a microsecond.
        if (i >= POLLS_BEFORE_PAUSE) pause_cpu();
        if ((found = look(signal, target, cancel)) != GO_ON) return found;
        if (timed && i % CLOCK_EVERY == CLOCK_EVERY - 1 && weft_clock_ns() >= deadline) return EXPIRED;
    }
    for (int i = 0; i < patience->yields; i++) {
        sched_yield();
        if ((found = look(signal, target, cancel)) != GO_ON) return found;
        if (timed && weft_clock_ns() >= deadline) return EXPIRED;
    }
    for (;;) {
        int64_t slice = SLICE_NS;
        if (timed) {
            int64_t left = deadline - weft_clock_ns();
            if (left <= 0) return EXPIRED;
            if (left < slice) slice = left;
        }
        if ((found = sleep_once(signal, target, cancel, slice)) != GO_ON) return found;
    }
}

static weft_status finish(outcome found)
{
    if (found == REACHED) return WEFT_OK;
    if (found == EXPIRED) return WEFT_IN_PROGRESS;
    return weft_fail(WEFT_LOST, "a wait was cancelled because the job is being ended");
}

weft_status weft_signal_wait(weft_signal *signal, uint32_t target, const weft_patience *patience)
{
    if (weft_signal_reached(weft_signal_get(signal), target)) return WEFT_OK;
    return finish(wait_until(signal, target, patience, INT64_MAX));
}

weft_status weft_signal_wait_for(weft_signal *signal, uint32_t target, const weft_patience *patience,
                                 int64_t timeout_ns)
{
    outcome found = look(signal, target, patience->cancel);
    if (found == GO_ON && timeout_ns <= 0) found = EXPIRED;
    if (found != GO_ON) return finish(found);
    int64_t now = weft_clock_ns();
    return finish(wait_until(signal, target, patience, timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns));
}

// How many polls with a pause take `ns`: a pause takes 5 ns on some processors and 70 ns on others. The quickest of
// three looks counts, for a thread that is taken off its cpu meanwhile measures too much.
static int polls_in(int64_t ns)
{
    enum { TRIES = 3, POLLS = 64, LEAST = 100, MOST = 10000 };
    weft_signal dummy = {0};
    int64_t best = INT64_MAX;
    for (int t = 0; t < TRIES; t++) {
        int64_t begin = weft_clock_ns();
        for (int i = 0; i < POLLS; i++) {
            pause_cpu();
            look(&dummy, 1, NULL);
        }
        int64_t took = weft_clock_ns() - begin;
        if (took < best) best = took;
    }
    int64_t polls = ns * POLLS / (best > 0 ? best : 1);
    return (int)(polls < LEAST ? LEAST : polls > MOST ? MOST : polls);
}

// The numbers come from barriers in which each process sets its signal and waits for all others, on two cores of a
// Sapphire Rapids under Linux 6.18 (250 Hz); a sleep and its wake cost 2 to 50 us there, a yield about 0.3 us.
// With a cpu each, 30 us of spinning cover what ranks in step differ by, and a barrier of two takes 0.3 us. The yields
// after that are for waiters whose cpu is not as much their own as they think.
// Eight processes on two cores: every spin is taken from the one that is waited for. 10 to 16 polls: 4.7 us in the
// median, 10 us at the 99th percentile; 50: 8 and 28 us; 200: 25 and 50 us. Without yields: 26 and 65 us, for then the
// writers make a call for each sleeper; 20 to 10000 yields differ little, also where one rank works 50 to 500 us and
// the others wait, so they end where a sleep costs little beside what was already waited.
weft_patience weft_patience_make(int waiters, int cpus)
{
    if (waiters <= cpus) return (weft_patience){.spins = polls_in(30 * 1000), .yields = 300};
    return (weft_patience){.spins = 16, .yields = 200};
}
