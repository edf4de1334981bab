// Streams, events, graphs and copies. Work of a stream is done when someone waits for it, or at a point before that
// drawn by chance.
#include <deque>
#include <memory>
#include <stdio.h>
#include <stdlib.h>
#include <thread>
#include <unistd.h>

#include "tests/emulator/given.h"
#include "tests/emulator/run.h"

// ---- what was asked for ---------------------------------------------------------------------------------------------

// Told at the end in the file EMULATOR_COUNTS, a line a process: kernels launched one by one, graphs launched, and
// how often the host waited for all that a stream had to do.
static struct emu_counts {
    unsigned long long kernels, graphs, waits;
    ~emu_counts()
    {
        const char *path = getenv("EMULATOR_COUNTS");
        FILE *to = path ? fopen(path, "a") : NULL;
        if (!to) return;
        fprintf(to, "kernels %llu graphs %llu waits %llu\n", kernels, graphs, waits);
        fclose(to);
    }
} counts;

// ---- streams, events and graphs -------------------------------------------------------------------------------------

struct emu_graph {
    std::vector<emu_work> nodes;
    std::vector<const void *> kernels; // NULL for a node of another kind
};
static void give_bytes(emu_stream *to, void (*work)(const void *bytes), const void *bytes, size_t count)
{
    EMU_ONE_AT_A_TIME;
    std::shared_ptr<std::vector<unsigned char>> taken = std::make_shared<std::vector<unsigned char>>(
        (const unsigned char *)bytes, (const unsigned char *)bytes + count);
    emu_give(to, [work, taken] { work(taken->data()); });
}

struct emu_stream {
    emu_stream_head head = {give_bytes};
    std::deque<emu_work> work;
    uint64_t given, done; // in all
    unsigned flags;
    emu_graph *capture;
    bool origin; // where the capture began
};
struct emu_event {
    emu_stream *stream; // of the last record; NULL: none
    uint64_t after;
    emu_graph *capture;
};
static std::vector<emu_stream *> &streams = *new std::vector<emu_stream *>(); // kept to the end

static emu_stream *default_stream(void)
{
    static emu_stream *legacy;
    if (!legacy) streams.push_back(legacy = new emu_stream());
    return legacy;
}

static emu_stream *stream_of(cudaStream_t stream) { return stream ? stream : default_stream(); }

static bool aside; // a thread of its own does all work
static thread_local bool at_work;

// Work of another thread has to be waited for.
static bool elsewhere(void) { return aside && !at_work; }

static thread_local bool comes_again;

void emu_again(void) { comes_again = true; }

// Work that waits for another process comes again, to whoever is patient; meanwhile other streams go on.
static void run_until(emu_stream *stream, uint64_t count, bool patient = true)
{
    while (elsewhere() && stream->done < count) emu_breathe();
    while (stream->done < count && !stream->work.empty()) {
        emu_work work = std::move(stream->work.front());
        stream->work.pop_front();
        emu_let_touch(true);
        work();
        emu_let_touch(false);
        if (comes_again) {
            comes_again = false;
            stream->work.push_front(std::move(work));
            if (!patient) return;
            emu_breathe();
            continue;
        }
        stream->done++;
    }
}

static void run_all(emu_stream *stream) { run_until(stream, stream->given); }

// What host code waits for. EMULATOR_TELL=1 says at the end how often nothing was left then: a device runs dry.
static void wait_until(emu_stream *stream, uint64_t count)
{
    static uint64_t waits, dry;
    if (emu_setting("EMULATOR_TELL", 0)) {
        if (!waits++)
            atexit([] { fprintf(stderr, "emulator: %lu waits, %lu dry\n", (unsigned long)waits, (unsigned long)dry); });
        dry += count >= stream->given;
    }
    run_until(stream, count);
}

// All that orders itself against the default stream.
static void run_blocking(void)
{
    for (emu_stream *stream : streams)
        if (!(stream->flags & cudaStreamNonBlocking)) run_all(stream);
}

static uint32_t chance_below(uint32_t n)
{
    static uint64_t state = (uint64_t)emu_setting("WEFT_EMULATOR_SEED", 1) * 0x9e3779b97f4a7c15ull + 77;
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)((state >> 33) * n >> 31);
}

