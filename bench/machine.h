// What a machine's memory gives: how many bytes a second threads can read that no cache holds. Local; no ranks here.
#ifndef WEFT_BENCH_MACHINE_H
#define WEFT_BENCH_MACHINE_H

#include <stddef.h>

#include "core/cpu.h"
#include "core/team.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_read_test weft_read_test;

// How large a buffer must be on this machine so that caches do not matter, kept to an eighth of what is free and to
// 1 GiB.
size_t weft_read_test_bytes(const weft_topology *topology, size_t free_bytes);

// Takes and touches the memory, each thread of the team its own part. The team is borrowed.
weft_status weft_read_test_create(weft_team *team, size_t bytes, weft_read_test **out);
void weft_read_test_destroy(weft_read_test *test); // accepts NULL

// Bytes a second that `threads` of the team read together, in the best of some windows that last `seconds` in all: what
// the memory gives, not what other programs left of it. They read `bytes` of the buffer, or all of it where that is 0.
// Blocking.
double weft_read_test_run(weft_read_test *test, int threads, size_t bytes, double seconds);

#ifdef __cplusplus
}
#endif
#endif
