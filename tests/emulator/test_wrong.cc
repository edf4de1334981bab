// What a device would do silently, or never end, is stopped here with a line that says what it was.
#include <sys/mman.h>

#include "tests/emulator/fiber.h"
#include "tests/emulator/support.h"

#ifdef EMU_ASAN
#define TOUCHED "AddressSanitizer:DEADLYSIGNAL" // which comes first
#else
#define TOUCHED "touched"
#endif

// ---- results that are wrong in some order of threads ----------------------------------------------------------------

// 256 numbers by halves; `step` says which barrier is left out.
static __global__ void kernel_unfenced(int *out, int without)
{
    int *sums = (int *)wi_shared();
    sums[threadIdx.x] = 1;
    if (without != 0) __syncthreads();
    for (unsigned half = 128; half > 0; half /= 2) {
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        if (without != 1) __syncthreads();
    }
    if (threadIdx.x == 0) out[blockIdx.x] = sums[0];
}

static void test_missing_barrier(void)
{
    int *out = shared_array<int>(20);
    for (int without = 0; without < 3; without++) {
        int wrong = 0;
        launch(kernel_unfenced, 20, 256, 1024, out, without);
        for (int i = 0; i < 20; i++) wrong += out[i] != 256;
        CHECK_INT(wrong > 0, without < 2);
    }
    CHECK_CUDA(cudaFree(out));
}

// A copy that is read `early`, without a wait for it, is poison. `way`: 0 cp.async, 1 a bulk copy.
static __global__ void kernel_early(int *out, const int *in, int way, bool early)
{
    int *slot = (int *)wi_shared();
    uint64_t *bar = (uint64_t *)(slot + 128);
    if (threadIdx.x == 0) {
        wi_mbar_init(bar, 1);
        wi_mbar_init_done();
    }
    __syncthreads();
    if (way == 0) {
        wi_copy16(slot + threadIdx.x * 4, in + threadIdx.x * 4, true);
        wi_copy_commit();
        if (!early) wi_copy_wait<0>();
    } else if (threadIdx.x == 0) {
        wi_mbar_expect(bar, 512);
        wi_bulk(slot, in, 512, bar);
    }
    __syncthreads();
    if (way == 1 && !early) wi_mbar_wait(bar, 0);
    out[blockIdx.x * 32 + threadIdx.x] = slot[127 - threadIdx.x];
    if (way == 1 && early) wi_mbar_wait(bar, 0);
}

static void test_early_reads(void)
{
    int *out = shared_array<int>(20 * 32), *in = shared_array<int>(128);
    for (int i = 0; i < 128; i++) in[i] = i;
    for (int way = 0; way < 2; way++)
        for (int early = 0; early < 2; early++) {
            int wrong = 0;
            launch(kernel_early, 20, 32, 520, out, in, way, early != 0);
            for (int i = 0; i < 20 * 32; i++) wrong += out[i] != 127 - i % 32;
            CHECK_INT(wrong > 0, early);
        }
    CHECK_CUDA(cudaFree(out));
    CHECK_CUDA(cudaFree(in));
}

// Accumulators read, or a tile written again, before the wait for the wgmma.
static __global__ void kernel_wgmma_early(float *out, int way)
{
    uint16_t *a = (uint16_t *)wi_shared(), *b = a + 64 * 64;
    float d[4] = {}, early = 0;
    for (int i = (int)threadIdx.x; i < 72 * 64; i += 128) a[i] = 0x3f80;
    wi_proxy_fence();
    __syncthreads();
    wi_wgmma_fence();
    wi_wgmma<8>(d, wi_descriptor(a), wi_descriptor(b), true);
    wi_wgmma_commit();
    if (way == 1) early = d[1];
    if (way == 2) {
        __syncthreads();
        for (int i = (int)threadIdx.x; i < 8 * 64; i += 128) b[i] = 0;
    }
    wi_wgmma_wait<0>();
    wi_wgmma_own(d);
    out[blockIdx.x * 128 + threadIdx.x] = way == 1 ? early : d[1];
}

