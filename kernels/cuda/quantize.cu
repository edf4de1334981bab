// Rows to int8, int4 and e4m3 with scales, and back. A warp takes a group, a block of 256 threads one of more than 1024
// columns; each thread takes two columns at a time, a byte of int4. Bound by memory: a group is read twice, the second
// time from the caches.
#include "kernels/cuda/rows.cuh"

#include <math.h>

#include "kernels/cuda/row.cuh"

enum { THREADS = 256, WIDE = 1024 };

// Of one group.
typedef struct {
    float inverse;
    int32_t shift, low, high; // a code is round(x * inverse) + shift, held in low..high
    bool good, floats;        // floats: a code is x * inverse as e4m3
} coder;

// By each thread alike; thread `first` writes the scale and the zero.
static __device__ __forceinline__ coder coder_of(const weft_quantize &a, size_t at, float low, float high, bool good,
                                                 bool first)
{
    const bool wide = a.type == WEFT_I8;
    const float steps = a.type == WEFT_E4M3 ? 448.0F : a.zeros ? (wide ? 255.0F : 15.0F) : (wide ? 127.0F : 7.0F);
    const float largest = high > -low ? high : -low;
    float scale = a.zeros ? high / steps - low / steps : largest / steps, zero = 0;
    if (scale < 0x1p-126F) scale = 0; // too small for an inverse: all codes stand for 0
    const float inverse = scale > 0 ? 1.0F / scale : 0.0F;
    if (a.zeros && good) {
        const float lowest = wide ? -128.0F : -8.0F;
        zero = rintf(lowest - low * inverse);
        zero = zero < lowest ? lowest : zero > lowest + steps ? lowest + steps : zero;
    }
    if (first) {
        a.scales[at] = good ? scale : wi_nan();
        if (a.zeros) a.zeros[at] = (int8_t)zero;
    }
    coder c;
    c.inverse = inverse;
    c.shift = (int32_t)zero + (wide ? 0 : 8); // a stored int4 is 8 over its level
    c.low = a.zeros ? (wide ? -128 : 0) : (wide ? -127 : 1);
    c.high = wide ? 127 : 15;
    c.good = good;
    c.floats = a.type == WEFT_E4M3;
    return c;
}

static __device__ __forceinline__ int32_t code_of(const coder &c, float x)
{
    if (c.floats) return c.good ? (int32_t)wi_e4m3_of_float(x * c.inverse) : 0;
    const int32_t code = (c.good ? (int32_t)rintf(x * c.inverse) : 0) + c.shift;
    return code < c.low ? c.low : code > c.high ? c.high : code;
}

// The lowest and the highest of what the threads of the group have found, 0 among them.
static __device__ __forceinline__ void range_of_warp(float &low, float &high, unsigned &bad)
{
    for (int half = WI_WARP / 2; half > 0; half /= 2) {
        const float l = __shfl_xor_sync(WI_EVERYONE, low, half), h = __shfl_xor_sync(WI_EVERYONE, high, half);
        low = l < low ? l : low;
        high = h > high ? h : high;
        bad |= __shfl_xor_sync(WI_EVERYONE, bad, half);
    }
}

