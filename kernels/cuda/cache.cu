// Writing into the paged cache, and its canonical bytes. The steps of kernels/cpu/cache.inc, so the stored values have
// the bits of `ref`.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/cache.cuh"

enum { WARPS = 8, THREADS = WARPS * WI_WARP, SPAN_BLOCKS_MAX = 1024 };

struct write_work {
    wi_cache_view cache;
    const float *k, *v;
    size_t k_stride, v_stride;
    const weft_cache_span *spans;
};

static __device__ float warp_top(float x)
{
    for (int half = WI_WARP / 2; half > 0; half /= 2) {
        const float y = __shfl_xor_sync(0xffffffff, x, half);
        x = y > x ? y : x;
    }
    return x;
}

// The scale of a row: NaN where it holds an inf or a NaN, for there is none that would keep its other values.
static __device__ float row_scale(const float *x, int n, float most, int lane)
{
    float top = 0;
    bool finite = true;
    for (int i = lane; i < n; i += WI_WARP) {
        const float a = wi_float_of_bits(wi_bits_of_float(x[i]) & 0x7fffffff);
        finite &= a <= 0x1.fffffep127F;
        top = a > top ? a : top;
    }
    top = warp_top(top);
    return __all_sync(0xffffffff, finite) ? top / most : wi_nan();
}

static __device__ uint8_t code_of(float x, float scale, bool floats)
{
    if (!(scale > 0)) return 0;
    if (floats) return (uint8_t)wi_e4m3_of_float(x / scale);
    float q = rintf(x / scale);
    q = q > 127.0F ? 127.0F : q < -127.0F ? -127.0F : q; // a denormal scale is a rough one
    return (uint8_t)(int)q;
}

// One row of a head by a warp: n values, zeros up to `columns`.
static __device__ void put_row(int type, unsigned char *head, size_t values, int at, const float *x, int n, int columns,
                               int lane)
{
    if (type == WEFT_CACHE_F32) {
        uint32_t *to = (uint32_t *)head + (size_t)at * columns;
        for (int i = lane; i < columns; i += WI_WARP) to[i] = i < n ? wi_bits_of_float(x[i]) : 0;
    } else if (type == WEFT_CACHE_BF16) {
        uint16_t *to = (uint16_t *)head + (size_t)at * columns;
        for (int i = lane; i < columns; i += WI_WARP) to[i] = i < n ? wi_bf16_of_float(x[i]) : (uint16_t)0;
    } else {
        const bool floats = type == WEFT_CACHE_FP8;
        const float scale = row_scale(x, n, floats ? 448.0F : 127.0F, lane);
        uint8_t *to = head + (size_t)at * columns;
        for (int i = lane; i < columns; i += WI_WARP) to[i] = i < n ? code_of(x[i], scale, floats) : (uint8_t)0;
        if (lane == 0) ((float *)(head + values))[at] = scale;
    }
}

// A warp writes K and V of one row and head. The y of the grid is the span, its x steps over rows and heads. Bound by
// the bytes read and written.
static __global__ void write_rows(write_work w)
{
    const weft_cache_span span = w.spans[blockIdx.y];
    const wi_cache_view &c = w.cache;
    const int lane = (int)threadIdx.x % WI_WARP;
    const size_t count = (size_t)(span.rows > 0 ? span.rows : 0) * (size_t)c.heads, step = (size_t)gridDim.x * WARPS;
    for (size_t i = (size_t)blockIdx.x * WARPS + threadIdx.x / WI_WARP; i < count; i += step) {
        const size_t row = i / (size_t)c.heads;
        const int head = (int)(i % (size_t)c.heads), at = (int)((span.position + (int64_t)row) % c.block);
        const int32_t block = span.blocks[(span.position + (int64_t)row) / c.block];
        if (block < 0) continue;
        const float *k = w.k + ((size_t)span.row + row) * w.k_stride + (size_t)head * (size_t)c.k_size;
        const float *v = w.v + ((size_t)span.row + row) * w.v_stride + (size_t)head * (size_t)c.v_size;
        put_row(c.type, wi_cache_k(c, block, head), c.k_values, at, k, c.k_size, c.k_size, lane);
        put_row(c.type, wi_cache_v(c, block, head), c.v_values, at, v, c.v_size, c.columns, lane);
    }
}

// Spans of the host arrive with their block lists. Those of the device name lists of the device.
static const weft_cache_span *spans_arrived(const weft_op *op, const weft_cache_span *spans, int count, int block)
{
    const weft_cache_span *there = wi_arrived(op, spans, (size_t)count);
    if (there == spans) return there;
    const void *device;
    weft_cache_span *with_lists = (weft_cache_span *)wi_arrive_room(op, (size_t)count * sizeof *spans, &device);
    if (!with_lists) return NULL;
    for (int i = 0; i < count; i++) {
        const int64_t end = spans[i].position + spans[i].rows;
        with_lists[i] = spans[i];
        with_lists[i].blocks = wi_arrived(op, spans[i].blocks, (size_t)((end + block - 1) / block));
    }
    return (const weft_cache_span *)device;
}

