// The device as core knows it, and the plug-in. The same file makes the emulated device of the tests.
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/build.h"
#include "core/plugin.h"
#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/stream.cuh"

#ifndef WEFT_DEVICE_KIND
#define WEFT_DEVICE_KIND "cuda"
#define WEFT_DEVICE_PLUGIN weft_plugin_cuda
#endif

static wi_stream *stream_of(weft_device *device) { return (wi_stream *)device->state; }

static weft_status failed(const weft_device *device, const char *what, cudaError_t error)
{
    return weft_fail(WEFT_FAILED, "%s: %s: %s (%s)", device->name, what, cudaGetErrorString(error),
                     cudaGetErrorName(error));
}

static weft_status device_memory(weft_device *device, size_t *free_bytes, size_t *total_bytes)
{
    const cudaError_t status = cudaMemGetInfo(free_bytes, total_bytes);
    return status == cudaSuccess ? WEFT_OK : failed(device, "free memory", status);
}

static weft_status refuse(weft_device *device, size_t bytes)
{
    size_t free_bytes = 0, total_bytes = 0;
    cudaGetLastError(); // it is told here, not by whoever asks next
    if (cudaMemGetInfo(&free_bytes, &total_bytes) != cudaSuccess) free_bytes = total_bytes = 0;
    return weft_fail(WEFT_NO_MEMORY,
                     "%s: no memory for %zu MiB beside the %zu already held: %zu of %zu are free; use more ranks, or a "
                     "smaller model, batch or cache",
                     device->name, bytes >> 20, device->allocated >> 20, free_bytes >> 20, total_bytes >> 20);
}

static weft_status device_alloc(weft_device *device, size_t bytes, void **out)
{
    wi_stream *stream = stream_of(device);
    void *memory = NULL;
    if (bytes == 0) bytes = 1;
    if (cudaMalloc(&memory, bytes) != cudaSuccess) return refuse(device, bytes);
    cudaError_t status = cudaMemsetAsync(memory, 0, bytes, stream->at);
    if (status == cudaSuccess) status = wi_stream_wait(stream);
    if (status == cudaSuccess && !wi_stream_hold(stream, memory, bytes)) status = cudaErrorMemoryAllocation;
    if (status != cudaSuccess) {
        cudaFree(memory);
        return failed(device, "new memory", status);
    }
    *out = memory;
    return WEFT_OK;
}

static void device_free(weft_device *device, void *memory, size_t bytes)
{
    (void)bytes;
    if (!memory) return;
    wi_stream_drop(stream_of(device), memory);
    wi_stream_wait(stream_of(device));
    cudaFree(memory);
}

// What went wrong so far; `status` is what waiting said.
static weft_status outcome(weft_device *device, cudaError_t status)
{
    wi_stream *stream = stream_of(device);
    const cudaError_t first = stream->failure;
    const char *op = stream->failed;
    stream->failure = cudaSuccess;
    stream->failed = NULL;
    if (first != cudaSuccess) return failed(device, op, first);
    // An op that fails while it runs is known only by then, and everything later fails with it.
    return status == cudaSuccess ? WEFT_OK : failed(device, "an op that was running", status);
}

static weft_status device_sync(weft_device *device)
{
    wi_stream *stream = stream_of(device);
    wi_tape_end(stream);
    return outcome(device, wi_stream_wait(stream));
}

static void device_mark(weft_device *device, int which)
{
    wi_stream *stream = stream_of(device);
    wi_tape_end(stream);
    wi_stream_note(stream, "a mark", cudaEventRecord(stream->mark[which], stream->at));
}

static weft_status device_wait(weft_device *device, int which)
{
    return outcome(device, wi_stream_wait_event(stream_of(device), stream_of(device)->mark[which]));
}

static weft_status device_copy_in(weft_device *device, void *to, const void *host, size_t bytes)
{
    if (bytes == 0) return WEFT_OK;
    WEFT_TRY(device_sync(device));
    const cudaError_t status = cudaMemcpy(to, host, bytes, cudaMemcpyHostToDevice);
    return status == cudaSuccess ? WEFT_OK : failed(device, "copy to the device", status);
}

