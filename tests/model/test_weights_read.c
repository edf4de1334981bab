// How much of a checkpoint is read when ranks load it together: each byte of a matrix once, whatever the mesh; and what
// they have then is what each has that loads its part alone.
#include <stdio.h>

#include "model/weights.h"
#include "tests/check.h"

typedef struct {
    weft_mesh_shape shape;
    weft_dtype type;
    int group, threads;
} loads;

static weft_cpu cpu;
static weft_kernels table;
static weft_model_config config;
static weft_checkpoint *checkpoint;
static int64_t read_before, read_after;

// Bytes that this process, whose threads are the ranks, was given by read and its kin; -1 where that is not told.
static int64_t bytes_read(void)
{
    char line[64];
    long long bytes = -1;
    FILE *io = fopen("/proc/self/io", "r");
    while (io && bytes < 0 && fgets(line, sizeof line, io))
        if (sscanf(line, "rchar: %lld", &bytes) != 1) bytes = -1;
    if (io) fclose(io);
    return bytes;
}

static void check_matrix(const weft_gemm_weight *a, const weft_gemm_weight *b)
{
    CHECK_INT(a->n, b->n);
    CHECK_INT(a->k, b->k);
    CHECK_INT(a->panels, b->panels);
    if (a->n > 0) CHECK_BYTES(a->data, b->data, (size_t)a->panels * a->panel_bytes);
}

static void check_same(const weft_weights *a, const weft_weights *b, const weft_layout *layout)
{
    const size_t hidden = (size_t)config.hidden;
    CHECK_INT(a->bytes, b->bytes);
    check_matrix(&a->embedding, &b->embedding);
    CHECK_BYTES(a->final_norm, b->final_norm, hidden * sizeof(float));
    check_matrix(&a->head, &b->head);
    for (int64_t i = 0; i < config.layers; i++) {
        const weft_layer_weights *x = &a->layer[i], *y = &b->layer[i];
        CHECK_BYTES(x->input_norm, y->input_norm, hidden * sizeof(float));
        check_matrix(&x->qkv, &y->qkv);
        check_matrix(&x->o, &y->o);
        check_matrix(&x->ffn.gate_up, &y->ffn.gate_up);
        check_matrix(&x->ffn.down, &y->ffn.down);
    }
}

static weft_status load(weft_job *job, int rank, void *arg)
{
    const loads *how = arg;
    const weft_weights_options options = {.type = how->type, .group = how->group, .cpu = &cpu};
    const weft_team_options team_options = {.threads = how->threads};
    weft_comm *world = weft_job_world(job);
    weft_op op = {.table = &table};
    weft_device *device;
    weft_mesh mesh;
    weft_weights together = {0}, alone = {0};
    CHECK_OK(weft_team_create(&team_options, &op.team));
    CHECK_OK(weft_device_host(op.team, &device));
    CHECK_OK(weft_mesh_create(world, &how->shape, &mesh));
    const weft_layout layout = weft_layout_of(&config, &mesh, how->group);
    CHECK_OK(weft_comm_barrier(world));
    if (rank == 0) read_before = bytes_read();
    CHECK_OK(weft_comm_barrier(world));
    CHECK_OK(weft_weights_load(checkpoint, &config, &layout, &options, &op, device, &together));
    CHECK_OK(weft_comm_barrier(world));
    if (rank == 0) read_after = bytes_read();
    CHECK_OK(weft_comm_barrier(world));
    const weft_mesh same = weft_mesh_at(&how->shape, rank); // without groups
    const weft_layout own = weft_layout_of(&config, &same, how->group);
    CHECK_OK(weft_weights_load(checkpoint, &config, &own, &options, &op, device, &alone));
    check_same(&together, &alone, &layout);
    weft_weights_free(&together);
    weft_weights_free(&alone);
    weft_mesh_free(&mesh);
    weft_device_destroy(device);
    weft_team_destroy(op.team);
    return WEFT_OK;
}

int main(void)
{
    static loads all[] = {
        {{.tp = 1, .cp = 1}, WEFT_BF16, 0, 2}, {{.tp = 4, .cp = 1}, WEFT_BF16, 0, 1},
        {{.tp = 4, .cp = 1}, WEFT_I8, 0, 2},   {{.tp = 3, .cp = 1}, WEFT_I8, 0, 1},
        {{.tp = 4, .cp = 1}, WEFT_I4, 64, 1},  {{.tp = 1, .cp = 2}, WEFT_BF16, 0, 2},
        {{.tp = 1, .cp = 5}, WEFT_I8, 0, 1},   {{.tp = 2, .cp = 2}, WEFT_BF16, 0, 1},
        {{.tp = 2, .cp = 2}, WEFT_I8, 0, 1},   {{.tp = 2, .cp = 2, .dense = WEFT_DENSE_MESH}, WEFT_I8, 0, 1},
        {{.tp = 2, .cp = 3}, WEFT_I8, 32, 1},  {{.tp = 2, .cp = 1}, WEFT_E4M3, 128, 1},
    };
    weft_isa isa;
    cpu = weft_cpu_detect();
    CHECK_OK(weft_isa_choose(&cpu, &isa));
    table = weft_kernels_for(isa);
    CHECK_OK(weft_model_config_read(WEFT_DEMO, &config));
    CHECK_OK(weft_checkpoint_open(WEFT_DEMO, &checkpoint));
    const double stored = (double)weft_checkpoint_bytes(checkpoint);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const weft_mesh_shape *s = &all[i].shape;
        CHECK_OK(weft_job_run_threads(&(weft_job_options){0}, s->tp * s->cp, load, &all[i]));
        const double times = (double)(read_after - read_before) / stored;
        printf("tp %d x cp %d, dense %s, %s by %d: %.3f of the checkpoint\n", s->tp, s->cp,
               s->dense == WEFT_DENSE_MESH ? "mesh" : "tp", weft_dtype_name(all[i].type), all[i].group, times);
        if (read_before < 0) continue; // not told here
        CHECK(times >= 1);
        CHECK(times <= 1.05);
    }
    weft_checkpoint_close(checkpoint);
    weft_model_config_fini(&config);
    return 0;
}
