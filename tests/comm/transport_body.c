#include "tests/comm/transport_body.h"

#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "comm/window.h"
#include "tests/check.h"

enum { PATTERN = 65536 };

typedef struct {
    const unsigned char *pattern; // [2 * PATTERN]
    weft_comm *comm;
    uint64_t random; // differs between ranks: delays only
    uint64_t shared; // the same on all ranks of the group: what to do
    uint64_t digest; // of what this rank received: a sum, so that the order does not matter
    const char *algorithms;
    uint32_t channels; // made so far
} trial;

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

// Before each call a rank may fall behind, so that every interleaving has its chance.
static void dawdle(trial *t)
{
    uint64_t draw = next(&t->random) % 64;
    if (draw < 4) {
        struct timespec pause = {.tv_nsec = (long)(next(&t->random) % 300000)};
        nanosleep(&pause, NULL);
    } else if (draw < 12) {
        sched_yield();
    } else if (draw < 24) {
        for (volatile int i = 0; i < (int)(draw * 40); i++) {
        }
    }
}

// What `from` sends to `to` in exchange n: the pattern from a place of its own.
static const unsigned char *content(const trial *t, int from, int to, uint32_t n)
{
    return t->pattern + ((uint32_t)from * 3331 + (uint32_t)to * 557 + n * 71) % PATTERN;
}

static void fill(const trial *t, unsigned char *data, size_t bytes, int from, int to, uint32_t n)
{
    const unsigned char *pattern = content(t, from, to, n);
    for (size_t i = 0; i < bytes; i += PATTERN) memcpy(data + i, pattern, bytes - i < PATTERN ? bytes - i : PATTERN);
}

static void expect(const trial *t, const unsigned char *data, size_t bytes, int from, int to, uint32_t n)
{
    const unsigned char *pattern = content(t, from, to, n);
    for (size_t i = 0; i < bytes; i += PATTERN) {
        size_t piece = bytes - i < PATTERN ? bytes - i : PATTERN, at = 0;
        if (memcmp(data + i, pattern, piece) == 0) continue;
        while (data[i + at] == pattern[at]) at++;
        CHECK_FAIL("exchange %u, from %d: byte %zu of %zu is %02x, expected %02x", n, from, i + at, bytes, data[i + at],
                   pattern[at]);
    }
}

// FNV-1a, by words, over the bytes and over where they belong.
static void digest(trial *t, const unsigned char *data, size_t bytes, int from, uint32_t n)
{
    const uint64_t prime = 0x100000001b3;
    uint64_t hash = 0xcbf29ce484222325, where[] = {t->channels, (uint64_t)from, n, bytes};
    for (size_t i = 0; i < sizeof where / sizeof *where; i++) hash = (hash ^ where[i]) * prime;
    for (size_t i = 0; i < bytes; i += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, data + i, bytes - i < sizeof word ? bytes - i : sizeof word);
        hash = (hash ^ word) * prime;
    }
    t->digest += hash;
}

// What `from` gives to `to` in exchange n of a channel of this capacity: 0, all, and what lies between.
static size_t amount(size_t capacity, int from, int to, uint32_t n)
{
    if (capacity == 0) return 0;
    switch ((unsigned)(from + to + (int)n) % 4) {
    case 0:
        return capacity;
    case 1:
        return capacity / 2 + 1 > capacity ? capacity : capacity / 2 + 1;
    case 2:
        return (capacity * 3 + (size_t)from) / 4 % (capacity + 1);
    default:
        return n % 8 == 3 ? 0 : capacity - 1;
    }
}

static bool gives(const weft_channel_spec *spec, int rank)
{
    return (spec->shape != WEFT_BCAST && spec->shape != WEFT_SEND) || rank == spec->from;
}

