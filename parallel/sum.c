#include "parallel/sum.h"

#include <stdlib.h>
#include <string.h>

#include "core/checked.h"
#include "core/clock.h"

enum { LINE_FLOATS = 16 };

// Up to here adding everything on every rank costs less than a second exchange: by the bytes of an array where memory
// is shared (measured on two cores of one socket), by what a rank receives over messages (four hosts over TCP).
enum { ONE_SHOT_SHARED = 2048, ONE_SHOT_MESSAGES = 32 << 10 };

// A second buffer lets a rank write its next array while a peer still reads the last one. Where arrays are large that
// saves little, and one buffer stays in the caches that two would fall out of.
enum { ONE_BUFFER_BYTES = 1 << 20 };

// So many floats of a slice are worth waking the team for.
enum { TEAM_FLOATS = 16384 };

struct weft_sum {
    weft_kernels kernels;
    weft_comm *comm;
    weft_mesh_times *times;
    weft_sum_places *places;             // [size]
    int tree;                            // places in all
    int arrays;                          // the most that one rank gives
    weft_channel *small;                 // ALLGATHER of all arrays of a rank: one-shot
    int depth;                           // of the channels below
    weft_channel *give[WEFT_SUM_ARRAYS]; // ALLTOALL of slices of the i-th array of each rank
    weft_channel *share;                 // ALLGATHER of the slices' sums
    // of the sum under way
    bool two_shot;
    size_t count;
    weft_exchange given[WEFT_SUM_ARRAYS], shared;
    float *result;          // one-shot: the sum
    const float **in;       // [tree] pointers for tree_add
    const float **part;     // [size] of the result
    size_t *begin;          // [size + 1]
    size_t *offset, *bytes; // [size] of each rank's slice
};

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

// Arrays of a one-shot stand side by side on whole lines.
static size_t pitch(size_t count) { return weft_align_up(count, LINE_FLOATS); }

static size_t one_shot_bytes(int ranks, bool shared)
{
    return shared || ranks < 2 ? ONE_SHOT_SHARED : ONE_SHOT_MESSAGES / (size_t)(ranks - 1);
}

static bool shares(const weft_comm *comm)
{
    const weft_transport transport = weft_comm_transport(comm);
    return transport != WEFT_TRANSPORT_MPI && transport != WEFT_TRANSPORT_UCX;
}

// Slices of whole lines: the slot of an all-to-all is then one array without gaps.
static size_t slice_for(size_t count, size_t ranks)
{
    return (count / ranks + LINE_FLOATS) / LINE_FLOATS * LINE_FLOATS;
}

static size_t slice_of(const weft_sum *sum, size_t count)
{
    return slice_for(count, (size_t)weft_comm_size(sum->comm));
}

// ---- making one ----

// How a sum is cut into channels.
typedef struct {
    size_t one_shot; // floats of an array, at most, that are added by all; 0: none are
    bool two_shot;
    weft_channel_spec small, give, share;
} cut;

static cut cut_of(const weft_sum_spec *spec, int ranks, bool shared, int arrays)
{
    cut c = {.one_shot = spec->count, .two_shot = spec->kind == WEFT_SUM_TWO_SHOT};
    const size_t most = one_shot_bytes(ranks, shared) / sizeof(float);
    if (spec->kind == WEFT_SUM_AUTO && ranks > 1 && c.one_shot > most) {
        c.one_shot = most;
        c.two_shot = true;
    }
    if (spec->kind == WEFT_SUM_TWO_SHOT) c.one_shot = 0;
    const size_t slice = slice_for(spec->count, (size_t)ranks) * sizeof(float);
    const int depth = spec->count * sizeof(float) >= ONE_BUFFER_BYTES ? 1 : 2;
    c.small = (weft_channel_spec){
        .shape = WEFT_ALLGATHER, .name = spec->name, .bytes = (size_t)arrays * pitch(c.one_shot) * sizeof(float)};
    c.give = (weft_channel_spec){.shape = WEFT_ALLTOALL, .name = spec->name, .bytes = slice, .depth = depth};
    c.share = (weft_channel_spec){.shape = WEFT_ALLGATHER, .name = spec->name, .bytes = slice, .depth = depth};
    return c;
}

