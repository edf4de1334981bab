// The instructions of the device that C++ has no words for, one function each and no logic of its own. Tests have a
// file of the same name in place of this one (tests/emulator), so nothing else in kernels/cuda/ may say asm.
//
// What a target lacks traps there. WI_HOPPER is 1 where a kernel may use wgmma, bulk copies and setmaxnreg: code for
// sm_90a, and the host's pass, which must see every kernel. A kernel that needs it has its body under `#if WI_HOPPER`,
// is declared everywhere, and is launched on capability 9.0 alone.
#ifndef WEFT_KERNELS_CUDA_PTX_CUH
#define WEFT_KERNELS_CUDA_PTX_CUH

#include <cuda.h>
#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define WI_HOPPER 1
#define WI_ASM_90A(...) asm volatile(__VA_ARGS__)
#else
#define WI_HOPPER 0
#define WI_ASM_90A(...) __trap()
#endif
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define WI_ASM_90(...) asm volatile(__VA_ARGS__)
#else
#define WI_ASM_90(...) __trap()
#endif

// ---- shared memory and barriers -------------------------------------------------------------------------------------

// The block's dynamic shared memory. Swizzles count from 1024 bytes.
static __device__ __forceinline__ unsigned char *wi_shared(void)
{
    extern __shared__ __align__(1024) unsigned char wi_shared_memory[];
    return wi_shared_memory;
}
// Its address as PTX wants it.
static __device__ __forceinline__ uint32_t wi_shared_at(const void *shared)
{
    return (uint32_t)__cvta_generic_to_shared(shared);
}

// Named barriers of `threads` threads, whole warps: ids 1 to 15; 0 is __syncthreads.
static __device__ __forceinline__ void wi_barrier(int id, int threads)
{
    asm volatile("bar.sync %0, %1;" : : "r"(id), "r"(threads) : "memory");
}
static __device__ __forceinline__ void wi_barrier_arrive(int id, int threads)
{
    asm volatile("bar.arrive %0, %1;" : : "r"(id), "r"(threads) : "memory");
}

// ---- flags of other processes and devices ---------------------------------------------------------------------------

// Behind all that this thread has written or seen.
static __device__ __forceinline__ void wi_word_set(uint32_t *flag, uint32_t value)
{
    asm volatile("st.release.sys.global.u32 [%0], %1;" : : "l"(flag), "r"(value) : "memory");
}
// What was written before the flag is seen by what this thread reads later.
static __device__ __forceinline__ uint32_t wi_word_get(const uint32_t *flag)
{
    uint32_t value;
    asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(flag) : "memory");
    return value;
}
// Nanoseconds since some time.
static __device__ __forceinline__ uint64_t wi_clock(void)
{
    uint64_t now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    return now;
}
// Between two looks at a flag.
static __device__ __forceinline__ void wi_word_pause(void) { __nanosleep(20); }

// ---- mbarriers (sm_90) ----------------------------------------------------------------------------------------------

static __device__ __forceinline__ void wi_mbar_init(uint64_t *bar, int count)
{
    WI_ASM_90("mbarrier.init.shared::cta.b64 [%0], %1;" : : "r"(wi_shared_at(bar)), "r"(count) : "memory");
}
// By the thread that called wi_mbar_init, before the __syncthreads that shows the barriers to others.
static __device__ __forceinline__ void wi_mbar_init_done(void)
{
    WI_ASM_90("fence.mbarrier_init.release.cluster;\n\t"
              "fence.proxy.async.shared::cta;"
              :
              :
              : "memory");
}
static __device__ __forceinline__ void wi_mbar_arrive(uint64_t *bar)
{
    WI_ASM_90("mbarrier.arrive.shared::cta.b64 _, [%0];" : : "r"(wi_shared_at(bar)) : "memory");
}
// Arrives, and lets the phase wait for `bytes` more from copies.
static __device__ __forceinline__ void wi_mbar_expect(uint64_t *bar, uint32_t bytes)
{
    WI_ASM_90("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
              :
              : "r"(wi_shared_at(bar)), "r"(bytes)
              : "memory");
}
// Returns when the phase of that parity is complete: 0 for the first; 1 returns at once on a fresh barrier.
static __device__ __forceinline__ void wi_mbar_wait(uint64_t *bar, int parity)
{
    WI_ASM_90("{\n\t"
              ".reg .pred done;\n\t"
              "again:\n\t"
              "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n\t"
              "@!done bra again;\n\t"
              "}"
              :
              : "r"(wi_shared_at(bar)), "r"(parity)
              : "memory");
}
// What this thread stored to shared memory is seen by wgmma and bulk copies after the next barrier.
static __device__ __forceinline__ void wi_proxy_fence(void)
{
    WI_ASM_90("fence.proxy.async.shared::cta;" : : : "memory");
}

