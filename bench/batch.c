// Many requests through one engine: latencies of each, and what the engine did over each round.
#include "bench/batch_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/philox.h"

enum { NAP_NS = 20000000 }; // between looks at the clock, where nothing is to do

typedef struct {
    struct round *round;
    weft_request_times times; // for --stats
    int64_t asked, first, last;
    int drawn;
} request;

// One round at work.
typedef struct round {
    const weft_bench_batch_options *options;
    const weft_bench_load *load;
    const weft_bench_subject *subject;
    weft_engine_stats *stats;
    const weft_replicas *replicas;
    weft_comm *world, *own; // own: this replica's ranks
    wi_batch_samples *out;
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
    wi_batch_samples *out = q->round->out;
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
    wi_batch_samples *out = q->round->out;
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

// Replicas have the requests of the load by turns: which one is the replica's own i-th, and how many it has.
static int number_of(const round_state *r, int i) { return i * r->replicas->count + r->replicas->number; }
static int count_of(const round_state *r)
{
    return (r->load->count - r->replicas->number + r->replicas->count - 1) / r->replicas->count;
}

// The next request. `asked`: when it should have come, or 0 for now.
static weft_status submit(round_state *r, int64_t asked)
{
    const int i = number_of(r, r->submitted);
    const weft_bench_length length = r->load->at[i];
    const uint64_t vocab = (uint64_t)weft_model_config_of(r->subject->model)->vocab;
    request *q = &r->requests[r->submitted];
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

// How many requests have arrived, by the clock of the replica's rank 0; its ranks then submit the same.
static weft_status count_arrived(round_state *r, int64_t *out)
{
    const double now = (double)(weft_clock_ns() - r->start) * 1e-9;
    int64_t arrived = r->submitted;
    while (arrived < count_of(r) && r->arrivals[number_of(r, (int)arrived)] <= now) arrived++;
    if (weft_comm_size(r->own) > 1) WEFT_TRY(weft_comm_bcast(r->own, 0, &arrived, sizeof arrived));
    *out = arrived;
    return WEFT_OK;
}

static weft_status submit_due(round_state *r)
{
    const weft_bench_batch_options *o = r->options;
    int64_t due = count_of(r);
    if (o->rate > 0)
        WEFT_TRY(count_arrived(r, &due));
    else if (due > r->ended + o->concurrency)
        due = r->ended + o->concurrency;
    while (r->submitted < due)
        WEFT_TRY(submit(r, o->rate > 0 ? r->start + (int64_t)(r->arrivals[number_of(r, r->submitted)] * 1e9) : 0));
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
    while (r->ended < count_of(r)) {
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
        const int64_t left = r->start + (int64_t)(r->arrivals[number_of(r, r->submitted)] * 1e9) - weft_clock_ns();
        if (left > 0) weft_clock_sleep_ns(left < NAP_NS ? left : NAP_NS);
        r->idle += weft_clock_ns() - begin;
    }
    return WEFT_OK;
}

static void note_round(round_state *r, const weft_engine_state *before, const weft_mesh_times *times_before)
{
    wi_batch_samples *out = r->out;
    const weft_mesh_times *times = weft_model_layout_of(r->subject->model)->mesh.times;
    const weft_engine_state now = weft_engine_state_of(r->subject->engine);
    const double seconds = (double)(weft_clock_ns() - r->start) * 1e-9, busy = seconds - (double)r->idle * 1e-9;
    const double steps = (double)r->steps, found = (double)(now.found - before->found);
    const double share = 100 * weft_clock_tick_seconds() / busy;
    const int n = r->number;
    out->seconds[n] = seconds;
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
    double sorted[WI_ROUNDS_MAX];
    memcpy(sorted, values, rounds * sizeof *values);
    weft_stats_of(sorted, rounds, &stats);
    weft_record_result_begin(record, name, unit);
    weft_record_result_end(record, values, rounds, &stats);
    if (table) fprintf(table, "%-22s %10.2f [%.2f %.2f] %s\n", name, stats.median, stats.min, stats.max, unit);
}

static weft_status report(weft_record *record, FILE *table, const round_state *r)
{
    const wi_batch_samples *s = r->out;
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
    weft_json_write_int(json, "replicas", r->replicas->count);
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
    const int dp = r->replicas->count;
    fprintf(table, "%s: %.2f GB of weights (%s, %s), %d ranks of %d threads", r->subject->name, (double)w->bytes * 1e-9,
            weft_dtype_name(w->type), weft_family_name(w->family), weft_comm_size(r->world),
            weft_team_threads(r->subject->team));
    if (dp > 1) fprintf(table, " in %d replicas", dp);
    fprintf(table, "; %d requests, %lld rounds, ", r->load->count, (long long)o->rounds);
    if (o->rate > 0) fprintf(table, "%g a second, at most ", o->rate);
    fprintf(table, "%lld at once%s\n\n", (long long)o->concurrency, dp > 1 ? " in each" : "");
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

static weft_status run_rounds(round_state *r)
{
    weft_status status = warm_up(r->subject);
    for (int round = 0; round < r->options->rounds && status == WEFT_OK; round++) status = run_round(r, round);
    if (r->replicas->count == 1) return status;
    // A replica that fails in a round leaves the others in the next barrier: it ends the job there.
    if (status < 0) weft_job_abort(weft_comm_job(r->world), status, weft_error_text());
    if (status == WEFT_OK && r->replicas->leads)
        status = wi_batch_samples_gather(r->replicas->leads, r->options, r->load, r->out);
    return weft_comm_agree(r->world, status, NULL);
}

weft_status weft_bench_batch(weft_job *job, const weft_bench_batch_options *options, const weft_bench_load *load,
                             const weft_bench_subject *subject, const weft_replicas *replicas, weft_engine_stats *stats,
                             FILE *out)
{
    weft_status status;
    weft_record record;
    round_state r = {.options = options, .load = load, .subject = subject, .stats = stats};
    r.replicas = replicas;
    r.world = weft_job_world(job);
    r.own = replicas->own;
    const bool speaks = weft_comm_rank(r.world) == 0;
    FILE *table = !speaks || (options->json && strcmp(options->json, "-") == 0) ? NULL : out;
    status = weft_comm_agree(r.world, make_room(&r), NULL);
    if (status == WEFT_OK) status = run_rounds(&r);
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
