// Channels between devices over NCCL, on one host and on several. A slot is memory of this rank's device, a view the
// part of a receive buffer beside it; this rank's own view is its slot.
//
// `begin` marks the place among the ops where the bytes are written. Once the peers' heads say how much comes, NCCL is
// asked for all of it, on a stream of its own that begins at the mark and that what follows `end` waits for. What NCCL
// is asked for stands in the arguments of the device's `call`, and these are the same where a step comes again.
#include <stdlib.h>
#include <string.h>

#include "comm/device_impl.h"
#include "core/checked.h"

enum { CALL_PEERS = 64 }; // what a device's call has room for

typedef struct {
    wi_device_channel common;
    uint64_t id;     // among all that the job has ever made
    size_t received; // where the first receive buffer begins
    size_t stride;   // between peers' parts of one
    wi_underway flight[WI_DEPTH_MAX];
} nccl_channel;

typedef enum { GATHER, DEAL, EXCHANGE } how;

// What a call has for NCCL. No pointer to what may change: a graph holds what was asked for.
typedef struct {
    nccl_channel *channel;
    uint64_t id; // a channel that comes to lie where another lay is another
    const unsigned char *given;
    unsigned char *taken;
    uint64_t bytes; // GATHER, DEAL: of each
    uint32_t how;
    uint32_t first, count; // EXCHANGE: distances between ranks
    uint32_t unused;
    struct {
        uint64_t at, gives, takes;
    } peer[CALL_PEERS];
} asked;

// ---- what NCCL is asked for -----------------------------------------------------------------------------------------

static weft_status exchange(const asked *a, const weft_comm *comm, void *stream)
{
    wi_move moves[CALL_PEERS];
    for (uint32_t i = 0; i < a->count; i++) {
        const int distance = (int)(a->first + i), from = (comm->rank - distance + comm->size) % comm->size;
        moves[i] = (wi_move){.given = a->given + a->peer[i].at,
                             .taken = a->taken + (size_t)from * a->channel->stride,
                             .gives = a->peer[i].gives,
                             .takes = a->peer[i].takes,
                             .to = (comm->rank + distance) % comm->size,
                             .from = from};
    }
    return comm->job->movers->table->exchange(comm->joined, moves, (int)a->count, stream);
}

static weft_status ask(void *stream, const void *arg)
{
    const asked *a = arg;
    weft_comm *comm = a->channel->common.base.comm;
    const wi_mover *table = comm->job->movers->table;
    weft_status status;
    if (a->how == GATHER)
        status = table->gather(comm->joined, a->given, a->taken, a->bytes, stream);
    else if (a->how == DEAL)
        status = table->deal(comm->joined, a->given, a->taken, a->bytes, stream);
    else
        status = exchange(a, comm, stream);
    return wi_mover_settle(comm, status, a->channel->common.base.name);
}

static void submit(nccl_channel *channel, int mark, const asked *a, uint32_t peers)
{
    weft_device *device = channel->common.base.spec.device;
    device->ops->links->call(device, mark, ask, a, offsetof(asked, peer) + peers * sizeof a->peer[0]);
}

// ---- how much everybody gives ---------------------------------------------------------------------------------------

static size_t padded(uint64_t bytes) { return weft_align_up((size_t)bytes, WI_LINE); }

static uint64_t gives(const nccl_channel *channel, uint32_t buffer, int from, int to)
{
    const wi_device_head *head = wi_device_head_of(&channel->common, buffer, from);
    return head->bytes[channel->common.base.spec.shape == WEFT_ALLTOALL ? to : 0];
}

static uint64_t place(const nccl_channel *channel, uint32_t buffer, int from, int to)
{
    const int size = channel->common.base.comm->size;
    if (channel->common.base.spec.shape != WEFT_ALLTOALL) return 0;
    return wi_device_head_of(&channel->common, buffer, from)->bytes[size + to];
}

// All see all heads, so all choose the same: one call where everybody gives as many lines to everybody, one behind the
// other, else sends and receives.
static how choose(const nccl_channel *channel, uint32_t buffer, uint64_t *bytes)
{
    const weft_comm *comm = channel->common.base.comm;
    const bool all = channel->common.base.spec.shape == WEFT_ALLTOALL;
    const size_t each = padded(gives(channel, buffer, 0, 0));
    if (each == 0 || (all && !comm->job->movers->table->deals())) return EXCHANGE;
    for (int from = 0; from < comm->size; from++)
        for (int to = 0; to < (all ? comm->size : 1); to++)
            if (padded(gives(channel, buffer, from, to)) != each ||
                place(channel, buffer, from, to) != (uint64_t)to * each)
                return EXCHANGE;
    *bytes = each;
    return all ? DEAL : GATHER;
}

