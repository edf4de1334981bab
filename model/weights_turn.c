// Rows as a checkpoint has them become what the pack takes. Scales of e4m3 stand in a tensor beside the matrix, one for
// each block of rows and columns.
#include <string.h>

#include "model/load.h"

// A row is of no more blocks than this, and begins no more than two rows of them.
size_t wi_scales_room(const weft_model_config *config, int64_t columns, int64_t rows)
{
    return config->fp8_rows ? 2 * (size_t)rows * (size_t)(columns / config->fp8_columns + 2) : 0;
}

bool wi_read_scales(const wi_planner *p, wi_staging *s, wi_part_rows *r)
{
    const weft_op op = {.table = p->op->table};
    const int64_t high = p->config->fp8_rows, wide = p->config->fp8_columns;
    const weft_read *range = &r->source->range;
    const int64_t first = range->row + r->begin, row = first / high, column = range->column / wide;
    float *to = s->blocks + wi_scales_room(p->config, range->columns, r->at);
    weft_read read = r->source->scales;
    read.row = row;
    read.rows = (first + r->count - 1) / high - row + 1;
    read.column = column;
    read.columns = (range->column + range->columns - 1) / wide - column + 1;
    read.to = s->raw_blocks;
    read.to_stride = (size_t)read.columns * (size_t)weft_dtype_bits(read.tensor->type) / 8;
    if (!weft_checkpoint_read_range(p->checkpoint, &read)) return false;
    op.table->rows.convert(&op, to, WEFT_F32, s->raw_blocks, read.tensor->type, (size_t)(read.rows * read.columns));
    r->scales = (wi_scales){.at = to,
                            .stride = (size_t)read.columns,
                            .row = row * high,
                            .column = column * wide,
                            .rows = (int)high,
                            .columns = (int)wide,
                            .first = first,
                            .first_column = range->column};
    return true;
}

// Row `row` of a part of e4m3.
static void widen(const wi_planner *p, const wi_scales *s, int64_t row, const uint8_t *codes, size_t width, float *to)
{
    const weft_op op = {.table = p->op->table};
    const float *scales = s->at + (size_t)((s->first + row - s->row) / s->rows) * s->stride;
    for (size_t at = 0, next; at < width; at = next) {
        const size_t column = (size_t)(s->first_column - s->column) + at, block = column / (size_t)s->columns;
        next = (block + 1) * (size_t)s->columns - (size_t)(s->first_column - s->column);
        if (next > width) next = width;
        op.table->rows.dequantize(&op, &(weft_dequantize){.out = to + at,
                                                          .codes = codes + at,
                                                          .type = WEFT_E4M3,
                                                          .scales = scales + block,
                                                          .rows = 1,
                                                          .width = next - at});
    }
}

// `width` columns of one of the rows in f32.
void wi_widen_row(const wi_planner *p, const wi_part_rows *r, int64_t row, size_t width, float *to)
{
    const weft_op op = {.table = p->op->table};
    const char *from = (const char *)r->rows + (size_t)row * width * ((size_t)weft_dtype_bits(r->stored) / 8);
    if (r->stored == WEFT_E4M3)
        widen(p, &r->scales, row, (const uint8_t *)from, width, to);
    else
        op.table->rows.convert(&op, to, WEFT_F32, from, r->stored, width);
}

// Rows of columns that are held, of those whose scale is that of the whole row: each gets the largest of all of its
// columns behind its own, and a code of it that nobody reads.
void wi_turn_scaled(const wi_planner *p, wi_staging *s, const wi_matrix *m, const wi_part_rows *r,
                    const uint32_t *largest, weft_gemm_source *out)
{
    const weft_op op = {.table = p->op->table};
    const size_t width = (size_t)weft_range_size(m->columns), wide = width + 1;
    for (int64_t i = 0; i < r->count; i++) {
        float *to = s->floats + (size_t)i * wide;
        wi_widen_row(p, r, i, width, to);
        memcpy(to + width, &largest[i], sizeof *largest);
    }
    out->data = s->codes;
    out->row_bytes = wide;
    out->scales = s->scales;
    out->scale_row_bytes = sizeof(float);
    op.table->rows.quantize(&op, &(weft_quantize){.in = s->floats,
                                                  .in_stride = wide,
                                                  .codes = s->codes,
                                                  .code_stride = wide,
                                                  .type = m->type,
                                                  .scales = s->scales,
                                                  .scale_stride = 1,
                                                  .rows = (size_t)r->count,
                                                  .width = wide});
}

static void turn_to_codes(const wi_planner *p, wi_staging *s, const wi_matrix *m, const wi_part_rows *r,
                          weft_gemm_source *out)
{
    const weft_op op = {.table = p->op->table};
    const size_t width = (size_t)weft_range_size(m->columns), at = (size_t)r->at;
    const size_t groups = m->group ? (width + (size_t)m->group - 1) / (size_t)m->group : 1;
    const float *floats = r->stored == WEFT_F32 ? r->rows : s->floats;
    for (int64_t i = 0; i < r->count && floats == s->floats; i++)
        wi_widen_row(p, r, i, width, s->floats + (size_t)i * width);
    out->data = (char *)s->codes + at * out->row_bytes;
    // Scales are counted from the matrix's first column: those before the ones read are never looked at.
    const size_t before = m->group ? (size_t)(m->columns.begin / m->group) : 0;
    out->scales = s->scales + at * groups - before;
    out->scale_row_bytes = groups * sizeof(float);
    op.table->rows.quantize(&op, &(weft_quantize){.in = floats,
                                                  .in_stride = width,
                                                  .codes = (char *)s->codes + at * out->row_bytes,
                                                  .code_stride = out->row_bytes,
                                                  .type = m->type,
                                                  .scales = s->scales + at * groups,
                                                  .scale_stride = groups,
                                                  .group = (size_t)m->group,
                                                  .rows = (size_t)r->count,
                                                  .width = width});
}

// Rows as stored become what the pack takes: the same type, another one, or codes with scales.
void wi_turn(const wi_planner *p, wi_staging *s, const wi_matrix *m, const wi_part_rows *r, weft_gemm_source *out)
{
    const weft_op op = {.table = p->op->table};
    const size_t width = (size_t)weft_range_size(m->columns);
    char *to = (char *)s->floats + (size_t)r->at * out->row_bytes;
    if (m->kept) {
        out->first_row = r->scales.first - r->scales.row;
        out->scale_rows = r->scales.rows;
        out->scales = r->scales.at - r->scales.column / r->scales.columns; // counted from the matrix's first column
        out->scale_row_bytes = r->scales.stride * sizeof(float);
    } else if (m->type == WEFT_I8 || m->type == WEFT_I4 || m->type == WEFT_E4M3) {
        turn_to_codes(p, s, m, r, out);
    } else if (r->stored == WEFT_E4M3) {
        for (int64_t i = 0; i < r->count; i++) {
            wi_widen_row(p, r, i, width, s->row);
            op.table->rows.convert(&op, to + (size_t)i * out->row_bytes, m->type, s->row, WEFT_F32, width);
        }
        out->data = to;
    } else if (r->stored != m->type) {
        op.table->rows.convert(&op, to, m->type, r->rows, r->stored, (size_t)r->count * width);
        out->data = to;
    }
}
