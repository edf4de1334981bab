// weft run: one prompt, its continuation streamed to stdout.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/sha256.h"
#include "launch/answer.h"
#include "launch/stats.h"

typedef struct {
    wi_model_flags model;
    const char *prompt, *file, *json;
    weft_flag_list stop;
    int64_t max_tokens, top_k, seed, n;
    double temperature, top_p, min_p;
    bool ignore_eos, digest, stats;
} options_of_run;

#define FIELD(field) offsetof(options_of_run, field)
static const weft_flag flags[] = {
    {.name = "prompt",
     .letter = 'p',
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(prompt),
     .value = "TEXT",
     .help = "the text to go on from; not given: standard input"},
    {.name = "input",
     .letter = 'i',
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(file),
     .value = "FILE",
     .help = "read the prompt from there"},
    {.name = "max-tokens",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(max_tokens),
     .help = "tokens to generate at most",
     .min = 1,
     .max = 1 << 20},
    {.name = "temperature",
     .kind = WEFT_FLAG_REAL,
     .offset = FIELD(temperature),
     .help = "0: always the likeliest token",
     .max = 100},
    {.name = "top-k",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(top_k),
     .help = "draw from the likeliest K tokens; 0: all",
     .max = 1 << 30},
    {.name = "top-p",
     .kind = WEFT_FLAG_REAL,
     .offset = FIELD(top_p),
     .help = "draw from the likeliest tokens that together have this probability",
     .min = 1e-9,
     .max = 1},
    {.name = "min-p",
     .kind = WEFT_FLAG_REAL,
     .offset = FIELD(min_p),
     .help = "draw from tokens at least so probable, as a part of the likeliest one's probability",
     .max = 1},
    {.name = "stop",
     .kind = WEFT_FLAG_LIST,
     .offset = FIELD(stop),
     .help = "end before this text; several: before any"},
    {.name = "n",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(n),
     .help = "continuations, each drawn on its own",
     .min = 1,
     .max = 256},
    {.name = "ignore-eos",
     .kind = WEFT_FLAG_BOOL,
     .offset = FIELD(ignore_eos),
     .help = "go on where the model would end the text"},
    {.name = "seed", .kind = WEFT_FLAG_INT, .offset = FIELD(seed), .help = "what is drawn depends on it", .max = 9e15},
    {.name = "digest",
     .kind = WEFT_FLAG_BOOL,
     .offset = FIELD(digest),
     .help = "print a hash of the tokens instead of the text"},
    WI_DEVICE_FLAG(options_of_run),
    WI_MODEL_FLAGS(options_of_run),
    WI_STATS_FLAG(options_of_run),
    {.name = "json",
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(json),
     .value = "FILE",
     .help = "write what was done and how long it took there; -: to stdout, without the text"},
    {0}};

static const options_of_run defaults = {.model = WI_MODEL_DEFAULTS, .max_tokens = 128, .top_p = 1, .n = 1};
static const char *const operands[] = {"MODEL", NULL};

static const weft_command command = {
    .name = "run",
    .summary = "continue a prompt",
    .usage = "weft run MODEL [flags]",
    .about =
        "Generates the text that follows the prompt and streams it to stdout; a line of figures goes to stderr. "
        "MODEL is a directory as a hub has it. The same model, prompt, seed and sampling give the same tokens with "
        "any number of ranks, threads and continuations.",
    .examples = "weft run demo -p 'It was a fine morning' --max-tokens 64\n"
                "weft run demo --temperature 0.8 --top-p 0.95 --seed 7 -p 'She looked'\n"
                "echo 'Once upon a time' | weft run demo --n 3 --temperature 1\n"
                "mpirun -np 4 weft run demo --tp 2 --cp 2 -p 'She was'",
    .flags = flags,
    .common = wi_common_flags,
    .operands_min = 1,
    .operands_max = 1,
    .operands = operands,
};

