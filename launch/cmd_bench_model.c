// weft bench prefill and decode: what is measured lives in bench/, here are their flags.
#include "launch/bench_flags.h"

typedef struct {
    wi_model_flags model;
    weft_bench_generate_options bench;
} options_of_bench;

#define FIELD(field) offsetof(options_of_bench, bench.field)
static const weft_flag prefill_flags[] = {
    {.name = "tokens",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(tokens),
     .help = "tokens of a prompt",
     .min = 1,
     .max = 1 << 20},
    {.name = "batch", .kind = WEFT_FLAG_INT, .offset = FIELD(batch), .help = "prompts at once", .min = 1, .max = 4096},
    WI_ROUNDS_FLAG(FIELD(rounds), "turns that the work and its ceiling take"),
    WI_RECORD_FLAG(FIELD(json)),
    WI_DEVICE_FLAG(options_of_bench),
    WI_MODEL_FLAGS(options_of_bench),
    {0}};
static const weft_flag decode_flags[] = {
    {.name = "tokens",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(tokens),
     .help = "tokens that each request has before the first step",
     .min = 1,
     .max = 1 << 20},
    {.name = "batch", .kind = WEFT_FLAG_INT, .offset = FIELD(batch), .help = "requests at once", .min = 1, .max = 4096},
    {.name = "steps",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(steps),
     .help = "steps of a round",
     .min = 1,
     .max = 1 << 16},
    WI_ROUNDS_FLAG(FIELD(rounds), "turns that the work and its ceiling take"),
    WI_RECORD_FLAG(FIELD(json)),
    WI_DEVICE_FLAG(options_of_bench),
    WI_MODEL_FLAGS(options_of_bench),
    {0}};

static const options_of_bench prefill_defaults = {.model = {.chunk = 512},
                                                  .bench = {.tokens = 1024, .batch = 1, .rounds = 5}};
static const options_of_bench decode_defaults = {
    .model = {.chunk = 512}, .bench = {.decode = true, .tokens = 128, .batch = 1, .steps = 16, .rounds = 5}};
static const char *const operands[] = {"MODEL", NULL};

static const weft_command prefill_command = {
    .name = "bench prefill",
    .summary = "how fast a model reads prompts",
    .usage = "weft bench prefill MODEL [flags]",
    .about = "Computes prompts of fixed tokens, without drawing any, by turns with the peak of the instructions that "
             "multiply. The share of the peak counts the linear layers alone.",
    .examples = "weft bench prefill demo --tokens 512\nweft bench prefill tiny --tokens 2048 --weights int8",
    .flags = prefill_flags,
    .common = wi_common_flags,
    .operands_min = 1,
    .operands_max = 1,
    .operands = operands,
};
static const weft_command decode_command = {
    .name = "bench decode",
    .summary = "how fast a model generates",
    .usage = "weft bench decode MODEL [flags]",
    .about = "Draws a token a step for each of a batch of requests, by turns with reading memory. The share of the "
             "bandwidth counts the bytes of the weights, but for the embedding, and of the cached keys and values.",
    .examples = "weft bench decode demo --batch 8\nweft bench decode tiny --weights int8 --threads 2",
    .flags = decode_flags,
    .common = wi_common_flags,
    .operands_min = 1,
    .operands_max = 1,
    .operands = operands,
};

weft_bench_subject wi_bench_subject(const wi_model *m, const wi_call *call)
{
    return (weft_bench_subject){.name = call->operands->operand[0],
                                .model = m->model,
                                .engine = m->engine,
                                .team = m->team,
                                .cpu = &m->cpu,
                                .isa = m->kernels.isa,
                                .device = m->device,
                                .device_op = &m->device_op};
}

static weft_status run_bench(weft_job *job, const wi_call *call)
{
    const options_of_bench *o = call->options;
    const weft_bench_generate_options *b = &o->bench;
    wi_model m;
    weft_status status;
    const wi_model_needs needs = {.positions = weft_bench_generate_positions(b),
                                  .requests = (int)b->batch,
                                  .logit_rows = (int)b->batch,
                                  .prompt = b->decode ? 0 : b->tokens,
                                  .tokens = b->decode ? b->steps * b->rounds : 0,
                                  .loaded = true};
    WEFT_TRY(wi_one_replica(&o->model, b->decode ? "weft bench decode" : "weft bench prefill"));
    WEFT_TRY_GOTO(wi_model_begin(job, call, &o->model, false, &m));
    WEFT_TRY_GOTO(wi_model_load(&m, call, &o->model, &needs));
    const weft_bench_subject subject = wi_bench_subject(&m, call);
    status = weft_bench_generate(job, b, &subject, stdout);
fail:
    wi_model_close(&m);
    return status;
}

const wi_entry wi_bench_prefill_entry = {
    .command = &prefill_command, .defaults = &prefill_defaults, .bytes = sizeof prefill_defaults, .run = run_bench};
const wi_entry wi_bench_decode_entry = {
    .command = &decode_command, .defaults = &decode_defaults, .bytes = sizeof decode_defaults, .run = run_bench};
