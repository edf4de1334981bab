// Codes to bf16 in the order of an instruction's left operand: bf16((level - zero) * scale), or the level itself. A
// lane has rows lane/4 and lane/4 + 8 of 16; registers 0 and 2 of a fragment are the upper row's.
#ifndef WEFT_KERNELS_CUDA_GEMM_EXPAND_CUH
#define WEFT_KERNELS_CUDA_GEMM_EXPAND_CUH

#include "kernels/cuda/gemm.cuh"

// Of both rows. For `quick`: a code stands in a float at bit 12 or 16 of its mantissa under 128, so it is 128 + code/16
// or 128 + code, and one fma makes (level - zero) * scale of it: with a scale of 11 bits and a zero of 8 nothing in it
// is rounded.
struct wi_gemm_scales {
    float scale[2], zero[2];
    float at12[2], at16[2];
};

static __device__ __forceinline__ void wi_gemm_load_scales(const wi_gemm_task &t, const unsigned char *record, int slot,
                                                           int slots, int row, wi_gemm_scales *out)
{
    const unsigned char *scales = record + WI_RECORD_CODES;
    const unsigned char *zeros = scales + slots * WEFT_GEMM_PANEL * (t.scale_type == WEFT_F32 ? 4 : 2);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int at = slot * WEFT_GEMM_PANEL + row + 8 * i;
        out->scale[i] = wi_load_as(t.scale_type, scales, at);
        out->zero[i] = t.has_zero ? wi_load_as(t.zero_type, zeros, at) : 0.0F;
        out->at12[i] = -(2056.0F + out->zero[i]) * out->scale[i];
        out->at16[i] = -(136.0F + out->zero[i]) * out->scale[i];
    }
}

// Eight codes of int8, in two words, to a fragment.
static __device__ __forceinline__ void wi_gemm_expand_i8(const wi_gemm_task &t, uint32_t low, uint32_t high,
                                                         const wi_gemm_scales &s, uint32_t (&out)[4])
{
    float x[8];
    low ^= 0x80808080, high ^= 0x80808080; // 0 to 255, in the lower bits of 2^23
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const uint32_t code = (i < 4 ? low : high) >> i % 4 * 8 & 0xff;
        x[i] = wi_float_of_bits(0x4b000000 | code) - (8388608.0F + 128.0F);
        if (!t.exact) x[i] = (x[i] - s.zero[i / 2 % 2]) * s.scale[i / 2 % 2];
    }
#pragma unroll
    for (int i = 0; i < 4; i++) out[i] = wi_bf16_pair(x[2 * i], x[2 * i + 1]);
}

// Eight codes of int4: those of register i stand at bits 12 and 16 of word[i].
static __device__ __forceinline__ void wi_gemm_expand_i4(const wi_gemm_task &t, uint32_t codes, const float *codebook,
                                                         const wi_gemm_scales &s, uint32_t (&out)[4])
{
    const uint32_t word[4] = {codes, codes >> 8, codes << 8, codes >> 16 | codes << 16};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float first = wi_float_of_bits(0x43000000 | (word[i] & 0xf000));
        const float second = wi_float_of_bits(0x43000000 | (word[i] & 0xf0000));
        const float scale = s.scale[i % 2], zero = s.zero[i % 2];
        if (t.quick) {
            out[i] = wi_bf16_pair(fmaf(first, 16.0F * scale, s.at12[i % 2]), fmaf(second, scale, s.at16[i % 2]));
            continue;
        }
        const float low = t.linear ? fmaf(first, 16.0F, -2056.0F) : codebook[word[i] >> 12 & 15];
        const float high = t.linear ? second - 136.0F : codebook[word[i] >> 16 & 15];
        out[i] = wi_bf16_pair((low - zero) * scale, (high - zero) * scale);
    }
}

// Half of a record's codes of this warp's 16 rows, to fragments.
template <int FORMAT, int FRAGMENTS>
static __device__ __forceinline__ void wi_gemm_expand(const wi_gemm_task &t, const unsigned char *record, int half,
                                                      int tile, const float *codebook, wi_gemm_scales *s,
                                                      uint32_t (&out)[FRAGMENTS][4])
{
    constexpr int columns = FORMAT == WI_GEMM_I4 ? WI_RECORD_I4 : WI_RECORD;
    const int lane = (int)threadIdx.x % WI_WARP;
    const uint4 codes = *(const uint4 *)(const void *)(record + ((tile * 2 + half) * WI_WARP + lane) * 16);
    const uint32_t word[4] = {codes.x, codes.y, codes.z, codes.w};
#pragma unroll
    for (int f = 0; f < FRAGMENTS; f++) {
        const int column = (half * FRAGMENTS + f) * 16;
        if (!t.exact && (f == 0 || column >> t.shift << t.shift == column))
            wi_gemm_load_scales(t, record, column >> t.shift, columns >> t.shift, tile * 16 + lane / 4, s);
        if constexpr (FORMAT == WI_GEMM_I4)
            wi_gemm_expand_i4(t, word[f], codebook, *s, out[f]);
        else
            wi_gemm_expand_i8(t, word[2 * f], word[2 * f + 1], *s, out[f]);
    }
}

#endif
