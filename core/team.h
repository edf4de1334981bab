// A team of threads that does one parallel job at a time. The caller is thread 0. Workers wait between jobs as
// weft_patience says, so that an idle team costs nothing and an oversubscribed one does not spin.
#ifndef WEFT_CORE_TEAM_H
#define WEFT_CORE_TEAM_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_team weft_team;

typedef struct {
    int threads;     // at least 1
    const int *cpus; // thread i is bound to cpus[i % cpu_count]; NULL: not bound
    int cpu_count;
    int waiters; // spinning waiters on these cpus, the other ranks' threads included; 0 means `threads`
} weft_team_options;

// Fails with NO_MEMORY or FAILED (a thread could not start). Binding that fails is a warning, not an error.
weft_status weft_team_create(const weft_team_options *options, weft_team **out);
void weft_team_destroy(weft_team *team); // accepts NULL

// Runs job(arg, i, threads) for i = 0..threads-1 and returns when all are done. Blocking; not reentrant.
typedef void weft_job_fn(void *arg, int thread, int threads);
void weft_team_run(weft_team *team, weft_job_fn *job, void *arg);
int weft_team_threads(const weft_team *team);

// Inside a job: returns when every thread of the team has come here.
void weft_team_barrier(weft_team *team, int thread);

// The part of [0, count) that thread i of n does, in whole `grain`s where possible.
void weft_team_share(int64_t count, int64_t grain, int thread, int threads, int64_t *begin, int64_t *end);

#ifdef __cplusplus
}
#endif
#endif
