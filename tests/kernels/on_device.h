// The device that a test of kernels is run on as well: WEFT_WALK_DEVICE is cuda or emulated. A test that is to be and
// cannot says why and is skipped, so each device is a test of its own, by name.
#ifndef WEFT_TESTS_KERNELS_ON_DEVICE_H
#define WEFT_TESTS_KERNELS_ON_DEVICE_H

#include <stdbool.h>

#include "kernels/device.h"

typedef struct {
    const weft_device_kind *kind;
    weft_device *device;
    weft_kernels table;
    void *stream;
    bool emulated; // slow: fewer cases will do
} on_device;

// False where no device is asked for. Where WEFT_CUBLASLT names a library, its family is there too. Each launch is
// waited for, so that a test may look at what an op wrote.
bool on_device_open(on_device *out);

#endif