static void test_early_wgmma(void)
{
    float *out = shared_array<float>(10 * 128);
    for (int way = 0; way < 3; way++) {
        int wrong = 0;
        launch(kernel_wgmma_early, 10, 128, 72 * 128, out, way);
        for (int i = 0; i < 10 * 128; i++) wrong += out[i] != 16;
        CHECK_INT(wrong > 0, way > 0);
    }
    CHECK_CUDA(cudaFree(out));
}

// Shared memory begins as poison, in every block.
static __global__ void kernel_stale(unsigned *out)
{
    __shared__ unsigned fixed[4];
    unsigned *free = (unsigned *)wi_shared();
    out[blockIdx.x * 2] = fixed[1];
    out[blockIdx.x * 2 + 1] = free[1];
    fixed[1] = free[1] = 7;
}

static void test_stale_shared(void)
{
    unsigned *out = shared_array<unsigned>(4);
    launch(kernel_stale, 2, 1, 16, out);
    for (int i = 0; i < 4; i++) CHECK_INT(out[i], 0xffffffffu);
    CHECK_CUDA(cudaFree(out));
}

// ---- what cannot go on ----------------------------------------------------------------------------------------------

static __global__ void kernel_deadlock(int way)
{
    uint64_t *bar = (uint64_t *)wi_shared();
    switch (way) {
    case 0: // half of the block at one barrier, half at another
        if (threadIdx.x < 32)
            wi_barrier(1, 64);
        else
            __syncthreads();
        break;
    case 1: // too few arrivals
        if (threadIdx.x == 0) wi_mbar_init(bar, 3), wi_mbar_init_done();
        __syncthreads();
        if (threadIdx.x == 0) wi_mbar_expect(bar, 64);
        wi_mbar_wait(bar, 0);
        break;
    case 2: // a lane that is not there
        if (threadIdx.x != 5)
            __syncwarp();
        else
            __syncthreads();
        break;
    default:
        break;
    }
}

// ---- wrong uses -----------------------------------------------------------------------------------------------------

static __global__ void kernel_wrong(int way, int *in)
{
    unsigned char *memory = wi_shared();
    uint64_t *bar = (uint64_t *)memory;
    int lane = (int)threadIdx.x;
    float d[4] = {};
    const uint32_t regs[4] = {};
    switch (way) {
    case 0: // a shuffle meets another
        if (lane & 1)
            __shfl_sync(0xffffffffu, 1, 0);
        else
            __ballot_sync(0xffffffffu, 1);
        break;
    case 1:
        __shfl_sync(1u, 1, 0);
        break;
    case 2:
        wi_barrier(1, 33);
        break;
    case 3: // a warp arrives twice
        if (lane < 32) wi_barrier_arrive(1, 96), wi_barrier_arrive(1, 96);
        break;
    case 4: // only some of a warp
        if (lane < 16 || lane >= 48) wi_barrier(1, 32);
        break;
    case 5:
        wi_mbar_wait(bar, 0);
        break; // never made
    case 6:    // not shown to others
        if (lane == 0) wi_mbar_init(bar, 1);
        __syncthreads();
        if (lane == 1) wi_mbar_wait(bar, 0);
        break;
    case 7: // one arrival too many
        if (lane) return;
        wi_mbar_init(bar, 1), wi_mbar_init_done(), wi_mbar_expect(bar, 16);
        wi_mbar_arrive(bar);
        break;
    case 8: // a copy nobody waits for
        if (lane) return;
        wi_mbar_init(bar, 1), wi_mbar_init_done(), wi_mbar_expect(bar, 32);
        for (int i = 0; i < 20; i++) wi_bulk(memory + 16, in, 16, bar);
        break;
    case 9:
        memory[2000] = 1;
        break; // one byte past the end
    case 10:
        wi_copy16(memory + 2000, in, true);
        break;
    case 11:
        wi_copy16(memory + 16, in + 1, true);
        break;
    case 12:
        wi_copy16(memory + 16, &lane - (uintptr_t)&lane % 16 / 4, true);
        break; // the host's memory
    case 13:
        wi_wgmma_regs<8>(d, regs, wi_descriptor(memory), false);
        break; // no fence
    case 14:
        wi_wgmma_fence();
        wi_wgmma_regs<8>(d, regs, wi_descriptor(memory + lane / 16 % 2 * 32), false); // lanes differ
        break;
    case 15:
        wi_wgmma_fence();
        wi_wgmma_regs<8>(d, regs, wi_descriptor(memory + 1024), false); // past the end
        wi_wgmma_commit();
        wi_wgmma_wait<0>();
        break;
    case 16:
        wi_wgmma_fence();
        wi_wgmma_regs<8>(d, regs, wi_descriptor(memory), false); // not waited for
        wi_wgmma_commit();
        break;
    case 17: // one warp of four
        if (lane < 32) {
            wi_wgmma_fence();
            wi_wgmma_regs<8>(d, regs, wi_descriptor(memory), false);
            wi_wgmma_commit();
            wi_wgmma_wait<0>();
        }
        break;
    case 18:
        __trap();
        break;
    case 19: // nobody else comes
        if (lane < 32) wi_barrier_arrive(3, 128);
        break;
    case 20:
        in[0x10000000] = 1;
        break; // far outside
    case 21:
        in[1] = 1;
        break; // a little outside
    default:
        break;
    }
}