// ---- bulk copies from global to shared memory, by one thread, that complete on `bar` (sm_90) ------------------------

// A multiple of 16 bytes, both ends aligned to 16.
static __device__ __forceinline__ void wi_bulk(void *shared, const void *global, uint32_t bytes, uint64_t *bar)
{
    WI_ASM_90("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
              :
              : "r"(wi_shared_at(shared)), "l"(__cvta_generic_to_global(global)), "r"(bytes), "r"(wi_shared_at(bar))
              : "memory");
}
// The box of a tensor whose first element is at (x, y) or (x, y, z), x innermost; the map is a __grid_constant__
// argument. `shared` is aligned to 1024.
static __device__ __forceinline__ void wi_tensor2(void *shared, const CUtensorMap *map, int x, int y, uint64_t *bar)
{
    WI_ASM_90("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
              "[%0], [%1, {%2, %3}], [%4];"
              :
              : "r"(wi_shared_at(shared)), "l"(map), "r"(x), "r"(y), "r"(wi_shared_at(bar))
              : "memory");
}
static __device__ __forceinline__ void wi_tensor3(void *shared, const CUtensorMap *map, int x, int y, int z,
                                                  uint64_t *bar)
{
    WI_ASM_90("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
              "[%0], [%1, {%2, %3, %4}], [%5];"
              :
              : "r"(wi_shared_at(shared)), "l"(map), "r"(x), "r"(y), "r"(z), "r"(wi_shared_at(bar))
              : "memory");
}
static __device__ __forceinline__ void wi_tensor_prefetch(const CUtensorMap *map)
{
    WI_ASM_90("prefetch.tensormap [%0];" : : "l"(map) : "memory");
}

// ---- copies and loads by every thread -------------------------------------------------------------------------------

// 16 bytes from global to shared memory in the background; zeros, and nothing read, where !there.
static __device__ __forceinline__ void wi_copy16(void *shared, const void *global, bool there)
{
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;"
                 :
                 : "r"(wi_shared_at(shared)), "l"(__cvta_generic_to_global(global)), "r"(there ? 16 : 0)
                 : "memory");
}
static __device__ __forceinline__ void wi_copy_commit(void) { asm volatile("cp.async.commit_group;" : : : "memory"); }
// All but this thread's N latest groups are there, for this thread.
template <int N> static __device__ __forceinline__ void wi_copy_wait(void)
{
    asm volatile("cp.async.wait_group %0;" : : "n"(N) : "memory");
}

// Weights that are read once: they stay out of L1. Nothing may write them while the kernel runs.
static __device__ __forceinline__ uint4 wi_load_once(const void *global)
{
    uint4 got;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(got.x), "=r"(got.y), "=r"(got.z), "=r"(got.w)
                 : "l"(__cvta_generic_to_global(global)));
    return got;
}

// ---- ldmatrix and mma, by whole warps -------------------------------------------------------------------------------

// 8 x 8 matrices of 16 bits: lanes 8i to 8i+7 name the rows of matrix i; `_t` gives each transposed.
static __device__ __forceinline__ void wi_ldmatrix4(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(wi_shared_at(row))
                 : "memory");
}
static __device__ __forceinline__ void wi_ldmatrix4_t(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(wi_shared_at(row))
                 : "memory");
}
static __device__ __forceinline__ void wi_ldmatrix2(uint32_t (&r)[2], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(wi_shared_at(row))
                 : "memory");
}
static __device__ __forceinline__ void wi_ldmatrix2_t(uint32_t (&r)[2], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(wi_shared_at(row))
                 : "memory");
}
// d += a * b: 16 x 8 += 16 x 16 times 16 x 8, bf16 into f32.
static __device__ __forceinline__ void wi_mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// ---- wgmma (sm_90a), by whole warpgroups: 64 x N += 64 x 16 times 16 x N, bf16 into f32 -----------------------------

