#include "tests/engine/rig.h"

#include "core/json.h"
#include "kernels/device.h"
#include "tests/check.h"

const char *golden_root(void)
{
    const char *other = getenv("GOLDEN_DIR");
    return other ? other : WEFT_GOLDEN;
}

rig_options rig_defaults(void)
{
    weft_cpu cpu = weft_cpu_detect();
    rig_options o = {.type = WEFT_F32, .cache = WEFT_CACHE_F32, .threads = 1, .chunk = 64, .block = 16, .requests = 8};
    CHECK_OK(weft_isa_choose(&cpu, &o.isa));
    o.cache_bytes = 8 << 20;
    o.positions = 512;
    return o;
}

bool rig_has_device(const char *kind)
{
    const weft_device_kind *found;
    int count = 0;
    return weft_device_kind_open(kind, &found) == WEFT_OK && found->count(&count) == WEFT_OK && count > 0;
}

// The op by which the model computes.
static weft_op open_device(rig *r, const char *kind)
{
    const weft_device_kind *found;
    weft_op op = {.table = &r->table, .team = r->team};
    if (!kind) {
        CHECK_OK(weft_device_host(r->team, &r->device));
        return op;
    }
    CHECK_OK(weft_device_kind_open(kind, &found));
    CHECK_OK(found->open(0, &r->device, &r->device_table, &op.stream));
    op.table = &r->device_table;
    op.team = NULL;
    return op;
}

void rig_open(rig *r, const char *name, const rig_options *o)
{
    char path[512];
    weft_checkpoint *checkpoint;
    weft_model_config config = {0};
    const weft_cpu cpu = weft_cpu_detect();
    *r = (rig){.table = weft_kernels_for(o->isa)};
    CHECK_OK(weft_team_create(&(weft_team_options){.threads = o->threads, .waiters = 8}, &r->team));
    const weft_op op = {.table = &r->table, .team = r->team}, own = open_device(r, o->device);
    if (o->mesh) r->mesh = *o->mesh;
    if (o->device) r->mesh.device = r->device;
    if (o->device && o->mesh) CHECK_OK(weft_job_devices(weft_comm_job(o->mesh->all), r->device));
    r->mesh.devices = o->device != NULL;
    snprintf(path, sizeof path, "%s/%s", golden_root(), name);
    CHECK_OK(weft_model_config_read(path, &config));
    CHECK_OK(weft_checkpoint_open(path, &checkpoint));
    r->vocab = (size_t)config.vocab;
    const weft_model_options model = {.weights = {.type = o->type, .group = o->group, .cpu = &cpu},
                                      .host = o->device ? &op : NULL,
                                      .cache = o->cache,
                                      .rows = o->chunk,
                                      .logit_rows = o->chunk,
                                      .positions = o->positions,
                                      .mesh = o->mesh ? &r->mesh : NULL};
    CHECK_OK(weft_model_create(&own, &cpu, r->device, &config, checkpoint, &model, &r->model));
    weft_checkpoint_close(checkpoint);
    const weft_engine_options engine = {.block = o->block,
                                        .cache_bytes = o->cache_bytes,
                                        .cache_units = o->cache_units,
                                        .requests = o->requests,
                                        .chunk = o->chunk,
                                        .schedule = o->schedule,
                                        .preempts = o->preempts,
                                        .margin = o->margin,
                                        .read_budget = o->read_budget,
                                        .unshared = o->unshared,
                                        .peers = o->peers};
    CHECK_INT(weft_engine_create(&op, r->model, r->device, &engine, &r->engine), o->expected);
}

void rig_close(rig *r)
{
    weft_engine_destroy(r->engine);
    weft_model_destroy(r->model);
    weft_device_destroy(r->device);
    weft_team_destroy(r->team);
}

static void on_token(void *arg, const weft_drawn *drawn)
{
    result *r = arg;
    CHECK(r->count < 256);
    r->tokens[r->count++] = drawn->id;
}

static void on_logits(void *arg, int64_t position, int rows, const float *logits, size_t vocab)
{
    result *r = arg;
    if (!r->logits || r->count > 0) return; // of the prompt alone
    CHECK_INT(position, r->positions);
    memcpy(r->logits + (size_t)position * vocab, logits, (size_t)rows * vocab * sizeof *logits);
    r->positions += rows;
}

static void on_end(void *arg, weft_finish finish)
{
    result *r = arg;
    r->finish = finish;
    r->ends++;
}

const weft_request_calls rig_calls = {.token = on_token, .logits = on_logits, .end = on_end};

weft_request_sampling rig_sampling(float temperature, float top_p, uint64_t seed)
{
    weft_request_sampling sampling = weft_request_sampling_default();
    sampling.draw = (weft_sampling){.temperature = temperature, .top_p = top_p, .seed = seed};
    sampling.ignore_stops = true;
    return sampling;
}

void rig_run(rig *r)
{
    for (int rows = 1; rows > 0;) CHECK_OK(weft_engine_step(r->engine, &rows));
}

static void *read_npy(const char *folder, const char *file, size_t size, size_t *count)
{
    char path[600];
    unsigned char head[10];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *in = fopen(path, "rb");
    CHECK(in && fread(head, 1, sizeof head, in) == sizeof head);
    const long at = 10 + head[8] + 256 * head[9];
    CHECK(fseek(in, 0, SEEK_END) == 0);
    *count = (size_t)(ftell(in) - at) / size;
    void *data = malloc(*count * size);
    CHECK(data && fseek(in, at, SEEK_SET) == 0 && fread(data, size, *count, in) == *count);
    fclose(in);
    return data;
}

void golden_read(const char *name, golden *g)
{
    char folder[512], path[600];
    weft_json *document;
    size_t count;
    *g = (golden){0};
    snprintf(folder, sizeof folder, "%s/%s", golden_root(), name);
    snprintf(path, sizeof path, "%s/case.json", folder);
    CHECK_OK(weft_json_read(path, NULL, &document));
    const weft_json *prompt = weft_json_get(document, "prompt"), *greedy = weft_json_get(document, "greedy");
    const weft_json *margins = weft_json_get(document, "margins");
    g->prompt_count = (int)weft_json_size(prompt);
    CHECK(g->prompt_count > 0 && g->prompt_count <= 256);
    for (int i = 0; i < g->prompt_count; i++)
        g->prompt[i] = (int32_t)weft_json_int_value(weft_json_at(prompt, (size_t)i));
    for (size_t i = 0; i < 64; i++) {
        g->greedy[i] = (int32_t)weft_json_int_value(weft_json_at(greedy, i));
        g->margin[i] = weft_json_real_value(weft_json_at(margins, i));
    }
    CHECK_OK(weft_json_real(weft_json_get(document, "bf16_against_f32"), "kl_mean", -1, &g->kl_mean));
    weft_json_free(document);
    g->logits = read_npy(folder, "logits.npy", sizeof *g->logits, &count);
    g->vocab = count / (size_t)g->prompt_count;
    uint16_t *half = read_npy(folder, "logits_bf16.npy", sizeof *half, &count);
    g->half = malloc(count * sizeof *g->half);
    CHECK(g->half);
    for (size_t i = 0; i < count; i++) {
        const uint32_t bits = (uint32_t)half[i] << 16;
        memcpy(&g->half[i], &bits, sizeof bits);
    }
    free(half);
}

void golden_free(golden *g)
{
    free(g->logits);
    free(g->half);
}
