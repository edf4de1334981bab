// fault_loop local|auto|mpi|ucx RANKS DEADLINE WHAT [RANK]: ranks that exchange in steps until something happens to
// them, for tests/comm/faults. Says "pid RANK PID" for each rank, "pid first PID" for what started them, and "running"
// when the steps go on. WHAT:
//   loop       exchanges on channel "layer", until SIGUSR1, SIGTERM or SIGINT; then all end with DRAINED at one step
//   outside    RANK stays outside any exchange for ever       exit     RANK exits with 3 without leaving the job
//   crossed    half of the ranks exchange on another channel   window   RANK never raises the flag that its peer wants
//   fails      RANK fails before a collective phase            abort    RANK aborts the job
//   create     makes and frees channels                        split    makes and frees groups
//   closing    RANK stops itself before it closes the job      opening  the job is opened and closed, no more
//   huge       a channel that no machine has memory for        limited  RANK alone has no memory for a channel
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "comm/window.h"
#include "core/clock.h"

enum { LAYER_BYTES = 8192, LAST_RESORT_S = 60 };

typedef struct {
    weft_job *job;
    weft_comm *world;
    const char *what;
    int rank, size, chosen;
    uint64_t random;
} loop;

static bool is(const loop *self, const char *what) { return strcmp(self->what, what) == 0; }

static weft_status make_channel(weft_comm *comm, const char *name, size_t bytes, weft_channel **out)
{
    weft_channel_spec spec = {.shape = WEFT_ALLGATHER, .name = name, .bytes = bytes};
    return weft_channel_create(comm, &spec, out);
}

// Now and then a rank is late, so that what strikes finds ranks in every state.
static void work_a_little(loop *self)
{
    self->random = self->random * 6364136223846793005u + 1442695040888963407u;
    if ((self->random >> 33) % 4 == 0) weft_clock_sleep_ns((int64_t)(self->random >> 40) % 1000000);
}

static weft_status exchange(loop *self, weft_channel *channel)
{
    weft_exchange ex;
    WEFT_TRY(weft_exchange_acquire(channel, &ex));
    memset(ex.slot, self->rank + 1, LAYER_BYTES);
    WEFT_TRY(weft_exchange_begin(&ex, LAYER_BYTES));
    WEFT_TRY(weft_exchange_end(&ex));
    for (int peer = 0; peer < self->size; peer++)
        if (ex.bytes[peer] != LAYER_BYTES || ex.view[peer][LAYER_BYTES - 1] != peer + 1)
            return weft_fail(WEFT_INTERNAL, "rank %d sent wrong bytes", peer);
    weft_exchange_release(&ex);
    return WEFT_OK;
}

// The ranks look at their signals at each step, and all stop at the same one.
static weft_status drained(loop *self, int64_t step)
{
    int64_t signal = weft_job_drain_signal(self->job);
    WEFT_TRY(weft_comm_max(self->world, &signal, 1));
    if (signal == 0) return WEFT_OK;
    printf("rank %d: drained at step %" PRId64 "\n", self->rank, step);
    return WEFT_DRAINED;
}

static weft_status misbehave(loop *self)
{
    if (is(self, "outside"))
        for (;;) pause();
    if (is(self, "exit")) _exit(3);
    if (is(self, "abort")) weft_job_abort(self->job, WEFT_IO, "the disk of rank 1 is full");
    return WEFT_OK;
}

static weft_status run_steps(loop *self)
{
    weft_channel *channel;
    WEFT_TRY(make_channel(self->world, "layer", LAYER_BYTES, &channel));
    for (int64_t step = 1;; step++) {
        weft_job_set_step(self->job, step);
        if (step == 20 && self->rank == 0) puts("running");
        if (step == 50 && self->rank == self->chosen) WEFT_TRY(misbehave(self));
        work_a_little(self);
        WEFT_TRY(exchange(self, channel));
        if (!is(self, "loop")) continue;
        weft_status status = drained(self, step);
        if (status == WEFT_DRAINED) weft_channel_destroy(channel);
        WEFT_TRY(status);
    }
}

static weft_status run_crossed(loop *self)
{
    weft_channel *one, *other;
    WEFT_TRY(make_channel(self->world, "one", LAYER_BYTES, &one));
    WEFT_TRY(make_channel(self->world, "other", LAYER_BYTES, &other));
    if (self->rank == 0) puts("running");
    return exchange(self, self->rank < self->size / 2 ? one : other);
}

