// The exchange that a tensor-parallel layer makes, beside MPI_Allreduce. Each rank writes f32 values into its slot,
// then the clock starts; it stops when the sum lies where every rank can read it. Inputs are written anew before each
// call and results are checked, both outside the timing. weft and MPI take turns, so that the machine's moods fall on
// both.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "core/clock.h"
#include "core/flags.h"
#include "parallel/sum.h"

typedef enum { BY_WEFT, BY_MPI, BY_MPI_IN_PLACE, WAYS } way;

static const char *way_name(int by) { return by == BY_WEFT ? "weft" : by == BY_MPI ? "mpi" : "mpi-in-place"; }

enum { BARRIERS = 500, BARRIER_SAMPLES = 25, CALLS_MAX = 256, WARM_UP = 3 };

typedef struct {
    weft_job *job;
    weft_comm *world;
    const weft_bench_comm_options *options;
    weft_channel *start; // tells all ranks a common moment to begin
    bool aligned;        // they have a cpu each and one clock
    double tick_us;
    int ways;
    size_t count; // floats of this size
    float *input, *in, *out;
    weft_sum *sum;
    double *samples[WAYS]; // [rounds * calls]
    size_t taken[WAYS];
    double *sorted; // room for as many: the record keeps the samples in the order of time
    weft_record record;
    FILE *table;
} bench;

// All ranks leave at one moment of the clock that they share, or at least after each other's arrival.
static weft_status wait_for_start(bench *b, uint64_t *began)
{
    weft_exchange ex;
    uint64_t mine = weft_clock_ticks(), latest = 0, theirs;
    WEFT_TRY(weft_exchange_acquire(b->start, &ex));
    memcpy(ex.slot, &mine, sizeof mine);
    WEFT_TRY(weft_exchange_begin(&ex, sizeof mine));
    WEFT_TRY(weft_exchange_end(&ex));
    for (int rank = 0; rank < weft_comm_size(b->world); rank++) {
        memcpy(&theirs, ex.view[rank], sizeof theirs);
        if (theirs > latest) latest = theirs;
    }
    weft_exchange_release(&ex);
    *began = weft_clock_ticks();
    if (b->aligned) {
        *began = latest + (uint64_t)(1.0 / b->tick_us); // a microsecond after the last arrival
        while (weft_clock_ticks() < *began) {
        }
    }
    return WEFT_OK;
}

// Small integers: their sums are exact in any order.
static float input_of(int rank, size_t i) { return (float)((int)((i * 7 + (size_t)rank * 3) % 61) - 30); }

static weft_status check_part(const bench *b, way by, const float *part, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) {
        float expected = 0;
        for (int rank = 0; rank < weft_comm_size(b->world); rank++) expected += input_of(rank, i);
        if (part[i - begin] != expected)
            return weft_fail(WEFT_INTERNAL, "%s: the sum of %zu floats is wrong at %zu: %g, expected %g", way_name(by),
                             b->count, i, (double)part[i - begin], (double)expected);
    }
    return WEFT_OK;
}

static weft_status call_weft(bench *b, bool check, uint64_t *took)
{
    weft_sum_result result;
    uint64_t began;
    float *slot;
    WEFT_TRY(weft_sum_acquire(b->sum, b->count, &slot));
    memcpy(slot, b->input, b->count * sizeof *slot);
    WEFT_TRY(wait_for_start(b, &began));
    WEFT_TRY(weft_sum_run(b->sum, NULL, &result));
    *took = weft_clock_ticks() - began;
    weft_status status = WEFT_OK;
    for (int p = 0; check && p < result.parts && status == WEFT_OK; p++)
        status = check_part(b, BY_WEFT, result.part[p], result.begin[p], result.begin[p + 1]);
    weft_sum_release(b->sum);
    return status;
}

static weft_status call_mpi(bench *b, way by, bool check, uint64_t *took)
{
    float *in = by == BY_MPI_IN_PLACE ? b->out : b->in;
    uint64_t began;
    memcpy(in, b->input, b->count * sizeof *in);
    WEFT_TRY(wait_for_start(b, &began));
    WEFT_TRY(weft_comm_allreduce_fast(b->world, in, b->out, b->count));
    *took = weft_clock_ticks() - began;
    return check ? check_part(b, by, b->out, 0, b->count) : WEFT_OK;
}

// One turn: `calls` timed calls, the slowest rank's time counting for each.
static weft_status take_turn(bench *b, way by, int calls)
{
    int64_t took[CALLS_MAX];
    for (int call = -WARM_UP; call < calls; call++) {
        bool check = call == -WARM_UP || call == calls - 1;
        uint64_t ticks = 0;
        WEFT_TRY(by == BY_WEFT ? call_weft(b, check, &ticks) : call_mpi(b, by, check, &ticks));
        if (call >= 0) took[call] = (int64_t)ticks;
    }
    WEFT_TRY(weft_comm_max(b->world, took, calls));
    for (int call = 0; call < calls; call++) b->samples[by][b->taken[by]++] = (double)took[call] * b->tick_us;
    return WEFT_OK;
}

