// Letters over windows, so that each transport has them that has windows. To every peer runs a stream of letters, each
// behind its length and filled up to whole words, in slots of the peer's window. Flags of one window count the slots
// that were filled, flags of another those that were emptied: each side only adds to a number of its own.
#include <stdlib.h>
#include <string.h>

#include "comm/comm_impl.h"
#include "comm/p2p_impl.h"
#include "core/checked.h"
#include "core/clock.h"

enum { SLOTS = 4, SLOT_BYTES = 16384, SLOT_DATA = SLOT_BYTES - 8 };
static const int64_t keep_ns = 1000000000;

// Bytes that come in at the end and go at the beginning.
typedef struct {
    unsigned char *bytes; // (capacity)
    size_t begin, end, capacity;
} stream;

typedef struct {
    stream out, in;
    uint32_t filled, emptied; // slots of the peer's that this rank has filled; its own that it has emptied
    size_t taken;             // bytes of `in` that the last letter has
    int64_t told_ns, heard_ns;
} post;

struct weft_mailbox {
    weft_comm *comm;
    weft_window *slots, *thanks;
    post *posts; // [size]
    uint64_t slot[SLOT_BYTES / 8];
};

weft_status weft_mailbox_create(weft_comm *comm, const char *name, weft_mailbox **out)
{
    weft_mailbox *box = calloc(1, sizeof *box);
    weft_status status = WEFT_OK;
    if (box) box->posts = calloc((size_t)comm->size, sizeof *box->posts);
    if (!box || !box->posts) status = weft_fail(WEFT_NO_MEMORY, "no memory for letters between %d ranks", comm->size);
    WEFT_TRY_GOTO(weft_comm_agree(comm, status, NULL));
    box->comm = comm;
    WEFT_TRY_GOTO(weft_window_create(comm, (size_t)comm->size * SLOTS * SLOT_BYTES, name, &box->slots));
    WEFT_TRY_GOTO(weft_window_create(comm, 0, "thanks", &box->thanks));
    const int64_t now = weft_clock_ns();
    for (int i = 0; i < comm->size; i++) box->posts[i].told_ns = box->posts[i].heard_ns = now;
    *out = box;
    return WEFT_OK;
fail:
    weft_mailbox_destroy(box);
    return status;
}

void weft_mailbox_destroy(weft_mailbox *box)
{
    if (!box) return;
    for (int i = 0; box->posts && i < box->comm->size; i++) {
        free(box->posts[i].out.bytes);
        free(box->posts[i].in.bytes);
    }
    weft_window_destroy(box->slots);
    weft_window_destroy(box->thanks);
    free(box->posts);
    free(box);
}

static weft_status add(stream *s, const void *data, size_t bytes)
{
    if (s->begin > 0) { // what has gone makes room
        memmove(s->bytes, s->bytes + s->begin, s->end - s->begin);
        s->end -= s->begin;
        s->begin = 0;
    }
    if (s->end + bytes > s->capacity) {
        const size_t capacity = 2 * (s->end + bytes) + SLOT_BYTES;
        unsigned char *more = realloc(s->bytes, capacity);
        if (!more) return weft_fail(WEFT_NO_MEMORY, "no memory for letters of %zu bytes", capacity);
        s->bytes = more;
        s->capacity = capacity;
    }
    if (bytes > 0) memcpy(s->bytes + s->end, data, bytes);
    s->end += bytes;
    return WEFT_OK;
}

// Fills slots of the peer's as long as there are free ones.
static weft_status move_out(weft_mailbox *box, int peer)
{
    post *p = &box->posts[peer];
    stream *s = &p->out;
    while (s->begin < s->end && p->filled - weft_window_flags(box->thanks, peer) < SLOTS) {
        const size_t left = s->end - s->begin, bytes = left < SLOT_DATA ? left : SLOT_DATA;
        const size_t slot = (size_t)box->comm->rank * SLOTS + p->filled % SLOTS;
        box->slot[0] = bytes;
        memcpy(box->slot + 1, s->bytes + s->begin, bytes);
        WEFT_TRY(weft_window_put(box->slots, peer, slot * SLOT_BYTES, box->slot, 8 + bytes));
        WEFT_TRY(weft_window_flag(box->slots, peer));
        p->filled++;
        p->told_ns = weft_clock_ns();
        s->begin += bytes;
    }
    return WEFT_OK;
}

