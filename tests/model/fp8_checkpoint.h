// Checkpoints of e4m3 by blocks, made of others as their publishers do: matrices of layers with "_scale_inv" beside
// them, everything else as it was.
#ifndef WEFT_TESTS_MODEL_FP8_CHECKPOINT_H
#define WEFT_TESTS_MODEL_FP8_CHECKPOINT_H

#include <stdbool.h>

// Of the model in `from`, in the folder `to`, which is there. `half`: scales in bf16. `mixed`: v and down stay as they
// are.
typedef struct {
    const char *from, *to;
    int rows, columns;
    bool half, mixed;
} fp8_options;
void make_fp8(const fp8_options *options);

#endif
