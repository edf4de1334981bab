// One cell of a scaling experiment, in a job of its own.
#include "bench/cell.h"

#include <stdlib.h>
#include <string.h>

#include "bench/ceilings.h"
#include "bench/scale_impl.h"
#include "core/clock.h"
#include "core/plugin.h"
#include "core/sha256.h"

enum { WARM_TOKENS = 512, WARM_DRAWN = 3, CHUNK = 512 };
#define CEILING_SECONDS 0.1
#define LINK_SECONDS 0.2

enum { PROMPTS, STEPS, PHASES };
enum { READ, PEAK, LINEAR, STREAM, RATES };

// Of one rank and one phase of a round.
typedef struct {
    double seconds, exchange; // from the beginning to the end; of that in exchanges
} part;

typedef struct {
    int64_t drawn, ended;
    int32_t *tokens; // (generate)
} stream;

typedef struct {
    const weft_bench_cell_options *o;
    const weft_bench_subject *s;
    weft_comm *world;
    weft_ceilings *ceilings;
    int32_t *prompt;
    stream *streams; // [batch]
    int32_t *tokens; // (batch, generate)
    char (*digests)[65];
    part *parts;         // [rounds][ranks][PHASES], of rank 0 alone of interest
    double rates[RATES]; // the means over ranks and rounds, of one rank
    weft_link near, far;
} cell;

static void take_token(void *arg, const weft_drawn *drawn)
{
    stream *s = arg;
    s->tokens[s->drawn++] = drawn->id;
}

static void take_end(void *arg, weft_finish finish)
{
    stream *s = arg;
    s->ended = finish == WEFT_FINISH_LENGTH ? 1 : -1;
}

static const weft_request_calls calls = {.token = take_token, .end = take_end};

// Request b's tokens depend on nothing but b: cells with more requests or other ranks draw the same for it.
static weft_status submit(cell *c, int64_t tokens, int64_t generate)
{
    const int64_t vocab = weft_model_config_of(c->s->model)->vocab;
    for (int64_t b = 0; b < c->o->batch; b++) {
        int64_t id;
        for (int64_t i = 0; i < tokens; i++) c->prompt[i] = (int32_t)((i * 7919 + b * 104729 + 1) % vocab);
        c->streams[b] = (stream){.tokens = c->tokens + b * c->o->generate};
        weft_request_sampling sampling = weft_request_sampling_default();
        sampling.ignore_stops = true;
        const weft_request request = {.tokens = c->prompt,
                                      .token_count = (int)tokens,
                                      .max_tokens = (int)generate,
                                      .sampling = sampling,
                                      .calls = &calls,
                                      .arg = &c->streams[b]};
        WEFT_TRY(weft_engine_submit(c->s->engine, &request, &id));
    }
    return WEFT_OK;
}

// Steps until every request has drawn so many tokens.
static weft_status run_until(cell *c, int64_t drawn)
{
    int rows = 1;
    for (int64_t b = 0; b < c->o->batch; b++)
        while (c->streams[b].drawn < drawn && c->streams[b].ended == 0) {
            WEFT_TRY(weft_engine_step(c->s->engine, &rows));
            if (rows == 0) return weft_fail(WEFT_INTERNAL, "request %lld is never computed", (long long)b);
        }
    return WEFT_OK;
}

static weft_status finish(cell *c, int64_t generate)
{
    int rows = 1;
    while (rows > 0) WEFT_TRY(weft_engine_step(c->s->engine, &rows));
    for (int64_t b = 0; b < c->o->batch; b++)
        if (c->streams[b].ended != 1 || c->streams[b].drawn != generate)
            return weft_fail(WEFT_FAILED, "request %lld ended after %lld of %lld tokens", (long long)b,
                             (long long)c->streams[b].drawn, (long long)generate);
    return WEFT_OK;
}

static weft_status check_digests(cell *c, int64_t round)
{
    for (int64_t b = 0; b < c->o->batch; b++) {
        char text[65];
        weft_sha256 hash;
        weft_sha256_begin(&hash);
        weft_sha256_add(&hash, c->streams[b].tokens, (size_t)c->o->generate * sizeof(int32_t));
        weft_sha256_end(&hash, text);
        if (round > 0 && strcmp(text, c->digests[b]) != 0)
            return weft_fail(WEFT_INTERNAL, "request %lld draws other tokens in round %lld than before", (long long)b,
                             (long long)round);
        memcpy(c->digests[b], text, sizeof text);
    }
    return WEFT_OK;
}

// Rows that a rank computes in a step, where all ranks of a mesh share them or, dealt, each has its part.
static int64_t rows_of(const cell *c, int64_t all, int64_t most)
{
    const weft_mesh_shape *shape = &weft_model_layout_of(c->s->model)->mesh.shape;
    const int64_t own = shape->dense == WEFT_DENSE_TP ? (all + shape->cp - 1) / shape->cp : all;
    return own < most ? own : most;
}

