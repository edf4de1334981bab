// Which cores a rank of `weft -n N` gets. Under mpirun and srun the launcher binds, and nothing here is asked.
// Inside launch/ only.
#ifndef WEFT_LAUNCH_PLACE_H
#define WEFT_LAUNCH_PLACE_H

#include <stdbool.h>

#include "core/cpu.h"

typedef struct {
    int count; // cpus, one for each core
    int cpus[WEFT_CPUS_MAX];
} wi_share;

// The part of the allowed cores that `rank` of `ranks` gets: neighbours, and of one NUMA node as far as that leaves
// nobody with fewer than an even split would. False, and all of them, when `threads` for each rank (0 counts as 1) do
// not fit on cores of their own. Pure.
bool wi_share_make(const weft_topology *topology, int ranks, int rank, int threads, wi_share *out);

// Binds the calling thread, and the threads that it starts later. Failure is a warning.
void wi_share_apply(const wi_share *share);

// "0-3,8" of a sorted or unsorted list; a list that does not fit ends with "...".
char *wi_cpus_text(const int *cpus, int count, char *text, int capacity);

#endif
