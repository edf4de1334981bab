// Recorded machines replayed: which GPU, cpus and NIC each rank gets, and what it is told.
#include "launch/placement.h"
#include "tests/check.h"

static wi_hardware machine; // larger than a stack frame should be

static const char *folder;

static void load(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK_OK(wi_hardware_load(path, &machine));
}

static wi_placement place(int rank, int size, const char *const *environment)
{
    wi_placement placement;
    const wi_placement_question q = {.local_rank = rank, .local_size = size, .environment = environment, .seen = -1};
    wi_placement_make(&machine, &q, &placement);
    return placement;
}

typedef struct {
    int device;
    const char *cpus, *nic, *ucx;
} expected;

static void check(const wi_placement *p, const expected *e)
{
    char cpus[256], ucx[40];
    CHECK_INT(p->device, e->device);
    CHECK_TEXT(wi_cpus_text(p->share.cpus, p->share.count, cpus, sizeof cpus), e->cpus);
    CHECK_TEXT(p->nic >= 0 ? machine.nic[p->nic].name : "", e->nic);
    wi_placement_ucx(&machine, p, ucx);
    CHECK_TEXT(ucx, e->ucx);
}

// All ranks of a job without a launcher's variables; nothing is to be said.
static void expect_all(const char *name, int size, const expected *all)
{
    load(name);
    for (int rank = 0; rank < size; rank++) {
        const wi_placement p = place(rank, size, NULL);
        check(&p, &all[rank]);
        CHECK_TEXT(p.say, "");
        CHECK_TEXT(p.shares, "");
        CHECK_INT(p.gpu, p.device);
        CHECK_INT(p.sharers, 1);
    }
}

static void test_machines(void)
{
    expect_all("laptop", 1, (const expected[]){{0, "0-7", "wlp3s0", ""}});
    expect_all("workstation", 1, (const expected[]){{0, "0-15", "enp5s0f0", ""}});
    expect_all("workstation", 2, (const expected[]){{0, "0-7", "enp5s0f0", ""}, {1, "8-15", "enp5s0f0", ""}});
    expect_all("bridge", 2, (const expected[]){{0, "0-11", "mlx5_0", "mlx5_0:1"}, {1, "12-23", "mlx5_0", "mlx5_0:1"}});
    // Nodes are not in the order of GPUs, nor are NICs.
    expect_all(
        "four", 4,
        (const expected[]){
            {0, "48-63", "hsn0", ""}, {1, "16-31", "hsn0", ""}, {2, "32-47", "hsn0", ""}, {3, "0-15", "hsn1", ""}});
    expect_all("four", 2, (const expected[]){{0, "48-63", "hsn0", ""}, {1, "16-31", "hsn0", ""}});
    expect_all("pcie8", 8,
               (const expected[]){{0, "0-4", "mlx5_0", "mlx5_0:1"},
                                  {1, "5-9", "mlx5_0", "mlx5_0:1"},
                                  {2, "10-14", "mlx5_0", "mlx5_0:1"},
                                  {3, "15-19", "mlx5_0", "mlx5_0:1"},
                                  {4, "20-24", "mlx5_0", "mlx5_0:1"},
                                  {5, "25-29", "mlx5_0", "mlx5_0:1"},
                                  {6, "30-34", "mlx5_0", "mlx5_0:1"},
                                  {7, "35-39", "mlx5_0", "mlx5_0:1"}});
    expect_all("dgx", 8,
               (const expected[]){{0, "0-13", "mlx5_0", "mlx5_0:1"},
                                  {1, "14-27", "mlx5_2", "mlx5_2:1"},
                                  {2, "28-41", "mlx5_3", "mlx5_3:1"},
                                  {3, "42-55", "mlx5_4", "mlx5_4:1"},
                                  {4, "56-69", "mlx5_5", "mlx5_5:1"},
                                  {5, "70-83", "mlx5_7", "mlx5_7:1"},
                                  {6, "84-97", "mlx5_8", "mlx5_8:1"},
                                  {7, "98-111", "mlx5_9", "mlx5_9:1"}});
    // Five ranks: four on the first socket, and one that has the second to itself.
    load("dgx");
    const wi_placement p = place(4, 5, NULL);
    check(&p, &(const expected){4, "56-111", "mlx5_5", "mlx5_5:1"});
}

#define ENV(...) ((const char *const[]){__VA_ARGS__, NULL})

