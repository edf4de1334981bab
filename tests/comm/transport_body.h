// What every transport must do, written against comm.h alone: each test program runs it over another kind of job.
#ifndef WEFT_TESTS_COMM_TRANSPORT_BODY_H
#define WEFT_TESTS_COMM_TRANSPORT_BODY_H

#include "comm/comm.h"

typedef struct {
    const uint64_t *seeds; // [count] each draws what is done and the delays
    int count;
    const char *algorithms; // of the job's options: the channels must then have taken what is forced; or NULL
} transport_plan;

// Collective over the job; `plan` is a transport_plan. Everything that arrives is compared with what must arrive. At
// the end rank 0 prints one digest over all bytes that all ranks received, which is the same on every transport.
weft_status transport_body(weft_job *job, int rank, void *plan);

#endif
