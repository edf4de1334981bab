// Channels between devices of one host. A slot is memory of the rank's device, a view is the peer's slot as this device
// sees it, and nothing is copied. The hosts tell each other only the heads, how much is given and where, by a channel
// of theirs; that the bytes are there, the devices tell each other by flags, in order with their ops. So no host waits
// for a device here, and a step of many exchanges is given to the devices at once.
//
// Each rank's piece: `depth` buffers, then words. A word that another rank writes lies with the one that awaits it.
#include <stdlib.h>
#include <string.h>

#include "comm/comm_impl.h"
#include "core/checked.h"

// What ranks' hosts tell each other.
typedef struct {
    uint32_t released; // the writer has asked for the last reads of all exchanges up to this one
    uint32_t unused;
    uint64_t bytes[]; // one entry; ALLTOALL: one a peer, then where each peer's bytes begin
} head;

// Words: two counters and a ticket, then two flags of each peer.
enum { WORD_BYTES = 32, BEGUN = 0, RELEASED = 1, TICKET = 2, OF_PEERS = 3 };

typedef struct {
    weft_channel base;
    weft_channel *heads; // of the hosts
    weft_exchange head[WI_DEPTH_MAX];
    size_t stride, buffer, words, bytes;
    unsigned char **piece; // [size] as this device sees it
    uint32_t *released;    // [size] what is known of the peers' releases
    wi_releases mine;
    uint32_t begun;
    const unsigned char **view; // [depth][size]
    size_t *given;              // [depth][size]
    bool joined;
} device_channel;

// ---- a wait of the device, as the watchdog sees it ------------------------------------------------------------------

// The host waits for its device, which waits for whom is not known here: for the next rank, and that one for its next,
// so that the one who does not wait at all is found.
static void wait_begins(void *arg)
{
    weft_job *job = arg;
    wi_wait_enter(job, job->device_peer, false, job->device_record);
}

static void wait_ends(void *arg) { wi_wait_leave(arg); }

enum { PAGE = 4096 };

// The page of the board that says that the job ends.
static void *cancel_page(const weft_job *job)
{
    return (void *)((uintptr_t)&job->board->cancel & ~(uintptr_t)(PAGE - 1));
}

static weft_status join(weft_job *job, weft_device *device)
{
    if (job->device_channels++ > 0) return WEFT_OK;
    const weft_status status = device->ops->lend(device, cancel_page(job), PAGE);
    if (status < 0) {
        job->device_channels = 0;
        return status;
    }
    device->ops->links->watch(device, &job->board->cancel, wait_begins, wait_ends, job);
    return WEFT_OK;
}

static void part(weft_job *job, weft_device *device)
{
    if (--job->device_channels > 0) return;
    device->ops->links->watch(device, NULL, NULL, NULL, NULL);
    device->ops->give_back(device, cancel_page(job));
}

// ---- flags ----------------------------------------------------------------------------------------------------------

static uint32_t *word_of(const device_channel *channel, int rank, int index)
{
    return (uint32_t *)(void *)(channel->piece[rank] + channel->words + (size_t)index * WORD_BYTES);
}

static const weft_device_links *links_of(const device_channel *channel)
{
    return channel->base.spec.device->ops->links;
}

// The flags that this rank raises, with the peers, or those that it awaits, with itself: of `what`.
static weft_device_flags flags_of(const device_channel *channel, int what, bool mine)
{
    const int size = channel->base.comm->size, rank = channel->base.comm->rank;
    weft_device_flags flags = {.count = 0};
    for (int peer = 0; peer < size; peer++)
        if (peer != rank)
            flags.flag[flags.count++] =
                word_of(channel, mine ? rank : peer, OF_PEERS + 2 * (mine ? peer : rank) + what);
    return flags;
}

static void raise(device_channel *channel, int what, uint32_t by)
{
    const weft_device_flags flags = flags_of(channel, what, false);
    links_of(channel)->raise(channel->base.spec.device, word_of(channel, channel->base.comm->rank, what), by, &flags);
}

// Until the peers' flags of `what` have come to `number`.
static void await(device_channel *channel, int what, uint32_t number)
{
    const weft_device_flags flags = flags_of(channel, what, true);
    links_of(channel)->await(channel->base.spec.device, word_of(channel, channel->base.comm->rank, BEGUN),
                             channel->begun - number, &flags);
}

// ---- exchanges ------------------------------------------------------------------------------------------------------

static weft_status device_acquire(weft_channel *base, weft_exchange *exchange)
{
    device_channel *channel = (device_channel *)base;
    weft_exchange *of = &channel->head[exchange->buffer];
    const uint32_t needed = exchange->number - (uint32_t)base->spec.depth;
    bool waits = false;
    *of = (weft_exchange){
        .channel = channel->heads, .number = exchange->number, .buffer = exchange->buffer, .record = exchange->record};
    channel->heads->acquired++;
    WEFT_TRY(channel->heads->ops->acquire(channel->heads, of));
    for (int peer = 0; peer < base->comm->size && base->acquired > (uint64_t)base->spec.depth; peer++)
        if (peer != base->comm->rank && !weft_signal_reached(channel->released[peer], needed)) waits = true;
    if (waits) {
        await(channel, RELEASED, needed);
        for (int peer = 0; peer < base->comm->size; peer++)
            if (!weft_signal_reached(channel->released[peer], needed)) channel->released[peer] = needed;
    }
    exchange->slot = channel->piece[base->comm->rank] + exchange->buffer * channel->buffer;
    return WEFT_OK;
}

