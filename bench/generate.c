// Prompts and steps of one token, timed by turns with the ceiling that binds them: arithmetic for prompts, reading
// memory for steps.
#include "bench/generate.h"

#include <stdlib.h>
#include <string.h>

#include "bench/ceilings.h"
#include "bench/device_ceilings.h"
#include "core/clock.h"

enum { WARM_STEPS = 3, ROUNDS_MAX = 1000 };
#define CEILING_SECONDS 0.1

int64_t weft_bench_generate_positions(const weft_bench_generate_options *o)
{
    return o->tokens + (o->decode ? WARM_STEPS + o->steps * o->rounds + 2 : 0);
}

// Additions and multiplications of the linear layers for one token, the head apart, on this rank.
static double operations_of(const weft_model *model)
{
    const weft_model_config *c = weft_model_config_of(model);
    const weft_weights *w = weft_model_weights_of(model);
    double all = 0;
    for (int64_t i = 0; i < c->layers; i++) {
        const weft_layer_weights *l = &w->layer[i];
        const weft_ffn_weights *ffn = l->expert ? &l->expert[0] : &l->ffn;
        const double times = l->expert ? (double)c->experts_used : 1;
        all += 2 * ((double)l->qkv.n * (double)l->qkv.k + (double)l->o.n * (double)l->o.k);
        all +=
            2 * times * ((double)ffn->gate_up.n * (double)ffn->gate_up.k + (double)ffn->down.n * (double)ffn->down.k);
        if (l->expert) all += 2 * (double)l->router.n * (double)l->router.k;
    }
    // With dealt rows a rank computes its part of the tokens.
    const weft_mesh *mesh = &weft_model_layout_of(model)->mesh;
    return mesh->shape.dense == WEFT_DENSE_TP ? all / mesh->shape.cp : all;
}

// Of one step, on this rank: all weights but the embedding's rows, and the keys and values of all requests.
static double bytes_of(const weft_bench_generate_options *o, const weft_bench_subject *s, double positions)
{
    const weft_weights *w = weft_model_weights_of(s->model);
    const weft_pool *pool = weft_engine_pool(s->engine);
    const weft_layout *l = weft_model_layout_of(s->model);
    const bool apart = w->embedding.data != w->head.data;
    const double embedding = apart ? (double)w->embedding.panels * (double)w->embedding.panel_bytes : 0;
    const weft_cache_cut *cut = weft_pool_cut(pool);
    double cached = 0; // positions of each group of layers
    for (int k = 0; k < cut->kinds; k++) {
        const double window = (double)cut->window[k];
        cached += cut->groups[k] * (window > 0 && window < positions ? window : positions);
    }
    cached *= (double)cut->unit / weft_pool_block(pool);
    return (double)w->bytes - embedding + cached * (double)o->batch / l->mesh.shape.cp;
}

static const weft_request_calls no_calls;

// Prompts of other tokens each turn, so that none finds in the cache what the one before has left there.
static weft_status submit(const weft_bench_generate_options *o, const weft_bench_subject *s, int64_t turn,
                          int32_t *tokens)
{
    int64_t id;
    const int64_t vocab = weft_model_config_of(s->model)->vocab;
    for (int64_t b = 0; b < o->batch; b++) {
        for (int64_t i = 0; i < o->tokens; i++) tokens[i] = (int32_t)((i * 7919 + b * 104729 + turn * 31 + 1) % vocab);
        weft_request_sampling sampling = weft_request_sampling_default();
        sampling.ignore_stops = true;
        const weft_request request = {.tokens = tokens,
                                      .token_count = (int)o->tokens,
                                      .max_tokens = o->decode ? (int)(weft_bench_generate_positions(o) - o->tokens) : 0,
                                      .sampling = sampling,
                                      .calls = &no_calls};
        WEFT_TRY(weft_engine_submit(s->engine, &request, &id));
    }
    return WEFT_OK;
}

static weft_status run_steps(const weft_bench_subject *s, int64_t steps)
{
    int rows = 1;
    for (int64_t i = 0; i < steps && rows > 0; i++) WEFT_TRY(weft_engine_step(s->engine, &rows));
    return WEFT_OK;
}

// Steps: prompts are computed, and every request has drawn its first tokens. Prompts: all memory of a pass was met.
static weft_status warm_up(const weft_bench_generate_options *o, const weft_bench_subject *s, int32_t *tokens)
{
    enum { WARM_TOKENS = 512 };
    weft_bench_generate_options first = *o;
    int rows;
    if (!o->decode) {
        if (first.tokens > WARM_TOKENS) first.tokens = WARM_TOKENS;
        WEFT_TRY(submit(&first, s, o->rounds, tokens));
        return run_steps(s, INT64_MAX);
    }
    WEFT_TRY(submit(o, s, 0, tokens));
    do WEFT_TRY(weft_engine_step(s->engine, &rows));
    while (rows > o->batch);
    return run_steps(s, WARM_STEPS - 1);
}

