#include "core/team.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>

#include "tests/check.h"

enum { THREADS_MAX = 9, PHASES = 200 };

typedef struct {
    weft_team *team;
    int calls[THREADS_MAX], threads[THREADS_MAX];
    int64_t cells[THREADS_MAX]; // plain: the barrier alone orders them
    int cpu[THREADS_MAX];
    bool open[THREADS_MAX];
} record;

static void note(void *arg, int thread, int threads)
{
    record *r = arg;
    r->calls[thread]++;
    r->threads[thread] = threads;
}

static weft_team *make(int threads, const int *cpus, int cpu_count, int waiters)
{
    weft_team *team = NULL;
    weft_team_options options = {.threads = threads, .cpus = cpus, .cpu_count = cpu_count, .waiters = waiters};
    CHECK_OK(weft_team_create(&options, &team));
    return team;
}

static void test_run(int threads, int waiters)
{
    record r = {0};
    weft_team *team = make(threads, NULL, 0, waiters);
    CHECK_INT(weft_team_threads(team), threads);
    for (int i = 1; i <= 300; i++) {
        weft_team_run(team, note, &r);
        for (int t = 0; t < threads; t++) CHECK_INT(r.calls[t], i);
    }
    for (int t = 0; t < threads; t++) CHECK_INT(r.threads[t], threads);
    weft_team_destroy(team);
}

// In each phase a thread writes its cell and reads all cells after a barrier; a second barrier guards the next write.
static void phases(void *arg, int thread, int threads)
{
    record *r = arg;
    for (int p = 0; p < PHASES; p++) {
        r->cells[thread] = p * 100 + thread;
        weft_team_barrier(r->team, thread);
        for (int t = 0; t < threads; t++) CHECK_INT(r->cells[t], p * 100 + t);
        weft_team_barrier(r->team, thread);
    }
}

static void test_barrier(int threads)
{
    record r = {.team = make(threads, NULL, 0, 0)};
    weft_team_run(r.team, phases, &r);
    weft_team_run(r.team, phases, &r);
    weft_team_destroy(r.team);
}

static void look(void *arg, int thread, int threads)
{
    record *r = arg;
    cpu_set_t set;
    CHECK_INT(pthread_getaffinity_np(pthread_self(), sizeof set, &set), 0);
    r->cpu[thread] = -1;
    for (int c = 0; c < CPU_SETSIZE && CPU_COUNT(&set) == 1; c++) {
        if (CPU_ISSET(c, &set)) r->cpu[thread] = c;
    }
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    r->open[thread] = !sigismember(&blocked, SIGTERM) && !sigismember(&blocked, SIGINT);
    CHECK(!sigismember(&blocked, SIGSEGV));
}

static void test_binding_and_signals(void)
{
    cpu_set_t before, after;
    CHECK_INT(sched_getaffinity(0, sizeof before, &before), 0);
    int cpus[2], count = 0;
    for (int c = 0; c < CPU_SETSIZE && count < 2; c++) {
        if (CPU_ISSET(c, &before)) cpus[count++] = c;
    }
    record r = {0};
    weft_team *team = make(3, cpus, count, 0);
    weft_team_run(team, look, &r);
    for (int t = 0; t < 3; t++) {
        CHECK_INT(r.cpu[t], cpus[t % count]);
        CHECK_INT(r.open[t], t == 0); // only the caller takes signals
    }
    weft_team_destroy(team);
    CHECK_INT(sched_getaffinity(0, sizeof after, &after), 0);
    CHECK(CPU_EQUAL(&before, &after));

    const int missing[] = {CPU_SETSIZE - 1, -1};
    team = make(2, missing, 2, 0); // warns and works
    weft_team_run(team, look, &r);
    weft_team_destroy(team);
}

static void test_share(void)
{
    const int64_t counts[] = {0, 1, 7, 64, 1000, INT64_MAX}, grains[] = {1, 16, 2 << 20, INT64_MAX};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        for (size_t g = 0; g < sizeof grains / sizeof *grains; g++) {
            for (int n = 1; n <= 9; n++) {
                int64_t at = 0;
                for (int i = 0; i < n; i++) {
                    int64_t begin, end;
                    weft_team_share(counts[c], grains[g], i, n, &begin, &end);
                    CHECK_INT(begin, at);
                    CHECK(end >= begin && end <= counts[c]);
                    CHECK(end == counts[c] || end % grains[g] == 0);
                    at = end;
                }
                CHECK_INT(at, counts[c]);
            }
        }
    }
    int64_t begin, end;
    weft_team_share(100, 10, 1, 4, &begin, &end); // 10 grains as 2, 3, 2, 3
    CHECK_INT(begin, 20);
    CHECK_INT(end, 50);
}

static void test_refused(void)
{
    weft_team *team = NULL;
    weft_team_options none = {.threads = 0};
    CHECK_FAILS(weft_team_create(&none, &team), WEFT_INVALID, "0 threads");
    int cpu = 0;
    weft_team_options no_cpus = {.threads = 1, .cpus = &cpu, .cpu_count = 0};
    CHECK_FAILS(weft_team_create(&no_cpus, &team), WEFT_INVALID, "0 cpus");
    CHECK(!team);
    weft_team_destroy(NULL);
}

int main(void)
{
    for (int n = 1; n <= THREADS_MAX; n++) test_run(n, 0);
    test_run(2, 64); // told that it shares its cpus
    for (int n = 1; n <= THREADS_MAX; n++) test_barrier(n);
    test_binding_and_signals();
    test_share();
    test_refused();
    return 0;
}
