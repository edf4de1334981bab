// Channels: what every transport's channels have in common.
#include <string.h>

#include "comm/comm_impl.h"
#include "core/log.h"

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

void wi_releases_note(wi_releases *releases, uint32_t number)
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

size_t weft_channel_device_bytes(const weft_channel_spec *spec, int ranks, weft_links links)
{
    weft_channel_spec of = *spec;
    if (of.depth == 0) of.depth = 2;
    if (ranks == 1 || (of.shape != WEFT_ALLGATHER && of.shape != WEFT_ALLTOALL)) return 0;
    if (links == WEFT_LINKS_IPC) return wi_ipc_channel_bytes(&of, ranks);
    return links == WEFT_LINKS_NCCL ? wi_nccl_channel_bytes(&of, ranks) : 0;
}

static bool between_devices(const weft_channel_spec *spec)
{
    return spec->device && (spec->shape == WEFT_ALLGATHER || spec->shape == WEFT_ALLTOALL);
}

const char *weft_links_name(weft_links links)
{
    static const char *const names[] = {"auto", "host", "ipc", "nccl"};
    return names[links];
}

// ---- between devices ------------------------------------------------------------------------------------------------

// Why this rank's device cannot reach the group's others so, NULL if it may.
static const char *unlinked(const weft_comm *comm, const weft_device *device, weft_links links)
{
    if (!device->ops->links) return "this kind of device reaches no other";
    if (comm->job->threads) return "the ranks are threads of one process";
    if (links != WEFT_LINKS_IPC) return NULL;
    if (weft_comm_nodes(comm) > 1) return "the group is on several hosts";
    return comm->size > WEFT_DEVICE_PEERS ? "the group is too large" : NULL;
}

// Which rank fails, if it does, all ranks have heard. Collective.
static weft_status try_links(weft_comm *comm, const weft_channel_spec *spec, weft_links links, bool *tried,
                             weft_channel **out)
{
    const char *why = unlinked(comm, spec->device, links);
    *tried = false;
    WEFT_TRY(weft_comm_agree(comm, why ? weft_fail(WEFT_UNSUPPORTED, "%s", why) : WEFT_OK, NULL));
    *tried = true;
    return links == WEFT_LINKS_IPC ? wi_ipc_channel_create(comm, spec, out) : wi_nccl_channel_create(comm, spec, out);
}

static bool no_way(weft_status status) { return status == WEFT_UNSUPPORTED || status == WEFT_NOT_FOUND; }

// The group's first channel between devices tries what there is, and what it finds is for all of them. OK without a
// channel: over the host. Collective.
static weft_status create_linked(weft_comm *comm, const weft_channel_spec *spec, weft_channel **out)
{
    const weft_links wanted = comm->links != WEFT_LINKS_AUTO ? comm->links : comm->job->options.links;
    const bool first = comm->links == WEFT_LINKS_AUTO;
    char text[WEFT_ERROR_TEXT_MAX];
    for (weft_links links = WEFT_LINKS_IPC; links <= WEFT_LINKS_NCCL && comm->size > 1; links++) {
        bool tried;
        if (wanted != WEFT_LINKS_AUTO && wanted != links) continue;
        const weft_status status = try_links(comm, spec, links, &tried, out);
        if (status == WEFT_OK) comm->links = links;
        if (status == WEFT_OK || !first || !no_way(status)) return status;
        snprintf(text, sizeof text, "%s", weft_error_text());
        if (wanted == links)
            return weft_fail(status, "--links %s: group %s: %.400s; --links host goes everywhere",
                             weft_links_name(links), comm->name, text);
        if (tried && comm->rank == 0 && !comm->job->links_told)
            weft_log_info("group %s: its devices do not exchange by %s: %s", comm->name, weft_links_name(links), text);
        comm->job->links_told = comm->job->links_told || tried;
    }
    comm->links = WEFT_LINKS_HOST;
    return WEFT_OK;
}

weft_status weft_channel_create(weft_comm *comm, const weft_channel_spec *spec, weft_channel **out)
{
    weft_channel *channel = NULL;
    weft_status status = weft_comm_agree(comm, check_spec(comm, spec), NULL);
    if (status < 0) return status;
    WEFT_TRY(compare_specs(comm, spec));
    if (between_devices(spec)) WEFT_TRY(create_linked(comm, spec, &channel));
    if (!channel && wi_transport_p2p(comm->transport))
        status = wi_p2p_channel_create(comm, spec, &channel);
    else if (!channel)
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
