// What the emulator's tests share: launches, numbers, and seeing a wrong kernel stopped.
#ifndef WEFT_TESTS_EMULATOR_SUPPORT_H
#define WEFT_TESTS_EMULATOR_SUPPORT_H

#include <cuda_runtime.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/cuda/ptx.cuh"
#include "tests/check.h"

#define CHECK_CUDA(call)                                                                                               \
    do {                                                                                                               \
        cudaError_t error_ = (call);                                                                                   \
        if (error_ != cudaSuccess) CHECK_FAIL("%s: %s", #call, cudaGetErrorName(error_));                              \
    } while (0)

template <typename... Of, typename... Given>
static cudaError_t start(void (*kernel)(Of...), dim3 grid, dim3 threads, size_t shared, cudaStream_t stream,
                         Given... given)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = grid, config.blockDim = threads, config.dynamicSmemBytes = shared, config.stream = stream;
    if (shared > 48 * 1024)
        CHECK_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared));
    return cudaLaunchKernelEx(&config, kernel, Of(given)...);
}

// Launches and waits.
template <typename... Of, typename... Given>
static void launch(void (*kernel)(Of...), dim3 grid, dim3 threads, size_t shared, Given... given)
{
    CHECK_CUDA(start(kernel, grid, threads, shared, nullptr, given...));
    CHECK_CUDA(cudaDeviceSynchronize());
}

template <typename T> static T *shared_array(size_t count)
{
    T *out;
    CHECK_CUDA(cudaMallocManaged(&out, count * sizeof(T)));
    memset((void *)out, 0, count * sizeof(T));
    return out;
}

static inline uint32_t number(uint32_t i)
{
    i = (i ^ 61) ^ (i >> 16), i *= 9, i ^= i >> 4, i *= 0x27d4eb2d, i ^= i >> 15;
    return i;
}
// A small bf16: sums of a few thousand products are exact in f32.
static inline uint16_t small_bf16(uint32_t i)
{
    return (uint16_t)(__float_as_uint((float)((int)(number(i) % 17) - 8) / 8) >> 16);
}
static inline double value_of(uint16_t bf16) { return (double)__uint_as_float((uint32_t)bf16 << 16); }

// The text with which a program ends that does `wrong`; it must not end well.
static inline const char *stopped(void (*wrong)(void))
{
    static char text[4096];
    int ends[2], status;
    CHECK(pipe(ends) == 0);
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        dup2(ends[1], 2);
        close(ends[0]), close(ends[1]);
        wrong();
        _exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    for (ssize_t got; used < sizeof text - 1 && (got = read(ends[0], text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)got;
    text[used] = '\0';
    close(ends[0]);
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        CHECK_FAIL("nothing stopped it: status %d, \"%s\"", status, text);
    return text;
}

// A wrong kernel is stopped with a line that holds `part`.
#define CHECK_STOPPED(wrong, part) CHECK_HAS(stopped(wrong), part)

#endif