// Names of N/2 accumulators in the text of an instruction, eight a line, and what they stand for.
// clang-format off
#define WI_P8_0 "%0, %1, %2, %3, %4, %5, %6, %7"
#define WI_P8_8 "%8, %9, %10, %11, %12, %13, %14, %15"
#define WI_P8_16 "%16, %17, %18, %19, %20, %21, %22, %23"
#define WI_P8_24 "%24, %25, %26, %27, %28, %29, %30, %31"
#define WI_P8_32 "%32, %33, %34, %35, %36, %37, %38, %39"
#define WI_P8_40 "%40, %41, %42, %43, %44, %45, %46, %47"
#define WI_P8_48 "%48, %49, %50, %51, %52, %53, %54, %55"
#define WI_P8_56 "%56, %57, %58, %59, %60, %61, %62, %63"
#define WI_P8_64 "%64, %65, %66, %67, %68, %69, %70, %71"
#define WI_P8_72 "%72, %73, %74, %75, %76, %77, %78, %79"
#define WI_P8_80 "%80, %81, %82, %83, %84, %85, %86, %87"
#define WI_P8_88 "%88, %89, %90, %91, %92, %93, %94, %95"
#define WI_P8_96 "%96, %97, %98, %99, %100, %101, %102, %103"
#define WI_P8_104 "%104, %105, %106, %107, %108, %109, %110, %111"
#define WI_P8_112 "%112, %113, %114, %115, %116, %117, %118, %119"
#define WI_P8_120 "%120, %121, %122, %123, %124, %125, %126, %127"
#define WI_P4 "%0, %1, %2, %3"
#define WI_P8 WI_P8_0
#define WI_P12 WI_P8 ", %8, %9, %10, %11"
#define WI_P16 WI_P8 ", " WI_P8_8
#define WI_P24 WI_P16 ", " WI_P8_16
#define WI_P32 WI_P24 ", " WI_P8_24
#define WI_P48 WI_P32 ", " WI_P8_32 ", " WI_P8_40
#define WI_P64 WI_P48 ", " WI_P8_48 ", " WI_P8_56
#define WI_P96 WI_P64 ", " WI_P8_64 ", " WI_P8_72 ", " WI_P8_80 ", " WI_P8_88
#define WI_P128 WI_P96 ", " WI_P8_96 ", " WI_P8_104 ", " WI_P8_112 ", " WI_P8_120
#define WI_F4_(i) "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define WI_F8_(i) WI_F4_(i), WI_F4_((i) + 4)
#define WI_F16_(i) WI_F8_(i), WI_F8_((i) + 8)
#define WI_F32_(i) WI_F16_(i), WI_F16_((i) + 16)
#define WI_F4 WI_F4_(0)
#define WI_F8 WI_F8_(0)
#define WI_F12 WI_F8_(0), WI_F4_(8)
#define WI_F16 WI_F16_(0)
#define WI_F24 WI_F16_(0), WI_F8_(16)
#define WI_F32 WI_F32_(0)
#define WI_F48 WI_F32_(0), WI_F16_(32)
#define WI_F64 WI_F32_(0), WI_F32_(32)
#define WI_F96 WI_F64, WI_F32_(64)
#define WI_F128 WI_F96, WI_F32_(96)
#define WI_B_IN "l"(b), "r"((int)keep)
#define WI_SS_IN "l"(a), WI_B_IN
#define WI_RS_IN "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), WI_B_IN
// The text: how many columns, the names of d, then the numbers of a, b and keep. A transposed B is the last argument.
#define WI_SS(n, d, a, b, keep)                                                                                        \
    "{\n\t.reg .pred keep;\n\tsetp.ne.b32 keep, %" #keep ", 0;\n\t"                                                    \
    "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" d "}, %" #a ", %" #b ", keep, 1, 1, 0, 0;\n\t}"
