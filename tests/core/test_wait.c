#include "core/wait.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "tests/check.h"

static const weft_patience sleepy = {0}; // sleeps at once
static const int64_t second = 1000000000;

static void test_reached(void)
{
    CHECK(weft_signal_reached(5, 5));
    CHECK(weft_signal_reached(6, 5));
    CHECK(!weft_signal_reached(4, 5));
    CHECK(weft_signal_reached(1, UINT32_MAX)); // past the wrap
    CHECK(!weft_signal_reached(UINT32_MAX, 1));
}

static void test_patience(void)
{
    weft_patience own = weft_patience_make(2, 2), shared = weft_patience_make(3, 2);
    CHECK(own.spins > shared.spins);
    CHECK(shared.yields > 0);
    CHECK(!own.cancel && !shared.cancel);
}

static void test_without_waiting(void)
{
    weft_signal signal = {0};
    weft_patience patience = weft_patience_make(1, 1);
    CHECK_INT(weft_signal_get(&signal), 0);
    CHECK_OK(weft_signal_wait(&signal, 0, &patience));
    weft_signal_set(&signal, 7);
    CHECK_INT(weft_signal_get(&signal), 7);
    CHECK_OK(weft_signal_wait(&signal, 7, &sleepy));
    CHECK_OK(weft_signal_wait(&signal, 3, &sleepy));
    CHECK_OK(weft_signal_wait_for(&signal, 7, &sleepy, 0));
    CHECK_INT(weft_signal_wait_for(&signal, 8, &sleepy, 0), WEFT_IN_PROGRESS);
    CHECK_INT(weft_signal_wait_for(&signal, 8, &sleepy, -1), WEFT_IN_PROGRESS);
}

// Each way of waiting gives up, and none of them early.
static void test_timeout(void)
{
    const weft_patience ways[] = {{.spins = 1000000000}, {.yields = 1000000000}, {0}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        weft_signal signal = {0};
        int64_t begin = weft_clock_ns();
        CHECK_INT(weft_signal_wait_for(&signal, 1, &ways[i], 2000000), WEFT_IN_PROGRESS);
        CHECK(weft_clock_ns() - begin >= 2000000);
        CHECK_INT(signal.sleepers, 0);
    }
}

typedef struct {
    weft_signal ping, pong;
    int64_t sent, answered; // plain: ordered by the signals alone, which the thread sanitizer checks
    weft_patience patience;
    uint32_t start;
    int rounds;
} table;

static void *play(void *arg)
{
    table *t = arg;
    for (int i = 1; i <= t->rounds; i++) {
        CHECK_OK(weft_signal_wait(&t->ping, t->start + (uint32_t)i, &t->patience));
        CHECK_INT(t->sent, i);
        t->answered = -i;
        weft_signal_set(&t->pong, t->start + (uint32_t)i);
    }
    return NULL;
}

static void serve(table *t)
{
    for (int i = 1; i <= t->rounds; i++) {
        t->sent = i;
        weft_signal_set(&t->ping, t->start + (uint32_t)i);
        CHECK_OK(weft_signal_wait_for(&t->pong, t->start + (uint32_t)i, &t->patience, 60 * second));
        CHECK_INT(t->answered, -i);
    }
}

// A lost wake costs a slice of 50 ms; were each one lost, the rounds below would take ten minutes.
static void test_ping_pong(weft_patience patience, int rounds)
{
    table t = {.patience = patience, .start = UINT32_MAX - 100, .rounds = rounds}; // wraps on the way
    t.ping.value = t.pong.value = t.start;
    pthread_t player;
    CHECK_INT(pthread_create(&player, NULL, play, &t), 0);
    serve(&t);
    CHECK_INT(pthread_join(player, NULL), 0);
    CHECK_INT(t.ping.sleepers, 0);
    CHECK_INT(t.pong.sleepers, 0);
}

static void test_processes(void)
{
    table *t = mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(t != MAP_FAILED);
    t->rounds = 6000;
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        play(t);
        _exit(0);
    }
    serve(t);
    int status = -1;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
    munmap(t, sizeof *t);
}

typedef struct {
    weft_signal signal, ended;
    uint32_t cancel;
    weft_patience patience;
    weft_status status;
} cancelled;

static void *wait_in_vain(void *arg)
{
    cancelled *c = arg;
    c->status = weft_signal_wait(&c->signal, 1, &c->patience);
    weft_signal_set(&c->ended, 1);
    return NULL;
}

static void test_cancel(int spins, int yields)
{
    cancelled c = {.patience = {.spins = spins, .yields = yields, .cancel = &c.cancel}, .status = WEFT_OK};
    pthread_t waiter;
    CHECK_INT(pthread_create(&waiter, NULL, wait_in_vain, &c), 0);
    if (!spins && !yields) { // in its sleep
        while (!__atomic_load_n(&c.signal.sleepers, __ATOMIC_ACQUIRE)) weft_clock_sleep_ns(100000);
    }
    CHECK_INT(weft_signal_wait_for(&c.ended, 1, &sleepy, 1000000), WEFT_IN_PROGRESS);
    __atomic_store_n(&c.cancel, 1, __ATOMIC_RELEASE);
    weft_signal_interrupt(&c.signal);
    CHECK_INT(pthread_join(waiter, NULL), 0);
    CHECK_INT(c.status, WEFT_LOST);
    CHECK_INT(c.signal.sleepers, 0);
    // What has come counts, although the job is being ended.
    weft_signal_set(&c.signal, 1);
    CHECK_OK(weft_signal_wait(&c.signal, 1, &c.patience));
    CHECK_FAILS(weft_signal_wait(&c.signal, 2, &c.patience), WEFT_LOST, "cancelled");
}

int main(void)
{
    test_reached();
    test_patience();
    test_without_waiting();
    test_timeout();
    test_ping_pong(sleepy, 12000);
    test_ping_pong((weft_patience){.yields = 1000}, 3000);
    test_ping_pong(weft_patience_make(2, 2), 3000);
    test_ping_pong(weft_patience_make(9, 2), 3000);
    test_processes();
    test_cancel(0, 0);
    test_cancel(1000000000, 0);
    test_cancel(0, 1000000000);
    return 0;
}
