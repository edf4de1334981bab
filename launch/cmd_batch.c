// weft batch: requests from a file of lines, answers into another, whatever happens in between.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/json_cursor.h"
#include "core/log.h"
#include "launch/batch_header.h"
#include "launch/batch_show.h"

typedef struct {
    wi_model_flags model;
    const char *input, *output, *json;
    weft_flag_list stop;
    int64_t max_tokens, top_k, seed, n, batch_size, context;
    double temperature, top_p, min_p, stop_before, time_limit;
    wi_engine_flags engine;
    bool ignore_eos, unordered, digest, stats;
} options_of_batch;

#define FIELD(field) offsetof(options_of_batch, field)
static const weft_flag flags[] = {
    {.name = "input",
     .letter = 'i',
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(input),
     .value = "FILE",
     .help = "requests, a JSON object a line; -: standard input"},
    {.name = "output",
     .letter = 'o',
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(output),
     .value = "FILE",
     .help = "answers, a JSON object a line; -: standard output, which cannot be gone on with"},
    {.name = "unordered",
     .kind = WEFT_FLAG_BOOL,
     .offset = FIELD(unordered),
     .help = "write answers as they finish, not in the order of the input"},
    {.name = "batch-size",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(batch_size),
     .help = "continuations that are generated at once, by each replica",
     .min = 1,
     .max = 4096},
    WI_ENGINE_FLAGS(options_of_batch),
    {.name = "context",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(context),
     .help = "most tokens of a prompt and its answer together; 0: what the model is made for",
     .max = 1 << 24},
    {.name = "max-tokens",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(max_tokens),
     .help = "where a line has no max_tokens: as many, or what the context leaves",
     .min = 1,
     .max = WI_MAX_TOKENS_MAX},
    {.name = "temperature",
     .kind = WEFT_FLAG_REAL,
     .offset = FIELD(temperature),
     .help = "where a line has none; 0: always the likeliest token",
     .max = 100},
    {.name = "top-k",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(top_k),
     .help = "likewise: draw from the likeliest K tokens; 0: all",
     .max = 1 << 30},
    {.name = "top-p",
     .kind = WEFT_FLAG_REAL,
     .offset = FIELD(top_p),
     .help = "likewise: draw from the likeliest tokens that together have this probability",
     .min = 1e-9,
     .max = 1},
    {.name = "min-p",
     .kind = WEFT_FLAG_REAL,
     .offset = FIELD(min_p),
     .help = "likewise: draw from tokens at least so probable, as a part of the likeliest one's probability",
     .max = 1},
    {.name = "stop",
     .kind = WEFT_FLAG_LIST,
     .offset = FIELD(stop),
     .help = "where a line has no stop: end before this text; several: before any"},
    {.name = "n",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(n),
     .help = "where a line has no n: continuations of each prompt",
     .min = 1,
     .max = WI_CONTINUATIONS_MAX},
    {.name = "ignore-eos",
     .kind = WEFT_FLAG_BOOL,
     .offset = FIELD(ignore_eos),
     .help = "where a line does not say: go on where the model would end the text"},
    {.name = "seed",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(seed),
     .help = "where a line has none, its seed comes from its id and this",
     .max = 9e15},
    {.name = "stop-before",
     .kind = WEFT_FLAG_REAL,
     .offset = FIELD(stop_before),
     .value = "MINUTES",
     .help = "stop in good order so long before the job's time is over (Slurm's, or --time-limit), exit code 75",
     .max = 1e6},
    {.name = "time-limit",
     .kind = WEFT_FLAG_REAL,
     .offset = FIELD(time_limit),
     .value = "MINUTES",
     .help = "the job's time is over so long after the start; 0: when Slurm says",
     .max = 1e6},
    {.name = "digest",
     .kind = WEFT_FLAG_BOOL,
     .offset = FIELD(digest),
     .help = "print a hash of ids and tokens, in input order"},
    WI_DEVICE_FLAG(options_of_batch),
    WI_MODEL_FLAGS(options_of_batch),
    WI_STATS_FLAG(options_of_batch),
    {.name = "json",
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(json),
     .value = "FILE",
     .help = "write what was done and how long it took there; -: to stdout"},
    {0}};