static void expect_with(int rank, int size, const char *const *environment, const expected *e, const char *said)
{
    const wi_placement p = place(rank, size, environment);
    check(&p, e);
    CHECK_HAS(p.shares[0] ? p.shares : p.say, said);
    if (!said[0]) CHECK_TEXT(p.shares[0] ? p.shares : p.say, "");
}

static void test_visible(void)
{
    load("dgx");
    expect_with(0, 2, ENV("CUDA_VISIBLE_DEVICES=5,2"), &(const expected){0, "56-111", "mlx5_7", "mlx5_7:1"}, "");
    expect_with(1, 2, ENV("CUDA_VISIBLE_DEVICES=5,2"), &(const expected){1, "0-55", "mlx5_3", "mlx5_3:1"}, "");
    // Uuids, as long as they are of one GPU.
    expect_with(1, 2, ENV("CUDA_VISIBLE_DEVICES=GPU-5a000000,GPU-5f000005"),
                &(const expected){1, "56-111", "mlx5_7", "mlx5_7:1"}, "");
    expect_with(0, 1, ENV("CUDA_VISIBLE_DEVICES=GPU-5"), &(const expected){-1, "0-111", "", ""},
                "\"GPU-5\" is no GPU here");
    // A word that is no GPU ends the list, as CUDA does it.
    expect_with(0, 1, ENV("CUDA_VISIBLE_DEVICES=3,9,4"), &(const expected){0, "0-55", "mlx5_4", "mlx5_4:1"},
                "\"9\" is no GPU here");
    expect_with(1, 2, ENV("CUDA_VISIBLE_DEVICES=3,3"), &(const expected){0, "28-55", "mlx5_4", "mlx5_4:1"},
                "2 ranks of this host share one GPU");
    expect_with(0, 1, ENV("CUDA_VISIBLE_DEVICES="), &(const expected){-1, "0-111", "", ""},
                "leaves none of this machine's 8");
    expect_with(0, 1, ENV("CUDA_VISIBLE_DEVICES=-1"), &(const expected){-1, "0-111", "", ""}, "\"-1\" is no GPU here");
    // CUDA counts in an order of its own.
    wi_placement p;
    const char seen[2][16] = {"0000:df:00.0", "0000:1b:00.0"};
    const wi_placement_question q = {.local_rank = 0, .local_size = 2, .seen = 2, .seen_bus = seen};
    wi_placement_make(&machine, &q, &p);
    check(&p, &(const expected){0, "56-111", "mlx5_9", "mlx5_9:1"});
    CHECK_INT(p.gpu, 7);
}

static void test_sharing(void)
{
    load("workstation");
    expect_with(3, 4, NULL, &(const expected){1, "12-15", "enp5s0f0", ""},
                "4 ranks of this host share 2 GPUs and their memory, up to 2 on each");
    const wi_placement p = place(2, 3, NULL);
    CHECK_INT(p.device, 0);
    CHECK_INT(p.sharers, 2);
    CHECK_INT(place(1, 3, NULL).sharers, 1);
    CHECK_HAS(place(1, 3, NULL).shares, "start at most 2 here");
    // More ranks than cores: each may use all that are near.
    expect_with(39, 40, NULL, &(const expected){1, "0-31", "enp5s0f0", ""},
                "40 ranks of this host share 2 GPUs and their memory, up to 20");
    load("laptop");
    expect_with(1, 2, NULL, &(const expected){0, "4-7", "wlp3s0", ""}, "2 ranks of this host share one GPU");
}

