// How many ranks on each host, how many threads, and who is where in the mesh.
#include <stdlib.h>
#include <string.h>

#include "launch/advice.h"
#include "parallel/mesh.h"

static int larger(int a, int b) { return a > b ? a : b; }

void wi_spread_free(wi_spread *spread)
{
    free(spread->on);
    *spread = (wi_spread){0};
}

// ---- how many ----

static int slots_of(const wi_allocation *a)
{
    int sum = 0;
    for (int i = 0; i < a->hosts; i++) sum += a->host[i].slots;
    return sum;
}

static int hosts_meant(const wi_allocation *a, const wi_wish *w) { return w->nodes > 0 ? w->nodes : a->hosts; }

// As the flags say, then the allocation, then one for each GPU or NUMA domain.
static int ranks_of(const wi_allocation *a, const wi_wish *w, const wi_surroundings *here)
{
    if (w->ranks > 0) return w->ranks;
    if (w->tp > 0 && w->cp > 0) return w->tp * w->cp * larger(w->dp, 1);
    if (w->gpus > 0 && slots_of(a) == 0) return w->gpus * hosts_meant(a, w);
    if (a->tasks > 0) return a->tasks;
    if (slots_of(a) > 0) return slots_of(a);
    return hosts_meant(a, w) * larger(here->domains, 1);
}

// Over the first `hosts` as evenly as whole groups of `group` ranks can be.
static bool spread_even(const wi_allocation *a, int ranks, int hosts, int group, int *on)
{
    const int groups = ranks / group;
    for (int i = 0; i < hosts; i++) {
        on[i] = group * (groups / hosts + (i < groups % hosts));
        if (a->host[i].slots > 0 && on[i] > a->host[i].slots) return false;
    }
    return true;
}

// Host after host as far as each has slots, for whole groups of `group` ranks.
static bool fill(const wi_allocation *a, int ranks, int group, int *on)
{
    memset(on, 0, (size_t)a->hosts * sizeof *on);
    for (int i = 0; i < a->hosts && ranks > 0; i++) {
        const int room = a->host[i].slots - a->host[i].slots % group;
        on[i] = room < ranks ? room : ranks;
        ranks -= on[i];
    }
    return ranks == 0;
}

static bool all_even(const wi_spread *s)
{
    for (int i = 1; i < s->hosts; i++)
        if (s->on[i] != s->on[0]) return false;
    return true;
}

static bool try_group(const wi_allocation *a, const wi_wish *w, int group, wi_spread *s)
{
    const bool even = w->nodes > 0 || slots_of(a) == 0;
    s->hosts = hosts_meant(a, w);
    if (s->ranks % group != 0) return false;
    const bool fits = even ? spread_even(a, s->ranks, s->hosts, group, s->on) : fill(a, s->ranks, group, s->on);
    while (s->hosts > 1 && s->on[s->hosts - 1] == 0) s->hosts--;
    s->even = all_even(s) ? s->on[0] : 0;
    return fits;
}

// Whole tp groups on each host if that can be. srun deals unlike numbers of tasks by its own rule, where groups are not
// looked at.
static weft_status place(const wi_allocation *a, const wi_wish *w, wi_spread *s)
{
    const int slots = slots_of(a);
    if (hosts_meant(a, w) > a->hosts)
        return weft_fail(WEFT_USAGE, "--nodes %d: %s has %d host%s", w->nodes, a->from, a->hosts,
                         a->hosts == 1 ? "" : "s");
    const bool whole = s->known && s->tp > 1 && try_group(a, w, s->tp, s) && (w->by != WI_BY_SRUN || s->even > 0);
    if (whole || try_group(a, w, 1, s)) return WEFT_OK;
    return weft_fail(WEFT_USAGE,
                     "%d ranks%s do not fit %s, which has room for %d on %d host%s: ask for fewer, or for "
                     "a larger allocation",
                     s->ranks, w->nodes > 0 ? " over so many --nodes" : "", a->from, slots, a->hosts,
                     a->hosts == 1 ? "" : "s");
}

// ---- the mesh ----