static void start(trial *t, weft_channel *channel, const weft_channel_spec *spec, weft_exchange *ex)
{
    int me = weft_comm_rank(t->comm), size = weft_comm_size(t->comm);
    dawdle(t);
    CHECK_OK(weft_exchange_acquire(channel, ex));
    if (gives(spec, me)) CHECK(ex->slot != NULL || spec->bytes == 0);
    if (gives(spec, me) && spec->bytes > 40) CHECK_INT((uintptr_t)ex->slot % 64, 0);
    dawdle(t);
    if (spec->shape == WEFT_ALLTOALL) {
        size_t each[64], offset[64], at = 0;
        const bool packed = (ex->number + (uint32_t)me) % 3 == 0; // some ranks give without gaps, from the last peer on
        for (int i = size - 1; i >= 0; i--) {
            each[i] = amount(spec->bytes, me, i, ex->number);
            offset[i] = packed ? at : (size_t)i * ex->stride;
            at += (each[i] + 63) / 64 * 64;
            fill(t, ex->slot + offset[i], each[i], me, i, ex->number);
        }
        dawdle(t);
        CHECK_OK(packed ? weft_exchange_begin_at(ex, offset, each) : weft_exchange_begin_each(ex, each));
    } else {
        size_t bytes = gives(spec, me) ? amount(spec->bytes, me, 0, ex->number) : 0;
        if (bytes) fill(t, ex->slot, bytes, me, 0, ex->number);
        CHECK_OK(weft_exchange_begin(ex, bytes));
    }
}

static void finish(trial *t, const weft_channel_spec *spec, weft_exchange *ex)
{
    int me = weft_comm_rank(t->comm), size = weft_comm_size(t->comm);
    dawdle(t);
    if (next(&t->random) % 4 == 0)
        while (!weft_exchange_ready(ex)) sched_yield();
    CHECK_OK(weft_exchange_end(ex));
    dawdle(t);
    bool takes = spec->shape != WEFT_SEND || me == spec->to;
    for (int from = 0; takes && from < size; from++) {
        if (!gives(spec, from)) continue;
        int to = spec->shape == WEFT_ALLTOALL ? me : 0;
        size_t bytes = amount(spec->bytes, from, to, ex->number);
        CHECK_INT(ex->bytes[from], bytes);
        if (bytes) expect(t, ex->view[from], bytes, from, to, ex->number);
        digest(t, ex->view[from], bytes, from, ex->number);
    }
}

static void give_back(trial *t, weft_exchange *ex)
{
    dawdle(t);
    weft_exchange_release(ex);
}

static bool by_messages(const weft_comm *comm)
{
    const weft_transport transport = weft_comm_transport(comm);
    return transport == WEFT_TRANSPORT_MPI || transport == WEFT_TRANSPORT_UCX;
}

// Where the test forces an algorithm on a shape for all sizes, the channel must have it; in shared memory there is
// none.
static void check_algorithm(const trial *t, const weft_channel *channel, weft_shape shape)
{
    static const char *const names[] = {"allgather:0-=", "alltoall:0-=", "bcast:0-="};
    const char *forced = t->algorithms && shape <= WEFT_BCAST ? strstr(t->algorithms, names[shape]) : NULL;
    if (!by_messages(t->comm)) {
        CHECK_TEXT(weft_channel_algorithm(channel), "direct");
    } else if (forced) {
        forced += strlen(names[shape]);
        CHECK_INT(strlen(weft_channel_algorithm(channel)), strcspn(forced, ","));
        CHECK(strncmp(weft_channel_algorithm(channel), forced, strcspn(forced, ",")) == 0);
    }
}

