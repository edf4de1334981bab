#include "core/cgroup.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

// The files of one version of cgroups.
typedef struct {
    const char *root, *limit, *usage, *dropped; // `dropped`: the line of memory.stat that counts what can be dropped
} flavour;

static const flavour version1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                                 "total_inactive_file"};
static const flavour version2 = {"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"};

// -1 when the file is not there or holds no number, as "max" is none.
static int64_t read_number(const char *folder, const char *name)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return -1;
    FILE *file = fopen(path, "re");
    if (!file) return -1;
    int64_t value = -1;
    if (fscanf(file, "%" SCNd64, &value) != 1) value = -1;
    fclose(file);
    return value;
}

static int64_t read_stat(const char *folder, const char *key)
{
    char path[PATH_MAX], line[256], name[64];
    if (snprintf(path, sizeof path, "%s/memory.stat", folder) >= (int)sizeof path) return 0;
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    int64_t found = 0, value = 0;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%63s %" SCNd64, name, &value) == 2 && strcmp(name, key) == 0) found = value;
    }
    fclose(file);
    return found;
}

static void narrow(wi_cgroup_memory *memory, const char *folder, const flavour *files)
{
    int64_t limit = read_number(folder, files->limit);
    if (limit < 0) return;
    if (limit < memory->limit) memory->limit = limit;
    int64_t usage = read_number(folder, files->usage);
    if (usage < 0) return;
    int64_t left = limit - usage + read_stat(folder, files->dropped);
    if (left < 0) left = 0;
    if (left < memory->available) memory->available = left < limit ? left : limit;
}

// The cgroup at `path` and all above it. Inside a container the path may be the host's and lead nowhere; then only the
// root counts, which is the container's own.
static void narrow_upward(wi_cgroup_memory *memory, const flavour *files, const char *path)
{
    char folder[PATH_MAX];
    int length = snprintf(folder, sizeof folder, "%s%s", files->root, path);
    if (length >= (int)sizeof folder) return;
    size_t root = strlen(files->root);
    for (;;) {
        narrow(memory, folder, files);
        char *slash = strrchr(folder, '/');
        if (!slash || slash < folder + root) return;
        *slash = 0;
    }
}

static bool has_controller(const char *list, const char *wanted)
{
    size_t length = strlen(wanted);
    for (const char *at = list; (at = strstr(at, wanted)) != NULL; at += length) {
        if ((at == list || at[-1] == ',') && (at[length] == 0 || at[length] == ',')) return true;
    }
    return false;
}

// `table` is /proc/self/cgroup: lines of "number:controllers:path", version 2 with neither number nor controllers.
static wi_cgroup_memory read_table(const char *table, const flavour *one, const flavour *two)
{
    wi_cgroup_memory memory = {.limit = INT64_MAX, .available = INT64_MAX};
    FILE *file = fopen(table, "re");
    if (!file) return memory;
    char line[PATH_MAX];
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *controllers++ = 0;
        *path++ = 0;
        if (*controllers == 0) {
            narrow_upward(&memory, two, path);
        } else if (has_controller(controllers, "memory")) {
            narrow_upward(&memory, one, path);
        }
    }
    fclose(file);
    return memory;
}

wi_cgroup_memory wi_cgroup_memory_read(void) { return read_table("/proc/self/cgroup", &version1, &version2); }
