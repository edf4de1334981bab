// What devices of ranks do to each other: memory that other processes map, flags that are raised and awaited by kernels
// of one warp, and calls that run beside the ops. Nothing here makes the host wait, and all of it comes again where a
// step is a graph: so counters lie on the device, and no launch has a number of the step among its arguments.
#include "kernels/cuda/stream.cuh"

static wi_stream *stream_of(weft_device *device) { return (wi_stream *)device->state; }

static weft_op op_of(weft_device *device)
{
    weft_op op = {};
    op.stream = stream_of(device);
    return op;
}

static weft_status failed(const weft_device *device, const char *what, cudaError_t error)
{
    cudaGetLastError(); // it is told here, not by whoever asks next
    return weft_fail(WEFT_UNSUPPORTED, "%s: %s: %s (%s)", device->name, what, cudaGetErrorString(error),
                     cudaGetErrorName(error));
}

// ---- memory of other processes --------------------------------------------------------------------------------------

static weft_status share(weft_device *device, void *memory, weft_device_handle *out)
{
    cudaIpcMemHandle_t handle;
    static_assert(sizeof handle <= sizeof *out, "a handle of CUDA is one of ours");
    const cudaError_t status = cudaIpcGetMemHandle(&handle, memory);
    if (status != cudaSuccess) return failed(device, "its memory cannot be shared", status);
    memset(out, 0, sizeof *out);
    memcpy(out, &handle, sizeof handle);
    return WEFT_OK;
}

static weft_status map(weft_device *device, const weft_device_handle *from, size_t bytes, void **out)
{
    wi_stream *stream = stream_of(device);
    cudaIpcMemHandle_t handle;
    void *memory = NULL;
    memcpy(&handle, from, sizeof handle);
    const cudaError_t status = cudaIpcOpenMemHandle(&memory, handle, cudaIpcMemLazyEnablePeerAccess);
    if (status != cudaSuccess) return failed(device, "a peer's memory cannot be mapped", status);
    if (!wi_stream_hold(stream, memory, bytes)) {
        cudaIpcCloseMemHandle(memory);
        return weft_fail(WEFT_NO_MEMORY, "no memory for the list of memory");
    }
    *out = memory;
    return WEFT_OK;
}

static void unmap(weft_device *device, void *memory)
{
    if (!memory) return;
    wi_stream_drop(stream_of(device), memory);
    wi_stream_wait(stream_of(device));
    cudaIpcCloseMemHandle(memory);
}

// ---- flags ----------------------------------------------------------------------------------------------------------

static __global__ void raise_flags(uint32_t *counter, uint32_t by, weft_device_flags flags)
{
    const uint32_t now = *counter + by;
    __syncwarp();
    __threadfence_system();
    for (int i = (int)threadIdx.x; i < flags.count; i += WI_WARP) wi_word_set(flags.flag[i], now);
    if (threadIdx.x == 0) *counter = now;
}

// Somebody may never come: so it looks now and then whether the job ends.
static __global__ void await_flags(const uint32_t *counter, uint32_t behind, weft_device_flags flags,
                                   const uint32_t *cancel, uint64_t *waited)
{
    const uint32_t wanted = *counter - behind;
    const uint64_t began = wi_clock();
    for (int i = (int)threadIdx.x; i < flags.count; i += WI_WARP)
        for (unsigned looks = 1; (int32_t)(wi_word_get(flags.flag[i]) - wanted) < 0; looks++) {
            wi_word_pause();
            if (looks % 1024 == 0 && cancel && wi_word_get(cancel)) break;
        }
    __syncwarp();
    if (threadIdx.x == 0) wi_waited(waited, wi_clock() - began);
}

// Only what the ops themselves wait delays them.
static uint64_t *waited_at(weft_device *device)
{
    const wi_stream *stream = stream_of(device);
    return stream->now_on == WEFT_DEVICE_OPS ? stream->waited : NULL;
}

static void raise(weft_device *device, uint32_t *counter, uint32_t by, const weft_device_flags *flags)
{
    const weft_op op = op_of(device);
    wi_launch(&op, "raise", raise_flags, dim3(1), dim3(WI_WARP), 0, counter, by, *flags);
}

static void await(weft_device *device, const uint32_t *counter, uint32_t behind, const weft_device_flags *flags)
{
    const weft_op op = op_of(device);
    wi_launch(&op, "await", await_flags, dim3(1), dim3(WI_WARP), 0, counter, behind, *flags,
              stream_of(device)->watch.cancel, waited_at(device));
}

// ---- beside the ops -------------------------------------------------------------------------------------------------

static cudaError_t record_fork(const cudaLaunchConfig_t *config, const void *, const unsigned char *bytes)
{
    cudaEvent_t fork;
    memcpy(&fork, bytes, sizeof fork);
    return cudaEventRecord(fork, config->stream);
}

struct beside {
    cudaStream_t aside;
    cudaEvent_t fork, back;
    weft_device_call *fn;
};
enum { CALL_AT = (sizeof(beside) + 15) / 16 * 16 };

static cudaError_t call_beside(const cudaLaunchConfig_t *config, const void *, const unsigned char *bytes)
{
    beside b;
    memcpy(&b, bytes, sizeof b);
    cudaError_t status = cudaStreamWaitEvent(b.aside, b.fork, 0);
    if (status == cudaSuccess && b.fn(b.aside, bytes + CALL_AT) < 0) status = cudaErrorUnknown;
    if (status == cudaSuccess) status = cudaEventRecord(b.back, b.aside);
    return status == cudaSuccess ? cudaStreamWaitEvent(config->stream, b.back, 0) : status;
}

