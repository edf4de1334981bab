// What comm/ must refuse, and how ranks that are threads end when one of them is at fault.
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include "comm/window.h"
#include "core/clock.h"
#include "tests/check.h"

static const weft_transport kinds[] = {WEFT_TRANSPORT_THREADS, WEFT_TRANSPORT_SHM};

static void check_options(void)
{
    weft_job *job = NULL;
    int code = -1;
    weft_job_options bad = {.algorithms = "allgather:0-=rong"}, mpi = {.transport = WEFT_TRANSPORT_MPI}, good = {0};
    CHECK_FAILS(weft_job_open_alone(&bad, &job), WEFT_USAGE, "rong");
    CHECK_FAILS(weft_job_open_alone(&mpi, &job), WEFT_USAGE, "mpirun");
    CHECK_FAILS(weft_job_open_local(&bad, 2, &job, &code), WEFT_USAGE, "rong");
    CHECK_FAILS(weft_job_open_local(&mpi, 2, &job, &code), WEFT_USAGE, "mpirun");
    CHECK_FAILS(weft_job_open_local(&good, 0, &job, &code), WEFT_USAGE, "-n 0");
    CHECK_FAILS(weft_job_open_local(&good, 1 << 20, &job, &code), WEFT_USAGE, "-n 1048576");
    CHECK(job == NULL);
}

static int open_files(void)
{
    int count = 0;
    for (int fd = 0; fd < 64; fd++) count += dup2(fd, fd) == fd;
    return count;
}

// Too few file descriptors to watch all ranks: an error, and no rank is left behind.
static void check_few_files(void)
{
    struct rlimit before, few;
    weft_job_options options = {0};
    weft_job *job = NULL;
    int code = -1, opened = open_files();
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    few = before;
    few.rlim_cur = (rlim_t)opened + 4;
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    weft_status status = weft_job_open_local(&options, 8, &job, &code);
    if (job) _exit(0); // a rank that was started before it was clear
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK_INT(status, WEFT_FAILED);
    CHECK_HAS(weft_error_text(), "cannot start rank");
    CHECK_INT(open_files(), opened);
}

