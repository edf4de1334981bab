// The runtime's side that host code calls. Work given to a stream waits there until something must be done with it, so
// that what reads too early sees that it does.
#ifndef WEFT_TESTS_EMULATOR_HOST_H
#define WEFT_TESTS_EMULATOR_HOST_H

#include "tests/emulator/types.h"

// name, the toolkit's number, text
#define EMU_CUDA_ERROR_LIST(X)                                                                                         \
    X(cudaSuccess, 0, "no error")                                                                                      \
    X(cudaErrorInvalidValue, 1, "invalid argument")                                                                    \
    X(cudaErrorMemoryAllocation, 2, "out of memory")                                                                   \
    X(cudaErrorInvalidConfiguration, 9, "invalid configuration argument")                                              \
    X(cudaErrorInvalidMemcpyDirection, 21, "invalid copy direction for memcpy")                                        \
    X(cudaErrorInsufficientDriver, 35, "CUDA driver version is insufficient for CUDA runtime version")                 \
    X(cudaErrorInvalidDeviceFunction, 98, "invalid device function")                                                   \
    X(cudaErrorNoDevice, 100, "no CUDA-capable device is detected")                                                    \
    X(cudaErrorInvalidDevice, 101, "invalid device ordinal")                                                           \
    X(cudaErrorInvalidResourceHandle, 400, "invalid resource handle")                                                  \
    X(cudaErrorNotReady, 600, "device not ready")                                                                      \
    X(cudaErrorIllegalAddress, 700, "an illegal memory access was encountered")                                        \
    X(cudaErrorHostMemoryAlreadyRegistered, 712, "part or all of the requested memory range is already mapped")        \
    X(cudaErrorHostMemoryNotRegistered, 713, "pointer does not correspond to a registered memory region")              \
    X(cudaErrorLaunchFailure, 719, "unspecified launch failure")                                                       \
    X(cudaErrorNotSupported, 801, "operation not supported")                                                           \
    X(cudaErrorStreamCaptureUnsupported, 900, "operation not permitted when stream is capturing")                      \
    X(cudaErrorStreamCaptureInvalidated, 901, "operation failed due to a previous error during capture")               \
    X(cudaErrorGraphExecUpdateFailure, 910, "the graph update was not performed because it included changes")          \
    X(cudaErrorUnknown, 999, "unknown error")
#define EMU_CUDA_ERROR(name, number, text) name = number,
enum cudaError_t { EMU_CUDA_ERROR_LIST(EMU_CUDA_ERROR) };
typedef cudaError_t cudaError;

typedef struct emu_stream *cudaStream_t;
typedef struct emu_event *cudaEvent_t;
typedef struct emu_graph *cudaGraph_t;
typedef struct emu_graph *cudaGraphExec_t;

enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice, cudaMemoryTypeManaged };
enum cudaStreamCaptureMode {
    cudaStreamCaptureModeGlobal,
    cudaStreamCaptureModeThreadLocal,
    cudaStreamCaptureModeRelaxed
};
enum cudaStreamCaptureStatus {
    cudaStreamCaptureStatusNone,
    cudaStreamCaptureStatusActive,
    cudaStreamCaptureStatusInvalidated
};
enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributePreferredSharedMemoryCarveout = 9
};
enum cudaDeviceAttr {
    cudaDevAttrMaxThreadsPerBlock = 1,
    cudaDevAttrMaxSharedMemoryPerBlock = 8,
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrIntegrated = 18,
    cudaDevAttrL2CacheSize = 38,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrManagedMemory = 83,
    cudaDevAttrConcurrentManagedAccess = 89,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
    cudaDevAttrMemoryPoolsSupported = 115
};
enum cudaGraphExecUpdateResult { cudaGraphExecUpdateSuccess, cudaGraphExecUpdateError };
enum {
    cudaStreamDefault = 0,
    cudaStreamNonBlocking = 1,
    cudaEventDefault = 0,
    cudaEventBlockingSync = 1,
    cudaEventDisableTiming = 2,
    cudaHostAllocDefault = 0,
    cudaHostAllocPortable = 1,
    cudaHostAllocMapped = 2,
    cudaHostRegisterDefault = 0,
    cudaHostRegisterPortable = 1,
    cudaHostRegisterMapped = 2,
    cudaMemAttachGlobal = 1,
    cudaStreamCaptureDefaultFlags = 0,
    cudaIpcMemLazyEnablePeerAccess = 1
};
enum { EMU_IPC_BYTES = 2 << 20 }; // memory of so many bytes, or a multiple, can be mapped by other processes

