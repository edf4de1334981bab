// What every transport must do, written against comm.h alone: each test program runs it over another kind of job.
#ifndef WEFT_TESTS_COMM_TRANSPORT_BODY_H
#define WEFT_TESTS_COMM_TRANSPORT_BODY_H

#include "comm/comm.h"

// Collective over the job. Everything that arrives is compared with what must arrive; `seed` also draws the delays.
weft_status transport_body(weft_job *job, int rank, void *seed);

#endif
