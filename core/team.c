#include "core/team.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/wait.h"

// Two lines, since processors fetch lines in pairs.
enum { LINE = 128 };

// One thread of the team. What the thread itself writes and others poll stands in lines of its own.
typedef struct {
    alignas(LINE) weft_signal done; // the epoch of the last job that it finished
    alignas(LINE) weft_signal here; // rounds of the barrier that it has entered
    uint32_t rounds;                // its own count of them
    alignas(LINE) pthread_t handle;
    weft_team *team;
    int index;
} member;

struct weft_team {
    alignas(LINE) weft_signal go;   // the epoch of the job to do
    alignas(LINE) weft_job_fn *job; // NULL: end
    void *arg;
    uint32_t epoch;
    int threads;
    int started; // workers that run, so members 1..started
    weft_patience patience;
    bool bound_caller; // thread 0's binding is undone at the end
    pthread_t caller;
    cpu_set_t caller_cpus;
    member *members;
};

static void *worker_main(void *arg)
{
    member *self = arg;
    weft_team *team = self->team;
    for (uint32_t epoch = 1;; epoch++) {
        weft_signal_wait(&team->go, epoch, &team->patience);
        if (!team->job) return NULL;
        team->job(team->arg, self->index, team->threads);
        weft_signal_set(&self->done, epoch);
    }
}

static void bind(pthread_t thread, int index, const weft_team_options *options)
{
    int cpu = options->cpus[index % options->cpu_count];
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
    int error = pthread_setaffinity_np(thread, sizeof set, &set);
    if (error)
        weft_log_warn("thread %d could not be bound to cpu %d: %s; it runs unbound", index, cpu, strerror(error));
}

// Signals go to the threads that the program chose. Those of a crash stay open: a blocked one kills without a word.
static void block_signals(sigset_t *before)
{
    const int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};
    sigset_t set;
    sigfillset(&set);
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) sigdelset(&set, crashes[i]);
    pthread_sigmask(SIG_SETMASK, &set, before);
}

static weft_status start_workers(weft_team *team, const weft_team_options *options)
{
    sigset_t before;
    block_signals(&before);
    int error = 0;
    for (int i = 1; i < team->threads && !error; i++) {
        member *worker = &team->members[i];
        worker->team = team;
        worker->index = i;
        error = pthread_create(&worker->handle, NULL, worker_main, worker);
        if (error) break;
        team->started = i;
        pthread_setname_np(worker->handle, "weft-team");
        if (options->cpus) bind(worker->handle, i, options);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!error) return WEFT_OK;
    return weft_fail(WEFT_FAILED,
                     "thread %d of %d could not be started: %s; use fewer threads or raise the limit (ulimit -u)",
                     team->started + 1, team->threads, strerror(error));
}

// The cpus that the team's waiters share.
static int count_cpus(const weft_team_options *options)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int i = 0; options->cpus && i < options->cpu_count; i++) {
        if (options->cpus[i] >= 0 && options->cpus[i] < CPU_SETSIZE) CPU_SET(options->cpus[i], &set);
    }
    if (!options->cpus && sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return CPU_COUNT(&set);
}

weft_status weft_team_create(const weft_team_options *options, weft_team **out)
{
    if (options->threads < 1 || (options->cpus && options->cpu_count < 1)) {
        return weft_fail(WEFT_INVALID, "a team of %d threads on %d cpus: both must be at least 1", options->threads,
                         options->cpu_count);
    }
    weft_status status = WEFT_OK;
    weft_team *team = aligned_alloc(LINE, sizeof *team);
    if (!team) return weft_fail(WEFT_NO_MEMORY, "no memory for a team of %d threads", options->threads);
    memset(team, 0, sizeof *team);
    size_t bytes = (size_t)options->threads * sizeof *team->members;
    team->members = aligned_alloc(LINE, bytes);
    if (!team->members) {
        status = weft_fail(WEFT_NO_MEMORY, "no memory for a team of %d threads", options->threads);
        goto fail;
    }
    memset(team->members, 0, bytes);
    team->threads = options->threads;
    team->patience =
        weft_patience_make(options->waiters > 0 ? options->waiters : options->threads, count_cpus(options));
    WEFT_TRY_GOTO(start_workers(team, options));
    if (options->cpus) { // after the workers, which would inherit it
        team->caller = pthread_self();
        team->bound_caller = pthread_getaffinity_np(team->caller, sizeof team->caller_cpus, &team->caller_cpus) == 0;
        bind(team->caller, 0, options);
    }
    *out = team;
    return WEFT_OK;
fail:
    weft_team_destroy(team);
    return status;
}

void weft_team_destroy(weft_team *team)
{
    if (!team) return;
    team->job = NULL;
    weft_signal_set(&team->go, team->epoch + 1);
    for (int i = 1; i <= team->started; i++) pthread_join(team->members[i].handle, NULL);
    if (team->bound_caller && pthread_equal(team->caller, pthread_self())) {
        pthread_setaffinity_np(team->caller, sizeof team->caller_cpus, &team->caller_cpus);
    }
    free(team->members);
    free(team);
}

void weft_team_run(weft_team *team, weft_job_fn *job, void *arg)
{
    if (team->threads > 1) {
        team->job = job;
        team->arg = arg;
        weft_signal_set(&team->go, ++team->epoch);
    }
    job(arg, 0, team->threads);
    for (int i = 1; i < team->threads; i++) {
        weft_signal_wait(&team->members[i].done, team->epoch, &team->patience);
    }
}

int weft_team_threads(const weft_team *team) { return team->threads; }

// By dissemination: in round k a thread waits for the one 2^k before it, which by then has heard of 2^k threads. One
// counter a thread is enough, for it only grows; a thread that is a barrier ahead has all the more passed this round.
void weft_team_barrier(weft_team *team, int thread)
{
    member *self = &team->members[thread];
    for (int step = 1; step < team->threads; step *= 2) {
        weft_signal_set(&self->here, ++self->rounds);
        const int peer = (thread + team->threads - step) % team->threads;
        weft_signal_wait(&team->members[peer].here, self->rounds, &team->patience);
    }
}

void weft_team_share(int64_t count, int64_t grain, int thread, int threads, int64_t *begin, int64_t *end)
{
    if (grain < 1) grain = 1;
    // floor(units * i / threads) without the product, which could overflow
    int64_t units = count / grain + (count % grain != 0), each = units / threads, rest = units % threads;
    *begin = (each * thread + rest * thread / threads) * grain;
    *end = thread + 1 == threads ? count : (each * (thread + 1) + rest * (thread + 1) / threads) * grain;
}
