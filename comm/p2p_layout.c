// What is laid out when a channel over messages is made: the messages of its schedule, and the memory of its buffers.
#include <stdlib.h>

#include "comm/algorithms.h"
#include "comm/p2p_channel.h"
#include "core/checked.h"

enum { PACK_BLOCK_MAX = 64 << 10 }; // channels of larger blocks send each by itself

static size_t pitch_of(const weft_channel_spec *spec) { return weft_align_up(spec->bytes ? spec->bytes : 1, 64); }

size_t wi_p2p_pack_head(int count) { return weft_align_up((size_t)count * sizeof(uint32_t), 64); }

size_t wi_p2p_pack_room(const wi_p2p_channel *channel, int count)
{
    return wi_p2p_pack_head(count) + (size_t)count * channel->pitch;
}

// Adds the messages of one step in one direction: a pack, or one for each block.
static int add_messages(wi_p2p_channel *channel, wi_p2p_message *to, wi_p2p_message one, int count, bool packs)
{
    const int size = channel->base.comm->size, block = one.block;
    one.count = packs ? count : 1;
    if (packs && count > 1) {
        one.at = channel->packs;
        channel->packs += wi_p2p_pack_room(channel, count);
    }
    for (int i = 0; i < count; i += one.count) {
        one.block = (block + i) % size;
        *to++ = one;
    }
    return (count + one.count - 1) / one.count;
}

// No schedule gives a rank more than `size` messages each way.
weft_status wi_p2p_plan(wi_p2p_channel *channel, wi_algo algo)
{
    const weft_comm *comm = channel->base.comm;
    const weft_channel_spec *spec = &channel->base.spec;
    const int steps = wi_algo_steps(algo, spec->shape, comm->size);
    const bool packs = spec->shape == WEFT_ALLGATHER && spec->bytes <= PACK_BLOCK_MAX;
    channel->receive = calloc((size_t)comm->size, sizeof *channel->receive);
    channel->send = calloc((size_t)comm->size, sizeof *channel->send);
    if (!channel->receive || !channel->send)
        return weft_fail(WEFT_NO_MEMORY, "no memory for channel %s of %d ranks", channel->base.name, comm->size);
    if (spec->shape == WEFT_ALLGATHER || spec->shape == WEFT_ALLTOALL) channel->pitch = pitch_of(spec);
    for (int i = 0; i < steps; i++) {
        wi_step step = wi_algo_step(algo, spec->shape, comm->rank, comm->size, spec->from, spec->to, i);
        if (step.send_to >= 0) {
            wi_p2p_message send = {.peer = comm->world_rank[step.send_to], .block = step.send_first};
            send.after = wi_algo_chained(algo) ? channel->receives : 0;
            channel->sends += add_messages(channel, channel->send + channel->sends, send, step.send_count, packs);
        }
        if (step.recv_from >= 0) {
            wi_p2p_message receive = {.peer = comm->world_rank[step.recv_from], .block = step.recv_first};
            channel->receives +=
                add_messages(channel, channel->receive + channel->receives, receive, step.recv_count, packs);
        }
    }
    return WEFT_OK;
}

// Bytes of one buffer: ALLGATHER has all blocks side by side, ALLTOALL those that go and those that come, the other
// shapes one.
static bool buffer_bytes(const weft_channel_spec *spec, size_t ranks, bool takes_part, size_t pitch, size_t *out)
{
    size_t blocks = takes_part ? 1 : 0;
    if (spec->shape == WEFT_BARRIER) blocks = 0;
    if (spec->shape == WEFT_ALLGATHER) blocks = ranks;
    if (spec->shape == WEFT_ALLTOALL) blocks = 2 * ranks;
    return weft_size_mul(blocks, pitch, out);
}

