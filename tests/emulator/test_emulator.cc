// Each thing that the emulator does is used by a small kernel whose result is known. test_wrong.cc has what it must
// stop.
#include "tests/emulator/support.h"

// ---- threads, barriers, shuffles, atomics ---------------------------------------------------------------------------

static __global__ void kernel_indices(int *out)
{
    int inside = (int)(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
    int block = (int)(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
    out[block * (int)(blockDim.x * blockDim.y * blockDim.z) + inside] = block * 1000 + inside;
}

static void test_indices(void)
{
    int *out = shared_array<int>(24 * 105);
    launch(kernel_indices, dim3(2, 3, 4), dim3(5, 7, 3), 0, out);
    for (int block = 0; block < 24; block++)
        for (int i = 0; i < 105; i++) CHECK_INT(out[block * 105 + i], block * 1000 + i);
    CHECK_CUDA(cudaFree(out));
}

// Sums 256 numbers by halves, again and again.
static __global__ void kernel_halves(int *out)
{
    __shared__ int sums[256];
    for (int round = 0; round < 20; round++) {
        sums[threadIdx.x] = (int)threadIdx.x + round;
        __syncthreads();
        for (unsigned half = 128; half > 0; half /= 2) {
            if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
            __syncthreads();
        }
        if (threadIdx.x == 0) out[round] = sums[0];
        __syncthreads();
    }
    int odd = __syncthreads_count(threadIdx.x % 3 == 0), any = __syncthreads_or(threadIdx.x == 77),
        all = __syncthreads_and(threadIdx.x < 256), not_all = __syncthreads_and(threadIdx.x < 255);
    if (threadIdx.x == 9) out[20] = odd, out[21] = any, out[22] = all, out[23] = not_all;
}

static void test_barriers(void)
{
    int *out = shared_array<int>(24);
    launch(kernel_halves, 2, 256, 0, out);
    for (int round = 0; round < 20; round++) CHECK_INT(out[round], 255 * 128 + 256 * round);
    CHECK_INT(out[20], 86);
    CHECK_INT(out[21], 1);
    CHECK_INT(out[22], 1);
    CHECK_INT(out[23], 0);
    CHECK_CUDA(cudaFree(out));
}

// Threads that have ended are not waited for; the last warp is not whole.
static __global__ void kernel_ended(int *out)
{
    if (threadIdx.x >= 40 && threadIdx.x < 60) return;
    __syncthreads();
    __syncwarp();
    unsigned there = __ballot_sync(0xffffffffu, 1);
    __syncthreads();
    out[threadIdx.x] = (int)there;
}

static void test_ended(void)
{
    int *out = shared_array<int>(70);
    launch(kernel_ended, 1, 70, 0, out);
    CHECK_INT((unsigned)out[0], 0xffffffffu);
    CHECK_INT((unsigned)out[33], 0xf00000ffu);
    CHECK_INT(out[69], 0x3f);
    CHECK_INT(out[45], 0);
    CHECK_CUDA(cudaFree(out));
}

// One warp fills, one empties, by two named barriers, one of which the filler only arrives at.
static __global__ void kernel_named(int *out)
{
    int *slot = (int *)wi_shared(), lane = (int)threadIdx.x % 32, sum = 0;
    for (int round = 0; round < 10; round++)
        if (threadIdx.x < 32) {
            if (round > 0) wi_barrier(2, 64); // empty
            slot[lane] = round * lane;
            wi_barrier_arrive(1, 64); // full
        } else if (threadIdx.x < 64) {
            wi_barrier(1, 64);
            sum += slot[31 - lane];
            if (round < 9) wi_barrier_arrive(2, 64);
        }
    if (threadIdx.x >= 32 && threadIdx.x < 64) out[lane] = sum;
}

static void test_named_barriers(void)
{
    int *out = shared_array<int>(32);
    launch(kernel_named, 3, 96, 128, out);
    for (int lane = 0; lane < 32; lane++) CHECK_INT(out[lane], 45 * (31 - lane));
    CHECK_CUDA(cudaFree(out));
}

static __global__ void kernel_shuffles(int *out)
{
    const unsigned all = 0xffffffffu;
    int lane = (int)threadIdx.x % 32, *mine = out + threadIdx.x * 10;
    mine[0] = __shfl_sync(all, lane * 3, 5);
    mine[1] = __shfl_sync(all, lane * 3, lane + 1, 8);
    mine[2] = __shfl_xor_sync(all, lane, 17);
    mine[3] = __shfl_up_sync(all, lane, 3u);
    mine[4] = __shfl_down_sync(all, lane, 3u, 16);
    float f = 1.0f + (float)lane;
    for (int step = 16; step > 0; step /= 2) f += __shfl_xor_sync(all, f, step);
    mine[5] = (int)f;
    mine[6] = (int)(__shfl_sync(all, (long long)lane << 40, 9) >> 40);
    mine[7] = (int)__ballot_sync(all, lane % 5 == 0);
    mine[8] = __any_sync(all, lane == 40) * 2 + __all_sync(all, lane < 32);
    if (lane < 16) // halves that part
        mine[9] = __shfl_sync(0xffffu, lane, 15);
    else
        mine[9] = __reduce_max_sync(0xffff0000u, lane) + __reduce_add_sync(0xffff0000u, 1);
}

static void test_shuffles(void)
{
    int *out = shared_array<int>(640);
    launch(kernel_shuffles, 1, 64, 0, out);
    for (int i = 0; i < 64; i++) {
        int lane = i % 32, *mine = out + i * 10;
        CHECK_INT(mine[0], 15);
        CHECK_INT(mine[1], (lane / 8 * 8 + (lane + 1) % 8) * 3);
        CHECK_INT(mine[2], lane ^ 17);
        CHECK_INT(mine[3], lane < 3 ? lane : lane - 3);
        CHECK_INT(mine[4], lane % 16 + 3 < 16 ? lane + 3 : lane);
        CHECK_INT(mine[5], 528);
        CHECK_INT(mine[6], 9);
        CHECK_INT((unsigned)mine[7], 0x42108421u);
        CHECK_INT(mine[8], 1);
        CHECK_INT(mine[9], lane < 16 ? 15 : 47);
    }
    CHECK_CUDA(cudaFree(out));
}

static __global__ void kernel_atomics(unsigned *out, unsigned long long *wide, int *small)
{
    atomicAdd(out, 1u);
    atomicAdd(wide, 1ull << 33);
    atomicMin(small, -(int)threadIdx.x);
    atomicMax(small + 1, (int)threadIdx.x);
    unsigned was, now = 0;
    do { // a lock
        was = now;
        now = atomicCAS(out + 1, was, was + 1);
    } while (now != was);
    __shared__ bool last;
    __syncthreads();
    __threadfence();
    if (threadIdx.x == 0) last = atomicInc(out + 2, gridDim.x - 1) == gridDim.x - 1;
    __syncthreads();
    if (last && threadIdx.x == 3) out[3] = out[1];
}

static void test_atomics(void)
{
    unsigned *out = shared_array<unsigned>(4);
    unsigned long long *wide = shared_array<unsigned long long>(1);
    int *small = shared_array<int>(2);
    launch(kernel_atomics, 3, 100, 0, out, wide, small);
    CHECK_INT(out[0], 300);
    CHECK_INT(out[1], 300);
    CHECK_INT(out[2], 0);
    CHECK_INT(out[3], 300);
    CHECK_INT(*wide >> 33, 300);
    CHECK_INT(small[0], -99);
    CHECK_INT(small[1], 99);
    CHECK_CUDA(cudaFree(out));
    CHECK_CUDA(cudaFree(wide));
    CHECK_CUDA(cudaFree(small));
}

static void test_bits(void)
{
    CHECK_INT(__popc(0xf0f0u), 8);
    CHECK_INT(__ffs(8), 4);
    CHECK_INT(__clz(1), 31);
    CHECK_INT(__brev(3), 0xc0000000u);
    CHECK_INT(__byte_perm(0x33221100, 0x77665544, 0x7531), 0x77553311);
    CHECK_INT(__funnelshift_r(0x80000000u, 1, 31), 3);
    CHECK_INT(__dp4a(0x01ff0203, 0x01020304, 10), 10 + 12 + 6 - 2 + 1);
    CHECK_INT(__float2int_rn(2.5f), 2);
    CHECK_INT(__float2int_rz(-3e20f), INT32_MIN);
    CHECK_INT(__float2int_rn(NAN), 0);
    CHECK_INT(wi_bf16_pair(1.00390625f, -1.01171875f), 0xbf823f80u); // both are ties
    CHECK_REAL(wi_exp2(-3), 0.125);
    CHECK_REAL(wi_exp2(-140), 0);
    CHECK_INT(max(3, 4u), 4);
}

// ---- cp.async, ldmatrix, mma ----------------------------------------------------------------------------------------

// One warp: out (16, 8) += a (16, k) times b (8, k), both row-major, k in steps of 16 through two stages of cp.async.
// `way` 1 has b as (k, 8) and reads it transposed.
static __global__ void kernel_mma(float *out, const uint16_t *a, const uint16_t *b, int k, int way)
{
    uint16_t *stage = (uint16_t *)wi_shared(); // each: a (16, 16), b (8, 16) or (16, 8)
    int lane = (int)threadIdx.x, steps = k / 16;
    float d[4] = {};
    auto fetch = [&](int step) {
        uint16_t *to = stage + step % 2 * 384;
        if (step < steps) {
            wi_copy16(to + lane / 2 * 16 + lane % 2 * 8, a + lane / 2 * k + step * 16 + lane % 2 * 8, true);
            if (lane < 16 && way == 0)
                wi_copy16(to + 256 + lane * 8, b + lane / 2 * k + step * 16 + lane % 2 * 8, true);
            if (lane < 16 && way == 1) wi_copy16(to + 256 + lane * 8, b + (step * 16 + lane) * 8, true);
        }
        wi_copy_commit();
    };
    fetch(0);
    for (int step = 0; step < steps; step++) {
        fetch(step + 1);
        wi_copy_wait<1>();
        __syncwarp();
        const uint16_t *from = stage + step % 2 * 384;
        uint32_t of_a[4], of_b[2];
        wi_ldmatrix4(of_a, from + (lane % 16) * 16 + lane / 16 * 8);
        if (way == 0)
            wi_ldmatrix2(of_b, from + 256 + lane % 8 * 16 + lane / 8 % 2 * 8);
        else
            wi_ldmatrix2_t(of_b, from + 256 + lane % 16 * 8);
        wi_mma(d, of_a, of_b);
        __syncwarp();
    }
    for (int i = 0; i < 4; i++) out[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}

static void test_mma(void)
{
    const int k = 80;
    float *out = shared_array<float>(128);
    uint16_t *a = shared_array<uint16_t>(16 * k), *b = shared_array<uint16_t>(8 * k);
    for (int i = 0; i < 16 * k; i++) a[i] = small_bf16((uint32_t)i);
    for (int i = 0; i < 8 * k; i++) b[i] = small_bf16((uint32_t)i + 7777);
    for (int way = 0; way < 2; way++) {
        launch(kernel_mma, 2, 32, 1536, out, a, b, k, way);
        for (int m = 0; m < 16; m++)
            for (int n = 0; n < 8; n++) {
                double sum = 0;
                for (int i = 0; i < k; i++) sum += value_of(a[m * k + i]) * value_of(b[way ? i * 8 + n : n * k + i]);
                CHECK_REAL(out[m * 8 + n], sum);
            }
    }
    CHECK_CUDA(cudaFree(out));
    CHECK_CUDA(cudaFree(a));
    CHECK_CUDA(cudaFree(b));
}

// Where nothing is there: zeros, and the address is not read.
static __global__ void kernel_copy16(uint4 *out, const uint4 *in)
{
    uint4 *slot = (uint4 *)wi_shared();
    wi_copy16(slot + threadIdx.x, in + threadIdx.x * 1000000, threadIdx.x == 0);
    wi_copy_commit();
    wi_copy_wait<0>();
    uint4 got = slot[threadIdx.x], once = wi_load_once(in);
    out[threadIdx.x] = make_uint4(got.x, got.y, once.z, once.w);
}

static void test_copy16(void)
{
    uint4 *out = shared_array<uint4>(2), *in = shared_array<uint4>(1);
    in[0] = make_uint4(1, 2, 3, 4);
    launch(kernel_copy16, 1, 2, 32, out, in);
    CHECK_INT(out[0].x + out[0].y * 10 + out[0].z * 100 + out[0].w * 1000, 4321);
    CHECK_INT(out[1].x + out[1].y * 10 + out[1].z * 100 + out[1].w * 1000, 4300);
    CHECK_CUDA(cudaFree(out));
    CHECK_CUDA(cudaFree(in));
}

// ---- bulk copies, tensors and wgmma ---------------------------------------------------------------------------------

enum { STAGES = 3, FULL = 0, EMPTY = STAGES };

// A warp brings tiles, a warpgroup multiplies: out (64, N) = a (64, k) times b (N, k), or b (k, N) as rows of K.
// `way`: 0 both in shared memory, 1 A in registers, 2 A in registers and B MN-major.
template <int N>
static __global__ void kernel_wgmma(float *out, const __grid_constant__ CUtensorMap a,
                                    const __grid_constant__ CUtensorMap b, int k, int way)
{
    const uint32_t a_bytes = 64 * 128, b_bytes = (N + 63) / 64 * 64 * 128;
    unsigned char *tiles = wi_shared();
    uint64_t *bars = (uint64_t *)(tiles + STAGES * (a_bytes + b_bytes));
    int steps = (k + 63) / 64, warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) wi_mbar_init(bars + FULL + i, 1), wi_mbar_init(bars + EMPTY + i, 128);
        wi_mbar_init_done();
    }
    __syncthreads();
    if (warp == 4) {
        wi_registers_down<40>();
        if (lane != 0) return;
        wi_tensor_prefetch(&a);
        for (int step = 0; step < steps; step++) {
            int stage = step % STAGES;
            unsigned char *tile = tiles + (uint32_t)stage * (a_bytes + b_bytes);
            wi_mbar_wait(bars + EMPTY + stage, (step / STAGES & 1) ^ 1);
            wi_mbar_expect(bars + FULL + stage, a_bytes + (way == 2 ? b_bytes : N * 128));
            wi_tensor2(tile, &a, step * 64, 0, bars + FULL + stage);
            if (way == 2) // blocks of 64 columns, each 64 rows of K
                for (int n = 0; n < N; n += 64)
                    wi_tensor2(tile + a_bytes + n * 128, &b, n, step * 64, bars + FULL + stage);
            else
                wi_tensor2(tile + a_bytes, &b, step * 64, 0, bars + FULL + stage);
        }
        return;
    }
    wi_registers_up<232>();
    float d[N / 2];
    for (int step = 0; step < steps; step++) {
        int stage = step % STAGES;
        const unsigned char *tile = tiles + (uint32_t)stage * (a_bytes + b_bytes), *of_b = tile + a_bytes;
        uint32_t regs[4][4];
        wi_mbar_wait(bars + FULL + stage, step / STAGES & 1);
        for (int i = 0; i < 4 && way > 0; i++) {
            int row = warp * 16 + lane % 16, chunk = i * 2 + lane / 16;
            wi_ldmatrix4(regs[i], tile + row * 128 + ((chunk ^ (row & 7)) << 4));
        }
        wi_wgmma_fence();
        for (int i = 0; i < 4; i++) {
            if (way == 0) wi_wgmma<N>(d, wi_descriptor(tile + i * 32), wi_descriptor(of_b + i * 32), step + i > 0);
            if (way == 1) wi_wgmma_regs<N>(d, regs[i], wi_descriptor(of_b + i * 32), step + i > 0);
            if (way == 2) wi_wgmma_regs_t<N>(d, regs[i], wi_descriptor_t(of_b + i * 2048, 8192), step + i > 0);
        }
        wi_wgmma_commit();
        // The stage before may be filled again, and this one is left under way.
        wi_wgmma_wait<1>();
        if (step > 0) wi_mbar_arrive(bars + EMPTY + (step - 1) % STAGES);
    }
    wi_wgmma_wait<0>();
    wi_wgmma_own(d);
    for (int i = 0; i < N / 2; i++)
        out[(warp * 16 + lane / 4 + i / 2 % 2 * 8) * N + i / 4 * 8 + lane % 4 * 2 + i % 2] = d[i];
}

template <int N> static void test_wgmma_of(int k)
{
    float *out = shared_array<float>(64 * N);
    uint16_t *a = shared_array<uint16_t>((size_t)64 * (size_t)k), *b = shared_array<uint16_t>((size_t)N * (size_t)k);
    size_t shared = STAGES * (64 * 128 + (N + 63) / 64 * 64 * 128) + 2 * STAGES * 8;
    for (int i = 0; i < 64 * k; i++) a[i] = small_bf16((uint32_t)i);
    for (int i = 0; i < N * k; i++) b[i] = small_bf16((uint32_t)i + 7777);
    for (int way = 0; way < 3; way++) {
        CUtensorMap of_a, of_b;
        CHECK_CUDA(wi_tensor_map2(&of_a, a, (uint64_t)k, 64, (uint64_t)k * 2, 64, 64));
        if (way < 2) CHECK_CUDA(wi_tensor_map2(&of_b, b, (uint64_t)k, N, (uint64_t)k * 2, 64, N));
        if (way == 2) CHECK_CUDA(wi_tensor_map2(&of_b, b, N, (uint64_t)k, N * 2, 64, 64));
        launch(kernel_wgmma<N>, 2, 160, shared, out, of_a, of_b, k, way);
        for (int m = 0; m < 64; m++)
            for (int n = 0; n < N; n++) {
                double sum = 0;
                for (int i = 0; i < k; i++)
                    sum += value_of(a[m * k + i]) * value_of(b[way == 2 ? i * N + n : n * k + i]);
                CHECK_REAL(out[m * N + n], sum);
            }
    }
    CHECK_CUDA(cudaFree(out));
    CHECK_CUDA(cudaFree(a));
    CHECK_CUDA(cudaFree(b));
}

static void test_wgmma(void)
{
    test_wgmma_of<8>(64);
    test_wgmma_of<24>(200); // the last tile is partly outside: zeros
    test_wgmma_of<64>(328);
    test_wgmma_of<96>(136);
    test_wgmma_of<256>(128);
}

// A box of a tensor of three dimensions, partly outside, and a plain copy.
static __global__ void kernel_boxes(uint16_t *out, const __grid_constant__ CUtensorMap map, const uint16_t *plain)
{
    uint16_t *box = (uint16_t *)wi_shared(), *line = box + 2 * 4 * 64;
    uint64_t *bar = (uint64_t *)(line + 64);
    if (threadIdx.x == 0) {
        wi_mbar_init(bar, 1);
        wi_mbar_init_done();
        wi_mbar_expect(bar, 2 * 4 * 128 + 128);
        wi_tensor3(box, &map, -3, 4, 2, bar);
        wi_bulk(line, plain, 128, bar);
    }
    __syncthreads();
    wi_mbar_wait(bar, 0);
    for (int i = (int)threadIdx.x; i < 512; i += 32) {
        int row = i / 64, column = i % 64;
        out[i] = box[row * 64 + ((column / 8) ^ (row & 7)) * 8 + column % 8];
    }
    for (int i = (int)threadIdx.x; i < 64; i += 32) out[512 + i] = line[i];
}

static void test_boxes(void)
{
    uint16_t *out = shared_array<uint16_t>(576), *in = shared_array<uint16_t>(3 * 6 * 72);
    CUtensorMap map;
    for (int i = 0; i < 3 * 6 * 72; i++) in[i] = (uint16_t)(i + 1);
    CHECK_CUDA(wi_tensor_map3(&map, in, 70, 6, 144, 3, 6 * 144, 64, 4, 2));
    launch(kernel_boxes, 1, 32, 2 * 4 * 128 + 128 + 8, out, map, in + 8);
    for (int z = 0; z < 2; z++)
        for (int y = 0; y < 4; y++)
            for (int x = 0; x < 64; x++) {
                bool there = x >= 3 && y + 4 < 6 && z + 2 < 3;
                CHECK_INT(out[(z * 4 + y) * 64 + x], there ? in[((z + 2) * 6 + y + 4) * 72 + x - 3] : 0);
            }
    for (int i = 0; i < 64; i++) CHECK_INT(out[512 + i], in[8 + i]);
    CHECK_INT(wi_tensor_map2(&map, in, 64, 6, 136, 64, 6), cudaErrorInvalidValue);
    CHECK_INT(wi_tensor_map2(&map, in, 64, 6, 144, 64, 257), cudaErrorInvalidValue);
    CHECK_CUDA(cudaFree(out));
    CHECK_CUDA(cudaFree(in));
}

// ---- the runtime ----------------------------------------------------------------------------------------------------

static __global__ void kernel_add(int *out, int by) { atomicAdd(out, by); }

static void test_streams(void)
{
    cudaStream_t one, two;
    cudaEvent_t event;
    int *device, *pinned, got = 0, *never = NULL;
    CHECK_CUDA(cudaStreamCreateWithFlags(&one, cudaStreamNonBlocking));
    CHECK_CUDA(cudaStreamCreateWithFlags(&two, cudaStreamNonBlocking));
    CHECK_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    CHECK_CUDA(cudaMalloc(&device, 4));
    CHECK_CUDA(cudaMallocHost(&pinned, 4));
    for (int round = 0; round < 50; round++) {
        *pinned = 100;
        CHECK_CUDA(cudaMemcpyAsync(device, pinned, 4, cudaMemcpyHostToDevice, one));
        for (int i = 0; i < 10; i++) CHECK_CUDA(start(kernel_add, 1, 1, 0, one, device, 1));
        CHECK_CUDA(cudaEventRecord(event, one));
        CHECK_CUDA(cudaStreamWaitEvent(two, event));
        CHECK_CUDA(start(kernel_add, 2, 3, 0, two, device, 1000));
        CHECK_CUDA(cudaMemcpyAsync(pinned, device, 4, cudaMemcpyDeviceToHost, two));
        CHECK_CUDA(cudaStreamSynchronize(two));
        CHECK_INT(*pinned, 6110);
        CHECK_CUDA(cudaEventQuery(event));
    }
    CHECK_CUDA(cudaMemsetAsync(device, 0, 4, one));
    CHECK_CUDA(cudaMemcpyAsync(&got, device, 4, cudaMemcpyDeviceToHost, one)); // waits: this memory is not pinned
    CHECK_INT(got, 0);
    CHECK_INT(cudaMemcpy(device, device, 8, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
    CHECK_INT(cudaGetLastError(), cudaErrorInvalidValue);
    CHECK_INT(cudaGetLastError(), cudaSuccess);
    CHECK_INT(start(kernel_add, 1, 1025, 0, one, device, 1), cudaErrorInvalidConfiguration);
    CHECK_INT(cudaFuncSetAttribute(kernel_add, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 * 1024 + 1),
              cudaErrorInvalidValue);
    CHECK_TEXT(cudaGetErrorName(cudaErrorInvalidConfiguration), "cudaErrorInvalidConfiguration");
    cudaLaunchConfig_t config = {};
    config.dynamicSmemBytes = 49 * 1024; // not asked for
    CHECK_INT(cudaLaunchKernelEx(&config, kernel_add, never, 1), cudaErrorInvalidValue);
    CHECK_CUDA(cudaFree(device));
    CHECK_CUDA(cudaFreeHost(pinned));
    CHECK_CUDA(cudaEventDestroy(event));
    CHECK_CUDA(cudaStreamDestroy(one));
    CHECK_CUDA(cudaStreamDestroy(two));
}

static void test_graphs(void)
{
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    int *out = shared_array<int>(1);
    CHECK_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < 3; i++) CHECK_CUDA(start(kernel_add, 1, 2, 0, stream, out, 5));
    CHECK_INT(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported);
    CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
    CHECK_CUDA(cudaDeviceSynchronize());
    CHECK_INT(*out, 0);
    CHECK_CUDA(cudaGraphInstantiate(&exec, graph));
    CHECK_CUDA(cudaGraphDestroy(graph));
    for (int i = 0; i < 4; i++) CHECK_CUDA(cudaGraphLaunch(exec, stream));
    CHECK_CUDA(cudaStreamSynchronize(stream));
    CHECK_INT(*out, 120);
    CHECK_CUDA(cudaGraphExecDestroy(exec));
    CHECK_CUDA(cudaStreamDestroy(stream));
    CHECK_CUDA(cudaFree(out));
}

int main(void)
{
    test_indices();
    test_barriers();
    test_ended();
    test_named_barriers();
    test_shuffles();
    test_atomics();
    test_bits();
    test_mma();
    test_copy16();
    test_wgmma();
    test_boxes();
    test_streams();
    test_graphs();
    return 0;
}
