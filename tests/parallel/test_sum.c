// Sums over ranks that are threads: one-shot, two-shot, dealt by rows, in pieces or not, and the tree evaluated in one
// place give equal bits, whichever ranks hold which places; bias and residual follow the tree once.
#include <stdatomic.h>

#include "parallel/sum.h"
#include "tests/check.h"

enum { RANKS_MAX = 8, ROUNDS = 5 };

typedef struct {
    size_t count;
    const weft_kernels *kernels;
} plan;

// What rank r gives in a round: numbers whose sum depends on the order.
static float value(int rank, int round, size_t i)
{
    uint32_t x = (uint32_t)rank * 2654435761u ^ (uint32_t)round * 40503u ^ (uint32_t)i * 2246822519u;
    x ^= x >> 15;
    x *= 2654435761u;
    x ^= x >> 13;
    float scale = (float)(1u << x % 23);
    if (x % 101 == 0) return -0.0f;
    return (x >> 31 ? -1.0f : 1.0f) * (float)(x >> 8 & 0xffff) / 3.0f * scale;
}

static float tree(int ranks, int round, size_t i)
{
    float level[RANKS_MAX] = {0};
    for (int rank = 0; rank < ranks; rank++) level[rank] = value(rank, round, i);
    for (int n = ranks; n > 1; n = (n + 1) / 2)
        for (int k = 0; k < (n + 1) / 2; k++) level[k] = 2 * k + 1 < n ? level[2 * k] + level[2 * k + 1] : level[2 * k];
    return level[0];
}

// The tree over leaves [first, first + n), without the empty ones.
static float fold_leaves(const float *level, int first, int n, uint32_t empty)
{
    if (n == 1) return level[0];
    const uint32_t lower = (1u << n / 2) - 1, both = empty >> first;
    if ((both >> n / 2 & lower) == lower) return fold_leaves(level, first, n / 2, empty);
    if ((both & lower) == lower) return fold_leaves(level + n / 2, first + n / 2, n / 2, empty);
    return fold_leaves(level, first, n / 2, empty) + fold_leaves(level + n / 2, first + n / 2, n / 2, empty);
}

static void check_result(const weft_sum_result *result, const plan *p, int ranks, int round)
{
    CHECK_INT(result->begin[0], 0);
    CHECK_INT(result->begin[result->parts], p->count);
    for (int part = 0; part < result->parts; part++) {
        CHECK(result->begin[part] <= result->begin[part + 1]);
        for (size_t i = result->begin[part]; i < result->begin[part + 1]; i++) {
            float expected = tree(ranks, round, i);
            if (memcmp(&result->part[part][i - result->begin[part]], &expected, sizeof expected) != 0)
                CHECK_FAIL("%d ranks, round %d: [%zu] of %zu is %a, expected %a", ranks, round, i, p->count,
                           (double)result->part[part][i - result->begin[part]], (double)expected);
        }
    }
}

static void run_kind(weft_comm *world, const plan *p, weft_sum_kind kind)
{
    weft_sum_spec spec = {.name = "sum", .count = p->count, .kind = kind};
    int ranks = weft_comm_size(world), rank = weft_comm_rank(world);
    weft_sum *sum;
    CHECK_OK(weft_sum_create(world, p->kernels, &spec, &sum));
    if (kind != WEFT_SUM_AUTO) CHECK_INT(weft_sum_kind_of(sum, p->count), kind);
    for (int round = 0; round < ROUNDS; round++) {
        weft_sum_result result;
        float *mine;
        CHECK_OK(weft_sum_acquire(sum, p->count, &mine));
        CHECK_INT((uintptr_t)mine % 64, 0);
        for (size_t i = 0; i < p->count; i++) mine[i] = value(rank, round, i);
        CHECK_OK(weft_sum_run(sum, NULL, &result));
        check_result(&result, p, ranks, round);
        weft_sum_release(sum);
    }
    CHECK_OK(weft_comm_barrier(world));
    weft_sum_destroy(sum);
}

