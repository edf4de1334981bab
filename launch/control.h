// How rank 0 tells all ranks what to do next: one message a step, on its way while the step before it computes. And how
// any rank's signal reaches rank 0. Inside launch/ only.
#ifndef WEFT_LAUNCH_CONTROL_H
#define WEFT_LAUNCH_CONTROL_H

#include "comm/comm.h"

typedef struct wi_control wi_control;

weft_status wi_control_create(weft_comm *world, wi_control **out); // Collective, blocking
void wi_control_destroy(wi_control *control);                      // Local; accepts NULL

// Waits, for ever if need be, until rank 0 has done what it does alone; its failure becomes everybody's. Collective.
weft_status wi_control_wait(wi_control *control, weft_status status);

// Gives a message away, which rank 0 has and keeps until the end; the others' are not looked at. Collective, returns at
// once. Then *message is rank 0's on every rank, until the next begin.
weft_status wi_control_begin(wi_control *control, const void *message, size_t bytes);
weft_status wi_control_end(wi_control *control, const unsigned char **message, size_t *bytes);

// The signal that asked this rank to stop, or on rank 0 any rank, or 0. Every rank calls it now and then. Local.
int wi_control_signal(wi_control *control);

#endif
