// test_devices LINKS RANKS [KIND]: channels between the devices of ranks, over host, ipc or nccl. Everything that
// arrives is compared with what must arrive: bytes of all sizes and none, as many from everybody or not, from where
// they lie or packed; several exchanges in flight, ended in orders drawn by each rank; steps that are graphs; exchanges
// beside the ops. KIND: emulated, cuda.
#include <stdbool.h>

#include "comm/comm.h"
#include "kernels/device.h"
#include "kernels/kernels.h"
#include "tests/check.h"

enum { PATTERN = 65536, LONGEST = 131072, RANKS_MAX = 8, DEPTH_MAX = 4, FLIGHTS = 4 };

typedef struct {
    const char *links;
    weft_comm *comm;
    weft_device *device;
    weft_kernels table;
    weft_op op;
    unsigned char *pattern; // of the host, PATTERN + LONGEST
    unsigned char *source;  // of the device: the same
    unsigned char *result;  // of the device: [FLIGHTS][RANKS_MAX] of LONGEST
    unsigned char *got;     // of the host: one of them
    uint64_t random;        // differs between ranks
} trial;

static uint64_t draw(uint64_t *state, uint64_t below)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state % below;
}

static int me(const trial *t) { return weft_comm_rank(t->comm); }
static int all(const trial *t) { return weft_comm_size(t->comm); }

// An op, as any other.
static void copy(const trial *t, void *to, const void *from, size_t bytes)
{
    if (bytes) t->op.table->rows.gather(&t->op, &(weft_move){.out = to, .in = from, .rows = 1, .bytes = bytes});
}

// Where in the pattern stands what `from` gives to `to` in exchange n.
static size_t content(int from, int to, uint32_t n)
{
    return ((size_t)from * 3331 + (size_t)to * 557 + n * 71) % PATTERN;
}

// From channel to channel other ways of giving, and from exchange to exchange.
typedef enum { EVEN, UNEVEN, EVEN_PACKED, SOME_NOTHING, WAYS } way;

static size_t amount(size_t most, int from, int to, uint32_t n)
{
    switch ((way)(n % WAYS)) {
    case EVEN:
        return most;
    case EVEN_PACKED:
        return most / 2;
    case UNEVEN:
        return (most * 3 + (size_t)(from * 7 + to * 13)) / 5 % (most + 1);
    case SOME_NOTHING:
    default:
        return (from + to) % 2 ? most / 3 : 0;
    }
}

static void start(trial *t, weft_channel *channel, const weft_channel_spec *spec, weft_exchange *ex)
{
    size_t each[RANKS_MAX], offset[RANKS_MAX], at = 0;
    CHECK_OK(weft_exchange_acquire(channel, ex));
    if (spec->shape == WEFT_ALLGATHER) {
        const size_t bytes = amount(spec->bytes, me(t), 0, ex->number);
        copy(t, ex->slot, t->source + content(me(t), 0, ex->number), bytes);
        CHECK_OK(weft_exchange_begin(ex, bytes));
        return;
    }
    const bool packed = ex->number % WAYS == EVEN_PACKED || (ex->number % 5 == 3 && me(t) % 2);
    for (int to = 0; to < all(t); to++) {
        each[to] = amount(spec->bytes, me(t), to, ex->number);
        offset[to] = packed ? at : (size_t)to * ex->stride;
        at += (each[to] + 63) / 64 * 64;
        copy(t, ex->slot + offset[to], t->source + content(me(t), to, ex->number), each[to]);
    }
    CHECK_OK(packed ? weft_exchange_begin_at(ex, offset, each) : weft_exchange_begin_each(ex, each));
}

static unsigned char *result_of(const trial *t, int flight, int from)
{
    return t->result + ((size_t)flight * RANKS_MAX + (size_t)from) * LONGEST;
}

static void finish(trial *t, weft_exchange *ex, int flight)
{
    if (draw(&t->random, 3) == 0)
        while (!weft_exchange_ready(ex)) weft_comm_progress(t->comm);
    CHECK_OK(weft_exchange_end(ex));
    for (int from = 0; from < all(t); from++) copy(t, result_of(t, flight, from), ex->view[from], ex->bytes[from]);
}

