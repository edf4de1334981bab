// Channels: what every transport's channels have in common.
#include <string.h>

#include "comm/comm_impl.h"

bool wi_channel_gives(const weft_channel *channel, int rank)
{
    switch (channel->spec.shape) {
    case WEFT_BCAST:
    case WEFT_SEND:
        return rank == channel->spec.from;
    case WEFT_ALLGATHER:
    case WEFT_ALLTOALL:
    case WEFT_BARRIER:
        return true;
    }
    return false;
}

bool wi_channel_takes(const weft_channel *channel, int rank)
{
    return channel->spec.shape != WEFT_SEND || rank == channel->spec.to;
}

void wi_release(wi_releases *releases, uint32_t number)
{
    const uint32_t ahead = number - releases->upto - 1;
    if (ahead > 0) {
        releases->ahead |= 1u << (ahead - 1);
        return;
    }
    releases->upto = number;
    while (releases->ahead & 1) {
        releases->upto++;
        releases->ahead >>= 1;
    }
    releases->ahead >>= 1;
}

weft_status wi_channel_init(weft_channel *channel, const wi_channel_ops *ops, weft_comm *comm,
                            const weft_channel_spec *spec)
{
    const char *name = spec->name ? spec->name : "";
    channel->ops = ops;
    channel->comm = comm;
    channel->spec = *spec;
    if (channel->spec.depth == 0) channel->spec.depth = 2;
    if (spec->shape == WEFT_BARRIER) channel->spec.bytes = 0;
    snprintf(channel->name, sizeof channel->name, "%s", name);
    channel->spec.name = channel->name;
    snprintf((char *)channel->record_name, sizeof channel->record_name, "%s/%.7s", comm->name, name);
    channel->senders = spec->shape == WEFT_BCAST || spec->shape == WEFT_SEND ? 1 : comm->size;
    channel->id = comm->channels++;
    return WEFT_OK;
}

weft_status wi_channel_lend(weft_channel *channel, void *memory, size_t bytes)
{
    weft_device *device = channel->spec.device;
    if (!device || !memory || bytes == 0) return WEFT_OK;
    WEFT_TRY(device->ops->lend(device, memory, bytes));
    channel->lent = memory;
    return WEFT_OK;
}

void wi_channel_take_back(weft_channel *channel)
{
    if (channel->lent) channel->spec.device->ops->give_back(channel->spec.device, channel->lent);
    channel->lent = NULL;
}

static weft_status check_spec(const weft_comm *comm, const weft_channel_spec *spec)
{
    const char *name = spec->name ? spec->name : "";
    bool rooted = spec->shape == WEFT_BCAST || spec->shape == WEFT_SEND;
    if (spec->depth < 0 || spec->depth > WI_DEPTH_MAX)
        return weft_fail(WEFT_INVALID, "channel %s: depth %d: must be 1 to %d", name, spec->depth, WI_DEPTH_MAX);
    if (rooted && (spec->from < 0 || spec->from >= comm->size))
        return weft_fail(WEFT_INVALID, "channel %s: from rank %d in a group of %d", name, spec->from, comm->size);
    if (spec->shape == WEFT_SEND && (spec->to < 0 || spec->to >= comm->size || spec->to == spec->from))
        return weft_fail(WEFT_INVALID, "channel %s: from rank %d to rank %d in a group of %d", name, spec->from,
                         spec->to, comm->size);
    return WEFT_OK;
}

// The ranks must ask for the same channel, or they would talk past each other later.
static weft_status compare_specs(weft_comm *comm, const weft_channel_spec *spec)
{
    char text[160];
    snprintf(text, sizeof text, "channel %s: shape %d, %zu bytes, depth %d, from %d, to %d, patient %d, device %d",
             spec->name ? spec->name : "", (int)spec->shape, spec->bytes, spec->depth, spec->from, spec->to,
             spec->patient, spec->device != NULL);
    return weft_comm_compare(comm, "channels", text);
}

size_t weft_channel_bytes(const weft_channel_spec *spec, int ranks, bool shared)
{
    return shared ? wi_shared_channel_bytes(spec, ranks) / (size_t)ranks : wi_p2p_channel_bytes(spec, ranks);
}

static bool between_devices(const weft_channel_spec *spec)
{
    return spec->device && (spec->shape == WEFT_ALLGATHER || spec->shape == WEFT_ALLTOALL);
}

const char *weft_links_name(weft_links links)
{
    static const char *const names[] = {"auto", "host", "ipc"};
    return names[links];
}

// Why this rank's device cannot reach the group's others, NULL if it can.
static const char *unlinked(const weft_comm *comm, const weft_device *device)
{
    if (!device->ops->links) return "this kind of device reaches no other";
    if (comm->job->threads) return "the ranks are threads of one process";
    if (weft_comm_nodes(comm) > 1) return "the group is on several hosts";
    if (comm->size > WEFT_DEVICE_PEERS) return "the group is too large";
    return NULL;
}

// How the devices of a group reach each other, once for all of its channels. Collective.
static weft_status choose_links(weft_comm *comm, const weft_channel_spec *spec)
{
    const weft_links wanted = comm->job->options.links;
    const char *why = unlinked(comm, spec->device);
    int64_t can = why == NULL;
    if (comm->links != WEFT_LINKS_AUTO) return WEFT_OK;
    WEFT_TRY(weft_comm_min(comm, &can, 1));
    if (wanted == WEFT_LINKS_IPC && !can)
        return weft_fail(WEFT_UNSUPPORTED, "--links ipc: group %s: %s; --links host goes everywhere", comm->name,
                         why ? why : "a peer's device cannot");
    comm->links = can && wanted != WEFT_LINKS_HOST && comm->size > 1 ? WEFT_LINKS_IPC : WEFT_LINKS_HOST;
    return WEFT_OK;
}

weft_status weft_channel_create(weft_comm *comm, const weft_channel_spec *spec, weft_channel **out)
{
    weft_channel *channel = NULL;
    weft_status status = weft_comm_agree(comm, check_spec(comm, spec), NULL);
    if (status < 0) return status;
    WEFT_TRY(compare_specs(comm, spec));
    if (between_devices(spec)) WEFT_TRY(choose_links(comm, spec));
    if (between_devices(spec) && comm->links == WEFT_LINKS_IPC)
        status = wi_device_channel_create(comm, spec, &channel);
    else if (wi_transport_p2p(comm->transport))
        status = wi_p2p_channel_create(comm, spec, &channel);
    else
        status = wi_shared_channel_create(comm, spec, &channel);
    status = weft_comm_agree(comm, status, NULL);
    if (status < 0) {
        weft_channel_destroy(channel);
        return status;
    }
    *out = channel;
    return WEFT_OK;
}

void weft_channel_destroy(weft_channel *channel)
{
    if (channel) channel->ops->destroy(channel);
}

bool weft_channel_ordered(const weft_channel *channel) { return channel->ordered; }

const char *weft_channel_algorithm(const weft_channel *channel) { return channel->algorithm; }
