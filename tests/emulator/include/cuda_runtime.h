// Stands in for the CUDA toolkit's header where kernels are compiled for the host: tests/emulator/README.md.
#ifndef WEFT_TESTS_EMULATOR_CUDA_RUNTIME_H
#define WEFT_TESTS_EMULATOR_CUDA_RUNTIME_H

#include "tests/emulator/device.h"
#include "tests/emulator/host.h"

#endif
