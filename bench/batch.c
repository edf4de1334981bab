// Many requests through one engine: latencies of each, and what the engine did over each round.
#include "bench/batch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/philox.h"

enum { ROUNDS_MAX = 1000, NAP_NS = 20000000 }; // between looks at the clock, where nothing is to do

typedef struct {
    struct round *round;
    weft_request_times times; // for --stats
    int64_t asked, first, last;
    int drawn;
} request;

// All samples, of all rounds. Latencies in ms.
typedef struct {
    double *first, *between, *whole; // [rounds * requests], [rounds * gaps], [rounds * requests]
    size_t first_count, between_count, whole_count;
    double generated[ROUNDS_MAX], all[ROUNDS_MAX], requests[ROUNDS_MAX]; // a second
    double running[ROUNDS_MAX], rows[ROUNDS_MAX];                        // of a step, the mean
    double fill[ROUNDS_MAX], held[ROUNDS_MAX], found[ROUNDS_MAX];        // %
    double exchange[ROUNDS_MAX], wait[ROUNDS_MAX], host[ROUNDS_MAX];     // % of the time that was not idle
    double queued[ROUNDS_MAX];                                           // requests, the mean over steps
    int64_t preempted;
} samples;

// One round at work.
typedef struct round {
    const weft_bench_batch_options *options;
    const weft_bench_load *load;
    const weft_bench_subject *subject;
    weft_engine_stats *stats;
    weft_comm *world;
    samples *out;
    request *requests;
    double *arrivals; // seconds
    int32_t *tokens;  // room for a prompt
    int number, submitted, ended, ended_in_step;
    int64_t start, idle, steps;    // ns, but for the steps
    int64_t rows, running, queued; // sums over steps
    double held;                   // likewise
    char failure[512];             // of the last request that failed
} round_state;

static double ms(int64_t ns) { return (double)ns * 1e-6; }

static void on_token(void *arg, const weft_drawn *drawn)
{
    request *q = arg;
    samples *out = q->round->out;
    const int64_t now = weft_clock_ns();
    weft_engine_stats_token(q->round->stats, &q->times);
    if (q->drawn++ == 0)
        out->first[out->first_count++] = ms(now - q->asked);
    else
        out->between[out->between_count++] = ms(now - q->last);
    q->last = now;
}

static void on_end(void *arg, weft_finish finish)
{
    request *q = arg;
    samples *out = q->round->out;
    weft_engine_stats_ended(q->round->stats, &q->times, finish, false);
    if (finish == WEFT_FINISH_FAILED) snprintf(q->round->failure, sizeof q->round->failure, "%s", weft_error_text());
    out->whole[out->whole_count++] = ms(weft_clock_ns() - q->asked);
    q->round->ended++;
    q->round->ended_in_step++;
}

static const weft_request_calls calls = {.token = on_token, .end = on_end};

static weft_request_sampling without_stops(void)
{
    weft_request_sampling sampling = weft_request_sampling_default();
    sampling.ignore_stops = true;
    return sampling;
}

// The next request. `asked`: when it should have come, or 0 for now.
static weft_status submit(round_state *r, int64_t asked)
{
    const int i = r->submitted;
    const weft_bench_length length = r->load->at[i];
    const uint64_t vocab = (uint64_t)weft_model_config_of(r->subject->model)->vocab;
    request *q = &r->requests[i];
    int64_t id;
    *q = (request){.round = r};
    for (int j = 0; j < length.prompt; j++) {
        const weft_philox4 u = weft_draw4((uint64_t)r->options->seed, (uint32_t)(r->number + 8),
                                          (uint64_t)i << 32 | (uint32_t)j, WEFT_DRAW_TEST);
        r->tokens[j] = (int32_t)(u.word[0] % vocab);
    }
    const weft_request wanted = {.tokens = r->tokens,
                                 .token_count = length.prompt,
                                 .max_tokens = length.generate,
                                 .sampling = without_stops(),
                                 .calls = &calls,
                                 .arg = q};
    q->asked = asked ? asked : weft_clock_ns();
    WEFT_TRY(weft_engine_submit(r->subject->engine, &wanted, &id));
    weft_engine_stats_submitted(r->stats, &q->times, length.prompt);
    r->submitted++;
    return WEFT_OK;
}

