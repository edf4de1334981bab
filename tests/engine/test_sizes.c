// What is told before there is a job is what ranks then take: weights, pass and cache of every rank of a mesh, and the
// blocks that requests need.
//   test_sizes          on the host; ranks are threads
//   test_sizes DEVICE [LINKS]  on a device, cuda or emulated, whose slots are the host's memory or its own, over ipc or
//                              nccl; ranks are processes
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/device.h"
#include "model/sizes.h"
#include "tests/check.h"
#include "tests/engine/rig.h"

typedef struct {
    const char *model;
    weft_mesh_shape shape;
    weft_dtype type;
    int group;
} trial;

static const char *device; // NULL: the host
static weft_links links;   // of devices

static void check_rank(const trial *t, const weft_mesh *mesh)
{
    const weft_cpu cpu = weft_cpu_detect();
    rig_options o = rig_defaults();
    rig r;
    o.type = t->type;
    o.group = t->group;
    o.mesh = mesh;
    o.device = device;
    o.cache_bytes = 0;
    o.cache_units = 77;
    rig_open(&r, t->model, &o);
    weft_sizes_options own = {.model = *weft_model_options_of(r.model),
                              .stored = weft_model_weights_of(r.model)->plain,
                              .isa = o.isa,
                              .threads = o.threads,
                              .node_ranks = t->shape.tp * t->shape.cp,
                              .links = links,
                              .block = o.block};
    weft_model_sizes sizes = {0};
    own.model.weights.cpu = &cpu;
    const weft_mesh at = weft_mesh_at(&t->shape, weft_mesh_rank(mesh)); // without groups
    const weft_layout layout = weft_layout_of(weft_model_config_of(r.model), &at, t->group);
    CHECK_OK(weft_model_sizes_of(weft_model_config_of(r.model), &layout, &own, &sizes));
    CHECK_INT(sizes.weights, weft_model_weights_of(r.model)->bytes);
    const weft_cache_cut *cut = weft_pool_cut(weft_engine_pool(r.engine));
    CHECK_INT(sizes.cut.unit, cut->unit);
    CHECK_INT(sizes.cut.kinds, cut->kinds);
    uint64_t all = sizes.weights + sizes.pass + sizes.rotations + sizes.cut.unit * (uint64_t)o.cache_units;
    if (device) {
        const weft_engine_options engine = {.block = o.block, .requests = o.requests, .chunk = o.chunk};
        CHECK(own.model.weights.capability > 0);
        all += sizes.exchange_device + weft_engine_device_bytes(weft_model_config_of(r.model), &sizes.cut, &t->shape,
                                                                &engine, own.model.logit_rows, o.threads);
    }
    CHECK_INT(all, r.device->allocated);
    CHECK((sizes.exchange > 0) == (t->shape.tp * t->shape.cp > 1));
    rig_close(&r);
}

static weft_status body(weft_job *job, int rank, void *arg)
{
    const trial *t = arg;
    weft_mesh mesh;
    CHECK_OK(weft_mesh_create(weft_job_world(job), &t->shape, &mesh));
    CHECK_INT(weft_mesh_rank(&mesh), rank);
    check_rank(t, &mesh);
    CHECK_OK(weft_comm_barrier(weft_job_world(job)));
    weft_mesh_free(&mesh);
    return WEFT_OK;
}

static void check_blocks(int ranks, int block, int64_t positions)
{
    const int64_t blocks = (positions + block - 1) / block;
    int64_t most = 0;
    for (int key = 0; key < WEFT_FOLD_PLACES; key++) {
        int64_t count[WEFT_FOLD_PLACES] = {0};
        for (int64_t i = 0; i < blocks; i++) {
            const int owner = weft_fold_owner(i * block / WEFT_FOLD_CHUNK, ranks, key);
            if (++count[owner] > most) most = count[owner];
        }
    }
    const weft_cache_cut cut = {.kinds = 1, .groups = {3}};
    const weft_mesh_shape mesh = {.tp = 1, .cp = ranks};
    const weft_engine_options options = {.block = block, .requests = 5, .chunk = 64};
    CHECK_INT(weft_engine_units(&cut, &mesh, &options, positions), 15 * most);
}

// In a process of its own: a driver that was started does not survive a fork.
static void skip_without_device(void)
{
    const weft_device_kind *kind;
    int count = 0, ended = 0;
    fflush(stdout);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (weft_device_kind_open(device, &kind) < 0 || kind->count(&count) < 0 || count == 0)
            SKIP("no device %s: %s", device, weft_error_text());
        exit(0);
    }
    CHECK(waitpid(child, &ended, 0) == child && WIFEXITED(ended));
    if (WEXITSTATUS(ended) != 0) exit(WEXITSTATUS(ended));
}

static void run(const trial *t)
{
    const int ranks = t->shape.tp * t->shape.cp;
    weft_job_options options = {.deadline_ns = 300000000000};
    weft_job *job;
    int code = 0;
    options.transport = WEFT_TRANSPORT_THREADS;
    if (!device) {
        CHECK_OK(weft_job_run_threads(&options, ranks, body, (void *)(uintptr_t)t));
        return;
    }
    options.transport = WEFT_TRANSPORT_AUTO;
    options.links = links;
    CHECK_OK(weft_job_open_local(&options, ranks, &job, &code));
    if (job) { // a rank, and not the process that waits for them
        CHECK_OK(body(job, weft_comm_rank(weft_job_world(job)), (void *)(uintptr_t)t));
        weft_job_close(job);
        exit(0);
    }
    CHECK_INT(code, 0);
}

int main(int argc, char **argv)
{
    static const trial trials[] = {
        {"llama-plain", {.tp = 3, .cp = 1, .dense = WEFT_DENSE_TP}, WEFT_BF16, 0},
        {"qwen2", {.tp = 2, .cp = 2, .dense = WEFT_DENSE_TP}, WEFT_I4, 32},
        {"qwen3-moe", {.tp = 2, .cp = 2, .dense = WEFT_DENSE_MESH}, WEFT_I8, 0},
        {"gpt-oss", {.tp = 1, .cp = 3, .dense = WEFT_DENSE_MESH}, WEFT_F32, 0},
        {"gemma2", {.tp = 11, .cp = 1, .dense = WEFT_DENSE_TP}, WEFT_BF16, 0},
        {"phi3", {.tp = 1, .cp = 1, .dense = WEFT_DENSE_TP}, WEFT_BF16, 0},
        {"mixtral", {.tp = 5, .cp = 2, .dense = WEFT_DENSE_MESH}, WEFT_BF16, 0},
    };
    for (int ranks = 1; ranks <= 32; ranks += 3)
        for (int block = 16; block <= 256; block *= 4)
            for (int64_t positions = 1; positions < 70000; positions = positions * 3 + 100)
                check_blocks(ranks, block, positions);
    device = argc > 1 ? argv[1] : NULL;
    links = WEFT_LINKS_HOST;
    while (argc > 2 && strcmp(weft_links_name(links), argv[2]) != 0) CHECK(links++ < WEFT_LINKS_NCCL);
    if (device) skip_without_device();
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) run(&trials[i]);
    return 0;
}
