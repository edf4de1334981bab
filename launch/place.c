#include "launch/place.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"

enum { NODES_MAX = 128 };

typedef struct {
    int nodes;
    int cores[NODES_MAX]; // of each NUMA node
    int ranks[NODES_MAX];
    int cpus[WEFT_CPUS_MAX]; // one of each core, node by node
} plan;

// False when there are more nodes than a plan holds.
static bool list_cores(const weft_topology *topology, plan *out)
{
    int known[NODES_MAX], put = 0;
    for (int i = 0; i < topology->allowed_cores; i++) {
        int node = 0;
        while (node < out->nodes && known[node] != topology->numa_of[i]) node++;
        if (node == NODES_MAX) return false;
        if (node == out->nodes) known[out->nodes++] = topology->numa_of[i];
        out->cores[node]++;
    }
    for (int node = 0; node < out->nodes; node++)
        for (int i = 0; i < topology->allowed_cores; i++)
            if (topology->numa_of[i] == known[node]) out->cpus[put++] = topology->allowed[i];
    return true;
}

// Ranks to nodes, each to where its share is largest. False when a rank then has fewer cores than `least`.
static bool fill_nodes(plan *p, int ranks, int least)
{
    for (int i = 0; i < ranks; i++) {
        int best = 0;
        for (int node = 1; node < p->nodes; node++)
            if (p->cores[node] * (p->ranks[best] + 1) > p->cores[best] * (p->ranks[node] + 1)) best = node;
        p->ranks[best]++;
        if (p->cores[best] < least * p->ranks[best]) return false;
    }
    return true;
}

static void take(const plan *p, int first, int cores, int ranks, int rank, wi_share *out)
{
    int begin = (int)((int64_t)rank * cores / ranks), end = (int)((int64_t)(rank + 1) * cores / ranks);
    out->count = end - begin;
    memcpy(out->cpus, p->cpus + first + begin, (size_t)out->count * sizeof *out->cpus);
}

bool wi_share_make(const weft_topology *topology, int ranks, int rank, int threads, wi_share *out)
{
    plan p = {0};
    int cores = topology->allowed_cores, first = 0;
    out->count = topology->allowed_count;
    memcpy(out->cpus, topology->allowed, (size_t)out->count * sizeof *out->cpus);
    if (rank < 0 || rank >= ranks) return false;
    if ((int64_t)ranks * (threads > 0 ? threads : 1) > cores || !list_cores(topology, &p)) return false;
    if (!fill_nodes(&p, ranks, cores / ranks)) {
        take(&p, 0, cores, ranks, rank, out);
        return true;
    }
    for (int node = 0; node < p.nodes; node++) {
        if (rank < p.ranks[node]) {
            take(&p, first, p.cores[node], p.ranks[node], rank, out);
            return true;
        }
        rank -= p.ranks[node];
        first += p.cores[node];
    }
    return false;
}

void wi_share_apply(const wi_share *share)
{
    cpu_set_t *set = CPU_ALLOC(WEFT_CPUS_MAX * 8);
    size_t bytes = CPU_ALLOC_SIZE(WEFT_CPUS_MAX * 8);
    if (!set) return;
    CPU_ZERO_S(bytes, set);
    for (int i = 0; i < share->count; i++) CPU_SET_S((size_t)share->cpus[i], bytes, set);
    if (sched_setaffinity(0, bytes, set) != 0)
        weft_log_warn("cannot bind this rank to its cores: %s; --bind none leaves it to the kernel", strerror(errno));
    CPU_FREE(set);
}

char *wi_cpus_text(const int *cpus, int count, char *text, int capacity)
{
    // By value and not by position: the list has one cpu of each core first, then their siblings.
    int used = 0, last = -1;
    text[0] = 0;
    for (;;) {
        int begin = -1;
        for (int i = 0; i < count; i++)
            if (cpus[i] > last && (begin < 0 || cpus[i] < begin)) begin = cpus[i];
        if (begin < 0) return text;
        int end = begin;
        for (bool grew = true; grew;) {
            grew = false;
            for (int i = 0; i < count && !grew; i++) grew = cpus[i] == end + 1;
            end += grew;
        }
        char part[32];
        int length = end > begin ? snprintf(part, sizeof part, "%s%d-%d", used ? "," : "", begin, end)
                                 : snprintf(part, sizeof part, "%s%d", used ? "," : "", begin);
        if (used + length + 4 > capacity) {
            snprintf(text + used, (size_t)(capacity - used), "...");
            return text;
        }
        memcpy(text + used, part, (size_t)length + 1);
        used += length;
        last = end;
    }
}
