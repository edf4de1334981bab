// Stands in for kernels/cuda/ptx.cuh where kernels are compiled for the host: the same functions, done by the emulator.
#ifndef WEFT_TESTS_EMULATOR_PTX_CUH
#define WEFT_TESTS_EMULATOR_PTX_CUH

#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

#define WI_HOPPER 1

// ---- shared memory and barriers -------------------------------------------------------------------------------------

static inline unsigned char *wi_shared(void) { return emu_shared_now; }
EMU_HIDDEN uint32_t wi_shared_at(const void *shared, EMU_HERE);

static inline void wi_barrier(int id, int threads, EMU_HERE)
{
    emu_barrier(id, threads, EMU_BARRIER_PLAIN, 0, file, line);
}
static inline void wi_barrier_arrive(int id, int threads, EMU_HERE)
{
    emu_barrier(id, threads, EMU_BARRIER_ARRIVE, 0, file, line);
}

// ---- flags of other processes and devices ---------------------------------------------------------------------------

static inline void wi_word_set(uint32_t *flag, uint32_t value) { __atomic_store_n(flag, value, __ATOMIC_RELEASE); }
static inline uint32_t wi_word_get(const uint32_t *flag) { return __atomic_load_n(flag, __ATOMIC_ACQUIRE); }
EMU_HIDDEN uint64_t wi_clock(void);
EMU_HIDDEN void wi_word_pause(void); // the processor goes to another process, which may be the one that is waited for

// ---- mbarriers and bulk copies --------------------------------------------------------------------------------------

EMU_HIDDEN void wi_mbar_init(uint64_t *bar, int count, EMU_HERE);
EMU_HIDDEN void wi_mbar_init_done(EMU_HERE);
EMU_HIDDEN void wi_mbar_arrive(uint64_t *bar, EMU_HERE);
EMU_HIDDEN void wi_mbar_expect(uint64_t *bar, uint32_t bytes, EMU_HERE);
EMU_HIDDEN void wi_mbar_wait(uint64_t *bar, int parity, EMU_HERE);
EMU_HIDDEN void wi_proxy_fence(EMU_HERE);
EMU_HIDDEN void wi_bulk(void *shared, const void *global, uint32_t bytes, uint64_t *bar, EMU_HERE);
EMU_HIDDEN void wi_tensor2(void *shared, const CUtensorMap *map, int x, int y, uint64_t *bar, EMU_HERE);
EMU_HIDDEN void wi_tensor3(void *shared, const CUtensorMap *map, int x, int y, int z, uint64_t *bar, EMU_HERE);
EMU_HIDDEN void wi_tensor_prefetch(const CUtensorMap *map, EMU_HERE);

// ---- copies and loads by every thread -------------------------------------------------------------------------------

EMU_HIDDEN void wi_copy16(void *shared, const void *global, bool there, EMU_HERE);
EMU_HIDDEN void wi_copy_commit(EMU_HERE);
EMU_HIDDEN void emu_copy_wait(int but, const char *file, int line);
template <int N> void wi_copy_wait(EMU_HERE) { emu_copy_wait(N, file, line); }
EMU_HIDDEN uint4 wi_load_once(const void *global, EMU_HERE);

// ---- ldmatrix and mma -----------------------------------------------------------------------------------------------

EMU_HIDDEN void emu_ldmatrix(uint32_t *r, int count, const void *row, bool transposed, const char *file, int line);
static inline void wi_ldmatrix4(uint32_t (&r)[4], const void *row, EMU_HERE)
{
    emu_ldmatrix(r, 4, row, false, file, line);
}
static inline void wi_ldmatrix4_t(uint32_t (&r)[4], const void *row, EMU_HERE)
{
    emu_ldmatrix(r, 4, row, true, file, line);
}
static inline void wi_ldmatrix2(uint32_t (&r)[2], const void *row, EMU_HERE)
{
    emu_ldmatrix(r, 2, row, false, file, line);
}
static inline void wi_ldmatrix2_t(uint32_t (&r)[2], const void *row, EMU_HERE)
{
    emu_ldmatrix(r, 2, row, true, file, line);
}
EMU_HIDDEN void wi_mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMU_HERE);

// ---- wgmma ----------------------------------------------------------------------------------------------------------

// `a_regs` or, where that is NULL, the descriptor `a`.
EMU_HIDDEN void emu_wgmma(int n, float *d, const uint32_t *a_regs, uint64_t a, uint64_t b, bool transposed, bool keep,
                          const char *file, int line);
