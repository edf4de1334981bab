#include "launch/control.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_BYTES = 1 << 14 }; // what is longer follows

struct wi_control {
    weft_comm *world, *own; // own: this replica's ranks
    weft_mailbox *letters;
    bool speaks;
    weft_channel *channel, *start;
    weft_exchange exchange;
    weft_window *window; // NULL: one rank
    const void *given;
    size_t given_bytes;
    unsigned char *message; // (capacity)
    size_t capacity;
    int signal;
    bool told; // rank 0 knows of this rank's signal
};

weft_status wi_control_create(weft_comm *world, const weft_replicas *replicas, wi_control **out)
{
    const weft_channel_spec step = {.shape = WEFT_BCAST, .name = "control", .bytes = MESSAGE_BYTES};
    const weft_channel_spec start = {.shape = WEFT_BCAST, .name = "start", .bytes = 8, .patient = true};
    wi_control *c = calloc(1, sizeof *c);
    weft_status status = c ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for messages between ranks");
    WEFT_TRY_GOTO(weft_comm_agree(world, status, NULL));
    c->world = world;
    c->own = replicas->own;
    c->speaks = weft_comm_rank(c->own) == 0;
    WEFT_TRY_GOTO(weft_channel_create(world, &start, &c->start));
    status = weft_channel_create(c->own, &step, &c->channel);
    if (status == WEFT_OK && weft_comm_size(c->own) > 1) status = weft_window_create(c->own, 8, "signals", &c->window);
    WEFT_TRY_GOTO(weft_comm_agree(world, status, NULL));
    if (replicas->leads) status = weft_mailbox_create(replicas->leads, "letters", &c->letters);
    WEFT_TRY_GOTO(weft_comm_agree(world, status, NULL));
    *out = c;
    return WEFT_OK;
fail:
    wi_control_destroy(c);
    return status;
}

void wi_control_destroy(wi_control *c)
{
    if (!c) return;
    weft_channel_destroy(c->channel);
    weft_channel_destroy(c->start);
    weft_window_destroy(c->window);
    weft_mailbox_destroy(c->letters);
    free(c->message);
    free(c);
}

weft_mailbox *wi_control_letters(wi_control *c) { return c->letters; }

weft_status wi_control_wait(wi_control *c, weft_status own)
{
    weft_exchange exchange;
    WEFT_TRY(weft_exchange_acquire(c->start, &exchange));
    WEFT_TRY(weft_exchange_begin(&exchange, 0));
    WEFT_TRY(weft_exchange_end(&exchange));
    weft_exchange_release(&exchange);
    return weft_comm_agree(c->world, own, NULL);
}

weft_status wi_control_begin(wi_control *c, const void *message, size_t bytes)
{
    WEFT_TRY(weft_exchange_acquire(c->channel, &c->exchange));
    if (!c->speaks) return weft_exchange_begin(&c->exchange, 0);
    const uint64_t all = bytes;
    const size_t room = MESSAGE_BYTES - sizeof all, first = bytes < room ? bytes : room;
    memcpy(c->exchange.slot, &all, sizeof all);
    if (first > 0) memcpy(c->exchange.slot + sizeof all, message, first);
    c->given = message;
    c->given_bytes = bytes;
    return weft_exchange_begin(&c->exchange, sizeof all + first);
}

static weft_status make_room(wi_control *c, size_t bytes)
{
    if (bytes <= c->capacity) return WEFT_OK;
    unsigned char *more = realloc(c->message, bytes);
    if (!more) return weft_fail(WEFT_NO_MEMORY, "no memory for a message of %zu bytes", bytes);
    c->message = more;
    c->capacity = bytes;
    return WEFT_OK;
}

weft_status wi_control_end(wi_control *c, const unsigned char **message, size_t *bytes)
{
    uint64_t all;
    WEFT_TRY(weft_exchange_end(&c->exchange));
    const unsigned char *from = c->exchange.view[0];
    memcpy(&all, from, sizeof all);
    const size_t room = MESSAGE_BYTES - sizeof all, first = all < room ? (size_t)all : room;
    weft_status status = c->speaks ? WEFT_OK : make_room(c, (size_t)all);
    // A rank that has no memory for what is small would leave the others alone.
    if (all > first) status = weft_comm_agree(c->own, status, NULL);
    if (status == WEFT_OK && !c->speaks && first > 0) memcpy(c->message, from + sizeof all, first);
    weft_exchange_release(&c->exchange);
    WEFT_TRY(status);
    if (c->speaks) {
        *message = c->given;
        // What is sent is not changed; the call takes what others would receive into.
        if (all > first)
            WEFT_TRY(weft_comm_bcast(c->own, 0, (unsigned char *)(uintptr_t)c->given + first, (size_t)all - first));
    } else {
        *message = c->message;
        if (all > first) WEFT_TRY(weft_comm_bcast(c->own, 0, c->message + first, (size_t)all - first));
    }
    *bytes = (size_t)all;
    return WEFT_OK;
}

int wi_control_signal(wi_control *c)
{
    const int own = weft_job_drain_signal(weft_comm_job(c->world));
    if (own && !c->signal) c->signal = own;
    if (!c->window) return c->signal;
    if (!c->speaks) {
        if (c->signal && !c->told) c->told = weft_window_flag(c->window, 0) == WEFT_OK;
        return c->signal;
    }
    for (int rank = 1; rank < weft_comm_size(c->own) && !c->signal; rank++)
        if (weft_window_flags(c->window, rank) > 0) c->signal = SIGTERM;
    return c->signal;
}
