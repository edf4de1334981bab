// The frame of `weft bench kernels`: the ceilings, the turns, the table and the record. Every round measures the
// ceilings anew beside the cases, and a case's percentage is taken round by round, so that the machine's moods fall on
// both.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/kernels_impl.h"
#include "bench/machine.h"
#include "core/clock.h"

static const struct {
    const char *name;
    weft_status (*measure)(wi_kernel_bench *bench);
} ops[] = {
    {"gemm", wi_bench_gemm},
    {"attention", wi_bench_attention},
    {"rows", wi_bench_row_ops},
};

static const double CEILING_SECONDS = 0.02, CASE_SECONDS = 0.01;

enum { ROUNDS_MAX = 1000 };

// One case's samples: microseconds a run, those of its peers, and the part of the ceiling that binds it.
typedef struct {
    double time[ROUNDS_MAX], share[ROUNDS_MAX], peer[WI_KERNEL_PEERS_MAX][ROUNDS_MAX];
} samples;

// What the ceilings gave in the round, and in all of them.
typedef struct {
    bool wanted[WEFT_CEILING_COUNT];
    double now[WEFT_CEILING_COUNT], sum[WEFT_CEILING_COUNT];
} ceiling_rates;

int wi_bench_rows(const wi_kernel_bench *b, const int64_t *own, int count, int64_t rows[WI_KERNEL_ROWS_MAX])
{
    const int given = b->row_counts ? b->row_counts : count;
    memcpy(rows, b->row_counts ? b->rows : own, (size_t)given * sizeof *rows);
    return given;
}

weft_status wi_bench_copies(wi_kernel_bench *b, size_t bytes, int most, int *out)
{
    weft_topology topology;
    size_t free_bytes, total_bytes;
    WEFT_TRY(weft_topology_read(&topology));
    WEFT_TRY(b->device->ops->memory(b->device, &free_bytes, &total_bytes));
    const size_t copies = weft_read_test_bytes(&topology, free_bytes) / bytes + 1;
    *out = copies < (size_t)most ? (int)copies : most;
    if (bytes * (size_t)*out > free_bytes / 3)
        return weft_fail(WEFT_NO_MEMORY, "%zu MiB to measure, more than a third of what is free",
                         bytes * (size_t)*out >> 20);
    return WEFT_OK;
}

static double seconds_since(int64_t began, int runs) { return (double)(weft_clock_ns() - began) * 1e-9 / runs; }

// Runs for about CASE_SECONDS, at least once; returns the seconds of one. A case runs until then by itself; its peers
// as often as they can in the same time.
static double time_case(wi_kernel_bench *b, const wi_kernel_case *c)
{
    const int64_t began = weft_clock_ns(), until = began + (int64_t)(CASE_SECONDS * 1e9);
    int runs = 0;
    for (int more = 1; runs == 0 || weft_clock_ns() < until; more += more < 64) { // the clock takes its time too
        for (int i = 0; i < more; i++) c->run(b, c->state);
        runs += more;
    }
    return seconds_since(began, runs);
}

static double time_peer(wi_kernel_bench *b, const wi_kernel_peer *peer)
{
    wi_peer_begin(b->peers, peer->peer, b->threads);
    peer->run(peer->state); // its threads wake up
    const int64_t began = weft_clock_ns(), until = began + (int64_t)(CASE_SECONDS * 1e9);
    int runs = 0;
    do {
        peer->run(peer->state);
        runs++;
    } while (weft_clock_ns() < until);
    const double seconds = seconds_since(began, runs);
    wi_peer_end(b->peers, peer->peer);
    return seconds;
}

// The least time that the ceilings allow.
static double bound_of(const wi_kernel_case *c, const double rate[WEFT_CEILING_COUNT])
{
    const double by_compute = rate[c->compute] > 0 ? c->operations / rate[c->compute] : 0;
    const double by_read = rate[c->read] > 0 ? c->bytes / rate[c->read] : 0;
    return by_compute > by_read ? by_compute : by_read;
}

static void record(wi_kernel_bench *b, const wi_kernel_case *c, const char *unit, const char *by, const char *binds,
                   double *values, weft_stats *stats)
{
    weft_json_writer *json = &b->record.json;
    double sorted[ROUNDS_MAX];
    const size_t rounds = (size_t)b->options->rounds;
    memcpy(sorted, values, rounds * sizeof *values);
    weft_stats_of(sorted, rounds, stats);
    weft_record_result_begin(&b->record, c->op, unit);
    weft_json_write_string(json, "by", by);
    weft_json_write_string(json, "shape", c->shape);
    weft_json_write_int(json, "threads", b->threads);
    weft_json_write_real(json, "operations", c->operations);
    weft_json_write_real(json, "bytes", c->bytes);
    if (binds) weft_json_write_string(json, "ceiling", binds);
    weft_record_result_end(&b->record, values, rounds, stats);
}

