// The layout of a packed weight: checks of what it is made from, and where everything stands.
#include "kernels/gemm_impl.h"

#include <string.h>

#include "core/checked.h"

static bool is_empty(const weft_gemm_leaves *leaves, int first, int count)
{
    return leaves->begin[first] == leaves->begin[first + count];
}

// Pushes the node of one leaf and adds as far as the tree allows: two neighbours join, and where a neighbour has no
// column the node stands for both. Returns the additions made.
static int push_leaf(const weft_gemm_leaves *leaves, int leaf, weft_gemm_root *stack, int *top)
{
    int merges = 0;
    stack[(*top)++] = (weft_gemm_root){leaf, 1};
    for (;;) {
        weft_gemm_root *node = &stack[*top - 1];
        if (node->count == WEFT_LEAVES) return merges;
        int sibling = node->first ^ node->count;
        if (is_empty(leaves, sibling, node->count)) {
            node->first &= ~node->count;
            node->count *= 2;
        } else if (*top > 1 && node[-1].first == sibling && node[-1].count == node->count) {
            node[-1].count *= 2;
            --*top;
            merges++;
        } else {
            return merges;
        }
    }
}

int weft_gemm_roots(const weft_gemm_leaves *leaves, weft_gemm_root roots[WEFT_ROOTS_MAX])
{
    weft_gemm_root stack[WEFT_LEAVES] = {0};
    int top = 0;
    for (int leaf = leaves->first; leaf < leaves->first + leaves->count; leaf++)
        if (!is_empty(leaves, leaf, 1)) push_leaf(leaves, leaf, stack, &top);
    memcpy(roots, stack, (size_t)top * sizeof *roots);
    return top;
}

static bool is_code(weft_dtype type) { return type == WEFT_I8 || type == WEFT_I4 || type == WEFT_E4M3; }

static bool is_float(weft_dtype type) { return type == WEFT_F32 || type == WEFT_BF16 || type == WEFT_F16; }

static weft_status check_source(const weft_gemm_source *s, int index)
{
    if (!is_float(s->type) && !is_code(s->type))
        return weft_fail(WEFT_UNSUPPORTED, "weight %d is %s; a GEMM takes f32, bf16, f16, int8, int4 or e4m3", index,
                         weft_dtype_name(s->type));
    if (s->n < 1 || s->k < 1 || s->k > INT32_MAX || s->n > INT32_MAX || s->first_row < 0 || s->first_column < 0 ||
        s->first_column % 8)
        return weft_fail(WEFT_INVALID, "weight %d has %lld rows of %lld columns; both must be 1 to 2^31-1", index,
                         (long long)s->n, (long long)s->k);
    if (!is_code(s->type)) return WEFT_OK;
    if (!s->scales || !is_float(s->scale_type))
        return weft_fail(WEFT_INVALID, "weight %d is %s and needs scales in f32, bf16 or f16", index,
                         weft_dtype_name(s->type));
    if (s->group != 0 && s->group != 16 && s->group != 32 && s->group != 64 && s->group != 128)
        return weft_fail(WEFT_UNSUPPORTED, "weight %d has groups of %d columns; use 16, 32, 64, 128 or 0 (the row)",
                         index, s->group);
    if (s->scale_rows < 0 || (s->zeros && !is_float(s->zero_type) && s->zero_type != WEFT_I8))
        return weft_fail(WEFT_INVALID, "weight %d: its zeros must be int8, f32, bf16 or f16", index);
    return WEFT_OK;
}

// Whether two sources can stand in one packed weight.
static bool alike(const weft_gemm_source *a, const weft_gemm_source *b)
{
    if (a->type != b->type || a->k != b->k || a->permutation != b->permutation) return false;
    if (!is_code(a->type)) return true;
    if (a->scale_type != b->scale_type || a->group != b->group || !a->zeros != !b->zeros) return false;
    if (a->zeros && a->zero_type != b->zero_type) return false;
    if (a->type != WEFT_I4 || a->codebook == b->codebook) return true;
    return a->codebook && b->codebook && memcmp(a->codebook, b->codebook, 16 * sizeof(float)) == 0;
}