// Leaves of which some are empty, cut over the ranks; a rank gives the roots of what it owns.
static void run_places(weft_comm *world, const plan *p, weft_sum_kind kind, uint32_t empty)
{
    enum { LEAVES = 8 };
    const int ranks = weft_comm_size(world), rank = weft_comm_rank(world);
    const size_t width = p->count > 700 ? p->count / 7 : p->count;
    weft_sum_places places[RANKS_MAX];
    weft_gemm_root own[WEFT_ROOTS_MAX];
    weft_gemm_leaves leaves = {0};
    for (int l = 0; l < LEAVES; l++) leaves.begin[l + 1] = leaves.begin[l] + (empty >> l & 1 ? 0 : 8);
    for (int r = 0; r < ranks; r++) {
        weft_gemm_root roots[WEFT_ROOTS_MAX];
        leaves.first = r * LEAVES / ranks;
        leaves.count = (r + 1) * LEAVES / ranks - leaves.first;
        places[r].count = weft_gemm_roots(&leaves, roots);
        for (int i = 0; i < places[r].count; i++) places[r].place[i] = roots[i].first;
        if (r == rank) memcpy(own, roots, sizeof own);
    }
    const size_t rows = p->count / width, count = rows * width;
    float *bias = malloc(width * sizeof *bias), *residual = malloc(count * sizeof *residual);
    float *whole = malloc(count * sizeof *whole);
    for (size_t i = 0; i < width; i++) bias[i] = value(70, 0, i);
    for (size_t i = 0; i < count; i++) residual[i] = value(71, 0, i);
    weft_sum *sum;
    CHECK_OK(weft_sum_create(world, p->kernels,
                             &(weft_sum_spec){.name = "sum", .count = p->count, .kind = kind, .places = places}, &sum));
    for (int round = 0; round < ROUNDS; round++) {
        const size_t now = round % 2 ? count : rows > 1 ? width : count; // sums of fewer floats use the same channels
        // The whole sum is wanted nowhere, in a place of its own, or over the residual.
        weft_sum_finish finish = {.width = width, .bias = round % 3 ? bias : NULL};
        if (round > 0) finish.out = whole;
        if (round > 1) finish.residual = round > 2 ? whole : residual;
        if (round > 2) memcpy(whole, residual, count * sizeof *whole);
        weft_sum_result result;
        float *mine[WEFT_SUM_ARRAYS];
        CHECK_OK(weft_sum_acquire(sum, now, mine));
        for (int k = 0; k < places[rank].count; k++)
            for (size_t i = 0; i < now; i++) {
                float level[LEAVES];
                int n = 0;
                for (int l = own[k].first; l < own[k].first + own[k].count; l++) level[n++] = value(l, round, i);
                mine[k][i] = fold_leaves(level, own[k].first, n, empty);
            }
        CHECK_OK(weft_sum_run(sum, &finish, &result));
        CHECK_INT(result.begin[result.parts], now);
        for (int part = 0; part < result.parts; part++)
            for (size_t i = result.begin[part]; i < result.begin[part + 1]; i++) {
                float level[LEAVES];
                for (int l = 0; l < LEAVES; l++) level[l] = value(l, round, i);
                float expected = fold_leaves(level, 0, LEAVES, empty);
                if (finish.bias) expected += bias[i % width];
                if (finish.residual) expected += residual[i];
                if (finish.out && memcmp(&whole[i], &expected, sizeof expected) != 0)
                    CHECK_FAIL("%d ranks, empty %x, round %d: the whole sum differs at %zu", ranks, empty, round, i);
                if (memcmp(&result.part[part][i - result.begin[part]], &expected, sizeof expected) != 0)
                    CHECK_FAIL("%d ranks, empty %x, round %d: [%zu] is %a, expected %a", ranks, empty, round, i,
                               (double)result.part[part][i - result.begin[part]], (double)expected);
            }
        weft_sum_release(sum);
    }
    CHECK_OK(weft_comm_barrier(world));
    weft_sum_destroy(sum);
    free(bias);
    free(residual);
    free(whole);
}

