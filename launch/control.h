// How rank 0 of a replica tells its ranks what to do next: one message a step, on its way while the step before it
// computes; and how any of their signals reaches it. Between replicas go letters. Inside launch/ only.
#ifndef WEFT_LAUNCH_CONTROL_H
#define WEFT_LAUNCH_CONTROL_H

#include "comm/window.h"
#include "parallel/mesh.h"

typedef struct wi_control wi_control;

// Collective over the world, blocking. The replicas are borrowed.
weft_status wi_control_create(weft_comm *world, const weft_replicas *replicas, wi_control **out);
void wi_control_destroy(wi_control *control); // Local; accepts NULL
// Between rank 0 of all replicas; NULL on other ranks and where there is one replica.
weft_mailbox *wi_control_letters(wi_control *control);

// Waits, for ever if need be, until the world's rank 0 has done what it does alone; its failure becomes everybody's, as
// any other rank's. Collective over the world.
weft_status wi_control_wait(wi_control *control, weft_status status);

// Gives a message away, which rank 0 of the replica has and keeps until the end; the others' are not looked at.
// Collective over the replica, returns at once. Then *message is rank 0's on every rank, until the next begin.
weft_status wi_control_begin(wi_control *control, const void *message, size_t bytes);
weft_status wi_control_end(wi_control *control, const unsigned char **message, size_t *bytes);

// The signal that asked this rank to stop, or on rank 0 any rank of its replica, or 0. Every rank calls it now and
// then. Local.
int wi_control_signal(wi_control *control);

#endif