// One continuation.
typedef struct {
    struct run *run;
    int64_t id;
    wi_answer answer;
    weft_request_times times;
    size_t written;     // of its text
    weft_status status; // a failure inside of a callback
    char failure[512];  // its text
} stream;

typedef struct run {
    const options_of_run *options;
    wi_model model;
    wi_stats stats;
    stream *streams;
    int32_t *prompt;
    int prompt_count;
    bool shows; // text goes to stdout as it comes
    int64_t start, first, last;
    weft_mesh_times times_first, times_last; // of exchanges, when the first and the last token came
} run_state;

static void show(stream *s)
{
    const wi_answer *a = &s->answer;
    if (s->run->shows && a->certain > s->written) {
        fwrite(a->text + s->written, 1, a->certain - s->written, stdout);
        fflush(stdout);
    }
    s->written = a->certain;
}

static void on_token(void *arg, const weft_drawn *drawn)
{
    stream *s = arg;
    run_state *run = s->run;
    if (run->first == 0) {
        run->first = weft_clock_ns();
        run->times_first = *run->model.mesh.times;
    }
    run->last = weft_clock_ns();
    run->times_last = *run->model.mesh.times;
    weft_engine_stats_token(run->stats.engine, &s->times);
    if (s->status == WEFT_OK) s->status = wi_answer_token(&s->answer, drawn->id);
    show(s);
    if (s->answer.stopped || s->status < 0) weft_engine_cancel(run->model.engine, s->id);
}

static void on_end(void *arg, weft_finish finish)
{
    stream *s = arg;
    if (s->status == WEFT_OK)
        s->status = finish == WEFT_FINISH_FAILED ? WEFT_FAILED : wi_answer_end(&s->answer, finish);
    if (s->status < 0) snprintf(s->failure, sizeof s->failure, "%s", weft_error_text());
    weft_engine_stats_ended(s->run->stats.engine, &s->times, finish, s->answer.stopped);
    show(s);
}

static const weft_request_calls calls = {.token = on_token, .end = on_end};

static weft_status submit(run_state *r, int i)
{
    const options_of_run *o = r->options;
    stream *s = &r->streams[i];
    s->run = r;
    WEFT_TRY(wi_answer_init(&s->answer, r->model.tokenizer, o->stop.at, o->stop.count, (int)o->max_tokens));
    weft_request_sampling sampling = weft_request_sampling_default();
    sampling.ignore_stops = o->ignore_eos;
    sampling.draw = (weft_sampling){.temperature = (float)o->temperature,
                                    .top_k = (int32_t)o->top_k,
                                    .top_p = (float)o->top_p,
                                    .min_p = (float)o->min_p,
                                    .seed = (uint64_t)o->seed,
                                    .continuation = (uint32_t)i};
    const weft_request request = {.tokens = r->prompt,
                                  .token_count = r->prompt_count,
                                  .max_tokens = (int)o->max_tokens,
                                  .fork_of = i > 0 ? r->streams[0].id : 0,
                                  .sampling = sampling,
                                  .calls = &calls,
                                  .arg = s};
    WEFT_TRY(weft_engine_submit(r->model.engine, &request, &s->id));
    weft_engine_stats_submitted(r->stats.engine, &s->times, r->prompt_count);
    return WEFT_OK;
}

static weft_status generate(run_state *r)
{
    int rows;
    r->start = weft_clock_ns();
    do WEFT_TRY(weft_engine_stats_step(r->stats.engine, r->model.engine, &rows));
    while (rows > 0);
    for (int i = 0; i < r->options->n; i++)
        if (r->streams[i].status < 0) return weft_fail(r->streams[i].status, "%s", r->streams[i].failure);
    return WEFT_OK;
}

static void print_digest(const run_state *r)
{
    weft_sha256 hash;
    char text[65];
    weft_sha256_begin(&hash);
    for (int i = 0; i < r->options->n; i++) {
        weft_sha256_add(&hash, &i, sizeof i);
        const wi_answer *a = &r->streams[i].answer;
        weft_sha256_add(&hash, a->tokens, (size_t)a->token_count * sizeof *a->tokens);
    }
    weft_sha256_end(&hash, text);
    wi_print_digest(&r->model, text);
}

