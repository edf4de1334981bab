// Which tile a run of the mma family takes: it shows in time alone, never in bits.
#include "kernels/cuda/gemm_mma.cuh"

static int parts(int64_t count, int64_t each) { return (int)((count + each - 1) / each); }

void wi_cuda_gemm_mma(const weft_op *op, const weft_gemm_weight *weight, const weft_gemm_args *args)
{
    if (args->m < 1) return;
    wi_gemm_task t = wi_gemm_prepare(op, weight, args);
    const int leaves = t.dealt ? t.leaves : 1, most = t.slots ? 64 : 128; // sums that wait must fit
    int tokens = 8;
    while (tokens < wi_gemm_rows_each(t) && tokens < most) tokens *= 2;
    // half as many tokens while processors would be idle; leaves that are dealt want all in one tile
    while (!t.dealt && tokens > 16 &&
           parts(t.panels, WI_MMA_PLANES) * wi_gemm_token_tiles(t, tokens) < wi_processors(op))
        tokens /= 2;
    while (!wi_mma_has_width(t.format, tokens)) tokens = tokens > 64 ? 64 : tokens * 2;
    t.planes = WI_MMA_PLANES;
    while (t.planes > 1 && tokens <= 32 &&
           parts(t.panels, t.planes) * wi_gemm_token_tiles(t, tokens) * leaves < 4 * wi_processors(op))
        t.planes /= 2;
    const wi_gemm_wanted wanted = wi_gemm_tile_wanted();
    for (int width = 8; width <= most; width *= 2)
        if (width == wanted.tokens && wi_mma_has_width(t.format, width) &&
            (wanted.planes == 1 || wanted.planes == 2 || wanted.planes == 4))
            tokens = width, t.planes = wanted.planes;
    t.row_tiles = parts(t.panels, t.planes);
    t.token_tiles = wi_gemm_token_tiles(t, tokens);
    if (t.format == WI_GEMM_BF16) wi_mma_bf16(t, op, tokens);
    if (t.format == WI_GEMM_I8) wi_mma_i8(t, op, tokens);
    if (t.format == WI_GEMM_I8_GROUPS) wi_mma_i8_groups(t, op, tokens);
    if (t.format == WI_GEMM_I4) wi_mma_i4(t, op, tokens);
    if (t.format == WI_GEMM_I4_ANY) wi_mma_i4_any(t, op, tokens);
}
