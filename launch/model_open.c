#include "launch/model_open.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"

enum { CACHE_BLOCK = 64 }; // positions

static weft_status read_all(const char *path, char **text, size_t *bytes)
{
    const bool standard = strcmp(path, "-") == 0;
    const char *name = standard ? "standard input" : path;
    FILE *in = standard ? stdin : fopen(path, "rb");
    size_t capacity = 1 << 16, used = 0, got;
    if (!in) return weft_fail(errno == ENOENT ? WEFT_NOT_FOUND : WEFT_IO, "%s: %s", name, strerror(errno));
    char *all = malloc(capacity);
    while (all && (got = fread(all + used, 1, capacity - used, in)) > 0) {
        used += got;
        if (used < capacity) continue;
        char *more = realloc(all, capacity *= 2);
        if (!more) free(all);
        all = more;
    }
    const bool failed = ferror(in);
    const int error = errno;
    if (!standard) fclose(in);
    if (!all) return weft_fail(WEFT_NO_MEMORY, "%s: no memory to read it", name);
    if (failed) {
        free(all);
        return weft_fail(WEFT_IO, "%s: %s", name, strerror(error));
    }
    *text = all;
    *bytes = used;
    return WEFT_OK;
}

weft_status wi_read_text(weft_comm *world, const char *path, char **text, size_t *bytes)
{
    const bool reads = weft_comm_rank(world) == 0;
    weft_status status = WEFT_OK;
    int64_t size = 0;
    if (reads) status = read_all(path, text, bytes);
    WEFT_TRY(weft_comm_agree(world, status, NULL));
    if (reads) size = (int64_t)*bytes;
    WEFT_TRY(weft_comm_max(world, &size, 1));
    if (!reads) {
        *bytes = (size_t)size;
        *text = malloc(*bytes + 1);
        if (!*text) status = weft_fail(WEFT_NO_MEMORY, "%s: no memory for %zu bytes", path, *bytes);
    }
    status = weft_comm_agree(world, status, NULL);
    if (status == WEFT_OK) status = weft_comm_bcast(world, 0, *text, *bytes);
    if (status < 0) free(*text);
    return status;
}

weft_status wi_write_text(const char *path, const char *text, size_t bytes)
{
    const bool standard = strcmp(path, "-") == 0;
    FILE *out = standard ? stdout : fopen(path, "wb");
    if (!out) return weft_fail(WEFT_IO, "%s: %s", path, strerror(errno));
    bool good = fwrite(text, 1, bytes, out) == bytes;
    if (good && bytes > 0 && text[bytes - 1] != '\n') good = fputc('\n', out) != EOF;
    if (!standard && fclose(out) != 0) good = false;
    return good ? WEFT_OK : weft_fail(WEFT_IO, "%s: %s", standard ? "standard output" : path, strerror(errno));
}

// The best instructions that every rank has.
static weft_status agree_families(wi_model *m)
{
    int64_t best[] = {weft_family_choose(&m->cpu, m->kernels.isa, WEFT_BF16),
                      weft_attention_choose(&m->cpu, m->kernels.isa, WEFT_CACHE_BF16)};
    const int64_t own = best[0];
    WEFT_TRY(weft_comm_min(m->world, best, 2));
    m->family_limit = (weft_family)best[0];
    m->attention_limit = (weft_attention_family)best[1];
    if (own != best[0])
        weft_log_info("this rank could multiply by %s; with the others it does by %s",
                      weft_family_name((weft_family)own), weft_family_name(m->family_limit));
    return WEFT_OK;
}

