// Channels between devices of one host that map each other's memory. A view is the peer's slot as this device sees it,
// and nothing is copied; but what is read often is, beside the ops. That the bytes are there, the devices tell each
// other by flags, in order with their ops.
//
// Each rank's piece: `depth` buffers, then words. A word that another rank writes lies with the one that awaits it.
#include <stdlib.h>
#include <string.h>

#include "comm/device_impl.h"
#include "core/checked.h"

// Words: two counters and a ticket, then two flags of each peer.
enum { WORD_BYTES = 32, BEGUN = 0, RELEASED = 1, TICKET = 2, OF_PEERS = 3 };

typedef struct {
    wi_device_channel common;
    size_t words;          // where they begin in a piece
    unsigned char **piece; // [size] as this device sees it
    uint32_t *released;    // [size] what is known of the peers' releases
    wi_releases mine;
    uint32_t begun;
    unsigned char *home; // [depth][size] slots, where peers' bytes are brought to; NULL: they are read where they are
    size_t home_bytes;
    weft_device_piece *pieces; // [size]
} ipc_channel;

// ---- flags ----------------------------------------------------------------------------------------------------------

static uint32_t *word_of(const ipc_channel *channel, int rank, int index)
{
    return (uint32_t *)(void *)(channel->piece[rank] + channel->words + (size_t)index * WORD_BYTES);
}

static weft_device *device_of(const ipc_channel *channel) { return channel->common.base.spec.device; }

// The flags that this rank raises, with the peers, or those that it awaits, with itself: of `what`.
static weft_device_flags flags_of(const ipc_channel *channel, int what, bool mine)
{
    const int size = channel->common.base.comm->size, rank = channel->common.base.comm->rank;
    weft_device_flags flags = {.count = 0};
    for (int peer = 0; peer < size; peer++)
        if (peer != rank)
            flags.flag[flags.count++] =
                word_of(channel, mine ? rank : peer, OF_PEERS + 2 * (mine ? peer : rank) + what);
    return flags;
}

static void raise(ipc_channel *channel, int what, uint32_t by)
{
    const weft_device_flags flags = flags_of(channel, what, false);
    device_of(channel)->ops->links->raise(device_of(channel), word_of(channel, channel->common.base.comm->rank, what),
                                          by, &flags);
}

// Until the peers' flags of `what` have come to `number`.
static void await(ipc_channel *channel, int what, uint32_t number)
{
    const weft_device_flags flags = flags_of(channel, what, true);
    device_of(channel)->ops->links->await(device_of(channel), word_of(channel, channel->common.base.comm->rank, BEGUN),
                                          channel->begun - number, &flags);
}

// ---- exchanges ------------------------------------------------------------------------------------------------------

static weft_status ipc_acquire(weft_channel *base, weft_exchange *exchange)
{
    ipc_channel *channel = (ipc_channel *)base;
    const uint32_t needed = exchange->number - (uint32_t)base->spec.depth;
    bool waits = false;
    WEFT_TRY(wi_device_acquire(&channel->common, exchange));
    for (int peer = 0; peer < base->comm->size && base->acquired > (uint64_t)base->spec.depth; peer++)
        if (peer != base->comm->rank && !weft_signal_reached(channel->released[peer], needed)) waits = true;
    if (!waits) return WEFT_OK;
    await(channel, RELEASED, needed);
    for (int peer = 0; peer < base->comm->size; peer++)
        if (!weft_signal_reached(channel->released[peer], needed)) channel->released[peer] = needed;
    return WEFT_OK;
}

// One that another exchange takes meanwhile is a later one: what begins there is late and never early.
static int fork_of(const ipc_channel *channel, const weft_exchange *exchange)
{
    return (int)((channel->common.base.id * 2 + exchange->buffer) % WEFT_DEVICE_FORKS);
}

// The counter says which exchange is waited for only as long as no later one has begun.
static bool brings(const ipc_channel *channel, const weft_exchange *exchange)
{
    return channel->home && channel->begun == exchange->number;
}

static void bring_home(ipc_channel *channel, const weft_exchange *exchange, const unsigned char **view,
                       const size_t *given)
{
    weft_device *device = device_of(channel);
    const int size = channel->common.base.comm->size, rank = channel->common.base.comm->rank;
    const weft_device_flags flags = flags_of(channel, BEGUN, true);
    int count = 0;
    for (int peer = 0; peer < size; peer++) {
        unsigned char *to =
            channel->home + ((size_t)exchange->buffer * (size_t)size + (size_t)peer) * channel->common.buffer;
        if (peer == rank || given[peer] == 0) continue;
        channel->pieces[count++] = (weft_device_piece){to, view[peer], given[peer]};
        view[peer] = to;
    }
    device->ops->links->bring(device, fork_of(channel, exchange), word_of(channel, rank, BEGUN), 0, &flags,
                              channel->pieces, count);
}