// `rounds` times: up to `depth` exchanges in flight, ended and released in orders drawn at random per rank.
static void run_channel(trial *t, const weft_channel_spec *spec, int rounds)
{
    int me = weft_comm_rank(t->comm), depth = spec->depth ? spec->depth : 2;
    weft_channel *channel;
    weft_exchange ex[32];
    const unsigned char *slots[32] = {0};
    CHECK_OK(weft_channel_create(t->comm, spec, &channel));
    check_algorithm(t, channel, spec->shape);
    t->channels++;
    for (int round = 0; round < rounds; round++) {
        int flying = 1 + (int)(next(&t->shared) % (uint64_t)depth);
        if (spec->shape == WEFT_SEND && me != spec->from && me != spec->to) continue;
        int order[32];
        for (int i = 0; i < flying; i++) {
            start(t, channel, spec, &ex[i]);
            // Addresses are fixed, and the buffers come in turn.
            CHECK(ex[i].buffer < (uint32_t)depth);
            if (i > 0) CHECK_INT(ex[i].buffer, (ex[i - 1].buffer + 1) % (uint32_t)depth);
            const unsigned char **slot = &slots[ex[i].buffer];
            if (*slot) CHECK(*slot == ex[i].slot);
            *slot = ex[i].slot;
            order[i] = i;
        }
        for (int i = flying - 1; i > 0; i--) {
            int j = (int)(next(&t->random) % (uint64_t)(i + 1)), swap = order[i];
            order[i] = order[j];
            order[j] = swap;
        }
        for (int i = 0; i < flying; i++) finish(t, spec, &ex[order[i]]);
        for (int i = 0; i < flying; i++) give_back(t, &ex[order[flying - 1 - i]]);
    }
    CHECK_OK(weft_comm_barrier(t->comm));
    weft_channel_destroy(channel);
}

static void run_shapes(trial *t)
{
    // Around what fits beside a head (40), the table of algorithms (8 KiB, 64 KiB), and what MPI sends eagerly (4 KiB).
    static const size_t sizes[] = {0, 1, 7, 39, 40, 41, 64, 1000, 4096, 8191, 8192, 65535, 65536, 100003};
    int size = weft_comm_size(t->comm);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int depth = 1 + (int)(i % 4), rounds = sizes[i] > 8192 ? 4 : 12;
        run_channel(t,
                    &(weft_channel_spec){.shape = WEFT_ALLGATHER, .name = "gather", .bytes = sizes[i], .depth = depth},
                    rounds);
        run_channel(t, &(weft_channel_spec){.shape = WEFT_ALLTOALL, .name = "all", .bytes = sizes[i], .depth = depth},
                    rounds);
        int from = (int)(next(&t->shared) % (uint64_t)size), to = (int)(next(&t->shared) % (uint64_t)size);
        run_channel(
            t,
            &(weft_channel_spec){.shape = WEFT_BCAST, .name = "bcast", .bytes = sizes[i], .depth = depth, .from = from},
            rounds);
        if (from == to) continue;
        run_channel(t,
                    &(weft_channel_spec){
                        .shape = WEFT_SEND, .name = "send", .bytes = sizes[i], .depth = depth, .from = from, .to = to},
                    rounds);
    }
    run_channel(t, &(weft_channel_spec){.shape = WEFT_BARRIER, .name = "bar", .depth = 3}, 20);
    run_channel(t, &(weft_channel_spec){.shape = WEFT_ALLGATHER, .name = "deep", .bytes = 100, .depth = 32}, 10);
    run_channel(t, &(weft_channel_spec){.shape = WEFT_ALLGATHER, .name = "big", .bytes = (1 << 20) + 1}, 2);
}

// Two channels of one group in flight at once, begun in one order and ended in the other.
static void run_interleaved(trial *t)
{
    weft_channel_spec one = {.shape = WEFT_ALLGATHER, .name = "one", .bytes = 3000, .depth = 2};
    weft_channel_spec two = {.shape = WEFT_ALLTOALL, .name = "two", .bytes = 500, .depth = 2};
    weft_channel *first, *second;
    CHECK_OK(weft_channel_create(t->comm, &one, &first));
    CHECK_OK(weft_channel_create(t->comm, &two, &second));
    for (int round = 0; round < 30; round++) {
        weft_exchange a, b;
        start(t, first, &one, &a);
        start(t, second, &two, &b);
        finish(t, &two, &b);
        finish(t, &one, &a);
        give_back(t, &a);
        give_back(t, &b);
    }
    CHECK_OK(weft_comm_barrier(t->comm));
    weft_channel_destroy(first);
    weft_channel_destroy(second);
}

