// Channels over point-to-point messages. The schedule of a channel is worked out when it is made, as a list of messages
// to receive and one of messages to send, each with the number of receives that must come before it. An exchange posts
// all receives at its begin, in the order of the schedule, and sends what may go; progress does the rest.
//
// The tag says channel and exchange (modulo 32, the largest depth). So one tag is never used by two exchanges that are
// in flight on one rank, and messages of one pair and tag arrive in the order of the schedule. Sizes travel with the
// messages: receivers know only what fits.
//
// Several blocks that go to one peer at a time go as one message where blocks are small: for them a message costs more
// than a copy. Such a pack begins with the sizes of its blocks, and peers' blocks are read where they came to lie in
// it.
#include <stdlib.h>
#include <string.h>

#include "comm/algorithms.h"
#include "comm/p2p_impl.h"
#include "core/checked.h"

typedef struct {
    int peer;  // world rank
    int block; // the first, see algorithms.h
    int count; // blocks; more than one: a pack
    int after; // receives that must be done before this one is sent
    size_t at; // ALLGATHER: where a pack lies in the buffer's packs
} message;

enum { PACK_BLOCK_MAX = 64 << 10 }; // channels of larger blocks send each by itself

typedef struct p2p_channel p2p_channel;

typedef struct {
    wi_p2p_task task; // linked while a message is under way
    p2p_channel *channel;
    unsigned char *own;         // the slot; NULL where this rank gives nothing
    unsigned char *packs;       // packs that come and go
    unsigned char *blocks;      // where peers' blocks land; ALLGATHER: mine among them
    const unsigned char **view; // [size]
    size_t *bytes;              // [size] of the blocks
    size_t *give, *offset;      // [size] ALLTOALL: of my own blocks, and where they begin in the slot
    wi_request *recv, *send;    // [receives], [sends] of the channel
    int received, begun, sent;  // receives done; sends begun and done. All in the order of the schedule
    uint32_t number;
} buffer;

struct p2p_channel {
    weft_channel base;
    weft_job *job;
    uint32_t tag;
    bool dead; // to be freed when its last message is done
    int receives, sends;
    message *receive, *send;
    size_t pitch; // between blocks; 0 where there is but one
    size_t packs; // bytes of all packs of a buffer
    unsigned char *memory;
    const unsigned char **views;
    size_t *counts;
    wi_request *requests;
    buffer *buffers; // [depth]
};

static void channel_free(p2p_channel *channel)
{
    wi_p2p_tag_give(channel->job, channel->tag);
    free(channel->receive);
    free(channel->send);
    free(channel->memory);
    free(channel->views);
    free(channel->counts);
    free(channel->requests);
    free(channel->buffers);
    free(channel);
}

static bool in_flight(const p2p_channel *channel)
{
    for (int i = 0; channel->buffers && i < channel->base.spec.depth; i++)
        if (channel->buffers[i].task.link) return true;
    return false;
}

static buffer *buffer_of(p2p_channel *channel, const weft_exchange *exchange)
{
    return &channel->buffers[exchange->buffer];
}

// ---- one exchange at work; under the lock ----

static uint32_t tag_of(const buffer *use) { return use->channel->tag | use->number % (1u << WI_P2P_TAG_LOW); }

// The sizes of a pack's blocks stand before them.
static size_t head_bytes(int count) { return weft_align_up((size_t)count * sizeof(uint32_t), 64); }

static size_t pack_room(const p2p_channel *channel, int count)
{
    return head_bytes(count) + (size_t)count * channel->pitch;
}

static size_t pack(buffer *use, const message *send)
{
    const int size = use->channel->base.comm->size;
    unsigned char *to = use->packs + send->at;
    size_t at = head_bytes(send->count);
    for (int i = 0; i < send->count; i++) {
        const int block = (send->block + i) % size;
        const uint32_t bytes = (uint32_t)use->bytes[block];
        memcpy(to + (size_t)i * sizeof bytes, &bytes, sizeof bytes);
        memcpy(to + at, use->view[block], bytes);
        at = weft_align_up(at + bytes, 64);
    }
    return at;
}

