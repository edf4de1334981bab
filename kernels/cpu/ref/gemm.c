// Every family in plain C, element by element from the packed weight: what the others are held against. The dot and
// AMX instructions are computed step by step as their manuals describe them.
#include "kernels/convert.inc"
#include "kernels/cpu/vec1.inc"
// then what stands on it
#include "kernels/cpu/gemm_finish.inc"
#include "kernels/cpu/levels.h"

typedef struct {
    const weft_op *op;
    const weft_gemm_weight *w;
    const weft_gemm_args *args;
} ref_run;

// One packed row of a panel.
typedef struct {
    const weft_gemm_weight *w;
    const unsigned char *panel;
    int lane;
} packed_row;

static float read_as(weft_dtype type, const unsigned char *base, int64_t index)
{
    uint16_t half;
    float value;
    if (type == WEFT_I8) return (float)((const int8_t *)base)[index];
    if (type == WEFT_E4M3) return wi_float_of_e4m3(base[index]);
    if (type == WEFT_F32) {
        memcpy(&value, base + index * 4, sizeof value);
        return value;
    }
    memcpy(&half, base + index * 2, sizeof half);
    return type == WEFT_BF16 ? wi_float_of_bf16(half) : wi_float_of_f16(half);
}

// The level at a padded column. In the layouts of FMA and dot a column held is at its own place.
static float level_at(packed_row r, int64_t at)
{
    const unsigned char *codes = r.panel + r.w->codes_at;
    const int64_t in_step = at / WI_STEP * WI_STEP * WI_PANEL + r.lane * WI_STEP + at % WI_STEP;
    const bool tiles = r.w->family == WEFT_FAMILY_AMX;
    uint32_t word;
    uint16_t half;
    switch (r.w->type) {
    case WEFT_BF16:
        return read_as(WEFT_BF16, codes, tiles ? in_step : (at / 2 * WI_PANEL + r.lane) * 2 + at % 2);
    case WEFT_I8:
    case WEFT_E4M3:
        return read_as(r.w->type, codes, tiles ? wi_gemm_tile_byte(r.w, r.lane, at) : at * WI_PANEL + r.lane);
    case WEFT_I4:
        if (tiles) {
            const int64_t four = at / (WI_STEP * WI_STEPS_I4), inside = at % (WI_STEP * WI_STEPS_I4);
            memcpy(&half, codes + ((four * WI_PANEL + r.lane) * WI_STEP + inside % WI_STEP) * 2, sizeof half);
            return r.w->codebook[half >> 4 * (inside / WI_STEP) & 15];
        }
        memcpy(&word, codes + (at / 8 * WI_PANEL + r.lane) * 4, sizeof word);
        return r.w->codebook[word >> (16 * (at & 1) + 4 * (at % 8 / 2)) & 15];
    default:
        return read_as(r.w->type, codes, at * WI_PANEL + r.lane);
    }
}

static int64_t group_at(const weft_gemm_weight *w, int64_t k)
{
    return w->group ? (w->k_first + k) / w->group - w->group_first : 0;
}

static float scale_at(packed_row r, int64_t group)
{
    return read_as(r.w->scale_type, r.panel, group * WI_PANEL + r.lane);
}

static float zero_at(packed_row r, int64_t group)
{
    return read_as(r.w->zero_type, r.panel + r.w->zeros_at, group * WI_PANEL + r.lane);
}

static float flush(float value)
{
    const uint32_t bits = wi_bits_of_float(value);
    return bits & 0x7f800000 ? value : wi_float_of_bits(bits & 0x80000000);
}

// Denormals are zero before they are rounded, and never after.
static float activation(const weft_gemm_weight *w, wi_gemm_row a, int64_t k)
{
    const int64_t at = w->permutation ? w->permutation[k] : k;
    if (a.halves) return flush(wi_float_of_bf16(((const uint16_t *)a.at)[at]));
    const float value = ((const float *)a.at)[at] * (w->exact ? WI_EXACT_ACTIVATION : 1);
    return w->family == WEFT_FAMILY_FMA ? value : wi_float_of_bf16(wi_bf16_of_float(flush(value)));
}

static float fma_flushed(float a, float b, float c) { return flush(__builtin_fmaf(flush(a), flush(b), flush(c))); }