static weft_status move_in(weft_mailbox *box, int peer)
{
    post *p = &box->posts[peer];
    const unsigned char *memory = weft_window_memory(box->slots);
    const uint32_t filled = weft_window_flags(box->slots, peer);
    if (filled != p->emptied) p->heard_ns = weft_clock_ns();
    while (filled != p->emptied) {
        const unsigned char *slot = memory + ((size_t)peer * SLOTS + p->emptied % SLOTS) * SLOT_BYTES;
        uint64_t bytes;
        memcpy(&bytes, slot, sizeof bytes);
        if (bytes > SLOT_DATA)
            return weft_fail(WEFT_INTERNAL, "a slot of %llu bytes from rank %d of %s", (unsigned long long)bytes, peer,
                             box->comm->name);
        WEFT_TRY(add(&p->in, slot + 8, (size_t)bytes));
        p->emptied++;
        WEFT_TRY(weft_window_flag(box->thanks, peer));
    }
    return WEFT_OK;
}

static size_t padded(size_t bytes) { return weft_align_up(bytes, sizeof(uint64_t)); }

static weft_status check_peer(const weft_mailbox *box, int peer)
{
    if (peer >= 0 && peer < box->comm->size) return WEFT_OK;
    return weft_fail(WEFT_INVALID, "a letter between rank %d and a group of %d", peer, box->comm->size);
}

static weft_status send(weft_mailbox *box, int peer, const void *data, size_t bytes)
{
    const uint64_t length = bytes, fill = 0;
    stream *s = &box->posts[peer].out;
    const size_t before = s->end - s->begin;
    weft_status status = add(s, &length, sizeof length);
    if (status == WEFT_OK) status = add(s, data, bytes);
    if (status == WEFT_OK) status = add(s, &fill, padded(bytes) - bytes);
    if (status < 0) {
        s->end = s->begin + before; // no half letter
        return status;
    }
    return move_out(box, peer);
}

weft_status weft_mailbox_send(weft_mailbox *box, int peer, const void *data, size_t bytes)
{
    WEFT_TRY(check_peer(box, peer));
    if (bytes == 0) return weft_fail(WEFT_INVALID, "an empty letter to rank %d of %s", peer, box->comm->name);
    return send(box, peer, data, bytes);
}

size_t weft_mailbox_unsent(const weft_mailbox *box)
{
    size_t bytes = 0;
    for (int i = 0; i < box->comm->size; i++) bytes += box->posts[i].out.end - box->posts[i].out.begin;
    return bytes;
}

// Whoever only looks must see as well that the job ends.
static weft_status check_job(weft_job *job)
{
    if (wi_load(&job->board->cancel)) return wi_cancelled(job);
    if (!job->p2p_state) return WEFT_OK;
    wi_p2p_lock(job);
    const weft_status status = wi_p2p_state_status(job);
    wi_p2p_unlock(job);
    return status;
}

weft_status weft_mailbox_take(weft_mailbox *box, int from, const unsigned char **data, size_t *bytes)
{
    uint64_t length;
    WEFT_TRY(check_peer(box, from));
    WEFT_TRY(check_job(box->comm->job));
    WEFT_TRY(move_out(box, from));
    post *p = &box->posts[from];
    stream *s = &p->in;
    s->begin += p->taken;
    p->taken = 0;
    WEFT_TRY(move_in(box, from));
    *data = NULL;
    *bytes = 0;
    while (s->end - s->begin >= sizeof length) {
        memcpy(&length, s->bytes + s->begin, sizeof length);
        if (s->end - s->begin - sizeof length < padded((size_t)length)) break;
        if (length > 0) {
            *data = s->bytes + s->begin + sizeof length;
            *bytes = (size_t)length;
            p->taken = sizeof length + padded((size_t)length);
            break;
        }
        s->begin += sizeof length; // a sign of life
    }
    return WEFT_OK;
}

weft_status weft_mailbox_keep(weft_mailbox *box, int peer)
{
    WEFT_TRY(check_peer(box, peer));
    const int64_t now = weft_clock_ns(), deadline = box->comm->job->options.deadline_ns;
    post *p = &box->posts[peer];
    if (now - p->told_ns > keep_ns && p->out.begin == p->out.end) WEFT_TRY(send(box, peer, NULL, 0));
    WEFT_TRY(move_out(box, peer));
    if (deadline == 0 || now - p->heard_ns <= deadline) return WEFT_OK;
    if (weft_window_flags(box->slots, peer) == p->emptied) WEFT_TRY(weft_window_wait(box->slots, peer, p->emptied + 1));
    p->heard_ns = weft_clock_ns();
    return WEFT_OK;
}
