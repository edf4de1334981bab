// Groups: the world, its parts, and who is where.
#include <stdlib.h>
#include <string.h>

#include "comm/device_impl.h"

int weft_comm_rank(const weft_comm *comm) { return comm->rank; }

int weft_comm_size(const weft_comm *comm) { return comm->size; }

const char *weft_comm_name(const weft_comm *comm) { return comm->name; }

weft_transport weft_comm_transport(const weft_comm *comm) { return comm->transport; }

int weft_comm_world_rank(const weft_comm *comm, int rank) { return comm->world_rank[rank]; }

int weft_comm_node(const weft_comm *comm, int rank) { return comm->job->place[comm->world_rank[rank]].node; }

const char *weft_comm_host(const weft_comm *comm, int rank) { return comm->job->place[comm->world_rank[rank]].host; }

int weft_comm_nodes(const weft_comm *comm)
{
    int nodes = 0;
    for (int i = 0; i < comm->size; i++) {
        bool seen = false;
        for (int j = 0; j < i && !seen; j++) seen = weft_comm_node(comm, j) == weft_comm_node(comm, i);
        nodes += !seen;
    }
    return nodes;
}

const char *weft_transport_name(weft_transport transport)
{
    static const char *const names[] = {"auto", "self", "threads", "shm", "mpi", "ucx"};
    return names[transport];
}

static weft_channel_spec control_spec(void)
{
    return (weft_channel_spec){
        .shape = WEFT_ALLGATHER, .name = "control", .bytes = WI_CONTROL_BYTES, .depth = WI_CONTROL_DEPTH};
}

static weft_channel_spec barrier_spec(void)
{
    return (weft_channel_spec){.shape = WEFT_BARRIER, .name = "barrier", .depth = WI_CONTROL_DEPTH};
}

size_t wi_comm_bytes(int ranks)
{
    weft_channel_spec control = control_spec(), barrier = barrier_spec();
    return wi_shared_channel_bytes(&control, ranks) + wi_shared_channel_bytes(&barrier, ranks);
}

// `memory` is where the group's own channels lie, NULL on a point-to-point transport.
static weft_status make_channels(weft_comm *comm, unsigned char *memory)
{
    weft_channel_spec control = control_spec(), barrier = barrier_spec();
    if (!memory) {
        WEFT_TRY(wi_p2p_channel_create(comm, &control, &comm->control));
        return wi_p2p_channel_create(comm, &barrier, &comm->barrier);
    }
    size_t offset = wi_shared_channel_bytes(&control, comm->size);
    WEFT_TRY(wi_shared_channel_create_on(comm, &control, memory, &comm->control));
    return wi_shared_channel_create_on(comm, &barrier, memory + offset, &comm->barrier);
}

static weft_transport choose_transport(const weft_comm *comm)
{
    const weft_job *job = comm->job;
    const weft_transport messages = job->p2p == job->boot ? WEFT_TRANSPORT_MPI : WEFT_TRANSPORT_UCX;
    if (wi_transport_p2p(job->options.transport)) return messages;
    if (comm->size == 1) return WEFT_TRANSPORT_SELF;
    if (job->threads && job->memory == WI_MEMORY_HEAP) return WEFT_TRANSPORT_THREADS;
    return weft_comm_nodes(comm) == 1 ? WEFT_TRANSPORT_SHM : messages;
}

static weft_status make_group(weft_job *job, weft_comm *parent, const char *name, int size, weft_comm **out)
{
    weft_comm *comm = calloc(1, sizeof *comm);
    if (!comm) return weft_fail(WEFT_NO_MEMORY, "no memory for a group");
    comm->world_rank = calloc((size_t)size, sizeof *comm->world_rank);
    if (!comm->world_rank) {
        free(comm);
        return weft_fail(WEFT_NO_MEMORY, "no memory for a group of %d ranks", size);
    }
    comm->job = job;
    comm->parent = parent;
    comm->size = size;
    snprintf(comm->name, sizeof comm->name, "%s", name);
    *out = comm;
    return WEFT_OK;
}

weft_status wi_comm_world(weft_job *job, weft_comm **out)
{
    weft_comm *comm = NULL;
    weft_status status;
    WEFT_TRY(make_group(job, NULL, "world", job->size, &comm));
    for (int i = 0; i < job->size; i++) comm->world_rank[i] = i;
    comm->rank = job->rank;
    comm->id = job->next_comm++;
    comm->transport = choose_transport(comm);
    if (job->options.transport == WEFT_TRANSPORT_SHM && wi_transport_p2p(comm->transport)) {
        status = weft_fail(WEFT_UNSUPPORTED, "--transport shm: the ranks are on %d hosts; leave the flag out",
                           weft_comm_nodes(comm));
        goto fail;
    }
    WEFT_TRY_GOTO(make_channels(comm, wi_transport_p2p(comm->transport) ? NULL : wi_board_control(job->board)));
    *out = comm;
    return WEFT_OK;
fail:
    weft_comm_destroy(comm);
    return status;
}