// ---- by rows ----

typedef struct {
    size_t width;
    weft_range own;
    atomic_int calls[600]; // of each row
} dealing;

// The negative of each row reaches all; the bias says that its columns are the row's.
static void negate(void *arg, const weft_op *op, weft_range rows, float *sum, float *out)
{
    dealing *d = arg;
    for (int64_t row = rows.begin; row < rows.end; row++) {
        CHECK(row >= d->own.begin && row < d->own.end);
        d->calls[row]++;
        for (size_t i = 0; i < d->width; i++) {
            const size_t at = (size_t)(row - rows.begin) * d->width + i;
            out[at] = -sum[at];
            sum[at] = 0;
        }
    }
}

// Rows `of` of all `now`, times `sign`: each the tree's sum and its column's bias.
static void check_rows(const float *rows, float sign, weft_range of, const float *bias, size_t width, size_t now,
                       int pieces, int ranks, int round)
{
    for (size_t at = (size_t)of.begin * width; at < (size_t)of.end * width; at++) {
        const float whole = tree(ranks, round, at) + bias[at % width];
        const float got = sign * rows[at - (size_t)of.begin * width];
        if (memcmp(&got, &whole, sizeof got) != 0)
            CHECK_FAIL("%d ranks, %zu rows of %zu in %d pieces: [%zu] is %a, expected %a", ranks, now, width, pieces,
                       at, (double)got, (double)whole);
    }
}

// Once for each row that this rank has, of all `now`.
static void check_calls(const dealing *d, size_t now)
{
    for (int64_t row = 0; row < (int64_t)now; row++) CHECK_INT(d->calls[row], row >= d->own.begin && row < d->own.end);
}

static void run_dealt(weft_comm *world, const plan *p, size_t width, size_t rows, weft_team *team)
{
    const int ranks = weft_comm_size(world), rank = weft_comm_rank(world);
    const size_t most = (size_t)weft_rows_most((int64_t)rows, (int64_t)width, ranks) * width;
    const bool dealt = width > 0 && ranks > 1 && (int64_t)rows >= weft_rows_dealt_from(ranks);
    const weft_op op = {.team = team};
    weft_transfer *to;
    weft_sum *sum;
    float *bias = malloc(width * sizeof *bias), *room = malloc(rows * width * sizeof *room), *mine;
    dealing *d = calloc(1, sizeof *d);
    CHECK(bias && room && d && rows <= sizeof d->calls / sizeof *d->calls);
    for (size_t i = 0; i < width; i++) bias[i] = value(70, 0, i);
    CHECK_OK(weft_transfer_create(&(weft_mesh){0}, world, WEFT_TRANSFER_GATHER, "made", most, &to));
    CHECK_OK(weft_sum_create(world, p->kernels, &(weft_sum_spec){.name = "sum", .count = rows * width, .width = width},
                             &sum));
    // By turns as many rows as there may be, and so few that they are not dealt.
    for (int round = 0; dealt && round < ROUNDS; round++) {
        const size_t few = (size_t)weft_rows_dealt_from(ranks) - 1, now = round % 2 ? few : rows - (size_t)round / 4;
        if ((int64_t)now < weft_rows_dealt_from(ranks) && now != few) continue;
        const weft_sum_then then = {negate, d, room, width, to};
        const weft_sum_finish finish = {.op = &op,
                                        .width = width,
                                        .bias = bias,
                                        .out = now == few ? room : NULL,
                                        .then = now == few ? NULL : &then};
        d->width = width;
        d->own = weft_rows_of((int64_t)now, (int64_t)width, rank, ranks);
        memset(d->calls, 0, sizeof d->calls);
        CHECK_OK(weft_sum_acquire(sum, now * width, &mine));
        for (size_t i = 0; i < now * width; i++) mine[i] = value(rank, round, i);
        CHECK_OK(weft_sum_run(sum, &finish, NULL));
        for (int r = 0; r < ranks; r++) {
            const weft_range of = weft_rows_of((int64_t)now, (int64_t)width, r, ranks);
            CHECK_INT(of.begin, r ? weft_rows_of((int64_t)now, (int64_t)width, r - 1, ranks).end : 0);
            CHECK((size_t)weft_range_size(of) * width <= most && of.begin * (int64_t)width % 16 == 0);
            const float *rows_of = now == few ? room + (size_t)of.begin * width : weft_transfer_view(to, r);
            check_rows(rows_of, now == few ? 1 : -1, of, bias, width, now, 1, ranks, round);
        }
        if (now != few) check_calls(d, now);
        if (now != few) weft_transfer_release(to);
        weft_sum_release(sum);
    }
    CHECK_OK(weft_comm_barrier(world));
    weft_sum_destroy(sum);
    weft_transfer_destroy(to);
    free(bias);
    free(room);
    free(d);
}

