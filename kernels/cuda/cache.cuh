// How K and V of one layer lie in a block on the device: row by row, as in cache_copy's canonical bytes. Each KV head
// has its own run of bytes, as on the host, so the sizes are those of weft_cache_k_bytes and weft_cache_v_bytes.
//
// K: (block, k_size). V: (block, columns), columns = v_size rounded up to sixteen; the rest holds zeros. int8, fp8: the
// scales (block) follow the values of K, and those of V. A row is whole pieces of 16 bytes in bf16 and of 8 in int8,
// which is what copies into shared memory, ldmatrix and bulk tensor copies take; a box of a tensor map is some
// positions times 64 columns of one head. All families read the same bytes.
#ifndef WEFT_KERNELS_CUDA_CACHE_CUH
#define WEFT_KERNELS_CUDA_CACHE_CUH

#include "kernels/cuda/convert.cuh"

// A weft_cache as kernels take it.
struct wi_cache_view {
    unsigned char *pool;                                    // at the layer's K of block 0
    size_t block_bytes, v_offset;                           // v_offset: from K to V of the layer
    size_t k_head, v_head;                                  // bytes of a head
    size_t k_values, v_values;                              // of these, before the scales
    int type, block, shift, heads, k_size, v_size, columns; // block = 1 << shift
};

static inline wi_cache_view wi_cache_task_of(const weft_cache *c)
{
    const size_t element = c->type == WEFT_CACHE_F32 ? 4 : c->type == WEFT_CACHE_BF16 ? 2 : 1;
    const size_t scales = weft_cache_is_scaled(c->type) ? (size_t)c->block * sizeof(float) : 0;
    wi_cache_view to = {};
    to.pool = c->pool + c->k_offset;
    to.block_bytes = c->block_bytes;
    to.v_offset = c->v_offset - c->k_offset; // modulo 2^64 where V stands first
    to.columns = (c->v_size + 15) / 16 * 16;
    to.k_values = (size_t)c->block * (size_t)c->k_size * element;
    to.v_values = (size_t)c->block * (size_t)to.columns * element;
    to.k_head = to.k_values + scales;
    to.v_head = to.v_values + scales;
    to.type = c->type;
    to.block = c->block;
    while (1 << to.shift < c->block) to.shift++;
    to.heads = c->heads;
    to.k_size = c->k_size;
    to.v_size = c->v_size;
    return to;
}

static __device__ __forceinline__ unsigned char *wi_cache_k(const wi_cache_view &c, int32_t block, int head)
{
    return c.pool + (size_t)block * c.block_bytes + (size_t)head * c.k_head;
}

static __device__ __forceinline__ unsigned char *wi_cache_v(const wi_cache_view &c, int32_t block, int head)
{
    return c.pool + (size_t)block * c.block_bytes + c.v_offset + (size_t)head * c.v_head;
}

// The code at a bit of `codes` as a float: its bits stand where a float has its own, but for an exponent 120 too small.
// NaN is 480, as in the host's caches.
static __device__ __forceinline__ float wi_cached_e4m3(uint32_t codes, int shift)
{
    return wi_float_of_bits((uint32_t)((int32_t)(codes << (24 - shift)) >> 4) & 0x87f00000) * 0x1p120F;
}

#endif