static void check(trial *t, const weft_channel_spec *spec, uint32_t number, int flight)
{
    for (int from = 0; from < all(t); from++) {
        const int to = spec->shape == WEFT_ALLTOALL ? me(t) : 0;
        const size_t bytes = amount(spec->bytes, from, to, number);
        const unsigned char *expected = t->pattern + content(from, to, number);
        size_t at = 0;
        CHECK_OK(t->device->ops->copy_out(t->device, t->got, result_of(t, flight, from), bytes));
        while (at < bytes && t->got[at] == expected[at]) at++;
        if (at < bytes)
            CHECK_FAIL("%s, exchange %u, from %d: byte %zu of %zu is %02x, expected %02x", spec->name, number, from, at,
                       bytes, t->got[at], expected[at]);
    }
}

static void check_links(const trial *t, const weft_channel *channel)
{
    const bool linked = all(t) > 1 && strcmp(t->links, "host") != 0;
    CHECK_TEXT(weft_channel_algorithm(channel), linked ? t->links : "direct");
}

static void run_channel(trial *t, weft_shape shape, size_t bytes, int depth, bool often)
{
    const weft_channel_spec spec = {.shape = shape,
                                    .name = shape == WEFT_ALLGATHER ? "gather" : "deal",
                                    .bytes = bytes,
                                    .depth = depth,
                                    .often = often,
                                    .device = t->device};
    weft_channel *channel;
    weft_exchange ex[DEPTH_MAX];
    CHECK_OK(weft_channel_create(t->comm, &spec, &channel));
    check_links(t, channel);
    for (uint32_t round = 0; round < 2 * WAYS; round++) {
        const int flying = 1 + (int)(round % (uint32_t)depth), first = (int)draw(&t->random, (uint64_t)flying);
        for (int i = 0; i < flying; i++) start(t, channel, &spec, &ex[i]);
        for (int i = 0; i < flying; i++) finish(t, &ex[(first + i) % flying], (first + i) % flying);
        for (int i = 0; i < flying; i++) {
            const int which = (first + flying - i) % flying;
            const uint32_t number = ex[which].number;
            weft_exchange_release(&ex[which]);
            check(t, &spec, number, which);
        }
    }
    weft_channel_destroy(channel);
}

// Odd ranks end in another order than even ones.
static void run_two_channels(trial *t)
{
    const weft_channel_spec spec[2] = {
        {.shape = WEFT_ALLGATHER, .name = "one", .bytes = 3000, .depth = 2, .device = t->device},
        {.shape = WEFT_ALLTOALL, .name = "two", .bytes = 500, .depth = 2, .device = t->device}};
    weft_channel *channel[2];
    weft_exchange ex[2];
    for (int i = 0; i < 2; i++) CHECK_OK(weft_channel_create(t->comm, &spec[i], &channel[i]));
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < 2; i++) start(t, channel[i], &spec[i], &ex[i]);
        for (int i = 0; i < 2; i++) finish(t, &ex[(i + me(t)) % 2], (i + me(t)) % 2);
        for (int i = 0; i < 2; i++) {
            weft_exchange_release(&ex[i]);
            check(t, &spec[i], ex[i].number, i);
        }
    }
    for (int i = 0; i < 2; i++) weft_channel_destroy(channel[i]);
}