static const options_of_batch defaults = {
    .model = WI_MODEL_DEFAULTS, .max_tokens = 128, .top_p = 1, .n = 1, .batch_size = 32};
static const char *const operands[] = {"MODEL", NULL};

static const weft_command command = {
    .name = "batch",
    .summary = "answer the requests of a file",
    .usage = "weft batch MODEL -i FILE -o FILE [flags]",
    .about =
        "Answers a file of requests, a JSON object a line: {\"id\":\"a\",\"prompt\":\"She was\",\"max_tokens\":64}, or "
        "the lines of OpenAI's batches. A line that is wrong gets an answer that says why; the others go on. Beside "
        "the "
        "output FILE stands FILE.journal until all is answered: a job that was stopped or killed goes on where it was "
        "when the same command is given again, over any number of ranks, and the output is the same. SIGTERM, SIGINT "
        "and SIGUSR1 stop it in good order, with exit code 75.",
    .examples = "printf '{\"prompt\":\"She was\"}\\n{\"prompt\":\"He had\",\"n\":2,\"temperature\":1}\\n' >in.jsonl\n"
                "weft batch demo -i in.jsonl -o out.jsonl\n"
                "weft -n 2 batch demo -i in.jsonl -o out.jsonl --cp 2 --max-tokens 16\n"
                "weft -n 4 batch demo -i in.jsonl -o out.jsonl --dp 2\n"
                "weft batch demo -i in.jsonl -o - --unordered --batch-size 64\n"
                "weft batch demo -i in.jsonl -o out.jsonl --time-limit 60 --stop-before 5",
    .flags = flags,
    .common = wi_common_flags,
    .operands_min = 1,
    .operands_max = 1,
    .operands = operands,
};

// Rank 0's part; the others' stays empty.
typedef struct {
    const options_of_batch *options;
    const char *folder;
    wi_model model;
    wi_stats stats;
    wi_request_rules rules;
    wi_batch_options how;
    wi_result_style style;
    wi_control *control;
    int input;
    uint64_t input_bytes;
    wi_sink sink;
    wi_progress progress;
    wi_feed *feed;
    char *header;
    wi_batch batch;
} job_of_batch;

// ---- before anything is loaded ----

static weft_status check_flags(const options_of_batch *o)
{
    if (!o->input) return weft_fail(WEFT_USAGE, "-i is missing: give the file of requests, or - for standard input");
    if (!o->output) return weft_fail(WEFT_USAGE, "-o is missing: give the file for answers, or - for standard output");
    if (o->json && strcmp(o->json, "-") == 0 && strcmp(o->output, "-") == 0)
        return weft_fail(WEFT_USAGE, "-o - and --json -: both want standard output; give one of them a file");
    if (o->temperature != 0 && o->temperature < 1e-4)
        return weft_fail(WEFT_USAGE, "--temperature %g: must be 0, or between 0.0001 and 100", o->temperature);
    for (int i = 0; i < o->stop.count; i++) {
        const size_t bytes = strlen(o->stop.at[i]);
        if (bytes == 0) return weft_fail(WEFT_USAGE, "--stop: an empty text would stop at once");
        if (bytes > WI_STOP_BYTES_MAX || weft_utf8_valid(o->stop.at[i], bytes) < bytes)
            return weft_fail(WEFT_USAGE, "--stop: must be UTF-8 of at most %d bytes", WI_STOP_BYTES_MAX);
    }
    return WEFT_OK;
}

