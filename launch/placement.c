#include "launch/placement.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { VISIBLE_MAX = 64 };

typedef struct {
    int count;
    int gpu[VISIBLE_MAX]; // -1: unknown
    bool part[VISIBLE_MAX];
} visible_list;

static const char *variable(const wi_placement_question *q, const char *name)
{
    const size_t length = strlen(name);
    for (int i = 0; q->environment && q->environment[i]; i++)
        if (strncmp(q->environment[i], name, length) == 0 && q->environment[i][length] == '=')
            return q->environment[i] + length + 1;
    return NULL;
}

static void say(wi_placement *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(wi_placement *out, const char *format, ...)
{
    const size_t used = strlen(out->say);
    va_list args;
    if (used + 8 > sizeof out->say) return;
    if (used) memcpy(out->say + used, "; ", 3);
    va_start(args, format);
    // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is begun in the line above
    vsnprintf(out->say + strlen(out->say), sizeof out->say - strlen(out->say), format, args);
    va_end(args);
}

// ---- what is visible ----

static int open_gpu(const wi_hardware *h, long number)
{
    for (int i = 0; i < h->gpus; i++)
        if (!h->gpu[i].closed && number-- == 0) return i;
    return -1;
}

// The one whose uuid begins so; -1: none, or several.
static int gpu_of_uuid(const wi_hardware *h, const char *text)
{
    int found = -1;
    for (int i = 0; i < h->gpus; i++) {
        if (h->gpu[i].closed || !h->gpu[i].uuid[0] || strncmp(h->gpu[i].uuid, text, strlen(text)) != 0) continue;
        if (found >= 0) return -1;
        found = i;
    }
    return found;
}

// "MIG-<uuid>", or "MIG-GPU-<uuid>/1/0" as older drivers say.
static int gpu_of_part(const wi_hardware *h, const char *text)
{
    for (int i = 0; i < h->migs; i++)
        if (strcmp(h->mig[i].uuid, text) == 0) return h->mig[i].gpu;
    if (strncmp(text, "MIG-GPU-", 8) == 0) {
        char uuid[64];
        snprintf(uuid, sizeof uuid, "%.*s", (int)strcspn(text + 4, "/"), text + 4);
        return gpu_of_uuid(h, uuid);
    }
    return -1;
}

// One word of CUDA_VISIBLE_DEVICES; false ends the list, as CUDA does it.
static bool add_word(const wi_hardware *h, const char *word, visible_list *out)
{
    const bool part = strncmp(word, "MIG", 3) == 0;
    int gpu = -1;
    if (part) {
        gpu = gpu_of_part(h, word);
    } else if (strncmp(word, "GPU", 3) == 0) {
        gpu = gpu_of_uuid(h, word);
        if (gpu < 0 && h->gpus > 0 && h->gpu[0].uuid[0]) return false;
    } else {
        char *end;
        const long number = strtol(word, &end, 10);
        if (end == word || *end || number < 0 || (gpu = open_gpu(h, number)) < 0) return false;
    }
    if (out->count == VISIBLE_MAX) return false;
    for (int i = 0; i < out->count && gpu >= 0 && !part; i++)
        if (out->gpu[i] == gpu) return false;
    out->part[out->count] = part;
    out->gpu[out->count++] = gpu;
    return true;
}

static void read_list(const wi_hardware *h, const char *text, visible_list *list, wi_placement *out)
{
    int words = 0;
    for (const char *at = text; *at;) {
        char word[128];
        const size_t length = strcspn(at, ",");
        at += strspn(at, " ");
        snprintf(word, sizeof word, "%.*s", (int)(length < 127 ? length : 127), at);
        word[strcspn(word, " ,")] = 0;
        words++;
        if (!add_word(h, word, list)) {
            say(out, "CUDA_VISIBLE_DEVICES=%.60s: \"%.40s\" is no GPU here, or a second time, and the list ends there",
                text, word);
            return;
        }
        at += strcspn(at, ",");
        at += *at == ',';
    }
    // Of parts a process sees the first alone.
    if (list->count > 1 && list->part[0]) {
        list->count = 1;
        say(out, "of %d parts of GPUs CUDA shows a process the first: give each rank its own in CUDA_VISIBLE_DEVICES",
            words);
    }
}

static void see(const wi_hardware *h, const wi_placement_question *q, visible_list *list, wi_placement *out)
{
    const char *text = variable(q, "CUDA_VISIBLE_DEVICES");
    if (text)
        read_list(h, text, list, out);
    else
        for (int i = 0; i < h->gpus; i++)
            if (!h->gpu[i].closed) list->gpu[list->count++] = i;
    if (q->seen < 0) return;
    // What CUDA itself says holds: its order may be another, with GPUs of several kinds.
    const visible_list guess = *list;
    list->count = q->seen < VISIBLE_MAX ? q->seen : VISIBLE_MAX;
    for (int i = 0; i < list->count; i++) {
        list->gpu[i] = q->seen_bus ? wi_gpu_at(h, q->seen_bus[i]) : -1;
        if (list->gpu[i] < 0 && q->seen == guess.count && (!q->seen_bus || !q->seen_bus[i][0]))
            list->gpu[i] = guess.gpu[i];
        list->part[i] = i < guess.count && guess.part[i];
    }
}

// ---- who else ----

static int count_words(const char *text)
{
    int count = text && *text ? 1 : 0;
    for (; text && *text; text++) count += *text == ',';
    return count;
}

// Slurm may show each task devices of its own.
static bool has_own_list(const wi_placement_question *q, int visible)
{
    const char *number = variable(q, "SLURM_GPUS_ON_NODE");
    int here = count_words(variable(q, "SLURM_STEP_GPUS"));
    if (!variable(q, "SLURM_LOCALID") || q->local_size < 2) return false;
    if (here == 0 && number) here = (int)strtol(number, NULL, 10);
    return visible > 0 && visible < here;
}

static void tell_sharing(const wi_placement_question *q, const visible_list *list, wi_placement *out)
{
    const int most = (q->local_size + list->count - 1) / list->count;
    if (list->count >= q->local_size || out->own_list) return;
    if (list->count == 1)
        snprintf(out->shares, sizeof out->shares,
                 "%d ranks of this host share one GPU and its memory; start one rank here for a GPU each",
                 q->local_size);
    else
        snprintf(out->shares, sizeof out->shares,
                 "%d ranks of this host share %d GPUs and their memory, up to %d on each; start at most %d here for a "
                 "GPU each",
                 q->local_size, list->count, most, list->count);
}

// ---- cpus ----

static int node_of(const wi_hardware *h, int gpu) { return gpu >= 0 ? h->gpu[gpu].node : -1; }

static int cores_of(const weft_topology *t, int node)
{
    int cores = 0;
    for (int i = 0; i < t->allowed_cores; i++) cores += t->numa_of[i] == node;
    return cores;
}

// Core `first` to `last` of a node; with siblings, all of the node's cpus.
static void take(const weft_topology *t, int node, int first, int last, bool siblings, wi_share *share)
{
    int at = 0;
    share->count = 0;
    for (int i = 0; i < (siblings ? t->allowed_count : t->allowed_cores); i++) {
        if (t->numa_of[i] != node) continue;
        if (siblings || (at >= first && at < last)) share->cpus[share->count++] = t->allowed[i];
        at++;
    }
}

static void place_cpus(const wi_hardware *h, const wi_placement_question *q, const visible_list *list,
                       wi_placement *out)
{
    const weft_topology *t = &h->topology;
    const int cores = out->node >= 0 ? cores_of(t, out->node) : 0;
    int before = 0, members = 1;
    if (cores == 0) {
        wi_share_make(t, q->local_size, q->local_rank, q->threads, &out->share);
        if (out->node >= 0 && t->allowed_count > 0)
            say(out, "none of the cpus that this rank may use is of NUMA node %d, beside which its GPU is", out->node);
        return;
    }
    if (!out->own_list) {
        members = 0; // itself at least
        for (int r = 0; r < q->local_size; r++) {
            if (node_of(h, list->gpu[r % list->count]) != out->node) continue;
            before += r < q->local_rank;
            members++;
        }
    }
    members = members > 0 ? members : 1;
    if ((int64_t)members * (q->threads > 0 ? q->threads : 1) > cores) {
        take(t, out->node, 0, cores, true, &out->share);
        return;
    }
    take(t, out->node, (int)((int64_t)before * cores / members), (int)((int64_t)(before + 1) * cores / members), false,
         &out->share);
}

// ---- NIC ----

// Of the fabric: InfiniBand where there is some, else RDMA, else Ethernet; and of these the fastest.
static bool better(const wi_nic *a, const wi_nic *b)
{
    if (a->infiniband != b->infiniband) return a->infiniband;
    if (a->rdma != b->rdma) return a->rdma;
    return a->gbit > b->gbit;
}

static int nearest(const wi_hardware *h, int gpu, const wi_nic *best, int turn)
{
    int found = -1, count = 0;
    wi_far far = WI_FAR_UNKNOWN;
    for (int i = 0; i < h->nics; i++)
        if (h->nic[i].up && !better(best, &h->nic[i]) && h->far_nic[gpu][i] < far) far = h->far_nic[gpu][i];
    for (int round = 0; round < 2; round++) {
        int at = 0;
        for (int i = 0; i < h->nics; i++) {
            if (!h->nic[i].up || better(best, &h->nic[i]) || h->far_nic[gpu][i] != far) continue;
            if (round == 1 && count > 0 && at == turn % count) found = i;
            at++;
        }
        count = at;
    }
    return far == WI_FAR_UNKNOWN && count > 1 ? -1 : found; // of several any might be the far one
}

static void place_nic(const wi_hardware *h, wi_placement *out)
{
    const wi_nic *best = NULL;
    for (int i = 0; i < h->nics; i++)
        if (h->nic[i].up && (!best || better(&h->nic[i], best))) best = &h->nic[i];
    if (!best || out->gpu < 0) return;
    // GPUs that have the same NICs near them take them in turn.
    int turn = 0;
    for (int g = 0; g < out->gpu; g++) turn += nearest(h, g, best, 0) == nearest(h, out->gpu, best, 0);
    out->nic = nearest(h, out->gpu, best, turn);
}

void wi_placement_ucx(const wi_hardware *h, const wi_placement *p, char text[40])
{
    const wi_nic *nic = p->nic >= 0 ? &h->nic[p->nic] : NULL;
    text[0] = 0;
    if (nic && nic->rdma && nic->up) snprintf(text, 40, "%s:%d", nic->name, nic->port > 0 ? nic->port : 1);
}

// ---- all ----

void wi_placement_make(const wi_hardware *h, const wi_placement_question *q, wi_placement *out)
{
    visible_list list = {0};
    *out = (wi_placement){.device = -1, .gpu = -1, .node = -1, .nic = -1};
    see(h, q, &list, out);
    out->visible = list.count;
    if (list.count == 0) {
        const char *text = variable(q, "CUDA_VISIBLE_DEVICES");
        wi_share_make(&h->topology, q->local_size, q->local_rank, q->threads, &out->share);
        if (!out->say[0] && text && h->gpus > 0)
            say(out, "CUDA_VISIBLE_DEVICES=%.60s leaves none of this machine's %d GPUs", text, h->gpus);
        else if (!out->say[0] && h->gpus > 0)
            say(out,
                "this machine has %d GPU%s, and this process may open none of them: ask for them (srun --gpus, docker "
                "--gpus all), or load the driver",
                h->gpus, h->gpus == 1 ? "" : "s");
        else if (!out->say[0])
            say(out, "this machine has no GPU");
        return;
    }
    out->own_list = has_own_list(q, list.count);
    out->device = q->local_rank % list.count;
    out->gpu = list.gpu[out->device];
    out->node = node_of(h, out->gpu);
    out->sharers = 1;
    if (!out->own_list) out->sharers = (q->local_size - 1 - out->device) / list.count + 1;
    tell_sharing(q, &list, out);
    place_cpus(h, q, &list, out);
    place_nic(h, out);
}