static weft_status device_copy_out(weft_device *device, void *host, const void *from, size_t bytes)
{
    if (bytes == 0) return WEFT_OK;
    WEFT_TRY(device_sync(device));
    const cudaError_t status = cudaMemcpy(host, from, bytes, cudaMemcpyDeviceToHost);
    return status == cudaSuccess ? WEFT_OK : failed(device, "copy from the device", status);
}

static void device_copy(weft_device *device, void *to, const void *from, size_t bytes)
{
    wi_stream *stream = stream_of(device);
    if (bytes == 0) return;
    wi_tape_end(stream);
    wi_stream_note(stream, "copy", cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream->at));
}

static void device_begin(weft_device *device) { wi_tape_begin(stream_of(device)); }
static void device_end(weft_device *device) { wi_tape_end(stream_of(device)); }

static void device_clock_start(weft_device *device)
{
    wi_stream *stream = stream_of(device);
    stream->clock_waits = wi_tape_keeps(stream->tape);
    if (!stream->clock_waits) wi_stream_note(stream, "clock", cudaEventRecord(stream->began, stream->at));
}

static weft_status device_clock_stop(weft_device *device, double *seconds)
{
    wi_stream *stream = stream_of(device);
    float ms = 0;
    wi_tape_end(stream);
    wi_stream_note(stream, "clock", cudaEventRecord(stream->ended, stream->at));
    WEFT_TRY(device_sync(device));
    const cudaError_t status = cudaEventElapsedTime(&ms, stream->began, stream->ended);
    if (status != cudaSuccess) return failed(device, "clock", status);
    *seconds = (double)ms * 1e-3;
    return WEFT_OK;
}

// Pages that are registered have the same address on the device.
static weft_status device_lend(weft_device *device, void *host, size_t bytes)
{
    wi_stream *stream = stream_of(device);
    const cudaError_t status = cudaHostRegister(host, bytes, cudaHostRegisterPortable | cudaHostRegisterMapped);
    if (status != cudaSuccess) return failed(device, "memory of the host for the device", status);
    if (wi_stream_hold(stream, host, bytes)) return WEFT_OK;
    cudaHostUnregister(host);
    return weft_fail(WEFT_NO_MEMORY, "no memory for the list of memory");
}

static void device_give_back(weft_device *device, void *host)
{
    wi_stream_drop(stream_of(device), host);
    wi_stream_wait(stream_of(device));
    cudaHostUnregister(host);
}

static void device_destroy(weft_device *device)
{
    if (device->state) wi_stream_fini(stream_of(device));
    free(device->state);
    free(device);
}

// In the order of the table: C++17 has no names here.
static const weft_device_ops device_ops = {
    WEFT_DEVICE_KIND, false,         device_alloc,       device_free,       device_copy_in,
    device_copy_out,  device_copy,   device_sync,        device_mark,       device_wait,
    device_begin,     device_end,    device_clock_start, device_clock_stop, device_lend,
    device_give_back, device_memory, device_destroy,     &wi_links,
};

// ---- the plug-in ----------------------------------------------------------------------------------------------------

static weft_status kind_count(int *out)
{
    const cudaError_t status = cudaGetDeviceCount(out);
    if (status == cudaSuccess) return WEFT_OK;
    *out = 0;
    cudaGetLastError();
    return weft_fail(WEFT_NOT_FOUND, "no CUDA device: %s (%s); is the driver loaded and new enough?",
                     cudaGetErrorString(status), cudaGetErrorName(status));
}

static uint64_t unit_of(const cudaDeviceProp *properties)
{
    uint64_t unit = UINT64_C(0xcbf29ce484222325);
    for (char byte : properties->uuid.bytes) unit = (unit ^ (unsigned char)byte) * UINT64_C(0x100000001b3);
    return unit | 1;
}

