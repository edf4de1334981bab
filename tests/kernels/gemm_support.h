// Random weights and activations for the tests of the GEMM, and what the result must be, from the source alone.
#ifndef WEFT_TESTS_KERNELS_GEMM_SUPPORT_H
#define WEFT_TESTS_KERNELS_GEMM_SUPPORT_H

#include "kernels/device.h"
#include "kernels/kernels.h"
#include "tests/check.h"
#include "tests/kernels/on_device.h"

typedef enum { PLAIN, EXTREME } values;

// A weight to be. Zero means: no groups, no zeros, f32 scales, column form, linear levels, one source.
typedef struct {
    weft_dtype type, scale_type, zero_type;
    int64_t n, k;
    int group, scale_rows;
    bool positive; // scales
    bool zeros, codebook, permuted, gate;
    int sources; // stacked; 0 is 1
    values kind;
    const weft_gemm_leaves *leaves;
} weight_case;

// The sources of a case, which own their memory.
typedef struct {
    weight_case what;
    weft_gemm_source source[WEFT_SOURCES_MAX];
    int count;
    void *memory[3 * WEFT_SOURCES_MAX + 1];
    float codebook[16];
} sources;

typedef struct {
    weft_gemm_weight weight;
    void *memory;
} packed;

// The device of the test, or NULL. From then on all memory below is reached by host and device.
const on_device *device_open(void);
void device_close(void);
void *device_take(size_t bytes); // the host's where no device is open
void device_give(void *memory);

uint32_t random_bits(void);
void random_seed(uint32_t seed);
float random_float(values kind);  // about 1, or anything that f32 can hold
bool same_bits(float a, float b); // or both NaN

sources make_sources(const weight_case *what);
void free_sources(sources *s);
packed pack_weight(weft_family family, const sources *s, const weft_gemm_leaves *leaves, weft_team *team);
void free_packed(packed *p);

// The value of a row and column of the matrix as a family sees it, in double.
double value_of(const sources *s, weft_family family, int64_t row, int64_t k);
double rounded_activation(weft_family family, float a);

// Runs with scratch of just the right size and guards behind it; `table` may be of any level, or the device's.
void run_weight(const weft_kernels *table, weft_team *team, const packed *p, const weft_gemm_args *args);

// A matrix of floats with guards all round, off by 4 bytes from any alignment when `odd`.
typedef struct {
    float *at;
    size_t rows, columns, stride;
    unsigned char *memory;
    size_t bytes;
} matrix;
matrix matrix_make(size_t rows, size_t columns, bool odd);
void matrix_check(const matrix *m); // the guards and the gaps between rows are whole
void matrix_free(matrix *m);

#endif
