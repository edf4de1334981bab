// Which hosts a job may use, and how many ranks each is meant to have: from Slurm's variables, a host file of mpirun or
// numbers. Inside launch/ only.
#ifndef WEFT_LAUNCH_ALLOCATION_H
#define WEFT_LAUNCH_ALLOCATION_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

enum { WI_HOST_NAME = 128, WI_HOSTS_MAX = 16384 };

typedef struct {
    char name[WI_HOST_NAME];
    int slots; // ranks that it is meant to have; 0: nobody says
    int cpus;  // that the job may use there; 0: nobody says
} wi_host;

typedef struct {
    wi_host *host;
    int hosts;
    int tasks;     // of all hosts; 0: nobody says
    int task_cpus; // of each rank; 0: nobody says
    int gpus;      // of each host
    bool slurm;
    const char *file; // the host file; NULL: there is none
    char from[160];   // where all of this was read
} wi_allocation;

// A list of hosts as Slurm writes it, "rack[1-2]n[08-11,20],login-a", added to `out`. INVALID where it is none. Local.
weft_status wi_allocation_add_list(wi_allocation *out, const char *list);
// Numbers as Slurm writes them, "2(x3),1", one for each of `count` hosts. INVALID where they are others or fewer.
weft_status wi_counts_expand(const char *text, const char *name, int *counts, int count);

// Of the job of Slurm that this process runs in. NOT_FOUND, without an error's text, where there is none. Local.
weft_status wi_allocation_slurm(wi_allocation *out);
// Of a host file: a line a host, "name slots=4"; # begins a comment. Local.
weft_status wi_allocation_file(const char *path, wi_allocation *out);
weft_status wi_allocation_text(const char *text, const char *path, wi_allocation *out);
// So many hosts without names, or this one.
weft_status wi_allocation_numbers(int hosts, wi_allocation *out);
void wi_allocation_free(wi_allocation *allocation); // accepts a zeroed one

#endif
