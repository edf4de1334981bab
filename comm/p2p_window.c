// Windows over point-to-point messages. A put is a message of a header and the data, a flag is an empty one; both have
// the window's tag, so they arrive in the order sent. The target takes them one at a time whenever it makes progress.
//
// What is lent goes into the peer's memory without a message where the transport can do that; the flags behind it leave
// once the transport says that it arrived. Elsewhere it is a message of its own behind its header, received in place.
#include <stdlib.h>
#include <string.h>

#include "comm/p2p_impl.h"

typedef struct {
    uint64_t offset, bytes;
    uint64_t lent; // 1: the data is the next message
} head;            // of a put; the data follows

enum {
    PIECE_BYTES = 1 << 20, // a larger put goes in pieces, so that the target needs room for this much only
    LENT_BYTES = 1 << 28   // and in one message goes what a transport can count
};

// A peer's memory, where the transport writes into it by itself.
typedef struct {
    void *reached; // NULL before the first time
    uint64_t address;
    bool written; // from then on flags ask whether all has arrived
} remote;

typedef struct {
    weft_window base;
    wi_p2p_task task; // receives
    weft_job *job;
    uint32_t tag;
    bool dead, receiving;
    int from;    // world rank of what is being received
    size_t lent; // bytes of it that go to their place; 0: it comes into `incoming`
    int size, rank;
    int *world_rank;         // [size]
    uint32_t *flags;         // [size] raised here
    unsigned char *incoming; // room for a head and one piece
    wi_request request;
    int *lending; // [size] messages of lent data that are not there yet
    int lending_in_all;
    wi_exposed exposed;
    remote *remotes;     // [size] NULL: there are only messages
    unsigned char *keys; // (size, pitch)
    size_t pitch;
} p2p_window;

// A message to a peer, with its own copy of the data unless that is lent.
typedef struct {
    wi_p2p_task task;
    wi_request request;
    p2p_window *window;
    int peer, to; // in the window's group; in the job
    uint32_t tag;
    bool lends;  // it is the data alone
    bool before; // the request is what the flag has to come behind
    head head;   // what is sent begins here
    unsigned char data[];
} outgoing;

static p2p_window *window_of_task(wi_p2p_task *task)
{
    return (p2p_window *)(void *)((unsigned char *)task - offsetof(p2p_window, task));
}

static void window_free(p2p_window *window)
{
    const wi_p2p_puts *puts = window->job->p2p->puts;
    for (int i = 0; window->remotes && i < window->size; i++) puts->leave(window->remotes[i].reached);
    if (puts) puts->hide(&window->exposed);
    free(window->lending);
    free(window->remotes);
    free(window->keys);
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
    if (message->before) {
        message->before = false;
        return job->p2p->send(message->to, message->tag, &message->head, 0, &message->request);
    }
    if (message->lends) {
        message->window->lending[message->peer]--;
        message->window->lending_in_all--;
    }
    wi_p2p_unlink(task);
    free(message);
    return WEFT_OK;
}

static weft_status make_message(p2p_window *window, int peer, size_t room, outgoing **out)
{
    outgoing *message = calloc(1, sizeof *message + room);
    if (!message) return weft_fail(WEFT_NO_MEMORY, "window %s: no memory to copy %zu bytes", window->base.name, room);
    message->task.move = move_outgoing;
    message->task.sends = true;
    message->window = window;
    message->peer = peer;
    message->to = window->world_rank[peer];
    message->tag = window->tag;
    *out = message;
    return WEFT_OK;
}

// What the transport said of a message that is to leave: it is in flight or gone.
static weft_status keep_message(outgoing *message, weft_status status)
{
    weft_job *job = message->window->job;
    if (status == WEFT_OK)
        wi_p2p_link(job, &message->task);
    else
        free(message);
    return status == WEFT_OK ? WEFT_OK : wi_p2p_keep(job, status);
}

// `data` NULL: the head alone.
static weft_status post(p2p_window *window, int peer, head h, const void *data)
{
    const size_t bytes = data ? (size_t)h.bytes : 0;
    outgoing *message = NULL;
    WEFT_TRY(make_message(window, peer, bytes, &message));
    message->head = h;
    if (data) memcpy(message->data, data, bytes);
    return keep_message(message, window->job->p2p->send(message->to, message->tag, &message->head, sizeof h + bytes,
                                                        &message->request));
}