static bool on_device(const weft_bench_subject *s) { return s->device && !s->device->ops->is_host; }

static weft_ceiling ceiling_of(const weft_bench_generate_options *o, const weft_bench_subject *s)
{
    const weft_family family = weft_model_weights_of(s->model)->family;
    if (on_device(s) && o->decode) return WEFT_CEILING_DEVICE_READ;
    if (on_device(s)) return family == WEFT_FAMILY_FMA ? WEFT_CEILING_DEVICE_FMA : WEFT_CEILING_DEVICE_BF16;
    if (o->decode) return WEFT_CEILING_READ_DRAM;
    switch (family) {
    case WEFT_FAMILY_AMX:
        return WEFT_CEILING_AMX_BF16;
    case WEFT_FAMILY_BF16_DOT:
        return WEFT_CEILING_BF16_DOT;
    default:
        return s->isa >= WEFT_ISA_AVX512 ? WEFT_CEILING_FMA_AVX512 : WEFT_CEILING_FMA_AVX2;
    }
}

typedef struct {
    double seconds[ROUNDS_MAX], tokens[ROUNDS_MAX], share[ROUNDS_MAX]; // of a step or of the prompts; a second; %
    double exchange[ROUNDS_MAX], wait[ROUNDS_MAX];                     // of this rank, as `seconds`
    double ceiling;                                                    // the mean
} samples;

// The sum over all ranks.
static weft_status of_all(weft_comm *world, double *value)
{
    int64_t rounded = (int64_t)*value;
    WEFT_TRY(weft_comm_sum(world, &rounded, 1));
    *value = (double)rounded;
    return WEFT_OK;
}

// The host's ceilings, or the device's.
typedef struct {
    weft_ceilings *host;
    weft_device_ceilings *device;
} ceilings_of_rank;

static weft_status make_ceilings(const weft_bench_subject *s, ceilings_of_rank *out)
{
    if (!on_device(s)) return weft_ceilings_create(s->team, s->cpu, s->isa, &out->host);
    return weft_device_ceilings_create(s->device, s->device_op->table, s->device_op->stream, s->team, &out->device);
}

static weft_status measure_ceiling(const weft_bench_subject *s, const ceilings_of_rank *c, weft_ceiling ceiling,
                                   double *rate)
{
    if (c->device) return weft_device_ceiling_measure(c->device, ceiling, CEILING_SECONDS, rate);
    *rate = weft_ceiling_measure(c->host, ceiling, weft_team_threads(s->team), CEILING_SECONDS);
    return WEFT_OK;
}

static weft_status measure(weft_comm *world, const weft_bench_generate_options *o, const weft_bench_subject *s,
                           const ceilings_of_rank *ceilings, int32_t *tokens, samples *out)
{
    const weft_ceiling ceiling = ceiling_of(o, s);
    const weft_mesh_times *times = weft_model_layout_of(s->model)->mesh.times;
    const double tick = weft_clock_tick_seconds();
    WEFT_TRY(warm_up(o, s, tokens));
    for (int64_t round = 0; round < o->rounds; round++) {
        WEFT_TRY(weft_comm_barrier(world));
        double work, rate;
        WEFT_TRY(measure_ceiling(s, ceilings, ceiling, &rate));
        WEFT_TRY(of_all(world, &rate));
        if (!o->decode) WEFT_TRY(submit(o, s, round, tokens));
        const weft_mesh_times before = times ? *times : (weft_mesh_times){0};
        const int64_t began = weft_clock_ns();
        WEFT_TRY(run_steps(s, o->decode ? o->steps : INT64_MAX));
        const double seconds = (double)(weft_clock_ns() - began) * 1e-9;
        if (o->decode) {
            const double positions = (double)(o->tokens + WARM_STEPS + round * o->steps) + (double)o->steps / 2;
            work = bytes_of(o, s, positions) * (double)o->steps;
            out->tokens[round] = (double)(o->batch * o->steps) / seconds;
            out->seconds[round] = seconds / (double)o->steps;
        } else {
            work = operations_of(s->model) * (double)(o->tokens * o->batch);
            out->tokens[round] = (double)(o->batch * o->tokens) / seconds;
            out->seconds[round] = seconds;
        }
        if (times) {
            const double each = tick / (double)(o->decode ? o->steps : 1);
            out->exchange[round] = (double)(times->exchange - before.exchange) * each;
            out->wait[round] = (double)(times->wait - before.wait) * each;
        }
        WEFT_TRY(of_all(world, &work));
        out->share[round] = rate > 0 ? 100 * work / seconds / rate : 0;
        out->ceiling += rate / (double)o->rounds;
    }
    return run_steps(s, INT64_MAX);
}