typedef struct {
    int64_t tokens;
    double prefill_s, decode_s;
} figures;

static figures measure(const run_state *r)
{
    figures f = {0};
    for (int i = 0; i < r->options->n; i++) f.tokens += r->streams[i].answer.token_count;
    f.prefill_s = r->first ? (double)(r->first - r->start) * 1e-9 : 0;
    f.decode_s = r->first ? (double)(r->last - r->first) * 1e-9 : 0;
    return f;
}

// What this rank spent on exchanges, in the prompt and in decoding.
static void write_ranks(const run_state *r, weft_json_writer *w)
{
    const weft_mesh *mesh = &r->model.mesh;
    const weft_mesh_times *first = &r->times_first, *last = &r->times_last;
    const double tick = weft_clock_tick_seconds();
    weft_json_write_int(w, "ranks", mesh->shape.tp * mesh->shape.cp);
    weft_json_write_int(w, "tp", mesh->shape.tp);
    weft_json_write_int(w, "cp", mesh->shape.cp);
    weft_json_write_string(w, "dense", mesh->shape.dense == WEFT_DENSE_MESH ? "mesh" : "tp");
    weft_json_write_string(w, "numerics", mesh->shape.fast ? "fast" : "invariant");
    weft_json_write_real(w, "prefill_exchange_s", (double)first->exchange * tick);
    weft_json_write_real(w, "prefill_exposed_s", (double)first->wait * tick);
    weft_json_write_real(w, "decode_exchange_s", (double)(last->exchange - first->exchange) * tick);
    weft_json_write_real(w, "decode_exposed_s", (double)(last->wait - first->wait) * tick);
    weft_json_write_int(w, "exchanges", (int64_t)last->count);
    weft_json_write_int(w, "exchange_bytes", (int64_t)last->bytes);
    weft_json_write_int(w, "pieces_beside", (int64_t)last->pieces);
}

static weft_status write_json(const run_state *r, const char *path)
{
    const figures f = measure(r);
    const weft_weights *weights = weft_model_weights_of(r->model.model);
    weft_json_writer w;
    weft_json_writer_init(&w, true);
    weft_json_write_object(&w, NULL);
    weft_json_write_int(&w, "prompt_tokens", r->prompt_count);
    weft_json_write_array(&w, "continuations");
    for (int i = 0; i < r->options->n; i++) {
        const wi_answer *a = &r->streams[i].answer;
        char *ended = strndup(a->text, a->certain);
        weft_json_write_object(&w, NULL);
        weft_json_write_string(&w, "text", ended);
        weft_json_write_array(&w, "tokens");
        for (int j = 0; j < a->token_count; j++) weft_json_write_int(&w, NULL, a->tokens[j]);
        weft_json_write_end(&w);
        weft_json_write_string(&w, "finish_reason", weft_finish_name(a->finish));
        weft_json_write_end(&w);
        free(ended);
    }
    weft_json_write_end(&w);
    weft_json_write_real(&w, "load_s", r->model.load_s);
    weft_json_write_real(&w, "ttft_s", f.prefill_s);
    weft_json_write_real(&w, "prefill_s", f.prefill_s);
    weft_json_write_real(&w, "decode_s", f.decode_s);
    write_ranks(r, &w);
    weft_json_write_int(&w, "weight_bytes", (int64_t)weights->bytes);
    weft_json_write_string(&w, "weights", weft_dtype_name(weights->type));
    weft_json_write_string(&w, "family", weft_family_name(weights->family));
    weft_json_write_end(&w);
    return weft_json_writer_save(&w, path);
}

