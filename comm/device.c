// Channels between devices: what they have in common. Slots and views are memory of devices, and all that an exchange
// waits for is in order with their ops. The hosts tell each other only the heads, how much is given and where, by a
// channel of theirs; so no host waits for a device here, and a step of many exchanges is given to the devices at once.
#include <stdlib.h>
#include <string.h>

#include "comm/device_impl.h"
#include "core/checked.h"

// ---- a wait of the device, as the watchdog sees it ------------------------------------------------------------------

// The host waits for its device, which waits for whom is not known here: for the next rank, and that one for its next,
// so that the one who does not wait at all is found.
static void wait_begins(void *arg)
{
    weft_job *job = arg;
    wi_wait_enter(job, job->device_peer, false, job->device_record);
}

static void wait_lasts(void *arg) { wi_mover_look(arg); }

static void wait_ends(void *arg) { wi_wait_leave(arg); }

enum { PAGE = 4096 };

// The page of the board that says that the job ends.
static void *cancel_page(const weft_job *job)
{
    return (void *)((uintptr_t)&job->board->cancel & ~(uintptr_t)(PAGE - 1));
}

static weft_status join(weft_job *job, weft_device *device)
{
    const weft_device_watch watch = {
        .cancel = &job->board->cancel, .enter = wait_begins, .look = wait_lasts, .leave = wait_ends, .arg = job};
    if (job->device_channels++ > 0) return WEFT_OK;
    const weft_status status = device->ops->lend(device, cancel_page(job), PAGE);
    if (status < 0) {
        job->device_channels = 0;
        return status;
    }
    device->ops->links->watch(device, &watch);
    return WEFT_OK;
}

static void part(weft_job *job, weft_device *device)
{
    if (--job->device_channels > 0) return;
    device->ops->links->watch(device, NULL);
    device->ops->give_back(device, cancel_page(job));
}

void wi_device_waits(const wi_device_channel *channel, uint32_t record)
{
    const weft_comm *comm = channel->base.comm;
    comm->job->device_peer = comm->world_rank[(comm->rank + 1) % comm->size];
    comm->job->device_record = record;
}

// ---- heads ----------------------------------------------------------------------------------------------------------

weft_status wi_device_acquire(wi_device_channel *channel, weft_exchange *exchange)
{
    weft_exchange *of = &channel->head[exchange->buffer];
    *of = (weft_exchange){
        .channel = channel->heads, .number = exchange->number, .buffer = exchange->buffer, .record = exchange->record};
    channel->heads->acquired++;
    exchange->slot = channel->memory + exchange->buffer * channel->buffer;
    return channel->heads->ops->acquire(channel->heads, of);
}

void wi_device_cancel(weft_channel *base, weft_exchange *exchange)
{
    (void)exchange;
    ((wi_device_channel *)base)->heads->acquired--;
}

weft_status wi_device_begin(wi_device_channel *channel, const weft_exchange *exchange, const size_t *offset,
                            const size_t *bytes, uint32_t released)
{
    const weft_channel *base = &channel->base;
    const size_t size = (size_t)base->comm->size, all = base->spec.shape == WEFT_ALLTOALL ? 2 * size : 1;
    weft_exchange *of = &channel->head[exchange->buffer];
    wi_device_head *mine = (wi_device_head *)(void *)of->slot;
    size_t length = sizeof *mine + all * sizeof mine->bytes[0];
    mine->released = released;
    mine->unused = 0;
    mine->bytes[0] = bytes[0];
    for (size_t peer = 0; base->spec.shape == WEFT_ALLTOALL && peer < size; peer++) {
        mine->bytes[peer] = bytes[peer];
        mine->bytes[size + peer] = offset ? offset[peer] : peer * base->stride;
    }
    return channel->heads->ops->begin(channel->heads, of, NULL, &length);
}

bool wi_device_head_ready(wi_device_channel *channel, uint32_t buffer)
{
    return channel->heads->ops->ready(channel->heads, &channel->head[buffer]);
}

weft_status wi_device_enter(wi_device_channel *channel, uint32_t buffer)
{
    return channel->heads->ops->end(channel->heads, &channel->head[buffer]);
}

const wi_device_head *wi_device_head_of(const wi_device_channel *channel, uint32_t buffer, int peer)
{
    return (const wi_device_head *)(const void *)channel->head[buffer].view[peer];
}

void wi_device_leave(wi_device_channel *channel, uint32_t buffer)
{
    channel->heads->ops->release(channel->heads, &channel->head[buffer]);
}

// ---- making one -----------------------------------------------------------------------------------------------------

bool wi_device_slots(const weft_channel_spec *spec, int ranks, size_t *stride, size_t *buffer)
{
    size_t data = spec->bytes;
    *stride = 0;
    if (spec->shape == WEFT_ALLTOALL &&
        (!weft_size_round_up(data, WI_LINE, stride) || !weft_size_mul(*stride, (size_t)ranks, &data)))
        return false;
    return weft_size_round_up(data, 256, buffer);
}

weft_status wi_device_init(wi_device_channel *channel, const wi_channel_ops *ops, const char *algorithm,
                           weft_comm *comm, const weft_channel_spec *spec)
{
    WEFT_TRY(wi_channel_init(&channel->base, ops, comm, spec));
    const size_t size = (size_t)comm->size, depth = (size_t)channel->base.spec.depth;
    channel->base.ordered = true;
    channel->base.algorithm = algorithm;
    channel->view = calloc(size * depth, sizeof *channel->view);
    channel->given = calloc(size * depth, sizeof *channel->given);
    if (!channel->view || !channel->given)
        return weft_fail(WEFT_NO_MEMORY, "no memory for channel %s of %zu ranks", channel->base.name, size);
    if (!wi_device_slots(spec, comm->size, &channel->base.stride, &channel->buffer))
        return weft_fail(WEFT_OVERFLOW, "channel %s: %zu bytes for %zu ranks are more than an address space",
                         channel->base.name, spec->bytes, size);
    return WEFT_OK;
}

weft_status wi_device_make_memory(wi_device_channel *channel)
{
    weft_device *device = channel->base.spec.device;
    void *memory;
    WEFT_TRY(weft_device_alloc(device, channel->bytes, &memory));
    channel->memory = memory;
    WEFT_TRY(join(channel->base.comm->job, device));
    channel->joined = true;
    return WEFT_OK;
}

weft_status wi_device_make_heads(wi_device_channel *channel)
{
    const weft_channel *base = &channel->base;
    const size_t counts = base->spec.shape == WEFT_ALLTOALL ? 2 * (size_t)base->comm->size : 1;
    const weft_channel_spec spec = {.shape = WEFT_ALLGATHER,
                                    .name = base->name,
                                    .bytes = sizeof(wi_device_head) + counts * sizeof(uint64_t),
                                    .depth = base->spec.depth,
                                    .patient = base->spec.patient};
    return weft_channel_create(base->comm, &spec, &channel->heads);
}

void wi_device_fini(wi_device_channel *channel)
{
    weft_device *device = channel->base.spec.device;
    if (channel->memory) weft_device_free(device, channel->memory, channel->bytes);
    if (channel->joined) part(channel->base.comm->job, device);
    weft_channel_destroy(channel->heads);
    free(channel->view);
    free(channel->given);
    free(channel);
}
