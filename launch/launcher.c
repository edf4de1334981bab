#include "launch/launcher.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/flags.h"

// A variable's number, or -1 when it is not set or is none.
static int number(const char *variable)
{
    const char *text = getenv(variable);
    int64_t value;
    if (!text || !weft_parse_int(text, &value) || value < 0 || value > INT_MAX) return -1;
    return (int)value;
}

static int first_of(int a, int b) { return a >= 0 ? a : b; }

static int or_zero(int value) { return value > 0 ? value : 0; }

wi_launcher wi_launcher_read(void)
{
    wi_launcher found = {.name = "none"};
    // The step's own number before the job's: a batch script of a job of 8 is not a step of 8.
    int task = number("SLURM_PROCID"), tasks = first_of(number("SLURM_STEP_NUM_TASKS"), number("SLURM_NTASKS"));
    if (number("OMPI_COMM_WORLD_RANK") >= 0 && number("OMPI_COMM_WORLD_SIZE") > 0) {
        found = (wi_launcher){.mpi = true,
                              .name = "mpirun",
                              .rank = number("OMPI_COMM_WORLD_RANK"),
                              .local_rank = or_zero(number("OMPI_COMM_WORLD_LOCAL_RANK")),
                              .size = number("OMPI_COMM_WORLD_SIZE")};
    } else if (number("PMIX_RANK") >= 0) {
        found = (wi_launcher){.mpi = true,
                              .name = task >= 0 ? "srun" : "mpirun",
                              .rank = number("PMIX_RANK"),
                              .local_rank = or_zero(number("SLURM_LOCALID")),
                              .size = task >= 0 ? or_zero(tasks) : 0};
    } else if (number("PMI_RANK") >= 0 && number("PMI_SIZE") > 0) {
        found = (wi_launcher){.mpi = true,
                              .name = task >= 0 ? "srun" : "mpiexec",
                              .rank = number("PMI_RANK"),
                              .local_rank = or_zero(first_of(number("MPI_LOCALRANKID"), number("SLURM_LOCALID"))),
                              .size = number("PMI_SIZE")};
    } else if (task >= 0 && tasks > 1) {
        found.rank = task;
        found.local_rank = or_zero(number("SLURM_LOCALID"));
        found.srun_bare = true;
    }
    return found;
}
