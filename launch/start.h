// How a job starts: alone, as the parts that weft forks, or as ranks of MPI. Inside launch/ only.
#ifndef WEFT_LAUNCH_START_H
#define WEFT_LAUNCH_START_H

#include "launch/line.h"

// Under mpirun or srun. Opens the job, compares builds, command lines and environments of all ranks, and reads the
// command line. Collective. *speaks says whether this rank tells what went wrong. With *job set on failure all ranks
// have agreed on it and the job can be closed.
weft_status wi_start_mpi(int argc, char *const *argv, const wi_launcher *launcher, weft_job **job, wi_line *line,
                         bool *speaks);

// Without a launcher. The command line was read before. In the process that only watches over its ranks *job is NULL on
// success and *exit_code is the job's.
weft_status wi_start_here(const wi_line *line, weft_job **job, int *exit_code);

#endif
