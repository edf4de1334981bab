// Packing a weight: every element goes to its place, each panel on the thread that will read it.
#include <string.h>

#include "core/checked.h"
#include "kernels/convert.inc"
#include "kernels/gemm_impl.h"

typedef struct {
    const weft_gemm_source *sources;
    int count;
    const weft_gemm_weight *w;
    uint8_t pad; // the code of int4 whose level is next to 0
} packer;

// A packed row's place in its source.
typedef struct {
    const weft_gemm_source *s; // NULL: padding
    int64_t row;
} origin;

enum { PIECE = WI_STEP * WI_STEPS_I4 }; // columns moved at once

typedef union {
    float f32[PIECE];
    uint16_t u16[PIECE];
    uint8_t u8[PIECE];
} piece;

static origin origin_of(const packer *p, int64_t panel, int lane)
{
    const weft_gemm_weight *w = p->w;
    int64_t row = panel * WI_PANEL + lane;
    if (w->fuse == WEFT_FUSE_GATE && wi_gemm_by_eights(w->family)) {
        row = panel * (WI_PANEL / 2) + lane / 16 * 8 + lane % 8;
        return row < w->columns ? (origin){&p->sources[lane / 8 % 2], row} : (origin){0};
    }
    if (w->fuse == WEFT_FUSE_GATE) {
        row = panel * (WI_PANEL / 2) + lane % (WI_PANEL / 2);
        return row < w->columns ? (origin){&p->sources[lane / (WI_PANEL / 2)], row} : (origin){0};
    }
    for (int i = 0; i < p->count; i++) {
        if (row < p->sources[i].n) return (origin){&p->sources[i], row};
        row -= p->sources[i].n;
    }
    return (origin){0};
}

static float read_float(const void *base, weft_dtype type, int64_t index)
{
    const unsigned char *at = (const unsigned char *)base + index * weft_dtype_bits(type) / 8;
    uint16_t half;
    float value;
    if (type == WEFT_I8) return (float)*(const int8_t *)at;
    if (type == WEFT_F32) {
        memcpy(&value, at, sizeof value);
        return value;
    }
    memcpy(&half, at, sizeof half);
    return type == WEFT_BF16 ? wi_float_of_bf16(half) : wi_float_of_f16(half);
}

static const void *scale_row(const weft_gemm_source *s, int64_t row, const void *base, size_t row_bytes)
{
    const int64_t rows = s->scale_rows > 1 ? s->scale_rows : 1;
    return (const unsigned char *)base + (size_t)((s->first_row + row) / rows) * row_bytes;
}

static float scale_of(origin o, int64_t group)
{
    return read_float(scale_row(o.s, o.row, o.s->scales, o.s->scale_row_bytes), o.s->scale_type, group);
}

static float zero_of(origin o, int64_t group)
{
    return read_float(scale_row(o.s, o.row, o.s->zeros, o.s->zero_row_bytes), o.s->zero_type, group);
}

static uint8_t read_nibble(const unsigned char *row, int64_t column)
{
    return row[column / 2] >> 4 * (column & 1) & 15;
}

// The level of any source, in f32.
static float level_of(const packer *p, origin o, int64_t column)
{
    const unsigned char *row = (const unsigned char *)o.s->data + (size_t)o.row * o.s->row_bytes;
    const int64_t at = column - o.s->first_column;
    if (o.s->type == WEFT_I4) return p->w->codebook[read_nibble(row, at)];
    if (o.s->type == WEFT_E4M3) return wi_float_of_e4m3(row[at]);
    return read_float(row, o.s->type, at);
}

static uint16_t bf16_of(const packer *p, origin o, int64_t column)
{
    float value = level_of(p, o, column);
    if (o.s->scales && !p->w->scaled && o.s->type != WEFT_BF16 && o.s->type != WEFT_F32 && o.s->type != WEFT_F16) {
        const int64_t group = o.s->group ? column / o.s->group : 0;
        if (o.s->zeros) value -= zero_of(o, group);
        value *= scale_of(o, group);
    }
    return wi_bf16_of_float(value);
}

