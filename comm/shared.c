// Channels over memory that all ranks of the group map: one code for self, threads and shm. Nothing is copied: a slot
// lies in the shared memory, and a view is the peer's slot.
//
// Each rank owns one piece: a line that says which exchanges it has released, then `depth` buffers. A buffer is a head
// and the data. The writer fills data and head, then sets the head's signal to the exchange's number; readers wait for
// that number. The writer comes back to the buffer `depth` exchanges later, when every reader has released it. What
// a rank has released also travels in the heads that it writes anyway, so that the release lines are read only by a
// rank that would otherwise have to wait.
#include <stdlib.h>
#include <string.h>

#include "comm/comm_impl.h"
#include "core/checked.h"

typedef struct {
    weft_signal arrived; // the number of the exchange that lies in this buffer
    uint32_t released;   // the writer has released all exchanges up to this one
    uint32_t unused;
    uint64_t bytes[]; // one entry; ALLTOALL: one a peer, then where each peer's bytes begin
} head;

typedef struct {
    size_t head, data, stride, buffer, piece, total;
} layout;

typedef struct {
    weft_channel base;
    layout at;
    wi_memory memory;      // the channel's own; zeroed when it lies in somebody else's
    unsigned char *pieces; // [size] pieces
    uint32_t *released;    // [size] what is known of the peers' releases
    wi_releases mine;
    const unsigned char **view; // [depth][size]
    size_t *bytes;              // [depth][size]
} shared_channel;

enum { RELEASE_LINE = 128, HEAD_INLINE = 40 };

static bool lay_out(const weft_channel_spec *spec, int ranks, layout *out)
{
    size_t depth = (size_t)(spec->depth ? spec->depth : 2), data = spec->shape == WEFT_BARRIER ? 0 : spec->bytes;
    layout at = {0};
    if (spec->shape != WEFT_ALLTOALL && data <= HEAD_INLINE) {
        // One line holds data and head: a reader misses once.
        at.head = HEAD_INLINE;
        at.buffer = RELEASE_LINE;
    } else {
        size_t counts = spec->shape == WEFT_ALLTOALL ? (size_t)ranks : 1;
        at.data = weft_align_up(sizeof(head) + 8 * (spec->shape == WEFT_ALLTOALL ? 2 * counts : 1), WI_LINE);
        if (spec->shape == WEFT_ALLTOALL) {
            if (!weft_size_round_up(data, WI_LINE, &at.stride) || !weft_size_mul(at.stride, counts, &data))
                return false;
        }
        if (!weft_size_add(at.data, data, &at.buffer)) return false;
        if (!weft_size_round_up(at.buffer, at.buffer > 65536 ? 4096 : 128, &at.buffer)) return false;
    }
    if (!weft_size_mul(at.buffer, depth, &at.piece) || !weft_size_add(at.piece, RELEASE_LINE, &at.piece)) return false;
    if (!weft_size_round_up(at.piece, at.piece > 65536 ? 4096 : 128, &at.piece)) return false;
    if (!weft_size_mul(at.piece, (size_t)ranks, &at.total)) return false;
    *out = at;
    return true;
}

size_t wi_shared_channel_bytes(const weft_channel_spec *spec, int ranks)
{
    layout at;
    return lay_out(spec, ranks, &at) ? at.total : 0;
}

static inline unsigned char *buffer_of(const shared_channel *channel, int rank, uint32_t slot)
{
    return channel->pieces + (size_t)rank * channel->at.piece + RELEASE_LINE + slot * channel->at.buffer;
}

static inline head *head_of(const shared_channel *channel, int rank, uint32_t slot)
{
    return (head *)(buffer_of(channel, rank, slot) + channel->at.head);
}

static inline weft_signal *release_line(const shared_channel *channel, int rank)
{
    return (weft_signal *)(channel->pieces + (size_t)rank * channel->at.piece);
}