// What is brought home in one call.
enum { TOGETHER = 48 };
struct bringing {
    const uint32_t *counter, *cancel;
    uint32_t behind;
    int count;
    weft_device_flags flags;
    weft_device_piece piece[TOGETHER];
};
static_assert(CALL_AT + sizeof(bringing) <= WI_ARGUMENT_BYTES, "fits a call");

static weft_status bring_them(void *stream, const void *arg)
{
    bringing b;
    memcpy(&b, arg, sizeof b);
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(1);
    config.blockDim = dim3(WI_WARP);
    config.stream = (cudaStream_t)stream;
    cudaError_t status =
        cudaLaunchKernelEx(&config, await_flags, b.counter, b.behind, b.flags, b.cancel, (uint64_t *)NULL);
    for (int i = 0; i < b.count && status == cudaSuccess; i++)
        status = cudaMemcpyAsync(b.piece[i].to, b.piece[i].from, b.piece[i].bytes, cudaMemcpyDefault, config.stream);
    return status == cudaSuccess ? WEFT_OK : WEFT_FAILED;
}

static void submit(wi_stream *stream, const char *name,
                   cudaError_t (*what)(const cudaLaunchConfig_t *, const void *, const unsigned char *),
                   const unsigned char *bytes, size_t count)
{
    const wi_kernel_call work = {name, NULL, what, dim3(1), dim3(1), 0, count};
    wi_stream_submit(stream, &work, bytes);
}

// Made when they are first wanted.
static bool ready(wi_stream *stream, int which)
{
    cudaError_t status = cudaSuccess;
    if (!stream->aside) status = cudaStreamCreateWithFlags(&stream->aside, cudaStreamNonBlocking);
    if (status == cudaSuccess && !stream->back)
        status = cudaEventCreateWithFlags(&stream->back, cudaEventDisableTiming);
    if (status == cudaSuccess && !stream->fork[which])
        status = cudaEventCreateWithFlags(&stream->fork[which], cudaEventDisableTiming);
    wi_stream_note(stream, "fork", status);
    return status == cudaSuccess;
}

static void fork_here(weft_device *device, int which)
{
    wi_stream *stream = stream_of(device);
    alignas(16) unsigned char bytes[16] = {};
    if (!ready(stream, which)) return;
    memcpy(bytes, &stream->fork[which], sizeof stream->fork[which]);
    wi_tape_fork(stream->tape, which);
    submit(stream, "fork", record_fork, bytes, sizeof bytes);
}

static void call(weft_device *device, int which, weft_device_call *fn, const void *arg, size_t count)
{
    wi_stream *stream = stream_of(device);
    alignas(16) unsigned char bytes[WI_ARGUMENT_BYTES] = {};
    if (!ready(stream, which)) return;
    if (CALL_AT + count > sizeof bytes) {
        wi_stream_note(stream, "call", cudaErrorInvalidValue);
        return;
    }
    const beside b = {stream->aside, stream->fork[which], stream->back, fn};
    memcpy(bytes, &b, sizeof b);
    memcpy(bytes + CALL_AT, arg, count);
    wi_tape_call(stream->tape, which);
    submit(stream, "call", call_beside, bytes, CALL_AT + count);
}

static void bring(weft_device *device, int which, const uint32_t *counter, uint32_t behind,
                  const weft_device_flags *flags, const weft_device_piece *pieces, int count)
{
    bringing b = {counter, stream_of(device)->watch.cancel, behind, 0, *flags, {}};
    for (int first = 0; first == 0 || first < count; first += TOGETHER) {
        b.count = count - first < TOGETHER ? count - first : (int)TOGETHER;
        for (int i = 0; i < b.count; i++) b.piece[i] = pieces[first + i];
        call(device, which, bring_them, &b, sizeof b);
    }
}

static void forget(weft_device *device) { wi_tape_forget(stream_of(device)->tape); }

static void watch(weft_device *device, const weft_device_watch *by)
{
    wi_stream *stream = stream_of(device);
    stream->watch = by ? *by : weft_device_watch{};
    if (!by || stream->waited) return;
    // The device's own, and beside it where the host finds it.
    cudaError_t status = cudaMallocHost((void **)&stream->told, sizeof *stream->told);
    if (status == cudaSuccess) *stream->told = 0;
    if (status == cudaSuccess) status = cudaMalloc((void **)&stream->waited, 3 * sizeof *stream->waited);
    const uint64_t words[3] = {0, (uint64_t)(uintptr_t)stream->told, 0};
    if (status == cudaSuccess) status = cudaMemcpy(stream->waited, words, sizeof words, cudaMemcpyHostToDevice);
    if (status != cudaSuccess) stream->waited = NULL; // nobody is told then
    cudaGetLastError();
}

static uint64_t waited(weft_device *device)
{
    const uint64_t *told = stream_of(device)->told;
    return told ? __atomic_load_n(told, __ATOMIC_RELAXED) : 0;
}

const weft_device_links wi_links = {share,          map,    unmap, raise,  await,    fork_here, call, bring,
                                    wi_stream_turn, forget, watch, waited, waited_at};