// Each by all ranks at once, so that they disturb each other as they do at work.
static weft_status measure_ceilings(cell *c)
{
    const weft_kernels kernels = weft_kernels_for(c->s->isa);
    const int threads = weft_team_threads(c->s->team);
    weft_multiply_rates prompt = {0}, step = {0};
    weft_ceiling which;
    int64_t rates[RATES];
    WEFT_TRY(weft_comm_barrier(c->world));
    rates[READ] = (int64_t)weft_ceiling_measure(c->ceilings, WEFT_CEILING_READ_DRAM, threads, CEILING_SECONDS);
    WEFT_TRY(weft_comm_barrier(c->world));
    rates[PEAK] = (int64_t)weft_arithmetic_measure(c->s->team, c->s->cpu, c->s->isa, CEILING_SECONDS, &which);
    WEFT_TRY(weft_comm_barrier(c->world));
    weft_status status =
        weft_multiply_measure(c->s, &kernels, rows_of(c, c->o->prompt * c->o->batch, CHUNK), CEILING_SECONDS, &prompt);
    if (status == WEFT_OK)
        status = weft_multiply_measure(c->s, &kernels, rows_of(c, c->o->batch, CHUNK), CEILING_SECONDS, &step);
    WEFT_TRY(weft_comm_agree(c->world, status, NULL));
    rates[LINEAR] = (int64_t)prompt.operations;
    rates[STREAM] = (int64_t)step.bytes;
    WEFT_TRY(weft_comm_sum(c->world, rates, RATES));
    for (int i = 0; i < RATES; i++) c->rates[i] += (double)rates[i] / weft_comm_size(c->world) / (double)c->o->rounds;
    return WEFT_OK;
}

static weft_status measure_links(cell *c)
{
    const weft_kernels kernels = weft_kernels_for(c->s->isa);
    weft_comm *node = NULL;
    weft_status status;
    const int nodes = weft_comm_nodes(c->world), here = weft_comm_node(c->world, weft_comm_rank(c->world));
    if (nodes == 1) return weft_link_measure(c->world, &kernels, LINK_SECONDS, &c->near);
    WEFT_TRY(weft_link_measure(c->world, &kernels, LINK_SECONDS, &c->far));
    WEFT_TRY(weft_comm_split(c->world, here, 0, "node", &node));
    status = weft_link_measure(node, &kernels, LINK_SECONDS, &c->near);
    weft_comm_destroy(node);
    return weft_comm_agree(c->world, status, NULL);
}

static weft_status run_round(cell *c, int64_t round)
{
    const weft_bench_cell_options *o = c->o;
    const weft_mesh_times *times = weft_model_layout_of(c->s->model)->mesh.times;
    const double tick = weft_clock_tick_seconds();
    const int64_t upto[PHASES] = {1, o->generate};
    part mine[PHASES] = {0};
    WEFT_TRY(measure_ceilings(c));
    WEFT_TRY(weft_comm_barrier(c->world));
    int64_t began = weft_clock_ns();
    WEFT_TRY(submit(c, o->prompt, o->generate));
    for (int phase = 0; phase < PHASES; phase++) {
        const weft_mesh_times before = times ? *times : (weft_mesh_times){0};
        WEFT_TRY(run_until(c, upto[phase]));
        const int64_t now = weft_clock_ns();
        mine[phase].seconds = (double)(now - began) * 1e-9;
        if (times) mine[phase].exchange = (double)(times->exchange - before.exchange) * tick;
        began = now;
    }
    WEFT_TRY(finish(c, o->generate));
    WEFT_TRY(check_digests(c, round));
    return weft_comm_allgather(c->world, mine, sizeof mine, c->parts + round * weft_comm_size(c->world) * PHASES);
}

static weft_status warm_up(cell *c)
{
    const int64_t tokens = c->o->prompt < WARM_TOKENS ? c->o->prompt : WARM_TOKENS;
    const int64_t drawn = c->o->generate < WARM_DRAWN ? c->o->generate : WARM_DRAWN;
    WEFT_TRY(submit(c, tokens, drawn));
    return finish(c, drawn);
}

// ---- what is told ----

static void write_facts(const cell *c, weft_json_writer *w, double load_s)
{
    weft_json_write_string(w, "schema", "weft.cell/1");
    weft_json_write_string(w, "build", weft_build_id());
    weft_json_write_int(w, "contract", WEFT_CONTRACT_VERSION);
    weft_bench_subject_write(c->s, w);
    weft_json_write_int(w, "ranks", weft_comm_size(c->world));
    weft_json_write_int(w, "nodes", weft_comm_nodes(c->world));
    weft_json_write_string(w, "transport", weft_transport_name(weft_comm_transport(c->world)));
    weft_json_write_int(w, "prompt", c->o->prompt);
    weft_json_write_int(w, "generate", c->o->generate);
    weft_json_write_int(w, "batch", c->o->batch);
    weft_json_write_real(w, "load_s", load_s);
}

