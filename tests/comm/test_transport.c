// test_transport threads|shm-threads|local|auto|mpi RANKS [SEEDS|long [ALGORITHMS]]: the whole of comm.h on one kind of
// job. SEEDS is a list as "1,2"; "long" stands for a longer one, and only where WEFT_TEST_LONG is set. With auto and
// mpi the program is started by mpirun.
#include "tests/check.h"
#include "tests/comm/transport_body.h"

enum { SEEDS_MAX = 16 };

static transport_plan parse_plan(int argc, char **argv, uint64_t seeds[SEEDS_MAX])
{
    transport_plan plan = {.seeds = seeds, .algorithms = argc > 4 ? argv[4] : NULL};
    const char *text = argc > 3 ? argv[3] : "1";
    if (strcmp(text, "long") == 0) {
        const char *set = getenv("WEFT_TEST_LONG");
        if (!set || strcmp(set, "1") != 0) SKIP("WEFT_TEST_LONG=1 is not set");
        text = "3,4,5,6,7,8,9,10,11,12";
    }
    for (char *end; *text; text = *end ? end + 1 : end) {
        CHECK(plan.count < SEEDS_MAX);
        seeds[plan.count++] = strtoull(text, &end, 10);
        CHECK(end != text);
    }
    return plan;
}

int main(int argc, char **argv)
{
    weft_job_options options = {.deadline_ns = 60000000000};
    const char *kind = argc > 1 ? argv[1] : "threads";
    int ranks = argc > 2 ? atoi(argv[2]) : 2, code = 0;
    uint64_t seeds[SEEDS_MAX];
    transport_plan plan = parse_plan(argc, argv, seeds);
    weft_job *job = NULL;
    options.algorithms = plan.algorithms;
    if (strcmp(kind, "threads") == 0 || strcmp(kind, "shm-threads") == 0) {
        options.transport = strcmp(kind, "threads") == 0 ? WEFT_TRANSPORT_THREADS : WEFT_TRANSPORT_SHM;
        CHECK_OK(weft_job_run_threads(&options, ranks, transport_body, &plan));
        return 0;
    }
    if (strcmp(kind, "local") == 0) {
        CHECK_OK(weft_job_open_local(&options, ranks, &job, &code));
        if (!job) return code;
    } else {
        if (strcmp(kind, "mpi") == 0) options.transport = WEFT_TRANSPORT_MPI;
        if (strcmp(kind, "ucx") == 0) options.transport = WEFT_TRANSPORT_UCX;
        CHECK_OK(weft_job_open_mpi(&options, &job));
        CHECK_INT(weft_comm_size(weft_job_world(job)), ranks);
        if (options.transport != WEFT_TRANSPORT_AUTO)
            CHECK_INT(weft_comm_transport(weft_job_world(job)), options.transport);
    }
    CHECK_OK(transport_body(job, weft_comm_rank(weft_job_world(job)), &plan));
    weft_job_close(job);
    return 0;
}
