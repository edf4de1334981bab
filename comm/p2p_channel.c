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

#include "comm/p2p_channel.h"
#include "core/checked.h"

enum { BULK_BYTES = 128 << 10 }; // channels of blocks that may be as large send all of theirs as bulk

static void channel_free(wi_p2p_channel *channel)
{
    wi_p2p_tag_give(channel->job, channel->tag);
    wi_p2p_free_layout(channel);
    free(channel);
}

static bool in_flight(const wi_p2p_channel *channel)
{
    for (int i = 0; channel->buffers && i < channel->base.spec.depth; i++)
        if (channel->buffers[i].task.link) return true;
    return false;
}

static wi_p2p_buffer *buffer_of(wi_p2p_channel *channel, const weft_exchange *exchange)
{
    return &channel->buffers[exchange->buffer];
}

// ---- one exchange at work; under the lock ----

static uint32_t tag_of(const wi_p2p_buffer *use) { return use->channel->tag | use->number % (1u << WI_P2P_TAG_LOW); }

static size_t pack(wi_p2p_buffer *use, const wi_p2p_message *send)
{
    const int size = use->channel->base.comm->size;
    unsigned char *to = use->packs + send->at;
    size_t at = wi_p2p_pack_head(send->count);
    for (int i = 0; i < send->count; i++) {
        const int block = (send->block + i) % size;
        const uint32_t bytes = (uint32_t)use->bytes[block];
        memcpy(to + (size_t)i * sizeof bytes, &bytes, sizeof bytes);
        memcpy(to + at, use->view[block], bytes);
        at = weft_align_up(at + bytes, 64);
    }
    return at;
}