void emu_give(cudaStream_t to, emu_work work, const void *kernel)
{
    emu_stream *stream = stream_of(to);
    if (stream->capture) {
        stream->capture->nodes.push_back(std::move(work));
        stream->capture->kernels.push_back(kernel);
        return;
    }
    if (!to) run_blocking(); // the default stream comes after all of these
    counts.kernels += kernel != nullptr;
    stream->work.push_back(std::move(work));
    stream->given++;
    if (emu_setting("CUDA_LAUNCH_BLOCKING", 0)) run_all(stream);
    if (stream->given - stream->done > 256) run_until(stream, stream->given - 128);
    if (elsewhere()) return;
    if (chance_below(4) == 0)
        run_until(stream, stream->done + chance_below((uint32_t)(stream->given - stream->done) + 1));
}

// Ends at the program's end, before what it uses is gone.
static bool aside_ends;

static void work_aside(void)
{
    at_work = true;
    emu_watch_faults();
    for (bool idle = false;; idle = true) {
        if (idle) usleep(20);
        EMU_ONE_AT_A_TIME;
        if (aside_ends) return;
        const size_t first = streams.empty() ? 0 : chance_below((uint32_t)streams.size());
        for (size_t i = 0; i < streams.size(); i++) {
            emu_stream *next = streams[(first + i) % streams.size()];
            run_until(next, next->done + 1 + chance_below(16), false);
        }
    }
}

static void end_aside(void)
{
    EMU_ONE_AT_A_TIME;
    aside_ends = true;
}

void emu_work_aside(void)
{
    EMU_ONE_AT_A_TIME;
    if (aside) return;
    cudaDeviceSynchronize();
    aside = true;
    atexit(end_aside);
    std::thread(work_aside).detach();
}