static weft_status unpack(buffer *use, const message *receive, size_t length)
{
    const weft_channel *base = &use->channel->base;
    unsigned char *from = use->packs + receive->at;
    size_t at = head_bytes(receive->count);
    for (int i = 0; length >= at && i < receive->count; i++) {
        const int block = (receive->block + i) % base->comm->size;
        uint32_t bytes;
        memcpy(&bytes, from + (size_t)i * sizeof bytes, sizeof bytes);
        if (bytes > base->spec.bytes || at + bytes > length) break;
        use->view[block] = from + at;
        use->bytes[block] = bytes;
        at = weft_align_up(at + bytes, 64);
    }
    if (at == length) return WEFT_OK;
    return weft_fail(WEFT_INTERNAL, "channel %s: rank %d sent %zu bytes that are no pack of %d blocks", base->name,
                     receive->peer, length, receive->count);
}

static weft_status begin_send(buffer *use, int index)
{
    const p2p_channel *channel = use->channel;
    const message *send = &channel->send[index];
    size_t at = (size_t)send->block * channel->pitch, bytes = use->bytes[send->block];
    const unsigned char *data = use->blocks;
    if (channel->base.spec.shape == WEFT_ALLTOALL) {
        bytes = use->give[send->block];
        at = use->offset[send->block];
        data = use->own;
    } else if (send->count > 1) {
        bytes = pack(use, send);
        at = send->at;
        data = use->packs;
    }
    return channel->job->p2p->send(send->peer, tag_of(use), data ? data + at : NULL, bytes, &use->send[index]);
}

static weft_status post_receive(buffer *use, int index)
{
    const p2p_channel *channel = use->channel;
    const message *receive = &channel->receive[index];
    unsigned char *data = use->blocks ? use->blocks + (size_t)receive->block * channel->pitch : NULL;
    size_t capacity = channel->base.spec.bytes;
    if (receive->count > 1) {
        data = use->packs + receive->at;
        capacity = pack_room(channel, receive->count);
    }
    return channel->job->p2p->recv(receive->peer, tag_of(use), data, capacity, &use->recv[index]);
}

static weft_status take(buffer *use, const message *receive, size_t bytes)
{
    if (receive->count > 1) return unpack(use, receive, bytes);
    use->bytes[receive->block] = bytes;
    return WEFT_OK;
}

static weft_status begin_sends(buffer *use)
{
    const p2p_channel *channel = use->channel;
    while (use->begun < channel->sends && channel->send[use->begun].after <= use->received) {
        WEFT_TRY(begin_send(use, use->begun));
        use->begun++;
    }
    return WEFT_OK;
}

// Have all peers' bytes come, and is all that others need from here on its way?
static bool complete(const buffer *use)
{
    return use->received == use->channel->receives && use->begun == use->channel->sends;
}

static weft_status look(buffer *use)
{
    const p2p_channel *channel = use->channel;
    const wi_p2p *p2p = channel->job->p2p;
    bool done = true;
    while (use->received < channel->receives) {
        size_t bytes = 0;
        WEFT_TRY(p2p->test(&use->recv[use->received], &done, &bytes));
        if (!done) break;
        WEFT_TRY(take(use, &channel->receive[use->received], bytes));
        use->received++;
    }
    WEFT_TRY(begin_sends(use));
    while (use->sent < use->begun) {
        WEFT_TRY(p2p->test(&use->send[use->sent], &done, NULL));
        if (!done) break;
        use->sent++;
    }
    return WEFT_OK;
}

static weft_status move_buffer(weft_job *job, wi_p2p_task *task)
{
    buffer *use = (buffer *)task;
    p2p_channel *channel = use->channel;
    WEFT_TRY(look(use));
    task->sends = use->sent < channel->sends;
    if (!complete(use) || task->sends) return WEFT_OK;
    wi_p2p_unlink(task);
    if (channel->dead && !in_flight(channel)) channel_free(channel);
    return WEFT_OK;
}

// Looks at an exchange on behalf of a wait; false also when the transport has failed.
static bool look_at(buffer *use)
{
    weft_job *job = use->channel->job;
    if (!use->task.link) return true;
    return wi_p2p_state_status(job) == WEFT_OK && wi_p2p_keep(job, move_buffer(job, &use->task)) == WEFT_OK;
}

static bool ready_to_read(void *arg, int *peer)
{
    buffer *use = arg;
    if (!look_at(use)) return false;
    if (use->received < use->channel->receives) *peer = use->channel->receive[use->received].peer;
    return complete(use);
}

static bool ready_to_reuse(void *arg, int *peer)
{
    buffer *use = arg;
    if (!look_at(use)) return false;
    if (use->received < use->channel->receives)
        *peer = use->channel->receive[use->received].peer;
    else if (use->sent < use->channel->sends)
        *peer = use->channel->send[use->sent].peer;
    return !use->task.link;
}

