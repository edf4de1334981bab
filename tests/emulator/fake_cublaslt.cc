// cuBLASLt as far as weft calls it, for tests of an emulated device: the product by a plain loop, and every rule of the
// call that is broken ends the program with one line.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/blas_api.cuh"
#include "tests/emulator/given.h"

struct wi_blas_desc_body {
    int turns;
};
struct wi_blas_layout_body {
    int type;
    uint64_t rows, columns;
    int64_t stride;
};
struct wi_blas_preference_body {
    uint64_t workspace;
    uint32_t align[4];
};

#define MUST(what)                                                                                                     \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "fake cuBLASLt: %s\n", #what);                                                             \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static int living; // descriptors

template <typename Body> static int create(Body **out, Body *body)
{
    *out = body;
    living++;
    return 0;
}

template <typename Body> static int destroy(Body *body)
{
    delete body;
    living--;
    return 0;
}

#pragma GCC visibility push(default)
extern "C" {

int cublasLtCreate(void **handle)
{
    *handle = &living;
    return 0;
}

int cublasLtDestroy(void *handle)
{
    MUST(handle == &living && living == 0);
    return 0;
}

int cublasLtMatmulDescCreate(wi_blas_desc *out, int compute, int scale)
{
    MUST(compute == WI_BLAS_COMPUTE_32F && scale == WI_BLAS_R_32F);
    return create(out, new wi_blas_desc_body());
}

int cublasLtMatmulDescDestroy(wi_blas_desc desc) { return destroy(desc); }

int cublasLtMatmulDescSetAttribute(wi_blas_desc desc, int which, const void *value, size_t bytes)
{
    MUST(which == WI_BLAS_DESC_TRANSA && bytes == sizeof(int));
    desc->turns = *(const int *)value == WI_BLAS_OP_T;
    return 0;
}

int cublasLtMatrixLayoutCreate(wi_blas_layout *out, int type, uint64_t rows, uint64_t columns, int64_t stride)
{
    MUST(rows > 0 && columns > 0 && stride >= (int64_t)rows);
    return create(out, new wi_blas_layout_body{type, rows, columns, stride});
}

int cublasLtMatrixLayoutDestroy(wi_blas_layout layout) { return destroy(layout); }

int cublasLtMatmulPreferenceCreate(wi_blas_preference *out)
{
    return create(out, new wi_blas_preference_body{0, {256, 256, 256, 256}});
}

int cublasLtMatmulPreferenceDestroy(wi_blas_preference preference) { return destroy(preference); }

int cublasLtMatmulPreferenceSetAttribute(wi_blas_preference preference, int which, const void *value, size_t bytes)
{
    if (which == WI_BLAS_PREF_WORKSPACE) {
        MUST(bytes == sizeof preference->workspace);
        memcpy(&preference->workspace, value, bytes);
        return 0;
    }
    MUST(which >= WI_BLAS_PREF_ALIGN_A && which < WI_BLAS_PREF_ALIGN_A + 4 && bytes == sizeof(uint32_t));
    memcpy(&preference->align[which - WI_BLAS_PREF_ALIGN_A], value, bytes);
    return 0;
}

// out (rows of d) = op(a) * b, all column by column.
static void check(const wi_blas_desc_body *desc, const wi_blas_layout_body *a, const wi_blas_layout_body *b,
                  const wi_blas_layout_body *c, const wi_blas_layout_body *d)
{
    MUST(desc->turns);
    MUST(a->type == WI_BLAS_R_16BF && b->type == WI_BLAS_R_16BF);
    MUST(c->type == WI_BLAS_R_32F && d->type == WI_BLAS_R_32F);
    MUST(a->rows == b->rows && a->columns == d->rows && b->columns == d->columns);
    MUST(c->rows == d->rows && c->columns == d->columns);
    MUST(a->stride % 8 == 0 && b->stride % 8 == 0);
}

int cublasLtMatmulAlgoGetHeuristic(void *handle, wi_blas_desc desc, wi_blas_layout a, wi_blas_layout b,
                                   wi_blas_layout c, wi_blas_layout d, wi_blas_preference preference, int wanted,
                                   wi_blas_found *found, int *count)
{
    MUST(handle == &living && wanted == 1);
    check(desc, a, b, c, d);
    MUST(preference->align[0] >= 16 && preference->align[1] >= 16);
    memset(found, 0, sizeof *found);
    found->algo.data[0] = d->rows, found->algo.data[1] = d->columns, found->algo.data[2] = a->rows;
    for (int i = 0; i < 4; i++) found->algo.data[3 + i] = preference->align[i];
    found->algo.data[7] = found->workspace = preference->workspace;
    *count = 1;
    return 0;
}

struct product {
    const uint16_t *a, *b;
    const float *c;
    float *d;
    unsigned char *workspace;
    size_t workspace_bytes;
    wi_blas_layout_body al, bl, cl, dl;
    float beta;
};

static float float_of(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void multiply(const void *bytes)
{
    product p;
    memcpy((void *)&p, bytes, sizeof p);
    memset(p.workspace, 0xff, p.workspace_bytes); // it is the library's
    for (uint64_t column = 0; column < p.dl.columns; column++)
        for (uint64_t row = 0; row < p.dl.rows; row++) {
            const uint16_t *a = p.a + row * (uint64_t)p.al.stride, *b = p.b + column * (uint64_t)p.bl.stride;
            float sum = 0;
            for (uint64_t k = 0; k < p.al.rows; k++) sum += float_of(a[k]) * float_of(b[k]);
            if (p.beta != 0) sum += p.beta * p.c[column * (uint64_t)p.cl.stride + row];
            p.d[column * (uint64_t)p.dl.stride + row] = sum;
        }
}

int cublasLtMatmul(void *handle, wi_blas_desc desc, const void *alpha, const void *a, wi_blas_layout a_layout,
                   const void *b, wi_blas_layout b_layout, const void *beta, const void *c, wi_blas_layout c_layout,
                   void *d, wi_blas_layout d_layout, const wi_blas_algo *algo, void *workspace, size_t workspace_bytes,
                   cudaStream_t stream)
{
    MUST(handle == &living && *(const float *)alpha == 1);
    check(desc, a_layout, b_layout, c_layout, d_layout);
    // what the choice was made for
    MUST(algo->data[0] == d_layout->rows && algo->data[1] == d_layout->columns && algo->data[2] == a_layout->rows);
    const void *const at[] = {a, b, c, d};
    for (int i = 0; i < 4; i++) MUST((uintptr_t)at[i] % algo->data[3 + i] == 0);
    MUST(workspace_bytes >= algo->data[7] && workspace && (uintptr_t)workspace % 256 == 0);
    const product p = {
        (const uint16_t *)a, (const uint16_t *)b, (const float *)c, (float *)d, (unsigned char *)workspace,
        workspace_bytes,     *a_layout,           *b_layout,        *c_layout,  *d_layout,
        *(const float *)beta};
    ((const emu_stream_head *)(const void *)stream)->give(stream, multiply, &p, sizeof p);
    return 0;
}
}
#pragma GCC visibility pop