static weft_status unpack(wi_p2p_buffer *use, const wi_p2p_message *receive, size_t length)
{
    const weft_channel *base = &use->channel->base;
    unsigned char *from = use->packs + receive->at;
    size_t at = wi_p2p_pack_head(receive->count);
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

static weft_status begin_send(wi_p2p_buffer *use, int index)
{
    const wi_p2p_channel *channel = use->channel;
    const wi_p2p_message *send = &channel->send[index];
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
    const wi_p2p *p2p = channel->job->p2p;
    const bool bulk = p2p->send_bulk && channel->base.spec.bytes >= BULK_BYTES;
    return (bulk ? p2p->send_bulk : p2p->send)(send->peer, tag_of(use), data ? data + at : NULL, bytes,
                                               &use->send[index]);
}

static weft_status post_receive(wi_p2p_buffer *use, int index)
{
    const wi_p2p_channel *channel = use->channel;
    const wi_p2p_message *receive = &channel->receive[index];
    unsigned char *data = use->blocks ? use->blocks + (size_t)receive->block * channel->pitch : NULL;
    size_t capacity = channel->base.spec.bytes;
    if (receive->count > 1) {
        data = use->packs + receive->at;
        capacity = wi_p2p_pack_room(channel, receive->count);
    }
    return channel->job->p2p->recv(receive->peer, tag_of(use), data, capacity, &use->recv[index]);
}

static weft_status take(wi_p2p_buffer *use, const wi_p2p_message *receive, size_t bytes)
{
    if (receive->count > 1) return unpack(use, receive, bytes);
    use->bytes[receive->block] = bytes;
    return WEFT_OK;
}

static weft_status begin_sends(wi_p2p_buffer *use)
{
    const wi_p2p_channel *channel = use->channel;
    while (use->begun < channel->sends && channel->send[use->begun].after <= use->received) {
        WEFT_TRY(begin_send(use, use->begun));
        use->begun++;
    }
    return WEFT_OK;
}

// Have all peers' bytes come, and is all that others need from here on its way?
static bool complete(const wi_p2p_buffer *use)
{
    return use->received == use->channel->receives && use->begun == use->channel->sends;
}

static weft_status look(wi_p2p_buffer *use)
{
    const wi_p2p_channel *channel = use->channel;
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
    wi_p2p_buffer *use = (wi_p2p_buffer *)task;
    wi_p2p_channel *channel = use->channel;
    WEFT_TRY(look(use));
    task->sends = use->sent < channel->sends;
    if (!complete(use) || task->sends) return WEFT_OK;
    wi_p2p_unlink(task);
    if (channel->dead && !in_flight(channel)) channel_free(channel);
    return WEFT_OK;
}

// Looks at an exchange on behalf of a wait; false also when the transport has failed.
static bool look_at(wi_p2p_buffer *use)
{
    weft_job *job = use->channel->job;
    if (!use->task.link) return true;
    return wi_p2p_state_status(job) == WEFT_OK && wi_p2p_keep(job, move_buffer(job, &use->task)) == WEFT_OK;
}

static bool ready_to_read(void *arg, int *peer)
{
    wi_p2p_buffer *use = arg;
    if (!look_at(use)) return false;
    if (use->received < use->channel->receives) *peer = use->channel->receive[use->received].peer;
    return complete(use);
}

static bool ready_to_reuse(void *arg, int *peer)
{
    wi_p2p_buffer *use = arg;
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
    wi_p2p_channel *channel = (wi_p2p_channel *)base;
    wi_p2p_buffer *use = buffer_of(channel, exchange);
    WEFT_TRY(wi_p2p_wait(channel->job, ready_to_reuse, use, base->spec.patient, exchange->record));
    use->number = exchange->number;
    exchange->slot = use->own;
    return WEFT_OK;
}

static weft_status begin_all(wi_p2p_buffer *use)
{
    for (int i = 0; i < use->channel->receives; i++) WEFT_TRY(post_receive(use, i));
    return begin_sends(use);
}

static weft_status p2p_begin(weft_channel *base, weft_exchange *exchange, const size_t *offset, const size_t *bytes)
{
    wi_p2p_channel *channel = (wi_p2p_channel *)base;
    wi_p2p_buffer *use = buffer_of(channel, exchange);
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
    wi_p2p_channel *channel = (wi_p2p_channel *)base;
    wi_p2p_buffer *use = buffer_of(channel, exchange);
    WEFT_TRY(wi_p2p_wait(channel->job, ready_to_read, use, base->spec.patient, exchange->record));
    if (wi_channel_takes(base, base->comm->rank)) exchange->view = use->view;
    exchange->bytes = use->bytes;
    return WEFT_OK;
}

static bool p2p_ready(weft_channel *base, weft_exchange *exchange)
{
    wi_p2p_channel *channel = (wi_p2p_channel *)base;
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
    wi_p2p_channel *channel = (wi_p2p_channel *)base;
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

static weft_status make(weft_comm *comm, wi_p2p_channel *channel)
{
    weft_channel *base = &channel->base;
    if (base->spec.bytes > WI_P2P_MESSAGE_MAX)
        return weft_fail(WEFT_LIMIT, "channel %s: %zu bytes; over %s a rank gives at most %zu in one exchange: cut it",
                         base->name, base->spec.bytes, comm->job->p2p->name, WI_P2P_MESSAGE_MAX);
    wi_algo algo =
        wi_algo_choose(comm->transport, base->spec.shape, base->spec.bytes, comm->size, comm->job->options.algorithms);
    base->algorithm = wi_algo_name(algo);
    WEFT_TRY(wi_p2p_plan(channel, algo));
    WEFT_TRY(wi_p2p_make_buffers(channel));
    for (int i = 0; i < base->spec.depth; i++) channel->buffers[i].task.move = move_buffer;
    return wi_channel_lend(base, channel->memory, channel->bytes);
}

// The tag comes first: nothing may fail on one rank alone before the group has agreed on it.
weft_status wi_p2p_channel_create(weft_comm *comm, const weft_channel_spec *spec, weft_channel **out)
{
    weft_status status;
    uint32_t tag = 0;
    WEFT_TRY(wi_p2p_init(comm->job));
    WEFT_TRY(wi_p2p_tag_take(comm, comm->channels, spec->name ? spec->name : "", &tag));
    wi_p2p_channel *channel = calloc(1, sizeof *channel);
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