// ---- the operations ----

static weft_status p2p_acquire(weft_channel *base, weft_exchange *exchange)
{
    p2p_channel *channel = (p2p_channel *)base;
    buffer *use = buffer_of(channel, exchange);
    WEFT_TRY(wi_p2p_wait(channel->job, ready_to_reuse, use, base->spec.patient, exchange->record));
    use->number = exchange->number;
    exchange->slot = use->own;
    return WEFT_OK;
}

static weft_status begin_all(buffer *use)
{
    for (int i = 0; i < use->channel->receives; i++) WEFT_TRY(post_receive(use, i));
    return begin_sends(use);
}

static weft_status p2p_begin(weft_channel *base, weft_exchange *exchange, const size_t *offset, const size_t *bytes)
{
    p2p_channel *channel = (p2p_channel *)base;
    buffer *use = buffer_of(channel, exchange);
    size_t size = (size_t)base->comm->size, rank = (size_t)base->comm->rank;
    if (base->spec.shape == WEFT_ALLTOALL) {
        memcpy(use->give, bytes, size * sizeof *bytes);
        for (size_t peer = 0; peer < size; peer++) use->offset[peer] = offset ? offset[peer] : peer * channel->pitch;
        if (use->own) use->view[rank] = use->own + use->offset[rank];
        use->bytes[rank] = bytes[rank];
    } else if (wi_channel_gives(base, base->comm->rank)) {
        use->bytes[rank] = bytes[0];
    }
    use->received = use->begun = use->sent = 0;
    if (!channel->receives && !channel->sends) return WEFT_OK;
    wi_p2p_lock(channel->job);
    weft_status status = wi_p2p_state_status(channel->job);
    if (status == WEFT_OK) {
        use->task.sends = channel->sends > 0;
        wi_p2p_link(channel->job, &use->task);
        status = wi_p2p_keep(channel->job, begin_all(use));
    }
    wi_p2p_unlock(channel->job);
    return status;
}

static weft_status p2p_end(weft_channel *base, weft_exchange *exchange)
{
    p2p_channel *channel = (p2p_channel *)base;
    buffer *use = buffer_of(channel, exchange);
    WEFT_TRY(wi_p2p_wait(channel->job, ready_to_read, use, base->spec.patient, exchange->record));
    if (wi_channel_takes(base, base->comm->rank)) exchange->view = use->view;
    exchange->bytes = use->bytes;
    return WEFT_OK;
}

static bool p2p_ready(weft_channel *base, weft_exchange *exchange)
{
    p2p_channel *channel = (p2p_channel *)base;
    int peer;
    // A failure makes end return at once as well.
    wi_p2p_progress(channel->job);
    wi_p2p_lock(channel->job);
    bool done = ready_to_read(buffer_of(channel, exchange), &peer) || wi_p2p_state_status(channel->job) < 0;
    wi_p2p_unlock(channel->job);
    return done;
}

// What peers still have to fetch from this buffer is waited for when it is acquired again.
static void p2p_release(weft_channel *base, weft_exchange *exchange) {}

static void p2p_destroy(weft_channel *base)
{
    p2p_channel *channel = (p2p_channel *)base;
    weft_job *job = channel->job;
    wi_channel_take_back(base);
    wi_p2p_lock(job);
    channel->dead = true;
    if (!in_flight(channel)) channel_free(channel);
    wi_p2p_unlock(job);
}

static const wi_channel_ops p2p_ops = {.acquire = p2p_acquire,
                                       .begin = p2p_begin,
                                       .end = p2p_end,
                                       .ready = p2p_ready,
                                       .release = p2p_release,
                                       .destroy = p2p_destroy};

// ---- making one ----

// Adds the messages of one step in one direction: a pack, or one for each block.
static int add_messages(p2p_channel *channel, message *to, message one, int count, bool packs)
{
    const int size = channel->base.comm->size, block = one.block;
    one.count = packs ? count : 1;
    if (packs && count > 1) {
        one.at = channel->packs;
        channel->packs += pack_room(channel, count);
    }
    for (int i = 0; i < count; i += one.count) {
        one.block = (block + i) % size;
        *to++ = one;
    }
    return (count + one.count - 1) / one.count;
}

