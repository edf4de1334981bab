// `weft -n N`: this process starts N copies of itself over shared memory and watches them to their end. No MPI.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "comm/comm_impl.h"
#include "core/clock.h"
#include "core/log.h"

enum { GRACE_MS = 1000, RANKS_MAX = 4096 };

typedef struct {
    wi_board *board;
    int ranks, alive;
    pid_t *pid;         // [ranks]
    int *code;          // [ranks] exit codes, 128 + signal for those that were killed
    struct pollfd *fds; // [ranks + 1]: pidfds, then signals
    int64_t kill_at;    // when those still alive are killed; 0: not yet
} supervisor;

static void drop(supervisor *self)
{
    for (int i = 0; self->fds && i <= self->ranks; i++)
        if (self->fds[i].fd >= 0) close(self->fds[i].fd);
    free(self->pid);
    free(self->code);
    free(self->fds);
}

static weft_status become_rank(const weft_job_options *options, wi_board *board, int rank, int ranks, pid_t parent,
                               weft_job **out)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) raise(SIGKILL); // it died before it could be asked for
    weft_job *job = calloc(1, sizeof *job);
    if (!job) return weft_fail(WEFT_NO_MEMORY, "no memory for a job");
    if (rank > 0) {
        int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (nothing >= 0) dup2(nothing, 0);
    }
    job->rank = rank;
    job->size = ranks;
    job->memory = WI_MEMORY_SHM;
    job->board = board;
    weft_status status;
    WEFT_TRY_GOTO(wi_place_all_here(ranks, &job->place));
    WEFT_TRY_GOTO(wi_job_init(job, options, wi_allowed_cpus()));
    // All seats are taken after this: the watchdog may look at them.
    WEFT_TRY_GOTO(weft_comm_barrier(job->world));
    WEFT_TRY_GOTO(wi_watchdog_start(job, &job->watchdog));
    *out = job;
    return WEFT_OK;
fail:
    wi_job_fini(job);
    free(job);
    return status;
}

static void send_all(const supervisor *self, int signal)
{
    for (int rank = 0; rank < self->ranks; rank++)
        if (self->fds[rank].fd >= 0) syscall(SYS_pidfd_send_signal, self->fds[rank].fd, signal, NULL, 0);
}

// A terminal's Ctrl-C has reached the ranks already; what another process sent only to this one is passed on.
static void pass_signals_on(const supervisor *self)
{
    struct signalfd_siginfo info;
    while (read(self->fds[self->ranks].fd, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_pid != 0) send_all(self, (int)info.ssi_signo);
}

static void tell_loss(const supervisor *self, int rank, int wait_status)
{
    char does[256], how[64], text[WI_VERDICT_MAX];
    if (!wi_verdict_claim(self->board)) return;
    wi_seat_describe(self->board, rank, does, sizeof does);
    if (WIFSIGNALED(wait_status))
        snprintf(how, sizeof how, "was killed by signal %d (%s)", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
    else
        snprintf(how, sizeof how, "exited with code %d without leaving the job", WEXITSTATUS(wait_status));
    snprintf(text, sizeof text, "rank %d %s; last seen, it %s", rank, how, does);
    weft_log_error("%s", text);
    wi_verdict_publish(self->board, WEFT_LOST, text);
}

static void reap(supervisor *self, int rank)
{
    int status = 0;
    while (waitpid(self->pid[rank], &status, 0) < 0 && errno == EINTR) {
    }
    close(self->fds[rank].fd);
    self->fds[rank].fd = -1;
    self->alive--;
    self->code[rank] = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    uint32_t state = __atomic_load_n(&wi_board_seat(self->board, rank)->state, __ATOMIC_ACQUIRE);
    if (state == WI_SEAT_DONE && !WIFSIGNALED(status)) return;
    tell_loss(self, rank, status);
    if (!self->kill_at) self->kill_at = weft_clock_ns() + GRACE_MS * INT64_C(1000000);
}

static int supervise(supervisor *self)
{
    while (self->alive > 0) {
        int64_t left = self->kill_at ? self->kill_at - weft_clock_ns() : -1;
        if (self->kill_at && left <= 0) {
            send_all(self, SIGKILL);
            self->kill_at = weft_clock_ns() + GRACE_MS * INT64_C(1000000);
        }
        int ready = poll(self->fds, (nfds_t)self->ranks + 1, self->kill_at ? (int)(left / 1000000) + 1 : -1);
        if (ready < 0) continue;
        for (int rank = 0; rank < self->ranks; rank++)
            if (self->fds[rank].fd >= 0 && (self->fds[rank].revents & POLLIN)) reap(self, rank);
        if (self->fds[self->ranks].revents & POLLIN) pass_signals_on(self);
    }
    weft_status verdict = wi_verdict_status(self->board);
    if (verdict < 0) return weft_status_exit_code(verdict);
    if (self->kill_at) return weft_status_exit_code(WEFT_LOST); // the one who was to tell it died
    for (int rank = 0; rank < self->ranks; rank++)
        if (self->code[rank]) return self->code[rank];
    return 0;
}

static weft_status prepare(supervisor *self, int ranks, size_t bytes)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    self->ranks = ranks;
    self->pid = calloc((size_t)ranks, sizeof *self->pid);
    self->code = calloc((size_t)ranks, sizeof *self->code);
    self->fds = calloc((size_t)ranks + 1, sizeof *self->fds);
    for (int i = 0; self->fds && i <= ranks; i++) self->fds[i].fd = -1;
    self->board = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!self->pid || !self->code || !self->fds || self->board == MAP_FAILED)
        return weft_fail(WEFT_NO_MEMORY, "no memory to start %d ranks", ranks);
    wi_board_init(self->board, ranks);
    self->fds[ranks] = (struct pollfd){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), .events = POLLIN};
    return WEFT_OK;
}

static void kill_started(const supervisor *self)
{
    for (int rank = 0; rank < self->ranks; rank++) {
        if (self->pid[rank] <= 0) continue;
        kill(self->pid[rank], SIGKILL);
        while (waitpid(self->pid[rank], NULL, 0) < 0 && errno == EINTR) {
        }
    }
}

weft_status weft_job_open_local(const weft_job_options *options, int ranks, weft_job **out, int *exit_code)
{
    supervisor self = {0};
    pid_t parent = getpid();
    size_t bytes = wi_board_bytes(ranks, wi_comm_bytes(ranks));
    weft_status status;
    *out = NULL;
    if (ranks < 1 || ranks > RANKS_MAX) return weft_fail(WEFT_USAGE, "-n %d: must be 1 to %d", ranks, RANKS_MAX);
    WEFT_TRY(wi_options_check(options, false)); // told once, not by every rank
    wi_block_signals();
    WEFT_TRY_GOTO(prepare(&self, ranks, bytes));
    for (int rank = 0; rank < ranks; rank++) {
        pid_t pid = fork();
        if (pid == 0) {
            drop(&self);
            return become_rank(options, self.board, rank, ranks, parent, out);
        }
        self.pid[rank] = pid;
        self.fds[rank].events = POLLIN;
        if (pid > 0) self.fds[rank].fd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (self.fds[rank].fd < 0) {
            status = weft_fail(WEFT_FAILED, "cannot start rank %d of %d: %s", rank, ranks, strerror(errno));
            kill_started(&self);
            goto fail;
        }
        self.alive++;
    }
    *exit_code = supervise(&self);
    status = WEFT_OK;
fail:
    if (self.board && self.board != MAP_FAILED) munmap(self.board, bytes);
    drop(&self);
    return status;
}