typedef struct {
    int32_t color, key;
    uint32_t next_comm;
    int32_t rank;
} wish;

static int by_key(const void *left, const void *right)
{
    const wish *a = left, *b = right;
    if (a->key != b->key) return a->key < b->key ? -1 : 1;
    return a->rank < b->rank ? -1 : 1;
}

// Keeps the members of one color, in the group's order, at the front; returns how many.
static int choose_members(wish *wishes, int count, int color)
{
    int members = 0;
    for (int i = 0; i < count; i++)
        if (wishes[i].color == color) wishes[members++] = wishes[i];
    qsort(wishes, (size_t)members, sizeof *wishes, by_key);
    return members;
}

weft_status weft_comm_split(weft_comm *parent, int color, int key, const char *name, weft_comm **out)
{
    weft_job *job = parent->job;
    wish mine = {color, key, job->next_comm, parent->rank};
    wish *wishes = calloc((size_t)parent->size, sizeof *wishes);
    weft_comm *comm = NULL;
    weft_status status;
    int leader = 0;
    size_t bytes = 0;
    if (!wishes) return weft_fail(WEFT_NO_MEMORY, "no memory to split a group of %d", parent->size);
    WEFT_TRY_GOTO(weft_comm_allgather(parent, &mine, sizeof mine, wishes));
    for (int i = 0; i < parent->size; i++)
        if (wishes[i].next_comm > job->next_comm) job->next_comm = wishes[i].next_comm;
    if (wi_transport_p2p(job->world->transport)) WEFT_TRY_GOTO(wi_p2p_group_take(parent, &job->next_comm));
    uint32_t id = job->next_comm++;
    if (color >= 0) {
        int members = choose_members(wishes, parent->size, color);
        leader = wishes[0].rank;
        status = make_group(job, parent, name, members, &comm);
        for (int i = 0; comm && i < members; i++) {
            comm->world_rank[i] = parent->world_rank[wishes[i].rank];
            if (wishes[i].rank == parent->rank) comm->rank = i;
        }
        if (comm) {
            comm->id = id;
            comm->transport = choose_transport(comm);
            if (!wi_transport_p2p(comm->transport)) bytes = wi_comm_bytes(members);
        }
    }
    WEFT_TRY_GOTO(weft_comm_agree(parent, status, NULL));
    WEFT_TRY_GOTO(
        wi_memory_share(parent, leader, comm ? comm->size : 1, bytes, comm ? &comm->memory : &(wi_memory){0}));
    if (comm) status = make_channels(comm, comm->memory.base);
    WEFT_TRY_GOTO(weft_comm_agree(parent, status, NULL));
    free(wishes);
    *out = comm;
    return WEFT_OK;
fail:
    free(wishes);
    weft_comm_destroy(comm);
    return status;
}

weft_job *weft_comm_job(const weft_comm *comm) { return comm->job; }

void weft_comm_destroy(weft_comm *comm)
{
    if (!comm) return;
    wi_mover_leave(comm);
    weft_channel_destroy(comm->barrier);
    weft_channel_destroy(comm->control);
    wi_memory_drop(&comm->memory);
    free(comm->world_rank);
    free(comm);
}

bool weft_comm_has_allreduce(const weft_comm *comm)
{
    const weft_job *job = comm->job;
    bool whole = job->boot && job->boot->allreduce_f32 && comm->size == job->world->size;
    for (int r = 0; whole && r < comm->size; r++) whole = comm->world_rank[r] == r;
    return whole;
}

weft_status weft_comm_allreduce_fast(weft_comm *comm, const float *in, float *out, size_t count)
{
    const weft_job *job = comm->job;
    if (!weft_comm_has_allreduce(comm))
        return weft_fail(WEFT_UNSUPPORTED,
                         "group %s has no all-reduce of a library's own: it needs the world of an MPI job", comm->name);
    if (job->p2p != job->boot) wi_p2p_settle(comm->job);
    pthread_mutex_lock(&comm->job->p2p_lock);
    weft_status status = job->boot->allreduce_f32(in, out, count);
    pthread_mutex_unlock(&comm->job->p2p_lock);
    return status;
}

void weft_comm_progress(weft_comm *comm)
{
    if (comm->job->p2p) wi_p2p_progress(comm->job);
}