static int calls_for(size_t bytes)
{
    if (bytes <= 8192) return 200;
    if (bytes <= 65536) return 100;
    return bytes <= 1 << 20 ? 30 : 6;
}

static weft_status drained(bench *b)
{
    int64_t signal = weft_job_drain_signal(b->job);
    WEFT_TRY(weft_comm_max(b->world, &signal, 1));
    return signal ? weft_fail(WEFT_DRAINED, "stopped by signal %d; what is in the table is complete", (int)signal)
                  : WEFT_OK;
}

static void free_size(bench *b)
{
    weft_sum_destroy(b->sum);
    b->sum = NULL;
    free(b->input);
    free(b->in);
    free(b->out);
    b->input = b->in = b->out = NULL;
    free(b->sorted);
    b->sorted = NULL;
    for (int by = 0; by < WAYS; by++) {
        free(b->samples[by]);
        b->samples[by] = NULL;
        b->taken[by] = 0;
    }
}

static weft_status prepare_size(bench *b, size_t bytes)
{
    size_t room = (bytes + 63) / 64 * 64, samples = (size_t)b->options->rounds * (size_t)calls_for(bytes);
    int rank = weft_comm_rank(b->world);
    bool whole = true;
    b->count = bytes / sizeof(float);
    b->input = aligned_alloc(64, room);
    b->in = aligned_alloc(64, room);
    b->out = aligned_alloc(64, room);
    for (int by = 0; by < b->ways; by++) whole = (b->samples[by] = calloc(samples, sizeof(double))) && whole;
    b->sorted = calloc(samples, sizeof *b->sorted);
    whole = whole && b->sorted && b->input && b->in && b->out;
    weft_status status = whole ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory to measure %zu bytes", bytes);
    WEFT_TRY(weft_comm_agree(b->world, status, NULL));
    for (size_t i = 0; i < b->count; i++) b->input[i] = input_of(rank, i);
    weft_kernels kernels = weft_kernels_for(b->options->isa);
    return weft_sum_create(b->world, &kernels, &(weft_sum_spec){.name = "sum", .count = b->count}, &b->sum);
}

static void report_size(bench *b, size_t bytes)
{
    weft_stats stats[WAYS] = {0};
    double best = INFINITY;
    char text[16];
    if (weft_comm_rank(b->world) != 0) return;
    for (int by = 0; by < b->ways; by++) {
        memcpy(b->sorted, b->samples[by], b->taken[by] * sizeof *b->sorted);
        weft_stats_of(b->sorted, b->taken[by], &stats[by]);
        if (by != BY_WEFT && stats[by].median < best) best = stats[by].median;
        weft_record_result_begin(&b->record, "sum", "us");
        weft_json_write_string(&b->record.json, "by", way_name(by));
        weft_json_write_int(&b->record.json, "bytes", (int64_t)bytes);
        if (by == BY_WEFT)
            weft_json_write_string(&b->record.json, "kind",
                                   weft_sum_kind_of(b->sum, b->count) == WEFT_SUM_ONE_SHOT ? "one-shot" : "two-shot");
        weft_record_result_end(&b->record, b->samples[by], b->taken[by], &stats[by]);
    }
    if (!b->table) return;
    fprintf(b->table, "%-10s %-9s", weft_format_bytes((int64_t)bytes, text),
            weft_sum_kind_of(b->sum, b->count) == WEFT_SUM_ONE_SHOT ? "one-shot" : "two-shot");
    for (int by = 0; by < b->ways; by++)
        fprintf(b->table, " %10.2f [%9.2f %9.2f]", stats[by].median, stats[by].p10, stats[by].p90);
    if (stats[BY_WEFT].p99 >= 0)
        fprintf(b->table, " %10.2f", stats[BY_WEFT].p99);
    else
        fprintf(b->table, " %10s", "-"); // too few samples for it
    if (b->ways > 1) fprintf(b->table, " %7.2f", stats[BY_WEFT].median / best);
    fputc('\n', b->table);
    fflush(b->table);
}

static weft_status measure_size(bench *b, size_t bytes)
{
    weft_status status;
    WEFT_TRY_GOTO(prepare_size(b, bytes));
    for (int64_t round = 0; round < b->options->rounds; round++)
        for (int i = 0; i < b->ways; i++) {
            WEFT_TRY_GOTO(drained(b));
            WEFT_TRY_GOTO(take_turn(b, (way)((i + round) % b->ways), calls_for(bytes)));
        }
    report_size(b, bytes);
    free_size(b);
    return WEFT_OK;
fail:
    free_size(b);
    return status;
}

