// The job and where its ranks are.
#include <stdlib.h>
#include <string.h>

#include "launch/doctor.h"
#include "launch/place.h"

static bool overlap(const wi_rank_facts *a, const wi_rank_facts *b)
{
    for (int i = 0; i < WI_CPU_WORDS; i++)
        if (a->cpu[i] & b->cpu[i]) return true;
    return false;
}

static char *cpus_text(const wi_rank_facts *facts, char *text, int capacity)
{
    int cpus[WEFT_CPUS_MAX], count = 0;
    for (int cpu = 0; cpu < WEFT_CPUS_MAX; cpu++)
        if (facts->cpu[cpu / 64] >> (cpu % 64) & 1) cpus[count++] = cpu;
    return wi_cpus_text(cpus, count, text, capacity);
}

void wi_rank_text(const wi_doctor *doctor, int rank, char *text, size_t capacity)
{
    const wi_rank_facts *facts = &doctor->ranks[rank];
    weft_comm *world = weft_job_world(doctor->job);
    char cpus[64], nodes[32], seat[192] = "";
    if (facts->node_first == facts->node_last)
        snprintf(nodes, sizeof nodes, "NUMA node %d", facts->node_first);
    else
        snprintf(nodes, sizeof nodes, "NUMA nodes %d to %d", facts->node_first, facts->node_last);
    if (facts->seat.device >= 0) wi_seat_text(&facts->seat, seat, sizeof seat);
    snprintf(text, capacity, "%s %s, %s, %s%sprocess %d on %.64s",
             facts->cpus < facts->machine_cpus ? "bound to cpu" : "not bound, cpu", cpus_text(facts, cpus, sizeof cpus),
             nodes, seat, seat[0] ? ", " : "", facts->pid, weft_comm_host(world, rank));
}

// Ranks of one host that may run on the same cpus.
static void find_sharing(const wi_doctor *doctor, wi_findings *out)
{
    weft_comm *world = weft_job_world(doctor->job);
    int size = weft_comm_size(world), sharing = 0, first = -1, ranks = 0, cpus = 0;
    uint64_t together[WI_CPU_WORDS] = {0};
    for (int a = 0; a < size; a++) {
        bool shares = false;
        for (int b = 0; b < size && !shares; b++)
            shares = a != b && weft_comm_node(world, a) == weft_comm_node(world, b) &&
                     overlap(&doctor->ranks[a], &doctor->ranks[b]);
        if (!shares) continue;
        if (!sharing++) first = a;
    }
    if (!sharing) return;
    for (int rank = 0; rank < size; rank++) {
        if (weft_comm_node(world, rank) != weft_comm_node(world, first)) continue;
        ranks++;
        for (int i = 0; i < WI_CPU_WORDS; i++) together[i] |= doctor->ranks[rank].cpu[i];
    }
    for (int i = 0; i < WI_CPU_WORDS; i++) cpus += __builtin_popcountll(together[i]);
    wi_finding *f =
        wi_found(out, WI_FOUND_WARN, "places", "%d rank%s may run where another does (on %.64s: %d on %d cpu%s)",
                 sharing, sharing == 1 ? "" : "s", weft_comm_host(world, first), ranks, cpus, cpus == 1 ? "" : "s");
    if (ranks > cpus)
        wi_found_mend(f, "start at most %d rank%s there: more wait for each other's turns", cpus, cpus == 1 ? "" : "s");
    else if (weft_job_launcher_mpi(doctor->job))
        wi_found_mend(f, "mpirun --bind-to core, or srun --cpu-bind=cores");
    else
        wi_found_mend(f, "leave --bind none and --threads out");
}

// What ranks should know of their GPUs, if there are any. That there is none for them is nothing wrong by itself.
static void find_seats(const wi_doctor *doctor, wi_findings *out)
{
    weft_comm *world = weft_job_world(doctor->job);
    const int size = weft_comm_size(world);
    wi_rank_seat *all = calloc((size_t)size, sizeof *all);
    for (int rank = 0; all && rank < size; rank++) all[rank] = doctor->ranks[rank].seat;
    for (int rank = 0; all && rank < size; rank++) {
        const char *texts[2];
        const bool none = all[rank].device < 0;
        if (none && strcmp(all[rank].say, "this machine has no GPU") == 0) continue;
        const int count = wi_seats_say(world, all, rank, texts);
        for (int i = 0; i < count; i++)
            wi_found(out, none ? WI_FOUND_NONE : WI_FOUND_WARN, "seats", "rank %d: %s", rank, texts[i]);
    }
    free(all);
}

void wi_doctor_job(const wi_doctor *doctor, wi_findings *out)
{
    enum { SHOWN = 16 };
    weft_comm *world = weft_job_world(doctor->job);
    int size = weft_comm_size(world), hosts = weft_comm_nodes(world);
    char launcher[32] = "alone";
    if (weft_job_launcher_mpi(doctor->job)) snprintf(launcher, sizeof launcher, "by %s", doctor->call->launcher->name);
    if (doctor->call->common->ranks > 0) snprintf(launcher, sizeof launcher, "by weft -n");
    wi_finding *f = wi_found(out, WI_FOUND_OK, "job", "%d rank%s on %d host%s, started %s, transport %s", size,
                             size == 1 ? "" : "s", hosts, hosts == 1 ? "" : "s", launcher,
                             weft_transport_name(weft_comm_transport(world)));
    wi_found_fact(f, "ranks", size);
    wi_found_fact(f, "hosts", hosts);
    for (int rank = 0; rank < size && rank < SHOWN; rank++) {
        char name[16], text[200];
        snprintf(name, sizeof name, "rank %d", rank);
        wi_rank_text(doctor, rank, text, sizeof text);
        wi_found(out, WI_FOUND_OK, name, "%s", text);
    }
    if (size > SHOWN) wi_found(out, WI_FOUND_OK, "more ranks", "%d to %d; --json tells of all", SHOWN, size - 1);
    find_sharing(doctor, out);
    find_seats(doctor, out);
}
