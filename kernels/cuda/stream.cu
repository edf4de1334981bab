// Launches and arrivals.
#include "kernels/cuda/stream.cuh"

#include <sched.h>
#include <stdlib.h>

#include "core/clock.h"

int wi_processors(const weft_op *op) { return wi_stream_of(op)->processors; }
int wi_capability(const weft_op *op) { return wi_stream_of(op)->capability; }
size_t wi_block_bytes(const weft_op *op) { return wi_stream_of(op)->shared_bytes; }

void wi_stream_note(wi_stream *stream, const char *name, cudaError_t failure)
{
    if (failure == cudaSuccess || stream->failure != cudaSuccess) return;
    stream->failure = failure;
    stream->failed = name;
}

void wi_failed(const weft_op *op, const char *name, cudaError_t failure)
{
    wi_stream_note(wi_stream_of(op), name, failure);
}

// ---- whose memory ---------------------------------------------------------------------------------------------------

static size_t place_of(const wi_stream *stream, const unsigned char *at)
{
    size_t low = 0, high = stream->held_count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (stream->held[middle].end <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool wi_stream_hold(wi_stream *stream, const void *memory, size_t bytes)
{
    const unsigned char *begin = (const unsigned char *)memory;
    if (stream->held_count == stream->held_room) {
        const size_t room = stream->held_room ? 2 * stream->held_room : 64;
        wi_held *held = (wi_held *)realloc(stream->held, room * sizeof *held);
        if (!held) return false;
        stream->held = held;
        stream->held_room = room;
    }
    const size_t at = place_of(stream, begin);
    memmove(stream->held + at + 1, stream->held + at, (stream->held_count - at) * sizeof *stream->held);
    stream->held[at] = {begin, begin + bytes};
    stream->held_count++;
    return true;
}

void wi_stream_drop(wi_stream *stream, const void *memory)
{
    const size_t at = place_of(stream, (const unsigned char *)memory);
    if (at == stream->held_count || stream->held[at].begin != memory) return;
    stream->held_count--;
    memmove(stream->held + at, stream->held + at + 1, (stream->held_count - at) * sizeof *stream->held);
}

static bool holds(const wi_stream *stream, const void *memory)
{
    const unsigned char *at = (const unsigned char *)memory;
    const size_t place = place_of(stream, at);
    return place < stream->held_count && stream->held[place].begin <= at;
}

size_t wi_reach(const weft_op *op, const void *memory)
{
    const wi_stream *stream = wi_stream_of(op);
    const unsigned char *at = (const unsigned char *)memory;
    return holds(stream, at) ? (size_t)(stream->held[place_of(stream, at)].end - at) : 0;
}

// ---- waits ----------------------------------------------------------------------------------------------------------

// Where other ranks may never come, the wait is looked at from outside.
template <typename Query> static cudaError_t wait_for(const wi_stream *stream, Query query)
{
    enum { QUICK = 4096, BETWEEN_LOOKS = 64 };
    const weft_device_watch *watch = &stream->watch;
    cudaError_t status = cudaErrorNotReady;
    for (int i = 0; status == cudaErrorNotReady && i < QUICK; i++) status = query();
    if (status != cudaErrorNotReady) return status;
    watch->enter(watch->arg);
    for (unsigned i = 1; (status = query()) == cudaErrorNotReady; i++) {
        if (i % BETWEEN_LOOKS == 0) watch->look(watch->arg);
        sched_yield();
    }
    watch->leave(watch->arg);
    return status;
}

cudaError_t wi_stream_wait_event(wi_stream *stream, cudaEvent_t event)
{
    if (!stream->watch.enter) return cudaEventSynchronize(event);
    return wait_for(stream, [event] { return cudaEventQuery(event); });
}

// What ends, or not: a peer that is gone never comes, and then the process shall end all the same.
static bool comes_to_rest(cudaStream_t at)
{
    const int64_t until = weft_clock_ns() + INT64_C(5000000000);
    while (at && cudaStreamQuery(at) == cudaErrorNotReady) {
        if (weft_clock_ns() > until) return false;
        sched_yield();
    }
    return true;
}

// ---- arrivals -------------------------------------------------------------------------------------------------------

void wi_stream_send(wi_stream *stream)
{
    wi_slot *slot = &stream->slot[stream->now];
    if (slot->sent == slot->used) return;
    wi_stream_note(stream, "arrivals",
                   cudaMemcpyAsync(slot->arrived + slot->sent, slot->staged + slot->sent, slot->used - slot->sent,
                                   cudaMemcpyHostToDevice, stream->at));
    slot->sent = slot->used;
}

void wi_stream_next_slot(wi_stream *stream)
{
    wi_slot *slot = &stream->slot[stream->now];
    wi_stream_send(stream);
    // Both lanes read it.
    if (stream->apart) wi_stream_note(stream, "arrivals", wi_stream_meet(stream, stream->now_on));
    wi_stream_note(stream, "arrivals", cudaEventRecord(slot->read, stream->at));
    slot->reads = true;
    stream->now = (stream->now + 1) % WI_SLOTS;
    slot = &stream->slot[stream->now];
    if (slot->reads) wi_stream_note(stream, "arrivals", wi_stream_wait_event(stream, slot->read));
    slot->used = slot->sent = 0;
}

// A step on tape has all of its arrivals in one slot: where they do not fit, it is not kept.
void *wi_arrive_room(const weft_op *op, size_t bytes, const void **device)
{
    wi_stream *stream = wi_stream_of(op);
    const size_t whole = (bytes + 255) / 256 * 256;
    if (whole > WI_SLOT_BYTES) {
        wi_failed(op, "arrivals", cudaErrorMemoryAllocation);
        *device = stream->slot[stream->now].arrived;
        return NULL;
    }
    if (stream->slot[stream->now].used + whole > WI_SLOT_BYTES) {
        if (wi_tape_keeps(stream->tape)) wi_tape_end(stream);
        wi_stream_next_slot(stream);
    }
    wi_slot *slot = &stream->slot[stream->now];
    unsigned char *staged = slot->staged + slot->used;
    *device = slot->arrived + slot->used;
    slot->used += whole;
    return staged;
}

const void *wi_arrive(const weft_op *op, const void *host, size_t bytes)
{
    const void *device;
    if (!host || bytes == 0 || holds(wi_stream_of(op), host)) return host;
    void *staged = wi_arrive_room(op, bytes, &device);
    if (staged) memcpy(staged, host, bytes);
    return device;
}

// ---- launches -------------------------------------------------------------------------------------------------------

void wi_stream_run(wi_stream *stream, const wi_kernel_call *work, const unsigned char *arguments)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = work->grid;
    config.blockDim = work->block;
    config.dynamicSmemBytes = work->shared;
    config.stream = stream->at;
    // Before each launch: a kernel may have been launched with less in between, and what it may take is what was said
    // last.
    if (work->shared > 48 * 1024)
        wi_stream_note(
            stream, work->name,
            cudaFuncSetAttribute(work->kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)work->shared));
    wi_stream_note(stream, work->name, work->call(&config, work->kernel, arguments));
}