// The chain of one family over columns that share a scale.
static float chain(packed_row r, wi_gemm_row a, int64_t begin, int64_t end)
{
    float sum = 0;
    for (int64_t k = begin; k < end; k++) {
        const float level = level_at(r, k), x = activation(r.w, a, k);
        if (r.w->family == WEFT_FAMILY_FMA) {
            sum = __builtin_fmaf(x, level, sum);
            continue;
        }
        // the odd column of a pair goes first
        const bool odd = k + 1 < end;
        const float next = odd ? activation(r.w, a, k + 1) : 0;
        const float above = odd ? wi_float_of_bf16(wi_bf16_of_float(level_at(r, k + 1))) : 0;
        sum = fma_flushed(next, above, sum);
        sum = fma_flushed(x, wi_float_of_bf16(wi_bf16_of_float(level)), sum);
        k++;
    }
    return sum;
}

static float leaf_by_chains(packed_row r, wi_gemm_row a, int64_t begin, int64_t end)
{
    const weft_gemm_weight *w = r.w;
    if (!w->scaled) return chain(r, a, begin, end);
    float acc = 0;
    for (int64_t k = begin, next; k < end; k = next) {
        next = w->group ? (group_at(w, k) + w->group_first + 1) * w->group - w->k_first : end;
        if (next > end) next = end;
        float sum = chain(r, a, k, next);
        if (w->has_zero) {
            float total = 0;
            for (int64_t i = k; i < next; i++) total += activation(w, a, i);
            sum = __builtin_fmaf(-zero_at(r, group_at(w, k)), total, sum);
        }
        acc = __builtin_fmaf(scale_at(r, group_at(w, k)), sum, acc);
    }
    return acc;
}

static float weight_of_tile(packed_row r, int64_t k, int64_t at)
{
    float value = level_at(r, at);
    if (!r.w->scaled) return value;
    if (r.w->exact) return value * WI_EXACT_LEVEL;
    if (r.w->has_zero) value -= zero_at(r, group_at(r.w, k));
    return wi_float_of_bf16(wi_bf16_of_float(value * scale_at(r, group_at(r.w, k))));
}

static float leaf_by_tiles(packed_row r, wi_gemm_row a, int64_t begin, int64_t end, int64_t at)
{
    float acc = 0;
    for (int64_t k = begin; k < end; k += WI_STEP, at += WI_STEP) {
        float chains[2] = {0, 0};
        for (int i = 0; i < WI_STEP; i++) {
            if (k + i >= end && r.w->type == WEFT_BF16) continue; // zero times zero
            // behind the end of a leaf stand codes whose scale is that of the step
            const int64_t column = k + i < end ? k + i : end - 1;
            const float x = k + i < end ? activation(r.w, a, k + i) : 0;
            chains[i % 2] = fma_flushed(x, weight_of_tile(r, column, at + i), chains[i % 2]);
        }
        acc = flush(acc + flush(chains[0] + chains[1]));
    }
    return r.w->exact ? acc * (scale_at(r, 0) * WI_EXACT_SCALE) : acc;
}

static void run_row(const ref_run *run, int64_t row, int64_t panel)
{
    const weft_gemm_weight *w = run->w;
    const wi_gemm_row a = wi_gemm_row_of(run->args, row);
    packed_row r = {.w = w, .panel = w->data + (size_t)panel * w->panel_bytes};
    float stack[WEFT_LEAVES][WI_PANEL] = {0};
    for (int l = 0; l < w->leaves; l++) {
        int depth = w->leaf[l].depth;
        for (r.lane = 0; r.lane < WI_PANEL; r.lane++)
            stack[depth][r.lane] = w->family == WEFT_FAMILY_AMX
                                       ? leaf_by_tiles(r, a, w->leaf[l].begin, w->leaf[l].end, w->leaf[l].at)
                                       : leaf_by_chains(r, a, w->leaf[l].begin, w->leaf[l].end);
        for (int i = 0; i < w->leaf[l].merges; i++, depth--)
            for (int lane = 0; lane < WI_PANEL; lane++) stack[depth - 1][lane] += stack[depth][lane];
    }
    for (int root = 0; root < w->roots; root++) finish_row(w, run->args, root, stack[root], row, panel);
}

static void work(void *arg, int thread, int threads)
{
    const ref_run *run = arg;
    int64_t begin, end;
    weft_team_share(run->w->panels, 1, thread, threads, &begin, &end);
    for (int64_t panel = begin; panel < end; panel++)
        for (int64_t row = 0; row < run->args->m; row++) run_row(run, row, panel);
}

static void gemm(const weft_op *op, const weft_gemm_weight *weight, const weft_gemm_args *args)
{
    ref_run run = {op, weight, args};
    if (op->team)
        weft_team_run(op->team, work, &run);
    else
        work(&run, 0, 1);
}

void wi_gemm_ref(weft_kernels *table)
{
    for (int family = 0; family < WEFT_FAMILY_HOST_COUNT; family++) table->gemm.run[family] = gemm;
}