static weft_status measure_barrier(bench *b)
{
    double samples[BARRIER_SAMPLES], sorted[BARRIER_SAMPLES];
    weft_stats stats;
    for (int i = 0; i < BARRIER_SAMPLES; i++) {
        uint64_t began;
        WEFT_TRY(wait_for_start(b, &began));
        for (int j = 0; j < BARRIERS; j++) WEFT_TRY(weft_comm_barrier(b->world));
        int64_t took = (int64_t)(weft_clock_ticks() - began);
        WEFT_TRY(weft_comm_max(b->world, &took, 1));
        samples[i] = (double)took * b->tick_us / BARRIERS;
    }
    if (weft_comm_rank(b->world) != 0) return WEFT_OK;
    memcpy(sorted, samples, sizeof sorted);
    weft_stats_of(sorted, BARRIER_SAMPLES, &stats);
    weft_record_result_begin(&b->record, "barrier", "us");
    weft_record_result_end(&b->record, samples, BARRIER_SAMPLES, &stats);
    if (b->table) fprintf(b->table, "barrier: %.2f us [%.2f %.2f]\n", stats.median, stats.p10, stats.p90);
    return WEFT_OK;
}

// One exchange a step until the time is over: what fault tests shoot at.
static weft_status loop(bench *b)
{
    enum { BYTES = 8192 };
    int64_t until = weft_clock_ns() + (int64_t)(b->options->loop * 1e9), step = 0, over = 0;
    weft_status status;
    WEFT_TRY_GOTO(prepare_size(b, BYTES));
    while (!over) {
        uint64_t ticks;
        weft_job_set_step(b->job, step++);
        WEFT_TRY_GOTO(call_weft(b, step % 64 == 1, &ticks));
        if (step % 64) continue;
        over = weft_clock_ns() >= until;
        WEFT_TRY_GOTO(weft_comm_max(b->world, &over, 1));
        WEFT_TRY_GOTO(drained(b));
    }
    if (weft_comm_rank(b->world) == 0 && b->table) fprintf(b->table, "%lld exchanges of 8 KiB\n", (long long)step);
    status = WEFT_OK;
fail:
    free_size(b);
    return status;
}

static void open_report(bench *b)
{
    const weft_bench_comm_options *o = b->options;
    int size = weft_comm_size(b->world);
    if (weft_comm_rank(b->world) != 0) return;
    weft_record_begin(&b->record, "comm", b->job);
    weft_json_write_int(&b->record.json, "rounds", o->rounds);
    weft_json_write_bool(&b->record.json, "cpu_each", b->aligned);
    weft_json_write_string(&b->record.json, "isa", weft_isa_name(o->isa));
    weft_record_results(&b->record);
    if (!b->table) return;
    fprintf(b->table, "%d rank%s on %d host%s over %s; %s. Microseconds: median [p10 p90].\n", size,
            size == 1 ? "" : "s", weft_comm_nodes(b->world), weft_comm_nodes(b->world) == 1 ? "" : "s",
            weft_transport_name(weft_comm_transport(b->world)),
            b->aligned ? "a cpu each, started together" : "ranks share cpus");
}

static void head_of_table(const bench *b)
{
    if (weft_comm_rank(b->world) != 0 || !b->table) return;
    fprintf(b->table, "%-10s %-9s", "sum of f32", "weft by");
    for (int by = 0; by < b->ways; by++) fprintf(b->table, " %10s [%9s %9s]", way_name(by), "p10", "p90");
    fprintf(b->table, " %10s%s\n", "weft p99", b->ways > 1 ? " weft/mpi" : "");
}

static weft_status measure(bench *b)
{
    const weft_bench_comm_options *o = b->options;
    WEFT_TRY(weft_channel_create(
        b->world, &(weft_channel_spec){.shape = WEFT_ALLGATHER, .name = "start", .bytes = sizeof(uint64_t)},
        &b->start));
    if (o->loop > 0) return loop(b);
    WEFT_TRY(measure_barrier(b));
    head_of_table(b);
    for (size_t bytes = (size_t)o->min_bytes; bytes <= (size_t)o->max_bytes; bytes *= 2)
        WEFT_TRY(measure_size(b, bytes));
    return WEFT_OK;
}

weft_status weft_bench_comm(weft_job *job, const weft_bench_comm_options *options, FILE *out)
{
    bench b = {
        .job = job, .world = weft_job_world(job), .options = options, .tick_us = weft_clock_tick_seconds() * 1e6};
    bool to_stdout = options->json && strcmp(options->json, "-") == 0;
    b.table = to_stdout ? NULL : out;
    b.ways = options->mpi && weft_job_launcher_mpi(job) ? WAYS : 1;
    b.aligned = weft_job_cpu_each(job) && weft_comm_nodes(b.world) == 1;
    open_report(&b);
    weft_status status = measure(&b);
    weft_channel_destroy(b.start);
    if (weft_comm_rank(b.world) == 0) {
        if (status == WEFT_OK && options->json)
            status = weft_record_end(&b.record, options->json);
        else
            weft_json_writer_fini(&b.record.json);
    }
    return weft_comm_agree(b.world, status, NULL);
}