static weft_status deal(weft_job *job, int rank, void *arg)
{
    static const size_t shapes[][2] = {{1, 600}, {16, 16}, {24, 33}, {33, 130}, {64, 257}, {100, 40}, {2048, 67}};
    const plan *p = arg;
    weft_team *team;
    CHECK_OK(weft_team_create(&(weft_team_options){.threads = 2, .waiters = 16}, &team));
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int threads = 1; threads <= 2; threads++)
            run_dealt(weft_job_world(job), p, shapes[i][0], shapes[i][1], threads == 2 ? team : NULL);
    weft_team_destroy(team);
    return WEFT_OK;
}

// In pieces, as devices give them.
static void run_pieces(weft_comm *world, const plan *p, size_t width, size_t rows, int64_t each)
{
    const int ranks = weft_comm_size(world), rank = weft_comm_rank(world), most = weft_row_pieces((int64_t)rows, each);
    const size_t floats = (size_t)weft_piece_rows_most((int64_t)rows, (int64_t)width, ranks, each) * width;
    const weft_op op = {.team = NULL};
    weft_mesh_times times = {0};
    weft_transfer *to;
    weft_sum *sum;
    float *bias = malloc(width * sizeof *bias), *room = malloc(rows * width * sizeof *room);
    dealing *d = calloc(1, sizeof *d);
    CHECK(bias && room && d && rows <= sizeof d->calls / sizeof *d->calls);
    for (size_t i = 0; i < width; i++) bias[i] = value(70, 0, i);
    CHECK_OK(weft_transfer_create_pieces(&(weft_mesh){0}, world, most, "made", floats, &to));
    CHECK_OK(weft_sum_create(
        world, p->kernels,
        &(weft_sum_spec){.name = "sum", .count = rows * width, .width = width, .piece_rows = each, .times = &times},
        &sum));
    for (size_t now = rows; (int64_t)now >= weft_rows_dealt_from(ranks) && ranks > 1; now = now * 2 / 3) {
        const int round = (int)(now % ROUNDS), pieces = weft_sum_pieces(sum, now * width);
        const weft_sum_then then = {negate, d, room, width, to};
        const weft_sum_finish finish = {.op = &op, .width = width, .bias = bias, .then = &then};
        int64_t seen = 0;
        CHECK_INT(pieces, weft_row_pieces((int64_t)now, each));
        if (pieces == 1) break;
        d->width = width;
        d->own = weft_rows_of((int64_t)now, (int64_t)width, rank, ranks);
        memset(d->calls, 0, sizeof d->calls);
        CHECK_OK(weft_sum_acquire_pieces(sum, now * width));
        for (int i = 0; i < pieces; i++) {
            weft_sum_piece piece;
            weft_sum_piece_of(sum, i, &piece);
            for (int part = 0; part < piece.parts; part++)
                for (int64_t row = piece.begin[part]; row < piece.begin[part + 1]; row++)
                    for (size_t k = 0; k < width; k++)
                        piece.mine[0][(size_t)row * width + k] =
                            value(rank, round, (size_t)(piece.first[part] + row - piece.begin[part]) * width + k);
            CHECK_OK(weft_sum_give_piece(sum, &finish, i));
            seen += piece.rows;
        }
        CHECK_INT(seen, now);
        CHECK_OK(weft_sum_take_pieces(sum, &finish));
        CHECK_INT(times.pieces, 0); // nothing goes on beside a host
        for (int r = 0; r < ranks; r++)
            for (int i = 0; i < pieces; i++) {
                const weft_range all = weft_rows_of((int64_t)now, (int64_t)width, r, ranks);
                const weft_range of = weft_rows_of_piece(all, (int64_t)width, i, pieces);
                CHECK((size_t)weft_range_size(of) * width <= floats);
                check_rows(weft_transfer_view_of(to, i, r), -1, of, bias, width, now, pieces, ranks, round);
            }
        check_calls(d, now);
        weft_transfer_release(to);
        weft_sum_release(sum);
    }
    CHECK_OK(weft_comm_barrier(world));
    weft_sum_destroy(sum);
    weft_transfer_destroy(to);
    free(bias);
    free(room);
    free(d);
}