static void device_cancel(weft_channel *base, weft_exchange *exchange)
{
    (void)exchange;
    ((device_channel *)base)->heads->acquired--;
}

static weft_status device_begin(weft_channel *base, weft_exchange *exchange, const size_t *offset, const size_t *bytes)
{
    device_channel *channel = (device_channel *)base;
    weft_exchange *of = &channel->head[exchange->buffer];
    const size_t size = (size_t)base->comm->size, all = base->spec.shape == WEFT_ALLTOALL ? 2 * size : 1;
    head *mine = (head *)(void *)of->slot;
    size_t length = sizeof *mine + all * sizeof mine->bytes[0];
    channel->begun++;
    if (!exchange->met) raise(channel, BEGUN, 1);
    mine->released = channel->mine.upto;
    mine->bytes[0] = bytes[0];
    for (size_t peer = 0; base->spec.shape == WEFT_ALLTOALL && peer < size; peer++) {
        mine->bytes[peer] = bytes[peer];
        mine->bytes[size + peer] = offset ? offset[peer] : peer * channel->stride;
    }
    return channel->heads->ops->begin(channel->heads, of, NULL, &length);
}

static weft_status device_end(weft_channel *base, weft_exchange *exchange)
{
    device_channel *channel = (device_channel *)base;
    weft_exchange *of = &channel->head[exchange->buffer];
    const int size = base->comm->size, rank = base->comm->rank;
    const size_t first = (size_t)exchange->buffer * (size_t)size;
    WEFT_TRY(channel->heads->ops->end(channel->heads, of));
    for (int peer = 0; peer < size; peer++) {
        const head *theirs = (const head *)(const void *)of->view[peer];
        const bool all = base->spec.shape == WEFT_ALLTOALL;
        channel->given[first + (size_t)peer] = theirs->bytes[all ? rank : 0];
        channel->view[first + (size_t)peer] =
            channel->piece[peer] + exchange->buffer * channel->buffer + (all ? theirs->bytes[size + rank] : 0);
        if (weft_signal_reached(theirs->released, channel->released[peer])) channel->released[peer] = theirs->released;
    }
    channel->heads->ops->release(channel->heads, of);
    base->comm->job->device_peer = base->comm->world_rank[(rank + 1) % size];
    base->comm->job->device_record = exchange->record;
    if (!exchange->met) await(channel, BEGUN, exchange->number);
    exchange->view = channel->view + first;
    exchange->bytes = channel->given + first;
    return WEFT_OK;
}

static bool device_ready(weft_channel *base, weft_exchange *exchange)
{
    device_channel *channel = (device_channel *)base;
    return channel->heads->ops->ready(channel->heads, &channel->head[exchange->buffer]);
}

// How much further on all that came before is released.
static uint32_t note_release(device_channel *channel, uint32_t number)
{
    const uint32_t before = channel->mine.upto;
    wi_release(&channel->mine, number);
    return channel->mine.upto - before;
}

static void device_release(weft_channel *base, weft_exchange *exchange)
{
    device_channel *channel = (device_channel *)base;
    const uint32_t by = exchange->met ? 0 : note_release(channel, exchange->number);
    if (by > 0) raise(channel, RELEASED, by);
}

static void device_meet(weft_channel *base, weft_exchange *exchange, weft_device_meeting *out)
{
    device_channel *channel = (device_channel *)base;
    const int rank = base->comm->rank;
    *out = (weft_device_meeting){.begun = word_of(channel, rank, BEGUN),
                                 .released = word_of(channel, rank, RELEASED),
                                 .ticket = word_of(channel, rank, TICKET),
                                 .release = note_release(channel, exchange->number),
                                 .cancel = &base->comm->job->board->cancel,
                                 .waited = links_of(channel)->waited_at(base->spec.device),
                                 .here = flags_of(channel, BEGUN, false),
                                 .there = flags_of(channel, BEGUN, true),
                                 .read = flags_of(channel, RELEASED, false)};
}

// ---- making one -----------------------------------------------------------------------------------------------------

static void device_destroy(weft_channel *base)
{
    device_channel *channel = (device_channel *)base;
    weft_device *device = base->spec.device;
    device->ops->sync(device); // what it still does with the peers' memory
    for (int peer = 0; channel->piece && peer < base->comm->size; peer++)
        if (peer != base->comm->rank) device->ops->links->unmap(device, channel->piece[peer]);
    if (channel->piece) weft_device_free(device, channel->piece[base->comm->rank], channel->bytes);
    if (channel->joined) part(base->comm->job, device);
    weft_channel_destroy(channel->heads);
    free(channel->piece);
    free(channel->released);
    free(channel->view);
    free(channel->given);
    free(channel);
}