static weft_status shape(const wi_wish *w, wi_spread *s)
{
    weft_mesh_shape mesh;
    s->dp = larger(w->dp, 1);
    if (s->ranks % s->dp != 0)
        return weft_fail(WEFT_USAGE, "--dp %d: %d ranks cannot be divided into so many replicas", s->dp, s->ranks);
    s->known = w->tp > 0 || w->cp > 0;
    if (!s->known) return WEFT_OK;
    WEFT_TRY(weft_mesh_shape_for(&(weft_mesh_shape){.tp = w->tp, .cp = w->cp}, s->ranks / s->dp, &mesh));
    s->tp = mesh.tp;
    s->cp = mesh.cp;
    return WEFT_OK;
}

wi_rank_place wi_spread_rank(const wi_spread *s, int rank)
{
    wi_rank_place p = {.rank = rank, .local = rank};
    while (p.host < s->hosts - 1 && p.local >= s->on[p.host]) p.local -= s->on[p.host++];
    const int replica = s->ranks / s->dp;
    p.dp_rank = rank / replica;
    if (s->known) p.cp_rank = rank % replica / s->tp, p.tp_rank = rank % replica % s->tp;
    return p;
}

// Whether each run of `group` ranks stands on one host.
static bool stand_inside(const wi_spread *s, int group)
{
    for (int rank = 0; rank < s->ranks; rank += group)
        if (wi_spread_rank(s, rank).host != wi_spread_rank(s, rank + group - 1).host) return false;
    return true;
}

// ---- threads ----

static void share_threads(const wi_allocation *a, const wi_wish *w, const wi_surroundings *here, wi_spread *s)
{
    int least = w->threads > 0 ? w->threads : a->task_cpus;
    for (int i = 0; i < s->hosts; i++) {
        if (s->on[i] == 0) continue;
        const int cpus = a->host[i].cpus > 0        ? a->host[i].cpus
                         : a->slurm && a->task_cpus ? a->task_cpus * a->host[i].slots
                                                    : here->cores;
        const int each = cpus / s->on[i];
        if (least == 0 || (w->threads == 0 && a->task_cpus == 0 && each < least)) least = larger(each, 1);
        s->crowded = s->crowded || least * s->on[i] > cpus;
    }
    s->threads = larger(least, 1);
}

static wi_by by_of(const wi_allocation *a, const wi_wish *w, const wi_surroundings *here, int hosts)
{
    if (w->by != WI_BY_AUTO) return w->by;
    if (w->ucx && !a->slurm) return WI_BY_MPIRUN;
    if (a->slurm) return here->srun ? WI_BY_SRUN : WI_BY_MPIRUN;
    return hosts > 1 || a->file ? WI_BY_MPIRUN : WI_BY_WEFT;
}

weft_status wi_spread_make(const wi_allocation *a, const wi_wish *wish, const wi_surroundings *here, wi_spread *out)
{
    wi_spread s = {.ranks = ranks_of(a, wish, here), .gpus = wish->gpus};
    wi_wish w = *wish;
    weft_status status;
    w.by = by_of(a, wish, here, hosts_meant(a, wish));
    WEFT_TRY_GOTO(shape(&w, &s));
    s.on = calloc((size_t)a->hosts, sizeof *s.on);
    if (!s.on) WEFT_TRY_GOTO(weft_fail(WEFT_NO_MEMORY, "no memory for %d hosts", a->hosts));
    WEFT_TRY_GOTO(place(a, &w, &s));
    s.by = w.by;
    if (s.by == WI_BY_WEFT && s.hosts > 1)
        WEFT_TRY_GOTO(
            weft_fail(WEFT_USAGE, "--by weft: weft itself starts ranks on one host, and these stand on %d", s.hosts));
    if (s.by == WI_BY_SRUN && !a->slurm)
        WEFT_TRY_GOTO(weft_fail(WEFT_USAGE, "--by srun: no allocation of Slurm here (SLURM_JOB_NODELIST): run it "
                                            "inside of salloc or sbatch"));
    share_threads(a, &w, here, &s);
    s.inside = s.known && stand_inside(&s, s.tp);
    s.replicas_inside = stand_inside(&s, s.ranks / s.dp);
    *out = s;
    return WEFT_OK;
fail:
    wi_spread_free(&s);
    return status;
}