static size_t result_bytes(const cut *c) { return (pitch(c->one_shot) + LINE_FLOATS) * sizeof(float); }

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
    if (c.one_shot > 0 || !c.two_shot) bytes += weft_channel_bytes(&c.small, ranks, shared) + result_bytes(&c);
    if (!c.two_shot) return bytes;
    return bytes + (size_t)arrays * weft_channel_bytes(&c.give, ranks, shared) +
           weft_channel_bytes(&c.share, ranks, shared);
}

static weft_status make_channels(weft_sum *sum, const cut *c)
{
    if (c->one_shot > 0 || !c->two_shot) WEFT_TRY(weft_channel_create(sum->comm, &c->small, &sum->small));
    if (!c->two_shot) return WEFT_OK;
    sum->depth = c->share.depth;
    for (int i = 0; i < sum->arrays; i++) WEFT_TRY(weft_channel_create(sum->comm, &c->give, &sum->give[i]));
    return weft_channel_create(sum->comm, &c->share, &sum->share);
}

static weft_status allocate(weft_sum *sum, const weft_sum_spec *spec, const cut *c)
{
    const size_t size = (size_t)weft_comm_size(sum->comm);
    sum->in = calloc((size_t)sum->tree + 1, sizeof *sum->in);
    sum->part = calloc(size, sizeof *sum->part);
    sum->begin = calloc(size + 1, sizeof *sum->begin);
    sum->offset = calloc(size, sizeof *sum->offset);
    sum->bytes = calloc(size, sizeof *sum->bytes);
    if (sum->small) sum->result = aligned_alloc(64, result_bytes(c));
    if (!sum->in || !sum->part || !sum->begin || !sum->offset || !sum->bytes || (sum->small && !sum->result))
        return weft_fail(WEFT_NO_MEMORY, "no memory for sum %s of %zu floats", spec->name, spec->count);
    return WEFT_OK;
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
    WEFT_TRY_GOTO(weft_comm_agree(comm, prepare(sum, spec), NULL));
    const cut c = cut_of(spec, weft_comm_size(comm), shares(comm), sum->arrays);
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
    free(sum->result);
    free(sum->in);
    free(sum->part);
    free(sum->begin);
    free(sum->offset);
    free(sum->bytes);
    free(sum);
}

weft_sum_kind weft_sum_kind_of(const weft_sum *sum, size_t count)
{
    const size_t most = one_shot_bytes(weft_comm_size(sum->comm), shares(sum->comm)) / sizeof(float);
    const bool one_shot = !sum->share || (sum->small && count <= most);
    return one_shot ? WEFT_SUM_ONE_SHOT : WEFT_SUM_TWO_SHOT;
}

// ---- adding ----

typedef struct {
    weft_sum *sum;
    const weft_sum_finish *finish;
    float *out;
    size_t begin, end;  // of the sum's floats
    const float **from; // [tree] the arrays at `begin`
} addition;

// What was added is to lie in both places: in `kept` because it is wanted there, in the slot for the others.
static void leave(float *kept, float *slot, bool in_kept, bool shared, size_t bytes)
{
    if (!in_kept)
        memcpy(kept, slot, bytes);
    else if (shared)
        memcpy(slot, kept, bytes);
}

