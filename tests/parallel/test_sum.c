// Sums over ranks that are threads: one-shot, two-shot and the tree evaluated in one place give equal bits.
#include "parallel/parallel.h"
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
    if (kind != WEFT_SUM_AUTO) CHECK_INT(weft_sum_kind_of(sum), kind);
    for (int round = 0; round < ROUNDS; round++) {
        weft_sum_result result;
        float *mine;
        CHECK_OK(weft_sum_acquire(sum, &mine));
        CHECK_INT((uintptr_t)mine % 64, 0);
        for (size_t i = 0; i < p->count; i++) mine[i] = value(rank, round, i);
        CHECK_OK(weft_sum_run(sum, &result));
        check_result(&result, p, ranks, round);
        weft_sum_release(sum);
    }
    CHECK_OK(weft_comm_barrier(world));
    weft_sum_destroy(sum);
}

static weft_status body(weft_job *job, int rank, void *arg)
{
    const plan *p = arg;
    weft_comm *world = weft_job_world(job);
    run_kind(world, p, WEFT_SUM_ONE_SHOT);
    run_kind(world, p, WEFT_SUM_TWO_SHOT);
    run_kind(world, p, WEFT_SUM_AUTO);
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
    CHECK_OK(weft_job_run_threads(&options, 3, too_many, &p));
    return 0;
}
