// Windows over point-to-point messages. A put is a message of a header and the data, a flag is an empty one; both have
// the window's tag, so they arrive in the order sent. The target takes them one at a time whenever it makes progress.
#include <stdlib.h>
#include <string.h>

#include "comm/p2p_impl.h"

typedef struct {
    uint64_t offset, bytes;
} head; // of a put; the data follows

enum { PIECE_BYTES = 1 << 20 }; // a larger put goes in pieces, so that the target needs room for this much only

typedef struct {
    weft_window base;
    wi_p2p_task task; // receives
    weft_job *job;
    uint32_t tag;
    bool dead, receiving;
    int from; // world rank of what is being received
    int size, rank;
    int *world_rank;         // [size]
    uint32_t *flags;         // [size] raised here
    unsigned char *incoming; // room for a head and one piece
    wi_request request;
} p2p_window;

// A message to a peer, with its own copy of the data.
typedef struct {
    wi_p2p_task task;
    wi_request request;
    head head; // what is sent begins here
    unsigned char data[];
} outgoing;

static p2p_window *window_of_task(wi_p2p_task *task)
{
    return (p2p_window *)(void *)((unsigned char *)task - offsetof(p2p_window, task));
}

static void window_free(p2p_window *window)
{
    free(window->base.memory);
    free(window->world_rank);
    free(window->flags);
    free(window->incoming);
    free(window);
}

// ---- sending; under the lock ----

static weft_status move_outgoing(weft_job *job, wi_p2p_task *task)
{
    outgoing *message = (outgoing *)task;
    bool done = false;
    WEFT_TRY(job->p2p->test(&message->request, &done, NULL));
    if (!done) return WEFT_OK;
    wi_p2p_unlink(task);
    free(message);
    return WEFT_OK;
}

// `data` NULL: a flag.
static weft_status post(p2p_window *window, int peer, size_t offset, const void *data, size_t bytes)
{
    weft_job *job = window->job;
    size_t length = data ? sizeof(head) + bytes : 0;
    outgoing *message = calloc(1, sizeof *message + bytes);
    if (!message) return weft_fail(WEFT_NO_MEMORY, "window %s: no memory to copy %zu bytes", window->base.name, bytes);
    message->task.move = move_outgoing;
    message->task.sends = true;
    message->head = (head){offset, bytes};
    if (data) memcpy(message->data, data, bytes);
    weft_status status =
        job->p2p->send(window->world_rank[peer], window->tag, &message->head, length, &message->request);
    if (status < 0) {
        free(message);
        return wi_p2p_keep(job, status);
    }
    wi_p2p_link(job, &message->task);
    return WEFT_OK;
}

// ---- receiving; under the lock ----

static int rank_of(const p2p_window *window, int world_rank)
{
    for (int i = 0; i < window->size; i++)
        if (window->world_rank[i] == world_rank) return i;
    return -1;
}

static weft_status take(p2p_window *window, size_t length)
{
    int from = rank_of(window, window->from);
    if (from < 0)
        return weft_fail(WEFT_INTERNAL, "window %s: a message from rank %d of the job, which is not in the group",
                         window->base.name, window->from);
    if (length == 0) {
        __atomic_fetch_add(&window->flags[from], 1, __ATOMIC_RELEASE);
        return WEFT_OK;
    }
    head in = {0};
    if (length >= sizeof in) memcpy(&in, window->incoming, sizeof in);
    if (length < sizeof in || length - sizeof in != in.bytes || in.offset > window->base.bytes ||
        in.bytes > window->base.bytes - in.offset)
        return weft_fail(WEFT_INTERNAL, "window %s: rank %d sent a message of %zu bytes that does not fit its %zu",
                         window->base.name, from, length, window->base.bytes);
    memcpy((unsigned char *)window->base.memory + in.offset, window->incoming + sizeof in, in.bytes);
    return WEFT_OK;
}

static weft_status move_window(weft_job *job, wi_p2p_task *task)
{
    p2p_window *window = window_of_task(task);
    for (;;) {
        bool done = false;
        size_t length = 0;
        if (window->receiving) {
            WEFT_TRY(job->p2p->test(&window->request, &done, &length));
            if (!done) return WEFT_OK;
            window->receiving = false;
            WEFT_TRY(take(window, length));
            continue;
        }
        WEFT_TRY(job->p2p->probe(window->tag, &done, &window->from, &length));
        if (!done) break;
        WEFT_TRY(
            job->p2p->recv(window->from, window->tag, window->incoming, sizeof(head) + PIECE_BYTES, &window->request));
        window->receiving = true;
    }
    if (window->dead) {
        wi_p2p_unlink(task);
        wi_p2p_tag_give(job, window->tag);
        window_free(window);
    }
    return WEFT_OK;
}

// ---- the operations ----