// `count` elements from a column of the matrix, in the packed type.
static void gather(const packer *p, origin o, int64_t column, int count, piece *out)
{
    const weft_dtype type = p->w->type;
    const unsigned char *row = (const unsigned char *)o.s->data + (size_t)o.row * o.s->row_bytes;
    const int64_t at = column - o.s->first_column;
    if (type == WEFT_I4) {
        for (int i = 0; i < count; i++) out->u8[i] = read_nibble(row, at + i);
    } else if (o.s->type == type) {
        const size_t size = (size_t)weft_dtype_bits(type) / 8;
        memcpy(out, row + (size_t)at * size, (size_t)count * size);
    } else {
        for (int i = 0; i < count; i++) out->u16[i] = bf16_of(p, o, column + i);
    }
}

// Into the layout of FMA and dot, from column k held.
static void place_panel_order(const packer *p, unsigned char *codes, int lane, int64_t k, int count, const piece *in)
{
    float *f32 = (float *)(void *)codes;
    uint16_t *u16 = (uint16_t *)(void *)codes;
    uint32_t *words = (uint32_t *)(void *)codes;
    switch (p->w->type) {
    case WEFT_F32:
        for (int i = 0; i < count; i++) f32[(k + i) * WI_PANEL + lane] = in->f32[i];
        break;
    case WEFT_F16:
        for (int i = 0; i < count; i++) u16[(k + i) * WI_PANEL + lane] = in->u16[i];
        break;
    case WEFT_BF16:
        for (int i = 0; i < count; i++) u16[((k + i) / 2 * WI_PANEL + lane) * 2 + (i & 1)] = in->u16[i];
        break;
    case WEFT_I8:
    case WEFT_E4M3:
        for (int i = 0; i < count; i++) codes[(k + i) * WI_PANEL + lane] = in->u8[i];
        break;
    default:
        for (int i = 0; i < count; i += 8) {
            uint32_t word = 0;
            for (int j = 0; j < 8; j++) {
                const uint32_t code = i + j < count ? in->u8[i + j] : p->pad;
                word |= code << (16 * (j & 1) + 4 * (j / 2));
            }
            words[(k + i) / 8 * WI_PANEL + lane] = word;
        }
    }
}

// Into the layout of AMX, from a padded column.
static void place_tile_order(const packer *p, unsigned char *codes, int lane, int64_t at, int count, const piece *in)
{
    if (p->w->type == WEFT_I4) {
        uint16_t *words = (uint16_t *)(void *)(codes + at / PIECE * (PIECE / 2 * WI_PANEL)) + lane * WI_STEP;
        for (int j = 0; j < WI_STEP; j++) {
            uint32_t word = 0;
            for (int step = 0; step < WI_STEPS_I4; step++) {
                const int i = step * WI_STEP + j;
                word |= (uint32_t)(i < count ? in->u8[i] : p->pad) << 4 * step;
            }
            words[j] = (uint16_t)word;
        }
        return;
    }
    if (wi_gemm_is_byte(p->w->type)) {
        for (int i = 0; i < count; i++) codes[wi_gemm_tile_byte(p->w, lane, at + i)] = in->u8[i];
        return;
    }
    const size_t size = (size_t)weft_dtype_bits(p->w->type) / 8;
    for (int i = 0; i < count; i += WI_STEP) {
        const int n = count - i < WI_STEP ? count - i : WI_STEP;
        unsigned char *row = codes + ((size_t)(at + i) * WI_PANEL + (size_t)lane * WI_STEP) * size;
        memcpy(row, (const unsigned char *)in + (size_t)i * size, (size_t)n * size);
    }
}