template <int N>
constexpr bool wi_wgmma_has =
    N == 8 || N == 16 || N == 24 || N == 32 || N == 48 || N == 64 || N == 96 || N == 128 || N == 192 || N == 256;
template <int N> void wi_wgmma(float (&d)[N / 2], uint64_t a, uint64_t b, bool keep, EMU_HERE)
{
    static_assert(wi_wgmma_has<N>, "an N that is not in the list");
    emu_wgmma(N, d, nullptr, a, b, false, keep, file, line);
}
template <int N> void wi_wgmma_regs(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool keep, EMU_HERE)
{
    static_assert(wi_wgmma_has<N>, "an N that is not in the list");
    emu_wgmma(N, d, a, 0, b, false, keep, file, line);
}
template <int N> void wi_wgmma_regs_t(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool keep, EMU_HERE)
{
    static_assert(wi_wgmma_has<N>, "an N that is not in the list");
    emu_wgmma(N, d, a, 0, b, true, keep, file, line);
}
EMU_HIDDEN void wi_wgmma_fence(EMU_HERE);
EMU_HIDDEN void wi_wgmma_commit(EMU_HERE);
EMU_HIDDEN void emu_wgmma_wait(int but, const char *file, int line);
template <int N> void wi_wgmma_wait(EMU_HERE) { emu_wgmma_wait(N, file, line); }
template <int N> static inline void wi_wgmma_own(float (&)[N]) {}

static inline uint64_t wi_descriptor(const void *at, EMU_HERE)
{
    return (uint64_t)(wi_shared_at(at, file, line) >> 4) | 1ull << 16 | (uint64_t)(1024 >> 4) << 32 | 1ull << 62;
}
static inline uint64_t wi_descriptor_t(const void *at, uint32_t stride_n, EMU_HERE)
{
    return (uint64_t)(wi_shared_at(at, file, line) >> 4) | (uint64_t)((stride_n & 0x3ffff) >> 4) << 16 |
           (uint64_t)(1024 >> 4) << 32 | 1ull << 62;
}

template <int N> static inline void wi_registers_up(void)
{
    static_assert(N % 8 == 0 && N >= 24 && N <= 256, "registers come in eights, 24 to 256");
}
template <int N> static inline void wi_registers_down(void)
{
    static_assert(N % 8 == 0 && N >= 24 && N <= 256, "registers come in eights, 24 to 256");
}

// ---- arithmetic -----------------------------------------------------------------------------------------------------

static inline float emu_without_denormals(float x) { return fabsf(x) < 1.17549435e-38f ? copysignf(0.0f, x) : x; }
// The device is wrong by up to 2 ulp; this is not.
static inline float wi_exp2(float x) { return emu_without_denormals((float)exp2((double)emu_without_denormals(x))); }

static inline uint32_t emu_bf16_of(float x)
{
    uint32_t bits = __float_as_uint(x);
    if (x != x) return 0x7fff; // the one NaN that the device gives
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
static inline uint32_t wi_bf16_pair(float low, float high) { return emu_bf16_of(low) | emu_bf16_of(high) << 16; }

// Rounded once: the sum in double to a float whose last bit says that something was lost, then to bf16.
static inline uint32_t emu_bf16_fma(uint32_t a, uint32_t b, uint32_t c)
{
    const double sum =
        (double)__uint_as_float(a << 16) * (double)__uint_as_float(b << 16) + (double)__uint_as_float(c << 16);
    const float near = (float)sum;
    uint32_t bits = __float_as_uint(near);
    if (sum == sum && (double)near != sum) bits = (bits - (fabs((double)near) > fabs(sum) ? 1 : 0)) | 1;
    return emu_bf16_of(__uint_as_float(bits));
}
static inline uint32_t wi_bf16_fma2(uint32_t a, uint32_t b, uint32_t c)
{
    return emu_bf16_fma(a & 0xffff, b & 0xffff, c & 0xffff) | emu_bf16_fma(a >> 16, b >> 16, c >> 16) << 16;
}

// ---- the host's side ------------------------------------------------------------------------------------------------

EMU_HIDDEN cudaError_t wi_tensor_map2(CUtensorMap *out, const void *global, uint64_t width, uint64_t rows,
                                      uint64_t row_bytes, uint32_t box_width, uint32_t box_rows);
EMU_HIDDEN cudaError_t wi_tensor_map3(CUtensorMap *out, const void *global, uint64_t width, uint64_t rows,
                                      uint64_t row_bytes, uint64_t planes, uint64_t plane_bytes, uint32_t box_width,
                                      uint32_t box_rows, uint32_t box_planes);

#endif