static weft_status run_window(loop *self)
{
    weft_window *window;
    WEFT_TRY(weft_window_create(self->world, 100, "mailbox", &window));
    if (self->rank == 0) puts("running");
    if (self->rank == self->chosen)
        for (;;) pause();
    return weft_window_wait(window, self->chosen, 1);
}

static weft_status run_fails(loop *self)
{
    int who;
    weft_status mine = WEFT_OK;
    if (self->rank == 0) puts("running");
    if (self->rank == self->chosen) mine = weft_fail(WEFT_FORMAT, "model.json, line 7: a bracket too many");
    weft_status all = weft_comm_agree(self->world, mine, &who);
    printf("rank %d: %s of rank %d: %s\n", self->rank, weft_status_name(all), who, weft_error_text());
    return all;
}

static weft_status run_create(loop *self)
{
    if (self->rank == 0) puts("running");
    for (;;) {
        weft_comm *group = self->world;
        weft_channel *channel;
        work_a_little(self);
        if (is(self, "split")) WEFT_TRY(weft_comm_split(self->world, 0, self->rank, "part", &group));
        WEFT_TRY(make_channel(group, "brief", 100000, &channel));
        weft_channel_destroy(channel);
        if (group != self->world) weft_comm_destroy(group);
    }
}

static void limit_memory(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%lu", &pages) != 1) abort();
    fclose(file);
    struct rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = (rlim_t)pages * 4096 + ((rlim_t)64 << 20);
    setrlimit(RLIMIT_AS, &limit);
}

// After a channel that cannot be had the ranks go on with one that can.
static weft_status run_huge(loop *self)
{
    weft_channel *channel;
    if (is(self, "limited") && self->rank == self->chosen) limit_memory();
    weft_status status = make_channel(self->world, "huge", is(self, "huge") ? (size_t)1 << 45 : 256 << 20, &channel);
    printf("rank %d: %s: %s\n", self->rank, weft_status_name(status), weft_error_text());
    if (status == WEFT_OK) weft_channel_destroy(channel);
    WEFT_TRY(make_channel(self->world, "layer", LAYER_BYTES, &channel));
    WEFT_TRY(exchange(self, channel));
    weft_channel_destroy(channel);
    return weft_comm_agree(self->world, WEFT_OK, NULL);
}

static weft_status run(loop *self)
{
    printf("pid %d %d\n", self->rank, (int)getpid());
    WEFT_TRY(weft_comm_barrier(self->world));
    if (is(self, "opening")) return WEFT_OK;
    if (is(self, "crossed")) return run_crossed(self);
    if (is(self, "window")) return run_window(self);
    if (is(self, "fails")) return run_fails(self);
    if (is(self, "create") || is(self, "split")) return run_create(self);
    if (is(self, "huge") || is(self, "limited")) return run_huge(self);
    if (is(self, "closing")) {
        WEFT_TRY(weft_comm_agree(self->world, WEFT_OK, NULL));
        if (self->rank == self->chosen) raise(SIGSTOP);
        return WEFT_OK;
    }
    return run_steps(self);
}

int main(int argc, char **argv)
{
    if (argc < 5) return 2;
    const char *kind = argv[1];
    weft_job_options options = {.deadline_ns = (int64_t)(strtod(argv[3], NULL) * 1e9)};
    loop self = {.what = argv[4], .size = atoi(argv[2]), .chosen = argc > 5 ? atoi(argv[5]) : -1};
    int code = 0;
    weft_status status;
    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(LAST_RESORT_S); // whatever goes wrong, no test leaves a process for ever
    if (strcmp(kind, "local") == 0) {
        printf("pid first %d\n", (int)getpid());
        status = weft_job_open_local(&options, self.size, &self.job, &code);
        if (status == WEFT_OK && !self.job) return code;
    } else {
        if (strcmp(kind, "mpi") == 0) options.transport = WEFT_TRANSPORT_MPI;
        if (strcmp(kind, "ucx") == 0) options.transport = WEFT_TRANSPORT_UCX;
        status = weft_job_open_mpi(&options, &self.job);
    }
    if (status == WEFT_OK) {
        self.world = weft_job_world(self.job);
        self.rank = weft_comm_rank(self.world);
        self.size = weft_comm_size(self.world);
        self.random = (uint64_t)getpid();
        alarm(LAST_RESORT_S); // a forked process has lost the first one's
        status = run(&self);
    }
    // Told once: all ranks have the same failure by now.
    if (status < 0 && status != WEFT_DRAINED && self.rank == 0)
        fprintf(stderr, "weft[0] error: %s: %s\n", weft_status_name(status), weft_error_text());
    weft_job_close(self.job);
    return weft_status_exit_code(status);
}