// When to stop, by the monotonic clock: so long before the end that Slurm or --time-limit gives.
static weft_status find_end(const options_of_batch *o, int64_t *stop_ns)
{
    const char *slurm = getenv("SLURM_JOB_END_TIME");
    const double before = o->stop_before;
    double left = o->time_limit;
    int64_t end;
    *stop_ns = 0;
    if (o->stop_before == 0 && o->time_limit == 0) return WEFT_OK;
    if (left == 0) {
        if (!slurm || !weft_parse_int(slurm, &end))
            return weft_fail(WEFT_USAGE,
                             "--stop-before %g: before what? In a Slurm job SLURM_JOB_END_TIME tells, which is %s; "
                             "give --time-limit MINUTES",
                             o->stop_before, slurm ? "no number here" : "not set here");
        left = (double)(end - (int64_t)time(NULL)) / 60;
    }
    if (left <= before)
        return weft_fail(WEFT_USAGE,
                         "--stop-before %g: only %.3g minutes are left at the start, so that nothing would be done",
                         before, left);
    *stop_ns = weft_clock_ns() + (int64_t)((left - before) * 60e9);
    return WEFT_OK;
}

static weft_status open_input(job_of_batch *j)
{
    const char *path = j->options->input;
    struct stat in, out;
    j->input = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (j->input < 0) return weft_fail(errno == ENOENT ? WEFT_NOT_FOUND : WEFT_IO, "-i %s: %s", path, strerror(errno));
    if (fstat(j->input, &in) != 0) return weft_fail(WEFT_IO, "-i %s: %s", path, strerror(errno));
    if (S_ISDIR(in.st_mode)) return weft_fail(WEFT_USAGE, "-i %s: is a folder; name a file in it", path);
    if (S_ISREG(in.st_mode)) j->input_bytes = (uint64_t)in.st_size;
    if (S_ISREG(in.st_mode) && stat(j->options->output, &out) == 0 && in.st_dev == out.st_dev &&
        in.st_ino == out.st_ino)
        return weft_fail(WEFT_USAGE, "-o %s: is the input; give another file", j->options->output);
    return WEFT_OK;
}

static weft_status open_files(job_of_batch *j)
{
    WEFT_TRY(check_flags(j->options));
    WEFT_TRY(find_end(j->options, &j->how.stop_ns));
    WEFT_TRY(open_input(j));
    return wi_sink_open(j->options->output, &j->sink);
}

// ---- the model ----

// Room for all requests at once if memory has it, at least for the longest one.
static int64_t cache_limit(const wi_model *m)
{
    int64_t here = 1;
    const int size = weft_comm_size(m->world), rank = weft_comm_rank(m->world);
    for (int r = 0; r < size; r++) here += r != rank && weft_comm_node(m->world, r) == weft_comm_node(m->world, rank);
    const uint64_t sharers = (uint64_t)weft_comm_size(m->replicas.own);
    const int64_t all = m->topology.memory_limit / here - (int64_t)(weft_checkpoint_bytes(m->checkpoint) / sharers);
    return all > 0 ? all / 2 : 1;
}

static weft_status load(job_of_batch *j, const wi_call *call)
{
    const options_of_batch *o = j->options;
    wi_model *m = &j->model;
    j->rules = (wi_request_rules){.defaults = wi_request_defaults,
                                  .stops = o->stop.at,
                                  .stop_count = o->stop.count,
                                  .seed = (uint64_t)o->seed,
                                  .vocab = m->config.vocab,
                                  .context = o->context ? o->context : m->config.positions};
    wi_request_settings *d = &j->rules.defaults;
    d->max_tokens = o->max_tokens;
    d->temperature = o->temperature;
    d->top_k = o->top_k;
    d->top_p = o->top_p;
    d->min_p = o->min_p;
    d->n = o->n;
    d->ignore_eos = o->ignore_eos;
    const wi_model_needs needs = {.positions = j->rules.context,
                                  .requests = (int)o->batch_size,
                                  .logit_rows = (int)o->batch_size,
                                  .cache_limit = cache_limit(m),
                                  .engine = o->engine};
    WEFT_TRY(wi_model_load(m, call, &o->model, &needs));
    const int64_t longest = weft_engine_longest(m->engine);
    if (longest >= j->rules.context) return WEFT_OK;
    return weft_fail(WEFT_USAGE,
                     "--cache-bytes: the cache has room for a request of %lld tokens, not of %lld; give more, or a "
                     "smaller --context",
                     (long long)longest, (long long)j->rules.context);
}

