// Reading ranges of tensors: threads share the bytes, each piece goes straight to where it is wanted.
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/checkpoint_impl.h"

enum { PIECE = 4 << 20, SHOWN = 80 };

static int64_t width_of(const weft_tensor_entry *t) { return t->rank ? t->shape[t->rank - 1] : 1; }

static int64_t height_of(const weft_tensor_entry *t)
{
    int64_t rows = 1;
    for (int i = 0; i + 1 < t->rank; i++) rows *= t->shape[i];
    return rows;
}

static bool read_bytes(int fd, void *to, size_t bytes, uint64_t at)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t got = pread(fd, (char *)to + done, bytes - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            if (got == 0) errno = ENODATA;
            return false;
        }
        done += (size_t)got;
    }
    return true;
}

bool weft_checkpoint_read_range(const weft_checkpoint *checkpoint, const weft_read *range)
{
    const weft_tensor_entry *t = range->tensor;
    const size_t size = (size_t)weft_dtype_bits(t->type) / 8, bytes = (size_t)range->columns * size;
    const uint64_t width = (uint64_t)width_of(t) * size;
    const uint64_t from = t->offset + (uint64_t)range->row * width + (uint64_t)range->column * size;
    const int fd = checkpoint->file[t->file].fd;
    if (bytes == width && range->to_stride == bytes)
        return read_bytes(fd, range->to, bytes * (size_t)range->rows, from);
    for (int64_t row = 0; row < range->rows; row++)
        if (!read_bytes(fd, (char *)range->to + (size_t)row * range->to_stride, bytes, from + (uint64_t)row * width))
            return false;
    return true;
}

weft_status weft_checkpoint_read_failure(const weft_checkpoint *checkpoint, const weft_read *range)
{
    return weft_fail(WEFT_IO, "%s: tensor %.*s: %s", checkpoint->file[range->tensor->file].path, SHOWN,
                     range->tensor->name,
                     errno == ENODATA ? "the file ends inside it; it was cut while it was read" : strerror(errno));
}

// ---- many ranges ----

typedef struct {
    const weft_checkpoint *checkpoint;
    const weft_read *reads;
    size_t count;
    int rank;
    atomic_size_t next;   // the next piece, counted over all ranges
    atomic_size_t failed; // 1 + the number of a range that could not be read
    atomic_int error;
} reading;

static int64_t rows_a_piece(const weft_read *range)
{
    const int64_t bytes = range->columns * weft_dtype_bits(range->tensor->type) / 8;
    return bytes >= PIECE || bytes == 0 ? 1 : PIECE / bytes;
}

static size_t pieces_of(const weft_read *range, int rank)
{
    if (range->reader != rank || range->receiver != rank || range->rows == 0) return 0;
    const int64_t rows = rows_a_piece(range);
    return (size_t)((range->rows + rows - 1) / rows);
}

static void read_piece(reading *r, size_t index, int64_t piece)
{
    weft_read part = r->reads[index];
    const int64_t rows = rows_a_piece(&part), begin = piece * rows;
    part.row += begin;
    part.to = (char *)part.to + (size_t)begin * part.to_stride;
    part.rows = part.rows - begin < rows ? part.rows - begin : rows;
    if (weft_checkpoint_read_range(r->checkpoint, &part)) return;
    atomic_store(&r->error, errno);
    atomic_store(&r->failed, index + 1);
}

static void read_share(void *arg, int thread, int threads)
{
    reading *r = arg;
    size_t index = 0, before = 0, here = r->count ? pieces_of(&r->reads[0], r->rank) : 0;
    while (atomic_load(&r->failed) == 0) {
        const size_t piece = atomic_fetch_add(&r->next, 1);
        while (index < r->count && piece >= before + here) {
            before += here;
            if (++index < r->count) here = pieces_of(&r->reads[index], r->rank);
        }
        if (index == r->count) return;
        read_piece(r, index, (int64_t)(piece - before));
    }
}

// What this rank reads for another one, a range at a time.
static weft_status read_for_others(const weft_checkpoint *checkpoint, const weft_read *range,
                                   const weft_read_options *options)
{
    const size_t stride = (size_t)range->columns * (size_t)weft_dtype_bits(range->tensor->type) / 8;
    weft_read own = *range;
    weft_status status;
    if (!options->send)
        return weft_fail(WEFT_INTERNAL, "tensor %.*s: read for rank %d, and nobody sends it", SHOWN,
                         range->tensor->name, range->receiver);
    own.to_stride = stride;
    own.to = malloc(stride * (size_t)range->rows + 1);
    if (!own.to)
        return weft_fail(WEFT_NO_MEMORY, "tensor %.*s: no memory for a range of it", SHOWN, range->tensor->name);
    status = weft_checkpoint_read_range(checkpoint, &own) ? options->send(options->send_arg, range, own.to)
                                                          : weft_checkpoint_read_failure(checkpoint, range);
    free(own.to);
    return status;
}

static weft_status check_range(const weft_read *range)
{
    const weft_tensor_entry *t = range->tensor;
    const int64_t height = height_of(t), width = width_of(t);
    if (range->row >= 0 && range->rows >= 0 && range->row <= height - range->rows && range->column >= 0 &&
        range->columns >= 0 && range->column <= width - range->columns && weft_dtype_bits(t->type) % 8 == 0)
        return WEFT_OK;
    return weft_fail(WEFT_INTERNAL, "tensor %.*s: a range outside of it is asked for", SHOWN, t->name);
}

weft_status weft_checkpoint_read(const weft_checkpoint *checkpoint, const weft_read *reads, size_t count,
                                 const weft_read_options *options)
{
    reading r = {.checkpoint = checkpoint, .reads = reads, .count = count, .rank = options->rank};
    for (size_t i = 0; i < count; i++) WEFT_TRY(check_range(&reads[i]));
    if (options->team)
        weft_team_run(options->team, read_share, &r);
    else
        read_share(&r, 0, 1);
    const size_t failed = atomic_load(&r.failed);
    if (failed) {
        errno = atomic_load(&r.error);
        return weft_checkpoint_read_failure(checkpoint, &reads[failed - 1]);
    }
    for (size_t i = 0; i < count; i++)
        if (reads[i].reader == options->rank && reads[i].receiver != options->rank)
            WEFT_TRY(read_for_others(checkpoint, &reads[i], options));
    return WEFT_OK;
}