static void run_host(trial *t)
{
    int me = weft_comm_rank(t->comm), size = weft_comm_size(t->comm);
    int64_t low[300], high[300], sum[300];
    for (int i = 0; i < 300; i++) low[i] = high[i] = sum[i] = (int64_t)i * 1000 - 7 * me;
    dawdle(t);
    CHECK_OK(weft_comm_min(t->comm, low, 300));
    CHECK_OK(weft_comm_max(t->comm, high, 300));
    CHECK_OK(weft_comm_sum(t->comm, sum, 300));
    for (int i = 0; i < 300; i++) {
        CHECK_INT(low[i], (int64_t)i * 1000 - 7 * (size - 1));
        CHECK_INT(high[i], (int64_t)i * 1000);
        CHECK_INT(sum[i], (int64_t)size * i * 1000 - 7 * (int64_t)(size * (size - 1) / 2));
    }
    unsigned char text[2500], all[64 * 100];
    memset(text, 0, sizeof text);
    int root = size / 2;
    if (me == root) fill(t, text, sizeof text, root, 0, 1);
    dawdle(t);
    CHECK_OK(weft_comm_bcast(t->comm, root, text, sizeof text));
    expect(t, text, sizeof text, root, 0, 1);
    fill(t, text, 100, me, 0, 2);
    CHECK_OK(weft_comm_allgather(t->comm, text, 100, all));
    for (int from = 0; from < size; from++) expect(t, all + 100 * from, 100, from, 0, 2);
}

static void run_agreement(trial *t)
{
    int me = weft_comm_rank(t->comm), size = weft_comm_size(t->comm), who = 99, loser = size - 1;
    CHECK_OK(weft_comm_agree(t->comm, WEFT_OK, &who));
    CHECK_INT(who, -1);
    weft_status status = me == loser ? weft_fail(WEFT_FORMAT, "file x: rank %d says no", me) : WEFT_OK;
    CHECK_INT(weft_comm_agree(t->comm, status, &who), WEFT_FORMAT);
    CHECK_INT(who, loser);
    char text[64];
    snprintf(text, sizeof text, "file x: rank %d says no", loser);
    CHECK_HAS(weft_error_text(), text);
    CHECK_OK(weft_comm_compare(t->comm, "flags", "--a\n--b"));
    if (size > 1) {
        CHECK_INT(weft_comm_compare(t->comm, "flags", me == loser ? "--a\n--c 7\n--d" : "--a\n--b\n--d"),
                  WEFT_MISMATCH);
        CHECK_HAS(weft_error_text(), "flags");
        CHECK_HAS(weft_error_text(), "--c 7");
        CHECK_HAS(weft_error_text(), "--b");
    }
    weft_error_clear();
}

// A ring of puts: each rank writes into its neighbour's window, piece by piece, with a flag after each.
static void run_window(trial *t)
{
    enum { PIECES = 9 };
    static const size_t sizes[] = {1, 100, 70001};
    int me = weft_comm_rank(t->comm), size = weft_comm_size(t->comm);
    int to = (me + 1) % size, from = (me + size - 1) % size;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t bytes = sizes[i];
        weft_window *window;
        unsigned char *data = malloc(bytes);
        CHECK(data != NULL);
        CHECK_OK(weft_window_create(t->comm, bytes * PIECES, "window", &window));
        for (uint32_t piece = 0; piece < PIECES; piece++) {
            fill(t, data, bytes, me, to, piece);
            dawdle(t);
            CHECK_OK(weft_window_put(window, to, piece * bytes, data, bytes));
            memset(data, 0, bytes); // it was copied
            CHECK_OK(weft_window_flag(window, to));
        }
        for (uint32_t piece = 0; piece < PIECES; piece++) {
            CHECK_OK(weft_window_wait(window, from, piece + 1));
            expect(t, (unsigned char *)weft_window_memory(window) + piece * bytes, bytes, from, me, piece);
        }
        CHECK_INT(weft_window_flags(window, from), PIECES);
        CHECK_FAILS(weft_window_put(window, to, bytes * PIECES, "x", 1), WEFT_INVALID, "window");
        CHECK_OK(weft_comm_barrier(t->comm));
        weft_window_destroy(window);
        free(data);
    }
}

