// weft plan: what a model would take and cost on so many ranks, for every mesh, without a job.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/commands.h"
#include "launch/info_model.h"
#include "launch/plan.h"
#include "launch/simulate.h"
#include "model/layout_table.h"
#include "model/synth.h"

typedef struct {
    wi_model_flags model;
    int64_t ranks, nodes, context, batch;
    const char *device, *machine, *json;
    bool layers, simulate;
    int64_t samples, seed, switch_nodes;
    double oversubscription;
} plan_options;

#define FIELD(field) offsetof(plan_options, field)
static const weft_flag flags[] = {
    {.name = "ranks", .kind = WEFT_FLAG_INT, .offset = FIELD(ranks), .help = "of the job", .min = 1, .max = 16384},
    {.name = "nodes",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(nodes),
     .help = "that they stand on, as many on each; 0: 8 ranks on each, or all on one where there are fewer",
     .max = 65536},
    {.name = "device",
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(device),
     .value = "NAME",
     .help = "of each rank: a100-40, a100-80, h100, h100-pcie, h200, b200, l40s or l4; cuda: a GPU like this "
             "machine's; not "
             "given or cpu: nodes like this machine"},
    {.name = "machine",
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(machine),
     .value = "FILE",
     .help = "nodes like the one that weft doctor --json FILE measured"},
    {.name = "context",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(context),
     .help = "positions of each request; 0: as many as the model is made for",
     .max = 1 << 24},
    {.name = "batch",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(batch),
     .help = "requests at once",
     .min = 1,
     .max = 65536},
    WI_MODEL_FLAGS(plan_options),
    {.name = "layers",
     .kind = WEFT_FLAG_BOOL,
     .offset = FIELD(layers),
     .help = "print how each weight is divided, and what a rank of the best mesh has of it"},
    {.name = "simulate",
     .kind = WEFT_FLAG_BOOL,
     .offset = FIELD(simulate),
     .help = "steps exchange by exchange, with ranks that are late, of each mesh; and a curve of 1, 2, 4, ... ranks"},
    {.name = "samples",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(samples),
     .help = "steps that --simulate draws of each mesh",
     .min = 10,
     .max = 1 << 20},
    {.name = "seed", .kind = WEFT_FLAG_INT, .offset = FIELD(seed), .help = "of --simulate"},
    {.name = "switch-nodes",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(switch_nodes),
     .help = "nodes below one switch of a fat tree; 0: all",
     .max = 65536},
    {.name = "oversubscription",
     .kind = WEFT_FLAG_REAL,
     .offset = FIELD(oversubscription),
     .help = "how many times what a switch's nodes may send is more than what leaves it",
     .min = 1,
     .max = 1000},
    {.name = "json",
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(json),
     .value = "FILE",
     .help = "write all of it there, with the bytes of each rank; -: to stdout, without the table"},
    {0}};

static const plan_options defaults = {
    .model = WI_MODEL_DEFAULTS, .ranks = 1, .batch = 1, .samples = 300, .seed = 1, .oversubscription = 1};
static const char *const operands[] = {"MODEL", NULL};

static const weft_command command = {
    .name = "plan",
    .summary = "what a model takes and costs on so many ranks, for every mesh",
    .usage = "weft plan MODEL [flags]",
    .about =
        "Without starting a job: for every mesh (tp x cp = ranks, --dense tp or mesh) the bytes of weights, cache and "
        "scratch of the fullest rank, the longest context and the largest batch that fit, the bytes sent a token, and "
        "predicted times; the best mesh first. Bytes are those that the loader and the engine then take. Times are "
        "estimates: prompts of --context tokens for all of --batch, and a step that gives each its next token. With "
        "--dp the ranks are so many replicas, and all of this is of one of them. MODEL is a directory, a config.json "
        "or the name of a shape.",
    .examples = "weft plan llama-3-70b --ranks 64 --device h100\n"
                "weft plan llama-3.1-405b --ranks 32 --device h200 --weights int8 --context 32768\n"
                "weft plan llama-3-8b --ranks 8 --dp 4 --device l40s --batch 32\n"
                "weft plan llama-3-70b --ranks 4096 --nodes 512 --device h100 --context 8192 --simulate "
                "--switch-nodes 16 --oversubscription 2\n"
                "weft plan demo --ranks 2 --layers",
    .flags = flags,
    .common = wi_common_flags,
    .operands_min = 1,
    .operands_max = 1,
    .operands = operands,
};