// ---- rank 0: what an earlier run did ----

static weft_status take_up(job_of_batch *j)
{
    wi_item *item;
    WEFT_TRY(wi_batch_header(&j->model, j->folder, &j->rules, j->how.unordered, &j->header));
    WEFT_TRY(wi_feed_create(j->input, j->options->input, j->model.tokenizer, &j->rules, &j->feed));
    WEFT_TRY(wi_sink_look(&j->sink, j->header, &j->progress));
    do {
        WEFT_TRY(wi_feed_again(j->feed, &j->progress, &item));
        if (item) WEFT_TRY(wi_batch_take(&j->batch, item));
    } while (item);
    const wi_progress *p = &j->progress;
    if (p->requests > 0)
        weft_log_info("%s: going on behind %lld answered requests, with %d begun and %lld tokens drawn",
                      j->sink.journal_path, (long long)p->lines, p->begun_count, (long long)p->tokens);
    const bool done = p->done;
    WEFT_TRY(wi_sink_begin(&j->sink, j->header, &j->progress));
    wi_progress_free(&j->progress);
    j->batch.input_ended = done; // nothing is left but the output's name
    j->batch.feed = j->feed;
    j->batch.sink = &j->sink;
    j->batch.style = &j->style;
    return WEFT_OK;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static weft_status prepare(job_of_batch *j)
{
    weft_status status = WEFT_OK;
    j->style = (wi_result_style){.model = last_part(j->folder), .tokenizer = j->model.tokenizer};
    j->how.at_once = j->options->batch_size;
    j->how.unordered = j->options->unordered;
    j->how.in_bytes = j->input_bytes;
    j->batch.options = &j->how;
    j->batch.model = &j->model;
    WEFT_TRY(wi_control_create(j->model.world, &j->model.replicas, &j->control));
    j->batch.control = j->control;
    if (j->model.speaks) status = wi_branches_create(&j->batch);
    if (j->model.speaks && status == WEFT_OK) status = take_up(j);
    return wi_control_wait(j->control, status);
}

static weft_status run_batch(weft_job *job, const wi_call *call)
{
    job_of_batch j = {
        .options = call->options, .folder = call->operands->operand[0], .input = -1, .sink = {.file = -1}};
    weft_comm *world = weft_job_world(job);
    const bool speaks = weft_comm_rank(world) == 0;
    weft_status status = speaks ? open_files(&j) : WEFT_OK;
    WEFT_TRY_GOTO(weft_comm_agree(world, status, NULL));
    WEFT_TRY_GOTO(wi_model_begin(job, call, &j.options->model, true, &j.model));
    WEFT_TRY_GOTO(load(&j, call));
    WEFT_TRY_GOTO(wi_stats_open(j.options->stats, &j.model, &j.stats));
    j.batch.stats = j.stats.engine;
    j.batch.metrics = j.stats.metrics;
    WEFT_TRY_GOTO(prepare(&j));
    status = wi_batch_run(&j.batch);
    if (speaks && status != WEFT_LOST && status != WEFT_DEADLINE)
        status = wi_batch_tell(&j.batch, &j.stats, j.options->json, j.options->digest, status);
fail:
    wi_control_destroy(j.control);
    wi_stats_close(&j.stats);
    wi_model_close(&j.model);
    wi_batch_free(&j.batch);
    wi_feed_destroy(j.feed);
    wi_progress_free(&j.progress);
    wi_sink_close(&j.sink);
    if (j.input > STDERR_FILENO) close(j.input);
    free(j.header);
    return status;
}

const wi_entry wi_batch_entry = {
    .command = &command, .defaults = &defaults, .bytes = sizeof defaults, .run = run_batch};