static void test_slurm(void)
{
    const char *environment[WI_ENV_MAX + 1] = {NULL};
    load("slurm");
    CHECK_INT(machine.environment_count, 4);
    for (int i = 0; i < machine.environment_count; i++) environment[i] = machine.environment[i];
    wi_placement p = place(2, 4, environment);
    check(&p, &(const expected){0, "32-39", "mlx5_1", "mlx5_1:1"});
    CHECK_TEXT(p.say, "");
    CHECK_TEXT(p.shares, "");
    CHECK_INT(p.gpu, 2); // of the machine, which the cgroup opens alone
    CHECK(p.own_list);
    CHECK_INT(p.sharers, 1);
    // The same without Slurm's word on how many there are: one rank cannot know.
    p = place(2, 4, ENV("CUDA_VISIBLE_DEVICES=0", "SLURM_LOCALID=2"));
    CHECK_HAS(p.shares, "4 ranks of this host share one GPU");
    // Bound to cpus of another socket than its GPU's.
    machine.gpu[2].node = 0;
    p = place(2, 4, environment);
    CHECK_HAS(p.say, "none of the cpus that this rank may use is of NUMA node 0");
    // A step whose tasks all see the step's GPUs.
    load("dgx");
    expect_with(6, 8, ENV("CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6,7", "SLURM_LOCALID=6", "SLURM_GPUS_ON_NODE=8"),
                &(const expected){6, "84-97", "mlx5_8", "mlx5_8:1"}, "");
    // --gpus-per-task=1 without cgroups: each task has the number of its own in the list.
    expect_with(6, 8, ENV("CUDA_VISIBLE_DEVICES=6", "SLURM_LOCALID=6", "SLURM_GPUS_ON_NODE=8"),
                &(const expected){0, "56-111", "mlx5_8", "mlx5_8:1"}, "");
    // --gpus-per-task=2, four tasks: its own first.
    expect_with(2, 4, ENV("CUDA_VISIBLE_DEVICES=4,5", "SLURM_LOCALID=2", "SLURM_STEP_GPUS=0,1,2,3,4,5,6,7"),
                &(const expected){0, "56-111", "mlx5_5", "mlx5_5:1"}, "");
    // Half of the node's GPUs are this job's.
    expect_with(1, 4, ENV("CUDA_VISIBLE_DEVICES=4,5,6,7", "SLURM_LOCALID=1", "SLURM_GPUS_ON_NODE=4"),
                &(const expected){1, "70-83", "mlx5_7", "mlx5_7:1"}, "");
}

static void test_parts(void)
{
    const expected first = {0, "0-31", "mlx5_0", "mlx5_0:1"};
    load("parts");
    expect_with(0, 1, ENV("CUDA_VISIBLE_DEVICES=MIG-00000002-aaaa-bbbb-cccc-000000000002"), &first, "");
    CHECK_INT(place(0, 1, ENV("CUDA_VISIBLE_DEVICES=MIG-00000002-aaaa-bbbb-cccc-000000000002")).gpu, 0);
    CHECK_INT(place(0, 1, ENV("CUDA_VISIBLE_DEVICES=MIG-GPU-bbbb0002-1111-2222-3333-000000000002/1/0")).gpu, 1);
    // One that nobody has told of is CUDA's to know.
    const wi_placement p = place(0, 1, ENV("CUDA_VISIBLE_DEVICES=MIG-99999999-aaaa-bbbb-cccc-000000000009"));
    CHECK_INT(p.device, 0);
    CHECK_INT(p.gpu, -1);
    CHECK_INT(p.nic, -1);
    expect_with(
        0, 1,
        ENV("CUDA_VISIBLE_DEVICES=MIG-00000002-aaaa-bbbb-cccc-000000000002,MIG-00000003-aaaa-bbbb-cccc-000000000003"),
        &first, "of 2 parts of GPUs CUDA shows a process the first");
}

static void test_none(void)
{
    load("laptop");
    machine.gpus = 0;
    wi_placement p = place(0, 1, NULL);
    CHECK_INT(p.device, -1);
    CHECK_TEXT(p.say, "this machine has no GPU");
    load("laptop");
    machine.gpu[0].closed = true;
    p = place(0, 1, NULL);
    CHECK_INT(p.device, -1);
    CHECK_HAS(p.say, "may open none of them");
    // CUDA sees what nothing else does, as in some containers.
    const wi_placement_question q = {.local_rank = 1, .local_size = 2, .seen = 2};
    machine.gpus = 0;
    wi_placement_make(&machine, &q, &p);
    CHECK_INT(p.device, 1);
    CHECK_INT(p.gpu, -1);
    CHECK_INT(p.share.count, 4);
}

// Where nobody knows how far NICs are, one that is alone will do.
static void test_far(void)
{
    load("workstation");
    for (int i = 0; i < machine.nics; i++) machine.far_nic[0][i] = WI_FAR_UNKNOWN;
    wi_placement p = place(0, 1, NULL);
    CHECK_INT(p.nic, 0);
    machine.nic[1] = machine.nic[0];
    p = place(0, 1, NULL);
    CHECK_INT(p.nic, -1);
}

