// Sums of many rows that devices deal, in pieces. Of a piece each rank finishes some of its rows, as of all of them, so
// no bit and no place of a row is another than without pieces.
//
// A device has two lanes. The ops write a piece, and beside them the last one is exchanged, added, finished and
// gathered:
//
//     ops      write 0 | write 1            | write 2            | ...        wait |
//     beside           | give 0, finish 0   | give 1, finish 1   | ... finish last |
//
// All slots are taken before the first piece is given: a wait counts from the exchanges that the device has begun, and
// beside the ops that would be another number by chance.
#include "core/clock.h"
#include "parallel/sum_impl.h"

static weft_range rows_of(const weft_sum *sum, int rank, int index)
{
    const int64_t width = (int64_t)sum->width;
    const weft_range own = weft_rows_of((int64_t)(sum->count / sum->width), width, rank, weft_comm_size(sum->comm));
    return weft_rows_of_piece(own, width, index, sum->pieces);
}

int weft_sum_pieces(const weft_sum *sum, size_t count)
{
    return count < sum->dealt_from ? 1 : weft_row_pieces((int64_t)(count / sum->width), sum->piece_rows);
}

static weft_status acquire(weft_sum *sum)
{
    for (int p = 0; p < sum->pieces; p++)
        for (int i = 0; i < sum->arrays; i++) WEFT_TRY(weft_exchange_acquire(sum->give[i], &sum->flying[p][i]));
    return WEFT_OK;
}

weft_status weft_sum_acquire_pieces(weft_sum *sum, size_t count)
{
    const uint64_t began = weft_clock_ticks();
    sum->count = count;
    sum->dealt = true;
    sum->two_shot = false;
    sum->pieces = weft_sum_pieces(sum, count);
    WEFT_TRY(acquire(sum));
    const uint64_t took = weft_clock_ticks() - began;
    if (sum->times && !sum->ordered) {
        sum->times->exchange += took;
        sum->times->wait += took;
    }
    return WEFT_OK;
}

void weft_sum_piece_of(const weft_sum *sum, int index, weft_sum_piece *out)
{
    *out = (weft_sum_piece){.parts = weft_comm_size(sum->comm)};
    for (int r = 0; r < out->parts; r++) {
        const weft_range rows = rows_of(sum, r, index);
        out->first[r] = rows.begin;
        out->begin[r + 1] = out->begin[r] + weft_range_size(rows);
    }
    out->rows = out->begin[out->parts];
    for (int i = 0; i < sum->arrays; i++) out->mine[i] = (float *)(void *)sum->flying[index][i].slot;
}

static weft_status begin(weft_sum *sum, int index)
{
    weft_sum_piece piece;
    weft_sum_piece_of(sum, index, &piece);
    for (int r = 0; r < piece.parts; r++) {
        sum->bytes[r] = (size_t)(piece.begin[r + 1] - piece.begin[r]) * sum->width * sizeof(float);
        sum->offset[r] = sum->bytes[r] ? (size_t)piece.begin[r] * sum->width * sizeof(float) : 0;
    }
    for (int i = 0; i < sum->arrays; i++) WEFT_TRY(wi_sum_give(sum, &sum->flying[index][i], i));
    return WEFT_OK;
}

static weft_status finish_piece(weft_sum *sum, const weft_sum_finish *finish, int index)
{
    const weft_sum_then *then = finish->then;
    const weft_range rows = rows_of(sum, weft_comm_rank(sum->comm), index);
    weft_exchange *given = sum->flying[index];
    float *slot;
    for (int i = 0; i < sum->arrays; i++) {
        WEFT_TRY(wi_sum_end(sum, &given[i]));
        wi_sum_take_arrays(sum, &given[i], i, 0);
    }
    WEFT_TRY(weft_transfer_acquire(then->to, &slot));
    wi_sum_add_rows(sum, finish, rows, slot);
    for (int i = 0; i < sum->arrays; i++) weft_exchange_release(&given[i]);
    return weft_transfer_gather(then->to, (size_t)weft_range_size(rows) * then->row_floats);
}

static void turn(const weft_sum *sum, weft_device_lane lane, bool behind)
{
    sum->device->ops->links->turn(sum->device, lane, behind);
}

static weft_status give_beside(weft_sum *sum, const weft_sum_finish *finish, int index)
{
    weft_status status = WEFT_OK;
    turn(sum, WEFT_DEVICE_BESIDE, false);
    if (index > 0) status = finish_piece(sum, finish, index - 1);
    turn(sum, WEFT_DEVICE_BESIDE, true);
    if (status == WEFT_OK) status = begin(sum, index);
    turn(sum, WEFT_DEVICE_OPS, status < 0);
    return status;
}

// Where the host waits for its device nothing goes on beside it.
static weft_status give_here(weft_sum *sum, const weft_sum_finish *finish, int index)
{
    const uint64_t began = weft_clock_ticks(), before = sum->times ? sum->times->exchange : 0;
    WEFT_TRY(begin(sum, index));
    WEFT_TRY(finish_piece(sum, finish, index));
    // The transfer has told its part already.
    if (sum->times) sum->times->exchange = before + weft_clock_ticks() - began - sum->aside;
    return WEFT_OK;
}

weft_status weft_sum_give_piece(weft_sum *sum, const weft_sum_finish *finish, int index)
{
    return sum->ordered ? give_beside(sum, finish, index) : give_here(sum, finish, index);
}

weft_status weft_sum_take_pieces(weft_sum *sum, const weft_sum_finish *finish)
{
    weft_status status = WEFT_OK;
    if (sum->ordered) {
        turn(sum, WEFT_DEVICE_BESIDE, false);
        status = finish_piece(sum, finish, sum->pieces - 1);
        turn(sum, WEFT_DEVICE_OPS, true);
    }
    if (sum->times) {
        sum->times->bytes += (size_t)sum->places[weft_comm_rank(sum->comm)].count * sum->count * sizeof(float);
        if (sum->ordered) sum->times->pieces += (uint64_t)sum->pieces;
    }
    return status;
}