void wi_stream_submit(wi_stream *stream, const wi_kernel_call *work, const unsigned char *arguments)
{
    if (stream->failure != cudaSuccess) return; // the first failure is told; what follows it is of no use
    if (wi_tape_keeps(stream->tape)) {
        wi_tape_add(stream, work, arguments);
        return;
    }
    wi_stream_send(stream);
    wi_stream_run(stream, work, arguments);
}

void wi_submit(const weft_op *op, const wi_kernel_call *work, const unsigned char *arguments)
{
    wi_stream_submit(wi_stream_of(op), work, arguments);
}

static cudaError_t wait_for_lane(wi_stream *stream, weft_device_lane lane)
{
    const cudaStream_t at = stream->lane[lane];
    if (!stream->watch.enter) return cudaStreamSynchronize(at);
    return wait_for(stream, [at] { return cudaStreamQuery(at); });
}

cudaError_t wi_stream_wait(wi_stream *stream)
{
    const cudaError_t status = stream->apart ? wait_for_lane(stream, WEFT_DEVICE_BESIDE) : cudaSuccess;
    return status == cudaSuccess ? wait_for_lane(stream, WEFT_DEVICE_OPS) : status;
}

cudaError_t wi_stream_meet(wi_stream *stream, weft_device_lane lane)
{
    const weft_device_lane other = lane == WEFT_DEVICE_OPS ? WEFT_DEVICE_BESIDE : WEFT_DEVICE_OPS;
    const cudaError_t status = cudaEventRecord(stream->turned[other], stream->lane[other]);
    return status == cudaSuccess ? cudaStreamWaitEvent(stream->lane[lane], stream->turned[other], 0) : status;
}

