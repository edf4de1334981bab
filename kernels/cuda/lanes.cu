// Two lanes: the stream of the ops, and one for what shall go on beside them, as sums of rows that are exchanged while
// the next rows are multiplied. Turning is work like any other, so a step on tape turns when it is run, and its graph
// has both lanes in it.
#include "kernels/cuda/stream.cuh"

// Small kernels that others wait for go before the blocks of a GEMM that are not started yet. What is beyond the range
// of priorities is its end.
enum { PRIORITY = -8 };

struct turning {
    wi_stream *stream;
    weft_device_lane lane;
    bool meets;
};

static cudaError_t turn_now(const cudaLaunchConfig_t *, const void *, const unsigned char *bytes)
{
    turning t;
    memcpy(&t, bytes, sizeof t);
    t.stream->at = t.stream->lane[t.lane];
    return t.meets ? wi_stream_meet(t.stream, t.lane) : cudaSuccess;
}

static void submit(wi_stream *stream, weft_device_lane lane, bool meets)
{
    alignas(16) unsigned char bytes[(sizeof(turning) + 15) / 16 * 16] = {};
    const wi_kernel_call work = {"turn", NULL, turn_now, dim3(1), dim3(1), 0, sizeof bytes};
    turning t;
    memset(&t, 0, sizeof t); // gaps count where steps are compared
    t.stream = stream;
    t.lane = lane;
    t.meets = meets;
    memcpy(bytes, &t, sizeof t);
    wi_stream_submit(stream, &work, bytes);
}

// What the ops wait for the other lane: from when they could go on to when they do. A thread each.
static __global__ void note_arrival(uint64_t *waited) { waited[2] = wi_clock(); }
static __global__ void note_departure(uint64_t *waited) { wi_waited(waited, wi_clock() - waited[2]); }

// Made when it is first wanted.
static bool ready(wi_stream *stream)
{
    cudaStream_t *beside = &stream->lane[WEFT_DEVICE_BESIDE];
    cudaError_t status = cudaSuccess;
    if (!*beside) status = cudaStreamCreateWithPriority(beside, cudaStreamNonBlocking, PRIORITY);
    for (int i = 0; i < WEFT_DEVICE_LANES && status == cudaSuccess; i++)
        if (!stream->turned[i]) status = cudaEventCreateWithFlags(&stream->turned[i], cudaEventDisableTiming);
    wi_stream_note(stream, "turn", status);
    return status == cudaSuccess;
}

void wi_stream_turn(weft_device *device, weft_device_lane lane, bool behind)
{
    wi_stream *stream = (wi_stream *)device->state;
    const bool joins = lane == WEFT_DEVICE_OPS && behind;
    weft_op op = {};
    op.stream = stream;
    if (!ready(stream)) return;
    stream->now_on = lane;
    submit(stream, lane, behind && !joins);
    if (lane == WEFT_DEVICE_BESIDE) stream->apart = true;
    if (!joins) return;
    if (stream->waited) wi_launch(&op, "turn", note_arrival, dim3(1), dim3(1), 0, stream->waited);
    submit(stream, lane, true);
    if (stream->waited) wi_launch(&op, "turn", note_departure, dim3(1), dim3(1), 0, stream->waited);
    stream->apart = false;
}