static void print_figures(const run_state *r)
{
    const figures f = measure(r);
    const weft_weights *w = weft_model_weights_of(r->model.model);
    const int64_t decoded = f.tokens - r->options->n;
    const double all = (double)r->model.loaded_all, most = (double)r->model.loaded_most;
    const double unit = all < 1e9 ? 1e6 : 1e9;
    const char *name = all < 1e9 ? "MB" : "GB";
    fprintf(stderr, "weft: loaded %.2f %s", all / unit, name);
    if (most < all) fprintf(stderr, ", up to %.2f %s a rank", most / unit, name);
    fprintf(stderr, " (%s, %s) in %.2f s; prompt of %d tokens in %.3f s; %lld tokens", weft_dtype_name(w->type),
            weft_family_name(w->family), r->model.load_s, r->prompt_count, f.prefill_s, (long long)f.tokens);
    if (decoded > 0 && f.decode_s > 0) fprintf(stderr, ", %.1f a second", (double)decoded / f.decode_s);
    fputc('\n', stderr);
}

static void print_texts(const run_state *r)
{
    for (int i = 0; i < r->options->n; i++) {
        if (r->options->n > 1) printf("--- %d\n", i + 1);
        fwrite(r->streams[i].answer.text, 1, r->streams[i].answer.certain, stdout);
        putchar('\n');
    }
}

static weft_status read_prompt(run_state *r)
{
    const options_of_run *o = r->options;
    char *text = NULL;
    size_t bytes = 0;
    if (o->prompt && o->file) return weft_fail(WEFT_USAGE, "--prompt and --input: give one of them");
    if (o->prompt) return wi_model_encode(&r->model, o->prompt, strlen(o->prompt), &r->prompt, &r->prompt_count);
    WEFT_TRY(wi_read_text(r->model.world, o->file ? o->file : "-", &text, &bytes));
    // The end of the last line is the file's, not the prompt's.
    if (bytes > 0 && text[bytes - 1] == '\n') bytes--;
    weft_status status = wi_model_encode(&r->model, text, bytes, &r->prompt, &r->prompt_count);
    free(text);
    return status;
}

static weft_status run_run(weft_job *job, const wi_call *call)
{
    const options_of_run *o = call->options;
    run_state r = {.options = o};
    const bool json_out = o->json && strcmp(o->json, "-") == 0;
    weft_status status;
    WEFT_TRY_GOTO(wi_one_replica(&o->model, "weft run"));
    WEFT_TRY_GOTO(wi_model_begin(job, call, &o->model, true, &r.model));
    WEFT_TRY_GOTO(read_prompt(&r));
    const wi_model_needs needs = {.positions = r.prompt_count + o->max_tokens,
                                  .requests = (int)o->n,
                                  .logit_rows = (int)o->n,
                                  .prompt = r.prompt_count,
                                  .tokens = o->max_tokens};
    WEFT_TRY_GOTO(wi_model_load(&r.model, call, &o->model, &needs));
    WEFT_TRY_GOTO(wi_stats_open(o->stats, &r.model, &r.stats));
    r.shows = r.model.speaks && o->n == 1 && !o->digest && !json_out;
    r.streams = calloc((size_t)o->n, sizeof *r.streams);
    WEFT_TRY_GOTO(r.streams ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for %lld continuations", (long long)o->n));
    for (int i = 0; i < o->n; i++) WEFT_TRY_GOTO(submit(&r, i));
    WEFT_TRY_GOTO(generate(&r));
    if (r.shows) putchar('\n');
    fflush(stdout); // before the figures, wherever both go
    if (r.model.speaks) {
        if (o->digest)
            print_digest(&r);
        else if (!r.shows && !json_out)
            print_texts(&r);
        print_figures(&r);
        wi_stats_print(&r.stats);
        if (o->json) WEFT_TRY_GOTO(write_json(&r, o->json));
    }
fail:
    wi_stats_close(&r.stats);
    wi_model_close(&r.model);
    for (int i = 0; r.streams && i < o->n; i++) wi_answer_fini(&r.streams[i].answer);
    free(r.streams);
    free(r.prompt);
    return status;
}

const wi_entry wi_run_entry = {.command = &command, .defaults = &defaults, .bytes = sizeof defaults, .run = run_run};