static void report(weft_record *record, FILE *table, const char *name, const char *unit, double *values, size_t count)
{
    weft_stats stats;
    double sorted[ROUNDS_MAX];
    memcpy(sorted, values, count * sizeof *values);
    weft_stats_of(sorted, count, &stats);
    weft_record_result_begin(record, name, unit);
    weft_record_result_end(record, values, count, &stats);
    if (table) fprintf(table, "%-18s %10.2f %-9s [%.2f %.2f]\n", name, stats.median, unit, stats.p10, stats.p90);
}

void weft_bench_subject_write(const weft_bench_subject *s, weft_json_writer *json)
{
    const weft_weights *w = weft_model_weights_of(s->model);
    const weft_mesh_shape *shape = &weft_model_layout_of(s->model)->mesh.shape;
    weft_json_write_string(json, "model", s->name);
    weft_json_write_string(json, "weights", weft_dtype_name(w->type));
    weft_json_write_string(json, "family", weft_family_name(w->family));
    weft_json_write_string(json, "attention", weft_model_attention_name(s->model));
    weft_json_write_int(json, "weight_bytes", (int64_t)w->bytes);
    weft_json_write_int(json, "tp", shape->tp);
    weft_json_write_int(json, "cp", shape->cp);
    weft_json_write_string(json, "dense", shape->dense == WEFT_DENSE_MESH ? "mesh" : "tp");
    weft_json_write_int(json, "threads", weft_team_threads(s->team));
}

static void write_settings(weft_record *record, const weft_bench_generate_options *o, const weft_bench_subject *s)
{
    weft_bench_subject_write(s, &record->json);
    weft_json_write_int(&record->json, "tokens", o->tokens);
    weft_json_write_int(&record->json, "batch", o->batch);
    if (o->decode) weft_json_write_int(&record->json, "steps", o->steps);
    weft_json_write_int(&record->json, "rounds", o->rounds);
}

weft_status weft_bench_generate(weft_job *job, const weft_bench_generate_options *o, const weft_bench_subject *s,
                                FILE *out)
{
    weft_status status;
    weft_record record;
    ceilings_of_rank ceilings = {0};
    const weft_weights *w = weft_model_weights_of(s->model);
    const size_t rounds = (size_t)o->rounds;
    weft_comm *world = weft_job_world(job);
    const bool speaks = weft_comm_rank(world) == 0;
    FILE *table = !speaks || (o->json && strcmp(o->json, "-") == 0) ? NULL : out;
    int32_t *tokens = malloc((size_t)o->tokens * sizeof *tokens);
    samples *all = calloc(1, sizeof *all);
    const weft_ceiling ceiling = ceiling_of(o, s);
    const weft_mesh *mesh = &weft_model_layout_of(s->model)->mesh;
    WEFT_TRY_GOTO(tokens && all ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for the samples"));
    WEFT_TRY_GOTO(make_ceilings(s, &ceilings));
    WEFT_TRY_GOTO(measure(world, o, s, &ceilings, tokens, all));
    weft_record_begin(&record, o->decode ? "decode" : "prefill", job);
    write_settings(&record, o, s);
    weft_record_results(&record);
    if (table)
        fprintf(table,
                "%s: %.2f GB of weights (%s, %s; attention %s), %d ranks (tp %d, cp %d) of %d threads, %lld requests "
                "of %lld tokens; median [p10 "
                "p90] of %lld rounds\n",
                s->name, (double)w->bytes * 1e-9, weft_dtype_name(w->type), weft_family_name(w->family),
                weft_model_attention_name(s->model), weft_comm_size(world), mesh->shape.tp, mesh->shape.cp,
                weft_team_threads(s->team), (long long)o->batch, (long long)o->tokens, (long long)o->rounds);
    for (size_t i = 0; i < rounds; i++) {
        all->seconds[i] *= 1e3;
        all->exchange[i] *= 1e3;
        all->wait[i] *= 1e3;
    }
    report(&record, table, o->decode ? "step" : "prompts", "ms", all->seconds, rounds);
    if (weft_comm_size(world) > 1) {
        report(&record, table, "in exchanges", "ms", all->exchange, rounds);
        report(&record, table, "of that waiting", "ms", all->wait, rounds);
    }
    report(&record, table, "tokens", "1/s", all->tokens, rounds);
    report(&record, table,
           !o->decode     ? "of the peak"
           : on_device(s) ? "of memory bandwidth"
                          : "of DRAM bandwidth",
           "%", all->share, rounds);
    if (table)
        fprintf(table, "ceiling: %s, %.1f %s, measured between the rounds\n", weft_ceiling_name(ceiling),
                all->ceiling * 1e-9, weft_ceiling_unit(ceiling));
    if (o->json && speaks)
        status = weft_record_end(&record, o->json);
    else
        weft_json_writer_fini(&record.json);
fail:
    weft_ceilings_destroy(ceilings.host);
    weft_device_ceilings_destroy(ceilings.device);
    free(tokens);
    free(all);
    return status;
}