// Every rank of every machine and size: the devices of ranks differ as far as there are devices, and cpus near a GPU
// are shared out without one twice.
static void test_all(void)
{
    static const char *const names[] = {"laptop", "workstation", "bridge", "four", "pcie8", "dgx", "parts"};
    for (size_t m = 0; m < sizeof names / sizeof *names; m++) {
        load(names[m]);
        for (int size = 1; size <= 2 * machine.gpus; size++) {
            int on[WI_GPUS_MAX] = {0};
            bool taken[WEFT_CPUS_MAX] = {false};
            for (int rank = 0; rank < size; rank++) {
                const wi_placement p = place(rank, size, NULL);
                on[p.device]++;
                CHECK(p.share.count > 0);
                CHECK((p.shares[0] != 0) == (size > machine.gpus));
                CHECK_TEXT(p.say, "");
                for (int i = 0; i < p.share.count; i++) {
                    CHECK(!taken[p.share.cpus[i]]);
                    taken[p.share.cpus[i]] = true;
                }
            }
            for (int g = 0; g < machine.gpus; g++)
                CHECK(on[g] == size / machine.gpus || on[g] == size / machine.gpus + 1);
        }
    }
}

// What is printed is read back, and printed the same.
static void test_text(void)
{
    static const char *const names[] = {"laptop", "workstation", "bridge", "four", "pcie8", "dgx", "slurm", "parts"};
    for (size_t m = 0; m < sizeof names / sizeof *names; m++) {
        char *first, *second;
        size_t bytes;
        load(names[m]);
        FILE *out = open_memstream(&first, &bytes);
        wi_hardware_print(&machine, out);
        fclose(out);
        CHECK_OK(wi_hardware_parse("first", first, &machine));
        out = open_memstream(&second, &bytes);
        wi_hardware_print(&machine, out);
        fclose(out);
        CHECK_TEXT(second, first);
        free(first);
        free(second);
    }
    CHECK_FAILS(wi_hardware_parse("f", "", &machine), WEFT_FORMAT, "it is empty");
    CHECK_FAILS(wi_hardware_parse("f", "weft machine 2\n", &machine), WEFT_FORMAT, "f:1: the first line");
    CHECK_FAILS(wi_hardware_parse("f", "weft machine 1\ncpu 3\n", &machine), WEFT_FORMAT, "f:2: unknown \"cpu\"");
    CHECK_FAILS(wi_hardware_parse("f", "weft machine 1\nnode 0 cores 3-1\n", &machine), WEFT_FORMAT, "no list of cpus");
    CHECK_FAILS(wi_hardware_parse("f", "weft machine 1\ngpu 01:00\n", &machine), WEFT_FORMAT, "no bus id");
    CHECK_FAILS(wi_hardware_parse("f", "weft machine 1\nstate 0000:01:00.0 power 3\n", &machine), WEFT_FORMAT,
                "no such GPU");
    CHECK_FAILS(wi_hardware_parse("f", "weft machine 1\ngpu 0000:01:00.0 node 0\nfar 0000:01:00.0 NEAR\n", &machine),
                WEFT_FORMAT, "unknown \"NEAR\"");
    CHECK_FAILS(wi_hardware_load("/no/such/file", &machine), WEFT_NOT_FOUND, "/no/such/file");
}

// What is wrong in a text is told, and nothing that can be read leads astray.
static void test_broken(void)
{
    static const char *const names[] = {"bridge", "dgx", "slurm", "parts"};
    static char whole[1 << 14], text[1 << 14];
    uint64_t random = 1;
    for (size_t m = 0; m < sizeof names / sizeof *names; m++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, names[m]);
        FILE *in = fopen(path, "r");
        CHECK(in != NULL);
        const size_t bytes = fread(whole, 1, sizeof whole - 1, in);
        fclose(in);
        for (int turn = 0; turn < 3000; turn++) {
            memcpy(text, whole, bytes + 1);
            for (int change = 0; change < 1 + turn % 3; change++) {
                random = random * 6364136223846793005u + 1442695040888963407u;
                text[15 + (random >> 33) % (bytes - 15)] = " \n-,0199gpNVX|:."[random >> 20 & 15];
            }
            weft_error_clear();
            if (wi_hardware_parse("text", text, &machine) < 0) {
                CHECK_HAS(weft_error_text(), "text:");
                continue;
            }
            const wi_placement p = place(turn % 5, 5, turn % 2 ? ENV("CUDA_VISIBLE_DEVICES=1,0,GPU-5") : NULL);
            CHECK(p.gpu < machine.gpus && p.nic < machine.nics && p.share.count <= WEFT_CPUS_MAX);
        }
    }
}

int main(int argc, char **argv)
{
    CHECK_INT(argc, 2);
    folder = argv[1];
    test_machines();
    test_visible();
    test_sharing();
    test_slurm();
    test_parts();
    test_none();
    test_far();
    test_all();
    test_text();
    test_broken();
    return 0;
}
