// The reader is inside core/, so its source is compiled in; the trees that it reads are made here.
#include "core/cgroup.c" // NOLINT(bugprone-suspicious-include)

#include <sys/stat.h>
#include <unistd.h>

#include "tests/check.h"

static char root[] = "/tmp/weft-test-cgroup-XXXXXX";

static void make(const char *path)
{
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s/%s", root, path);
    CHECK_INT(mkdir(full, 0700), 0);
}

static void put(const char *path, const char *text)
{
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s/%s", root, path);
    FILE *file = fopen(full, "w");
    CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static wi_cgroup_memory read_as(const char *table)
{
    static char one_root[PATH_MAX], two_root[PATH_MAX], path[PATH_MAX];
    snprintf(one_root, sizeof one_root, "%s/one", root);
    snprintf(two_root, sizeof two_root, "%s/two", root);
    snprintf(path, sizeof path, "%s/table", root);
    flavour one = version1, two = version2;
    one.root = one_root;
    two.root = two_root;
    put("table", table);
    return read_table(path, &one, &two);
}

static void check(const char *table, int64_t limit, int64_t available)
{
    wi_cgroup_memory memory = read_as(table);
    CHECK_INT(memory.limit, limit);
    CHECK_INT(memory.available, available);
}

static void plant(void)
{
    CHECK(mkdtemp(root));
    make("one");
    put("one/memory.limit_in_bytes", "9223372036854771712\n"); // version 1's way to say "none"
    put("one/memory.usage_in_bytes", "5000\n");
    make("one/job");
    put("one/job/memory.limit_in_bytes", "1000\n");
    put("one/job/memory.usage_in_bytes", "700\n");
    put("one/job/memory.stat", "inactive_file 1\ntotal_cache 5\ntotal_inactive_file 200\n");
    make("two");
    make("two/job");
    put("two/job/memory.max", "4000\n");
    put("two/job/memory.current", "3900\n");
    make("two/job/step");
    put("two/job/step/memory.max", "max\n");
    put("two/job/step/memory.current", "10\n");
    make("two/job/small");
    put("two/job/small/memory.max", "3000\n");
    put("two/job/small/memory.current", "500\n");
    put("two/job/small/memory.stat", "anon 1\ninactive_file 300\n");
    make("two/full");
    put("two/full/memory.max", "100\n");
    put("two/full/memory.current", "150\n");
}

int main(void)
{
    plant();
    check("", INT64_MAX, INT64_MAX);
    check("12:pids:/job\n3:cpu,memory:/job\n", 1000, 500);
    check("3:cpu,memory_not:/job\n", INT64_MAX, INT64_MAX);
    check("4:memory:/of/the/host\n", 9223372036854771712, 9223372036854771712 - 5000);
    check("0::/job/step\n", 4000, 100);  // the limit stands above
    check("0::/job/small\n", 3000, 100); // the least of each, from different levels
    check("0::/full\n", 100, 0);
    check("0::/\n", INT64_MAX, INT64_MAX);
    check("4:memory:/job\n0::/job/small\n", 1000, 100);
    check("nonsense\n:\n::\n", INT64_MAX, INT64_MAX);
    wi_cgroup_memory here = wi_cgroup_memory_read();
    CHECK(here.limit > 0 && here.available >= 0 && here.available <= here.limit);

    char command[PATH_MAX];
    snprintf(command, sizeof command, "rm -r '%s'", root);
    CHECK_INT(system(command), 0);
    return 0;
}
