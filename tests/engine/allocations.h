// Counts what a test's own objects allocate: the linker sends their calls here (allocations.c, --wrap).
#ifndef WEFT_TESTS_ENGINE_ALLOCATIONS_H
#define WEFT_TESTS_ENGINE_ALLOCATIONS_H

#include <stdint.h>

int64_t allocations_so_far(void);

#endif
