// What every file of kernels/cuda/ begins with: the stream that ops run on, how a kernel is launched and how small
// arrays get to the device. Kernels are compiled by nvcc, and for tests by the host's compiler against an emulation of
// CUDA (tests/emulator), so nothing of CUDA is used but what stands in ptx.cuh, threads and blocks, __shared__,
// shuffles, votes, barriers and atomics on integers. No atomics on floats; contraction is off, so that fma is where it
// is written.
#ifndef WEFT_KERNELS_CUDA_CUDA_CUH
#define WEFT_KERNELS_CUDA_CUDA_CUH

#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <utility>

#include "kernels/cuda/ptx.cuh"
#include "kernels/device.h"

enum { WI_WARP = 32, WI_SHARED_MAX = 227 * 1024 }; // of a block on sm_90; sm_80 has 163 KiB

// What op->stream points to; defined in stream.cuh. One host thread uses it at a time.
struct wi_stream;
static inline wi_stream *wi_stream_of(const weft_op *op) { return (wi_stream *)op->stream; }

int wi_processors(const weft_op *op);     // multiprocessors
int wi_capability(const weft_op *op);     // 80, 90
size_t wi_block_bytes(const weft_op *op); // that a block may ask for

// Bytes of the device's memory from there to the end of what was allocated with it; 0 where that is not known.
size_t wi_reach(const weft_op *op, const void *memory);

// Keeps the first failure of the stream, for the device's sync to tell.
void wi_failed(const weft_op *op, const char *name, cudaError_t failure);

// Where a kernel can read what `host` points to: itself, if it is the device's memory, else a copy that lives until
// the ops given so far are done. NULL stays NULL.
const void *wi_arrive(const weft_op *op, const void *host, size_t bytes);
template <typename T> const T *wi_arrived(const weft_op *op, const T *host, size_t count)
{
    return (const T *)wi_arrive(op, host, count * sizeof(T));
}
// The same in two steps, for what is written in place: returns the host's side, `device` is where it will be. It must
// be written before the next wi_launch.
void *wi_arrive_room(const weft_op *op, size_t bytes, const void **device);

// ---- launches -------------------------------------------------------------------------------------------------------

enum { WI_ARGUMENTS_MAX = 16, WI_ARGUMENT_BYTES = 2048 };

// One launch as data.
struct wi_kernel_call {
    const char *name;
    const void *kernel;
    cudaError_t (*call)(const cudaLaunchConfig_t *config, const void *kernel, const unsigned char *bytes);
    dim3 grid, block;
    size_t shared;
    size_t bytes; // of the arguments
};

void wi_submit(const weft_op *op, const wi_kernel_call *work, const unsigned char *arguments);

// Where argument `which` of a kernel stands in the bytes of its arguments.
template <typename... Of> constexpr size_t wi_argument_at(size_t which)
{
    const size_t sizes[] = {sizeof(Of)..., 0}, aligns[] = {alignof(Of)..., 1};
    size_t at = 0;
    for (size_t i = 0; i < which; i++) at = (at + sizes[i] + aligns[i + 1] - 1) / aligns[i + 1] * aligns[i + 1];
    return at;
}

template <typename... Of, size_t... I>
cudaError_t wi_call_kernel_with(const cudaLaunchConfig_t *config, const void *kernel, const unsigned char *bytes,
                                std::index_sequence<I...>)
{
    return cudaLaunchKernelEx(config, (void (*)(Of...))kernel, *(const Of *)(bytes + wi_argument_at<Of...>(I))...);
}

template <typename... Of>
cudaError_t wi_call_kernel(const cudaLaunchConfig_t *config, const void *kernel, const unsigned char *bytes)
{
    return wi_call_kernel_with<Of...>(config, kernel, bytes, std::index_sequence_for<Of...>());
}

template <typename T> int wi_put(unsigned char *to, T value)
{
    memcpy(to, &value, sizeof value);
    return 0;
}

template <typename... Of, size_t... I>
void wi_put_all(unsigned char *bytes, std::index_sequence<I...>, const Of &...values)
{
    const int done[] = {0, wi_put<Of>(bytes + wi_argument_at<Of...>(I), values)...};
    (void)done;
}

// Launches on the op's stream, with its name for what goes wrong. A grid of nothing is nothing. The arguments are
// copied.
template <typename... Of, typename... Given>
void wi_launch(const weft_op *op, const char *name, void (*kernel)(Of...), dim3 grid, dim3 block, size_t shared,
               Given... given)
{
    static_assert(sizeof...(Of) == sizeof...(Given), "as many arguments as the kernel has");
    static_assert(wi_argument_at<Of...>(sizeof...(Of)) <= WI_ARGUMENT_BYTES, "arguments of a kernel");
    alignas(64) unsigned char bytes[WI_ARGUMENT_BYTES];
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    memset(bytes, 0, wi_argument_at<Of...>(sizeof...(Of)));
    wi_put_all<Of...>(bytes, std::index_sequence_for<Of...>(), Of(given)...);
    const wi_kernel_call work = {
        name, (const void *)kernel, wi_call_kernel<Of...>, grid, block, shared, wi_argument_at<Of...>(sizeof...(Of))};
    wi_submit(op, &work, bytes);
}

// By one thread of a launch: so long it waited for other ranks. The second word says where the host looks.
static __device__ __forceinline__ void wi_waited(uint64_t *waited, uint64_t ns)
{
    if (waited) *(volatile uint64_t *)(uintptr_t)waited[1] = waited[0] += ns;
}

static inline unsigned wi_grid_of(size_t count, size_t each) { return (unsigned)((count + each - 1) / each); }

// ---- the table's parts, each filled by its own files ----------------------------------------------------------------

void wi_cuda_gemm(weft_kernels *table);      // gemm_table.cu
void wi_cuda_attention(weft_kernels *table); // attention_table.cu
void wi_cuda_rows(weft_kernels *table);      // rows_table.cu
void wi_cuda_pick(weft_kernels *table);      // pick_table.cu
void wi_cuda_probe(weft_kernels *table);     // probe.cu

#endif