static void ask_for_pieces(nccl_channel *channel, uint32_t buffer, int mark, asked *a)
{
    const weft_comm *comm = channel->common.base.comm;
    for (int first = 1; first < comm->size; first += CALL_PEERS) {
        const int left = comm->size - first, count = left < CALL_PEERS ? left : CALL_PEERS;
        bool any = false;
        a->first = (uint32_t)first;
        a->count = (uint32_t)count;
        for (int i = 0; i < count; i++) {
            const int to = (comm->rank + first + i) % comm->size;
            const int from = (comm->rank - first - i + comm->size) % comm->size;
            a->peer[i].at = place(channel, buffer, comm->rank, to);
            a->peer[i].gives = gives(channel, buffer, comm->rank, to);
            a->peer[i].takes = gives(channel, buffer, from, comm->rank);
            any = any || a->peer[i].gives || a->peer[i].takes;
        }
        if (any) submit(channel, mark, a, a->count);
    }
}

static unsigned char *taken_of(const nccl_channel *channel, uint32_t buffer)
{
    return channel->common.memory + channel->received +
           buffer * (size_t)channel->common.base.comm->size * channel->stride;
}

// ---- flights --------------------------------------------------------------------------------------------------------

static int take_mark(struct wi_movers *movers)
{
    if (movers->marks == UINT64_MAX) return -1;
    const int mark = __builtin_ctzll(~movers->marks);
    movers->marks |= UINT64_C(1) << mark;
    return mark;
}

static weft_status give(wi_underway *flight)
{
    nccl_channel *channel = (nccl_channel *)flight->channel;
    wi_device_channel *common = &channel->common;
    weft_device *device = common->base.spec.device;
    const weft_comm *comm = common->base.comm;
    const uint32_t buffer = flight->buffer;
    const size_t first = (size_t)buffer * (size_t)comm->size;
    asked a = {.channel = channel, .id = channel->id, .taken = taken_of(channel, buffer)};
    a.given = common->memory + buffer * common->buffer;
    WEFT_TRY(wi_device_enter(common, buffer));
    a.how = (uint32_t)choose(channel, buffer, &a.bytes);
    for (int peer = 0; peer < comm->size; peer++) {
        common->given[first + (size_t)peer] = gives(channel, buffer, peer, comm->rank);
        common->view[first + (size_t)peer] = a.taken + (size_t)peer * (a.how == EXCHANGE ? channel->stride : a.bytes);
    }
    common->view[first + (size_t)comm->rank] = a.given + place(channel, buffer, comm->rank, comm->rank);
    wi_device_waits(common, flight->record);
    // Where there was no mark left, one is moved to here: who has it may begin later than it could.
    const int mark = flight->mark < 0 ? 0 : flight->mark;
    if (flight->mark < 0) device->ops->links->fork(device, mark);
    if (a.how == EXCHANGE)
        ask_for_pieces(channel, buffer, mark, &a);
    else
        submit(channel, mark, &a, 0);
    if (flight->mark >= 0) comm->job->movers->marks &= ~(UINT64_C(1) << mark);
    wi_device_leave(common, buffer);
    return WEFT_OK;
}

// ---- exchanges ------------------------------------------------------------------------------------------------------

static weft_status nccl_acquire(weft_channel *base, weft_exchange *exchange)
{
    return wi_device_acquire((wi_device_channel *)base, exchange);
}

static weft_status nccl_begin(weft_channel *base, weft_exchange *exchange, const size_t *offset, const size_t *bytes)
{
    nccl_channel *channel = (nccl_channel *)base;
    struct wi_movers *movers = base->comm->job->movers;
    weft_device *device = base->spec.device;
    wi_underway *flight = &channel->flight[exchange->buffer];
    wi_mover_look(base->comm->job);
    *flight = (wi_underway){.give = give,
                            .channel = &channel->common,
                            .buffer = exchange->buffer,
                            .record = exchange->record,
                            .mark = take_mark(movers),
                            .waits = true};
    if (flight->mark >= 0) device->ops->links->fork(device, flight->mark);
    if (movers->last) movers->last->next = flight;
    if (!movers->first) movers->first = flight;
    movers->last = flight;
    return wi_device_begin(&channel->common, exchange, offset, bytes, 0);
}

// Those that were begun before, on whatever channel, come first.
static weft_status nccl_end(weft_channel *base, weft_exchange *exchange)
{
    nccl_channel *channel = (nccl_channel *)base;
    struct wi_movers *movers = base->comm->job->movers;
    const size_t at = (size_t)exchange->buffer * (size_t)base->comm->size;
    while (channel->flight[exchange->buffer].waits) {
        wi_underway *next = movers->first;
        if (!next) return weft_fail(WEFT_INTERNAL, "channel %s: an exchange that was begun is not known", base->name);
        WEFT_TRY(next->give(next));
        next->waits = false;
        movers->first = next->next;
        if (!movers->first) movers->last = NULL;
    }
    wi_mover_look(base->comm->job);
    exchange->view = channel->common.view + at;
    exchange->bytes = channel->common.given + at;
    return WEFT_OK;
}

