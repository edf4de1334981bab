// What ranks tell each other without an exchange: memory that peers write into, and letters.
#ifndef WEFT_COMM_WINDOW_H
#define WEFT_COMM_WINDOW_H

#include "comm/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_window weft_window;
typedef struct weft_mailbox weft_mailbox;

// ---- windows --------------------------------------------------------------------------------------------------------

// Every rank exposes `bytes` of zeroed memory; peers write into it and raise a flag. Collective, blocking.
weft_status weft_window_create(weft_comm *comm, size_t bytes, const char *name, weft_window **out);
void weft_window_destroy(weft_window *window); // Local; after a barrier. Accepts NULL
void *weft_window_memory(weft_window *window); // mine
// Local. `data` may be reused at once. A flag that arrives says that this rank's earlier puts to that peer have
// arrived, lent ones too.
weft_status weft_window_put(weft_window *window, int peer, size_t offset, const void *data, size_t bytes);
// A put without a copy, by the network alone where it can (ucx): `data` is lent until a flush to that peer, which
// blocks. Before that nothing may be destroyed.
weft_status weft_window_lend(weft_window *window, int peer, size_t offset, const void *data, size_t bytes);
weft_status weft_window_flush(weft_window *window, int peer);
weft_status weft_window_flag(weft_window *window, int peer);
uint32_t weft_window_flags(weft_window *window, int from); // how many flags that rank has raised here. Makes progress
weft_status weft_window_wait(weft_window *window, int from, uint32_t flags); // until there are so many. Blocking

// ---- letters --------------------------------------------------------------------------------------------------------

// Letters of any size between any two ranks of a group, for ranks that do not keep step: sending and taking never wait
// for anybody. Letters from one rank arrive in the order sent. Collective, blocking.
weft_status weft_mailbox_create(weft_comm *comm, const char *name, weft_mailbox **out);
void weft_mailbox_destroy(weft_mailbox *mailbox); // Local; after a barrier. Accepts NULL
// Local. The letter is copied, and leaves as far as the peer has room; what is left leaves in later calls of send, take
// and keep. `bytes` is not 0.
weft_status weft_mailbox_send(weft_mailbox *mailbox, int peer, const void *data, size_t bytes);
size_t weft_mailbox_unsent(const weft_mailbox *mailbox); // bytes that wait for room, for all peers
// Local. The next letter from there, or *data = NULL while none is here whole; aligned to 8, and kept until the next
// take from there. LOST or DEADLINE when the job ends.
weft_status weft_mailbox_take(weft_mailbox *mailbox, int from, const unsigned char **data, size_t *bytes);
// Called now and then by both: tells the peer about once a second that this rank is there, and where nothing was heard
// of the peer for as long as the deadline, waits for it as an exchange would, with the deadline counting.
weft_status weft_mailbox_keep(weft_mailbox *mailbox, int peer);

#ifdef __cplusplus
}
#endif
#endif