// No schedule gives a rank more than `size` messages each way.
static void plan(p2p_channel *channel, wi_algo algo)
{
    const weft_comm *comm = channel->base.comm;
    const weft_channel_spec *spec = &channel->base.spec;
    const int steps = wi_algo_steps(algo, spec->shape, comm->size);
    const bool packs = spec->shape == WEFT_ALLGATHER && spec->bytes <= PACK_BLOCK_MAX;
    for (int i = 0; i < steps; i++) {
        wi_step step = wi_algo_step(algo, spec->shape, comm->rank, comm->size, spec->from, spec->to, i);
        if (step.send_to >= 0) {
            message send = {.peer = comm->world_rank[step.send_to], .block = step.send_first};
            send.after = wi_algo_chained(algo) ? channel->receives : 0;
            channel->sends += add_messages(channel, channel->send + channel->sends, send, step.send_count, packs);
        }
        if (step.recv_from >= 0) {
            message receive = {.peer = comm->world_rank[step.recv_from], .block = step.recv_first};
            channel->receives +=
                add_messages(channel, channel->receive + channel->receives, receive, step.recv_count, packs);
        }
    }
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

static size_t pitch_of(const weft_channel_spec *spec) { return weft_align_up(spec->bytes ? spec->bytes : 1, 64); }

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

static void place_buffer(p2p_channel *channel, buffer *use, unsigned char *memory, size_t pitch)
{
    const weft_channel *base = &channel->base;
    size_t size = (size_t)base->comm->size, rank = (size_t)base->comm->rank;
    use->channel = channel;
    use->task.move = move_buffer;
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

static weft_status make_buffers(p2p_channel *channel)
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
        buffer *use = &channel->buffers[i];
        use->view = channel->views + i * size;
        use->bytes = channel->counts + 3 * i * size;
        use->give = use->bytes + size;
        use->offset = use->give + size;
        use->recv = channel->requests + 2 * i * size;
        use->send = use->recv + size;
        place_buffer(channel, use, total ? channel->memory + i * each : NULL, pitch);
    }
    return wi_channel_lend(base, channel->memory, total);
}

static weft_status make(weft_comm *comm, p2p_channel *channel)
{
    weft_channel *base = &channel->base;
    if (base->spec.bytes > WI_P2P_MESSAGE_MAX)
        return weft_fail(WEFT_LIMIT, "channel %s: %zu bytes; over %s a rank gives at most %zu in one exchange: cut it",
                         base->name, base->spec.bytes, comm->job->p2p->name, WI_P2P_MESSAGE_MAX);
    wi_algo algo =
        wi_algo_choose(comm->transport, base->spec.shape, base->spec.bytes, comm->size, comm->job->options.algorithms);
    base->algorithm = wi_algo_name(algo);
    channel->receive = calloc((size_t)comm->size, sizeof *channel->receive);
    channel->send = calloc((size_t)comm->size, sizeof *channel->send);
    if (!channel->receive || !channel->send)
        return weft_fail(WEFT_NO_MEMORY, "no memory for channel %s of %d ranks", base->name, comm->size);
    if (base->spec.shape == WEFT_ALLGATHER || base->spec.shape == WEFT_ALLTOALL) channel->pitch = pitch_of(&base->spec);
    plan(channel, algo);
    return make_buffers(channel);
}

// The tag comes first: nothing may fail on one rank alone before the group has agreed on it.
weft_status wi_p2p_channel_create(weft_comm *comm, const weft_channel_spec *spec, weft_channel **out)
{
    weft_status status;
    uint32_t tag = 0;
    WEFT_TRY(wi_p2p_init(comm->job));
    WEFT_TRY(wi_p2p_tag_take(comm, comm->channels, spec->name ? spec->name : "", &tag));
    p2p_channel *channel = calloc(1, sizeof *channel);
    if (!channel) {
        comm->channels++; // as on the other ranks
        wi_p2p_lock(comm->job);
        wi_p2p_tag_give(comm->job, tag);
        wi_p2p_unlock(comm->job);
        return weft_fail(WEFT_NO_MEMORY, "no memory for a channel");
    }
    channel->job = comm->job;
    channel->tag = tag;
    WEFT_TRY_GOTO(wi_channel_init(&channel->base, &p2p_ops, comm, spec));
    WEFT_TRY_GOTO(make(comm, channel));
    *out = &channel->base;
    return WEFT_OK;
fail:
    p2p_destroy(&channel->base);
    return status;
}