static cudaError_t describe(weft_device *device, wi_stream *stream)
{
    cudaDeviceProp properties;
    const cudaError_t status = cudaGetDeviceProperties(&properties, device->index);
    if (status != cudaSuccess) return status;
    snprintf(device->name, sizeof device->name, "%.60s (device %d)", properties.name, device->index);
    device->unit = unit_of(&properties);
    device->cache_bytes = (size_t)properties.l2CacheSize;
    stream->processors = properties.multiProcessorCount;
    stream->capability = properties.major * 10 + properties.minor;
    stream->shared_bytes = properties.sharedMemPerBlockOptin;
    return cudaSuccess;
}

static weft_status kind_open(int index, weft_device **out, weft_kernels *table, void **at)
{
    weft_device *device = (weft_device *)calloc(1, sizeof *device);
    wi_stream *stream = (wi_stream *)calloc(1, sizeof *stream);
    if (!device || !stream) {
        free(device);
        free(stream);
        return weft_fail(WEFT_NO_MEMORY, "no memory for a device");
    }
    device->ops = &device_ops;
    device->index = index;
    device->state = stream;
    stream->device = device;
    snprintf(device->name, sizeof device->name, "CUDA device %d", index);
    cudaError_t status = cudaSetDevice(index);
    if (status == cudaSuccess) status = describe(device, stream);
    if (status == cudaSuccess) status = wi_stream_init(stream);
    if (status != cudaSuccess) {
        const weft_status said = failed(device, "cannot be opened", status);
        cudaGetLastError();
        device_destroy(device);
        return said;
    }
    *table = weft_kernels{};
    table->capability = stream->capability;
    wi_cuda_gemm(table);
    wi_cuda_attention(table);
    wi_cuda_rows(table);
    wi_cuda_pick(table);
    wi_cuda_probe(table);
    *out = device;
    *at = stream;
    return WEFT_OK;
}

static weft_status kind_alloc_shared(weft_device *device, size_t bytes, void **out)
{
    cudaError_t status = cudaMallocManaged(out, bytes ? bytes : 1, cudaMemAttachGlobal);
    if (status == cudaSuccess && !wi_stream_hold(stream_of(device), *out, bytes ? bytes : 1))
        status = cudaErrorMemoryAllocation;
    return status == cudaSuccess ? WEFT_OK : failed(device, "memory that is shared", status);
}

static void kind_free_shared(weft_device *device, void *memory)
{
    if (!memory) return;
    wi_stream_drop(stream_of(device), memory);
    wi_stream_wait(stream_of(device));
    cudaFree(memory);
}

static weft_status kind_bus(int index, char bus[16])
{
    cudaDeviceProp properties;
    const cudaError_t status = cudaGetDeviceProperties(&properties, index);
    bus[0] = 0;
    if (status != cudaSuccess) {
        cudaGetLastError();
        return weft_fail(WEFT_FAILED, "CUDA device %d: %s", index, cudaGetErrorString(status));
    }
    if (properties.pciDomainID || properties.pciBusID || properties.pciDeviceID)
        snprintf(bus, 16, "%04x:%02x:%02x.0", (unsigned)properties.pciDomainID & 0xffff,
                 (unsigned)properties.pciBusID & 0xff, (unsigned)properties.pciDeviceID & 0xff);
    return WEFT_OK;
}

static weft_status kind_open_blas(weft_device *device, weft_kernels *table)
{
    wi_stream *stream = stream_of(device);
    if (!stream->blas) WEFT_TRY(wi_blas_open(&stream->blas));
    table->gemm.run[WEFT_FAMILY_BLAS] = wi_cuda_gemm_blas;
    return WEFT_OK;
}

static const weft_device_kind kind = {
    WEFT_DEVICE_KIND, kind_count, kind_open, kind_alloc_shared, kind_free_shared, kind_bus, kind_open_blas,
};

extern "C" __attribute__((visibility("default"))) const weft_plugin WEFT_DEVICE_PLUGIN;
const weft_plugin WEFT_DEVICE_PLUGIN = {WEFT_DEVICE_KIND, WEFT_BUILD_ID, &kind};
