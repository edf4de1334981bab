// What the device's memory and its f32 units give when nothing else is asked of them: loops for measurements.
#include "kernels/cuda/cuda.cuh"

enum { THREADS = 256, LOADS = 8, CHAINS = 16, BLOCKS_EACH = 8 };

// A block reads pieces of THREADS * LOADS * 16 bytes, every gridDim'th; a thread has LOADS loads under way. What it
// read is written only if it were a number that it is not. Grid: BLOCKS_EACH blocks a processor. Bound by memory.
static __global__ void __launch_bounds__(THREADS) read_all(const uint4 *from, size_t count, uint32_t *out)
{
    const size_t piece = (size_t)THREADS * LOADS;
    uint32_t sum = 0;
    for (size_t at = blockIdx.x * piece + threadIdx.x; at < count; at += gridDim.x * piece) {
        uint4 got[LOADS];
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            const size_t place = at + (size_t)i * THREADS;
            got[i] = place < count ? from[place] : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (int i = 0; i < LOADS; i++) sum |= got[i].x ^ got[i].y ^ got[i].z ^ got[i].w;
    }
    if (sum == 0x5eed1234) *out = sum;
}

// A thread has CHAINS chains, each fma on top of the one before. Grid: BLOCKS_EACH blocks a processor. Bound by the
// rate of fma.
static __global__ void __launch_bounds__(THREADS) multiply_all(int rounds, float factor, float *out)
{
    float x[CHAINS], sum = 0;
#pragma unroll
    for (int i = 0; i < CHAINS; i++) x[i] = (float)((int)threadIdx.x + i);
    for (int r = 0; r < rounds; r++)
#pragma unroll
        for (int i = 0; i < CHAINS; i++) x[i] = fmaf(x[i], factor, 1.0F);
#pragma unroll
    for (int i = 0; i < CHAINS; i++) sum += x[i];
    if (sum == -1.0F) *out = sum; // it is above 0
}

static void probe_read(const weft_op *op, const void *from, size_t bytes, uint32_t *out)
{
    const unsigned blocks = (unsigned)(wi_processors(op) * BLOCKS_EACH);
    wi_launch(op, "probe: read", read_all, dim3(blocks), dim3(THREADS), 0, (const uint4 *)from, bytes / sizeof(uint4),
              out);
}

static double probe_multiply(const weft_op *op, int rounds, float *out)
{
    const unsigned blocks = (unsigned)(wi_processors(op) * BLOCKS_EACH);
    wi_launch(op, "probe: fma", multiply_all, dim3(blocks), dim3(THREADS), 0, rounds, 0.5F, out);
    return 2.0 * blocks * THREADS * CHAINS * rounds;
}

void wi_cuda_probe(weft_kernels *table)
{
    table->probe.read = probe_read;
    table->probe.multiply = probe_multiply;
}