static weft_status check_leaves(const weft_gemm_leaves *leaves, int64_t k)
{
    const int first = leaves->first, end = first + leaves->count;
    bool good = leaves->begin[0] == 0 && leaves->begin[WEFT_LEAVES] == k && first >= 0 && leaves->count > 0 &&
                end <= WEFT_LEAVES;
    for (int i = 0; i < WEFT_LEAVES && good; i++)
        good = leaves->begin[i] <= leaves->begin[i + 1] && (leaves->begin[i] % 8 == 0 || leaves->begin[i] == k);
    if (!good || is_empty(leaves, first, leaves->count))
        return weft_fail(WEFT_INVALID,
                         "leaves [%d, %d) of %lld columns: they must ascend from 0 to K in multiples of 8, and what is "
                         "held must not be empty",
                         first, end, (long long)k);
    return WEFT_OK;
}

// Columns of a record that share a scale.
static int sub_of(weft_dtype type, int group)
{
    const int columns = (int)wi_gemm_record_columns(type);
    return group && group < columns ? group : columns;
}

// AMX expands int8, int4 and e4m3 on the way where every step of every leaf has one scale a row, MMA and WGMMA where no
// leaf begins inside what shares a scale in a record; the rest is expanded once, by the pack, to the same values.
static weft_dtype packed_type(weft_family family, const weft_gemm_source *s, const weft_gemm_leaves *leaves)
{
    const bool records = wi_gemm_in_records(family);
    const int grain = records ? sub_of(s->type, s->group) : WI_STEP;
    if (family == WEFT_FAMILY_FMA) return s->type;
    if (family == WEFT_FAMILY_BLAS || s->type == WEFT_F32 || s->type == WEFT_F16) return WEFT_BF16;
    if (family == WEFT_FAMILY_BF16_DOT || s->type == WEFT_BF16 || s->group == 0) return s->type;
    bool aligned = s->group >= grain;
    for (int i = leaves->first; i < leaves->first + leaves->count; i++)
        aligned = aligned && (leaves->begin[i] % grain == 0 || (records && is_empty(leaves, i, 1)));
    return aligned ? s->type : WEFT_BF16;
}

static void place_leaves(weft_gemm_weight *w, const weft_gemm_leaves *leaves)
{
    weft_gemm_root stack[WEFT_LEAVES] = {0};
    int top = 0;
    int64_t at = 0;
    const int64_t first = leaves->begin[leaves->first];
    const int64_t grain = w->family == WEFT_FAMILY_AMX    ? (w->type == WEFT_I4 ? WI_STEP * WI_STEPS_I4 : WI_STEP)
                          : wi_gemm_in_records(w->family) ? wi_gemm_record_columns(w->type)
                          : w->type == WEFT_I4            ? 8
                          : w->family == WEFT_FAMILY_BLAS ? 8
                                                          : 2;
    for (int i = leaves->first; i < leaves->first + leaves->count; i++) {
        if (is_empty(leaves, i, 1)) continue;
        const int l = w->leaves++;
        w->leaf[l].begin = leaves->begin[i] - first;
        w->leaf[l].end = leaves->begin[i + 1] - first;
        w->leaf[l].at = at;
        w->leaf[l].depth = top;
        w->leaf[l].merges = push_leaf(leaves, i, stack, &top);
        at += (w->leaf[l].end - w->leaf[l].begin + grain - 1) / grain * grain;
    }
    w->padded = at;
    w->roots = top;
    w->whole = top == 1 && stack[0].count == WEFT_LEAVES;
    w->k_first = first;
    w->k = leaves->begin[leaves->first + leaves->count] - first;
}

