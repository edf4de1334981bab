// What a point-to-point transport offers: MPI and UCX. comm/ builds every collective on these few calls, so that
// a new transport is one table. Ranks here are world ranks. Calls come from any thread, one at a time (comm/ holds a
// lock).
#ifndef WEFT_COMM_P2P_H
#define WEFT_COMM_P2P_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef struct {
    uint64_t handle[2]; // the transport's own
} wi_request;

// Memory of this rank that peers write into without its help.
typedef struct {
    void *handle;       // the transport's own
    unsigned char *key; // what a peer needs to write there; the transport's
    size_t key_bytes;
} wi_exposed;

typedef struct {
    weft_status (*expose)(void *memory, size_t bytes, wi_exposed *out); // bytes are not 0
    void (*hide)(wi_exposed *exposed);                                  // accepts a zeroed one
    // Makes of a peer's key what writes to it need.
    weft_status (*reach)(int peer, const void *key, void **out);
    void (*leave)(void *reached); // accepts NULL
    // Never blocks. `address` is the peer's, `data` stays the caller's until a later request of `arrive` is done: then
    // all that was put to that peer before lies there.
    weft_status (*put)(int to, void *reached, uint64_t address, const void *data, size_t bytes);
    weft_status (*arrive)(int to, wi_request *out); // tested as a message that was sent
} wi_p2p_puts;

typedef struct wi_p2p wi_p2p;
struct wi_p2p {
    const char *name;
    // Joins the ranks that the launcher started. Collective, blocking, once a process. `boot`: a table that is open and
    // brings the ranks together, which then *rank and *size say already; NULL where this one does that itself. It fails
    // on all ranks or on none.
    weft_status (*open)(const wi_p2p *boot, int *rank, int *size);
    // Start-up only: blocking, over all ranks, equal sizes. NULL where a boot is needed.
    weft_status (*allgather)(const void *mine, size_t bytes, void *all);
    // Never block. `data` stays the caller's and must stay alive until the request is done. Messages between two ranks
    // with one tag arrive in the order sent.
    weft_status (*send)(int to, uint32_t tag, const void *data, size_t bytes, wi_request *out);
    // The same for what may be large, in order only among themselves: nobody sends by both with one tag at a time.
    // NULL: as send.
    weft_status (*send_bulk)(int to, uint32_t tag, const void *data, size_t bytes, wi_request *out);
    weft_status (*recv)(int from, uint32_t tag, void *data, size_t capacity, wi_request *out);
    // Also drives progress. A done request is gone; *bytes is what a receive got.
    weft_status (*test)(wi_request *request, bool *done, size_t *bytes);
    // Is a message with this tag waiting, from anybody? Does not take it.
    weft_status (*probe)(uint32_t tag, bool *found, int *from, size_t *bytes);
    // Blocks until what was sent is in the peers' hands or the network's, at the latest until that time of
    // weft_clock_ns. NULL: done requests say as much.
    void (*flush)(int64_t until_ns);
    // The descriptor that becomes readable when there is something to test, for a caller that wants to sleep; -1: there
    // is something now, and all that is in flight wants a look before the next try. NULL: only looking tells.
    int (*arm)(void);
    // The first peer whose connection broke, a world rank, or -1. NULL: it cannot tell one from another failure.
    int (*lost)(void);
    const wi_p2p_puts *puts; // NULL: there are only messages
    // MPI's own sum over the world, blocking; NULL when the transport has none.
    weft_status (*allreduce_f32)(const float *in, float *out, size_t count);
    uint32_t tag_bits;             // tags are below 2^tag_bits; at least 22
    const char *(*describe)(void); // "Open MPI 4.1.4 (MPI 3.1), thread level multiple"
    // Collective, blocking, once: nothing works after it. Its boot is closed later. Not called when the job ends by
    // failure.
    void (*close)(void);
};

#endif
