#include <stdlib.h>
#include <string.h>

#include "core/checked.h"
#include "core/clock.h"
#include "parallel/sum_impl.h"

// Up to here adding everything on every rank costs less than a second exchange: by the bytes of an array where memory
// is shared (measured on two cores of one socket), by what a rank receives over messages (four hosts over TCP). Devices
// read each other's memory, and each exchange is a launch or two; where theirs lies is not measured yet.
enum { ONE_SHOT_SHARED = 2048, ONE_SHOT_MESSAGES = 32 << 10, ONE_SHOT_DEVICES = 256 << 10 };

// A second buffer lets a rank write its next array while a peer still reads the last one. Where arrays are large that
// saves little, and one buffer stays in the caches that two would fall out of.
enum { ONE_BUFFER_BYTES = 1 << 20 };

static size_t one_shot_bytes(bool devices, int ranks, bool shared)
{
    if (devices) return ONE_SHOT_DEVICES;
    return shared || ranks < 2 ? ONE_SHOT_SHARED : ONE_SHOT_MESSAGES / (size_t)(ranks - 1);
}

bool weft_sum_one_shot(bool devices, int ranks, bool shared, size_t count)
{
    return count * sizeof(float) <= one_shot_bytes(devices, ranks, shared);
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

// Arrays of a one-shot stand side by side on whole lines.
static size_t pitch(size_t count) { return weft_align_up(count, WI_LINE_FLOATS); }

static bool shares(const weft_comm *comm)
{
    const weft_transport transport = weft_comm_transport(comm);
    return transport != WEFT_TRANSPORT_MPI && transport != WEFT_TRANSPORT_UCX;
}

// Slices of whole lines: the slot of an all-to-all is then one array without gaps.
static size_t slice_for(size_t count, size_t ranks)
{
    return (count / ranks + WI_LINE_FLOATS) / WI_LINE_FLOATS * WI_LINE_FLOATS;
}

static size_t slice_of(const weft_sum *sum, size_t count)
{
    return slice_for(count, (size_t)weft_comm_size(sum->comm));
}

// ---- making one ----

// How a sum is cut into channels.
typedef struct {
    size_t one_shot;   // floats of an array, at most, that are added by all; 0: none are
    size_t dealt_from; // floats of an array from which on it is dealt
    bool small_used, give_used, share_used;
    int pieces; // of a sum that is dealt, at most
    weft_channel_spec small, give, share;
} cut;

static int depth_for(size_t floats) { return floats * sizeof(float) >= ONE_BUFFER_BYTES ? 1 : 2; }

static cut cut_of(const weft_sum_spec *spec, int ranks, bool shared, int arrays)
{
    const size_t few = one_shot_bytes(spec->devices, ranks, shared) / sizeof(float);
    const size_t from = (size_t)weft_rows_dealt_from(ranks) * spec->width;
    const bool deals = spec->width > 0 && spec->kind == WEFT_SUM_AUTO && ranks > 1 && spec->count >= from;
    const size_t plain = deals ? from - spec->width : spec->count; // floats of a sum that is not dealt, at most
    cut c = {.one_shot = spec->kind == WEFT_SUM_TWO_SHOT ? 0 : plain, .dealt_from = deals ? from : SIZE_MAX};
    if (spec->kind == WEFT_SUM_AUTO && ranks > 1 && plain > few) c.one_shot = few;
    c.share_used = c.one_shot < plain || spec->kind == WEFT_SUM_TWO_SHOT;
    c.give_used = c.share_used || deals;
    c.small_used = c.one_shot > 0 || !c.give_used;
    size_t slice = slice_for(plain, (size_t)ranks) * sizeof(float);
    c.share =
        (weft_channel_spec){.shape = WEFT_ALLGATHER, .name = spec->name, .bytes = slice, .depth = depth_for(plain)};
    c.small = (weft_channel_spec){
        .shape = WEFT_ALLGATHER, .name = spec->name, .bytes = (size_t)arrays * pitch(c.one_shot) * sizeof(float)};
    if (deals) {
        const int64_t rows = (int64_t)(spec->count / spec->width), width = (int64_t)spec->width;
        const size_t most = (size_t)weft_piece_rows_most(rows, width, ranks, spec->piece_rows) * spec->width;
        c.pieces = weft_row_pieces(rows, spec->piece_rows);
        slice = larger(slice_for(plain, (size_t)ranks), most) * sizeof(float);
    }
    c.give = (weft_channel_spec){.shape = WEFT_ALLTOALL,
                                 .name = spec->name,
                                 .bytes = slice,
                                 .depth = c.pieces > 1 ? c.pieces : depth_for(spec->count)};
    return c;
}

static size_t result_bytes(const cut *c) { return (pitch(c->one_shot) + WI_LINE_FLOATS) * sizeof(float); }

static weft_sum_places places_of(const weft_sum_spec *spec, int rank)
{
    return spec->places ? spec->places[rank] : (weft_sum_places){.count = 1, .place = {rank}};
}

// The most that one rank gives.
static int arrays_of(const weft_sum_spec *spec, int ranks)
{
    int most = 0;
    for (int r = 0; r < ranks; r++) {
        const int count = places_of(spec, r).count;
        if (count > most) most = count;
    }
    return most;
}

size_t weft_sum_bytes(const weft_sum_spec *spec, int ranks, bool shared)
{
    const int arrays = arrays_of(spec, ranks);
    const cut c = cut_of(spec, ranks, shared, arrays);
    size_t bytes = 0;
    if (c.small_used) bytes += weft_channel_bytes(&c.small, ranks, shared) + result_bytes(&c);
    if (c.give_used) bytes += (size_t)arrays * weft_channel_bytes(&c.give, ranks, shared);
    if (c.share_used) bytes += weft_channel_bytes(&c.share, ranks, shared);
    return bytes;
}

size_t weft_sum_device_bytes(const weft_sum_spec *spec, int ranks, bool shared, weft_links links)
{
    const int arrays = arrays_of(spec, ranks);
    const cut c = cut_of(spec, ranks, shared, arrays);
    size_t bytes = 0;
    if (c.small_used) bytes += weft_channel_device_bytes(&c.small, ranks, links) + wi_room_bytes(result_bytes(&c));
    if (c.give_used) bytes += (size_t)arrays * weft_channel_device_bytes(&c.give, ranks, links);
    if (c.share_used) bytes += weft_channel_device_bytes(&c.share, ranks, links);
    return bytes;
}

static weft_status make_channels(weft_sum *sum, const cut *c)
{
    sum->dealt_from = c->dealt_from;
    sum->share_depth = c->share.depth;
    if (c->small_used) WEFT_TRY(weft_channel_create(sum->comm, &c->small, &sum->small));
    for (int i = 0; c->give_used && i < sum->arrays; i++)
        WEFT_TRY(weft_channel_create(sum->comm, &c->give, &sum->give[i]));
    if (c->share_used) WEFT_TRY(weft_channel_create(sum->comm, &c->share, &sum->share));
    sum->ordered = weft_channel_ordered(sum->small ? sum->small : sum->share);
    return WEFT_OK;
}

static weft_status allocate(weft_sum *sum, const weft_sum_spec *spec, const cut *c)
{
    const size_t size = (size_t)weft_comm_size(sum->comm);
    sum->in = calloc((size_t)sum->tree + 1, sizeof *sum->in);
    sum->part = calloc(size, sizeof *sum->part);
    sum->begin = calloc(size + 1, sizeof *sum->begin);
    sum->offset = calloc(size, sizeof *sum->offset);
    sum->bytes = calloc(size, sizeof *sum->bytes);
    if (!sum->in || !sum->part || !sum->begin || !sum->offset || !sum->bytes)
        return weft_fail(WEFT_NO_MEMORY, "no memory for sum %s of %zu floats", spec->name, spec->count);
    return sum->small ? wi_room_take(sum->device, result_bytes(c), spec->name, &sum->result) : WEFT_OK;
}

static weft_status prepare(weft_sum *sum, const weft_sum_spec *spec)
{
    const int size = weft_comm_size(sum->comm);
    size_t bytes;
    sum->places = calloc((size_t)size, sizeof *sum->places);
    if (!sum->places) return weft_fail(WEFT_NO_MEMORY, "no memory for sum %s", spec->name);
    sum->arrays = arrays_of(spec, size);
    for (int r = 0; r < size; r++) {
        const weft_sum_places *p = &sum->places[r];
        sum->places[r] = places_of(spec, r);
        for (int i = 0; i < p->count; i++)
            if (p->place[i] >= sum->tree) sum->tree = p->place[i] + 1;
    }
    if (sum->tree > WEFT_TREE_MAX)
        return weft_fail(WEFT_LIMIT, "a sum over %d places: at most %d", sum->tree, WEFT_TREE_MAX);
    if (sum->arrays == 0) return weft_fail(WEFT_INTERNAL, "sum %s: no rank gives anything", spec->name);
    if (!weft_size_mul(spec->count, (size_t)sum->arrays * sizeof(float), &bytes) ||
        !weft_size_round_up(bytes, 4096, &bytes))
        return weft_fail(WEFT_OVERFLOW, "sum %s of %zu floats", spec->name, spec->count);
    return WEFT_OK;
}

weft_status weft_sum_create(weft_comm *comm, const weft_kernels *kernels, const weft_sum_spec *spec, weft_sum **out)
{
    weft_sum *sum = calloc(1, sizeof *sum);
    weft_status status = sum ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for sum %s", spec->name);
    WEFT_TRY_GOTO(weft_comm_agree(comm, status, NULL));
    sum->kernels = *kernels;
    sum->comm = comm;
    sum->times = spec->times;
    sum->device = spec->device;
    sum->devices = spec->devices;
    sum->width = spec->width;
    sum->piece_rows = spec->piece_rows;
    WEFT_TRY_GOTO(weft_comm_agree(comm, prepare(sum, spec), NULL));
    cut c = cut_of(spec, weft_comm_size(comm), shares(comm), sum->arrays);
    c.small.device = c.give.device = c.share.device = spec->device;
    WEFT_TRY_GOTO(make_channels(sum, &c));
    WEFT_TRY_GOTO(weft_comm_agree(comm, allocate(sum, spec, &c), NULL));
    *out = sum;
    return WEFT_OK;
fail:
    weft_sum_destroy(sum);
    return status;
}

void weft_sum_destroy(weft_sum *sum)
{
    if (!sum) return;
    weft_channel_destroy(sum->share);
    for (int i = 0; i < WEFT_SUM_ARRAYS; i++) weft_channel_destroy(sum->give[i]);
    weft_channel_destroy(sum->small);
    free(sum->places);
    wi_room_give(&sum->result);
    free(sum->in);
    free(sum->part);
    free(sum->begin);
    free(sum->offset);
    free(sum->bytes);
    free(sum);
}

weft_sum_kind weft_sum_kind_of(const weft_sum *sum, size_t count)
{
    const size_t most = one_shot_bytes(sum->devices, weft_comm_size(sum->comm), shares(sum->comm)) / sizeof(float);
    const bool one_shot = !sum->share || (sum->small && count <= most);
    return one_shot ? WEFT_SUM_ONE_SHOT : WEFT_SUM_TWO_SHOT;
}

// ---- a sum ----

static weft_status acquire(weft_sum *sum, size_t count, float **mine)
{
    const weft_sum_places *own = &sum->places[weft_comm_rank(sum->comm)];
    sum->count = count;
    sum->dealt = count >= sum->dealt_from;
    sum->two_shot = !sum->dealt && weft_sum_kind_of(sum, count) == WEFT_SUM_TWO_SHOT;
    if (!sum->two_shot && !sum->dealt) {
        WEFT_TRY(weft_exchange_acquire(sum->small, &sum->given[0]));
        for (int i = 0; i < own->count; i++) mine[i] = (float *)(void *)sum->given[0].slot + (size_t)i * pitch(count);
        return WEFT_OK;
    }
    for (int i = 0; i < sum->arrays; i++) WEFT_TRY(weft_exchange_acquire(sum->give[i], &sum->given[i]));
    for (int i = 0; i < own->count; i++) mine[i] = (float *)(void *)sum->given[i].slot;
    return WEFT_OK;
}

weft_status weft_sum_acquire(weft_sum *sum, size_t count, float **mine)
{
    const uint64_t began = weft_clock_ticks();
    const weft_status status = acquire(sum, count, mine);
    const uint64_t took = weft_clock_ticks() - began;
    if (sum->times && !sum->ordered) {
        sum->times->exchange += took;
        sum->times->wait += took;
    }
    return status;
}

static void count_wait(weft_sum *sum, uint64_t began)
{
    if (!sum->times) return;
    if (!sum->ordered) sum->times->wait += weft_clock_ticks() - began;
    sum->times->count++;
}

weft_status wi_sum_end(weft_sum *sum, weft_exchange *exchange)
{
    const uint64_t began = weft_clock_ticks();
    const weft_status status = weft_exchange_end(exchange);
    count_wait(sum, began);
    return status;
}

static weft_status meet(weft_sum *sum, weft_exchange *exchange, size_t bytes, weft_device_meeting *meeting)
{
    const uint64_t began = weft_clock_ticks();
    const weft_status status = weft_exchange_meet(exchange, bytes, meeting);
    count_wait(sum, began);
    return status;
}

void wi_sum_take_arrays(weft_sum *sum, const weft_exchange *exchange, int index, size_t offset)
{
    for (int r = 0; r < weft_comm_size(sum->comm); r++)
        if (index < sum->places[r].count)
            sum->in[sum->places[r].place[index]] = (const float *)(const void *)exchange->view[r] + offset;
}

// A device adds and does what follows in one op, which may be where it meets the peers too.
static bool totals(const weft_sum *sum, const weft_sum_finish *finish)
{
    return sum->kernels.total && finish->out && finish->width > 0 && sum->tree <= WEFT_LEAVES;
}

static void add_in_one(const weft_sum *sum, const weft_sum_finish *finish, const weft_device_meeting *meeting)
{
    sum->kernels.total(finish->op, &(weft_row_total){.in = sum->in,
                                                     .n = sum->tree,
                                                     .bias = finish->bias,
                                                     .residual = finish->residual,
                                                     .out = finish->out,
                                                     .rows = sum->count / finish->width,
                                                     .width = finish->width,
                                                     .norm = finish->norm,
                                                     .meeting = meeting->begun ? meeting : NULL});
}

static weft_status run_one_shot(weft_sum *sum, const weft_sum_finish *finish, bool total)
{
    const size_t each = pitch(sum->count);
    const size_t bytes = (size_t)sum->places[weft_comm_rank(sum->comm)].count * each * sizeof(float);
    weft_device_meeting meeting = {0};
    if (total) {
        WEFT_TRY(meet(sum, &sum->given[0], bytes, &meeting));
    } else {
        WEFT_TRY(weft_exchange_begin(&sum->given[0], bytes));
        WEFT_TRY(wi_sum_end(sum, &sum->given[0]));
    }
    for (int i = 0; i < sum->arrays; i++) wi_sum_take_arrays(sum, &sum->given[0], i, (size_t)i * each);
    if (total)
        add_in_one(sum, finish, &meeting);
    else
        wi_sum_add(sum, finish, 0, sum->count, sum->result.at);
    weft_exchange_release(&sum->given[0]);
    sum->part[0] = finish->out ? finish->out : sum->result.at;
    sum->begin[0] = 0;
    sum->begin[1] = sum->count;
    return WEFT_OK;
}

static void cut_slices(weft_sum *sum)
{
    const size_t slice = slice_of(sum, sum->count);
    const int size = weft_comm_size(sum->comm);
    for (int i = 0; i < size; i++) {
        sum->begin[i] = smaller((size_t)i * slice, sum->count);
        sum->offset[i] = sum->begin[i] / WI_LINE_FLOATS * WI_LINE_FLOATS * sizeof(float);
        sum->bytes[i] = (smaller((size_t)(i + 1) * slice, sum->count) - sum->begin[i]) * sizeof(float);
    }
    sum->begin[size] = sum->count;
}

weft_status wi_sum_give(weft_sum *sum, weft_exchange *exchange, int index)
{
    static const size_t nothing[WEFT_TREE_MAX];
    const bool gives = index < sum->places[weft_comm_rank(sum->comm)].count;
    return weft_exchange_begin_at(exchange, sum->offset, gives ? sum->bytes : nothing);
}

// What the peers wait for comes first; what can overlap with waiting for them comes while we wait.
static weft_status run_two_shot(weft_sum *sum, const weft_sum_finish *finish)
{
    const int size = weft_comm_size(sum->comm), rank = weft_comm_rank(sum->comm);
    cut_slices(sum);
    for (int i = 0; i < sum->arrays; i++) WEFT_TRY(wi_sum_give(sum, &sum->given[i], i));
    if (sum->share_depth > 1) WEFT_TRY(weft_exchange_acquire(sum->share, &sum->shared));
    for (int i = 0; i < sum->arrays; i++) {
        WEFT_TRY(wi_sum_end(sum, &sum->given[i]));
        wi_sum_take_arrays(sum, &sum->given[i], i, 0);
    }
    // With one buffer: a peer that has given has released what was shared before.
    if (sum->share_depth == 1) WEFT_TRY(weft_exchange_acquire(sum->share, &sum->shared));
    wi_sum_add(sum, finish, sum->begin[rank], sum->begin[rank + 1], (float *)(void *)sum->shared.slot);
    WEFT_TRY(weft_exchange_begin(&sum->shared, sum->bytes[rank]));
    for (int i = 0; i < sum->arrays; i++) weft_exchange_release(&sum->given[i]);
    WEFT_TRY(wi_sum_end(sum, &sum->shared));
    for (int i = 0; i < size; i++) sum->part[i] = (const float *)(const void *)sum->shared.view[i];
    if (finish->out) wi_sum_copy_parts(sum, finish);
    return WEFT_OK;
}

static void cut_rows(weft_sum *sum)
{
    const int size = weft_comm_size(sum->comm);
    for (int i = 0; i < size; i++) {
        const weft_range rows = weft_rows_of((int64_t)(sum->count / sum->width), (int64_t)sum->width, i, size);
        sum->begin[i] = (size_t)rows.begin * sum->width;
        sum->offset[i] = sum->begin[i] * sizeof(float);
        sum->bytes[i] = (size_t)weft_range_size(rows) * sum->width * sizeof(float);
        if (sum->bytes[i] == 0) sum->offset[i] = 0;
    }
    sum->begin[size] = sum->count;
}

static weft_status run_dealt(weft_sum *sum, const weft_sum_finish *finish)
{
    const int rank = weft_comm_rank(sum->comm);
    const weft_sum_then *then = finish->then;
    float *slot;
    cut_rows(sum);
    for (int i = 0; i < sum->arrays; i++) WEFT_TRY(wi_sum_give(sum, &sum->given[i], i));
    for (int i = 0; i < sum->arrays; i++) {
        WEFT_TRY(wi_sum_end(sum, &sum->given[i]));
        wi_sum_take_arrays(sum, &sum->given[i], i, 0);
    }
    WEFT_TRY(weft_transfer_acquire(then->to, &slot));
    const weft_range rows = {(int64_t)(sum->begin[rank] / sum->width), (int64_t)(sum->begin[rank + 1] / sum->width)};
    wi_sum_add_rows(sum, finish, rows, slot);
    for (int i = 0; i < sum->arrays; i++) weft_exchange_release(&sum->given[i]);
    return weft_transfer_gather(then->to, (size_t)weft_range_size(rows) * then->row_floats);
}

weft_status weft_sum_run(weft_sum *sum, const weft_sum_finish *finish, weft_sum_result *out)
{
    static const weft_sum_finish nothing;
    const uint64_t began = weft_clock_ticks(), before = sum->times ? sum->times->exchange : 0;
    if (!finish) finish = &nothing;
    const bool total = !sum->dealt && !sum->two_shot && totals(sum, finish);
    const weft_status status = sum->dealt      ? run_dealt(sum, finish)
                               : sum->two_shot ? run_two_shot(sum, finish)
                                               : run_one_shot(sum, finish, total);
    if (sum->times) {
        const size_t own = (size_t)sum->places[weft_comm_rank(sum->comm)].count * sum->count;
        // The transfer of a sum that is dealt has told its part already.
        if (!sum->ordered) sum->times->exchange = before + weft_clock_ticks() - began - (sum->dealt ? sum->aside : 0);
        sum->times->bytes +=
            (own + (sum->two_shot ? sum->bytes[weft_comm_rank(sum->comm)] / sizeof(float) : 0)) * sizeof(float);
    }
    if (status == WEFT_OK && finish->norm && !sum->dealt && !total)
        wi_norm_sums(finish->op, finish->norm, finish->out, finish->width, sum->count / finish->width, finish->width);
    if (status == WEFT_OK && out && !sum->dealt)
        *out = (weft_sum_result){sum->two_shot ? weft_comm_size(sum->comm) : 1, sum->part, sum->begin};
    return status;
}

void weft_sum_release(weft_sum *sum)
{
    if (sum->two_shot) weft_exchange_release(&sum->shared);
}