static weft_status wait_for(shared_channel *channel, weft_signal *signal, uint32_t target, int peer, uint32_t record)
{
    weft_comm *comm = channel->base.comm;
    if (weft_signal_reached(weft_signal_get(signal), target)) return WEFT_OK;
    wi_wait_enter(comm->job, comm->world_rank[peer], channel->base.spec.patient, record);
    weft_status status = weft_signal_wait(signal, target, &comm->job->patience);
    wi_wait_leave(comm->job);
    return status < 0 ? wi_cancelled(comm->job) : WEFT_OK;
}

static weft_status shared_acquire(weft_channel *base, weft_exchange *exchange)
{
    shared_channel *channel = (shared_channel *)base;
    uint32_t depth = (uint32_t)base->spec.depth;
    if (!wi_channel_gives(base, base->comm->rank)) return WEFT_OK;
    uint32_t needed = exchange->number - depth;
    for (int peer = 0; peer < base->comm->size; peer++) {
        if (peer == base->comm->rank || !wi_channel_takes(base, peer)) continue;
        if (base->acquired <= depth || weft_signal_reached(channel->released[peer], needed)) continue;
        WEFT_TRY(wait_for(channel, release_line(channel, peer), needed, peer, exchange->record));
        channel->released[peer] = weft_signal_get(release_line(channel, peer));
    }
    exchange->slot = buffer_of(channel, base->comm->rank, exchange->buffer) + channel->at.data;
    return WEFT_OK;
}

static weft_status shared_begin(weft_channel *base, weft_exchange *exchange, const size_t *offset, const size_t *bytes)
{
    shared_channel *channel = (shared_channel *)base;
    if (!wi_channel_gives(base, base->comm->rank)) return WEFT_OK;
    head *mine = head_of(channel, base->comm->rank, exchange->buffer);
    mine->released = channel->mine.upto;
    mine->bytes[0] = bytes[0];
    const size_t size = (size_t)base->comm->size;
    for (size_t peer = 0; base->spec.shape == WEFT_ALLTOALL && peer < size; peer++) {
        mine->bytes[peer] = bytes[peer];
        mine->bytes[size + peer] = offset ? offset[peer] : peer * channel->at.stride;
    }
    weft_signal_set(&mine->arrived, exchange->number);
    return WEFT_OK;
}

static weft_status shared_end(weft_channel *base, weft_exchange *exchange)
{
    shared_channel *channel = (shared_channel *)base;
    int size = base->comm->size, rank = base->comm->rank;
    uint32_t slot = exchange->buffer;
    size_t *bytes = channel->bytes + (size_t)slot * (size_t)size;
    if (wi_channel_takes(base, rank)) {
        for (int peer = 0; peer < size; peer++) {
            if (!wi_channel_gives(base, peer)) continue;
            head *of = head_of(channel, peer, slot);
            WEFT_TRY(wait_for(channel, &of->arrived, exchange->number, peer, exchange->record));
            bytes[peer] = of->bytes[base->spec.shape == WEFT_ALLTOALL ? rank : 0];
            if (base->spec.shape == WEFT_ALLTOALL)
                channel->view[(size_t)slot * (size_t)size + (size_t)peer] =
                    buffer_of(channel, peer, slot) + channel->at.data + of->bytes[size + rank];
            if (weft_signal_reached(of->released, channel->released[peer])) channel->released[peer] = of->released;
        }
        exchange->view = channel->view + (size_t)slot * (size_t)size;
    }
    exchange->bytes = bytes;
    return WEFT_OK;
}

static bool shared_ready(weft_channel *base, weft_exchange *exchange)
{
    shared_channel *channel = (shared_channel *)base;
    uint32_t slot = exchange->buffer;
    if (!wi_channel_takes(base, base->comm->rank)) return true;
    for (int peer = 0; peer < base->comm->size; peer++) {
        if (!wi_channel_gives(base, peer)) continue;
        if (!weft_signal_reached(weft_signal_get(&head_of(channel, peer, slot)->arrived), exchange->number))
            return false;
    }
    return true;
}

