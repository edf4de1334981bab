// The frame of `weft bench kernels`: the ceilings, the turns, the table and the record. Every round measures the
// ceilings anew beside the cases, and a case's percentage is taken round by round, so that the machine's moods fall on
// both.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/kernels_impl.h"
#include "kernels/device.h"

static const struct {
    const char *name;
    weft_status (*measure)(wi_kernel_bench *bench);
} ops[] = {
    {"gemm", wi_bench_gemm},
    {"attention", wi_bench_attention},
    {"rows", wi_bench_row_ops},
    {"chain", wi_bench_chain},
};

enum { ROUNDS_MAX = 1000, ROWS_MAX = 32768 };

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

// The least time that the ceilings allow.
static double bound_of(const wi_kernel_case *c, const double rate[WEFT_CEILING_COUNT])
{
    const double by_compute = c->operations > 0 && rate[c->compute] > 0 ? c->operations / rate[c->compute] : 0;
    const double by_read = c->bytes > 0 && rate[c->read] > 0 ? c->bytes / rate[c->read] : 0;
    return by_compute > by_read ? by_compute : by_read;
}

// What computes: a number of threads, or a device.
static void write_where(wi_kernel_bench *b)
{
    if (b->on_device)
        weft_json_write_string(&b->record.json, "device", b->device->name);
    else
        weft_json_write_int(&b->record.json, "threads", b->threads);
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
    write_where(b);
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

static weft_status measure_ceilings(wi_kernel_bench *b, ceiling_rates *rates)
{
    for (int i = 0; i < WEFT_CEILING_COUNT; i++) {
        if (!rates->wanted[i]) continue;
        WEFT_TRY(wi_bench_ceiling(b, (weft_ceiling)i, &rates->now[i]));
        rates->sum[i] += rates->now[i];
    }
    return WEFT_OK;
}

static weft_status measure_round(wi_kernel_bench *b, int round, wi_kernel_case *cases, int count, ceiling_rates *rates,
                                 samples *all)
{
    WEFT_TRY(measure_ceilings(b, rates));
    for (int i = 0; i < count; i++) {
        wi_kernel_case *c = &cases[(i + round) % count];
        samples *s = &all[(i + round) % count];
        double seconds;
        WEFT_TRY(wi_bench_time_case(b, c, &seconds));
        s->time[round] = seconds * 1e6;
        s->share[round] = bound_of(c, rates->now) / seconds * 100;
        for (int p = 0; p < c->peers; p++) s->peer[p][round] = wi_bench_time_peer(b, &c->peer[p]) * 1e6;
    }
    return WEFT_OK;
}

weft_status wi_bench_cases(wi_kernel_bench *b, wi_kernel_case *cases, int count)
{
    ceiling_rates rates = {0};
    weft_status status = WEFT_OK;
    samples *all = calloc((size_t)count, sizeof *all);
    if (!all) return weft_fail(WEFT_NO_MEMORY, "no memory for the samples of %d cases", count);
    for (int i = 0; i < count; i++) {
        if (cases[i].operations > 0) rates.wanted[cases[i].compute] = true;
        if (cases[i].bytes > 0) rates.wanted[cases[i].read] = true;
    }
    for (int round = 0; round < b->options->rounds && status == WEFT_OK; round++)
        status = measure_round(b, round, cases, count, &rates, all);
    for (int i = 0; i < count && status == WEFT_OK; i++) {
        const wi_kernel_case *c = &cases[i];
        const double by_compute = rates.sum[c->compute] > 0 ? c->operations / rates.sum[c->compute] : 0;
        const bool reads = rates.sum[c->read] > 0 && c->bytes / rates.sum[c->read] >= by_compute;
        const bool free = c->operations <= 0 && c->bytes <= 0;
        report(b, c, &all[i], free ? "nothing" : weft_ceiling_name(reads ? c->read : c->compute));
    }
    free(all);
    return status;
}

static weft_status report_ceiling(wi_kernel_bench *b, weft_ceiling ceiling)
{
    double values[ROUNDS_MAX];
    weft_stats stats;
    const int rounds = (int)b->options->rounds;
    for (int round = 0; round < rounds; round++) {
        WEFT_TRY(wi_bench_ceiling(b, ceiling, &values[round]));
        values[round] *= 1e-9;
    }
    weft_stats_of(values, (size_t)rounds, &stats);
    weft_record_result_begin(&b->record, weft_ceiling_name(ceiling), weft_ceiling_unit(ceiling));
    write_where(b);
    weft_record_result_end(&b->record, values, (size_t)rounds, &stats);
    if (b->table)
        fprintf(b->table, "%-20s %9.1f %s [%.1f %.1f]\n", weft_ceiling_name(ceiling), stats.median,
                weft_ceiling_unit(ceiling), stats.p10, stats.p90);
    return WEFT_OK;
}

static weft_status report_ceilings(wi_kernel_bench *b)
{
    const int first = b->on_device ? WEFT_CEILING_DEVICE_FIRST : 0;
    const int end = b->on_device ? WEFT_CEILING_COUNT : WEFT_CEILING_DEVICE_FIRST;
    for (int i = first; i < end; i++) {
        const weft_ceiling ceiling = (weft_ceiling)i;
        if (wi_bench_ceiling_there(b, ceiling))
            WEFT_TRY(report_ceiling(b, ceiling));
        else if (b->table)
            fprintf(b->table, "%-20s not on this %s\n", weft_ceiling_name(ceiling),
                    b->on_device ? "device" : "processor at this level");
    }
    return WEFT_OK;
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
    WEFT_TRY_GOTO(report_ceilings(b));
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

static weft_status run_on_device(wi_kernel_bench *b, const weft_topology *topology)
{
    weft_status status;
    const weft_device_kind *kind;
    int count;
    const weft_team_options options = {
        .threads = topology->allowed_cores, .cpus = topology->allowed, .cpu_count = topology->allowed_count};
    b->threads = 1; // of what an op's scratch is asked for
    WEFT_TRY_GOTO(weft_team_create(&options, &b->team));
    WEFT_TRY_GOTO(weft_device_kind_find(b->options->device, &kind, &count));
    WEFT_TRY_GOTO(kind->open(0, &b->device, &b->kernels, &b->stream));
    if (kind->open_blas(b->device, &b->kernels) < 0 && b->table)
        fprintf(b->table, "not measured: %s\n", weft_error_text());
    b->emulated = weft_device_is_emulated(b->device);
    WEFT_TRY_GOTO(weft_device_ceilings_create(b->device, &b->kernels, b->stream, b->team, &b->device_ceilings));
    if (b->table) fprintf(b->table, "\n%s\n", b->device->name);
    WEFT_TRY_GOTO(report_ceilings(b));
    status = run_ops(b);
fail:
    weft_device_ceilings_destroy(b->device_ceilings);
    weft_device_destroy(b->device);
    weft_team_destroy(b->team);
    return status;
}

// "1,16,512"
static weft_status read_rows(wi_kernel_bench *b)
{
    const char *at = b->options->rows;
    for (b->row_counts = 0; at && *at; b->row_counts++) {
        char *end;
        const long long count = strtoll(at, &end, 10);
        if (end == at || count < 1 || count > ROWS_MAX || b->row_counts == WI_KERNEL_ROWS_MAX || (*end && *end != ','))
            return weft_fail(WEFT_USAGE, "--rows %s: use up to %d numbers from 1 to %d with commas between",
                             b->options->rows, WI_KERNEL_ROWS_MAX, ROWS_MAX);
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
    weft_json_write_string(json, "device", b->on_device ? b->options->device : "cpu");
    weft_json_write_bool(json, "peers", b->peers != NULL);
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
    b.on_device = options->device && strcmp(options->device, "cpu") != 0;
    if (options->peers && !b.on_device) WEFT_TRY(wi_peers_open(&b.peers));
    b.table = options->json && strcmp(options->json, "-") == 0 ? NULL : out;
    weft_record_begin(&b.record, "kernels", job);
    write_settings(&b);
    weft_record_results(&b.record);
    weft_status status = b.on_device ? run_on_device(&b, &topology)
                                     : run_with(&b, &topology, options->threads > 0 ? (int)options->threads : 1);
    if (status == WEFT_OK && !b.on_device && options->threads == 0 && topology.allowed_cores > 1)
        status = run_with(&b, &topology, topology.allowed_cores);
    wi_peers_close(b.peers);
    if (status == WEFT_OK && options->json) return weft_record_end(&b.record, options->json);
    weft_json_writer_fini(&b.record.json);
    return status;
}