static void report(wi_kernel_bench *b, const wi_kernel_case *c, samples *s, const char *binds)
{
    weft_stats time = {0}, share = {0}, peer[WI_KERNEL_PEERS_MAX] = {0};
    record(b, c, "us", "weft", binds, s->time, &time);
    record(b, c, "%", "weft", binds, s->share, &share);
    for (int i = 0; i < c->peers; i++)
        record(b, c, "us", wi_peer_text(b->peers, c->peer[i].peer), NULL, s->peer[i], &peer[i]);
    if (!b->table) return;
    fprintf(b->table, "%-13s %-34s %10.1f [%9.1f %9.1f] %8.1f %7.2f %6.1f [%5.1f %5.1f] %-16s", c->op, c->shape,
            time.median, time.p10, time.p90, c->operations / time.median * 1e-3, c->bytes / time.median * 1e-3,
            share.median, share.p10, share.p90, binds);
    for (int i = 0; i < c->peers; i++)
        fprintf(b->table, "  %s %.1f us [%.1f %.1f], %.2fx", wi_peer_name(c->peer[i].peer), peer[i].median, peer[i].p10,
                peer[i].p90, peer[i].median / time.median);
    fputc('\n', b->table);
    fflush(b->table);
}

static void measure_ceilings(wi_kernel_bench *b, ceiling_rates *rates)
{
    for (int i = 0; i < WEFT_CEILING_COUNT; i++) {
        if (!rates->wanted[i]) continue;
        rates->now[i] = weft_ceiling_measure(b->ceilings, (weft_ceiling)i, b->threads, CEILING_SECONDS);
        rates->sum[i] += rates->now[i];
    }
}

weft_status wi_bench_cases(wi_kernel_bench *b, wi_kernel_case *cases, int count)
{
    ceiling_rates rates = {0};
    samples *all = calloc((size_t)count, sizeof *all);
    if (!all) return weft_fail(WEFT_NO_MEMORY, "no memory for the samples of %d cases", count);
    for (int i = 0; i < count; i++) rates.wanted[cases[i].compute] = rates.wanted[cases[i].read] = true;
    for (int round = 0; round < b->options->rounds; round++) {
        measure_ceilings(b, &rates);
        for (int i = 0; i < count; i++) {
            const wi_kernel_case *c = &cases[(i + round) % count];
            samples *s = &all[(i + round) % count];
            const double seconds = time_case(b, c);
            s->time[round] = seconds * 1e6;
            s->share[round] = bound_of(c, rates.now) / seconds * 100;
            for (int p = 0; p < c->peers; p++) s->peer[p][round] = time_peer(b, &c->peer[p]) * 1e6;
        }
    }
    for (int i = 0; i < count; i++) {
        const wi_kernel_case *c = &cases[i];
        const double by_compute = rates.sum[c->compute] > 0 ? c->operations / rates.sum[c->compute] : 0;
        const bool reads = rates.sum[c->read] > 0 && c->bytes / rates.sum[c->read] >= by_compute;
        report(b, c, &all[i], weft_ceiling_name(reads ? c->read : c->compute));
    }
    free(all);
    return WEFT_OK;
}

static void report_ceilings(wi_kernel_bench *b)
{
    double values[ROUNDS_MAX];
    weft_stats stats;
    const int rounds = (int)b->options->rounds;
    for (int i = 0; i < WEFT_CEILING_COUNT; i++) {
        const weft_ceiling ceiling = (weft_ceiling)i;
        if (!weft_ceiling_there(b->ceilings, ceiling)) {
            if (b->table) fprintf(b->table, "%-20s not on this processor at this level\n", weft_ceiling_name(ceiling));
            continue;
        }
        for (int round = 0; round < rounds; round++)
            values[round] = weft_ceiling_measure(b->ceilings, ceiling, b->threads, CEILING_SECONDS) * 1e-9;
        weft_stats_of(values, (size_t)rounds, &stats);
        weft_record_result_begin(&b->record, weft_ceiling_name(ceiling), weft_ceiling_unit(ceiling));
        weft_json_write_int(&b->record.json, "threads", b->threads);
        weft_record_result_end(&b->record, values, (size_t)rounds, &stats);
        if (b->table)
            fprintf(b->table, "%-20s %9.1f %s [%.1f %.1f]\n", weft_ceiling_name(ceiling), stats.median,
                    weft_ceiling_unit(ceiling), stats.p10, stats.p90);
    }
}