static weft_status post_flag(p2p_window *window, int peer)
{
    const wi_p2p *p2p = window->job->p2p;
    outgoing *message = NULL;
    WEFT_TRY(make_message(window, peer, 0, &message));
    message->before = window->remotes && window->remotes[peer].written;
    if (message->before) return keep_message(message, p2p->puts->arrive(message->to, &message->request));
    return keep_message(message, p2p->send(message->to, message->tag, &message->head, 0, &message->request));
}

static weft_status post_lent(p2p_window *window, int peer, size_t offset, const void *data, size_t bytes)
{
    outgoing *message = NULL;
    WEFT_TRY(post(window, peer, (head){offset, bytes, 1}, NULL));
    WEFT_TRY(make_message(window, peer, 0, &message));
    message->lends = true;
    WEFT_TRY(keep_message(message, window->job->p2p->send(message->to, message->tag, data, bytes, &message->request)));
    window->lending[peer]++;
    window->lending_in_all++;
    return WEFT_OK;
}

// Straight into the peer's memory.
static weft_status write_there(p2p_window *window, int peer, size_t offset, const void *data, size_t bytes)
{
    const wi_p2p_puts *puts = window->job->p2p->puts;
    const int to = window->world_rank[peer];
    remote *r = &window->remotes[peer];
    weft_status status = WEFT_OK;
    if (!r->reached) status = puts->reach(to, window->keys + (size_t)peer * window->pitch, &r->reached);
    if (status == WEFT_OK) status = puts->put(to, r->reached, r->address + offset, data, bytes);
    r->written = true;
    return wi_p2p_keep(window->job, status);
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
    if (window->lent > 0) {
        const size_t lent = window->lent;
        window->lent = 0;
        if (length == lent) return WEFT_OK;
        return weft_fail(WEFT_INTERNAL, "window %s: rank %d sent %zu bytes where %zu were to come", window->base.name,
                         from, length, lent);
    }
    head in = {0};
    if (length >= sizeof in) memcpy(&in, window->incoming, sizeof in);
    if (length < sizeof in || length - sizeof in != (in.lent ? 0 : in.bytes) || in.offset > window->base.bytes ||
        in.bytes > window->base.bytes - in.offset)
        return weft_fail(WEFT_INTERNAL, "window %s: rank %d sent a message of %zu bytes that does not fit its %zu",
                         window->base.name, from, length, window->base.bytes);
    unsigned char *place = (unsigned char *)window->base.memory + in.offset;
    if (!in.lent) {
        memcpy(place, window->incoming + sizeof in, in.bytes);
        return WEFT_OK;
    }
    window->lent = in.bytes;
    window->receiving = true;
    return window->job->p2p->recv(window->from, window->tag, place, in.bytes, &window->request);
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
    if (window->dead && window->lending_in_all == 0) {
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
        status = post(window, peer, (head){offset + done, piece, 0}, from + done);
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
    if (status == WEFT_OK) status = post_flag(window, peer);
    wi_p2p_unlock(window->job);
    return status;
}

static weft_status p2p_lend(weft_window *base, int peer, size_t offset, const void *data, size_t bytes)
{
    p2p_window *window = (p2p_window *)base;
    const unsigned char *from = data;
    if (peer == window->rank) return p2p_put(base, peer, offset, data, bytes);
    wi_p2p_lock(window->job);
    weft_status status = wi_p2p_state_status(window->job);
    for (size_t done = 0; status == WEFT_OK && done < bytes; done += LENT_BYTES) {
        const size_t piece = bytes - done < LENT_BYTES ? bytes - done : LENT_BYTES;
        status = (window->remotes ? write_there : post_lent)(window, peer, offset + done, from + done, piece);
    }
    wi_p2p_unlock(window->job);
    return status;
}

typedef struct {
    p2p_window *window;
    int peer;
    wi_request request; // of a transport that writes by itself
} flush_wait;

static bool is_flushed(void *arg, int *peer)
{
    flush_wait *wait = arg;
    const p2p_window *window = wait->window;
    bool done = false;
    *peer = window->world_rank[wait->peer];
    if (wi_p2p_state_status(window->job) < 0) return false;
    if (!window->remotes) return window->lending[wait->peer] == 0;
    return wi_p2p_keep(window->job, window->job->p2p->test(&wait->request, &done, NULL)) == WEFT_OK && done;
}

static weft_status p2p_flush(weft_window *base, int peer, uint32_t record)
{
    flush_wait wait = {.window = (p2p_window *)base, .peer = peer};
    weft_job *job = wait.window->job;
    if (peer == wait.window->rank) return WEFT_OK;
    wi_p2p_lock(job);
    weft_status status = wi_p2p_state_status(job);
    if (status == WEFT_OK && wait.window->remotes)
        status = wi_p2p_keep(job, job->p2p->puts->arrive(wait.window->world_rank[peer], &wait.request));
    wi_p2p_unlock(job);
    return status < 0 ? status : wi_p2p_wait(job, is_flushed, &wait, false, record);
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

static const wi_window_ops p2p_window_ops = {p2p_put,   p2p_lend, p2p_flush,         p2p_flag,
                                             p2p_flags, p2p_wait, p2p_window_destroy};

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
    window->lending = calloc((size_t)comm->size, sizeof *window->lending);
    bool enough = posix_memalign(&memory, 4096, bytes ? bytes : 1) == 0;
    window->base.memory = memory;
    if (!enough || !window->world_rank || !window->flags || !window->incoming || !window->lending) {
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

// Registers the memory, and tells the peers where it is and with which key they reach it. Collective, blocking: it
// succeeds on all ranks or on none.
static weft_status expose(weft_comm *comm, p2p_window *window)
{
    const size_t size = (size_t)comm->size;
    int64_t pitch = 0;
    const wi_p2p_puts *puts = comm->job->p2p->puts;
    unsigned char *mine = NULL;
    wi_p2p_lock(comm->job);
    weft_status status = puts->expose(window->base.memory, window->base.bytes, &window->exposed);
    wi_p2p_unlock(comm->job);
    WEFT_TRY(weft_comm_agree(comm, status, NULL));
    pitch = (int64_t)(sizeof(uint64_t) + window->exposed.key_bytes);
    WEFT_TRY(weft_comm_max(comm, &pitch, 1));
    mine = calloc(1, (size_t)pitch);
    window->remotes = calloc(size, sizeof *window->remotes);
    window->keys = calloc(size, (size_t)pitch);
    if (!mine || !window->remotes || !window->keys)
        status = weft_fail(WEFT_NO_MEMORY, "no memory for the keys of %zu ranks", size);
    WEFT_TRY_GOTO(weft_comm_agree(comm, status, NULL));
    if (!mine || !window->remotes || !window->keys) goto fail; // for the analyzer: they have agreed on that
    window->pitch = (size_t)pitch;
    const uint64_t address = (uint64_t)(uintptr_t)window->base.memory;
    memcpy(mine, window->exposed.key, window->exposed.key_bytes);
    memcpy(mine + pitch - sizeof address, &address, sizeof address);
    WEFT_TRY_GOTO(weft_comm_allgather(comm, mine, (size_t)pitch, window->keys));
    for (size_t i = 0; i < size; i++)
        memcpy(&window->remotes[i].address, window->keys + (i + 1) * window->pitch - sizeof address, sizeof address);
fail:
    free(mine);
    return status;
}

weft_status wi_p2p_window_create(weft_comm *comm, size_t bytes, weft_window **out)
{
    p2p_window *window = NULL;
    uint32_t tag = 0;
    // Windows and channels share their numbers; all ranks count alike. The group has channels, so the state is there.
    WEFT_TRY(wi_p2p_tag_take(comm, comm->channels++, "window", &tag));
    weft_status status = weft_comm_agree(comm, make(comm, bytes, &window), NULL);
    if (status == WEFT_OK && comm->job->p2p->puts && bytes > 0) status = expose(comm, window);
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
