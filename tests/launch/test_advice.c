// Allocations as Slurm and host files tell them, and the lines that are made of them.
#include "launch/advice.h"
#include "tests/check.h"

static const char *const none[] = {NULL};
static const wi_surroundings here = {.cores = 8, .cpus = 16, .domains = 2, .srun = true, .bridges = "", .own = none};

// ---- lists ----

static void names(const char *list, const char *expected)
{
    wi_allocation a = {0};
    char text[1024] = "";
    size_t used = 0;
    CHECK_OK(wi_allocation_add_list(&a, list));
    for (int i = 0; i < a.hosts; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, i > 0 ? " %s" : "%s", a.host[i].name);
    CHECK_TEXT(text, expected);
    wi_allocation_free(&a);
}

static void no_names(const char *list)
{
    wi_allocation a = {0};
    CHECK_FAILS(wi_allocation_add_list(&a, list), WEFT_INVALID, "");
    wi_allocation_free(&a);
}

static void test_lists(void)
{
    names("n1", "n1");
    names("a,b-c.d", "a b-c.d");
    names("n[1-3]", "n1 n2 n3");
    names("n[08-11]", "n08 n09 n10 n11");
    names("n[001,3,9-10]", "n001 n3 n9 n10");
    names("rack[1-2]n[08-09,20],login-a", "rack1n08 rack1n09 rack1n20 rack2n08 rack2n09 rack2n20 login-a");
    names("a[1-2]-ib0,b[7]", "a1-ib0 a2-ib0 b7");
    static const char *const wrong[] = {"",        ",a",    "a,,b",           "a[",    "a]",
                                        "a[]",     "a[x]",  "a[2-1]",         "a[1-]", "a[1,]x[",
                                        "a[1[2]]", "a[1-2", "a[1-999999999]", "a[1 2]"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) no_names(wrong[i]);

    wi_allocation many = {0};
    CHECK_OK(wi_allocation_add_list(&many, "n[1-4096]"));
    CHECK_INT(many.hosts, 4096);
    CHECK_TEXT(many.host[4095].name, "n4096");
    wi_allocation_free(&many);

    int counts[4];
    CHECK_OK(wi_counts_expand("2(x3),1", "N", counts, 4));
    CHECK(counts[0] == 2 && counts[2] == 2 && counts[3] == 1);
    CHECK_FAILS(wi_counts_expand("2(x3)", "N", counts, 4), WEFT_INVALID, "3 hosts of 4");
    CHECK_FAILS(wi_counts_expand("2(x5)", "N", counts, 4), WEFT_INVALID, "N=2(x5)");
    CHECK_FAILS(wi_counts_expand("2(x3,1", "N", counts, 4), WEFT_INVALID, "N=");
    CHECK_FAILS(wi_counts_expand("a", "N", counts, 1), WEFT_INVALID, "N=a");
}

static void test_files(void)
{
    wi_allocation a;
    CHECK_OK(wi_allocation_text("# all\nh0 slots=4 max_slots=8\n\n  h1\tslots = 2 # two\nh2\nh2\nh0 slots=1", "f", &a));
    CHECK_INT(a.hosts, 3);
    CHECK_INT(a.host[0].slots, 5);
    CHECK_INT(a.host[1].slots, 2);
    CHECK_INT(a.host[2].slots, 2);
    wi_allocation_free(&a);
    CHECK_OK(wi_allocation_text("h0 max_slots=8", "f", &a));
    CHECK_INT(a.host[0].slots, 0);
    wi_allocation_free(&a);
    CHECK_FAILS(wi_allocation_text("# none\n", "f", &a), WEFT_INVALID, "f: names no host");
    CHECK_FAILS(wi_allocation_text("h0\nh1 slots=x\n", "f", &a), WEFT_INVALID, "f:2: slots=");
    CHECK_FAILS(wi_allocation_file("/no/such/file", &a), WEFT_NOT_FOUND, "--hostfile /no/such/file");
}

// ---- lines ----

static char line[8192];