void wi_cuda_cache_write(const weft_op *op, const weft_cache_write *args)
{
    write_work w = {};
    if (args->span_count <= 0) return;
    w.cache = wi_cache_task_of(args->cache);
    w.k = args->k;
    w.v = args->v;
    w.k_stride = args->k_stride;
    w.v_stride = args->v_stride;
    w.spans = spans_arrived(op, args->spans, args->span_count, args->cache->block);
    if (!w.spans) return;
    size_t most = 1; // warps that have a row
    if (w.spans != args->spans) {
        for (int i = 0; i < args->span_count; i++)
            most = (size_t)args->spans[i].rows > most ? (size_t)args->spans[i].rows : most;
    } else {
        most = 64;
    }
    unsigned blocks = 1; // a power of two, so that a step's launches come again
    while (blocks < wi_grid_of(most * (size_t)w.cache.heads, WARPS) && blocks < SPAN_BLOCKS_MAX) blocks *= 2;
    for (int first = 0; first < args->span_count; first += 65535) {
        const int left = args->span_count - first;
        write_work some = w;
        some.spans = w.spans + first;
        wi_launch(op, "cache write", write_rows, dim3(blocks, (unsigned)(left < 65535 ? left : 65535)), THREADS, 0,
                  some);
    }
}

struct copy_work {
    wi_cache_view cache;
    weft_cache_span span;
    unsigned char *k, *v;
    float *k_scale, *v_scale;
    int head;
    bool import;
};

// A row of `size` bytes inside a head's `inside_size`; the rest are zeros.
static __device__ void copy_row(unsigned char *inside, int inside_size, unsigned char *outside, int size, bool import,
                                int lane)
{
    for (int i = lane; i < inside_size; i += WI_WARP) {
        if (import)
            inside[i] = i < size ? outside[i] : (unsigned char)0;
        else if (i < size)
            outside[i] = inside[i];
    }
}

static __device__ void copy_scale(unsigned char *head, size_t values, int at, float *outside, bool import)
{
    uint32_t *inside = (uint32_t *)(head + values) + at, *out = (uint32_t *)outside;
    if (import)
        *inside = *out;
    else
        *out = *inside;
}

// A warp copies K and V of one row. For blocks on their way to other ranks and files: bound by the bytes.
static __global__ void copy_rows(copy_work w)
{
    const wi_cache_view &c = w.cache;
    const int lane = (int)threadIdx.x % WI_WARP;
    const int element = c.type == WEFT_CACHE_F32 ? 4 : c.type == WEFT_CACHE_BF16 ? 2 : 1;
    for (int i = (int)(blockIdx.x * WARPS + threadIdx.x / WI_WARP); i < w.span.rows; i += (int)gridDim.x * WARPS) {
        const int64_t p = w.span.position + i;
        const int32_t block = w.span.blocks[p / c.block];
        const int at = (int)(p % c.block), k_row = c.k_size * element, v_row = c.v_size * element;
        const size_t row = (size_t)w.span.row + (size_t)i;
        if (block < 0) continue;
        unsigned char *k = wi_cache_k(c, block, w.head), *v = wi_cache_v(c, block, w.head);
        copy_row(k + (size_t)at * k_row, k_row, w.k + row * k_row, k_row, w.import, lane);
        copy_row(v + (size_t)at * c.columns * element, c.columns * element, w.v + row * v_row, v_row, w.import, lane);
        if (c.type < WEFT_CACHE_INT8 || lane > 0) continue;
        copy_scale(k, c.k_values, at, w.k_scale + row, w.import);
        copy_scale(v, c.v_values, at, w.v_scale + row, w.import);
    }
}

void wi_cuda_cache_copy(const weft_op *op, const weft_cache_copy *args)
{
    copy_work w = {};
    const int64_t end = args->span.position + args->span.rows;
    if (args->span.rows <= 0) return;
    w.cache = wi_cache_task_of(args->cache);
    w.span = args->span;
    w.span.blocks = wi_arrived(op, args->span.blocks, (size_t)((end + w.cache.block - 1) / w.cache.block));
    w.k = (unsigned char *)args->k;
    w.v = (unsigned char *)args->v;
    w.k_scale = args->k_scale;
    w.v_scale = args->v_scale;
    w.head = args->head;
    w.import = args->import;
    wi_launch(op, "cache copy", copy_rows, dim3(wi_grid_of((size_t)w.span.rows, WARPS)), THREADS, 0, w);
}
