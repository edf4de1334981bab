// weft bench cell: what is measured lives in bench/, here are its flags.
#include "bench/cell.h"
#include "launch/bench_flags.h"
#include "launch/scale.h"

typedef struct {
    wi_model_flags model;
    weft_bench_cell_options bench;
} options_of_cell;

#define FIELD(field) offsetof(options_of_cell, bench.field)
static const weft_flag flags[] = {{.name = "prompt",
                                   .kind = WEFT_FLAG_INT,
                                   .offset = FIELD(prompt),
                                   .help = "tokens of a prompt",
                                   .min = 1,
                                   .max = 1 << 20},
                                  {.name = "generate",
                                   .kind = WEFT_FLAG_INT,
                                   .offset = FIELD(generate),
                                   .help = "tokens that a request draws",
                                   .min = 2,
                                   .max = 1 << 16},
                                  {.name = "batch",
                                   .kind = WEFT_FLAG_INT,
                                   .offset = FIELD(batch),
                                   .help = "requests, all at once",
                                   .min = 1,
                                   .max = 4096},
                                  WI_ROUNDS_FLAG(FIELD(rounds), "turns; the same requests in each"),
                                  WI_MODEL_FLAGS(options_of_cell),
                                  {0}};

static const options_of_cell defaults = {.model = {.chunk = 512},
                                         .bench = {.prompt = 128, .generate = 16, .batch = 1, .rounds = 3}};
static const char *const operands[] = {"MODEL", NULL};

static const weft_command command = {
    .name = "bench cell",
    .summary = "one cell of bench scale, as a line of JSON",
    .usage = "weft bench cell MODEL [flags]",
    .about = "What weft bench scale starts for each of its samples: the same requests in every round, all at once, "
             "and on stdout what they took, what each rank computed, a hash of what each request drew, and how fast "
             "the job's memory, arithmetic and links are. Every round must draw the same tokens.",
    .examples = "weft -n 2 bench cell demo --tp 2 --prompt 256 --generate 32 --batch 4",
    .flags = flags,
    .common = wi_common_flags,
    .operands_min = 1,
    .operands_max = 1,
    .operands = operands,
};

weft_status wi_cell_flags(const weft_scale_spec *spec, int variant, wi_model_flags *out)
{
    const weft_scale_words *words[] = {&spec->flags, &spec->variant[variant].flags};
    const char *line[2 * WEFT_SCALE_WORDS + 2] = {"weft", spec->model};
    options_of_cell options = defaults;
    wi_common common = wi_common_defaults;
    weft_parsed parsed;
    int count = 2;
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < words[i]->count; j++) line[count++] = words[i]->at[j];
    WEFT_TRY(weft_flags_parse(&command, count, line, &options, &common, &parsed));
    *out = options.model;
    return WEFT_OK;
}

static weft_status run_cell(weft_job *job, const wi_call *call)
{
    const options_of_cell *o = call->options;
    const weft_bench_cell_options *b = &o->bench;
    wi_model m;
    weft_status status;
    // What one round computes the next may not find.
    const wi_model_needs needs = {.positions = b->prompt + b->generate,
                                  .requests = (int)b->batch,
                                  .logit_rows = (int)b->batch,
                                  .prompt = b->prompt,
                                  .tokens = b->generate,
                                  .loaded = true,
                                  .engine = {.sharing = 1}};
    WEFT_TRY(wi_one_replica(&o->model, "weft bench cell"));
    WEFT_TRY_GOTO(wi_model_begin(job, call, &o->model, false, &m));
    WEFT_TRY_GOTO(wi_model_load(&m, call, &o->model, &needs));
    const weft_bench_subject subject = wi_bench_subject(&m, call);
    status = weft_bench_cell(job, b, &subject, m.load_s, stdout);
fail:
    wi_model_close(&m);
    return status;
}

const wi_entry wi_bench_cell_entry = {
    .command = &command, .defaults = &defaults, .bytes = sizeof defaults, .run = run_cell};