// With all packs that an algorithm may want: it is not known here.
size_t wi_p2p_channel_bytes(const weft_channel_spec *spec, int ranks)
{
    const size_t depth = (size_t)(spec->depth ? spec->depth : 2), size = (size_t)ranks;
    size_t each, total;
    if (!buffer_bytes(spec, size, true, pitch_of(spec), &each)) return 0;
    if (spec->shape == WEFT_ALLGATHER && spec->bytes <= PACK_BLOCK_MAX && ranks > 2)
        each += 2 * (size - 2) * (pitch_of(spec) + 64);
    return weft_size_mul(each, depth, &total) ? total : 0;
}

static void place_buffer(wi_p2p_channel *channel, wi_p2p_buffer *use, unsigned char *memory, size_t pitch)
{
    const weft_channel *base = &channel->base;
    size_t size = (size_t)base->comm->size, rank = (size_t)base->comm->rank;
    use->channel = channel;
    if (base->spec.shape == WEFT_BARRIER || !memory) return;
    use->blocks = base->spec.shape == WEFT_ALLTOALL ? memory + size * pitch : memory;
    use->packs = memory + size * pitch; // of an ALLGATHER only
    if (base->spec.shape == WEFT_ALLTOALL)
        use->own = memory;
    else if (wi_channel_gives(base, base->comm->rank))
        use->own = memory + rank * channel->pitch;
    for (int peer = 0; peer < base->comm->size; peer++)
        if (wi_channel_gives(base, peer)) use->view[peer] = use->blocks + (size_t)peer * channel->pitch;
}

weft_status wi_p2p_make_buffers(wi_p2p_channel *channel)
{
    weft_channel *base = &channel->base;
    size_t size = (size_t)base->comm->size, depth = (size_t)base->spec.depth, each, total;
    const size_t pitch = pitch_of(&base->spec);
    const int rank = base->comm->rank;
    const bool takes_part = wi_channel_gives(base, rank) || wi_channel_takes(base, rank);
    if (base->spec.shape == WEFT_ALLTOALL) base->stride = pitch;
    if (!buffer_bytes(&base->spec, size, takes_part, pitch, &each) || !weft_size_add(each, channel->packs, &each) ||
        !weft_size_mul(each, depth, &total))
        return weft_fail(WEFT_OVERFLOW, "channel %s: %zu bytes, depth %zu for %zu ranks is more than an address space",
                         base->name, base->spec.bytes, depth, size);
    void *memory = NULL;
    const size_t line = base->spec.device ? 4096 : WI_LINE; // a device is lent whole pages
    if (!weft_size_round_up(total, line, &total)) return weft_fail(WEFT_OVERFLOW, "channel %s", base->name);
    bool enough = !total || posix_memalign(&memory, line, total) == 0;
    channel->memory = memory;
    channel->views = calloc(depth * size, sizeof *channel->views);
    channel->counts = calloc(3 * depth * size, sizeof *channel->counts);
    channel->requests = calloc(2 * depth * size, sizeof *channel->requests);
    channel->buffers = calloc(depth, sizeof *channel->buffers);
    if (!enough || !channel->views || !channel->counts || !channel->requests || !channel->buffers)
        return weft_fail(WEFT_NO_MEMORY, "channel %s: no memory for %zu buffers of %zu bytes", base->name, depth, each);
    for (size_t i = 0; i < depth; i++) {
        wi_p2p_buffer *use = &channel->buffers[i];
        use->view = channel->views + i * size;
        use->bytes = channel->counts + 3 * i * size;
        use->give = use->bytes + size;
        use->offset = use->give + size;
        use->recv = channel->requests + 2 * i * size;
        use->send = use->recv + size;
        place_buffer(channel, use, total ? channel->memory + i * each : NULL, pitch);
    }
    channel->bytes = total;
    return WEFT_OK;
}

void wi_p2p_free_layout(wi_p2p_channel *channel)
{
    free(channel->receive);
    free(channel->send);
    free(channel->memory);
    free(channel->views);
    free(channel->counts);
    free(channel->requests);
    free(channel->buffers);
}