static weft_status give_in_pieces(weft_job *job, int rank, void *arg)
{
    static const size_t shapes[][2] = {{16, 64}, {24, 133}, {33, 590}, {64, 257}, {7, 599}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int64_t each = 1; each <= 512; each = each * 5 + 7)
            run_pieces(weft_job_world(job), arg, shapes[i][0], shapes[i][1], each);
    return WEFT_OK;
}

static weft_status body(weft_job *job, int rank, void *arg)
{
    const plan *p = arg;
    weft_comm *world = weft_job_world(job);
    run_kind(world, p, WEFT_SUM_ONE_SHOT);
    run_kind(world, p, WEFT_SUM_TWO_SHOT);
    run_kind(world, p, WEFT_SUM_AUTO);
    for (uint32_t empty = 0; empty < 0xff && p->count > 0 && p->count < 2000; empty += 1 + empty * 3) {
        run_places(world, p, WEFT_SUM_ONE_SHOT, empty);
        run_places(world, p, WEFT_SUM_TWO_SHOT, empty);
        run_places(world, p, WEFT_SUM_AUTO, empty);
    }
    return WEFT_OK;
}

static weft_status too_many(weft_job *job, int rank, void *arg)
{
    weft_sum_spec spec = {.name = "huge", .count = SIZE_MAX / 2};
    weft_sum *sum = NULL;
    const plan *p = arg;
    CHECK_FAILS(weft_sum_create(weft_job_world(job), p->kernels, &spec, &sum), WEFT_OVERFLOW, "huge");
    CHECK(sum == NULL);
    return WEFT_OK;
}

int main(void)
{
    static const size_t counts[] = {0, 1, 15, 16, 17, 512, 513, 1000, 70001};
    static const int ranks[] = {1, 2, 3, 4, 5, 7, 8};
    weft_cpu cpu = weft_cpu_detect();
    weft_job_options options = {.transport = WEFT_TRANSPORT_THREADS, .deadline_ns = 60000000000};
    weft_isa isa;
    CHECK_OK(weft_isa_choose(&cpu, &isa));
    weft_kernels kernels = weft_kernels_for(isa);
    for (size_t r = 0; r < sizeof ranks / sizeof *ranks; r++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            plan p = {counts[c], &kernels};
            CHECK_OK(weft_job_run_threads(&options, ranks[r], body, &p));
        }
    plan p = {0, &kernels};
    for (size_t r = 0; r < sizeof ranks / sizeof *ranks; r++) {
        CHECK_OK(weft_job_run_threads(&options, ranks[r], deal, &p));
        CHECK_OK(weft_job_run_threads(&options, ranks[r], give_in_pieces, &p));
    }
    CHECK_OK(weft_job_run_threads(&options, 3, too_many, &p));
    return 0;
}
