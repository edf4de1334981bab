// weft bench batch: what is measured lives in bench/, here are its flags.
#include <stdlib.h>

#include "bench/batch.h"
#include "launch/bench_flags.h"
#include "launch/stats.h"

typedef struct {
    wi_model_flags model;
    weft_bench_batch_options bench;
    const char *file;
    wi_engine_flags engine;
    bool stats;
} options_of_batch;

#define FIELD(field) offsetof(options_of_batch, bench.field)
static const weft_flag flags[] = {
    {.name = "requests",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(requests),
     .help = "requests of a round",
     .min = 1,
     .max = 1 << 20},
    {.name = "prompt",
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(prompt),
     .value = "N|FROM..TO",
     .help = "tokens of a prompt"},
    {.name = "generate",
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(generate),
     .value = "N|FROM..TO",
     .help = "tokens that a request generates"},
    {.name = "lengths",
     .kind = WEFT_FLAG_CHOICE,
     .offset = FIELD(lengths),
     .help = "how they are spread; lognormal: around the geometric mean, nineteen of twenty between the two",
     .choices = "uniform|lognormal"},
    {.name = "input",
     .letter = 'i',
     .kind = WEFT_FLAG_STRING,
     .offset = offsetof(options_of_batch, file),
     .value = "FILE",
     .help = "take the lengths from there instead: a line {\"prompt_tokens\":N,\"max_tokens\":M} a request"},
    {.name = "concurrency",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(concurrency),
     .help = "requests at once, of each replica",
     .min = 1,
     .max = 4096},
    WI_ENGINE_FLAGS(options_of_batch),
    {.name = "rate",
     .kind = WEFT_FLAG_REAL,
     .offset = FIELD(rate),
     .help = "requests that arrive a second, at random times (Poisson); 0: the next comes when one has ended",
     .max = 1e6},
    {.name = "seed",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(seed),
     .help = "of lengths, tokens and arrivals",
     .max = 9e15},
    WI_ROUNDS_FLAG(FIELD(rounds), "turns: the same lengths, other tokens and arrivals"),
    WI_RECORD_FLAG(FIELD(json)),
    WI_DEVICE_FLAG(options_of_batch),
    WI_MODEL_FLAGS(options_of_batch),
    WI_STATS_FLAG(options_of_batch),
    {0}};

static const options_of_batch defaults = {
    .model = {.chunk = 256},
    .bench = {.requests = 64, .prompt = "32..512", .generate = "16..128", .concurrency = 16, .seed = 1, .rounds = 3}};
static const char *const operands[] = {"MODEL", NULL};

static const weft_command command = {
    .name = "bench batch",
    .summary = "latencies and throughput of many requests together",
    .usage = "weft bench batch MODEL [flags]",
    .about =
        "Runs requests of mixed lengths, so many at once or as they arrive, and tells how long each waited for its "
        "first token, from token to token and in all; tokens a second; how full steps and cache were; and what "
        "part of the time went to exchanges and to the host's own work. Times count from when a request should "
        "have come. A percentile stands as - where there are too few samples for it.",
    .examples = "weft bench batch demo --requests 32 --concurrency 8\n"
                "weft bench batch demo --rate 20 --requests 100 --prompt 16..128 --generate 8..32\n"
                "weft -n 2 bench batch demo --dp 2\n"
                "weft -n 2 bench batch demo --lengths lognormal --json -",
    .flags = flags,
    .common = wi_common_flags,
    .operands_min = 1,
    .operands_max = 1,
    .operands = operands,
};

static weft_status make_load(const options_of_batch *o, const wi_model *model, weft_bench_load *out)
{
    char *text = NULL;
    size_t bytes = 0;
    if (o->file) WEFT_TRY(wi_read_text(model->world, o->file, &text, &bytes));
    const weft_status status = weft_bench_load_make(&o->bench, text, bytes, o->file, out);
    free(text);
    return weft_comm_agree(model->world, status, NULL);
}

static weft_status run_batch(weft_job *job, const wi_call *call)
{
    const options_of_batch *o = call->options;
    wi_model m;
    wi_stats stats = {0};
    weft_bench_load load = {0};
    weft_status status;
    WEFT_TRY_GOTO(wi_model_begin(job, call, &o->model, false, &m));
    WEFT_TRY_GOTO(make_load(o, &m, &load));
    if (load.count < m.replicas.count)
        WEFT_TRY_GOTO(weft_fail(WEFT_USAGE, "--dp %d: there are %d requests, and each replica needs one",
                                m.replicas.count, load.count));
    const int at_once = o->bench.concurrency < load.count ? (int)o->bench.concurrency : load.count;
    const wi_model_needs needs = {.positions = load.longest,
                                  .requests = at_once,
                                  .logit_rows = at_once,
                                  .prompt = load.prompts / load.count,
                                  .tokens = load.generated / load.count,
                                  .loaded = true,
                                  .engine = o->engine};
    WEFT_TRY_GOTO(wi_model_load(&m, call, &o->model, &needs));
    WEFT_TRY_GOTO(wi_stats_open(o->stats, &m, &stats));
    const weft_bench_subject subject = wi_bench_subject(&m, call);
    WEFT_TRY_GOTO(weft_bench_batch(job, &o->bench, &load, &subject, &m.replicas, stats.engine, stdout));
    if (m.replicas.leads) WEFT_TRY_GOTO(wi_stats_gather(stats.metrics, m.replicas.leads));
    fflush(stdout);
    wi_stats_print(&stats);
fail:
    wi_stats_close(&stats);
    wi_model_close(&m);
    weft_bench_load_free(&load);
    return status;
}

const wi_entry wi_bench_batch_entry = {
    .command = &command, .defaults = &defaults, .bytes = sizeof defaults, .run = run_batch};
