// What a point-to-point transport offers: MPI now, UCX later. comm/ builds every collective on these few calls, so that
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

typedef struct {
    const char *name;
    // Joins the ranks that the launcher started. Blocking, once a process.
    weft_status (*open)(int *rank, int *size);
    // Start-up only: blocking, over all ranks, equal sizes.
    weft_status (*allgather)(const void *mine, size_t bytes, void *all);
    // Never block. `data` stays the caller's and must stay alive until the request is done. Messages between two ranks
    // with one tag arrive in the order sent.
    weft_status (*send)(int to, uint32_t tag, const void *data, size_t bytes, wi_request *out);
    weft_status (*recv)(int from, uint32_t tag, void *data, size_t capacity, wi_request *out);
    // Also drives progress. A done request is gone; *bytes is what a receive got.
    weft_status (*test)(wi_request *request, bool *done, size_t *bytes);
    // Is a message with this tag waiting, from anybody? Does not take it.
    weft_status (*probe)(uint32_t tag, bool *found, int *from, size_t *bytes);
    // MPI's own sum over the world, blocking; NULL when the transport has none.
    weft_status (*allreduce_f32)(const float *in, float *out, size_t count);
    uint32_t tag_bits;             // tags are below 2^tag_bits; at least 22
    const char *(*describe)(void); // "Open MPI 4.1.4 (MPI 3.1), thread level multiple"
    // Collective, blocking, once: nothing works after it. Not called when the job ends by failure.
    void (*close)(void);
} wi_p2p;

#endif
