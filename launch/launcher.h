// Who started this process, as far as its environment tells. Inside launch/ only.
#ifndef WEFT_LAUNCH_LAUNCHER_H
#define WEFT_LAUNCH_LAUNCHER_H

#include <stdbool.h>

typedef struct {
    bool mpi;         // a launcher whose ranks MPI can bring together
    const char *name; // "mpirun", "srun", "mpiexec" or "none"
    int rank;         // as the launcher counts; 0 when it does not say
    int local_rank;   // among those on this host
    int size;         // 0 when it does not say
    bool srun_bare;   // srun started several tasks without the means to find each other
} wi_launcher;

// Local; reads the environment only.
wi_launcher wi_launcher_read(void);

#endif