static const wi_channel_ops device_ops = {.acquire = device_acquire,
                                          .cancel = device_cancel,
                                          .begin = device_begin,
                                          .end = device_end,
                                          .ready = device_ready,
                                          .meet = device_meet,
                                          .release = device_release,
                                          .destroy = device_destroy};

static bool lay_out(const weft_channel_spec *spec, int ranks, device_channel *out)
{
    const size_t depth = (size_t)(spec->depth ? spec->depth : 2);
    size_t data = spec->bytes, words = (OF_PEERS + 2 * (size_t)ranks) * WORD_BYTES;
    if (spec->shape == WEFT_ALLTOALL &&
        (!weft_size_round_up(data, WI_LINE, &out->stride) || !weft_size_mul(out->stride, (size_t)ranks, &data)))
        return false;
    if (!weft_size_round_up(data, 256, &out->buffer) || !weft_size_mul(out->buffer, depth, &out->words)) return false;
    return weft_size_add(out->words, words, &out->bytes) &&
           weft_size_round_up(out->bytes, WEFT_DEVICE_SHARED_BYTES, &out->bytes);
}

size_t wi_device_channel_bytes(const weft_channel_spec *spec, int ranks)
{
    device_channel at = {.stride = 0};
    return lay_out(spec, ranks, &at) ? at.bytes : 0;
}

static weft_status make(weft_comm *comm, const weft_channel_spec *spec, device_channel **out)
{
    const size_t size = (size_t)comm->size;
    weft_status status;
    void *memory;
    device_channel *channel = calloc(1, sizeof *channel);
    if (!channel) return weft_fail(WEFT_NO_MEMORY, "no memory for a channel");
    WEFT_TRY_GOTO(wi_channel_init(&channel->base, &device_ops, comm, spec));
    channel->base.ordered = true;
    channel->base.algorithm = "device";
    const size_t depth = (size_t)channel->base.spec.depth;
    channel->released = calloc(size, sizeof *channel->released);
    channel->view = calloc(size * depth, sizeof *channel->view);
    channel->given = calloc(size * depth, sizeof *channel->given);
    channel->piece = calloc(size, sizeof *channel->piece);
    if (!channel->released || !channel->view || !channel->given || !channel->piece) {
        status = weft_fail(WEFT_NO_MEMORY, "no memory for channel %s of %zu ranks", channel->base.name, size);
        goto fail;
    }
    if (!lay_out(spec, comm->size, channel)) {
        status =
            weft_fail(WEFT_OVERFLOW, "channel %s: %zu bytes, depth %zu for %zu ranks is more than an address space",
                      channel->base.name, spec->bytes, depth, size);
        goto fail;
    }
    channel->base.stride = channel->stride;
    WEFT_TRY_GOTO(weft_device_alloc(spec->device, channel->bytes, &memory));
    channel->piece[comm->rank] = memory;
    WEFT_TRY_GOTO(join(comm->job, spec->device));
    channel->joined = true;
    *out = channel;
    return WEFT_OK;
fail:
    device_destroy(&channel->base);
    return status;
}

static weft_status map_peers(device_channel *channel, const weft_device_handle *handles)
{
    weft_device *device = channel->base.spec.device;
    for (int peer = 0; peer < channel->base.comm->size; peer++) {
        void *memory;
        if (peer == channel->base.comm->rank) continue;
        WEFT_TRY(device->ops->links->map(device, &handles[peer], channel->bytes, &memory));
        channel->piece[peer] = memory;
    }
    return WEFT_OK;
}

static weft_status make_heads(device_channel *channel)
{
    const weft_channel *base = &channel->base;
    const size_t counts = base->spec.shape == WEFT_ALLTOALL ? 2 * (size_t)base->comm->size : 1;
    const weft_channel_spec spec = {.shape = WEFT_ALLGATHER,
                                    .name = base->name,
                                    .bytes = sizeof(head) + counts * sizeof(uint64_t),
                                    .depth = base->spec.depth,
                                    .patient = base->spec.patient};
    return weft_channel_create(base->comm, &spec, &channel->heads);
}

weft_status wi_device_channel_create(weft_comm *comm, const weft_channel_spec *spec, weft_channel **out)
{
    device_channel *channel = NULL;
    weft_device_handle mine, *handles = calloc((size_t)comm->size, sizeof *handles);
    weft_status status = handles ? make(comm, spec, &channel) : weft_fail(WEFT_NO_MEMORY, "no memory for handles");
    if (status == WEFT_OK) status = spec->device->ops->links->share(spec->device, channel->piece[comm->rank], &mine);
    WEFT_TRY_GOTO(weft_comm_agree(comm, status, NULL));
    WEFT_TRY_GOTO(weft_comm_allgather(comm, &mine, sizeof mine, handles));
    WEFT_TRY_GOTO(weft_comm_agree(comm, map_peers(channel, handles), NULL));
    WEFT_TRY_GOTO(make_heads(channel));
    free(handles);
    *out = &channel->base;
    return WEFT_OK;
fail:
    free(handles);
    if (channel) device_destroy(&channel->base);
    return status;
}
