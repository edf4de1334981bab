// Faults on demand, in builds with assertions: WEFT_FAULT=rank:step:kill|stop|delay strikes when that rank enters that
// step. The program has enospc (launch/sink.c).
#include "comm/comm_impl.h"

#ifndef NDEBUG

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"

void wi_fault_open(const weft_job *job)
{
    if (getenv("WEFT_FAULT")) weft_log_info("rank %d is process %d", job->rank, (int)getpid());
}

void wi_fault_at(const weft_job *job, int64_t step)
{
    const char *text = getenv("WEFT_FAULT");
    char what[16];
    long long at;
    int rank;
    if (!text || sscanf(text, "%d:%lld:%15s", &rank, &at, what) != 3) return;
    if (rank != job->rank || at != step) return;
    if (strcmp(what, "kill") == 0) raise(SIGKILL);
    if (strcmp(what, "stop") == 0) raise(SIGSTOP);
    if (strcmp(what, "delay") == 0) weft_clock_sleep_ns(1000000000);
}

#else

void wi_fault_open(const weft_job *job) {}
void wi_fault_at(const weft_job *job, int64_t step) {}

#endif