// ---- from flags to a plan ----

static weft_status unknown_model(const char *name)
{
    enum { NAMES_MAX = 64 };
    const char *names[NAMES_MAX] = {0};
    for (int i = 0; i < NAMES_MAX - 1 && weft_model_shape_at(i); i++) names[i] = weft_model_shape_at(i)->name;
    const char *best = weft_flags_suggest(name, names);
    return weft_fail(WEFT_USAGE, "%.80s is no directory with a config.json and no known shape%s%s%s", name,
                     best ? "; did you mean " : " (weft synth --help lists them)", best ? best : "", best ? "?" : "");
}

static weft_status set_places(const plan_options *o, wi_plan_case *plan)
{
    plan->ranks = (int)o->ranks;
    plan->nodes = (int)(o->nodes ? o->nodes : o->device && o->ranks > 8 ? (o->ranks + 7) / 8 : 1);
    if (plan->ranks % plan->nodes != 0)
        return weft_fail(WEFT_USAGE, "--ranks %d on --nodes %d: each node must have as many", plan->ranks, plan->nodes);
    plan->sizes.node_ranks = plan->ranks / plan->nodes;
    plan->dp = wi_replicas_of(&o->model);
    if (plan->ranks % plan->dp != 0)
        return weft_fail(WEFT_USAGE, "--dp %d: %d ranks cannot be divided into so many replicas", plan->dp,
                         plan->ranks);
    plan->ranks /= plan->dp; // all replicas are alike, and beside each other
    plan->nodes = (plan->ranks + plan->sizes.node_ranks - 1) / plan->sizes.node_ranks;
    return WEFT_OK;
}

static weft_status make_plan(const wi_call *call, const weft_model_config *config, const weft_cpu *cpu,
                             wi_plan_case *out)
{
    const plan_options *o = call->options;
    const int threads = (int)call->common->threads;
    weft_topology topology;
    const int64_t context = o->context ? o->context : config->positions;
    wi_plan_case plan = {.context = context, .batch = (int)o->batch, .prompt = context, .tokens = WI_PLAN_TOKENS};
    WEFT_TRY(wi_plan_flags(&o->model, config, cpu, &plan));
    WEFT_TRY(set_places(o, &plan));
    plan.fabric = (wi_fabric){.oversubscription = o->oversubscription, .switch_nodes = (int)o->switch_nodes};
    plan.quick = o->simulate;
    WEFT_TRY(wi_machine_find(o->device, o->machine, plan.sizes.node_ranks, threads, &plan.machine));
    plan.sizes.model.weights.capability = plan.machine.capability;
    WEFT_TRY(weft_topology_read(&topology));
    const int cores = topology.allowed_cores / plan.sizes.node_ranks;
    const bool here = plan.machine.is_host || (o->device && strcmp(o->device, "cuda") == 0);
    plan.sizes.threads = threads > 0 ? threads : here && cores > 1 ? cores : 1;
    *out = plan;
    return WEFT_OK;
}

// ---- --layers ----

typedef struct {
    const wi_plan_case *plan;
    weft_layout layout;
    bool used[WEFT_DIVISION_COUNT];
} layer_printer;

static int shape_text(const int64_t *shape, int rank, char *text, size_t capacity)
{
    int used = 0;
    for (int i = 0; i < rank; i++)
        used += snprintf(text + used, capacity - (size_t)used, "%s%" PRId64, i ? " x " : "", shape[i]);
    return used;
}

// "model.layers.*.mlp.down_proj.weight" for every layer and expert.
static void pattern_of(const char *name, char *out)
{
    while (*name) {
        *out++ = *name;
        if (*name++ != '.' || *name < '0' || *name > '9') continue;
        *out++ = '*';
        while (*name >= '0' && *name <= '9') name++;
    }
    *out = 0;
}

