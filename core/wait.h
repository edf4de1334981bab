// Waiting for a word that another thread or another process will change. A wait spins briefly, then yields, then sleeps
// on the word; so it is quick on cores of one's own and harmless when ranks outnumber the cores.
#ifndef WEFT_CORE_WAIT_H
#define WEFT_CORE_WAIT_H

#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// A counter that only grows (modulo 2^32), with one writer. May lie in shared memory; zeroed is a valid start.
typedef struct {
    uint32_t value; // touched only by the functions below
    uint32_t sleepers;
} weft_signal;

typedef struct {
    int spins;              // polls with a pause between
    int yields;             // polls with sched_yield between, after the spins
    const uint32_t *cancel; // a wait ends with LOST when this word becomes non-zero; may be NULL
} weft_patience;

// For waiters that have a cpu each, or that share cpus with other spinning waiters.
weft_patience weft_patience_make(int waiters, int cpus);

// Everything written before the set is seen by a wait or get that returns that value or a later one.
void weft_signal_set(weft_signal *signal, uint32_t value);
uint32_t weft_signal_get(const weft_signal *signal);
// OK when the value has reached `target` (wrap-around safe), LOST when cancelled. Blocking.
weft_status weft_signal_wait(weft_signal *signal, uint32_t target, const weft_patience *patience);
// As wait, but gives up after `timeout_ns` with IN_PROGRESS.
weft_status weft_signal_wait_for(weft_signal *signal, uint32_t target, const weft_patience *patience,
                                 int64_t timeout_ns);
// Wakes sleepers so that they look at their cancel word.
void weft_signal_interrupt(weft_signal *signal);

static inline int weft_signal_reached(uint32_t value, uint32_t target) { return (int32_t)(value - target) >= 0; }

#ifdef __cplusplus
}
#endif
#endif
