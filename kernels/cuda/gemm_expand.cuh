// Codes to bf16 in the order of an instruction's left operand: bf16((level - zero) * scale), or the level itself. A
// lane has rows lane/4 and lane/4 + 8 of 16; registers 0 and 2 of a fragment are the upper row's. Few tokens leave a
// processor about four instructions a code of int4 while memory is busy, so each way here counts them.
#ifndef WEFT_KERNELS_CUDA_GEMM_EXPAND_CUH
#define WEFT_KERNELS_CUDA_GEMM_EXPAND_CUH

#include "kernels/cuda/gemm.cuh"

// Of both rows, as the format's way wants them.
struct wi_gemm_scales {
    float scale[2], zero[2];        // int8, and int4 of any levels
    float high_scale[2], at[2];     // int4: of a code at bit 16 of 2^23; what 2^23 and the zero make of a code at bit 0
    float high_at[2];               // and at bit 16
    uint32_t pair[2], zero_pair[2]; // int4 with scales in bf16: twice in a register; of the zero its negative
};

static __device__ __forceinline__ float wi_gemm_scale_at(const wi_gemm_task &t, const unsigned char *scales, int at)
{
    if (t.scale_type == WEFT_F32) return ((const float *)(const void *)scales)[at];
    const uint32_t half = ((const uint16_t *)(const void *)scales)[at];
    if (t.scale_type == WEFT_BF16) return wi_float_of_bits(half << 16);
    // f16 without a branch: its exponent is 112 less, also where it is denormal
    const uint32_t size = (half & 0x7fff) << 13;
    const float scaled = wi_float_of_bits(size) * 0x1p112F;
    return wi_float_of_bits((half & 0x8000) << 16 |
                            (size >= 0x0f800000 ? size | 0x7f800000 : wi_bits_of_float(scaled)));
}

template <int FORMAT>
static __device__ __forceinline__ void wi_gemm_load_scales(const wi_gemm_task &t, const unsigned char *record, int slot,
                                                           int slots, int row, wi_gemm_scales *out)
{
    const unsigned char *scales = record + WI_RECORD_CODES;
    const unsigned char *zeros = scales + slots * WEFT_GEMM_PANEL * (t.scale_type == WEFT_F32 ? 4 : 2);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int at = slot * WEFT_GEMM_PANEL + row + 8 * i;
        if constexpr (FORMAT == WI_GEMM_I4) {
            const int zero = t.has_zero ? ((const signed char *)zeros)[at] : 0;
            if (t.pairs) {
                const uint32_t half = ((const uint16_t *)(const void *)scales)[at];
                const float negative = wi_float_of_bits(0x4b000000 | (uint32_t)(128 - zero)) - 8388736.0F;
                out->pair[i] = half | half << 16;
                out->zero_pair[i] = wi_bf16_pair(negative, negative);
                continue;
            }
            const float scale = wi_gemm_scale_at(t, scales, at);
            out->scale[i] = scale;
            out->high_scale[i] = scale * 0x1p-16F;
            out->at[i] = wi_float_of_bits(0x4b000000 + (uint32_t)(8 + zero + 128)) - 128.0F;
            out->high_at[i] = (out->at[i] - 8388608.0F) * 65536.0F + 8388608.0F;
        } else {
            out->scale[i] = wi_gemm_scale_at(t, scales, at);
            out->zero[i] = t.has_zero ? wi_load_as(t.zero_type, zeros, at) : 0.0F;
        }
    }
}

// Eight codes of int8, in two words, to a fragment.
template <bool EXACT>
static __device__ __forceinline__ void wi_gemm_expand_i8(uint32_t low, uint32_t high, const wi_gemm_scales &s,
                                                         uint32_t (&out)[4])
{
    float x[8];
    low ^= 0x80808080, high ^= 0x80808080; // 0 to 255, in the lower bits of 2^23
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const uint32_t code = (i < 4 ? low : high) >> i % 4 * 8 & 0xff;
        x[i] = wi_float_of_bits(0x4b000000 | code) - (8388608.0F + 128.0F);
        if (!EXACT) x[i] = (x[i] - s.zero[i / 2 % 2]) * s.scale[i / 2 % 2];
    }
#pragma unroll
    for (int i = 0; i < 4; i++) out[i] = wi_bf16_pair(x[2 * i], x[2 * i + 1]);
}