// How many requests have arrived, by the clock of rank 0; all ranks then submit the same.
static weft_status count_arrived(round_state *r, int64_t *out)
{
    const double now = (double)(weft_clock_ns() - r->start) * 1e-9;
    int64_t arrived = r->submitted;
    while (arrived < r->load->count && r->arrivals[arrived] <= now) arrived++;
    if (weft_comm_size(r->world) > 1) WEFT_TRY(weft_comm_bcast(r->world, 0, &arrived, sizeof arrived));
    *out = arrived;
    return WEFT_OK;
}

static weft_status submit_due(round_state *r)
{
    const weft_bench_batch_options *o = r->options;
    int64_t due = r->load->count;
    if (o->rate > 0)
        WEFT_TRY(count_arrived(r, &due));
    else if (due > r->ended + o->concurrency)
        due = r->ended + o->concurrency;
    while (r->submitted < due)
        WEFT_TRY(submit(r, o->rate > 0 ? r->start + (int64_t)(r->arrivals[r->submitted] * 1e9) : 0));
    return WEFT_OK;
}

static void note_step(round_state *r, int rows)
{
    const weft_engine_state now = weft_engine_state_of(r->subject->engine);
    r->steps++;
    r->rows += rows;
    r->running += now.running + r->ended_in_step;
    r->queued += now.waiting;
    r->held += now.units > 0 ? (double)now.held / (double)now.units : 0;
}

static weft_status run_all(round_state *r)
{
    r->start = weft_clock_ns();
    while (r->ended < r->load->count) {
        int rows;
        WEFT_TRY(submit_due(r));
        const int64_t begin = weft_clock_ns();
        r->ended_in_step = 0;
        WEFT_TRY(weft_engine_stats_step(r->stats, r->subject->engine, &rows));
        if (r->failure[0]) return weft_fail(WEFT_FAILED, "%s", r->failure);
        if (rows > 0) {
            note_step(r, rows);
            continue;
        }
        const int64_t left = r->start + (int64_t)(r->arrivals[r->submitted] * 1e9) - weft_clock_ns();
        if (left > 0) weft_clock_sleep_ns(left < NAP_NS ? left : NAP_NS);
        r->idle += weft_clock_ns() - begin;
    }
    return WEFT_OK;
}

static void note_round(round_state *r, const weft_engine_state *before, const weft_mesh_times *times_before)
{
    samples *out = r->out;
    const weft_mesh_times *times = weft_model_layout_of(r->subject->model)->mesh.times;
    const weft_engine_state now = weft_engine_state_of(r->subject->engine);
    const double seconds = (double)(weft_clock_ns() - r->start) * 1e-9, busy = seconds - (double)r->idle * 1e-9;
    const double steps = (double)r->steps, found = (double)(now.found - before->found);
    const double share = 100 * weft_clock_tick_seconds() / busy;
    const int n = r->number;
    out->generated[n] = (double)r->load->generated / seconds;
    out->all[n] = (double)(r->load->prompts + r->load->generated) / seconds;
    out->requests[n] = (double)r->load->count / seconds;
    out->running[n] = (double)r->running / steps;
    out->rows[n] = (double)r->rows / steps;
    out->fill[n] = 100 * out->running[n] / (double)r->options->concurrency;
    out->queued[n] = (double)r->queued / steps;
    out->held[n] = 100 * r->held / steps;
    out->found[n] = 100 * found / (found + (double)(now.computed - before->computed));
    out->host[n] = 100 * (1 - (double)(now.computing_ns - before->computing_ns) * 1e-9 / busy);
    out->preempted += now.preempted - before->preempted;
    if (!times) return;
    out->exchange[n] = (double)(times->exchange - times_before->exchange) * share;
    out->wait[n] = (double)(times->wait - times_before->wait) * share;
}

// A request that nobody times, so that all memory has been touched.
static weft_status warm_up(const weft_bench_subject *s)
{
    static const weft_request_calls nobody;
    const int32_t tokens[] = {1, 2, 3};
    int rows;
    int64_t id;
    const weft_request wanted = {
        .tokens = tokens, .token_count = 3, .max_tokens = 3, .sampling = without_stops(), .calls = &nobody};
    WEFT_TRY(weft_engine_submit(s->engine, &wanted, &id));
    do WEFT_TRY(weft_engine_step(s->engine, &rows));
    while (rows > 0);
    return WEFT_OK;
}

