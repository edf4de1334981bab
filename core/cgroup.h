// What the process's cgroups leave it of memory, version 1 and 2. Inside core/ only.
#ifndef WEFT_CORE_CGROUP_H
#define WEFT_CORE_CGROUP_H

#include <stdint.h>

typedef struct {
    int64_t limit;     // the least limit of the cgroup and those above it; INT64_MAX: none, or not to be found out
    int64_t available; // the least of what is left under each; file pages that can be dropped count as left
} wi_cgroup_memory;

wi_cgroup_memory wi_cgroup_memory_read(void);

#endif
