// The watchdog: a thread that calls no MPI, no CUDA and no NCCL, so that it still works when those hang. It sees peers
// of this host die at once (their pidfds), holds the deadline of waits, and takes the signals that ask for a drain.
//
// Time is counted in ticks that this thread has lived through. A job that was suspended as a whole and goes on later
// has therefore not missed a deadline.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "comm/comm_impl.h"
#include "core/clock.h"
#include "core/log.h"

enum { STOP, SIGNALS, PEERS }; // the order of poll's entries
enum { TICK_MIN_MS = 10, TICK_MAX_MS = 250, GRACE_MS = 1000 };

static const int64_t REMOTE_NS = 300000000;
static const int64_t AGAIN_NS = 1000000000;
static const int64_t QUIET_NS = 1000000000; // without a heartbeat for this long, a process is taken for stopped

typedef struct {
    uint32_t heartbeat;
    int64_t quiet_ns;  // since it changed
    uint32_t wait;     // the wait that this rank is in, by its count
    int64_t waited_ns; // in that wait
} seen;

struct wi_watchdog {
    weft_job *job;
    pthread_t thread;
    int64_t tick_ns;
    int stop_fd;
    int seats;
    struct pollfd *fds; // [PEERS + seats]: a peer's pidfd, -1 for none
    seen *seen;         // [seats]
    int signal;         // the first that asked for a drain
    int64_t signal_ns;  // when it came
};