// Everybody lends everybody pieces, some at once and some behind flags of their own.
static void run_lent(trial *t)
{
    enum { PIECES = 5 };
    static const size_t sizes[] = {1, 1000, 70001, 300001};
    const int me = weft_comm_rank(t->comm), size = weft_comm_size(t->comm);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size_t bytes = sizes[i], part = bytes * PIECES;
        weft_window *window;
        unsigned char *data = malloc(part * (size_t)size);
        CHECK(data != NULL);
        CHECK_OK(weft_window_create(t->comm, part * (size_t)size, "lent", &window));
        for (int k = 0; k < size; k++) {
            const int to = (me + k) % size;
            for (uint32_t piece = 0; piece < PIECES; piece++) {
                unsigned char *at = data + (size_t)to * part + piece * bytes;
                fill(t, at, bytes, me, to, piece);
                dawdle(t);
                CHECK_OK(weft_window_lend(window, to, (size_t)me * part + piece * bytes, at, bytes));
                if (piece % 2 == 0) CHECK_OK(weft_window_flag(window, to));
            }
        }
        for (int to = 0; to < size; to++) {
            CHECK_OK(weft_window_flush(window, to));
            memset(data + (size_t)to * part, 0, part); // it is mine again
        }
        for (int from = 0; from < size; from++)
            for (uint32_t piece = 0; piece < PIECES; piece += 2) {
                CHECK_OK(weft_window_wait(window, from, piece / 2 + 1));
                const unsigned char *at = (unsigned char *)weft_window_memory(window) + (size_t)from * part;
                for (uint32_t p = 0; p <= piece; p++) expect(t, at + p * bytes, bytes, from, me, p);
            }
        CHECK_FAILS(weft_window_lend(window, 0, part * (size_t)size, "x", 1), WEFT_INVALID, "go beyond");
        CHECK_OK(weft_comm_barrier(t->comm));
        weft_window_destroy(window);
        free(data);
    }
}

// Everybody writes letters to everybody, himself too, and takes what comes, at its own speed.
static void run_mailbox(trial *t)
{
    enum { LETTERS = 12, RANKS = 8 };
    static const size_t sizes[] = {1, 8, 500, 16368, 16376, 16377, 40000, 70000}; // with slots of 16384 bytes
    const int me = weft_comm_rank(t->comm), size = weft_comm_size(t->comm);
    unsigned char *letter = malloc(70000);
    uint32_t taken[RANKS] = {0}, all = 0;
    weft_mailbox *box;
    CHECK(letter != NULL && size <= RANKS);
    CHECK_OK(weft_mailbox_create(t->comm, "letters", &box));
    for (uint32_t n = 0; all < LETTERS * (uint32_t)size || weft_mailbox_unsent(box) > 0; n++) {
        for (int to = 0; n < LETTERS && to < size; to++) {
            const size_t bytes = sizes[(n + (uint32_t)(me + to)) % 8];
            fill(t, letter, bytes, me, to, n);
            CHECK_OK(weft_mailbox_send(box, to, letter, bytes));
            memset(letter, 0, bytes); // it was copied
        }
        dawdle(t);
        for (int from = 0; from < size; from++) {
            const unsigned char *data;
            size_t bytes;
            CHECK_OK(weft_mailbox_keep(box, from));
            CHECK_OK(weft_mailbox_take(box, from, &data, &bytes));
            if (!data) continue;
            CHECK_INT(bytes, sizes[(taken[from] + (uint32_t)(from + me)) % 8]);
            expect(t, data, bytes, from, me, taken[from]++);
            all++;
        }
    }
    for (int from = 0; from < size; from++) CHECK_INT(taken[from], LETTERS);
    CHECK_FAILS(weft_mailbox_send(box, size, letter, 1), WEFT_INVALID, "letter");
    CHECK_FAILS(weft_mailbox_send(box, 0, letter, 0), WEFT_INVALID, "empty");
    CHECK_OK(weft_comm_barrier(t->comm));
    weft_mailbox_destroy(box);
    free(letter);
}