#define WI_RS(n, d, a0, a1, a2, a3, b, keep, transpose)                                                                \
    "{\n\t.reg .pred keep;\n\tsetp.ne.b32 keep, %" #keep ", 0;\n\t"                                                    \
    "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" d "}, {%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, "     \
    "%" #b ", keep, 1, 1, " #transpose ";\n\t}"

template <int N> constexpr bool wi_wgmma_has =
    N == 8 || N == 16 || N == 24 || N == 32 || N == 48 || N == 64 || N == 96 || N == 128 || N == 192 || N == 256;

// Both operands in shared memory, K-major. keep: d += a * b, else d = a * b.
template <int N> static __device__ __forceinline__ void wi_wgmma(float (&d)[N / 2], uint64_t a, uint64_t b, bool keep)
{
    static_assert(wi_wgmma_has<N>, "an N that is not in the list");
    if constexpr (N == 8) WI_ASM_90A(WI_SS(8, WI_P4, 4, 5, 6) : WI_F4 : WI_SS_IN);
    if constexpr (N == 16) WI_ASM_90A(WI_SS(16, WI_P8, 8, 9, 10) : WI_F8 : WI_SS_IN);
    if constexpr (N == 24) WI_ASM_90A(WI_SS(24, WI_P12, 12, 13, 14) : WI_F12 : WI_SS_IN);
    if constexpr (N == 32) WI_ASM_90A(WI_SS(32, WI_P16, 16, 17, 18) : WI_F16 : WI_SS_IN);
    if constexpr (N == 48) WI_ASM_90A(WI_SS(48, WI_P24, 24, 25, 26) : WI_F24 : WI_SS_IN);
    if constexpr (N == 64) WI_ASM_90A(WI_SS(64, WI_P32, 32, 33, 34) : WI_F32 : WI_SS_IN);
    if constexpr (N == 96) WI_ASM_90A(WI_SS(96, WI_P48, 48, 49, 50) : WI_F48 : WI_SS_IN);
    if constexpr (N == 128) WI_ASM_90A(WI_SS(128, WI_P64, 64, 65, 66) : WI_F64 : WI_SS_IN);
    if constexpr (N == 192) WI_ASM_90A(WI_SS(192, WI_P96, 96, 97, 98) : WI_F96 : WI_SS_IN);
    if constexpr (N == 256) WI_ASM_90A(WI_SS(256, WI_P128, 128, 129, 130) : WI_F128 : WI_SS_IN);
}
// A in registers, as mma has it, each warp its 16 rows; B in shared memory, K-major.
template <int N>
static __device__ __forceinline__ void wi_wgmma_regs(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool keep)
{
    static_assert(wi_wgmma_has<N>, "an N that is not in the list");
    if constexpr (N == 8) WI_ASM_90A(WI_RS(8, WI_P4, 4, 5, 6, 7, 8, 9, 0) : WI_F4 : WI_RS_IN);
    if constexpr (N == 16) WI_ASM_90A(WI_RS(16, WI_P8, 8, 9, 10, 11, 12, 13, 0) : WI_F8 : WI_RS_IN);
    if constexpr (N == 24) WI_ASM_90A(WI_RS(24, WI_P12, 12, 13, 14, 15, 16, 17, 0) : WI_F12 : WI_RS_IN);
    if constexpr (N == 32) WI_ASM_90A(WI_RS(32, WI_P16, 16, 17, 18, 19, 20, 21, 0) : WI_F16 : WI_RS_IN);
    if constexpr (N == 48) WI_ASM_90A(WI_RS(48, WI_P24, 24, 25, 26, 27, 28, 29, 0) : WI_F24 : WI_RS_IN);
    if constexpr (N == 64) WI_ASM_90A(WI_RS(64, WI_P32, 32, 33, 34, 35, 36, 37, 0) : WI_F32 : WI_RS_IN);
    if constexpr (N == 96) WI_ASM_90A(WI_RS(96, WI_P48, 48, 49, 50, 51, 52, 53, 0) : WI_F48 : WI_RS_IN);
    if constexpr (N == 128) WI_ASM_90A(WI_RS(128, WI_P64, 64, 65, 66, 67, 68, 69, 0) : WI_F64 : WI_RS_IN);
    if constexpr (N == 192) WI_ASM_90A(WI_RS(192, WI_P96, 96, 97, 98, 99, 100, 101, 0) : WI_F96 : WI_RS_IN);
    if constexpr (N == 256) WI_ASM_90A(WI_RS(256, WI_P128, 128, 129, 130, 131, 132, 133, 0) : WI_F128 : WI_RS_IN);
}
// The same with an MN-major B, whose rows are K.
template <int N>
static __device__ __forceinline__ void wi_wgmma_regs_t(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool keep)
{
    static_assert(wi_wgmma_has<N>, "an N that is not in the list");
    if constexpr (N == 8) WI_ASM_90A(WI_RS(8, WI_P4, 4, 5, 6, 7, 8, 9, 1) : WI_F4 : WI_RS_IN);
    if constexpr (N == 16) WI_ASM_90A(WI_RS(16, WI_P8, 8, 9, 10, 11, 12, 13, 1) : WI_F8 : WI_RS_IN);
    if constexpr (N == 24) WI_ASM_90A(WI_RS(24, WI_P12, 12, 13, 14, 15, 16, 17, 1) : WI_F12 : WI_RS_IN);
    if constexpr (N == 32) WI_ASM_90A(WI_RS(32, WI_P16, 16, 17, 18, 19, 20, 21, 1) : WI_F16 : WI_RS_IN);
    if constexpr (N == 48) WI_ASM_90A(WI_RS(48, WI_P24, 24, 25, 26, 27, 28, 29, 1) : WI_F24 : WI_RS_IN);
    if constexpr (N == 64) WI_ASM_90A(WI_RS(64, WI_P32, 32, 33, 34, 35, 36, 37, 1) : WI_F32 : WI_RS_IN);
    if constexpr (N == 96) WI_ASM_90A(WI_RS(96, WI_P48, 48, 49, 50, 51, 52, 53, 1) : WI_F48 : WI_RS_IN);
    if constexpr (N == 128) WI_ASM_90A(WI_RS(128, WI_P64, 64, 65, 66, 67, 68, 69, 1) : WI_F64 : WI_RS_IN);
    if constexpr (N == 192) WI_ASM_90A(WI_RS(192, WI_P96, 96, 97, 98, 99, 100, 101, 1) : WI_F96 : WI_RS_IN);
    if constexpr (N == 256) WI_ASM_90A(WI_RS(256, WI_P128, 128, 129, 130, 131, 132, 133, 1) : WI_F128 : WI_RS_IN);
}
// clang-format on

