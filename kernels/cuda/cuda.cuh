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

#include "kernels/cuda/ptx.cuh"
#include "kernels/kernels.h"

struct weft_device;

enum { WI_WARP = 32, WI_SHARED_MAX = 227 * 1024 }; // of a block on sm_90; sm_80 has 163 KiB

// What op->stream points to. One host thread uses it at a time.
struct wi_stream {
    weft_device *device;
    cudaStream_t at;
    int processors;      // multiprocessors
    int capability;      // 80, 90
    size_t shared_bytes; // that a block may ask for
    // small arrays on their way: written on the host, copied to the same place on the device
    unsigned char *staged, *arrived;
    size_t room, used;
    // the first failure since the last sync
    cudaError_t failure;
    const char *failed; // the op
};

static inline wi_stream *wi_stream_of(const weft_op *op) { return (wi_stream *)op->stream; }

void wi_failed(wi_stream *stream, const char *name, cudaError_t failure);
// Where a kernel can read what `host` points to: itself, if it is the device's memory, else a copy that lives until
// the ops given so far are done. NULL stays NULL.
const void *wi_arrive(const weft_op *op, const void *host, size_t bytes);
template <typename T> const T *wi_arrived(const weft_op *op, const T *host, size_t count)
{
    return (const T *)wi_arrive(op, host, count * sizeof(T));
}
// The same in two steps, for what is written in place: returns the host's side, `device` is where it will be. It must
// be written before the next wi_launch.
void *wi_arrive_room(const weft_op *op, size_t bytes, void **device);

// Launches on the op's stream. More than 48 KiB of shared memory is asked for here. A grid of nothing is nothing.
template <typename... Of, typename... Given>
void wi_launch(const weft_op *op, const char *name, void (*kernel)(Of...), dim3 grid, dim3 block, size_t shared,
               Given... given)
{
    wi_stream *stream = wi_stream_of(op);
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = stream->at;
    cudaError_t status = cudaSuccess;
    if (shared > 48 * 1024)
        status = cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    if (status == cudaSuccess) status = cudaLaunchKernelEx(&config, kernel, Of(given)...);
    if (status != cudaSuccess) wi_failed(stream, name, status);
}

static inline unsigned wi_blocks(size_t count, size_t each) { return (unsigned)((count + each - 1) / each); }

// ---- the table's parts, each filled by its own files ----------------------------------------------------------------

void wi_cuda_gemm(weft_kernels *table);      // gemm_table.cu
void wi_cuda_attention(weft_kernels *table); // attention_table.cu
void wi_cuda_rows(weft_kernels *table);      // rows_table.cu
void wi_cuda_pick(weft_kernels *table);      // pick_table.cu

#endif