static weft_status place_panel(weft_gemm_weight *w, const weft_gemm_source *s, size_t *bytes)
{
    size_t groups = 1, scales = 0, zeros = 0, codes, all;
    const bool records = wi_gemm_in_records(w->family);
    const bool expands = records || w->family == WEFT_FAMILY_AMX || w->family == WEFT_FAMILY_BLAS;
    w->scaled = is_code(s->type) && !(expands && w->type == WEFT_BF16);
    if (w->scaled) {
        w->group = s->group;
        w->scale_type = s->scale_type;
        w->has_zero = s->zeros != NULL;
        w->exact = expands && w->type == WEFT_I8 && !s->group && !s->zeros;
        w->zero_type = s->zero_type;
        if (w->group) {
            w->group_first = w->k_first / w->group;
            groups = (size_t)((w->k_first + w->k - 1) / w->group - w->group_first + 1);
        }
        scales = groups * WI_PANEL * (size_t)weft_dtype_bits(w->scale_type) / 8;
        if (w->has_zero) zeros = groups * WI_PANEL * (size_t)weft_dtype_bits(w->zero_type) / 8;
    }
    codes = (size_t)w->padded * WI_PANEL * (size_t)weft_dtype_bits(w->type) / 8;
    if (records && w->scaled && !w->exact) { // scales and zeros stand in the records
        const size_t columns = (size_t)wi_gemm_record_columns(w->type);
        w->sub = sub_of(w->type, w->group);
        w->record_bytes = WI_RECORD_CODES + columns / (size_t)w->sub * ((scales + zeros) / groups);
        scales = zeros = 0;
        codes = (size_t)w->padded / columns * w->record_bytes;
    } else if (records) {
        w->record_bytes = w->type == WEFT_BF16 ? WI_RECORD * WI_PANEL * 2 : WI_RECORD_CODES;
    }
    w->zeros_at = weft_align_up(scales, WI_LINE);
    w->codes_at = w->zeros_at + weft_align_up(zeros, WI_LINE);
    w->panel_bytes = w->codes_at + weft_align_up(codes, WI_LINE);
    if (!weft_size_mul(w->panel_bytes, (size_t)w->panels, &all) ||
        !weft_size_add(all, s->permutation ? weft_align_up((size_t)w->k * sizeof(int32_t), WI_LINE) : 0, bytes))
        return weft_fail(WEFT_OVERFLOW, "a weight of %lld rows of %lld columns does not fit memory", (long long)w->n,
                         (long long)w->k);
    return WEFT_OK;
}

weft_status wi_gemm_layout(weft_family family, const weft_gemm_source *sources, int count, weft_fuse fuse,
                           const weft_gemm_leaves *leaves, weft_gemm_weight *out, size_t *bytes)
{
    weft_gemm_weight w = {.family = family, .fuse = fuse};
    if (count < 1 || count > WEFT_SOURCES_MAX || (unsigned)family >= WEFT_FAMILY_COUNT)
        return weft_fail(WEFT_INVALID, "a GEMM's weight of %d sources in family %d: 1 to %d, and one that is there",
                         count, (int)family, WEFT_SOURCES_MAX);
    for (int i = 0; i < count; i++) {
        WEFT_TRY(check_source(&sources[i], i));
        if (!alike(&sources[0], &sources[i]))
            return weft_fail(WEFT_INVALID, "weights 0 and %d differ in type, columns, groups, zeros or codebook", i);
        w.n += sources[i].n;
    }
    const int64_t k = sources[0].k;
    weft_gemm_leaves column = {.begin = {0, k, k, k, k, k, k, k, k}, .count = WEFT_LEAVES};
    if (!leaves) leaves = &column;
    WEFT_TRY(check_leaves(leaves, k));
    for (int i = 0; i < count; i++)
        if (sources[i].first_column > leaves->begin[leaves->first])
            return weft_fail(WEFT_INVALID, "weight %d begins at column %lld, behind its first leaf at %lld", i,
                             (long long)sources[i].first_column, (long long)leaves->begin[leaves->first]);
    w.type = packed_type(family, &sources[0], leaves);
    place_leaves(&w, leaves);
    if (fuse == WEFT_FUSE_GATE && (count != 2 || sources[0].n != sources[1].n || !w.whole))
        return weft_fail(WEFT_INVALID, "a gate needs two weights of as many rows that hold all of K");
    w.columns = fuse == WEFT_FUSE_GATE ? sources[0].n : w.n;
    const int64_t lanes = fuse == WEFT_FUSE_GATE ? WI_PANEL / 2 : WI_PANEL;
    w.panels = (w.columns + lanes - 1) / lanes;
    WEFT_TRY(place_panel(&w, &sources[0], bytes));
    for (int i = 0; i < 16; i++) w.codebook[i] = sources[0].codebook ? sources[0].codebook[i] : (float)(i - 8);
    *out = w;
    return WEFT_OK;
}

weft_status weft_gemm_pack_bytes(weft_family family, const weft_gemm_source *sources, int count, weft_fuse fuse,
                                 const weft_gemm_leaves *leaves, size_t *bytes)
{
    weft_gemm_weight weight;
    return wi_gemm_layout(family, sources, count, fuse, leaves, &weight, bytes);
}