static void shared_release(weft_channel *base, weft_exchange *exchange)
{
    shared_channel *channel = (shared_channel *)base;
    const uint32_t before = channel->mine.upto;
    wi_releases_note(&channel->mine, exchange->number);
    if (channel->mine.upto != before) weft_signal_set(release_line(channel, base->comm->rank), channel->mine.upto);
}

static void shared_destroy(weft_channel *base)
{
    shared_channel *channel = (shared_channel *)base;
    wi_channel_take_back(base);
    wi_memory_drop(&channel->memory);
    free(channel->released);
    free(channel->view);
    free(channel->bytes);
    free(channel);
}

static const wi_channel_ops shared_ops = {.acquire = shared_acquire,
                                          .begin = shared_begin,
                                          .end = shared_end,
                                          .ready = shared_ready,
                                          .release = shared_release,
                                          .destroy = shared_destroy};

static weft_status make(weft_comm *comm, const weft_channel_spec *spec, shared_channel **out)
{
    shared_channel *channel = calloc(1, sizeof *channel);
    if (!channel) return weft_fail(WEFT_NO_MEMORY, "no memory for a channel");
    weft_status status;
    WEFT_TRY_GOTO(wi_channel_init(&channel->base, &shared_ops, comm, spec));
    size_t size = (size_t)comm->size, depth = (size_t)channel->base.spec.depth;
    if (!lay_out(&channel->base.spec, comm->size, &channel->at)) {
        status =
            weft_fail(WEFT_OVERFLOW, "channel %s: %zu bytes, depth %zu for %zu ranks is more than an address space",
                      channel->base.name, spec->bytes, depth, size);
        goto fail;
    }
    channel->base.algorithm = "direct";
    channel->base.stride = channel->at.stride;
    channel->released = calloc(size, sizeof *channel->released);
    channel->view = calloc(size * depth, sizeof *channel->view);
    channel->bytes = calloc(size * depth, sizeof *channel->bytes);
    if (!channel->released || !channel->view || !channel->bytes) {
        status = weft_fail(WEFT_NO_MEMORY, "no memory for channel %s of %zu ranks", channel->base.name, size);
        goto fail;
    }
    *out = channel;
    return WEFT_OK;
fail:
    shared_destroy(&channel->base);
    return status;
}

static void place(shared_channel *channel, unsigned char *memory)
{
    weft_channel *base = &channel->base;
    int size = base->comm->size;
    channel->pieces = memory;
    for (uint32_t slot = 0; slot < (uint32_t)base->spec.depth; slot++)
        for (int peer = 0; peer < size; peer++) {
            if (!wi_channel_gives(base, peer)) continue;
            channel->view[slot * (size_t)size + (size_t)peer] = buffer_of(channel, peer, slot) + channel->at.data;
        }
}

weft_status wi_shared_channel_create_on(weft_comm *comm, const weft_channel_spec *spec, unsigned char *memory,
                                        weft_channel **out)
{
    shared_channel *channel;
    WEFT_TRY(make(comm, spec, &channel));
    place(channel, memory);
    *out = &channel->base;
    return WEFT_OK;
}

weft_status wi_shared_channel_create(weft_comm *comm, const weft_channel_spec *spec, weft_channel **out)
{
    shared_channel *channel = NULL;
    weft_status status = weft_comm_agree(comm, make(comm, spec, &channel), NULL);
    if (status < 0) goto fail;
    WEFT_TRY_GOTO(wi_memory_share(comm, 0, comm->size, channel->at.total, &channel->memory));
    place(channel, channel->memory.base);
    size_t piece = channel->at.piece;
    status = wi_memory_touch(&channel->memory, (size_t)comm->rank * piece, piece);
    WEFT_TRY_GOTO(weft_comm_agree(comm, status, NULL));
    wi_memory_see(&channel->memory);
    status = wi_channel_lend(&channel->base, channel->memory.base, channel->memory.bytes);
    WEFT_TRY_GOTO(weft_comm_agree(comm, status, NULL));
    *out = &channel->base;
    return WEFT_OK;
fail:
    if (channel) shared_destroy(&channel->base);
    return status;
}