// A block at a time, so that what follows the tree finds it in the cache.
static void add_range(const addition *a, const float **in, size_t begin, size_t end)
{
    enum { BLOCK = 2048 };
    const weft_sum *sum = a->sum;
    const weft_sum_finish *f = a->finish;
    const weft_op alone = {.table = &sum->kernels};
    for (size_t at = begin, next; at < end; at = next) {
        float *out = a->out + (at - a->begin);
        next = smaller(end, at + BLOCK);
        // Biases begin anew with each row.
        if (f->bias) next = smaller(next, (at / f->width + 1) * f->width);
        for (int i = 0; i < sum->tree; i++) in[i] = a->from[i] ? a->from[i] + (at - a->begin) : NULL;
        sum->kernels.tree_add(out, in, sum->tree, next - at);
        if (f->bias) sum->kernels.rows.add(&alone, out, out, f->bias + at % f->width, next - at);
        float *kept = f->out ? f->out + at : out;
        if (f->residual) sum->kernels.rows.add(&alone, kept, out, f->residual + at, next - at);
        if (kept != out) leave(kept, out, f->residual != NULL, sum->two_shot, (next - at) * sizeof *out);
    }
}

static void add_share(void *arg, int thread, int threads)
{
    const addition *a = arg;
    const float *in[WEFT_TREE_MAX];
    int64_t begin, end;
    weft_team_share((int64_t)(a->end - a->begin), LINE_FLOATS, thread, threads, &begin, &end);
    if (begin < end) add_range(a, in, a->begin + (size_t)begin, a->begin + (size_t)end);
}

// By the team, where there is one and so many floats are worth waking it for.
static void share_out(addition *a, size_t floats, weft_job_fn *job)
{
    const weft_op *op = a->finish->op;
    if (op && op->team && floats >= TEAM_FLOATS)
        weft_team_run(op->team, job, a);
    else
        job(a, 0, 1);
}

static void add(weft_sum *sum, const weft_sum_finish *finish, size_t begin, size_t end, float *out)
{
    addition a = {.sum = sum, .finish = finish, .out = out, .begin = begin, .end = end, .from = sum->in};
    share_out(&a, end - begin, add_share);
}

// The other ranks' slices, to where the whole sum is wanted.
static void copy_share(void *arg, int thread, int threads)
{
    const addition *a = arg;
    const weft_sum *sum = a->sum;
    for (int p = 0; p < weft_comm_size(sum->comm); p++) {
        int64_t begin, end;
        if (p == weft_comm_rank(sum->comm)) continue;
        weft_team_share((int64_t)(sum->begin[p + 1] - sum->begin[p]), LINE_FLOATS, thread, threads, &begin, &end);
        if (begin < end)
            memcpy(a->finish->out + sum->begin[p] + begin, sum->part[p] + begin, (size_t)(end - begin) * sizeof(float));
    }
}

static void copy_parts(weft_sum *sum, const weft_sum_finish *finish)
{
    addition a = {.sum = sum, .finish = finish};
    share_out(&a, sum->count, copy_share);
}

// ---- a sum ----

static weft_status acquire(weft_sum *sum, size_t count, float **mine)
{
    const weft_sum_places *own = &sum->places[weft_comm_rank(sum->comm)];
    sum->count = count;
    sum->two_shot = weft_sum_kind_of(sum, count) == WEFT_SUM_TWO_SHOT;
    if (!sum->two_shot) {
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
    if (sum->times) {
        sum->times->exchange += took;
        sum->times->wait += took;
    }
    return status;
}

static weft_status end(weft_sum *sum, weft_exchange *exchange)
{
    const uint64_t began = weft_clock_ticks();
    const weft_status status = weft_exchange_end(exchange);
    if (sum->times) {
        sum->times->wait += weft_clock_ticks() - began;
        sum->times->count++;
    }
    return status;
}

// Where array `index` of each rank lies in the views, at its place.
static void take_arrays(weft_sum *sum, const weft_exchange *exchange, int index, size_t offset)
{
    for (int r = 0; r < weft_comm_size(sum->comm); r++)
        if (index < sum->places[r].count)
            sum->in[sum->places[r].place[index]] = (const float *)(const void *)exchange->view[r] + offset;
}

static weft_status run_one_shot(weft_sum *sum, const weft_sum_finish *finish)
{
    const size_t each = pitch(sum->count);
    const int own = sum->places[weft_comm_rank(sum->comm)].count;
    WEFT_TRY(weft_exchange_begin(&sum->given[0], (size_t)own * each * sizeof(float)));
    WEFT_TRY(end(sum, &sum->given[0]));
    for (int i = 0; i < sum->arrays; i++) take_arrays(sum, &sum->given[0], i, (size_t)i * each);
    add(sum, finish, 0, sum->count, sum->result);
    weft_exchange_release(&sum->given[0]);
    sum->part[0] = finish->out ? finish->out : sum->result;
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
        sum->offset[i] = sum->begin[i] / LINE_FLOATS * LINE_FLOATS * sizeof(float);
        sum->bytes[i] = (smaller((size_t)(i + 1) * slice, sum->count) - sum->begin[i]) * sizeof(float);
    }
    sum->begin[size] = sum->count;
}

