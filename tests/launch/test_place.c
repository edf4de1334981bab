// Shares of cores: whole, disjoint, fair, and inside a NUMA node where that costs nobody anything.
#include "launch/place.h"
#include "tests/check.h"

static weft_topology topology; // larger than a stack frame should be

// `nodes` NUMA nodes with so many cores each, cpus numbered from `first`, and a second cpu in each core.
static void make(int nodes, const int *cores, int first)
{
    memset(&topology, 0, sizeof topology);
    for (int node = 0; node < nodes; node++)
        for (int i = 0; i < cores[node]; i++) {
            topology.numa_of[topology.allowed_count] = node;
            topology.allowed[topology.allowed_count++] = first++;
        }
    topology.allowed_cores = topology.allowed_count;
    for (int i = 0; i < topology.allowed_cores; i++) {
        topology.numa_of[topology.allowed_count] = topology.numa_of[i];
        topology.allowed[topology.allowed_count++] = first++;
    }
    topology.cpus = topology.allowed_count;
}

static int node_of(int cpu)
{
    for (int i = 0; i < topology.allowed_count; i++)
        if (topology.allowed[i] == cpu) return topology.numa_of[i];
    CHECK_FAIL("cpu %d is not allowed", cpu);
}

static void expect(int ranks, int rank, const char *cpus)
{
    wi_share share;
    char text[128];
    CHECK(wi_share_make(&topology, ranks, rank, 1, &share));
    CHECK_TEXT(wi_cpus_text(share.cpus, share.count, text, sizeof text), cpus);
}

static void test_known(void)
{
    make(1, (const int[]){2}, 0);
    expect(1, 0, "0-1");
    expect(2, 0, "0");
    expect(2, 1, "1");
    make(2, (const int[]){4, 4}, 8);
    expect(2, 0, "8-11");
    expect(2, 1, "12-15");
    expect(4, 2, "12-13");
    // Three even shares would have one across both nodes and be no larger than two.
    expect(3, 0, "8-9");
    expect(3, 1, "10-11");
    expect(3, 2, "12-15");
    make(2, (const int[]){6, 2}, 0);
    expect(4, 0, "0-1");
    expect(4, 2, "4-5");
    expect(4, 3, "6-7");
    // Two nodes of three cores cannot give four ranks a core each and one of six to all: 1, 2, 1, 2.
    make(2, (const int[]){3, 3}, 0);
    expect(4, 0, "0");
    expect(4, 1, "1-2");
    expect(4, 3, "4-5");
    // One rank that needs both nodes.
    expect(1, 0, "0-5");
}

static void test_all(void)
{
    const int layouts[][2] = {{1, 0}, {7, 0}, {4, 4}, {5, 3}, {1, 7}, {16, 16}, {3, 8}};
    for (size_t l = 0; l < sizeof layouts / sizeof layouts[0]; l++) {
        make(layouts[l][1] ? 2 : 1, layouts[l], 3);
        int cores = topology.allowed_cores;
        for (int ranks = 1; ranks <= cores; ranks++) {
            bool taken[WEFT_CPUS_MAX] = {false};
            int across = 0, least = cores, given = 0;
            for (int rank = 0; rank < ranks; rank++) {
                wi_share share;
                CHECK(wi_share_make(&topology, ranks, rank, 0, &share));
                CHECK(share.count > 0);
                if (share.count < least) least = share.count;
                given += share.count;
                for (int i = 0; i < share.count; i++) {
                    CHECK(!taken[share.cpus[i]]);
                    taken[share.cpus[i]] = true;
                }
                across += node_of(share.cpus[0]) != node_of(share.cpus[share.count - 1]);
            }
            CHECK(given <= cores && given > cores - ranks); // a node too small for a rank may stay empty
            CHECK_INT(least, cores / ranks);
            CHECK(across <= 1); // two nodes have one border
        }
    }
}

static void test_too_many(void)
{
    wi_share share;
    make(2, (const int[]){2, 2}, 0);
    CHECK(!wi_share_make(&topology, 5, 0, 1, &share));
    CHECK_INT(share.count, 8); // all cpus, siblings too
    CHECK(!wi_share_make(&topology, 2, 0, 3, &share));
    CHECK(wi_share_make(&topology, 2, 0, 2, &share));
    CHECK(!wi_share_make(&topology, 4096, 0, 1024, &share));
}

static void test_text(void)
{
    char text[128], small[12];
    CHECK_TEXT(wi_cpus_text(NULL, 0, text, sizeof text), "");
    CHECK_TEXT(wi_cpus_text((const int[]){5}, 1, text, sizeof text), "5");
    CHECK_TEXT(wi_cpus_text((const int[]){8, 0, 2, 1, 9, 1}, 6, text, sizeof text), "0-2,8-9");
    CHECK_TEXT(wi_cpus_text((const int[]){1, 3, 5, 7, 9, 11}, 6, small, sizeof small), "1,3,5,7...");
}

int main(void)
{
    test_known();
    test_all();
    test_too_many();
    test_text();
    return 0;
}