static int way;
static void deadlock(void) { launch(kernel_deadlock, 1, 64, 64, way); }
static void wrong(void)
{
    int *in;
    CHECK_CUDA(cudaMalloc(&in, way == 21 ? 4 : 16));
    launch(kernel_wrong, 1, 128, 2000, way, in);
    CHECK_CUDA(cudaFree(in));
}
static void host_memory(void)
{
    int number = 0;
    launch(kernel_wrong, 1, 32, 0, 99, &number);
}
static void host_touches(void)
{
    int *memory;
    CHECK_CUDA(cudaMalloc(&memory, 16));
    printf("%d", *(volatile int *)memory);
}

static void test_stopped(void)
{
    static const struct {
        int way;
        const char *part;
    } wrongs[] = {
        {0, "do not meet"},
        {1, "lacks the calling lane"},
        {2, "whole warps"},
        {3, "came twice"},
        {4, "lanes of warp"},
        {5, "no mbarrier was made here"},
        {6, "before wi_mbar_init_done"},
        {7, "more arrivals"},
        {8, "copies that nobody waited for"},
        {9, "wrote past the end of its 2000 bytes of shared memory, 0 bytes behind it"},
        {10, "not in the block's"},
        {11, "multiples of 16"},
        {12, "not the device's memory"},
        {13, "without a wi_wgmma_fence"},
        {14, "differ in a descriptor"},
        {15, "of shared memory"},
        {16, "did not wait for"},
        {17, "warps 0 and 1 of a warpgroup issued 1 and 0"},
        {18, "trap"},
        {19, "barrier 3: 32 of 128 threads came, and the block has ended"},
        {20, TOUCHED},
        {21, "4 bytes that is freed was written 0 bytes past its end"},
    };
    static const char *const deadlocks[] = {
        "threads 0-31 in wi_barrier",
        "(2 of 3 arrivals and 64 bytes to come)",
        "threads 0-4, 6-31 in __syncwarp",
    };
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        way = wrongs[i].way;
        CHECK_STOPPED(wrong, wrongs[i].part);
    }
    for (way = 0; way < 3; way++) {
        CHECK_STOPPED(deadlock, deadlocks[way]);
        CHECK_STOPPED(deadlock, "kernel_deadlock, block (0, 0, 0): deadlock, ");
        CHECK_STOPPED(deadlock, "test_wrong.cc:");
    }
    CHECK_STOPPED(host_memory, "argument 2");
    int key = pkey_alloc(0, 0); // not every processor has them
    if (key >= 0) CHECK_STOPPED(host_touches, TOUCHED);
}

int main(void)
{
    test_missing_barrier();
    test_early_reads();
    test_early_wgmma();
    test_stale_shared();
    test_stopped();
    return 0;
}
