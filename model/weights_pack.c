// One linear layer from file to packed form: each thread reads the rows of a panel into a small buffer, changes their
// type where that is asked for, and packs them.
#include <stdlib.h>
#include <string.h>

#include "core/checked.h"
#include "model/weights_impl.h"

// What the threads share while one weight is packed.
typedef struct {
    wi_loader *loader;
    const wi_matrix *matrix;
    weft_dtype type; // wanted
    int group;
    size_t row_bytes;
    unsigned char *rooms; // a part for each thread: rows as they stand in the file, then as f32
    size_t room_bytes;
    float *scales; // (n, groups) of int8 and int4
    size_t groups;
    atomic_int_fast64_t failed; // 1 + the row that could not be read
} fetching;

static size_t size_of(weft_dtype type) { return (size_t)weft_dtype_bits(type) / 8; }

static bool read_rows(const fetching *f, int64_t row, int64_t rows, void *to)
{
    const wi_matrix *m = f->matrix;
    const size_t bytes = (size_t)m->k * size_of(m->type);
    if (m->tensor) {
        const weft_read range = {
            .tensor = m->tensor, .row = m->row + row, .rows = rows, .columns = m->k, .to = to, .to_stride = bytes};
        return weft_checkpoint_read_range(f->loader->checkpoint, &range);
    }
    for (int64_t i = 0; i < rows; i++)
        memcpy((char *)to + (size_t)i * bytes, (const char *)m->data + (size_t)(row + i) * m->stride, bytes);
    return true;
}

// One row, as it stands in the file, to what is packed.
static void change_row(const fetching *f, int64_t row, const void *from, float *middle, void *to)
{
    const weft_op op = {.table = f->loader->op.table};
    const wi_matrix *m = f->matrix;
    const size_t k = (size_t)m->k;
    if (f->type != WEFT_I8 && f->type != WEFT_I4) {
        if (m->type != WEFT_F32 && f->type != WEFT_F32) {
            op.table->rows.convert(&op, middle, WEFT_F32, from, m->type, k);
            op.table->rows.convert(&op, to, f->type, middle, WEFT_F32, k);
        } else {
            op.table->rows.convert(&op, to, f->type, from, m->type, k);
        }
        return;
    }
    op.table->rows.convert(&op, middle, WEFT_F32, from, m->type, k);
    const weft_quantize quantize = {.in = middle,
                                    .in_stride = k,
                                    .codes = to,
                                    .code_stride = f->row_bytes,
                                    .type = f->type,
                                    .scales = f->scales + (size_t)row * f->groups,
                                    .scale_stride = f->groups,
                                    .group = (size_t)f->group,
                                    .rows = 1,
                                    .width = k};
    op.table->rows.quantize(&op, &quantize);
}

static bool fetch(void *arg, int thread, int64_t row, int64_t rows, void *to)
{
    fetching *f = arg;
    const size_t k = (size_t)f->matrix->k;
    unsigned char *room = f->rooms + (size_t)thread * f->room_bytes;
    if (f->type == f->matrix->type) {
        if (read_rows(f, row, rows, to)) return true;
        atomic_store(&f->failed, 1 + row);
        return false;
    }
    for (int64_t i = 0; i < rows; i++) {
        if (!read_rows(f, row + i, 1, room)) {
            atomic_store(&f->failed, 1 + row + i);
            return false;
        }
        change_row(f, row + i, room, (float *)(void *)(room + weft_align_up(k * 4, 64)),
                   (char *)to + (size_t)i * f->row_bytes);
    }
    return true;
}

// The buffers of all threads. Freed by close_fetching.
static weft_status open_fetching(wi_loader *loader, const wi_linear_plan *plan, fetching *f, weft_gemm_source *source)
{
    const size_t k = (size_t)plan->matrix[0].k;
    for (int i = 0; i < plan->count; i++) {
        const wi_matrix *m = &plan->matrix[i];
        f[i] = (fetching){.loader = loader, .matrix = m, .type = plan->type, .group = plan->group};
        const bool codes = plan->type == WEFT_I8 || plan->type == WEFT_I4;
        f[i].row_bytes = (k * (size_t)weft_dtype_bits(plan->type) + 7) / 8;
        f[i].groups = plan->group ? (k + (size_t)plan->group - 1) / (size_t)plan->group : 1;
        f[i].room_bytes = weft_align_up(k * 4, 64) * 2;
        f[i].rooms = malloc(f[i].room_bytes * loader->threads);
        f[i].scales = codes ? malloc((size_t)m->n * f[i].groups * sizeof(float)) : NULL;
        if (!f[i].rooms || (codes && !f[i].scales))
            return weft_fail(WEFT_NO_MEMORY, "no memory to pack a weight of %lld rows", (long long)m->n);
        source[i] = (weft_gemm_source){.type = plan->type,
                                       .fetch = fetch,
                                       .fetch_arg = &f[i],
                                       .n = m->n,
                                       .k = m->k,
                                       .row_bytes = f[i].row_bytes,
                                       .scales = f[i].scales,
                                       .scale_type = WEFT_F32,
                                       .scale_row_bytes = f[i].groups * sizeof(float),
                                       .group = codes ? plan->group : 0};
    }
    return WEFT_OK;
}

static void close_fetching(fetching *f, int count)
{
    for (int i = 0; i < count; i++) free(f[i].rooms), free(f[i].scales);
}

// The line of the tensor that could not be read; the pack itself knows no names.
static weft_status read_failure(const wi_loader *loader, const fetching *f, int count, weft_status status)
{
    for (int i = 0; i < count; i++) {
        const int64_t row = (int64_t)atomic_load(&f[i].failed) - 1;
        if (row < 0 || !f[i].matrix->tensor) continue;
        const weft_read range = {
            .tensor = f[i].matrix->tensor, .row = f[i].matrix->row + row, .rows = 1, .columns = f[i].matrix->k};
        return weft_checkpoint_read_failure(loader->checkpoint, &range);
    }
    return status;
}

weft_status wi_load_linear(wi_loader *loader, const wi_linear_plan *plan, weft_linear *out)
{
    weft_status status;
    fetching f[WEFT_SOURCES_MAX] = {0};
    weft_gemm_source source[WEFT_SOURCES_MAX];
    weft_gemm_leaves leaves;
    size_t bytes, scratch;
    void *memory;
    if (plan->unit) weft_linear_leaves(plan->matrix[0].k, plan->unit, &leaves);
    const weft_gemm_leaves *by = plan->unit ? &leaves : NULL;
    weft_op op = loader->op;
    WEFT_TRY_GOTO(open_fetching(loader, plan, f, source));
    WEFT_TRY_GOTO(weft_gemm_pack_bytes(plan->family, source, plan->count, plan->fuse, by, &bytes));
    memory = wi_load_memory(loader, bytes);
    scratch = weft_gemm_pack_scratch(source, plan->count, (int)loader->threads);
    op.scratch = aligned_alloc(64, scratch);
    status = memory && op.scratch ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for %zu bytes of weights", bytes);
    if (status == WEFT_OK)
        status = weft_gemm_pack(&op, plan->family, source, plan->count, plan->fuse, by, memory, &out->weight);
    if (status == WEFT_IO) status = read_failure(loader, f, plan->count, status);
    free(op.scratch);
    for (int i = 0; i < plan->count && status == WEFT_OK; i++)
        if (plan->matrix[i].tensor)
            wi_load_advance(loader,
                            (size_t)plan->matrix[i].n * (size_t)plan->matrix[i].k * size_of(plan->matrix[i].type));
fail:
    close_fetching(f, plan->count);
    return status;
}