static weft_status give_slices(weft_sum *sum, int index)
{
    static const size_t nothing[WEFT_TREE_MAX];
    const bool gives = index < sum->places[weft_comm_rank(sum->comm)].count;
    return weft_exchange_begin_at(&sum->given[index], sum->offset, gives ? sum->bytes : nothing);
}

// What the peers wait for comes first; what can overlap with waiting for them comes while we wait.
static weft_status run_two_shot(weft_sum *sum, const weft_sum_finish *finish)
{
    const int size = weft_comm_size(sum->comm), rank = weft_comm_rank(sum->comm);
    cut_slices(sum);
    for (int i = 0; i < sum->arrays; i++) WEFT_TRY(give_slices(sum, i));
    if (sum->depth > 1) WEFT_TRY(weft_exchange_acquire(sum->share, &sum->shared));
    for (int i = 0; i < sum->arrays; i++) {
        WEFT_TRY(end(sum, &sum->given[i]));
        take_arrays(sum, &sum->given[i], i, 0);
    }
    // With one buffer: a peer that has given has released what was shared before.
    if (sum->depth == 1) WEFT_TRY(weft_exchange_acquire(sum->share, &sum->shared));
    add(sum, finish, sum->begin[rank], sum->begin[rank + 1], (float *)(void *)sum->shared.slot);
    WEFT_TRY(weft_exchange_begin(&sum->shared, sum->bytes[rank]));
    for (int i = 0; i < sum->arrays; i++) weft_exchange_release(&sum->given[i]);
    WEFT_TRY(end(sum, &sum->shared));
    for (int i = 0; i < size; i++) sum->part[i] = (const float *)(const void *)sum->shared.view[i];
    if (finish->out) copy_parts(sum, finish);
    return WEFT_OK;
}

weft_status weft_sum_run(weft_sum *sum, const weft_sum_finish *finish, weft_sum_result *out)
{
    static const weft_sum_finish nothing;
    const uint64_t began = weft_clock_ticks();
    if (!finish) finish = &nothing;
    const weft_status status = sum->two_shot ? run_two_shot(sum, finish) : run_one_shot(sum, finish);
    if (sum->times) {
        const size_t own = (size_t)sum->places[weft_comm_rank(sum->comm)].count * sum->count;
        sum->times->exchange += weft_clock_ticks() - began;
        sum->times->bytes +=
            (own + (sum->two_shot ? sum->bytes[weft_comm_rank(sum->comm)] / sizeof(float) : 0)) * sizeof(float);
    }
    if (status == WEFT_OK && out)
        *out = (weft_sum_result){sum->two_shot ? weft_comm_size(sum->comm) : 1, sum->part, sum->begin};
    return status;
}

void weft_sum_release(weft_sum *sum)
{
    if (sum->two_shot) weft_exchange_release(&sum->shared);
}