static weft_status ipc_begin(weft_channel *base, weft_exchange *exchange, const size_t *offset, const size_t *bytes)
{
    ipc_channel *channel = (ipc_channel *)base;
    channel->begun++;
    if (!exchange->met) raise(channel, BEGUN, 1);
    if (channel->home) device_of(channel)->ops->links->fork(device_of(channel), fork_of(channel, exchange));
    return wi_device_begin(&channel->common, exchange, offset, bytes, channel->mine.upto);
}

static weft_status ipc_end(weft_channel *base, weft_exchange *exchange)
{
    ipc_channel *channel = (ipc_channel *)base;
    wi_device_channel *common = &channel->common;
    const int size = base->comm->size, rank = base->comm->rank;
    const unsigned char **view = common->view + (size_t)exchange->buffer * (size_t)size;
    size_t *given = common->given + (size_t)exchange->buffer * (size_t)size;
    const bool all = base->spec.shape == WEFT_ALLTOALL;
    WEFT_TRY(wi_device_enter(common, exchange->buffer));
    for (int peer = 0; peer < size; peer++) {
        const wi_device_head *theirs = wi_device_head_of(common, exchange->buffer, peer);
        given[peer] = theirs->bytes[all ? rank : 0];
        view[peer] = channel->piece[peer] + exchange->buffer * common->buffer + (all ? theirs->bytes[size + rank] : 0);
        if (weft_signal_reached(theirs->released, channel->released[peer])) channel->released[peer] = theirs->released;
    }
    wi_device_leave(common, exchange->buffer);
    wi_device_waits(common, exchange->record);
    if (brings(channel, exchange))
        bring_home(channel, exchange, view, given);
    else if (!exchange->met)
        await(channel, BEGUN, exchange->number);
    exchange->view = view;
    exchange->bytes = given;
    return WEFT_OK;
}

static bool ipc_ready(weft_channel *base, weft_exchange *exchange)
{
    return wi_device_head_ready((wi_device_channel *)base, exchange->buffer);
}

// How much further on all that came before is released.
static uint32_t note_release(ipc_channel *channel, uint32_t number)
{
    const uint32_t before = channel->mine.upto;
    wi_releases_note(&channel->mine, number);
    return channel->mine.upto - before;
}

static void ipc_release(weft_channel *base, weft_exchange *exchange)
{
    ipc_channel *channel = (ipc_channel *)base;
    const uint32_t by = exchange->met ? 0 : note_release(channel, exchange->number);
    if (by > 0) raise(channel, RELEASED, by);
}

static void ipc_meet(weft_channel *base, weft_exchange *exchange, weft_device_meeting *out)
{
    ipc_channel *channel = (ipc_channel *)base;
    const int rank = base->comm->rank;
    *out = (weft_device_meeting){.begun = word_of(channel, rank, BEGUN),
                                 .released = word_of(channel, rank, RELEASED),
                                 .ticket = word_of(channel, rank, TICKET),
                                 .release = note_release(channel, exchange->number),
                                 .cancel = &base->comm->job->board->cancel,
                                 .waited = device_of(channel)->ops->links->waited_at(device_of(channel)),
                                 .here = flags_of(channel, BEGUN, false),
                                 .there = flags_of(channel, BEGUN, true),
                                 .read = flags_of(channel, RELEASED, false)};
}

// ---- making one -----------------------------------------------------------------------------------------------------

static void ipc_destroy(weft_channel *base)
{
    ipc_channel *channel = (ipc_channel *)base;
    weft_device *device = base->spec.device;
    device->ops->sync(device); // what it still does with the peers' memory
    for (int peer = 0; channel->piece && peer < base->comm->size; peer++)
        if (peer != base->comm->rank) device->ops->links->unmap(device, channel->piece[peer]);
    if (channel->home) weft_device_free(device, channel->home, channel->home_bytes);
    free(channel->pieces);
    free(channel->piece);
    free(channel->released);
    wi_device_fini(&channel->common);
}

static const wi_channel_ops ipc_ops = {.acquire = ipc_acquire,
                                       .cancel = wi_device_cancel,
                                       .begin = ipc_begin,
                                       .end = ipc_end,
                                       .ready = ipc_ready,
                                       .meet = ipc_meet,
                                       .release = ipc_release,
                                       .destroy = ipc_destroy};

