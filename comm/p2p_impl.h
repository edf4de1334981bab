// What the files of comm/p2p_*.c share: things in flight that move by being looked at, and waits that look at them.
#ifndef WEFT_COMM_P2P_IMPL_H
#define WEFT_COMM_P2P_IMPL_H

#include "comm/comm_impl.h"

// A message may have so many bytes: transports count in int.
#define WI_P2P_MESSAGE_MAX ((size_t)0x7fffffff)

// Something in flight. `move` looks once and never blocks; it may unlink its own task and no other. A failure is the
// transport's and ends everything.
typedef struct wi_p2p_task wi_p2p_task;
struct wi_p2p_task {
    wi_p2p_task *next, **link;
    weft_status (*move)(weft_job *job, wi_p2p_task *task);
    bool sends; // wi_p2p_fini waits for it
};

typedef struct wi_p2p_state wi_p2p_state;

// Makes the job's state on first use.
weft_status wi_p2p_init(weft_job *job);

// The lock of the job's rank; wi_p2p_progress from other threads gives way to it.
void wi_p2p_lock(weft_job *job);
void wi_p2p_unlock(weft_job *job);

// Under the lock:
void wi_p2p_link(weft_job *job, wi_p2p_task *task);         // accepts a linked one
void wi_p2p_unlink(wi_p2p_task *task);                      // accepts an unlinked one
weft_status wi_p2p_state_status(weft_job *job);             // the first failure of the transport, told again, or OK
weft_status wi_p2p_keep(weft_job *job, weft_status status); // a failure just told becomes the job's; passes it on

// Tags: group, channel or window, exchange; *base leaves WI_P2P_TAG_LOW bits for the caller. The numbers of group and
// channel wrap, so the group agrees on the next one that no member still uses: collective, blocking, from `id` on. A
// group's own control and barrier cannot ask it, and take what is theirs. LIMIT when there is none.
enum { WI_P2P_TAG_GROUP = 8, WI_P2P_TAG_CHANNEL = 9, WI_P2P_TAG_LOW = 5 };
weft_status wi_p2p_tag_take(weft_comm *comm, uint32_t id, const char *name, uint32_t *base);
void wi_p2p_tag_give(weft_job *job, uint32_t base); // under the lock

// Blocks until `ready` says so, which is called under the lock, looks at what it waits for, and else names the world
// rank that it waits for. All else that is in flight moves meanwhile. LOST or DEADLINE when the job ends.
typedef bool wi_p2p_ready_fn(void *arg, int *peer);
weft_status wi_p2p_wait(weft_job *job, wi_p2p_ready_fn *ready, void *arg, bool patient, uint32_t record);

#endif
