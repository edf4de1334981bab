#include "launch/model_open.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "kernels/device.h"

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

// The best instructions that every rank has.
static weft_status agree_families(wi_model *m)
{
    const int capability = m->device_kernels.capability;
    const bool blas = m->device_kernels.gemm.run[WEFT_FAMILY_BLAS] != NULL;
    int64_t best[] = {blas         ? WEFT_FAMILY_BLAS
                      : capability ? weft_family_of_device(capability, WEFT_BF16)
                                   : weft_family_choose(&m->cpu, m->kernels.isa, WEFT_BF16),
                      capability ? weft_attention_of_device(capability, WEFT_CACHE_BF16)
                                 : weft_attention_choose(&m->cpu, m->kernels.isa, WEFT_CACHE_BF16)};
    const int64_t own = best[0];
    WEFT_TRY(weft_comm_min(m->world, best, 2));
    m->family_limit = (weft_family)best[0];
    m->attention_limit = (weft_attention_family)best[1];
    if (own != best[0])
        weft_log_info("this rank could multiply by %s; with the others it does by %s",
                      weft_family_name((weft_family)own), weft_family_name(m->family_limit));
    return WEFT_OK;
}

// Ranks of a node take the devices that they see in turn (launch/placement.h).
static weft_status open_device(const wi_call *call, const wi_model_flags *flags, wi_model *out)
{
    const weft_device_kind *kind;
    int count;
    void *stream;
    out->device_op = out->op;
    if (!flags->device || strcmp(flags->device, "cpu") == 0) return weft_device_host(out->team, &out->device);
    WEFT_TRY(weft_device_kind_find(flags->device, &kind, &count));
    WEFT_TRY(
        wi_seat_find(wi_seat_place(out->world), (int)call->common->threads, kind, &out->topology, &out->seat, NULL));
    WEFT_TRY(kind->open(out->seat.device, &out->device, &out->device_kernels, &stream));
    out->device_op = (weft_op){.table = &out->device_kernels, .stream = stream};
    if (flags->numerics == 1 && kind->open_blas(out->device, &out->device_kernels) < 0 && out->speaks)
        weft_log_warn("--numerics fast: weft's own kernels multiply: %s", weft_error_text());
    return WEFT_OK;
}

static weft_status open_local(const wi_call *call, const wi_model_flags *flags, const char *path, bool with_tokenizer,
                              wi_model *out)
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
    out->op = (weft_op){.table = &out->kernels, .team = out->team};
    return open_device(call, flags, out);
}

weft_status wi_model_begin(weft_job *job, const wi_call *call, const wi_model_flags *flags, bool with_tokenizer,
                           wi_model *out)
{
    // Which mesh it is to be is seen once the input is known; that there can be one, now.
    const weft_mesh_shape wanted = {.tp = (int)flags->tp, .cp = (int)flags->cp};
    weft_mesh_shape some;
    *out = (wi_model){.cpu = weft_cpu_detect(), .world = weft_job_world(job)};
    out->speaks = weft_comm_rank(out->world) == 0;
    WEFT_TRY(weft_replicas_create(out->world, wi_replicas_of(flags), &out->replicas));
    WEFT_TRY(weft_mesh_shape_for(&wanted, weft_comm_size(out->replicas.own), &some));
    const weft_status status = open_local(call, flags, call->operands->operand[0], with_tokenizer, out);
    WEFT_TRY(weft_comm_agree(out->world, status, NULL));
    WEFT_TRY(weft_job_devices(job, out->device));
    if (!out->device->ops->is_host) WEFT_TRY(wi_seats_tell(out->world, &out->seat, "weft: ", stderr));
    return agree_families(out);
}

static void show_progress(void *arg, uint64_t done, uint64_t total)
{
    fprintf(stderr, "\rloading %5.1f %% of %.2f GB", 100.0 * (double)done / (double)total, (double)total * 1e-9);
    if (done >= total) fputs("\r\033[K", stderr);
}

// Tests have prompts that are short; 0: what is long elsewhere.
static int64_t piece_rows(void)
{
    const char *text = getenv("WEFT_PIECE_ROWS");
    return text ? strtoll(text, NULL, 10) : 0;
}