// A step of the same ops with other bytes, again and again. `crossing`: the first of its two exchanges was begun in the
// step before.
static void run_steps(trial *t, size_t bytes, bool crossing, bool often)
{
    enum { STEPS = 8, AT = 512 };
    const weft_channel_spec spec = {
        .shape = WEFT_ALLGATHER, .name = "step", .bytes = bytes, .depth = 2, .often = often, .device = t->device};
    const weft_device_ops *ops = t->device->ops;
    weft_channel *channel;
    weft_exchange one = {0}, other;
    unsigned char before = 0;
    CHECK_OK(weft_channel_create(t->comm, &spec, &channel));
    for (int step = 0; step < STEPS; step++) {
        memset(t->got, 16 * step + me(t), bytes);
        CHECK_OK(ops->copy_in(t->device, result_of(t, 3, 0), t->got, bytes));
        ops->begin(t->device);
        for (int i = 0; i < 2; i++) {
            CHECK_OK(weft_exchange_acquire(channel, &other));
            copy(t, other.slot, result_of(t, 3, 0), bytes);
            CHECK_OK(weft_exchange_begin(&other, bytes));
            weft_exchange *ends = crossing ? &one : &other;
            if (ends->channel) {
                CHECK_OK(weft_exchange_end(ends));
                for (int from = 0; from < all(t); from++) copy(t, result_of(t, i, from), ends->view[from], bytes);
                weft_exchange_release(ends);
            }
            one = crossing ? other : one;
        }
        ops->end(t->device);
        for (int i = 0; i < 2; i++)
            for (int from = 0; from < all(t); from++) {
                if (crossing && step == 0 && i == 0) continue;
                const unsigned char expected = (unsigned char)((crossing && i == 0 ? before : 16 * step) + from);
                CHECK_OK(ops->copy_out(t->device, t->got, result_of(t, i, from), bytes));
                CHECK_INT(t->got[0], expected);
                CHECK_INT(t->got[bytes - 1], expected);
            }
        before = (unsigned char)(16 * step);
    }
    if (crossing) {
        CHECK_OK(weft_exchange_end(&one));
        weft_exchange_release(&one);
    }
    weft_channel_destroy(channel);
}

// As sums in pieces are: each piece is given, read and told on beside the ops, which meanwhile write the next; at the
// end they read what all have told. A step that comes again is a graph of both lanes.
static void run_beside(trial *t, int pieces)
{
    enum { STEPS = 6, BYTES = 3000 };
    const weft_channel_spec spec = {
        .shape = WEFT_ALLGATHER, .name = "beside", .bytes = BYTES, .depth = pieces, .device = t->device};
    const weft_device_ops *ops = t->device->ops;
    const weft_device_links *links = ops->links;
    weft_channel *given, *told;
    weft_exchange ex[DEPTH_MAX], last[DEPTH_MAX];
    CHECK_OK(weft_channel_create(t->comm, &spec, &given));
    CHECK_OK(weft_channel_create(t->comm, &spec, &told));
    const bool beside = weft_channel_ordered(given);
    for (int step = 0; step < STEPS; step++) {
        memset(t->got, 16 * step + me(t), BYTES);
        CHECK_OK(ops->copy_in(t->device, result_of(t, 3, 0), t->got, BYTES));
        ops->begin(t->device);
        for (int i = 0; i < pieces; i++) CHECK_OK(weft_exchange_acquire(given, &ex[i]));
        for (int i = 0; i <= pieces; i++) {
            if (i < pieces) copy(t, ex[i].slot, result_of(t, 3, 0), BYTES);
            if (beside) links->turn(t->device, WEFT_DEVICE_BESIDE, false);
            if (i > 0) { // a neighbour's bytes, to all
                CHECK_OK(weft_exchange_end(&ex[i - 1]));
                CHECK_OK(weft_exchange_acquire(told, &last[i - 1]));
                copy(t, last[i - 1].slot, ex[i - 1].view[(me(t) + i) % all(t)], BYTES);
                weft_exchange_release(&ex[i - 1]);
                CHECK_OK(weft_exchange_begin(&last[i - 1], BYTES));
                CHECK_OK(weft_exchange_end(&last[i - 1]));
            }
            if (beside) links->turn(t->device, WEFT_DEVICE_BESIDE, i < pieces);
            if (i < pieces) CHECK_OK(weft_exchange_begin(&ex[i], BYTES));
            if (beside) links->turn(t->device, WEFT_DEVICE_OPS, i == pieces);
            // The ops go on, and what they write is no longer what they gave.
            if (i < pieces) copy(t, result_of(t, 2, 0), result_of(t, 3, 0), BYTES);
        }
        for (int i = 0; i < pieces; i++)
            for (int from = 0; from < all(t) && i < 2; from++)
                copy(t, result_of(t, i, from), last[i].view[from], BYTES);
        for (int i = 0; i < pieces; i++) weft_exchange_release(&last[i]);
        ops->end(t->device);
        for (int i = 0; i < pieces && i < 2; i++)
            for (int from = 0; from < all(t); from++) {
                CHECK_OK(ops->copy_out(t->device, t->got, result_of(t, i, from), BYTES));
                CHECK_INT(t->got[0], (unsigned char)(16 * step + (from + i + 1) % all(t)));
                CHECK_INT(t->got[BYTES - 1], t->got[0]);
            }
    }
    weft_channel_destroy(told);
    weft_channel_destroy(given);
}