// Into the records of MMA and WGMMA, from a padded column.
static void place_record_order(const packer *p, unsigned char *codes, int lane, int64_t at, int count, const piece *in)
{
    const weft_gemm_weight *w = p->w;
    const int64_t columns = wi_gemm_record_columns(w->type);
    const int end = w->type == WEFT_I4 ? PIECE : count; // the pad of int4 is a code too
    for (int i = 0; i < end; i++) {
        unsigned char *record = codes + (size_t)((at + i) / columns) * w->record_bytes;
        const int64_t column = (at + i) % columns;
        if (w->type == WEFT_BF16) {
            ((uint16_t *)(void *)record)[lane * WI_RECORD + column] = in->u16[i];
            continue;
        }
        const int64_t place = wi_gemm_in_record(w->type, lane, column);
        if (wi_gemm_is_byte(w->type))
            record[place] = in->u8[i];
        else
            record[place / 2] |= (unsigned char)((i < count ? in->u8[i] : p->pad) << place % 2 * 4);
    }
}

// Their scales and zeros. Behind a leaf there are none: the zeros that stand there make its padding 0.
static void pack_record_scales(const packer *p, unsigned char *panel, int lane, origin o, int leaf)
{
    const weft_gemm_weight *w = p->w;
    const size_t scale_size = (size_t)weft_dtype_bits(w->scale_type) / 8;
    const size_t zero_size = (size_t)weft_dtype_bits(w->zero_type) / 8;
    const int64_t columns = wi_gemm_record_columns(w->type), begin = w->leaf[leaf].begin;
    const unsigned char *scales = scale_row(o.s, o.row, o.s->scales, o.s->scale_row_bytes);
    for (int64_t k = begin; k < w->leaf[leaf].end; k += w->sub) {
        const int64_t at = w->leaf[leaf].at + k - begin, slot = at % columns / w->sub * WI_PANEL + lane;
        const size_t group = w->group ? (size_t)((w->k_first + k) / w->group) : 0;
        unsigned char *to = panel + w->codes_at + (size_t)(at / columns) * w->record_bytes + WI_RECORD_CODES;
        memcpy(to + (size_t)slot * scale_size, scales + group * scale_size, scale_size);
        if (!w->has_zero) continue;
        const unsigned char *zeros = scale_row(o.s, o.row, o.s->zeros, o.s->zero_row_bytes);
        to += (size_t)(columns / w->sub * WI_PANEL) * scale_size;
        memcpy(to + (size_t)slot * zero_size, zeros + group * zero_size, zero_size);
    }
}

static void pack_scales(const packer *p, unsigned char *panel, const origin *lanes)
{
    const weft_gemm_weight *w = p->w;
    const size_t scale_size = (size_t)weft_dtype_bits(w->scale_type) / 8;
    const size_t zero_size = (size_t)weft_dtype_bits(w->zero_type) / 8;
    const int64_t groups = w->group ? (w->k_first + w->k - 1) / w->group - w->group_first + 1 : 1;
    for (int64_t g = 0; g < groups; g++)
        for (int lane = 0; lane < WI_PANEL; lane++) {
            const origin o = lanes[lane];
            if (!o.s) continue;
            const size_t from = (size_t)(g + w->group_first), to = (size_t)(g * WI_PANEL + lane);
            const unsigned char *scales = scale_row(o.s, o.row, o.s->scales, o.s->scale_row_bytes);
            memcpy(panel + to * scale_size, scales + from * scale_size, scale_size);
            if (!w->has_zero) continue;
            const unsigned char *zeros = scale_row(o.s, o.row, o.s->zeros, o.s->zero_row_bytes);
            memcpy(panel + w->zeros_at + to * zero_size, zeros + from * zero_size, zero_size);
        }
}