static void run_group(trial *t, weft_comm *comm, uint64_t seed)
{
    t->comm = comm;
    t->random = seed * 77 + (uint64_t)weft_comm_world_rank(comm, weft_comm_rank(comm)) + 1;
    t->shared = seed + 12345;
    run_shapes(t);
    run_interleaved(t);
    run_host(t);
    run_agreement(t);
    run_window(t);
    run_lent(t);
    run_mailbox(t);
}

// World, halves, odd and even, reversed, and a split of a split.
static void run_seed(trial *t, weft_comm *world, int rank, uint64_t seed)
{
    weft_comm *group, *part;
    int size = weft_comm_size(world);
    run_group(t, world, seed);

    CHECK_OK(weft_comm_split(world, rank < (size + 1) / 2, rank, "halves", &group));
    CHECK_INT(weft_comm_size(group), rank < (size + 1) / 2 ? (size + 1) / 2 : size / 2);
    run_group(t, group, seed + 1);
    weft_comm_destroy(group);

    CHECK_OK(weft_comm_split(world, rank % 2, rank, "parity", &group));
    CHECK_INT(weft_comm_world_rank(group, weft_comm_rank(group)), rank);
    CHECK_OK(weft_comm_split(group, 0, -weft_comm_rank(group), "backwards", &part));
    CHECK_INT(weft_comm_rank(part), weft_comm_size(group) - 1 - weft_comm_rank(group));
    run_group(t, part, seed + 2);
    weft_comm_destroy(part);
    weft_comm_destroy(group);

    CHECK_OK(weft_comm_split(world, 0, -rank, "reversed", &group));
    CHECK_INT(weft_comm_rank(group), size - 1 - rank);
    run_group(t, group, seed + 3);
    weft_comm_destroy(group);

    // Only rank 0 joins: the others get no group.
    CHECK_OK(weft_comm_split(world, rank == 0 ? 5 : -1, 0, "single", &group));
    CHECK((group != NULL) == (rank == 0));
    if (group) CHECK(by_messages(group) || weft_comm_size(group) == 1);
    weft_comm_destroy(group);
}

// Groups and channels come and go more often than there are message tags.
static void run_many(trial *t, weft_comm *world)
{
    weft_comm *group;
    weft_channel *channel;
    weft_channel_spec spec = {.shape = WEFT_ALLGATHER, .name = "many", .bytes = 8, .depth = 1};
    for (int i = 0; i < 300; i++) {
        CHECK_OK(weft_comm_split(world, i % 3 == 0 ? weft_comm_rank(world) % 2 : 0, 0, "many", &group));
        CHECK_OK(weft_comm_barrier(group));
        weft_comm_destroy(group);
    }
    t->comm = world;
    for (int i = 0; i < 600; i++) {
        weft_exchange ex;
        CHECK_OK(weft_channel_create(world, &spec, &channel));
        start(t, channel, &spec, &ex);
        finish(t, &spec, &ex);
        give_back(t, &ex);
        weft_channel_destroy(channel);
    }
}

weft_status transport_body(weft_job *job, int rank, void *arg)
{
    const transport_plan *plan = arg;
    weft_comm *world = weft_job_world(job);
    unsigned char *pattern = malloc((size_t)2 * PATTERN);
    trial t = {.pattern = pattern, .algorithms = plan->algorithms};
    int64_t digests[64];
    CHECK(pattern != NULL);
    for (size_t i = 0; i < (size_t)2 * PATTERN; i++) pattern[i] = (unsigned char)(i % PATTERN * 5 + i % PATTERN / 256);
    CHECK_INT(weft_comm_rank(world), rank);
    for (int i = 0; i < plan->count; i++) run_seed(&t, world, rank, plan->seeds[i]);
    run_many(&t, world);
    CHECK_OK(weft_comm_allgather(world, &t.digest, sizeof t.digest, digests));
    t.digest = 0;
    digest(&t, (unsigned char *)digests, sizeof *digests * (size_t)weft_comm_size(world), 0, 0);
    free(pattern);
    if (rank == 0) printf("digest %016" PRIx64 "\n", t.digest);
    return weft_comm_barrier(world);
}