static weft_status open_local(const wi_call *call, const char *path, bool with_tokenizer, wi_model *out)
{
    weft_isa isa;
    weft_name_style style;
    WEFT_TRY(weft_isa_choose(&out->cpu, &isa));
    WEFT_TRY(weft_topology_read(&out->topology));
    WEFT_TRY(weft_model_config_read(path, &out->config));
    WEFT_TRY(weft_checkpoint_open(path, &out->checkpoint));
    WEFT_TRY(weft_checkpoint_check(out->checkpoint, &out->config, &style));
    if (with_tokenizer) WEFT_TRY(weft_tokenizer_read(path, &out->tokenizer));
    out->kernels = weft_kernels_for(isa);
    const weft_team_options team = {.threads = call->common->threads > 0 ? (int)call->common->threads
                                                                         : out->topology.allowed_cores,
                                    .cpus = call->common->bind == WI_BIND_NONE ? NULL : out->topology.allowed,
                                    .cpu_count = out->topology.allowed_count};
    WEFT_TRY(weft_team_create(&team, &out->team));
    WEFT_TRY(weft_device_host(out->team, &out->device));
    out->op = (weft_op){.table = &out->kernels, .team = out->team};
    return WEFT_OK;
}

weft_status wi_model_begin(weft_job *job, const wi_call *call, const wi_model_flags *flags, bool with_tokenizer,
                           wi_model *out)
{
    const weft_mesh_shape wanted = {.tp = (int)flags->tp,
                                    .cp = (int)flags->cp,
                                    .dense = (weft_dense)flags->dense,
                                    .expert_columns = flags->experts == 1,
                                    .fast = flags->numerics == 1};
    weft_mesh_shape shape;
    *out = (wi_model){.cpu = weft_cpu_detect(), .world = weft_job_world(job)};
    out->speaks = weft_comm_rank(out->world) == 0;
    WEFT_TRY(weft_mesh_shape_for(&wanted, weft_comm_size(out->world), &shape));
    const weft_status status = open_local(call, call->operands->operand[0], with_tokenizer, out);
    WEFT_TRY(weft_comm_agree(out->world, status, NULL));
    WEFT_TRY(agree_families(out));
    return weft_mesh_create(out->world, &shape, &out->mesh);
}

static void show_progress(void *arg, uint64_t done, uint64_t total)
{
    fprintf(stderr, "\rloading %5.1f %% of %.2f GB", 100.0 * (double)done / (double)total, (double)total * 1e-9);
    if (done >= total) fputs("\r\033[K", stderr);
}

// --weights and --dtype, as the loader takes them.
static weft_status weights_of(const wi_model *m, const wi_model_flags *flags, weft_weights_options *out)
{
    static const weft_dtype types[] = {WEFT_F32, WEFT_F32, WEFT_BF16, WEFT_F16, WEFT_I8, WEFT_I4};
    const int weights = flags->dtype == 0 ? flags->weights : flags->dtype;
    *out = (weft_weights_options){.as_stored = weights == 0, .type = types[weights], .cpu = &m->cpu};
    out->has_limit = true;
    out->limit = m->family_limit;
    out->group = flags->group ? (int)flags->group : out->type == WEFT_I4 && weights != 0 ? 64 : 0;
    if (flags->group && flags->group != 32 && flags->group != 64 && flags->group != 128)
        return weft_fail(WEFT_USAGE, "--group %d: must be 32, 64 or 128", (int)flags->group);
    if (m->speaks && isatty(STDERR_FILENO)) out->progress = show_progress;
    if (!flags->family) return WEFT_OK;
    out->has_family = true;
    if (!weft_family_from_name(flags->family, &out->family))
        return weft_fail(WEFT_USAGE, "--family %.40s: must be fma, bf16dot or amx", flags->family);
    return WEFT_OK;
}

static weft_cache_type cache_of(const wi_model *m, const wi_model_flags *flags, const weft_weights_options *weights)
{
    static const weft_cache_type types[] = {WEFT_CACHE_BF16, WEFT_CACHE_F32, WEFT_CACHE_BF16, WEFT_CACHE_INT8};
    const int kv = flags->dtype == 0 ? flags->kv : flags->dtype;
    if (kv != 0) return types[kv];
    const weft_dtype type = weights->as_stored && m->config.has_dtype ? m->config.dtype : weights->type;
    return type == WEFT_F32 && (!weights->as_stored || m->config.has_dtype) ? WEFT_CACHE_F32 : WEFT_CACHE_BF16;
}

