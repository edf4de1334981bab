// weft synth: a checkpoint of random weights in Hugging Face form.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/cpu.h"
#include "launch/commands.h"
#include "model/synth.h"

typedef struct {
    int64_t hidden, layers, heads, kv_heads, head_dim, ffn, vocab, positions, window, experts, experts_used, expert_ffn;
    int64_t seed, shard_bytes;
    int dtype;
} synth_options;

#define FIELD(field) offsetof(synth_options, field)
#define SIZE(flag, field, text)                                                                                        \
    {                                                                                                                  \
        .name = flag, .kind = WEFT_FLAG_INT, .offset = FIELD(field), .help = text, .max = 1 << 30                      \
    }
static const weft_flag synth_flags[] = {
    SIZE("hidden", hidden, "width of the model; 0, here and below: as the shape has it"),
    SIZE("layers", layers, "layers"),
    SIZE("heads", heads, "query heads"),
    SIZE("kv-heads", kv_heads, "key and value heads"),
    SIZE("head-dim", head_dim, "elements of a head; 0: hidden / heads where one of them is given"),
    SIZE("ffn", ffn, "width of the FFN"),
    SIZE("vocab", vocab, "size of the vocabulary"),
    SIZE("positions", positions, "positions that the config declares"),
    SIZE("window", window, "keys in a sliding window"),
    SIZE("experts", experts, "experts of a mixture"),
    SIZE("experts-used", experts_used, "experts that a token uses"),
    SIZE("expert-ffn", expert_ffn, "width of an expert, for qwen3-moe"),
    {.name = "seed", .kind = WEFT_FLAG_INT, .offset = FIELD(seed), .help = "what the weights depend on", .max = 9e15},
    {.name = "dtype",
     .kind = WEFT_FLAG_CHOICE,
     .offset = FIELD(dtype),
     .help = "type of the weights",
     .choices = "bf16|f16|f32"},
    {.name = "shard-bytes",
     .kind = WEFT_FLAG_BYTES,
     .offset = FIELD(shard_bytes),
     .help = "largest file",
     .min = 1 << 16,
     .max = 1e15},
    {0}};
#undef SIZE

static const synth_options synth_defaults = {.seed = 1, .shard_bytes = 5000000000};
static const char *const operands[] = {"SHAPE", "DIR", NULL};

static const weft_command synth_command = {
    .name = "synth",
    .summary = "write a checkpoint of random weights",
    .usage = "weft synth SHAPE DIR [flags]",
    .about = "Writes a model directory as hubs have them: config.json, generation_config.json, tokenizer.json and "
             "safetensors. SHAPE is a published model (tinyllama-1.1b, llama-2-7b, llama-2-70b, llama-3-8b, "
             "llama-3-70b, llama-3.1-405b, mistral-7b, qwen2.5-0.5b, qwen2.5-7b, qwen2.5-72b, qwen3-8b, qwen3-32b, "
             "qwen3-30b-a3b, qwen3-235b-a22b, mixtral-8x7b, gpt-oss-20b, gpt-oss-120b) or a family with small sizes "
             "(llama, mistral, qwen2, qwen3, gemma2, gemma3, phi3, mixtral, qwen3-moe, gpt-oss); flags change "
             "single sizes. Equal seeds give equal bytes on every machine.",
    .examples = "weft synth tinyllama-1.1b tiny\nweft synth llama --hidden 512 --layers 8 --vocab 32000 --seed 7 small",
    .flags = synth_flags,
    .common = wi_common_flags,
    .operands_min = 2,
    .operands_max = 2,
    .operands = operands,
};

static weft_status unknown_shape(const char *name)
{
    enum { NAMES_MAX = 64 };
    const char *names[NAMES_MAX] = {0};
    for (int i = 0; i < NAMES_MAX - 1 && weft_model_shape_at(i); i++) names[i] = weft_model_shape_at(i)->name;
    const char *best = weft_flags_suggest(name, names);
    if (best) return weft_fail(WEFT_USAGE, "unknown shape '%.60s'; did you mean %s?", name, best);
    return weft_fail(WEFT_USAGE, "unknown shape '%.60s' (weft synth --help lists them)", name);
}

static void replace(int64_t *size, int64_t given)
{
    if (given) *size = given;
}

static weft_status make_shape(const synth_options *o, const char *name, weft_model_shape *out)
{
    const weft_model_shape *found = weft_model_shape_find(name);
    if (!found) return unknown_shape(name);
    *out = *found;
    replace(&out->hidden, o->hidden);
    replace(&out->layers, o->layers);
    replace(&out->heads, o->heads);
    replace(&out->kv_heads, o->kv_heads ? o->kv_heads : o->heads && out->kv_heads > o->heads ? o->heads : 0);
    if (o->hidden || o->heads) out->head_dim = out->hidden / out->heads;
    replace(&out->head_dim, o->head_dim);
    replace(&out->ffn, o->ffn);
    replace(&out->vocab, o->vocab);
    replace(&out->positions, o->positions);
    replace(&out->window, o->window);
    replace(&out->experts, o->experts);
    replace(&out->experts_used, o->experts_used);
    replace(&out->expert_ffn, o->expert_ffn);
    if (out->vocab < 3) return weft_fail(WEFT_USAGE, "--vocab %" PRId64 ": must be at least 3", out->vocab);
    return WEFT_OK;
}

static void show(void *arg, uint64_t done, uint64_t total)
{
    fprintf(stderr, "\r%5.1f %% of %.2f GB ", 100.0 * (double)done / (double)total, (double)total * 1e-9);
    if (done == total) fputc('\n', stderr);
}

static weft_status write_model(const wi_call *call, int threads)
{
    static const weft_dtype types[] = {WEFT_BF16, WEFT_F16, WEFT_F32};
    const synth_options *o = call->options;
    const char *directory = call->operands->operand[1];
    weft_synth_options options = {
        .seed = (uint64_t)o->seed,
        .dtype = types[o->dtype],
        .shard_bytes = (size_t)o->shard_bytes,
        .progress = isatty(STDERR_FILENO) ? show : NULL,
    };
    weft_model_shape shape;
    weft_team *team = NULL;
    uint64_t bytes = 0;
    char size[16];
    WEFT_TRY(make_shape(o, call->operands->operand[0], &shape));
    WEFT_TRY(weft_team_create(&(weft_team_options){.threads = threads}, &team));
    options.team = team;
    weft_status status = weft_synth_write(&shape, directory, &options, &bytes);
    weft_team_destroy(team);
    if (status == WEFT_OK)
        printf("%s: %s of %s weights, seed %" PRId64 "\n", directory, weft_format_bytes((int64_t)bytes, size),
               shape.name, o->seed);
    return status;
}

static weft_status run_synth(weft_job *job, const wi_call *call)
{
    weft_comm *world = weft_job_world(job);
    weft_status status = WEFT_OK;
    if (weft_comm_rank(world) == 0) {
        int64_t threads = call->common->threads;
        if (threads == 0) threads = sysconf(_SC_NPROCESSORS_ONLN);
        status = write_model(call, threads > 0 && threads < 1024 ? (int)threads : 1);
    }
    return weft_comm_agree(world, status, NULL);
}

const wi_entry wi_synth_entry = {
    .command = &synth_command, .defaults = &synth_defaults, .bytes = sizeof synth_defaults, .run = run_synth};