cudaError_t cudaDeviceSynchronize(void)
{
    EMU_ONE_AT_A_TIME;
    counts.waits++;
    for (size_t i = 0; i < streams.size(); i++) {
        if (streams[i]->capture) return emu_told(cudaErrorStreamCaptureUnsupported);
        run_all(streams[i]);
    }
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags)
{
    EMU_ONE_AT_A_TIME;
    emu_stream *stream = new emu_stream();
    stream->flags = flags;
    streams.push_back(stream);
    *out = stream;
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *out) { return cudaStreamCreateWithFlags(out, cudaStreamDefault); }

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned flags, int)
{
    return cudaStreamCreateWithFlags(out, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    EMU_ONE_AT_A_TIME;
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == stream && stream) {
            run_all(stream);
            streams.erase(streams.begin() + (ptrdiff_t)i);
            delete stream;
            return cudaSuccess;
        }
    return emu_told(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    EMU_ONE_AT_A_TIME;
    if (stream_of(stream)->capture) return emu_told(cudaErrorStreamCaptureUnsupported);
    if (!stream) run_blocking();
    counts.waits++;
    wait_until(stream_of(stream), stream_of(stream)->given);
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    EMU_ONE_AT_A_TIME;
    emu_stream *of = stream_of(stream);
    if (of->capture) return emu_told(cudaErrorStreamCaptureUnsupported);
    if (elsewhere())
        emu_breathe();
    else
        run_until(of, of->done + chance_below(3));
    return of->done == of->given ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned)
{
    *out = new emu_event();
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *out) { return cudaEventCreateWithFlags(out, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return event ? cudaSuccess : emu_told(cudaErrorInvalidResourceHandle);
}

static bool is_stream(const emu_stream *stream)
{
    for (const emu_stream *one : streams)
        if (one == stream) return true;
    return false;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    EMU_ONE_AT_A_TIME;
    emu_stream *of = stream_of(stream);
    event->capture = of->capture;
    if (of->capture) return cudaSuccess;
    event->stream = of;
    event->after = of->given;
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    EMU_ONE_AT_A_TIME;
    if (event->capture) return emu_told(cudaErrorStreamCaptureUnsupported);
    if (is_stream(event->stream)) wait_until(event->stream, event->after);
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    EMU_ONE_AT_A_TIME;
    if (event->capture) return emu_told(cudaErrorStreamCaptureUnsupported);
    if (!is_stream(event->stream)) return cudaSuccess;
    if (elsewhere())
        emu_breathe();
    else if (event->stream->done < event->after)
        run_until(event->stream, event->stream->done + chance_below(3));
    return event->stream->done >= event->after ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    EMU_ONE_AT_A_TIME;
    if (cudaEventQuery(from) != cudaSuccess || cudaEventQuery(to) != cudaSuccess) return emu_told(cudaErrorNotReady);
    *ms = 1e-3f; // nothing here says anything about time
    return cudaSuccess;
}

static bool is_captured(const emu_graph *graph)
{
    for (const emu_stream *one : streams)
        if (one->capture == graph) return true;
    return false;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    EMU_ONE_AT_A_TIME;
    emu_stream *of = stream_of(stream), *other = event->stream;
    uint64_t after = event->after;
    if (event->capture && !is_captured(event->capture)) return emu_told(cudaErrorStreamCaptureInvalidated);
    if (event->capture) { // the stream joins the capture; its nodes are run in the order in which they were given
        of->capture = event->capture;
        return cudaSuccess;
    }
    if (of->capture) return emu_told(cudaErrorStreamCaptureUnsupported);
    if (other && other != of)
        emu_give(stream, [other, after] {
            if (is_stream(other)) run_until(other, after);
        });
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    EMU_ONE_AT_A_TIME;
    if (!stream || stream->capture) return emu_told(cudaErrorStreamCaptureUnsupported);
    stream->capture = new emu_graph();
    stream->origin = true;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out)
{
    EMU_ONE_AT_A_TIME;
    *out = nullptr;
    if (!stream || !stream->capture || !stream->origin) return emu_told(cudaErrorStreamCaptureInvalidated);
    *out = stream->capture;
    stream->origin = false;
    for (emu_stream *other : streams)
        if (other->capture == *out) other->capture = nullptr;
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *out)
{
    EMU_ONE_AT_A_TIME;
    *out = stream_of(stream)->capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long)
{
    *out = new emu_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream)
{
    EMU_ONE_AT_A_TIME;
    unsigned long long before = counts.kernels; // those of a graph are none of the host's
    for (size_t i = 0; i < graph->nodes.size(); i++) emu_give(stream, graph->nodes[i], graph->kernels[i]);
    counts.kernels = before;
    counts.graphs++;
    return cudaSuccess;
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t graph, cudaGraph_t other, cudaGraphExecUpdateResultInfo *out)
{
    EMU_ONE_AT_A_TIME;
    out->result = graph->kernels == other->kernels ? cudaGraphExecUpdateSuccess : cudaGraphExecUpdateError;
    if (out->result != cudaGraphExecUpdateSuccess) return emu_told(cudaErrorGraphExecUpdateFailure);
    graph->nodes = other->nodes;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) { return cudaGraphDestroy(graph); }

// ---- copies ---------------------------------------------------------------------------------------------------------

static bool pageable(const void *at) { return !emu_allocation_of(at, 1); }

static bool direction_fits(const void *at, size_t bytes, bool device)
{
    const emu_allocation *of = emu_allocation_of(at, 1);
    if (!of) return !device;
    if (!emu_allocation_of(at, bytes)) return false;
    return of->type == cudaMemoryTypeManaged || (of->type == cudaMemoryTypeDevice) == device;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    EMU_ONE_AT_A_TIME;
    if (bytes == 0) return cudaSuccess;
    if (kind != cudaMemcpyDefault &&
        (!direction_fits(to, bytes, kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) ||
         !direction_fits(from, bytes, kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice)))
        return emu_told(cudaErrorInvalidValue);
    bool capturing = stream_of(stream)->capture;
    if (pageable(from) && !capturing) { // the driver takes a copy before it returns
        std::shared_ptr<std::vector<unsigned char>> taken = std::make_shared<std::vector<unsigned char>>(
            (const unsigned char *)from, (const unsigned char *)from + bytes);
        emu_give(stream, [to, taken] { memcpy(to, taken->data(), taken->size()); });
    } else {
        emu_give(stream, [to, from, bytes] { memmove(to, from, bytes); });
    }
    if (pageable(to) && !capturing) wait_until(stream_of(stream), stream_of(stream)->given); // and this one waits
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    EMU_ONE_AT_A_TIME;
    cudaError_t status = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
    counts.waits++;
    run_all(default_stream());
    return status;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    EMU_ONE_AT_A_TIME;
    if (bytes == 0) return cudaSuccess;
    if (!emu_device_reaches(to, bytes)) return emu_told(cudaErrorInvalidValue);
    emu_give(stream, [to, value, bytes] { memset(to, value, bytes); });
    return cudaSuccess;
}

cudaError_t cudaMemset(void *to, int value, size_t bytes) { return cudaMemsetAsync(to, value, bytes, nullptr); }

cudaError_t cudaFreeAsync(void *at, cudaStream_t stream)
{
    EMU_ONE_AT_A_TIME;
    emu_give(stream, [at] { emu_release(at, false); });
    return cudaSuccess;
}
