// Who started us, from environments as the launchers leave them.
#include "launch/launcher.h"
#include "tests/check.h"

static wi_launcher with(const char *const *variables)
{
    clearenv();
    for (; *variables; variables += 2) CHECK_INT(setenv(variables[0], variables[1], 1), 0);
    return wi_launcher_read();
}

#define WITH(...) with((const char *const[]){__VA_ARGS__, NULL})

static void expect(wi_launcher found, bool mpi, const char *name, int rank, int size)
{
    CHECK_INT(found.mpi, mpi);
    CHECK_TEXT(found.name, name);
    CHECK_INT(found.rank, rank);
    CHECK_INT(found.size, size);
}

int main(void)
{
    expect(WITH("HOME", "/"), false, "none", 0, 0);

    wi_launcher found = WITH("OMPI_COMM_WORLD_RANK", "3", "OMPI_COMM_WORLD_SIZE", "4", "OMPI_COMM_WORLD_LOCAL_RANK",
                             "1", "PMIX_RANK", "3");
    expect(found, true, "mpirun", 3, 4);
    CHECK_INT(found.local_rank, 1);

    // mpirun inside a Slurm job, whose own numbers are of the node's daemon.
    expect(WITH("OMPI_COMM_WORLD_RANK", "5", "OMPI_COMM_WORLD_SIZE", "8", "SLURM_PROCID", "1", "SLURM_NTASKS", "2"),
           true, "mpirun", 5, 8);

    found = WITH("PMIX_RANK", "2", "SLURM_PROCID", "2", "SLURM_NTASKS", "8", "SLURM_STEP_NUM_TASKS", "4",
                 "SLURM_LOCALID", "0");
    expect(found, true, "srun", 2, 4);
    expect(WITH("PMIX_RANK", "1"), true, "mpirun", 1, 0);

    expect(WITH("PMI_RANK", "1", "PMI_SIZE", "2"), true, "mpiexec", 1, 2);
    expect(WITH("PMI_RANK", "1", "PMI_SIZE", "2", "SLURM_PROCID", "1"), true, "srun", 1, 2);
    expect(WITH("PMI_RANK", "1"), false, "none", 0, 0);

    // srun without --mpi=pmix: several tasks that do not know of each other.
    found = WITH("SLURM_PROCID", "1", "SLURM_NTASKS", "2", "SLURM_LOCALID", "1");
    expect(found, false, "none", 1, 0);
    CHECK(found.srun_bare);
    CHECK(!WITH("SLURM_PROCID", "0", "SLURM_NTASKS", "1").srun_bare);
    CHECK(!WITH("SLURM_NTASKS", "8").srun_bare); // an allocation's shell

    expect(WITH("OMPI_COMM_WORLD_RANK", "x", "OMPI_COMM_WORLD_SIZE", "4"), false, "none", 0, 0);
    expect(WITH("OMPI_COMM_WORLD_RANK", "-1", "OMPI_COMM_WORLD_SIZE", "99999999999"), false, "none", 0, 0);
    return 0;
}