// ---- a stream -------------------------------------------------------------------------------------------------------

cudaError_t wi_stream_init(wi_stream *stream)
{
    cudaError_t status = cudaStreamCreateWithFlags(&stream->lane[WEFT_DEVICE_OPS], cudaStreamNonBlocking);
    stream->at = stream->lane[WEFT_DEVICE_OPS];
    for (int i = 0; i < WI_SLOTS && status == cudaSuccess; i++) {
        wi_slot *slot = &stream->slot[i];
        status = cudaMallocHost((void **)&slot->staged, WI_SLOT_BYTES);
        if (status == cudaSuccess) status = cudaMalloc((void **)&slot->arrived, WI_SLOT_BYTES);
        if (status == cudaSuccess) status = cudaEventCreateWithFlags(&slot->read, cudaEventDisableTiming);
        if (status == cudaSuccess && !wi_stream_hold(stream, slot->arrived, WI_SLOT_BYTES))
            status = cudaErrorMemoryAllocation;
    }
    for (int i = 0; i < WEFT_DEVICE_MARKS && status == cudaSuccess; i++)
        status = cudaEventCreateWithFlags(&stream->mark[i], cudaEventDisableTiming);
    if (status == cudaSuccess) status = cudaEventCreate(&stream->began);
    if (status == cudaSuccess) status = cudaEventCreate(&stream->ended);
    return status == cudaSuccess ? wi_tape_create(&stream->tape) : status;
}

void wi_stream_fini(wi_stream *stream)
{
    for (cudaStream_t lane : stream->lane)
        if (!comes_to_rest(lane)) return; // all of it would wait
    if (!comes_to_rest(stream->aside)) return;
    wi_tape_destroy(stream->tape);
    wi_blas_close(stream->blas);
    for (int i = 0; i < WI_SLOTS; i++) {
        wi_slot *slot = &stream->slot[i];
        if (slot->read) cudaEventDestroy(slot->read);
        cudaFree(slot->arrived);
        cudaFreeHost(slot->staged);
    }
    for (int i = 0; i < WEFT_DEVICE_MARKS; i++)
        if (stream->mark[i]) cudaEventDestroy(stream->mark[i]);
    for (int i = 0; i < WEFT_DEVICE_FORKS; i++)
        if (stream->fork[i]) cudaEventDestroy(stream->fork[i]);
    cudaFree(stream->waited);
    cudaFreeHost(stream->told);
    if (stream->back) cudaEventDestroy(stream->back);
    if (stream->aside) cudaStreamDestroy(stream->aside);
    if (stream->began) cudaEventDestroy(stream->began);
    if (stream->ended) cudaEventDestroy(stream->ended);
    for (int i = 0; i < WEFT_DEVICE_LANES; i++) {
        if (stream->turned[i]) cudaEventDestroy(stream->turned[i]);
        if (stream->lane[i]) cudaStreamDestroy(stream->lane[i]);
    }
    free(stream->held);
}
