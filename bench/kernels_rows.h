// The row ops that `weft bench kernels` measures: what each does, and how much work that is. Inside bench/ only.
#ifndef WEFT_BENCH_KERNELS_ROWS_H
#define WEFT_BENCH_KERNELS_ROWS_H

#include "bench/kernels_impl.h"

typedef struct {
    int model; // WEFT_BENCH_*
    const char *name;
    int64_t width, heads, size, inner, words; // heads: of queries and of keys
} wi_row_model;

typedef enum { WI_ROW_WIDTH, WI_ROW_HEADS, WI_ROW_INNER, WI_ROW_WORDS } wi_row_kind;

enum { WI_ROW_SLOTS_MAX = 9, WI_ROW_LEAVES = 32 };

// One op on rows of one width. A copy of its data is some slots, each of rows x width f32: inputs first.
typedef struct {
    const wi_row_model *model;
    int64_t rows, width;
    size_t slot_bytes;
    const float *weight, *cos, *sin; // (width), (rows, size / 2)
    const int32_t *index, *position; // (rows)
    const uint64_t *draw;            // (rows)
    const weft_sampling *const *how; // (rows)
} wi_row_work;

// What an element costs: bytes that are read, written elsewhere, and changed in place; `steps` instructions of the
// vector unit, each as good as an fma.
typedef struct {
    const char *name;
    wi_row_kind kind;
    int slots;
    void (*run)(const weft_op *op, const wi_row_work *work, unsigned char *copy);
    double read, write, change, steps;
    bool weighs;            // reads a weight a column too
    bool chains;            // fewer than four rows wait for their sum's chain
    bool alone, splits;     // takes no team; shares even one row among it
    size_t result;          // the slot that a result lies in
    size_t result_bytes;    // of a row's result; 0: a row of the slot
    weft_sampling sampling; // where it draws
} wi_row_op;

extern const wi_row_op wi_row_ops[];
extern const size_t wi_row_op_count;

#endif