// A round: how long each phase took the slowest rank, and how long each rank computed.
static void write_round(const cell *c, const part *parts, weft_json_writer *w)
{
    static const char *const names[PHASES][2] = {{"prompts_s", "prompts_compute_s"}, {"steps_s", "steps_compute_s"}};
    const int ranks = weft_comm_size(c->world);
    weft_json_write_object(w, NULL);
    for (int phase = 0; phase < PHASES; phase++) {
        double slowest = 0;
        for (int r = 0; r < ranks; r++)
            if (parts[r * PHASES + phase].seconds > slowest) slowest = parts[r * PHASES + phase].seconds;
        weft_json_write_real(w, names[phase][0], slowest);
        weft_json_write_array(w, names[phase][1]);
        for (int r = 0; r < ranks; r++)
            weft_json_write_real(w, NULL, parts[r * PHASES + phase].seconds - parts[r * PHASES + phase].exchange);
        weft_json_write_end(w);
    }
    weft_json_write_end(w);
}

static weft_status tell(const cell *c, double load_s, FILE *out)
{
    weft_json_writer w;
    const char *text;
    size_t bytes;
    weft_json_writer_init(&w, false);
    weft_json_write_object(&w, NULL);
    write_facts(c, &w, load_s);
    weft_json_write_array(&w, "digests");
    for (int64_t b = 0; b < c->o->batch; b++) weft_json_write_string(&w, NULL, c->digests[b]);
    weft_json_write_end(&w);
    weft_json_write_array(&w, "rounds");
    for (int64_t r = 0; r < c->o->rounds; r++) write_round(c, c->parts + r * weft_comm_size(c->world) * PHASES, &w);
    weft_json_write_end(&w);
    weft_json_write_object(&w, "machine");
    weft_json_write_real(&w, "rank_bytes_per_s", c->rates[READ]);
    weft_json_write_real(&w, "rank_operations_per_s", c->rates[PEAK]);
    weft_json_write_real(&w, "linear_operations_per_s", c->rates[LINEAR]);
    weft_json_write_real(&w, "linear_bytes_per_s", c->rates[STREAM]);
    wi_link_write(&w, "near", &c->near);
    wi_link_write(&w, "far", &c->far);
    weft_json_write_end(&w);
    weft_json_write_end(&w);
    weft_status status = weft_json_writer_finish(&w, &text, &bytes);
    if (status == WEFT_OK && (fwrite(text, 1, bytes, out) != bytes || fputc('\n', out) == EOF))
        status = weft_fail(WEFT_IO, "standard output: a write failed");
    weft_json_writer_fini(&w);
    return status;
}

// ---- the whole ----

static weft_status measure(cell *c)
{
    WEFT_TRY(measure_links(c));
    WEFT_TRY(warm_up(c));
    for (int64_t round = 0; round < c->o->rounds; round++) {
        int64_t signal = weft_job_drain_signal(weft_comm_job(c->world));
        WEFT_TRY(weft_comm_max(c->world, &signal, 1));
        if (signal) return weft_fail(WEFT_DRAINED, "stopped by signal %d", (int)signal);
        WEFT_TRY(run_round(c, round));
    }
    return WEFT_OK;
}

weft_status weft_bench_cell(weft_job *job, const weft_bench_cell_options *o, const weft_bench_subject *s, double load_s,
                            FILE *out)
{
    cell c = {.o = o, .s = s, .world = weft_job_world(job)};
    const size_t batch = (size_t)o->batch, ranks = (size_t)weft_comm_size(c.world);
    weft_status status = WEFT_OK;
    c.prompt = calloc((size_t)o->prompt, sizeof *c.prompt);
    c.streams = calloc(batch, sizeof *c.streams);
    c.tokens = calloc(batch * (size_t)o->generate, sizeof *c.tokens);
    c.digests = calloc(batch, sizeof *c.digests);
    c.parts = calloc((size_t)o->rounds * ranks * PHASES, sizeof *c.parts);
    if (!c.prompt || !c.streams || !c.tokens || !c.digests || !c.parts)
        status = weft_fail(WEFT_NO_MEMORY, "no memory for %zu requests", batch);
    if (status == WEFT_OK) status = weft_ceilings_create(s->team, s->cpu, s->isa, &c.ceilings);
    WEFT_TRY_GOTO(weft_comm_agree(c.world, status, NULL));
    WEFT_TRY_GOTO(measure(&c));
    if (weft_comm_rank(c.world) == 0) status = tell(&c, load_s, out);
    status = weft_comm_agree(c.world, status, NULL);
fail:
    weft_ceilings_destroy(c.ceilings);
    free(c.prompt);
    free(c.streams);
    free(c.tokens);
    free(c.digests);
    free(c.parts);
    return status;
}