// The whole of what is printed.
static const char *told(wi_allocation *a, const wi_wish *wish, const wi_surroundings *on)
{
    static const char *const rest[] = {"run", "it's", NULL};
    static wi_advice advice;
    wi_spread spread;
    wi_wish w = *wish;
    if (!w.mpi) w.mpi = "pmix";
    CHECK_OK(wi_spread_make(a, &w, on, &spread));
    CHECK_OK(wi_advice_make(a, &w, on, &spread, "weft", rest, &advice));
    FILE *out = fmemopen(line, sizeof line, "w");
    CHECK(out != NULL);
    wi_advice_print(a, &spread, &advice, out);
    fclose(out);
    wi_spread_free(&spread);
    wi_allocation_free(a);
    return line;
}

static wi_allocation job(const char *const *variables)
{
    wi_allocation a = {0};
    clearenv();
    for (; *variables; variables += 2) CHECK_INT(setenv(variables[0], variables[1], 1), 0);
    CHECK_OK(wi_allocation_slurm(&a));
    return a;
}
#define JOB(...) job((const char *const[]){__VA_ARGS__, NULL})

static void test_slurm(void)
{
    wi_allocation a = {0};
    clearenv();
    CHECK_INT(wi_allocation_slurm(&a), WEFT_NOT_FOUND);

    // salloc --nodes 4 --ntasks-per-node 8 --cpus-per-task 8
    a = JOB("SLURM_JOB_NODELIST", "n[08-11]", "SLURM_TASKS_PER_NODE", "8(x4)", "SLURM_JOB_CPUS_PER_NODE", "64(x4)",
            "SLURM_NTASKS", "32", "SLURM_CPUS_PER_TASK", "8");
    CHECK_HAS(told(&a, &(wi_wish){.tp = 8}, &here), "tp 8 x cp 4; each tp group inside a node");
    CHECK_HAS(line, "\n#   31      7  8            0    3    7  n11\n");
    CHECK_HAS(line, "\nWEFT_DEADLINE=20 srun --mpi=pmix --kill-on-bad-exit=1 --nodes=4 --ntasks=32 --ntasks-per-node=8 "
                    "--distribution=block --cpus-per-task=8 --cpu-bind=cores weft run 'it'\\''s'\n");

    // salloc --nodes 2 --gpus-per-node 4, of which half is used
    a = JOB("SLURM_JOB_NODELIST", "g[1-2]", "SLURM_TASKS_PER_NODE", "1(x2)", "SLURM_JOB_CPUS_PER_NODE", "32(x2)",
            "SLURM_GPUS_ON_NODE", "4");
    CHECK_INT(a.gpus, 4);
    for (int i = 0; i < 2; i++) a.host[i].slots = 0;
    CHECK_HAS(told(&a, &(wi_wish){.gpus = 4, .tp = 4, .dp = 2}, &here),
              "dp 2 x tp 4 x cp 1; each replica inside a node");
    CHECK_HAS(line, "--ntasks=8 --ntasks-per-node=4");
    CHECK_HAS(line, "--cpus-per-task=8");
    CHECK_HAS(line, "--gpu-bind=none");
    CHECK_HAS(line, "\n#    6      2  2            1    0    2  g2\n");

    // Unlike numbers of tasks: srun deals them in order, and a group may span nodes.
    a = JOB("SLURM_JOB_NODELIST", "a,b", "SLURM_TASKS_PER_NODE", "3,1", "SLURM_JOB_CPUS_PER_NODE", "3,1",
            "SLURM_NTASKS", "4");
    CHECK_HAS(told(&a, &(wi_wish){.tp = 2, .cp = 2}, &here), "tp groups span nodes");
    CHECK(!strstr(line, "--ntasks-per-node"));

    // mpirun there: in cores, where Slurm counts their threads.
    a = JOB("SLURM_JOB_NODELIST", "a,b", "SLURM_TASKS_PER_NODE", "2(x2)", "SLURM_JOB_CPUS_PER_NODE", "16(x2)");
    CHECK_HAS(told(&a, &(wi_wish){.by = WI_BY_MPIRUN}, &here),
              "\nmpirun -np 4 --map-by ppr:2:node:PE=4 --bind-to core -x WEFT_DEADLINE=20 weft run ");
}

static wi_allocation file(const char *text)
{
    wi_allocation a;
    CHECK_OK(wi_allocation_text(text, "hosts", &a));
    return a;
}