struct cudaIpcMemHandle_t {
    char reserved[64];
};

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem, sharedMemPerBlock, sharedMemPerBlockOptin, sharedMemPerMultiprocessor;
    int major, minor, multiProcessorCount, maxThreadsPerBlock, maxThreadsPerMultiProcessor, warpSize, l2CacheSize;
    int memoryBusWidth, integrated, managedMemory, concurrentManagedAccess, unifiedAddressing;
    int pciDomainID, pciBusID, pciDeviceID;
    struct {
        char bytes[16];
    } uuid;
};
struct cudaPointerAttributes {
    cudaMemoryType type;
    int device;
    void *devicePointer, *hostPointer;
};
struct cudaLaunchAttribute {
    int id;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    unsigned numAttrs;
};
struct cudaGraphExecUpdateResultInfo {
    cudaGraphExecUpdateResult result;
};

// Calls that are as in the toolkit, and each with its arguments.
#define EMU_CUDA_CALL_LIST(X)                                                                                          \
    X(cudaGetDeviceCount, (int *out))                                                                                  \
    X(cudaGetDevice, (int *out))                                                                                       \
    X(cudaSetDevice, (int device))                                                                                     \
    X(cudaGetDeviceProperties, (cudaDeviceProp * out, int device))                                                     \
    X(cudaDeviceGetAttribute, (int *out, cudaDeviceAttr which, int device))                                            \
    X(cudaDriverGetVersion, (int *out))                                                                                \
    X(cudaRuntimeGetVersion, (int *out))                                                                               \
    X(cudaDeviceSynchronize, (void))                                                                                   \
    X(cudaGetLastError, (void))                                                                                        \
    X(cudaPeekAtLastError, (void))                                                                                     \
    X(cudaMemGetInfo, (size_t * free_bytes, size_t * total_bytes))                                                     \
    X(cudaPointerGetAttributes, (cudaPointerAttributes * out, const void *at))                                         \
    X(cudaFree, (void *at))                                                                                            \
    X(cudaFreeHost, (void *at))                                                                                        \
    X(cudaIpcGetMemHandle, (cudaIpcMemHandle_t * out, void *at))                                                       \
    X(cudaIpcOpenMemHandle, (void **out, cudaIpcMemHandle_t from, unsigned flags))                                     \
    X(cudaIpcCloseMemHandle, (void *at))                                                                               \
    X(cudaFreeAsync, (void *at, cudaStream_t stream))                                                                  \
    X(cudaHostRegister, (void *at, size_t bytes, unsigned flags))                                                      \
    X(cudaHostUnregister, (void *at))                                                                                  \
    X(cudaMemcpy, (void *to, const void *from, size_t bytes, cudaMemcpyKind kind))                                     \
    X(cudaMemcpyAsync, (void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream))           \
    X(cudaMemset, (void *to, int value, size_t bytes))                                                                 \
    X(cudaMemsetAsync, (void *to, int value, size_t bytes, cudaStream_t stream))                                       \
    X(cudaStreamCreate, (cudaStream_t * out))                                                                          \
    X(cudaStreamCreateWithFlags, (cudaStream_t * out, unsigned flags))                                                 \
    X(cudaStreamCreateWithPriority, (cudaStream_t * out, unsigned flags, int priority))                                \
    X(cudaStreamDestroy, (cudaStream_t stream))                                                                        \
    X(cudaStreamSynchronize, (cudaStream_t stream))                                                                    \
    X(cudaStreamQuery, (cudaStream_t stream))                                                                          \
    X(cudaEventCreate, (cudaEvent_t * out))                                                                            \
    X(cudaEventCreateWithFlags, (cudaEvent_t * out, unsigned flags))                                                   \
    X(cudaEventDestroy, (cudaEvent_t event))                                                                           \
    X(cudaEventRecord, (cudaEvent_t event, cudaStream_t stream))                                                       \
    X(cudaEventSynchronize, (cudaEvent_t event))                                                                       \
    X(cudaEventQuery, (cudaEvent_t event))                                                                             \
    X(cudaEventElapsedTime, (float *ms, cudaEvent_t from, cudaEvent_t to))                                             \
    X(cudaStreamBeginCapture, (cudaStream_t stream, cudaStreamCaptureMode mode))                                       \
    X(cudaStreamEndCapture, (cudaStream_t stream, cudaGraph_t * out))                                                  \
    X(cudaStreamIsCapturing, (cudaStream_t stream, cudaStreamCaptureStatus * out))                                     \
    X(cudaGraphLaunch, (cudaGraphExec_t graph, cudaStream_t stream))                                                   \
    X(cudaGraphDestroy, (cudaGraph_t graph))                                                                           \
    X(cudaGraphExecDestroy, (cudaGraphExec_t graph))                                                                   \
    X(cudaGraphExecUpdate, (cudaGraphExec_t graph, cudaGraph_t other, cudaGraphExecUpdateResultInfo * out))