static void run_group(trial *t, weft_comm *comm)
{
    static const size_t sizes[] = {1, 64, 1000, 8209, 100003};
    t->comm = comm;
    // What is slow with many ranks shows with few.
    for (size_t i = 0; i < (all(t) > 4 ? 3 : sizeof sizes / sizeof *sizes); i++) {
        run_channel(t, WEFT_ALLGATHER, sizes[i], 1 + (int)i % DEPTH_MAX, false);
        run_channel(t, WEFT_ALLGATHER, sizes[i], 1 + (int)(i + 1) % DEPTH_MAX, true);
        run_channel(t, WEFT_ALLTOALL, sizes[i], 1 + (int)(i + 1) % DEPTH_MAX, false);
    }
    run_channel(t, WEFT_ALLGATHER, 0, 2, true);
    run_two_channels(t);
    run_steps(t, 64, false, false);
    run_steps(t, 5000, false, false);
    run_steps(t, 100, true, false);
    run_steps(t, 5000, false, true);
    run_steps(t, 100, true, true);
    for (int pieces = 1; pieces <= DEPTH_MAX; pieces += 3) run_beside(t, pieces);
}

static void run(trial *t, weft_job *job)
{
    weft_comm *world = weft_job_world(job), *group;
    const int rank = weft_comm_rank(world), size = weft_comm_size(world);
    const size_t results = (size_t)FLIGHTS * RANKS_MAX * LONGEST;
    void *source, *result;
    t->random = (uint64_t)rank * 977 + 11;
    t->pattern = malloc(PATTERN + LONGEST);
    t->got = malloc(LONGEST);
    CHECK(t->pattern && t->got);
    for (size_t i = 0; i < PATTERN + LONGEST; i++) t->pattern[i] = (unsigned char)(i * 5 + i / 256);
    CHECK_OK(weft_device_alloc(t->device, PATTERN + LONGEST, &source));
    CHECK_OK(weft_device_alloc(t->device, results, &result));
    t->source = source;
    t->result = result;
    CHECK_OK(t->device->ops->copy_in(t->device, source, t->pattern, PATTERN + LONGEST));
    run_group(t, world);
    CHECK_OK(weft_comm_split(world, rank < (size + 1) / 2, -rank, "halves", &group));
    run_group(t, group);
    weft_comm_destroy(group);
    weft_device_free(t->device, source, PATTERN + LONGEST);
    weft_device_free(t->device, result, results);
    free(t->pattern);
    free(t->got);
}

int main(int argc, char **argv)
{
    const char *kind_name = argc > 3 ? argv[3] : "emulated";
    weft_job_options options = {.deadline_ns = 60000000000};
    trial t = {.links = argc > 1 ? argv[1] : "host"};
    const weft_device_kind *kind;
    char version[64];
    weft_job *job = NULL;
    int code = 0, count = 0;
    void *stream;
    while (strcmp(weft_links_name(options.links), t.links) != 0) CHECK(options.links++ < WEFT_LINKS_NCCL);
    if (options.links == WEFT_LINKS_NCCL && weft_nccl_describe(version, sizeof version) < 0)
        SKIP("%s", weft_error_text());
    CHECK_OK(weft_job_open_local(&options, argc > 2 ? atoi(argv[2]) : 2, &job, &code));
    if (!job) return code;
    weft_status status = weft_device_kind_open(kind_name, &kind);
    if (status == WEFT_OK) status = kind->count(&count);
    if (status < 0 || count == 0) {
        if (weft_comm_rank(weft_job_world(job)) == 0) printf("skipped: %s\n", weft_error_text());
        weft_job_close(job);
        return 77;
    }
    CHECK_OK(kind->open(weft_comm_rank(weft_job_world(job)) % count, &t.device, &t.table, &stream));
    t.op = (weft_op){.table = &t.table, .stream = stream};
    CHECK_OK(weft_job_devices(job, t.device));
    run(&t, job);
    weft_job_close(job);
    weft_device_destroy(t.device);
    return 0;
}
