// How a job is started on an allocation: how many ranks on each host, what each of them gets, and the command line of
// srun, mpirun or weft -n, with a reason for each word of it that is not plain. Pure functions. Inside launch/ only.
#ifndef WEFT_LAUNCH_ADVICE_H
#define WEFT_LAUNCH_ADVICE_H

#include <stdio.h>

#include "launch/allocation.h"
#include "launch/scale.h"

typedef enum { WI_BY_AUTO, WI_BY_WEFT, WI_BY_MPIRUN, WI_BY_SRUN } wi_by; // --by

// What is asked for; 0: left open.
typedef struct {
    wi_by by;
    int ranks, nodes, tp, cp, dp;
    int threads;
    int gpus; // of each host, where ranks compute on them; 0: on processors
    bool ucx;
    bool deadline;   // somebody has set one
    const char *mpi; // srun --mpi
} wi_wish;

// The machine that the line is made on. Hosts that nobody describes are taken to be like it.
typedef struct {
    int cores, cpus, domains; // NUMA nodes
    bool root, rdma, srun;    // srun is in the PATH
    const char *bridges;      // interfaces that other hosts have too, with the same address: "docker0,virbr0"; "": none
    const char *const *own;   // names of the variables WEFT_* that are set; ends with NULL
    bool interfaces;          // variables of Open MPI say already which interfaces it uses
} wi_surroundings;

typedef struct {
    wi_by by;
    int ranks, hosts;     // that are used: the first of the allocation
    int *on;              // [hosts] ranks on each
    int even;             // ranks on each, where all have as many; else 0
    int threads;          // of each rank
    int gpus;             // of each host; 0: ranks compute on processors
    bool known;           // the mesh
    int tp, cp, dp;       // dp is always known
    bool inside;          // each tp group stands on one host
    bool replicas_inside; // each replica does
    bool crowded;         // more threads than cores on some host
} wi_spread;

// USAGE where the ranks do not fit the allocation, or the mesh the ranks. Freed by wi_spread_free.
weft_status wi_spread_make(const wi_allocation *allocation, const wi_wish *wish, const wi_surroundings *here,
                           wi_spread *out);
void wi_spread_free(wi_spread *spread); // accepts a zeroed one

typedef struct {
    int rank, host, local;
    int dp_rank, cp_rank, tp_rank;
} wi_rank_place;
wi_rank_place wi_spread_rank(const wi_spread *spread, int rank);

enum { WI_REASONS = 24 };
typedef struct {
    char what[96], why[160];
} wi_reason;

typedef struct {
    wi_command command;                  // ends where the program and its words follow
    const char *setting[WI_REASONS + 1]; // "NAME=VALUE" for the environment of the command; ends with NULL
    int settings;
    wi_reason reason[WI_REASONS];
    int reasons;
} wi_advice;

// LIMIT where there are too many words. `weft`: the program; `rest`: its words, ends with NULL. Borrowed by `out`.
weft_status wi_advice_make(const wi_allocation *allocation, const wi_wish *wish, const wi_surroundings *here,
                           const wi_spread *spread, const char *weft, const char *const *rest, wi_advice *out);
// Everything but the line itself as comments of a shell, so that all of it may be given to one.
void wi_advice_print(const wi_allocation *allocation, const wi_spread *spread, const wi_advice *advice, FILE *out);

#endif