static void pack_panel(const packer *p, int64_t index)
{
    const weft_gemm_weight *w = p->w;
    unsigned char *panel = w->data + (size_t)index * w->panel_bytes;
    origin lanes[WI_PANEL];
    piece buffer;
    memset(panel, 0, w->panel_bytes);
    for (int lane = 0; lane < WI_PANEL; lane++) lanes[lane] = origin_of(p, index, lane);
    const bool records = wi_gemm_in_records(w->family) && w->scaled && !w->exact;
    if (w->scaled && !records) pack_scales(p, panel, lanes);
    for (int l = 0; l < w->leaves; l++) {
        for (int lane = 0; lane < WI_PANEL && records; lane++)
            if (lanes[lane].s) pack_record_scales(p, panel, lane, lanes[lane], l);
        for (int64_t k = w->leaf[l].begin; k < w->leaf[l].end; k += PIECE) {
            const int64_t rest = w->leaf[l].end - k;
            const int count = rest < PIECE ? (int)rest : PIECE;
            for (int lane = 0; lane < WI_PANEL; lane++) {
                if (!lanes[lane].s) continue;
                gather(p, lanes[lane], w->k_first + k, count, &buffer);
                const int64_t at = w->leaf[l].at + k - w->leaf[l].begin;
                if (w->family == WEFT_FAMILY_AMX)
                    place_tile_order(p, panel + w->codes_at, lane, at, count, &buffer);
                else if (w->family == WEFT_FAMILY_BLAS)
                    memcpy(panel + (size_t)(lane * w->padded + at) * 2, &buffer, (size_t)count * 2);
                else if (wi_gemm_in_records(w->family))
                    place_record_order(p, panel + w->codes_at, lane, at, count, &buffer);
                else
                    place_panel_order(p, panel + w->codes_at, lane, k, count, &buffer);
            }
        }
    }
}

static uint8_t pad_of(const weft_gemm_weight *w)
{
    uint8_t pad = 0;
    for (uint8_t i = 1; i < 16; i++)
        if (w->codebook[i] * w->codebook[i] < w->codebook[pad] * w->codebook[pad]) pad = i;
    return pad;
}

static void pack_share(void *arg, int thread, int threads)
{
    const packer *p = arg;
    int64_t begin, end;
    weft_team_share(p->w->panels, 1, thread, threads, &begin, &end);
    for (int64_t panel = begin; panel < end; panel++) pack_panel(p, panel);
}

weft_status weft_gemm_pack(const weft_op *op, weft_family family, const weft_gemm_source *sources, int count,
                           weft_fuse fuse, const weft_gemm_leaves *leaves, void *memory, weft_gemm_weight *out)
{
    weft_gemm_weight w;
    size_t bytes;
    WEFT_TRY(wi_gemm_layout(family, sources, count, fuse, leaves, &w, &bytes));
    w.data = memory;
    if (sources[0].permutation) {
        int32_t *permutation = (int32_t *)(void *)(w.data + (size_t)w.panels * w.panel_bytes);
        memcpy(permutation, sources[0].permutation, (size_t)w.k * sizeof *permutation);
        w.permutation = permutation;
    }
    packer p = {.sources = sources, .count = count, .w = &w, .pad = pad_of(&w)};
    if (op->team)
        weft_team_run(op->team, pack_share, &p);
    else
        pack_share(&p, 0, 1);
    *out = w;
    return WEFT_OK;
}

weft_status weft_gemm_pack_begin(weft_family family, const weft_gemm_source *sources, int count, weft_fuse fuse,
                                 const weft_gemm_leaves *leaves, void *memory, weft_gemm_weight *out)
{
    weft_gemm_weight w;
    size_t bytes;
    WEFT_TRY(wi_gemm_layout(family, sources, count, fuse, leaves, &w, &bytes));
    if (sources[0].permutation)
        return weft_fail(WEFT_UNSUPPORTED, "a weight with a permutation of its columns is packed whole");
    w.data = memory;
    *out = w;
    return WEFT_OK;
}

void weft_gemm_weight_move(weft_gemm_weight *weight, void *memory)
{
    unsigned char *to = memory;
    if (weight->permutation)
        weight->permutation =
            (const int32_t *)(const void *)(to + ((const unsigned char *)weight->permutation - weight->data));
    weight->data = to;
}

int64_t weft_gemm_panels(const weft_gemm_weight *weight) { return weight->panels; }

void weft_gemm_pack_panel(const weft_gemm_weight *weight, int64_t panel, const weft_gemm_source *parts, int count)
{
    // The panel as a weight of its own, whose only panel is this one.
    weft_gemm_weight w = *weight;
    w.data += (size_t)panel * w.panel_bytes;
    w.columns = parts[0].n;
    const packer p = {.sources = parts, .count = count, .w = &w, .pad = pad_of(&w)};
    pack_panel(&p, 0);
}
