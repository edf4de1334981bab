// What the kinds of channels between devices share: the hosts' heads, the slots, and a host that waits for its device.
#ifndef WEFT_COMM_DEVICE_IMPL_H
#define WEFT_COMM_DEVICE_IMPL_H

#include "comm/comm_impl.h"
#include "comm/mover.h"

// What ranks' hosts tell each other of an exchange.
typedef struct {
    uint32_t released; // the writer has asked for the last reads of all exchanges up to this one
    uint32_t unused;
    uint64_t bytes[]; // one entry; ALLTOALL: one a peer, then where each peer's bytes begin
} wi_device_head;

// Memory of the rank's device begins with `depth` slots.
typedef struct {
    weft_channel base;
    weft_channel *heads; // of the hosts
    weft_exchange head[WI_DEPTH_MAX];
    size_t buffer; // bytes of a slot
    size_t bytes;  // of memory, in whole WEFT_DEVICE_SHARED_BYTES
    unsigned char *memory;
    const unsigned char **view; // [depth][size]
    size_t *given;              // [depth][size]
    bool joined;
} wi_device_channel;

// The stride of slots and their size. False: more than an address space.
bool wi_device_slots(const weft_channel_spec *spec, int ranks, size_t *stride, size_t *buffer);
// Local: base, slots and memory, of which the caller has said how much it is.
weft_status wi_device_init(wi_device_channel *channel, const wi_channel_ops *ops, const char *algorithm,
                           weft_comm *comm, const weft_channel_spec *spec);
weft_status wi_device_make_memory(wi_device_channel *channel);
weft_status wi_device_make_heads(wi_device_channel *channel); // collective, blocking
void wi_device_fini(wi_device_channel *channel);              // frees the channel; accepts half-built ones

// Parts of a channel's ops.
weft_status wi_device_acquire(wi_device_channel *channel, weft_exchange *exchange);
void wi_device_cancel(weft_channel *base, weft_exchange *exchange);
weft_status wi_device_begin(wi_device_channel *channel, const weft_exchange *exchange, const size_t *offset,
                            const size_t *bytes, uint32_t released);
bool wi_device_head_ready(wi_device_channel *channel, uint32_t buffer);
// Until the peers' heads are here; `leave` gives them back.
weft_status wi_device_enter(wi_device_channel *channel, uint32_t buffer);
const wi_device_head *wi_device_head_of(const wi_device_channel *channel, uint32_t buffer, int peer);
void wi_device_leave(wi_device_channel *channel, uint32_t buffer);
// From now on the device waits in that exchange, for the next rank as far as anybody here knows.
void wi_device_waits(const wi_device_channel *channel, uint32_t record);

// ---- movers ---------------------------------------------------------------------------------------------------------

// An exchange that was begun and that the mover does not know yet. Movers are asked in the order of the begins, of all
// channels of the job, which is the same on all ranks; ends come in any order.
typedef struct wi_underway wi_underway;
struct wi_underway {
    wi_underway *next;
    weft_status (*give)(wi_underway *flight); // waits for the peers' heads and asks the mover
    wi_device_channel *channel;
    uint32_t buffer, record;
    int mark; // of the device; -1: there was none left
    bool waits;
};

struct wi_movers {
    const wi_mover *table;
    weft_comm *newest; // that has joined
    wi_underway *first, *last;
    uint64_t marks;    // that are taken
    uint64_t channels; // made so far
};

// Joins the group's ranks over NCCL, once for a group. NOT_FOUND or UNSUPPORTED where there is no way. Collective,
// blocking.
weft_status wi_mover_join(weft_comm *comm, const weft_device *device);
void wi_mover_leave(weft_comm *comm); // Local, in bounded time
void wi_mover_fini(weft_job *job);
// Looks at all groups: a failure of one ends the job. Does not return then, where ranks are processes.
void wi_mover_look(weft_job *job);
// Until the mover has taken what it was asked for, which it answered with `status`.
weft_status wi_mover_settle(weft_comm *comm, weft_status status, const char *channel);

#endif