template <int TOGETHER>
static __global__ void __launch_bounds__(THREADS) quantize_groups(weft_quantize a, size_t group, unsigned groups)
{
    __shared__ float lows[THREADS / WI_WARP], highs[THREADS / WI_WARP];
    __shared__ unsigned bads[THREADS / WI_WARP];
    const unsigned thread = threadIdx.x % TOGETHER, warp = threadIdx.x / WI_WARP;
    const size_t which = ((size_t)blockIdx.x * THREADS + threadIdx.x) / TOGETHER;
    const size_t row = which / groups, g = which % groups;
    const bool there = row < a.rows;
    const size_t begin = there ? g * group : 0, left = there ? a.width - begin : 0, n = left < group ? left : group;
    const float *x = a.in + (there ? row * a.in_stride : 0) + begin;
    float low = 0, high = 0;
    unsigned bad = 0;
    for (size_t i = thread; i < n; i += TOGETHER) {
        const float v = x[i];
        low = v < low ? v : low;
        high = v > high ? v : high;
        bad |= !((wi_bits_of_float(v) & 0x7fffffff) < 0x7f800000);
    }
    range_of_warp(low, high, bad);
    if (TOGETHER > WI_WARP) {
        if (threadIdx.x % WI_WARP == 0) lows[warp] = low, highs[warp] = high, bads[warp] = bad;
        __syncthreads();
        const unsigned from = threadIdx.x % (THREADS / WI_WARP);
        low = lows[from], high = highs[from], bad = bads[from];
        range_of_warp(low, high, bad);
    }
    if (!there) return;
    const coder c = coder_of(a, row * a.scale_stride + g, low, high, !bad, thread == 0);
    uint8_t *codes = (uint8_t *)a.codes + row * a.code_stride;
    for (size_t i = 2 * thread; i < n; i += 2 * TOGETHER) {
        const bool second = i + 1 < n;
        const int32_t one = code_of(c, x[i]), two = second ? code_of(c, x[i + 1]) : 0;
        if (a.type != WEFT_I4) {
            codes[begin + i] = (uint8_t)one;
            if (second) codes[begin + i + 1] = (uint8_t)two;
        } else {
            codes[(begin + i) / 2] = (uint8_t)((one & 15) | (two & 15) << 4);
        }
    }
}

void wi_cuda_quantize(const weft_op *op, const weft_quantize *args)
{
    const weft_quantize *a = args;
    const size_t group = a->group ? a->group : a->width, groups = group ? (a->width + group - 1) / group : 0;
    if (a->rows * groups == 0) return;
    if (group > WIDE)
        wi_launch(op, "quantize", quantize_groups<THREADS>, dim3((unsigned)(a->rows * groups)), dim3(THREADS), 0, *a,
                  group, (unsigned)groups);
    else
        wi_launch(op, "quantize", quantize_groups<WI_WARP>, dim3(wi_grid_of(a->rows * groups, THREADS / WI_WARP)),
                  dim3(THREADS), 0, *a, group, (unsigned)groups);
}

// A thread takes two columns: a byte of int4.
static __global__ void __launch_bounds__(THREADS) dequantize_rows(weft_dequantize a, size_t group)
{
    const size_t row = blockIdx.x;
    const uint8_t *codes = (const uint8_t *)a.codes + row * a.code_stride;
    float *out = a.out + row * a.out_stride;
    for (size_t i = 2 * wi_row_item(); i < a.width; i += 2 * wi_items()) {
        const unsigned pair = a.type != WEFT_I4 ? 0U : codes[i / 2];
#pragma unroll
        for (unsigned j = 0; j < 2; j++) {
            if (i + j >= a.width) break;
            const int32_t code = a.type == WEFT_I8 ? (int32_t)(int8_t)codes[i + j] : (int32_t)(pair >> 4 * j & 15) - 8;
            const float level = a.type == WEFT_E4M3 ? wi_float_of_e4m3(codes[i + j]) : (float)code;
            const size_t g = row * a.scale_stride + (i + j) / group;
            out[i + j] = (level - (a.zeros ? (float)a.zeros[g] : 0.0F)) * a.scales[g];
        }
    }
}

void wi_cuda_dequantize(const weft_op *op, const weft_dequantize *args)
{
    const weft_dequantize *a = args;
    const size_t items = (a->width + 1) / 2;
    const unsigned threads = wi_row_threads(items, THREADS);
    if (a->rows == 0 || items == 0) return;
    wi_launch(op, "dequantize", dequantize_rows, wi_row_grid(a->rows, items, threads), dim3(threads), 0, *a,
              a->group ? a->group : a->width);
}
