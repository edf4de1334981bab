// Launches, and what the emulated device says of itself.
#include <map>
#include <stdio.h>
#include <stdlib.h>

#include "tests/emulator/run.h"

int emu_capability(void)
{
    static int capability = emu_setting("WEFT_EMULATOR_CAPABILITY", 90);
    return capability;
}

static size_t shared_limit(void) { return emu_capability() >= 90 ? EMU_SHARED_LIMIT_90 : EMU_SHARED_LIMIT_80; }

// A number that no tile divides, so that grids of as many blocks have loops that end unevenly.
static int processors(void) { return emu_setting("WEFT_EMULATOR_PROCESSORS", 5); }

cudaError_t cudaGetDeviceCount(int *out)
{
    *out = 1;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *out)
{
    *out = 0;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) { return emu_told(device == 0 ? cudaSuccess : cudaErrorInvalidDevice); }

cudaError_t cudaDriverGetVersion(int *out)
{
    *out = 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *out) { return cudaDriverGetVersion(out); }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *out, int device)
{
    if (device != 0) return emu_told(cudaErrorInvalidDevice);
    *out = {};
    snprintf(out->name, sizeof out->name, "emulated");
    out->totalGlobalMem = (size_t)16 << 30;
    out->sharedMemPerBlock = 48 * 1024;
    out->sharedMemPerBlockOptin = shared_limit();
    out->sharedMemPerMultiprocessor = shared_limit() + 1024;
    out->major = emu_capability() / 10, out->minor = emu_capability() % 10;
    out->multiProcessorCount = processors();
    out->maxThreadsPerBlock = EMU_THREADS_MAX;
    out->maxThreadsPerMultiProcessor = 2048;
    out->warpSize = 32;
    out->l2CacheSize = 4 << 20;
    out->managedMemory = out->concurrentManagedAccess = out->unifiedAddressing = 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *out, cudaDeviceAttr which, int device)
{
    cudaDeviceProp of;
    cudaError_t status = cudaGetDeviceProperties(&of, device);
    if (status != cudaSuccess) return status;
    switch (which) {
    case cudaDevAttrMaxThreadsPerBlock:
        *out = of.maxThreadsPerBlock;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
        *out = (int)of.sharedMemPerBlock;
        break;
    case cudaDevAttrMultiProcessorCount:
        *out = of.multiProcessorCount;
        break;
    case cudaDevAttrIntegrated:
        *out = of.integrated;
        break;
    case cudaDevAttrL2CacheSize:
        *out = of.l2CacheSize;
        break;
    case cudaDevAttrComputeCapabilityMajor:
        *out = of.major;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *out = of.minor;
        break;
    case cudaDevAttrManagedMemory:
        *out = of.managedMemory;
        break;
    case cudaDevAttrConcurrentManagedAccess:
        *out = of.concurrentManagedAccess;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *out = (int)of.sharedMemPerBlockOptin;
        break;
    case cudaDevAttrMemoryPoolsSupported:
        *out = 1;
        break;
    default:
        return emu_told(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

// ---- launches -------------------------------------------------------------------------------------------------------

// What each kernel may ask for beyond 48 KiB.
static std::map<const void *, int> &asked_for(void)
{
    static std::map<const void *, int> asked;
    return asked;
}

cudaError_t emu_attribute(const void *kernel, cudaFuncAttribute which, int value)
{
    EMU_ONE_AT_A_TIME;
    if (which != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || (size_t)value > shared_limit()) return emu_told(cudaErrorInvalidValue);
    asked_for()[kernel] = value;
    return cudaSuccess;
}

cudaError_t emu_occupancy(int *out, const void *, int threads, size_t shared)
{
    size_t by_shared = (shared_limit() + 1024) / (shared + 1024),
           by_threads = 2048 / (size_t)(threads > 0 ? threads : 1);
    *out = (int)(by_shared < by_threads ? by_shared : by_threads);
    return cudaSuccess;
}

cudaError_t emu_launch(const cudaLaunchConfig_t *config, const void *kernel, std::function<void(void)> call,
                       const void *const *pointers, int count)
{
    EMU_ONE_AT_A_TIME;
    dim3 grid = config->gridDim, threads = config->blockDim;
    size_t shared = config->dynamicSmemBytes;
    uint64_t all = (uint64_t)threads.x * threads.y * threads.z;
    if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
        return emu_told(cudaErrorInvalidConfiguration);
    if (all == 0 || all > EMU_THREADS_MAX || threads.z > 64) return emu_told(cudaErrorInvalidConfiguration);
    auto asked = asked_for().find(kernel);
    if (shared > 48 * 1024 && (asked == asked_for().end() || shared > (size_t)asked->second))
        return emu_told(cudaErrorInvalidValue);
    for (int i = 0; i < count; i++)
        if (pointers[i] && !emu_device_reaches(pointers[i], 0))
            emu_die(nullptr, 0, "%s: argument %d, %p, is not memory that the device reaches",
                    emu_name_of(kernel).c_str(), i + 1, pointers[i]);
    emu_give(
        config->stream, [=] { emu_run_grid(grid, threads, shared, call, kernel); }, kernel);
    return cudaSuccess;
}