// Eight codes of e4m3 likewise. Their bits stand where a float has its own, but for an exponent 120 too small.
static __device__ __forceinline__ void wi_gemm_expand_e4m3(uint32_t low, uint32_t high, const wi_gemm_scales &s,
                                                           uint32_t (&out)[4])
{
    const uint32_t sizes = 0x7f7f7f7f, ones = 0x01010101;
    const bool nan = (((low & sizes) + ones) | ((high & sizes) + ones)) & 0x80808080;
    float x[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const uint32_t code = (i < 4 ? low : high) << (24 - i % 4 * 8), place = 0x87f00000;
        x[i] = fmaf(wi_float_of_bits((uint32_t)((int32_t)code >> 4) & place), 0x1p120F, -s.zero[i / 2 % 2]);
        if (nan && (code & 0x7f000000) == 0x7f000000) x[i] = wi_nan();
        x[i] = x[i] * s.scale[i / 2 % 2];
    }
#pragma unroll
    for (int i = 0; i < 4; i++) out[i] = wi_bf16_pair(x[2 * i], x[2 * i + 1]);
}

// Eight codes of int4: those of register i stand at bits 4 i and 4 i + 16.
//
// Scales in bf16: two codes under 128 are two bf16 already, 128 + code; what is taken off is exact, and the product is
// rounded once, as the rule's f32 product of so few bits would be.
static __device__ __forceinline__ void wi_gemm_expand_pairs(uint32_t codes, bool zeros, const wi_gemm_scales &s,
                                                            uint32_t (&out)[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const uint32_t one = 0x3f803f80, none = 0x80008000;
        uint32_t level = wi_bf16_fma2((codes >> 4 * i & 0x000f000f) | 0x43004300, one, 0xc308c308); // - 136
        if (zeros) level = wi_bf16_fma2(level, one, s.zero_pair[i % 2]);
        out[i] = wi_bf16_fma2(level, s.pair[i % 2], none);
    }
}

// Others: a code in the lower bits of 2^23, or 16 bits higher; level and zero are taken off at once, exactly.
static __device__ __forceinline__ void wi_gemm_expand_i4(uint32_t codes, const wi_gemm_scales &s, uint32_t (&out)[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const uint32_t word = codes >> 4 * i;
        const float low = wi_float_of_bits(0x4b000000 | (word & 0xf)) - s.at[i % 2];
        const float high = wi_float_of_bits(0x4b000000 | (word & 0xf0000)) - s.high_at[i % 2];
        out[i] = wi_bf16_pair(low * s.scale[i % 2], high * s.high_scale[i % 2]);
    }
}

// Any levels, any zeros.
static __device__ __forceinline__ void wi_gemm_expand_any(uint32_t codes, const float *codebook,
                                                          const wi_gemm_scales &s, uint32_t (&out)[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float low = codebook[codes >> 4 * i & 15], high = codebook[codes >> (4 * i + 16) & 15];
        const float zero = s.zero[i % 2], scale = s.scale[i % 2];
        out[i] = wi_bf16_pair((low - zero) * scale, (high - zero) * scale);
    }
}

// Half of a record's codes of a warp's 16 rows, to fragments.
template <int FORMAT, int FRAGMENTS>
static __device__ __forceinline__ void wi_gemm_expand(const wi_gemm_task &t, const unsigned char *record, int half,
                                                      int tile, const float *codebook, wi_gemm_scales *s,
                                                      uint32_t (&out)[FRAGMENTS][4])
{
    constexpr int columns = wi_gemm_columns(FORMAT);
    const int lane = (int)threadIdx.x % WI_WARP;
    const uint4 codes = *(const uint4 *)(const void *)(record + ((tile * 2 + half) * WI_WARP + lane) * 16);
    const uint32_t word[4] = {codes.x, codes.y, codes.z, codes.w};
#pragma unroll
    for (int f = 0; f < FRAGMENTS; f++) {
        const int column = (half * FRAGMENTS + f) * 16;
        if (FORMAT != WI_GEMM_I8 && column >> t.shift << t.shift == column)
            wi_gemm_load_scales<FORMAT>(t, record, column >> t.shift, columns >> t.shift, tile * 16 + lane / 4, s);
        if constexpr (FORMAT == WI_GEMM_I4) {
            if (t.pairs)
                wi_gemm_expand_pairs(word[f], t.has_zero, *s, out[f]);
            else
                wi_gemm_expand_i4(word[f], *s, out[f]);
        } else if constexpr (FORMAT == WI_GEMM_I4_ANY) {
            wi_gemm_expand_any(word[f], codebook, *s, out[f]);
        } else if (FORMAT == WI_GEMM_I8_GROUPS && t.floats) {
            wi_gemm_expand_e4m3(word[2 * f], word[2 * f + 1], *s, out[f]);
        } else {
            wi_gemm_expand_i8<FORMAT == WI_GEMM_I8>(word[2 * f], word[2 * f + 1], *s, out[f]);
        }
    }
}

#endif