static weft_status refuse_specs(weft_job *job, int rank, void *arg)
{
    weft_comm *world = weft_job_world(job);
    weft_channel *channel = NULL;
    weft_window *window = NULL;
    const weft_channel_spec bad[] = {
        {.shape = WEFT_ALLGATHER, .name = "deep", .bytes = 1, .depth = 33},
        {.shape = WEFT_BCAST, .name = "deep", .bytes = 1, .from = 3},
        {.shape = WEFT_SEND, .name = "deep", .bytes = 1, .from = 1, .to = 1},
        {.shape = WEFT_SEND, .name = "deep", .bytes = 1, .from = 1, .to = -1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_FAILS(weft_channel_create(world, &bad[i], &channel), WEFT_INVALID, "deep");
    weft_channel_spec vast = {.shape = WEFT_ALLTOALL, .name = "vast", .bytes = SIZE_MAX / 4};
    CHECK_FAILS(weft_channel_create(world, &vast, &channel), WEFT_OVERFLOW, "vast");
    weft_channel_spec mine = {.shape = WEFT_ALLGATHER, .name = "unlike", .bytes = rank == 2 ? 100 : 99};
    CHECK_FAILS(weft_channel_create(world, &mine, &channel), WEFT_MISMATCH, "unlike");
    CHECK_FAILS(weft_window_create(world, rank == 1 ? 10 : 20, "unlike", &window), WEFT_MISMATCH, "10 to 20");
    CHECK_FAILS(weft_window_create(world, SIZE_MAX / 2, "vast", &window), WEFT_OVERFLOW, "window");
    CHECK(channel == NULL && window == NULL);

    weft_exchange ex;
    mine.bytes = 99;
    CHECK_OK(weft_channel_create(world, &mine, &channel));
    CHECK_OK(weft_exchange_acquire(channel, &ex));
    CHECK_FAILS(weft_exchange_begin(&ex, 100), WEFT_INVALID, "100 bytes on channel world/unlike");
    CHECK_OK(weft_exchange_begin(&ex, 99));
    CHECK_OK(weft_exchange_end(&ex));
    weft_exchange_release(&ex);
    CHECK_OK(weft_comm_barrier(world));
    weft_channel_destroy(channel);
    CHECK_OK(weft_window_create(world, 20, "mailbox", &window));
    CHECK_FAILS(weft_window_put(window, 3, 0, "x", 1), WEFT_INVALID, "rank 3");
    CHECK_FAILS(weft_window_put(window, 0, SIZE_MAX, "xy", 2), WEFT_INVALID, "go beyond");
    CHECK_FAILS(weft_window_flag(window, -1), WEFT_INVALID, "rank -1");
    CHECK_OK(weft_comm_barrier(world));
    weft_window_destroy(window);
    float number = 1;
    CHECK_FAILS(weft_comm_allreduce_fast(world, &number, &number, 1), WEFT_UNSUPPORTED, "world");
    return WEFT_OK;
}

// Half of the ranks exchange on one channel, half on another.
static weft_status cross(weft_job *job, int rank, void *arg)
{
    weft_channel_spec spec = {.shape = WEFT_BARRIER, .name = "one"};
    weft_channel *channel[2];
    weft_exchange ex;
    CHECK_OK(weft_channel_create(weft_job_world(job), &spec, &channel[0]));
    spec.name = "other";
    CHECK_OK(weft_channel_create(weft_job_world(job), &spec, &channel[1]));
    CHECK_OK(weft_exchange_acquire(channel[rank % 2], &ex));
    CHECK_OK(weft_exchange_begin(&ex, 0));
    weft_status status = weft_exchange_end(&ex);
    CHECK_INT(status, WEFT_DEADLINE);
    CHECK_HAS(weft_error_text(), "the ranks wait for each other");
    CHECK(strstr(weft_error_text(), "world/one, exchange 1") || strstr(weft_error_text(), "world/other, exchange 1"));
    weft_channel_destroy(channel[1]);
    weft_channel_destroy(channel[0]);
    return status;
}

// One rank aborts while the others wait, one of them by asking again and again.
static weft_status abandon(weft_job *job, int rank, void *arg)
{
    weft_channel_spec spec = {.shape = WEFT_ALLGATHER, .name = "layer", .bytes = 8};
    weft_channel *channel;
    weft_exchange ex;
    CHECK_OK(weft_channel_create(weft_job_world(job), &spec, &channel));
    if (rank == 1) {
        weft_clock_sleep_ns(20000000);
        weft_job_abort(job, WEFT_IO, "the disk is full");
        weft_channel_destroy(channel);
        return WEFT_OK;
    }
    CHECK_OK(weft_exchange_acquire(channel, &ex));
    CHECK_OK(weft_exchange_begin(&ex, 8));
    while (rank == 0 && !weft_exchange_ready(&ex)) sched_yield();
    CHECK_FAILS(weft_exchange_end(&ex), WEFT_IO, "the disk is full");
    weft_channel_destroy(channel);
    return WEFT_IO;
}

// A wait that may last is not held against anybody.
static weft_status wait_patiently(weft_job *job, int rank, void *arg)
{
    weft_channel_spec spec = {.shape = WEFT_BARRIER, .name = "idle", .patient = true};
    weft_channel *channel;
    weft_exchange ex;
    CHECK_OK(weft_channel_create(weft_job_world(job), &spec, &channel));
    if (rank == 0) weft_clock_sleep_ns(600000000);
    CHECK_OK(weft_exchange_acquire(channel, &ex));
    CHECK_OK(weft_exchange_begin(&ex, 0));
    CHECK_OK(weft_exchange_end(&ex));
    weft_exchange_release(&ex);
    weft_channel_destroy(channel);
    return WEFT_OK;
}

int main(void)
{
    check_options();
    check_few_files();
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        weft_job_options options = {.transport = kinds[i], .deadline_ns = 60000000000};
        weft_job_options hasty = {.transport = kinds[i], .deadline_ns = 200000000};
        CHECK_OK(weft_job_run_threads(&options, 3, refuse_specs, NULL));
        CHECK_FAILS(weft_job_run_threads(&hasty, 4, cross, NULL), WEFT_DEADLINE, "wait for each other");
        CHECK_FAILS(weft_job_run_threads(&options, 3, abandon, NULL), WEFT_IO, "the disk is full");
        CHECK_OK(weft_job_run_threads(&hasty, 3, wait_patiently, NULL));
    }
    return 0;
}
