#include "launch/seat.h"

#include <stdlib.h>
#include <string.h>

#include "launch/placement.h"

extern char **environ;

enum { SEEN_MAX = 64, TOLD_MAX = 16 };

wi_seat_of wi_seat_place(const weft_comm *world)
{
    const int rank = weft_comm_rank(world), node = weft_comm_node(world, rank);
    wi_seat_of place = {0};
    for (int r = 0; r < weft_comm_size(world); r++) {
        if (weft_comm_node(world, r) != node) continue;
        place.rank += r < rank;
        place.size++;
    }
    return place;
}

static void fill(const wi_hardware *h, const wi_placement *p, const char (*seen)[16], wi_rank_seat *out)
{
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    *out = (wi_rank_seat){.device = p->device, .node = p->node, .visible = p->visible};
    if (p->gpu >= 0) {
        memcpy(out->bus, h->gpu[p->gpu].bus, sizeof out->bus);
        memcpy(out->name, h->gpu[p->gpu].name, sizeof out->name);
    } else if (seen && p->device >= 0) {
        memcpy(out->bus, seen[p->device], sizeof out->bus);
    }
    if (list && strncmp(list, "MIG", 3) == 0)
        snprintf(out->part, sizeof out->part, "%.*s", (int)strcspn(list, ","), list);
    if (p->nic >= 0) snprintf(out->nic, sizeof out->nic, "%s", h->nic[p->nic].name);
    wi_placement_ucx(h, p, out->ucx);
    wi_cpus_text(h->topology.allowed, h->topology.allowed_count, out->cpus, sizeof out->cpus);
    memcpy(out->say, p->say, sizeof out->say);
    memcpy(out->shares, p->shares, sizeof out->shares);
}

static weft_status list_devices(const weft_device_kind *kind, wi_placement_question *q, char (*bus)[16])
{
    int count = 0;
    WEFT_TRY(kind->count(&count));
    q->seen = count < SEEN_MAX ? count : SEEN_MAX;
    q->seen_bus = (const char(*)[16])bus;
    for (int i = 0; i < q->seen; i++)
        if (kind->bus(i, bus[i]) < 0) bus[i][0] = 0;
    weft_error_clear();
    return WEFT_OK;
}

weft_status wi_seat_find(wi_seat_of place, int threads, const weft_device_kind *kind, const weft_topology *allowed,
                         wi_rank_seat *out, wi_share *share)
{
    char bus[SEEN_MAX][16] = {{0}};
    wi_placement_question q = {.local_rank = place.rank,
                               .local_size = place.size,
                               .threads = threads,
                               .environment = (const char *const *)environ,
                               .seen = -1};
    wi_hardware *h = calloc(1, sizeof *h);
    wi_placement *p = calloc(1, sizeof *p);
    weft_status status = WEFT_OK;
    if (!h || !p) status = weft_fail(WEFT_NO_MEMORY, "no memory to look at this machine's GPUs");
    if (status == WEFT_OK && kind) status = list_devices(kind, &q, bus);
    if (status == WEFT_OK) status = wi_hardware_read(allowed, h);
    if (status == WEFT_OK) {
        if (kind && strcmp(kind->kind, "cuda") != 0) h->gpus = 0; // they are not what it computes on
        wi_placement_make(h, &q, p);
        fill(h, p, q.seen_bus, out);
        if (share) *share = p->share;
    }
    free(h);
    free(p);
    return status;
}

char *wi_seat_text(const wi_rank_seat *seat, char *text, size_t capacity)
{
    char node[32] = "", nic[32] = "";
    if (seat->device < 0) {
        snprintf(text, capacity, "no GPU");
        return text;
    }
    if (seat->node >= 0) snprintf(node, sizeof node, ", NUMA node %d", seat->node);
    if (seat->nic[0]) snprintf(nic, sizeof nic, ", NIC %s", seat->nic);
    if (seat->bus[0])
        snprintf(text, capacity, "GPU %d (%.40s%sat %s%s%.16s)%s%s", seat->device, seat->name, seat->name[0] ? " " : "",
                 seat->bus, seat->part[0] ? ", " : "", seat->part, node, nic);
    else
        snprintf(text, capacity, "device %d%s%s", seat->device, node, nic);
    return text;
}

static bool same_gpu(weft_comm *world, const wi_rank_seat *all, int a, int b)
{
    return weft_comm_node(world, a) == weft_comm_node(world, b) && strcmp(all[a].bus, all[b].bus) == 0 &&
           strcmp(all[a].part, all[b].part) == 0;
}

// By what all ranks told, where GPUs are known; a rank alone can only guess.
static bool shares(weft_comm *world, const wi_rank_seat *all, int rank)
{
    if (!all[rank].bus[0]) return all[rank].shares[0] != 0;
    for (int r = 0; r < weft_comm_size(world); r++)
        if (r != rank && same_gpu(world, all, r, rank)) return true;
    return false;
}

static bool is_new(const wi_rank_seat *all, int rank, const char *text, bool of_shares)
{
    for (int r = 0; r < rank; r++)
        if (strcmp(of_shares ? all[r].shares : all[r].say, text) == 0) return false;
    return text[0] != 0;
}

int wi_seats_say(weft_comm *world, const wi_rank_seat *all, int rank, const char *texts[2])
{
    static const char silent[] =
        "another rank of this host computes on the same GPU, and they share its memory; show each "
        "its own in CUDA_VISIBLE_DEVICES";
    int count = 0;
    if (is_new(all, rank, all[rank].say, false)) texts[count++] = all[rank].say;
    if (shares(world, all, rank)) {
        if (!all[rank].shares[0]) {
            bool first = true;
            for (int r = 0; r < rank; r++) first = first && !same_gpu(world, all, r, rank);
            if (first) texts[count++] = silent;
        } else if (is_new(all, rank, all[rank].shares, true)) {
            texts[count++] = all[rank].shares;
        }
    }
    return count;
}

weft_status wi_seats_tell(weft_comm *world, const wi_rank_seat *own, const char *before, FILE *out)
{
    const int size = weft_comm_size(world);
    wi_rank_seat *all = calloc((size_t)size, sizeof *all);
    weft_status status = all ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for the places of %d ranks", size);
    WEFT_TRY_GOTO(weft_comm_agree(world, status, NULL));
    WEFT_TRY_GOTO(weft_comm_allgather(world, own, sizeof *own, all));
    for (int r = 0; r < size && weft_comm_rank(world) == 0; r++) {
        const char *texts[2];
        char text[192];
        if (r < TOLD_MAX)
            fprintf(out, "%srank %d on %s: %s, cpus %s\n", before, r, weft_comm_host(world, r),
                    wi_seat_text(&all[r], text, sizeof text), all[r].cpus);
        else if (r == TOLD_MAX)
            fprintf(out, "%sranks %d to %d likewise; weft doctor --json FILE tells of all\n", before, r, size - 1);
        const int count = wi_seats_say(world, all, r, texts);
        for (int i = 0; i < count; i++) fprintf(out, "%srank %d: %s\n", before, r, texts[i]);
    }
    status = WEFT_OK;
fail:
    free(all);
    return status;
}
