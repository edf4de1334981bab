// What weft calls of cuBLASLt, declared here, since the library is opened at run time and its header need not be there:
// blas_api.cc beside it holds this against the header where one is. Its matrices stand column by column, so a
// matrix of rows is its own transpose there.
#ifndef WEFT_KERNELS_CUDA_BLAS_API_CUH
#define WEFT_KERNELS_CUDA_BLAS_API_CUH

#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WI_BLAS_R_32F = 0,
    WI_BLAS_R_16BF = 14,
    WI_BLAS_COMPUTE_32F = 68,
    WI_BLAS_OP_T = 1,
    WI_BLAS_DESC_TRANSA = 3,
    WI_BLAS_PREF_WORKSPACE = 1, // uint64_t
    WI_BLAS_PREF_ALIGN_A = 5,   // uint32_t; B, C and D follow
};

typedef struct wi_blas_desc_body *wi_blas_desc;             // cublasLtMatmulDesc_t
typedef struct wi_blas_layout_body *wi_blas_layout;         // cublasLtMatrixLayout_t
typedef struct wi_blas_preference_body *wi_blas_preference; // cublasLtMatmulPreference_t

typedef struct {
    uint64_t data[8];
} wi_blas_algo;

typedef struct {
    wi_blas_algo algo;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
} wi_blas_found;

// X(name, arguments); all return 0 where they do what they are asked.
#define WI_BLAS_CALLS(X)                                                                                               \
    X(Create, (void **handle))                                                                                         \
    X(Destroy, (void *handle))                                                                                         \
    X(MatmulDescCreate, (wi_blas_desc * out, int compute, int scale))                                                  \
    X(MatmulDescDestroy, (wi_blas_desc desc))                                                                          \
    X(MatmulDescSetAttribute, (wi_blas_desc desc, int which, const void *value, size_t bytes))                         \
    X(MatrixLayoutCreate, (wi_blas_layout * out, int type, uint64_t rows, uint64_t columns, int64_t stride))           \
    X(MatrixLayoutDestroy, (wi_blas_layout layout))                                                                    \
    X(MatmulPreferenceCreate, (wi_blas_preference * out))                                                              \
    X(MatmulPreferenceDestroy, (wi_blas_preference preference))                                                        \
    X(MatmulPreferenceSetAttribute, (wi_blas_preference preference, int which, const void *value, size_t bytes))       \
    X(MatmulAlgoGetHeuristic,                                                                                          \
      (void *handle, wi_blas_desc desc, wi_blas_layout a, wi_blas_layout b, wi_blas_layout c, wi_blas_layout d,        \
       wi_blas_preference preference, int wanted, wi_blas_found *found, int *count))                                   \
    X(Matmul, (void *handle, wi_blas_desc desc, const void *alpha, const void *a, wi_blas_layout a_layout,             \
               const void *b, wi_blas_layout b_layout, const void *beta, const void *c, wi_blas_layout c_layout,       \
               void *d, wi_blas_layout d_layout, const wi_blas_algo *algo, void *workspace, size_t workspace_bytes,    \
               cudaStream_t stream))

#endif
