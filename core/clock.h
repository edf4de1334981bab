// Time. Intervals and deadlines come from the monotonic clock; wall time is for stamps only.
#ifndef WEFT_CORE_CLOCK_H
#define WEFT_CORE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

int64_t weft_clock_ns(void);                       // CLOCK_MONOTONIC
void weft_clock_wall(char *text, size_t capacity); // "2026-11-20T23:51:29.123Z"; needs 25 bytes
void weft_clock_sleep_ns(int64_t ns);              // sleeps through signals

// The cheapest clock there is, for the flight recorder: a few nanoseconds, in ticks that all processes of a host share.
static inline uint64_t weft_clock_ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    return (uint64_t)weft_clock_ns();
#endif
}
double weft_clock_tick_seconds(void); // the length of one tick, measured in some milliseconds: for reports

#ifdef __cplusplus
}
#endif
#endif