static weft_status p2p_put(weft_window *base, int peer, size_t offset, const void *data, size_t bytes)
{
    p2p_window *window = (p2p_window *)base;
    const unsigned char *from = data;
    if (peer == window->rank) {
        memcpy((unsigned char *)base->memory + offset, data, bytes);
        return WEFT_OK;
    }
    wi_p2p_lock(window->job);
    weft_status status = wi_p2p_state_status(window->job);
    for (size_t done = 0; status == WEFT_OK && done < bytes; done += PIECE_BYTES) {
        size_t piece = bytes - done < PIECE_BYTES ? bytes - done : PIECE_BYTES;
        status = post(window, peer, offset + done, from + done, piece);
    }
    wi_p2p_unlock(window->job);
    return status;
}

static weft_status p2p_flag(weft_window *base, int peer)
{
    p2p_window *window = (p2p_window *)base;
    if (peer == window->rank) {
        __atomic_fetch_add(&window->flags[peer], 1, __ATOMIC_RELEASE);
        return WEFT_OK;
    }
    wi_p2p_lock(window->job);
    weft_status status = wi_p2p_state_status(window->job);
    if (status == WEFT_OK) status = post(window, peer, 0, NULL, 0);
    wi_p2p_unlock(window->job);
    return status;
}

static uint32_t p2p_flags(weft_window *base, int from)
{
    p2p_window *window = (p2p_window *)base;
    wi_p2p_progress(window->job);
    return __atomic_load_n(&window->flags[from], __ATOMIC_ACQUIRE);
}

typedef struct {
    p2p_window *window;
    int from;
    uint32_t flags;
} flag_wait;

static bool flags_raised(void *arg, int *peer)
{
    const flag_wait *wait = arg;
    p2p_window *window = wait->window;
    *peer = window->world_rank[wait->from];
    if (wi_p2p_state_status(window->job) < 0) return false;
    if (wi_p2p_keep(window->job, move_window(window->job, &window->task)) < 0) return false;
    return weft_signal_reached(__atomic_load_n(&window->flags[wait->from], __ATOMIC_ACQUIRE), wait->flags);
}

static weft_status p2p_wait(weft_window *base, int from, uint32_t flags, uint32_t record)
{
    flag_wait wait = {(p2p_window *)base, from, flags};
    return wi_p2p_wait(wait.window->job, flags_raised, &wait, false, record);
}

static void p2p_window_destroy(weft_window *base)
{
    p2p_window *window = (p2p_window *)base;
    weft_job *job = window->job;
    wi_p2p_lock(job);
    window->dead = true;
    // Takes what has arrived, so that nothing is left under this tag, then frees the window unless the transport failed
    // or a message is half here.
    if (wi_p2p_state_status(job) == WEFT_OK) wi_p2p_keep(job, move_window(job, &window->task));
    wi_p2p_unlock(job);
}

static const wi_window_ops p2p_window_ops = {p2p_put, p2p_flag, p2p_flags, p2p_wait, p2p_window_destroy};

static weft_status make(weft_comm *comm, size_t bytes, p2p_window **out)
{
    p2p_window *window = calloc(1, sizeof *window);
    if (!window) return weft_fail(WEFT_NO_MEMORY, "no memory for a window");
    weft_status status;
    void *memory = NULL;
    window->base = (weft_window){.ops = &p2p_window_ops, .comm = comm, .bytes = bytes};
    window->job = comm->job;
    window->size = comm->size;
    window->rank = comm->rank;
    window->task.move = move_window;
    window->world_rank = calloc((size_t)comm->size, sizeof *window->world_rank);
    window->flags = calloc((size_t)comm->size, sizeof *window->flags);
    window->incoming = calloc(1, sizeof(head) + PIECE_BYTES);
    bool enough = posix_memalign(&memory, 64, bytes ? bytes : 1) == 0;
    window->base.memory = memory;
    if (!enough || !window->world_rank || !window->flags || !window->incoming) {
        status = weft_fail(WEFT_NO_MEMORY, "no memory for a window of %zu bytes", bytes);
        goto fail;
    }
    memset(memory, 0, bytes);
    memcpy(window->world_rank, comm->world_rank, (size_t)comm->size * sizeof *window->world_rank);
    *out = window;
    return WEFT_OK;
fail:
    window_free(window);
    return status;
}

weft_status wi_p2p_window_create(weft_comm *comm, size_t bytes, weft_window **out)
{
    p2p_window *window = NULL;
    uint32_t tag = 0;
    // Windows and channels share their numbers; all ranks count alike. The group has channels, so the state is there.
    WEFT_TRY(wi_p2p_tag_take(comm, comm->channels++, "window", &tag));
    weft_status status = weft_comm_agree(comm, make(comm, bytes, &window), NULL);
    wi_p2p_lock(comm->job);
    if (status < 0) {
        if (window) window_free(window);
        wi_p2p_tag_give(comm->job, tag);
    } else {
        window->tag = tag;
        wi_p2p_link(comm->job, &window->task);
    }
    wi_p2p_unlock(comm->job);
    if (status < 0) return status;
    *out = &window->base;
    return WEFT_OK;
}
