// What kernels/cuda/blas_api.cuh declares, against the toolkit's own header: it need only compile.
#include <cublasLt.h>

#include <type_traits>

#include "kernels/cuda/blas_api.cuh"

#define SAME(own, theirs) static_assert((int)(own) == (int)(theirs), #theirs)
SAME(WI_BLAS_R_32F, CUDA_R_32F);
SAME(WI_BLAS_R_16BF, CUDA_R_16BF);
SAME(WI_BLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F);
SAME(WI_BLAS_OP_T, CUBLAS_OP_T);
SAME(WI_BLAS_DESC_TRANSA, CUBLASLT_MATMUL_DESC_TRANSA);
SAME(WI_BLAS_PREF_WORKSPACE, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
SAME(WI_BLAS_PREF_ALIGN_A, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
SAME(WI_BLAS_PREF_ALIGN_A + 3, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
static_assert(sizeof(wi_blas_algo) == sizeof(cublasLtMatmulAlgo_t), "an algorithm");
static_assert(sizeof(wi_blas_found) == sizeof(cublasLtMatmulHeuristicResult_t), "what is found");
static_assert(offsetof(wi_blas_found, workspace) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize), "found");
static_assert(offsetof(wi_blas_found, state) == offsetof(cublasLtMatmulHeuristicResult_t, state), "what is found");

// Pointers for pointers, words of one size for each other.
template <typename Own, typename Theirs> constexpr bool alike()
{
    if (std::is_pointer<Own>::value || std::is_pointer<Theirs>::value)
        return std::is_pointer<Own>::value && std::is_pointer<Theirs>::value;
    return sizeof(Own) == sizeof(Theirs);
}
template <typename A, typename... Own, typename B, typename... Theirs>
constexpr bool same_call(A (*)(Own...), B (*)(Theirs...))
{
    if constexpr (sizeof...(Own) == sizeof...(Theirs))
        return alike<A, B>() && (alike<Own, Theirs>() && ...);
    else
        return false;
}
#define CHECK_CALL(name, arguments) static_assert(same_call((int(*) arguments) nullptr, &cublasLt##name), #name);
WI_BLAS_CALLS(CHECK_CALL)
