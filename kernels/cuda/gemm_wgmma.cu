// Which tile a run of the wgmma family takes: it shows in time alone, never in bits.
#include "kernels/cuda/gemm_wgmma.cuh"

struct choice {
    int tokens, planes;
    double cost;
};

enum {
    SHARED_STATIC = 1024, // what the kernel has beside its dynamic memory, and a block's own
    BLOCKS_A_PROCESSOR = 4,
    CLOCKS_LEAST = 16,  // of an instruction of few tokens
    BYTES_A_CLOCK = 32, // that a processor gets from L2 for long
    CODES_A_CLOCK = 25, // that it expands
};

static int parts(int64_t count, int64_t each) { return (int)((count + each - 1) / each); }

static int records_of(const wi_gemm_task &t)
{
    int records = 0;
    for (int l = 0; l < t.leaves; l++) records += t.leaf[l].steps;
    return records;
}

// Clocks of a processor, about.
static double cost_of(const wi_gemm_task &t, int format, int tokens, int planes, int processors)
{
    const wi_wgmma_plan plan = wi_wgmma_plan_of(format, tokens);
    const double blocks = (double)parts(t.panels, planes) * wi_gemm_token_tiles(t, tokens) * (t.dealt ? t.leaves : 1);
    const double steps = (double)records_of(t) / (t.dealt ? t.leaves : 1);
    const int least = tokens / 2 < CLOCKS_LEAST ? CLOCKS_LEAST : tokens / 2;
    double step = (double)plan.consumers * (plan.columns / 16.0) * least;
    const double load = (double)(planes * t.record_bytes + plan.activation_bytes) / BYTES_A_CLOCK;
    const double expand = (double)planes * WEFT_GEMM_PANEL * plan.columns / CODES_A_CLOCK;
    if (load > step) step = load;
    if (format != WI_GEMM_BF16 && expand > step) step = expand;
    double turns = blocks / processors;
    if (turns < 1) turns = 1;
    if (plan.consumers > 1) turns = (double)parts((int64_t)blocks, processors); // one block a processor
    return turns * steps * step;
}

static choice choose(const wi_gemm_task &t, int format, int processors)
{
    static const int widths[] = {8, 16, 32, 64, 128, 256};
    const wi_gemm_wanted wanted = wi_gemm_tile_wanted();
    choice best = {0, 0, 0};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        const int tokens = widths[i];
        if (!wanted.tokens && best.tokens >= t.m) break; // wider than there are rows
        if (!wi_gemm_has_width(format, tokens)) continue;
        if (t.dealt && tokens < t.m) continue;
        if (tokens == 256 && (t.leaves > 1 || !t.whole)) continue;
        for (int planes = tokens > 64 ? 4 : 1; planes <= (tokens > 64 ? 4 : 2); planes++) {
            if (tokens == wanted.tokens && planes == wanted.planes) return {tokens, planes, 0};
            const double cost = cost_of(t, format, tokens, planes, processors);
            if (!best.tokens || cost <= best.cost) best = {tokens, planes, cost};
        }
    }
    return best;
}

// As many stages as fit beside the other blocks of a processor.
static int stages_of(const weft_op *op, const wi_gemm_task &t, int format, int tokens)
{
    const wi_wgmma_plan plan = wi_wgmma_plan_of(format, tokens);
    const size_t room = wi_block_bytes(op) - SHARED_STATIC;
    const int blocks = t.row_tiles * t.token_tiles * (t.dealt ? t.leaves : 1);
    int beside = plan.consumers > 1 ? 1 : parts(blocks, wi_processors(op));
    if (beside > BLOCKS_A_PROCESSOR) beside = BLOCKS_A_PROCESSOR;
    const size_t sums =
        (size_t)plan.consumers * (size_t)tokens * (64 + 4) * sizeof(float) + 3 * WI_GROUP * sizeof(float);
    const int records = records_of(t);
    int stages = 2;
    while (stages < WI_STAGES_MAX) {
        const size_t shared = wi_wgmma_shared(format, tokens, t.planes, t.record_bytes, stages, 0);
        const bool holds_sums = shared - 2 * WI_STAGES_MAX * sizeof(uint64_t) - 64 >= sums;
        if (holds_sums && stages >= records) break;
        const size_t next = wi_wgmma_shared(format, tokens, t.planes, t.record_bytes, stages + 1, t.slots);
        if (next > (holds_sums ? room / (size_t)beside : room)) break;
        stages++;
    }
    return stages;
}

void wi_cuda_gemm_wgmma(const weft_op *op, const weft_gemm_weight *weight, const weft_gemm_args *args)
{
    if (args->m < 1) return;
    wi_gemm_task t = wi_gemm_prepare(op, weight, args);
    const int format = t.format;
    const choice c = choose(t, format, wi_processors(op));
    t.planes = c.planes;
    t.row_tiles = parts(t.panels, c.planes);
    t.token_tiles = wi_gemm_token_tiles(t, c.tokens);
    t.stages = stages_of(op, t, format, c.tokens);
    CUtensorMap weights = {}, activations = {};
    cudaError_t status = wi_tensor_map2(&activations, t.rows, (uint64_t)t.row_columns, (uint64_t)t.m,
                                        (uint64_t)t.row_stride * sizeof(uint16_t), WI_RECORD, (uint32_t)c.tokens);
    if (status == cudaSuccess && format == WI_GEMM_BF16)
        status = wi_tensor_map3(&weights, t.data, WI_RECORD, (uint64_t)records_of(t) * WEFT_GEMM_PANEL, WI_RECORD * 2,
                                (uint64_t)t.panels * (uint64_t)(t.groups ? t.groups : 1), t.panel_bytes, WI_RECORD,
                                WEFT_GEMM_PANEL, (uint32_t)c.planes);
    if (status != cudaSuccess) {
        wi_failed(op, "gemm: tensor map", status);
        return;
    }
    if (format == WI_GEMM_BF16) wi_wgmma_bf16(t, op, c.tokens, weights, activations);
    if (format == WI_GEMM_I8) wi_wgmma_i8(t, op, c.tokens, weights, activations);
    if (format == WI_GEMM_I8_GROUPS) wi_wgmma_i8_groups(t, op, c.tokens, weights, activations);
    if (format == WI_GEMM_I4) wi_wgmma_i4(t, op, c.tokens, weights, activations);
    if (format == WI_GEMM_I4_ANY) wi_wgmma_i4_any(t, op, c.tokens, weights, activations);
}