void wi_block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static int signals_fd(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static bool watches(const wi_watchdog *dog, int seat) { return dog->job->threads || seat == dog->job->seat; }

static int seat_of(const wi_watchdog *dog, int world_rank)
{
    for (int seat = 0; seat < dog->seats; seat++)
        if (wi_board_seat(dog->job->board, seat)->world_rank == world_rank) return seat;
    return -1;
}

static void print_others(const wi_watchdog *dog)
{
    char text[256];
    for (int seat = 0; seat < dog->seats; seat++) {
        wi_seat *of = wi_board_seat(dog->job->board, seat);
        if (wi_load(&of->state) != WI_SEAT_LIVE) continue;
        wi_seat_describe(dog->job->board, seat, text, sizeof text);
        weft_log_info("rank %d %s", of->world_rank, text);
    }
}

// Under `-n N` the first process knows how a rank ended and says so; this one speaks only if that process does not.
static void lost(wi_watchdog *dog, int seat)
{
    wi_board *board = dog->job->board;
    char what[256], text[WI_VERDICT_MAX];
    if (!dog->job->p2p)
        for (int waited = 0; waited < GRACE_MS && wi_verdict_status(board) == WEFT_OK; waited += 5)
            weft_clock_sleep_ns(5000000);
    wi_seat_describe(board, seat, what, sizeof what);
    snprintf(text, sizeof text, "rank %d was lost: its process %d ended without leaving the job; last seen, it %s",
             wi_board_seat(board, seat)->world_rank, wi_board_seat(board, seat)->pid, what);
    wi_job_end(dog->job, WEFT_LOST, text);
}

// Whom the wait of `seat` comes down to: follows who waits for whom to a rank that waits for nobody.
static int culprit_of(const wi_watchdog *dog, int seat, bool *cycle)
{
    int at = seat;
    *cycle = false;
    for (int steps = 0; steps <= dog->seats; steps++) {
        uint32_t waits_for = wi_load(&wi_board_seat(dog->job->board, at)->waits_for);
        if (waits_for == 0) return at;
        if (at != seat && dog->seen[at].quiet_ns >= QUIET_NS && !dog->job->threads) return at;
        int next = seat_of(dog, (int)waits_for - 1);
        if (next < 0) return -1;
        at = next;
    }
    *cycle = true;
    return at;
}

// Of a wait that ends at a rank of another host no more is known here than its name.
static void elsewhere(const weft_job *job, uint32_t waits_for, char *text, size_t capacity)
{
    const int rank = (int)waits_for - 1;
    if (rank < 0 || rank >= job->size)
        snprintf(text, capacity, "that rank is on another host");
    else if (job->place[rank].node == job->place[job->rank].node)
        snprintf(text, capacity, "that rank waits for one on another host");
    else
        snprintf(text, capacity, "rank %d is on %s", rank, job->place[rank].host);
}

static void overdue(wi_watchdog *dog, int seat)
{
    weft_job *job = dog->job;
    wi_seat *mine = wi_board_seat(job->board, seat);
    char what[256], whose[320] = "", text[WI_VERDICT_MAX];
    bool cycle;
    wi_seat_describe(job->board, seat, what, sizeof what);
    int culprit = culprit_of(dog, seat, &cycle);
    if (cycle) {
        snprintf(whose, sizeof whose, "the ranks wait for each other");
    } else if (culprit >= 0) {
        wi_seat *of = wi_board_seat(job->board, culprit);
        char does[256];
        wi_seat_describe(job->board, culprit, does, sizeof does);
        if (wi_load(&of->state) == WI_SEAT_DONE)
            snprintf(whose, sizeof whose, "rank %d has left the job", of->world_rank);
        else if (!job->threads && dog->seen[culprit].quiet_ns >= QUIET_NS)
            snprintf(whose, sizeof whose, "rank %d is stopped (no sign of life for %.1f s); last seen, it %s",
                     of->world_rank, (double)dog->seen[culprit].quiet_ns * 1e-9, does);
        else
            snprintf(whose, sizeof whose, "rank %d %s", of->world_rank, does);
    } else {
        elsewhere(job, wi_load(&mine->waits_for), whose, sizeof whose);
    }
    snprintf(text, sizeof text, "the deadline of %.3g s passed: rank %d %s; %s",
             (double)job->options.deadline_ns * 1e-9, mine->world_rank, what, whose);
    if (wi_verdict_claim(job->board)) {
        if (!job->threads) {
            weft_log_error("%s", text);
            print_others(dog);
        }
        wi_verdict_publish(job->board, WEFT_DEADLINE, text);
        // A stopped process cannot end by itself.
        if (!job->threads && culprit >= 0 && culprit != job->seat && dog->fds[PEERS + culprit].fd >= 0)
            syscall(SYS_pidfd_send_signal, dog->fds[PEERS + culprit].fd, SIGKILL, NULL, 0);
    }
    if (job->threads) return;
    // Ranks of other hosts are overdue now as well, and one of them waits for the culprit itself. A launcher ends all
    // with the first: they shall have told it.
    if (culprit < 0) weft_clock_sleep_ns(REMOTE_NS);
    wi_job_end(job, WEFT_DEADLINE, text);
}

static void check_deadline(wi_watchdog *dog, int seat, int64_t lived_ns)
{
    wi_seat *of = wi_board_seat(dog->job->board, seat);
    seen *last = &dog->seen[seat];
    uint32_t wait = wi_load(&of->wait_count);
    bool blocked = wi_load(&of->waits_for) != 0 && !wi_load(&of->wait_patient);
    if (!blocked || wait != last->wait) last->waited_ns = 0;
    last->wait = wait;
    if (!blocked) return;
    last->waited_ns += lived_ns;
    if (dog->job->options.deadline_ns > 0 && last->waited_ns > dog->job->options.deadline_ns) overdue(dog, seat);
}

static void tick(wi_watchdog *dog, int64_t lived_ns)
{
    wi_board *board = dog->job->board;
    for (int seat = 0; seat < dog->seats; seat++) {
        wi_seat *of = wi_board_seat(board, seat);
        if (watches(dog, seat)) {
            wi_store(&of->heartbeat, wi_load(&of->heartbeat) + 1);
            continue;
        }
        uint32_t heartbeat = wi_load(&of->heartbeat);
        dog->seen[seat].quiet_ns = heartbeat == dog->seen[seat].heartbeat ? dog->seen[seat].quiet_ns + lived_ns : 0;
        dog->seen[seat].heartbeat = heartbeat;
    }
    for (int seat = 0; seat < dog->seats; seat++)
        if (watches(dog, seat)) check_deadline(dog, seat, lived_ns);
}

// A second request is an order: the process ends at once, as it would have without weft's handling. What comes right
// after the first is the same request: a signal to the whole process group, which the first process also passes on.
static void take_signal(wi_watchdog *dog)
{
    struct signalfd_siginfo info;
    while (read(dog->fds[SIGNALS].fd, &info, sizeof info) == (ssize_t)sizeof info) {
        int64_t now = weft_clock_ns();
        if (dog->signal && now - dog->signal_ns > AGAIN_NS) _exit(128 + (int)info.ssi_signo);
        if (dog->signal) continue;
        dog->signal_ns = now;
        __atomic_store_n(&dog->signal, (int)info.ssi_signo, __ATOMIC_RELAXED);
    }
}

static void check_peers(wi_watchdog *dog)
{
    for (int seat = 0; seat < dog->seats; seat++) {
        struct pollfd *peer = &dog->fds[PEERS + seat];
        if (peer->fd < 0 || !(peer->revents & POLLIN)) continue;
        if (__atomic_load_n(&wi_board_seat(dog->job->board, seat)->state, __ATOMIC_ACQUIRE) == WI_SEAT_DONE) {
            close(peer->fd);
            peer->fd = -1;
        } else {
            lost(dog, seat);
        }
    }
}

static void *watch(void *arg)
{
    wi_watchdog *dog = arg;
    int64_t last = weft_clock_ns(), ticked = last;
    weft_log_set_rank(dog->job->threads ? -1 : dog->job->rank);
    for (;;) {
        int ready = poll(dog->fds, (nfds_t)PEERS + (nfds_t)dog->seats, (int)(dog->tick_ns / 1000000));
        if (ready < 0 && errno != EINTR) return NULL;
        if (dog->fds[STOP].revents & POLLIN) return NULL;
        // The dead first: a SIGTERM that a launcher sends to the survivors is then never taken for a drain.
        check_peers(dog);
        if (wi_load(&dog->job->board->cancel) && !dog->job->threads) wi_job_end(dog->job, WEFT_LOST, "the job ended");
        if (dog->fds[SIGNALS].revents & POLLIN) take_signal(dog);
        int64_t now = weft_clock_ns();
        if (now - ticked < dog->tick_ns) continue;
        int64_t lived = now - ticked;
        tick(dog, lived < 2 * dog->tick_ns ? lived : 2 * dog->tick_ns);
        ticked = now;
    }
}

static void open_peers(wi_watchdog *dog)
{
    for (int seat = 0; seat < dog->seats; seat++) {
        if (watches(dog, seat)) continue;
        int pid = wi_board_seat(dog->job->board, seat)->pid;
        dog->fds[PEERS + seat].fd = (int)syscall(SYS_pidfd_open, pid, 0);
        dog->fds[PEERS + seat].events = POLLIN;
        // Gone already: an end of file that is readable at once tells it in the loop.
        if (dog->fds[PEERS + seat].fd < 0 && errno == ESRCH) dog->fds[PEERS + seat].fd = eventfd(1, EFD_CLOEXEC);
    }
}

weft_status wi_watchdog_start(weft_job *job, wi_watchdog **out)
{
    wi_watchdog *dog = calloc(1, sizeof *dog);
    weft_status status;
    if (!dog) return weft_fail(WEFT_NO_MEMORY, "no memory for the watchdog");
    int64_t tick_ns = job->options.deadline_ns > 0 ? job->options.deadline_ns / 8 : TICK_MAX_MS * INT64_C(1000000);
    if (tick_ns > TICK_MAX_MS * INT64_C(1000000)) tick_ns = TICK_MAX_MS * INT64_C(1000000);
    if (tick_ns < TICK_MIN_MS * INT64_C(1000000)) tick_ns = TICK_MIN_MS * INT64_C(1000000);
    dog->job = job;
    dog->tick_ns = tick_ns;
    dog->seats = (int)job->board->seats;
    dog->stop_fd = eventfd(0, EFD_CLOEXEC);
    dog->fds = calloc((size_t)PEERS + (size_t)dog->seats, sizeof *dog->fds);
    dog->seen = calloc((size_t)dog->seats, sizeof *dog->seen);
    if (!dog->fds || !dog->seen || dog->stop_fd < 0) {
        status = weft_fail(WEFT_NO_MEMORY, "no memory or file descriptors for the watchdog: %s", strerror(errno));
        goto fail;
    }
    for (int i = 0; i < PEERS + dog->seats; i++) dog->fds[i].fd = -1;
    dog->fds[STOP] = (struct pollfd){.fd = dog->stop_fd, .events = POLLIN};
    if (!job->threads) {
        dog->fds[SIGNALS] = (struct pollfd){.fd = signals_fd(), .events = POLLIN};
        open_peers(dog);
    }
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&dog->thread, NULL, watch, dog);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        status = weft_fail(WEFT_FAILED, "cannot start the watchdog's thread: %s", strerror(failed));
        goto fail;
    }
    *out = dog;
    return WEFT_OK;
fail:
    for (int i = 0; dog->fds && i < PEERS + dog->seats; i++)
        if (dog->fds[i].fd >= 0) close(dog->fds[i].fd);
    free(dog->fds);
    free(dog->seen);
    free(dog);
    return status;
}

void wi_watchdog_stop(wi_watchdog *dog)
{
    if (!dog) return;
    uint64_t one = 1;
    while (write(dog->stop_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
    pthread_join(dog->thread, NULL);
    for (int i = 0; i < PEERS + dog->seats; i++)
        if (dog->fds[i].fd >= 0) close(dog->fds[i].fd);
    free(dog->fds);
    free(dog->seen);
    free(dog);
}

int wi_watchdog_signal(const wi_watchdog *dog) { return __atomic_load_n(&dog->signal, __ATOMIC_RELAXED); }