static weft_status run_round(round_state *r, int number)
{
    const weft_engine_state before = weft_engine_state_of(r->subject->engine);
    const weft_mesh_times *times = weft_model_layout_of(r->subject->model)->mesh.times;
    const weft_mesh_times times_before = times ? *times : (weft_mesh_times){0};
    r->number = number;
    r->submitted = r->ended = 0;
    r->idle = r->steps = r->rows = r->running = r->queued = 0;
    r->held = 0;
    if (r->options->rate > 0) weft_bench_arrivals(r->options, number, r->arrivals, r->load->count);
    WEFT_TRY(weft_comm_barrier(r->world));
    WEFT_TRY(run_all(r));
    note_round(r, &before, &times_before);
    return WEFT_OK;
}

// ---- the report ----

static const char *cell(char text[16], double value, size_t count, size_t needed)
{
    if (count < needed)
        snprintf(text, 16, "-");
    else
        snprintf(text, 16, "%.2f", value);
    return text;
}

// So many samples a percentile needs, so that with 99 % confidence the largest of them lies above it.
enum { NEEDS_P50 = 7, NEEDS_P90 = 44, NEEDS_P99 = 459 };

static weft_status report_latency(weft_record *record, FILE *table, const char *name, const double *values,
                                  size_t count)
{
    weft_stats stats;
    char p50[16], p90[16], p99[16], max[16];
    if (count == 0) return WEFT_OK;
    double *sorted = malloc(count * sizeof *sorted);
    if (!sorted) return weft_fail(WEFT_NO_MEMORY, "no memory for %zu samples", count);
    memcpy(sorted, values, count * sizeof *values);
    weft_stats_of(sorted, count, &stats);
    free(sorted);
    weft_record_result_begin(record, name, "ms");
    weft_record_result_end(record, values, count, &stats);
    if (table)
        fprintf(table, "%-22s %10s %10s %10s %10s ms  %8zu\n", name, cell(p50, stats.median, count, NEEDS_P50),
                cell(p90, stats.p90, count, NEEDS_P90), cell(p99, stats.p99, count, NEEDS_P99),
                cell(max, stats.max, count, 1), count);
    return WEFT_OK;
}

static void report_rounds(weft_record *record, FILE *table, const char *name, const char *unit, const double *values,
                          size_t rounds)
{
    weft_stats stats;
    double sorted[ROUNDS_MAX];
    memcpy(sorted, values, rounds * sizeof *values);
    weft_stats_of(sorted, rounds, &stats);
    weft_record_result_begin(record, name, unit);
    weft_record_result_end(record, values, rounds, &stats);
    if (table) fprintf(table, "%-22s %10.2f [%.2f %.2f] %s\n", name, stats.median, stats.min, stats.max, unit);
}

static weft_status report(weft_record *record, FILE *table, const round_state *r)
{
    const samples *s = r->out;
    const size_t rounds = (size_t)r->options->rounds;
    if (table) fprintf(table, "%-22s %10s %10s %10s %10s     %8s\n", "", "p50", "p90", "p99", "max", "samples");
    WEFT_TRY(report_latency(record, table, "time to first token", s->first, s->first_count));
    WEFT_TRY(report_latency(record, table, "inter-token", s->between, s->between_count));
    WEFT_TRY(report_latency(record, table, "request", s->whole, s->whole_count));
    if (table) fprintf(table, "\n%-22s %10s\n", "", "median [least most] of the rounds");
    report_rounds(record, table, "generated tokens", "1/s", s->generated, rounds);
    report_rounds(record, table, "all tokens", "1/s", s->all, rounds);
    report_rounds(record, table, "requests", "1/s", s->requests, rounds);
    report_rounds(record, table, "running", "requests", s->running, rounds);
    report_rounds(record, table, "batch fill", "%", s->fill, rounds);
    report_rounds(record, table, "queue", "requests", s->queued, rounds);
    report_rounds(record, table, "rows of a step", "tokens", s->rows, rounds);
    report_rounds(record, table, "cache held", "%", s->held, rounds);
    report_rounds(record, table, "found in the cache", "%", s->found, rounds);
    report_rounds(record, table, "in exchanges", "%", s->exchange, rounds);
    report_rounds(record, table, "of that waiting", "%", s->wait, rounds);
    report_rounds(record, table, "host", "%", s->host, rounds);
    if (table && s->preempted > 0) fprintf(table, "%lld preemptions\n", (long long)s->preempted);
    return WEFT_OK;
}