// Where the words begin, and how much it is with them.
static bool cut_piece(size_t buffer, int depth, int ranks, size_t *words, size_t *bytes)
{
    return weft_size_mul(buffer, (size_t)depth, words) &&
           weft_size_add(*words, (OF_PEERS + 2 * (size_t)ranks) * WORD_BYTES, bytes) &&
           weft_size_round_up(*bytes, WEFT_DEVICE_SHARED_BYTES, bytes);
}

static bool lay_out(ipc_channel *channel)
{
    wi_device_channel *common = &channel->common;
    return cut_piece(common->buffer, common->base.spec.depth, common->base.comm->size, &channel->words, &common->bytes);
}

static bool has_home(const weft_channel_spec *spec) { return spec->often && spec->shape == WEFT_ALLGATHER; }

size_t wi_ipc_channel_bytes(const weft_channel_spec *spec, int ranks)
{
    size_t stride, buffer, words, bytes, home;
    if (!wi_device_slots(spec, ranks, &stride, &buffer) || !cut_piece(buffer, spec->depth, ranks, &words, &bytes) ||
        !weft_size_mul(words, (size_t)ranks, &home))
        return 0;
    return has_home(spec) ? bytes + home : bytes;
}

static weft_status make_home(ipc_channel *channel)
{
    const wi_device_channel *common = &channel->common;
    const size_t size = (size_t)common->base.comm->size;
    void *memory;
    channel->pieces = calloc(size, sizeof *channel->pieces);
    if (!channel->pieces ||
        !weft_size_mul(common->buffer, (size_t)common->base.spec.depth * size, &channel->home_bytes))
        return weft_fail(WEFT_NO_MEMORY, "no memory for channel %s of %zu ranks", common->base.name, size);
    WEFT_TRY(weft_device_alloc(common->base.spec.device, channel->home_bytes, &memory));
    channel->home = memory;
    return WEFT_OK;
}

static weft_status make(weft_comm *comm, const weft_channel_spec *spec, ipc_channel **out)
{
    const size_t size = (size_t)comm->size;
    weft_status status;
    ipc_channel *channel = calloc(1, sizeof *channel);
    if (!channel) return weft_fail(WEFT_NO_MEMORY, "no memory for a channel");
    channel->common.base.spec = *spec;
    channel->common.base.comm = comm;
    WEFT_TRY_GOTO(wi_device_init(&channel->common, &ipc_ops, "ipc", comm, spec));
    channel->released = calloc(size, sizeof *channel->released);
    channel->piece = calloc(size, sizeof *channel->piece);
    if (!channel->released || !channel->piece || !lay_out(channel)) {
        status = weft_fail(WEFT_NO_MEMORY, "no memory for channel %s of %zu ranks", channel->common.base.name, size);
        goto fail;
    }
    WEFT_TRY_GOTO(wi_device_make_memory(&channel->common));
    channel->piece[comm->rank] = channel->common.memory;
    if (has_home(spec)) WEFT_TRY_GOTO(make_home(channel));
    *out = channel;
    return WEFT_OK;
fail:
    ipc_destroy(&channel->common.base);
    return status;
}

static weft_status map_peers(ipc_channel *channel, const weft_device_handle *handles)
{
    weft_device *device = device_of(channel);
    for (int peer = 0; peer < channel->common.base.comm->size; peer++) {
        void *memory;
        if (peer == channel->common.base.comm->rank) continue;
        WEFT_TRY(device->ops->links->map(device, &handles[peer], channel->common.bytes, &memory));
        channel->piece[peer] = memory;
    }
    return WEFT_OK;
}

weft_status wi_ipc_channel_create(weft_comm *comm, const weft_channel_spec *spec, weft_channel **out)
{
    ipc_channel *channel = NULL;
    weft_device_handle mine, *handles = calloc((size_t)comm->size, sizeof *handles);
    weft_status status = handles ? make(comm, spec, &channel) : weft_fail(WEFT_NO_MEMORY, "no memory for handles");
    if (status == WEFT_OK) status = spec->device->ops->links->share(spec->device, channel->common.memory, &mine);
    WEFT_TRY_GOTO(weft_comm_agree(comm, status, NULL));
    WEFT_TRY_GOTO(weft_comm_allgather(comm, &mine, sizeof mine, handles));
    WEFT_TRY_GOTO(weft_comm_agree(comm, map_peers(channel, handles), NULL));
    WEFT_TRY_GOTO(wi_device_make_heads(&channel->common));
    free(handles);
    *out = &channel->common.base;
    return WEFT_OK;
fail:
    free(handles);
    if (channel) ipc_destroy(&channel->common.base);
    return status;
}