// Before the first wgmma, and where registers that one reads were written since.
static __device__ __forceinline__ void wi_wgmma_fence(void) { WI_ASM_90A("wgmma.fence.sync.aligned;" : : : "memory"); }
static __device__ __forceinline__ void wi_wgmma_commit(void)
{
    WI_ASM_90A("wgmma.commit_group.sync.aligned;" : : : "memory");
}
// All but the N latest groups are done.
template <int N> static __device__ __forceinline__ void wi_wgmma_wait(void)
{
    WI_ASM_90A("wgmma.wait_group.sync.aligned %0;" : : "n"(N) : "memory");
}
// The compiler moves nothing that touches d across this: it knows nothing of results that come later.
template <int N> static __device__ __forceinline__ void wi_wgmma_own(float (&d)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i]) : : "memory");
}

// How an operand lies in shared memory, in the 128-byte swizzle: bits 0-13 its address, 16-29 and 32-45 the leading and
// the stride offset, all in units of 16 bytes, 62-63 the swizzle.
// K-major: rows of 64 bf16, groups of 8 rows 1024 bytes apart. `at` may be advanced by 32 bytes, 16 columns, inside the
// first row's 128 bytes.
static __device__ __forceinline__ uint64_t wi_descriptor(const void *at)
{
    return (uint64_t)((wi_shared_at(at) & 0x3ffff) >> 4) | 1ull << 16 | (uint64_t)(1024 >> 4) << 32 | 1ull << 62;
}
// MN-major: rows of K, each 64 values of N in 128 bytes, groups of 8 rows 1024 bytes apart; `stride_n` bytes from one
// block of 64 N to the next.
static __device__ __forceinline__ uint64_t wi_descriptor_t(const void *at, uint32_t stride_n)
{
    return (uint64_t)((wi_shared_at(at) & 0x3ffff) >> 4) | (uint64_t)((stride_n & 0x3ffff) >> 4) << 16 |
           (uint64_t)(1024 >> 4) << 32 | 1ull << 62;
}