#define EMU_CUDA_CALL(name, arguments) EMU_HIDDEN cudaError_t name arguments;
EMU_CUDA_CALL_LIST(EMU_CUDA_CALL)

EMU_HIDDEN const char *cudaGetErrorString(cudaError_t error);
EMU_HIDDEN const char *cudaGetErrorName(cudaError_t error);
EMU_HIDDEN cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
EMU_HIDDEN cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long flags = 0);

EMU_HIDDEN cudaError_t emu_alloc(void **out, size_t bytes, cudaMemoryType type);
template <typename T> cudaError_t cudaMalloc(T **out, size_t bytes)
{
    return emu_alloc((void **)out, bytes, cudaMemoryTypeDevice);
}
template <typename T> cudaError_t cudaMallocAsync(T **out, size_t bytes, cudaStream_t)
{
    return emu_alloc((void **)out, bytes, cudaMemoryTypeDevice);
}
template <typename T> cudaError_t cudaMallocHost(T **out, size_t bytes, unsigned = 0)
{
    return emu_alloc((void **)out, bytes, cudaMemoryTypeHost);
}
template <typename T> cudaError_t cudaHostAlloc(T **out, size_t bytes, unsigned)
{
    return emu_alloc((void **)out, bytes, cudaMemoryTypeHost);
}
template <typename T> cudaError_t cudaMallocManaged(T **out, size_t bytes, unsigned = cudaMemAttachGlobal)
{
    return emu_alloc((void **)out, bytes, cudaMemoryTypeManaged);
}

// ---- launches -------------------------------------------------------------------------------------------------------

EMU_HIDDEN cudaError_t emu_attribute(const void *kernel, cudaFuncAttribute which, int value);
EMU_HIDDEN cudaError_t emu_occupancy(int *out, const void *kernel, int threads, size_t shared);
// `pointers` are the arguments that are pointers: they must be memory that a device reaches.
EMU_HIDDEN cudaError_t emu_launch(const cudaLaunchConfig_t *config, const void *kernel, std::function<void(void)> call,
                                  const void *const *pointers, int count);

template <typename Kernel> cudaError_t cudaFuncSetAttribute(Kernel kernel, cudaFuncAttribute which, int value)
{
    return emu_attribute((const void *)kernel, which, value);
}
template <typename Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *out, Kernel kernel, int threads, size_t shared)
{
    return emu_occupancy(out, (const void *)kernel, threads, shared);
}
template <typename T> const void *emu_pointer_of(const T &) { return nullptr; }
template <typename T> const void *emu_pointer_of(T *const &pointer) { return (const void *)pointer; }
template <typename... Of, typename... Given>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(Of...), Given &&...given)
{
    std::tuple<Of...> arguments(static_cast<Of>(given)...);
    const void *pointers[sizeof...(Of) + 1] = {};
    int count = 0;
    std::apply([&](const Of &...of) { ((pointers[count++] = emu_pointer_of(of)), ...); }, arguments);
    return emu_launch(
        config, (const void *)kernel, [kernel, arguments] { std::apply(kernel, arguments); }, pointers, count);
}

#endif