static void write_settings(weft_record *record, const round_state *r)
{
    const weft_bench_batch_options *o = r->options;
    weft_json_writer *json = &record->json;
    weft_bench_subject_write(r->subject, json);
    weft_json_write_int(json, "requests", r->load->count);
    weft_json_write_int(json, "prompt_tokens", r->load->prompts);
    weft_json_write_int(json, "generated_tokens", r->load->generated);
    weft_json_write_int(json, "concurrency", o->concurrency);
    weft_json_write_real(json, "rate", o->rate);
    weft_json_write_int(json, "seed", o->seed);
    weft_json_write_int(json, "rounds", o->rounds);
    weft_json_write_int(json, "preemptions", r->out->preempted);
}

static void print_head(FILE *table, const round_state *r)
{
    const weft_bench_batch_options *o = r->options;
    const weft_weights *w = weft_model_weights_of(r->subject->model);
    fprintf(table, "%s: %.2f GB of weights (%s, %s), %d ranks of %d threads; %d requests, %lld rounds, ",
            r->subject->name, (double)w->bytes * 1e-9, weft_dtype_name(w->type), weft_family_name(w->family),
            weft_comm_size(r->world), weft_team_threads(r->subject->team), r->load->count, (long long)o->rounds);
    if (o->rate > 0)
        fprintf(table, "%g a second, at most %lld at once\n\n", o->rate, (long long)o->concurrency);
    else
        fprintf(table, "%lld at once\n\n", (long long)o->concurrency);
}

static weft_status make_room(round_state *r)
{
    const size_t count = (size_t)r->load->count, rounds = (size_t)r->options->rounds;
    const size_t gaps = (size_t)r->load->generated - count;
    r->out = calloc(1, sizeof *r->out);
    if (!r->out) return weft_fail(WEFT_NO_MEMORY, "no memory for the samples");
    r->out->first = malloc(rounds * count * sizeof(double));
    r->out->whole = malloc(rounds * count * sizeof(double));
    r->out->between = malloc((rounds * gaps + 1) * sizeof(double));
    r->requests = calloc(count, sizeof *r->requests);
    r->arrivals = calloc(count + 1, sizeof *r->arrivals);
    r->tokens = malloc((size_t)r->load->longest * sizeof *r->tokens);
    if (r->out->first && r->out->whole && r->out->between && r->requests && r->arrivals && r->tokens) return WEFT_OK;
    return weft_fail(WEFT_NO_MEMORY, "no memory for the samples of %zu requests", rounds * count);
}

weft_status weft_bench_batch(weft_job *job, const weft_bench_batch_options *options, const weft_bench_load *load,
                             const weft_bench_subject *subject, weft_engine_stats *stats, FILE *out)
{
    weft_status status;
    weft_record record;
    round_state r = {.options = options, .load = load, .subject = subject, .stats = stats};
    r.world = weft_job_world(job);
    const bool speaks = weft_comm_rank(r.world) == 0;
    FILE *table = !speaks || (options->json && strcmp(options->json, "-") == 0) ? NULL : out;
    status = weft_comm_agree(r.world, make_room(&r), NULL);
    if (status == WEFT_OK) status = warm_up(subject);
    for (int round = 0; round < options->rounds && status == WEFT_OK; round++) status = run_round(&r, round);
    if (status == WEFT_OK && speaks) {
        weft_record_begin(&record, "batch", job);
        write_settings(&record, &r);
        weft_record_results(&record);
        if (table) print_head(table, &r);
        status = report(&record, table, &r);
        if (options->json && status == WEFT_OK)
            status = weft_record_end(&record, options->json);
        else
            weft_json_writer_fini(&record.json);
    }
    if (r.out) {
        free(r.out->first);
        free(r.out->whole);
        free(r.out->between);
    }
    free(r.out);
    free(r.requests);
    free(r.arrivals);
    free(r.tokens);
    return status;
}