// Collective over the replica.
static weft_status load_replica(wi_model *m, const wi_model_flags *flags, const wi_model_needs *needs,
                                const weft_mesh_shape *shape)
{
    weft_model_options model = {.host = &m->op,
                                .mesh = &m->mesh,
                                .attention_limit = m->attention_limit,
                                .rows = (int)flags->chunk,
                                .logit_rows = needs->logit_rows,
                                .positions = needs->positions};
    weft_engine_options engine = {.block = WI_CACHE_BLOCK,
                                  .requests = needs->requests,
                                  .chunk = (int)flags->chunk,
                                  .schedule = (weft_schedule)needs->engine.schedule,
                                  .unshared = needs->engine.sharing == 1,
                                  .preempts = needs->engine.preempts,
                                  .margin = needs->engine.preempts ? 0.05 : 0};
    WEFT_TRY(wi_weights_of(flags, &m->cpu, &model.weights));
    WEFT_TRY(weft_mesh_create(m->replicas.own, shape, &m->mesh));
    m->mesh.devices = !m->device->ops->is_host;
    if (m->mesh.devices) m->mesh.device = m->device;
    m->mesh.piece_rows = piece_rows();
    model.weights.has_limit = true;
    model.weights.limit = m->family_limit;
    if (m->speaks && isatty(STDERR_FILENO)) model.weights.progress = show_progress;
    model.cache = wi_cache_of(flags, &model.weights, wi_stored_of(&m->config));
    if (model.rows < needs->requests) model.rows = engine.chunk = needs->requests;
    if (model.logit_rows > model.rows * shape->cp) model.logit_rows = model.rows * shape->cp;
    WEFT_TRY(weft_model_create(&m->device_op, &m->cpu, m->device, &m->config, m->checkpoint, &model, &m->model));
    engine.cache_bytes = flags->cache_bytes;
    const weft_cache_cut cut = weft_model_cache_cut(m->model, WI_CACHE_BLOCK, NULL, NULL);
    engine.cache_units = weft_engine_units(&cut, shape, &engine, needs->positions);
    if (needs->cache_limit > 0) {
        const int64_t least = engine.cache_units / needs->requests, most = needs->cache_limit / (int64_t)cut.unit;
        if (engine.cache_units > most) engine.cache_units = most > least ? most : least;
    }
    return weft_engine_create(&m->op, m->model, m->device, &engine, &m->engine);
}

weft_status wi_model_load(wi_model *m, const wi_call *call, const wi_model_flags *flags, const wi_model_needs *needs)
{
    const int64_t start = weft_clock_ns();
    weft_mesh_shape shape;
    WEFT_TRY(wi_mesh_choose(m, flags, needs, &shape));
    if (needs->positions > m->config.positions && m->speaks)
        weft_log_warn("the model is made for %lld positions, and this takes up to %lld: what it says beyond them may "
                      "make no sense",
                      (long long)m->config.positions, (long long)needs->positions);
    weft_status status = load_replica(m, flags, needs, &shape);
    // Ranks of a replica fail together; now all do.
    if (m->replicas.count > 1) status = weft_comm_agree(m->world, status, NULL);
    WEFT_TRY(status);
    m->load_s = (double)(weft_clock_ns() - start) * 1e-9;
    const int64_t own = (int64_t)weft_model_weights_of(m->model)->bytes;
    int64_t all = own, most = own;
    WEFT_TRY(weft_comm_sum(m->replicas.own, &all, 1));
    WEFT_TRY(weft_comm_max(m->replicas.own, &most, 1));
    m->loaded_all = (uint64_t)all;
    m->loaded_most = (uint64_t)most;
    return WEFT_OK;
}

void wi_model_close(wi_model *m)
{
    weft_engine_destroy(m->engine);
    weft_model_destroy(m->model);
    weft_mesh_free(&m->mesh);
    weft_replicas_free(&m->replicas);
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

void wi_print_digest(const wi_model *m, const char hash[65])
{
    printf("digest %s %s %d%s\n", hash, weft_family_name(weft_model_weights_of(m->model)->family),
           WEFT_CONTRACT_VERSION, m->mesh.shape.fast ? " fast" : "");
}