// Registers of a thread, 24 to 256 in eights, by every warp of a warpgroup.
template <int N> static __device__ __forceinline__ void wi_registers_up(void)
{
    WI_ASM_90A("setmaxnreg.inc.sync.aligned.u32 %0;" : : "n"(N));
}
template <int N> static __device__ __forceinline__ void wi_registers_down(void)
{
    WI_ASM_90A("setmaxnreg.dec.sync.aligned.u32 %0;" : : "n"(N));
}

// ---- arithmetic -----------------------------------------------------------------------------------------------------

// 2 to the x, to 2 ulp; denormals are zeros.
static __device__ __forceinline__ float wi_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
// Two bf16, rounded to nearest even, the low half first.
static __device__ __forceinline__ uint32_t wi_bf16_pair(float low, float high)
{
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
// a * b + c of two bf16 each, rounded once.
static __device__ __forceinline__ uint32_t wi_bf16_fma2(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t pair;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(pair) : "r"(a), "r"(b), "r"(c));
    return pair;
}

// ---- the host's side: maps of tensors of bf16 in the 128-byte swizzle, with zeros outside ---------------------------

// The driver is asked for its function: a library linked against it would not load where there is none.
static inline cudaError_t wi_tensor_map(CUtensorMap *out, uint32_t rank, const void *global, const uint64_t *size,
                                        const uint64_t *stride_bytes, const uint32_t *box)
{
    typedef CUresult (*encode_function)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                                        const cuuint64_t *, const cuuint32_t *, const cuuint32_t *,
                                        CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                                        CUtensorMapFloatOOBfill);
    static const uint32_t every[3] = {1, 1, 1};
    void *found = NULL;
    cudaDriverEntryPointQueryResult how;
    cudaError_t status =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &how);
    if (status != cudaSuccess) return status;
    if (how != cudaDriverEntryPointSuccess || !found) return cudaErrorNotSupported;
    CUresult result = ((encode_function)found)(out, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, rank, const_cast<void *>(global),
                                               (const cuuint64_t *)size, (const cuuint64_t *)stride_bytes, box, every,
                                               CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                               CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}
// (rows, width), rows row_bytes apart, a multiple of 16; `global` is aligned to 16, a box is at most 64 wide and 256
// high.
static inline cudaError_t wi_tensor_map2(CUtensorMap *out, const void *global, uint64_t width, uint64_t rows,
                                         uint64_t row_bytes, uint32_t box_width, uint32_t box_rows)
{
    const uint64_t size[2] = {width, rows}, stride_bytes[1] = {row_bytes};
    const uint32_t box[2] = {box_width, box_rows};
    return wi_tensor_map(out, 2, global, size, stride_bytes, box);
}
// (planes, rows, width).
static inline cudaError_t wi_tensor_map3(CUtensorMap *out, const void *global, uint64_t width, uint64_t rows,
                                         uint64_t row_bytes, uint64_t planes, uint64_t plane_bytes, uint32_t box_width,
                                         uint32_t box_rows, uint32_t box_planes)
{
    const uint64_t size[3] = {width, rows, planes}, stride_bytes[2] = {row_bytes, plane_bytes};
    const uint32_t box[3] = {box_width, box_rows, box_planes};
    return wi_tensor_map(out, 3, global, size, stride_bytes, box);
}

#endif