// The first layer of each kind stands for all of them, the first expert for all.
static weft_status print_weight(void *arg, const weft_expected *weight)
{
    layer_printer *l = arg;
    const weft_model_config *c = l->plan->config;
    int64_t share[3];
    char name[WEFT_NAME_MAX], all[64], own[64];
    if (weight->expert > 0) return WEFT_OK;
    for (int64_t i = 0; i < weight->layer; i++)
        if (c->layer[i].moe == c->layer[weight->layer].moe) return WEFT_OK;
    const weft_division division = weft_layout_division(weight->part, &l->layout.mesh.shape);
    weft_expected one = *weight;
    if (one.expert == 0) one.expert = l->layout.experts.begin; // one that the rank has
    weft_layout_share(c, &l->layout, &one, share);
    pattern_of(weight->name, name);
    shape_text(weight->shape, weight->rank, all, sizeof all);
    shape_text(share, weight->rank, own, sizeof own);
    printf("%-52s %-20s %-20s %s\n", name, all, own, weft_division_name(division));
    l->used[division] = true;
    return WEFT_OK;
}

static weft_status print_layers(const wi_plan_case *plan, const wi_mesh_plan *best)
{
    const weft_mesh mesh = weft_mesh_at(&best->shape, best->fullest);
    layer_printer l = {
        .plan = plan,
        .layout = weft_layout_of(plan->config, &mesh, weft_weights_group(plan->config, &plan->sizes.model.weights))};
    printf("\n%-52s %-20s rank %-15d divided\n", "weight", "has", best->fullest);
    WEFT_TRY(weft_model_tensors(plan->config, WEFT_NAMES_PLAIN, print_weight, &l));
    if (plan->config->tied) printf("%-52s is the embedding, in one copy\n", "the head");
    printf("\n");
    for (int i = 0; i < WEFT_DIVISION_COUNT; i++)
        if (l.used[i]) printf("%-14s %s\n", weft_division_name((weft_division)i), weft_division_text((weft_division)i));
    return WEFT_OK;
}

// ---- --simulate ----

static weft_status simulate(const plan_options *o, const wi_plan_case *plan, const char *model,
                            const wi_mesh_plan *meshes, int count)
{
    const wi_simulation how = {.samples = (int)o->samples, .seed = (uint64_t)o->seed};
    wi_curve_point curve[WI_CURVE_POINTS];
    int points = 0;
    weft_status status = WEFT_OK;
    wi_simulated *steps = calloc((size_t)count, sizeof *steps);
    if (!steps) return weft_fail(WEFT_NO_MEMORY, "no memory for %d meshes", count);
    for (int i = 0; i < count && status == WEFT_OK; i++) status = wi_simulate(plan, &meshes[i].shape, &how, &steps[i]);
    if (status == WEFT_OK) status = wi_simulate_curve(plan, &how, curve, &points);
    if (status == WEFT_OK && (!o->json || strcmp(o->json, "-") != 0))
        wi_simulated_print(plan, model, &how, meshes, steps, count, curve, points, stdout);
    if (status == WEFT_OK && o->json)
        status = wi_simulated_write(plan, model, &how, meshes, steps, count, curve, points, o->json);
    free(steps);
    return status;
}

// ---- the command ----

static weft_status plan_model(const wi_call *call)
{
    const plan_options *o = call->options;
    const char *model = call->operands->operand[0];
    const weft_cpu cpu = weft_cpu_detect();
    weft_model_config config = {0};
    wi_mesh_plan *meshes = NULL;
    wi_plan_case plan;
    bool directory;
    int count = 0;
    weft_status status = wi_config_find(model, &directory, &config);
    if (status == WEFT_NOT_FOUND && !directory) status = unknown_model(model);
    if (status < 0) return status;
    WEFT_TRY_GOTO(make_plan(call, &config, &cpu, &plan));
    WEFT_TRY_GOTO(wi_plan_all(&plan, &meshes, &count));
    if (o->simulate) {
        status = simulate(o, &plan, model, meshes, count);
        goto fail;
    }
    if (!o->json || strcmp(o->json, "-") != 0) {
        wi_plan_print(&plan, model, meshes, count, stdout);
        if (o->layers) WEFT_TRY_GOTO(print_layers(&plan, &meshes[0]));
    }
    if (o->json) WEFT_TRY_GOTO(wi_plan_write(&plan, model, meshes, count, o->json));
fail:
    free(meshes);
    weft_model_config_fini(&config);
    return status;
}

static weft_status run_plan(weft_job *job, const wi_call *call)
{
    weft_comm *world = weft_job_world(job);
    return weft_comm_agree(world, weft_comm_rank(world) == 0 ? plan_model(call) : WEFT_OK, NULL);
}

const wi_entry wi_plan_entry = {.command = &command, .defaults = &defaults, .bytes = sizeof defaults, .run = run_plan};
