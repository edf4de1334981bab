#include <stdlib.h>

#include "core/checked.h"
#include "parallel/parallel.h"

// Up to here adding everything on every rank costs less than a second exchange (measured on two cores of one socket).
enum { ONE_SHOT_BYTES = 2048, LINE_FLOATS = 16 };

// A second buffer lets a rank write its next array while a peer still reads the last one. Where arrays are large that
// saves little, and one buffer stays in the caches that two would fall out of.
enum { ONE_BUFFER_BYTES = 1 << 20 };

struct weft_sum {
    weft_kernels kernels;
    weft_comm *comm;
    size_t count, slice; // floats; every rank but the last ones adds a whole slice
    int depth;           // of both channels
    weft_channel *give;  // the ranks' arrays: ALLGATHER for one-shot, ALLTOALL of slices for two-shot
    weft_channel *share; // two-shot: the slices' sums
    weft_exchange given, shared;
    float *result;      // one-shot: the sum
    const float **part; // [size] pointers for tree_add, then for the result
    size_t *begin;      // [size + 1]
    size_t *bytes;      // [size] of each rank's slice
};

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static weft_status make_channels(weft_sum *sum, const weft_sum_spec *spec, bool two_shot)
{
    size_t bytes = sum->count * sizeof(float);
    sum->depth = bytes >= ONE_BUFFER_BYTES ? 1 : 2;
    weft_channel_spec give = {.shape = WEFT_ALLGATHER, .name = spec->name, .bytes = bytes, .depth = sum->depth};
    if (two_shot) {
        give.shape = WEFT_ALLTOALL;
        give.bytes = sum->slice * sizeof(float);
    }
    WEFT_TRY(weft_channel_create(sum->comm, &give, &sum->give));
    if (!two_shot) return WEFT_OK;
    weft_channel_spec share = {
        .shape = WEFT_ALLGATHER, .name = spec->name, .bytes = sum->slice * sizeof(float), .depth = sum->depth};
    return weft_channel_create(sum->comm, &share, &sum->share);
}

static weft_status allocate(weft_sum *sum, const weft_sum_spec *spec, int size)
{
    size_t bytes;
    if (!weft_size_mul(spec->count, sizeof(float), &bytes) || !weft_size_round_up(bytes, 64, &bytes))
        return weft_fail(WEFT_OVERFLOW, "sum %s of %zu floats", spec->name, spec->count);
    sum->part = calloc((size_t)size, sizeof *sum->part);
    sum->begin = calloc((size_t)size + 1, sizeof *sum->begin);
    sum->bytes = calloc((size_t)size, sizeof *sum->bytes);
    if (!sum->share) sum->result = aligned_alloc(64, bytes ? bytes : 64);
    if (!sum->part || !sum->begin || !sum->bytes || !(sum->share || sum->result))
        return weft_fail(WEFT_NO_MEMORY, "no memory for sum %s of %zu floats", spec->name, spec->count);
    for (int i = 0; i < size; i++) {
        size_t from = smaller((size_t)i * sum->slice, sum->count), to = smaller(from + sum->slice, sum->count);
        sum->begin[i] = from;
        sum->bytes[i] = (to - from) * sizeof(float);
    }
    sum->begin[size] = sum->count;
    return WEFT_OK;
}

weft_status weft_sum_create(weft_comm *comm, const weft_kernels *kernels, const weft_sum_spec *spec, weft_sum **out)
{
    int size = weft_comm_size(comm);
    weft_sum *sum = calloc(1, sizeof *sum);
    weft_status status = sum ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for sum %s", spec->name);
    if (size > WEFT_TREE_MAX) status = weft_fail(WEFT_LIMIT, "a sum over %d ranks: at most %d", size, WEFT_TREE_MAX);
    WEFT_TRY_GOTO(weft_comm_agree(comm, status, NULL));
    bool two_shot = spec->kind == WEFT_SUM_TWO_SHOT ||
                    (spec->kind == WEFT_SUM_AUTO && size > 1 && spec->count > ONE_SHOT_BYTES / sizeof(float));
    sum->kernels = *kernels;
    sum->comm = comm;
    sum->count = spec->count;
    // Slices of whole lines: the slot of an all-to-all is then one array without gaps.
    sum->slice = (spec->count / (size_t)size + LINE_FLOATS) / LINE_FLOATS * LINE_FLOATS;
    WEFT_TRY_GOTO(make_channels(sum, spec, two_shot));
    WEFT_TRY_GOTO(weft_comm_agree(comm, allocate(sum, spec, size), NULL));
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
    weft_channel_destroy(sum->give);
    free(sum->result);
    free(sum->part);
    free(sum->begin);
    free(sum->bytes);
    free(sum);
}

weft_sum_kind weft_sum_kind_of(const weft_sum *sum) { return sum->share ? WEFT_SUM_TWO_SHOT : WEFT_SUM_ONE_SHOT; }

weft_status weft_sum_acquire(weft_sum *sum, float **mine)
{
    WEFT_TRY(weft_exchange_acquire(sum->give, &sum->given));
    *mine = (float *)(void *)sum->given.slot;
    return WEFT_OK;
}

static void take_views(weft_sum *sum, const weft_exchange *exchange)
{
    for (int i = 0; i < weft_comm_size(sum->comm); i++) sum->part[i] = (const float *)(const void *)exchange->view[i];
}

static weft_status run_one_shot(weft_sum *sum, weft_sum_result *out)
{
    WEFT_TRY(weft_exchange_begin(&sum->given, sum->count * sizeof(float)));
    WEFT_TRY(weft_exchange_end(&sum->given));
    take_views(sum, &sum->given);
    sum->kernels.tree_add(sum->result, sum->part, weft_comm_size(sum->comm), sum->count);
    weft_exchange_release(&sum->given);
    sum->part[0] = sum->result;
    sum->begin[1] = sum->count;
    *out = (weft_sum_result){1, sum->part, sum->begin};
    return WEFT_OK;
}

// What the peers wait for comes first; what can overlap with waiting for them comes while we wait.
static weft_status run_two_shot(weft_sum *sum, weft_sum_result *out)
{
    int size = weft_comm_size(sum->comm), rank = weft_comm_rank(sum->comm);
    size_t mine = sum->bytes[rank];
    WEFT_TRY(weft_exchange_begin_each(&sum->given, sum->bytes));
    if (sum->depth > 1) WEFT_TRY(weft_exchange_acquire(sum->share, &sum->shared));
    WEFT_TRY(weft_exchange_end(&sum->given));
    // With one buffer: a peer that has given has released what was shared before.
    if (sum->depth == 1) WEFT_TRY(weft_exchange_acquire(sum->share, &sum->shared));
    take_views(sum, &sum->given);
    sum->kernels.tree_add((float *)(void *)sum->shared.slot, sum->part, size, mine / sizeof(float));
    WEFT_TRY(weft_exchange_begin(&sum->shared, mine));
    weft_exchange_release(&sum->given);
    WEFT_TRY(weft_exchange_end(&sum->shared));
    take_views(sum, &sum->shared);
    *out = (weft_sum_result){size, sum->part, sum->begin};
    return WEFT_OK;
}

weft_status weft_sum_run(weft_sum *sum, weft_sum_result *out)
{
    return sum->share ? run_two_shot(sum, out) : run_one_shot(sum, out);
}

void weft_sum_release(weft_sum *sum)
{
    if (sum->share) weft_exchange_release(&sum->shared);
}