static weft_status run_ops(wi_kernel_bench *b)
{
    if (b->options->op && strcmp(b->options->op, "ceilings") == 0) return WEFT_OK;
    if (b->table)
        fprintf(b->table, "\n%-13s %-34s %10s %21s %8s %7s %6s %13s %-16s  %s\n", "op", "shape", "us", "[p10 p90]",
                "GFLOP/s", "GB/s", "%", "[p10 p90]", "of", "peers: time, how many times weft's");
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (!b->options->op || strcmp(b->options->op, ops[i].name) == 0) WEFT_TRY(ops[i].measure(b));
    return WEFT_OK;
}

static weft_status run_with(wi_kernel_bench *b, const weft_topology *topology, int threads)
{
    weft_status status;
    const weft_team_options options = {
        .threads = threads, .cpus = topology->allowed, .cpu_count = topology->allowed_count};
    b->threads = threads;
    WEFT_TRY_GOTO(weft_team_create(&options, &b->team));
    WEFT_TRY_GOTO(weft_device_host(b->team, &b->device));
    WEFT_TRY_GOTO(weft_ceilings_create(b->team, &b->cpu, b->options->isa, &b->ceilings));
    if (b->table) fprintf(b->table, "\n%d thread%s\n", threads, threads == 1 ? "" : "s");
    report_ceilings(b);
    status = run_ops(b);
fail:
    weft_ceilings_destroy(b->ceilings);
    weft_device_destroy(b->device);
    weft_team_destroy(b->team);
    b->ceilings = NULL;
    b->device = NULL;
    b->team = NULL;
    return status;
}

// "1,16,512"
static weft_status read_rows(wi_kernel_bench *b)
{
    const char *at = b->options->rows;
    for (b->row_counts = 0; at && *at; b->row_counts++) {
        char *end;
        const long long count = strtoll(at, &end, 10);
        if (end == at || count < 1 || count > 4096 || b->row_counts == WI_KERNEL_ROWS_MAX || (*end && *end != ','))
            return weft_fail(WEFT_USAGE, "--rows %s: use up to %d numbers from 1 to 4096 with commas between",
                             b->options->rows, WI_KERNEL_ROWS_MAX);
        b->rows[b->row_counts] = count;
        at = *end ? end + 1 : end;
    }
    return WEFT_OK;
}

static weft_status check_options(const weft_bench_kernels_options *o)
{
    bool found = !o->op || strcmp(o->op, "ceilings") == 0;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) found = found || strcmp(o->op, ops[i].name) == 0;
    if (!found) return weft_fail(WEFT_USAGE, "there is no op \"%s\" to measure; use one of %s", o->op, WEFT_BENCH_OPS);
    if (o->rounds < 1 || o->rounds > ROUNDS_MAX)
        return weft_fail(WEFT_USAGE, "%lld rounds: use 1 to %d", (long long)o->rounds, ROUNDS_MAX);
    return WEFT_OK;
}

static void write_settings(wi_kernel_bench *b)
{
    weft_json_writer *json = &b->record.json;
    weft_json_write_int(json, "rounds", b->options->rounds);
    weft_json_write_string(json, "isa", weft_isa_name(b->options->isa));
    weft_json_write_bool(json, "peers", b->options->peers);
    for (int i = 0; i < WI_PEER_COUNT && b->peers; i++)
        weft_json_write_string(json, wi_peer_name((wi_peer)i), wi_peer_text(b->peers, (wi_peer)i));
    if (!b->table) return;
    fprintf(b->table, "%s, level %s. Medians of %lld rounds; percentages of the ceiling that binds, round by round.\n",
            b->cpu.name, weft_isa_name(b->options->isa), (long long)b->options->rounds);
    for (int i = 0; i < WI_PEER_COUNT && b->peers; i++) fprintf(b->table, "%s\n", wi_peer_text(b->peers, (wi_peer)i));
}

weft_status weft_bench_kernels(weft_job *job, const weft_bench_kernels_options *options, FILE *out)
{
    wi_kernel_bench b = {.options = options, .cpu = weft_cpu_detect(), .kernels = weft_kernels_for(options->isa)};
    weft_topology topology;
    WEFT_TRY(check_options(options));
    WEFT_TRY(read_rows(&b));
    WEFT_TRY(weft_topology_read(&topology));
    if (options->peers) WEFT_TRY(wi_peers_open(&b.peers));
    b.table = options->json && strcmp(options->json, "-") == 0 ? NULL : out;
    weft_record_begin(&b.record, "kernels", job);
    write_settings(&b);
    weft_record_results(&b.record);
    weft_status status = run_with(&b, &topology, options->threads > 0 ? (int)options->threads : 1);
    if (status == WEFT_OK && options->threads == 0 && topology.allowed_cores > 1)
        status = run_with(&b, &topology, topology.allowed_cores);
    wi_peers_close(b.peers);
    if (status == WEFT_OK && options->json) return weft_record_end(&b.record, options->json);
    weft_json_writer_fini(&b.record.json);
    return status;
}
