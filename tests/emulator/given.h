// Work for a stream from a library that is not linked with the emulator: what a cudaStream_t points to begins with
// this.
#ifndef WEFT_TESTS_EMULATOR_GIVEN_H
#define WEFT_TESTS_EMULATOR_GIVEN_H

#include <cuda_runtime.h>

struct emu_stream_head {
    // work(bytes) in the stream's order, with a copy of the bytes.
    void (*give)(struct emu_stream *stream, void (*work)(const void *bytes), const void *bytes, size_t count);
};

#endif