static bool nccl_ready(weft_channel *base, weft_exchange *exchange)
{
    const wi_underway *mine = &((nccl_channel *)base)->flight[exchange->buffer];
    for (wi_underway *flight = mine->waits ? base->comm->job->movers->first : NULL; flight; flight = flight->next) {
        if (!wi_device_head_ready(flight->channel, flight->buffer)) return false;
        if (flight == mine) return true;
    }
    return true;
}

static void nccl_release(weft_channel *base, weft_exchange *exchange) {}

// ---- making one -----------------------------------------------------------------------------------------------------

static void forget_flights(const nccl_channel *channel, struct wi_movers *movers)
{
    wi_underway **at = &movers->first;
    movers->last = NULL;
    while (*at) {
        if ((*at)->channel == &channel->common) {
            if ((*at)->mark >= 0) movers->marks &= ~(UINT64_C(1) << (*at)->mark);
            *at = (*at)->next;
        } else {
            movers->last = *at;
            at = &(*at)->next;
        }
    }
}

static void nccl_destroy(weft_channel *base)
{
    nccl_channel *channel = (nccl_channel *)base;
    weft_device *device = base->spec.device;
    device->ops->sync(device);          // what NCCL still does with its memory
    device->ops->links->forget(device); // a communicator does not end before the graphs that it is in
    forget_flights(channel, base->comm->job->movers);
    wi_device_fini(&channel->common);
}

static const wi_channel_ops nccl_ops = {.acquire = nccl_acquire,
                                        .cancel = wi_device_cancel,
                                        .begin = nccl_begin,
                                        .end = nccl_end,
                                        .ready = nccl_ready,
                                        .release = nccl_release,
                                        .destroy = nccl_destroy};

static bool cut_memory(const weft_channel_spec *spec, int ranks, size_t buffer, size_t *stride, size_t *received,
                       size_t *bytes)
{
    size_t taken;
    return weft_size_round_up(spec->bytes, 256, stride) && weft_size_mul(buffer, (size_t)spec->depth, received) &&
           weft_size_mul(*stride, (size_t)ranks * (size_t)spec->depth, &taken) &&
           weft_size_add(*received, taken, bytes) &&
           weft_size_round_up(*bytes ? *bytes : 1, WEFT_DEVICE_SHARED_BYTES, bytes);
}

static bool lay_out(nccl_channel *channel)
{
    wi_device_channel *common = &channel->common;
    return cut_memory(&common->base.spec, common->base.comm->size, common->buffer, &channel->stride, &channel->received,
                      &common->bytes);
}

size_t wi_nccl_channel_bytes(const weft_channel_spec *spec, int ranks)
{
    size_t stride, buffer, received, bytes;
    const bool fits =
        wi_device_slots(spec, ranks, &stride, &buffer) && cut_memory(spec, ranks, buffer, &stride, &received, &bytes);
    return fits ? bytes : 0;
}

static weft_status make(weft_comm *comm, const weft_channel_spec *spec, nccl_channel **out)
{
    weft_status status;
    nccl_channel *channel = calloc(1, sizeof *channel);
    if (!channel) return weft_fail(WEFT_NO_MEMORY, "no memory for a channel");
    channel->common.base.spec = *spec;
    channel->common.base.comm = comm;
    channel->id = ++comm->job->movers->channels;
    WEFT_TRY_GOTO(wi_device_init(&channel->common, &nccl_ops, "nccl", comm, spec));
    if (!lay_out(channel)) {
        status = weft_fail(WEFT_OVERFLOW, "channel %s: %zu bytes for %d ranks are more than an address space",
                           channel->common.base.name, spec->bytes, comm->size);
        goto fail;
    }
    WEFT_TRY_GOTO(wi_device_make_memory(&channel->common));
    *out = channel;
    return WEFT_OK;
fail:
    nccl_destroy(&channel->common.base);
    return status;
}

weft_status wi_nccl_channel_create(weft_comm *comm, const weft_channel_spec *spec, weft_channel **out)
{
    nccl_channel *channel = NULL;
    weft_status status;
    WEFT_TRY(wi_mover_join(comm, spec->device));
    WEFT_TRY_GOTO(weft_comm_agree(comm, make(comm, spec, &channel), NULL));
    WEFT_TRY_GOTO(wi_device_make_heads(&channel->common));
    *out = &channel->common.base;
    return WEFT_OK;
fail:
    if (channel) nccl_destroy(&channel->common.base);
    return status;
}