weft_status wi_model_load(wi_model *m, const wi_call *call, const wi_model_flags *flags, const wi_model_needs *needs)
{
    weft_model_options model = {.mesh = &m->mesh,
                                .attention_limit = m->attention_limit,
                                .rows = (int)flags->chunk,
                                .logit_rows = needs->logit_rows,
                                .positions = needs->positions};
    weft_engine_options engine = {.block = CACHE_BLOCK,
                                  .requests = needs->requests,
                                  .chunk = (int)flags->chunk,
                                  .schedule = needs->schedule,
                                  .unshared = needs->unshared,
                                  .preempts = needs->preempts,
                                  .margin = needs->preempts ? 0.05 : 0};
    const int64_t start = weft_clock_ns();
    WEFT_TRY(weights_of(m, flags, &model.weights));
    model.cache = cache_of(m, flags, &model.weights);
    if (needs->positions > m->config.positions && m->speaks)
        weft_log_warn("the model is made for %lld positions, and this takes up to %lld: what it says beyond them may "
                      "make no sense",
                      (long long)m->config.positions, (long long)needs->positions);
    if (model.rows < needs->requests) model.rows = engine.chunk = needs->requests;
    if (model.logit_rows > model.rows * m->mesh.shape.cp) model.logit_rows = model.rows * m->mesh.shape.cp;
    WEFT_TRY(weft_model_create(&m->op, &m->cpu, m->device, &m->config, m->checkpoint, &model, &m->model));
    engine.cache_bytes = flags->cache_bytes;
    engine.cache_blocks = weft_engine_blocks(m->model, CACHE_BLOCK, needs->positions, needs->requests);
    if (needs->cache_limit > 0) {
        const int64_t least = weft_engine_blocks(m->model, CACHE_BLOCK, needs->positions, 1);
        const int64_t most = needs->cache_limit / (int64_t)weft_model_cache_layout(m->model, CACHE_BLOCK, NULL);
        if (engine.cache_blocks > most) engine.cache_blocks = most > least ? most : least;
    }
    WEFT_TRY(weft_engine_create(&m->op, m->model, m->device, &engine, &m->engine));
    m->load_s = (double)(weft_clock_ns() - start) * 1e-9;
    return WEFT_OK;
}

void wi_model_close(wi_model *m)
{
    weft_engine_destroy(m->engine);
    weft_model_destroy(m->model);
    weft_mesh_free(&m->mesh);
    weft_model_config_fini(&m->config);
    weft_checkpoint_close(m->checkpoint);
    weft_tokenizer_destroy(m->tokenizer);
    weft_device_destroy(m->device);
    weft_team_destroy(m->team);
    *m = (wi_model){0};
}

weft_status wi_model_encode(const wi_model *m, const char *text, size_t bytes, int32_t **ids, int *count)
{
    weft_encoder *encoder;
    const int32_t *own;
    size_t all;
    WEFT_TRY(weft_encoder_create(m->tokenizer, &encoder));
    weft_status status = weft_encoder_run(encoder, text, bytes, true, &own, &all);
    if (status == WEFT_OK && all > INT32_MAX / 2)
        status = weft_fail(WEFT_LIMIT, "a text of %zu tokens: 2^30 are the most", all);
    if (status == WEFT_OK && all == 0)
        status = weft_fail(WEFT_INVALID, "the text gives no token: there is nothing to start from; give some text");
    if (status == WEFT_OK) {
        *ids = malloc(all * sizeof **ids);
        if (*ids) memcpy(*ids, own, all * sizeof **ids);
        if (!*ids) status = weft_fail(WEFT_NO_MEMORY, "no memory for %zu tokens", all);
        *count = (int)all;
    }
    weft_encoder_destroy(encoder);
    return status;
}