static void test_hosts(void)
{
    static const char *const own[] = {"WEFT_ISA", NULL};
    wi_surroundings other = here;
    wi_allocation a = file("h0 slots=2\nh1 slots=2\n");
    CHECK_HAS(told(&a, &(wi_wish){.tp = 2, .cp = 2}, &here), "each tp group inside a node");
    CHECK_HAS(line,
              "\nmpirun -np 4 --hostfile hosts --map-by ppr:2:node:PE=4 --bind-to core -x WEFT_DEADLINE=20 weft run ");
    CHECK_HAS(line, "\n#    3      1  4-7          0    1    1  h1\n");

    // A group of two does not begin in the third slot.
    a = file("h0 slots=3\nh1 slots=2\n");
    CHECK_HAS(told(&a, &(wi_wish){.tp = 2, .cp = 2}, &here), "each tp group inside a node");
    a = file("h0 slots=3\nh1 slots=1\n");
    CHECK_HAS(told(&a, &(wi_wish){.tp = 2, .cp = 2}, &here), "tp groups span nodes");
    CHECK_HAS(line, "--host h0:3,h1:1 --map-by slot --bind-to none");

    // As few hosts as have room, or as many as are asked for.
    a = file("h0 slots=4\nh1 slots=4\n");
    CHECK_HAS(told(&a, &(wi_wish){.ranks = 4}, &here), "# 4 ranks on 1 host by mpirun");
    a = file("h0 slots=4\nh1 slots=4\n");
    CHECK_HAS(told(&a, &(wi_wish){.ranks = 4, .nodes = 2}, &here), "ppr:2:node");
    a = file("h0\nh1\n"); // one for each NUMA domain
    CHECK_HAS(told(&a, &(wi_wish){0}, &here), "# 4 ranks on 2 hosts by mpirun, 4 threads each");

    other.root = true;
    other.bridges = "docker0";
    other.own = own;
    a = file("h0 slots=16\nh1 slots=16\n");
    CHECK_HAS(
        told(&a, &(wi_wish){.threads = 1, .deadline = true, .ucx = true}, &other),
        "mpirun --allow-run-as-root -np 32 --hostfile hosts --map-by ppr:16:node --bind-to none --oversubscribe -x "
        "WEFT_ISA --mca btl_tcp_if_exclude lo,docker0 --mca oob_tcp_if_exclude lo,docker0 --mca "
        "mpi_yield_when_idle 1 -x UCX_TLS=tcp,self -x UCX_KEEPALIVE_INTERVAL=10s weft run ");
    other.rdma = true;
    a = file("h0\nh1\n");
    CHECK_HAS(told(&a, &(wi_wish){0}, &other), "--mca pml ucx");
    CHECK(!strstr(line, "if_exclude"));

    CHECK_OK(wi_allocation_numbers(0, &a));
    CHECK_HAS(told(&a, &(wi_wish){.ranks = 4}, &here), "\nweft -n 4 run ");
    CHECK(!strstr(line, "DEADLINE"));
    CHECK_OK(wi_allocation_numbers(8, &a));
    CHECK_HAS(told(&a, &(wi_wish){.ranks = 16, .tp = 2}, &here), "--host node0:2,node1:2,");
}

static void refused(const char *text, const wi_wish *wish, const char *part)
{
    wi_allocation a = file(text);
    wi_spread spread;
    CHECK_FAILS(wi_spread_make(&a, wish, &here, &spread), WEFT_USAGE, part);
    wi_allocation_free(&a);
}

int main(void)
{
    test_lists();
    test_files();
    test_slurm();
    test_hosts();
    refused("a slots=2\nb slots=2\n", &(wi_wish){.ranks = 8},
            "8 ranks do not fit hosts, which has room for 4 on 2 hosts");
    refused("a slots=2\n", &(wi_wish){.nodes = 2}, "--nodes 2: hosts has 1 host");
    refused("a slots=2\nb slots=6\n", &(wi_wish){.ranks = 8, .nodes = 2}, "over so many --nodes");
    refused("a slots=6\n", &(wi_wish){.dp = 4}, "--dp 4");
    refused("a slots=6\n", &(wi_wish){.tp = 4}, "--tp 4");
    refused("a\nb\n", &(wi_wish){.by = WI_BY_WEFT}, "--by weft");
    refused("a\nb\n", &(wi_wish){.by = WI_BY_SRUN}, "--by srun");
    return 0;
}
