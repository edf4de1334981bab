// One element of a packed weight, as kernels/gemm_impl.h lays them out: for lookups of single rows, where a few bytes
// are read from many places. A layout that joins the others is said here once.
#ifndef WEFT_KERNELS_CUDA_ELEMENT_CUH
#define WEFT_KERNELS_CUDA_ELEMENT_CUH

#include "kernels/cuda/convert.cuh"
#include "kernels/gemm_records.h"

// The place of a code of int8 in the layout of AMX (wi_gemm_tile_byte).
static __device__ __forceinline__ size_t wi_element_tile(const weft_gemm_weight &w, unsigned row, size_t k)
{
    const size_t column = k % 32;
    const size_t in_line = w.exact ? column * 2 + row % 2 : column % 16 * 4 + row % 2 * 2 + column / 16;
    return k / 32 * 1024 + row / 2 * 64 + in_line;
}

// Column k of packed row `index`. The weight has one leaf and one source; its elements are f32, bf16, f16, or int8 with
// a scale a row in f32.
static __device__ __forceinline__ float wi_element(const weft_gemm_weight &w, size_t index, size_t k)
{
    const unsigned char *panel = w.data + index / 32 * w.panel_bytes, *codes = panel + w.codes_at;
    const unsigned row = (unsigned)(index % 32);
    const bool tiles = w.family == WEFT_FAMILY_AMX;
    if (w.family == WEFT_FAMILY_BLAS)
        return wi_float_of_bf16(((const uint16_t *)codes)[(size_t)row * (size_t)w.padded + k]);
    if (wi_gemm_in_records(w.family)) {
        const unsigned char *record = codes + k / WI_RECORD * w.record_bytes;
        const int64_t column = (int64_t)(k % WI_RECORD);
        if (w.type == WEFT_BF16) return wi_float_of_bf16(((const uint16_t *)record)[row * WI_RECORD + (size_t)column]);
        const int8_t level = ((const int8_t *)record)[wi_gemm_in_record(WEFT_I8, (int)row, column)];
        return (float)level * ((const float *)panel)[row];
    }
    if (w.type == WEFT_I8) {
        const int8_t level = ((const int8_t *)codes)[tiles ? wi_element_tile(w, row, k) : k * 32 + row];
        return (float)level * ((const float *)panel)[row];
    }
    if (w.type == WEFT_F32) return ((const float *)codes)[k * 32 + row];
    const uint16_t *halves = (const uint16_t *)codes;
    if (w.type == WEFT_F16) return wi_float_of_f16(halves[k * 32 + row]);
    return wi_float_of_bf16(halves[tiles ? k / 32 * 1024 + row * 32 + k % 32 : (k / 2 * 32 + row) * 2 + k % 2]);
}

#endif
