// test_transport threads|shm-threads|local|mpi RANKS [SEED]: the whole of comm.h on one kind of job.
#include "tests/check.h"
#include "tests/comm/transport_body.h"

int main(int argc, char **argv)
{
    weft_job_options options = {.deadline_ns = 20000000000};
    const char *kind = argc > 1 ? argv[1] : "threads";
    int ranks = argc > 2 ? atoi(argv[2]) : 2, code = 0;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    weft_job *job = NULL;
    if (strcmp(kind, "threads") == 0 || strcmp(kind, "shm-threads") == 0) {
        options.transport = strcmp(kind, "threads") == 0 ? WEFT_TRANSPORT_THREADS : WEFT_TRANSPORT_SHM;
        CHECK_OK(weft_job_run_threads(&options, ranks, transport_body, &seed));
        return 0;
    }
    if (strcmp(kind, "local") == 0) {
        CHECK_OK(weft_job_open_local(&options, ranks, &job, &code));
        if (!job) return code;
    } else {
        options.transport = strcmp(kind, "mpi") == 0 ? WEFT_TRANSPORT_MPI : WEFT_TRANSPORT_AUTO;
        CHECK_OK(weft_job_open_mpi(&options, &job));
        CHECK_INT(weft_comm_size(weft_job_world(job)), ranks);
        if (options.transport == WEFT_TRANSPORT_MPI)
            CHECK_INT(weft_comm_transport(weft_job_world(job)), WEFT_TRANSPORT_MPI);
    }
    CHECK_OK(transport_body(job, weft_comm_rank(weft_job_world(job)), &seed));
    weft_job_close(job);
    return 0;
}
