#include "launch/libraries.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/plugin.h"

// A function's address by name; ISO C has no cast from what dlsym returns.
static void find(void *library, const char *name, void *function)
{
    void *address = dlsym(library, name);
    memcpy(function, &address, sizeof address);
}

static weft_status open_library(const char *name, void **out)
{
    *out = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (*out) return WEFT_OK;
    const char *text = dlerror();
    return weft_fail(WEFT_NOT_FOUND, "%s", text ? text : "no reason given");
}

static weft_status lacks(const char *library, const char *function)
{
    return weft_fail(WEFT_FAILED, "%s has no %s", library, function);
}

void wi_libraries_linked(char text[WI_LIBRARY_TEXT])
{
    // core links both; which file that is (the distribution's, or one that came with weft) the loader knows.
    unsigned (*hwloc_version)(void);
    const char *(*jansson_version)(void);
    char hwloc[32] = "hwloc", jansson[32] = "jansson";
    find(RTLD_DEFAULT, "hwloc_get_api_version", (void *)&hwloc_version);
    find(RTLD_DEFAULT, "jansson_version_str", (void *)&jansson_version);
    if (hwloc_version) {
        unsigned version = hwloc_version();
        snprintf(hwloc, sizeof hwloc, "hwloc %u.%u.%u", version >> 16, version >> 8 & 255, version & 255);
    }
    if (jansson_version) snprintf(jansson, sizeof jansson, "jansson %.16s", jansson_version());
    snprintf(text, WI_LIBRARY_TEXT, "%s, %s, glibc %s", hwloc, jansson, gnu_get_libc_version());
}

weft_status wi_library_mpi(char text[WI_LIBRARY_TEXT])
{
    enum { VERSION_MAX = 8192 }; // the largest that an MPI asks for
    const weft_plugin *plugin;
    int (*get_version)(char *, int *);
    int length = 0;
    WEFT_TRY(weft_plugin_open("mpi", &plugin));
    // May be called before MPI is started, in every MPI since 3.0.
    find(RTLD_DEFAULT, "MPI_Get_library_version", (void *)&get_version);
    if (!get_version) return lacks("the MPI library", "MPI_Get_library_version");
    char *version = calloc(VERSION_MAX, 1);
    if (!version) return weft_fail(WEFT_NO_MEMORY, "no memory for a version");
    get_version(version, &length);
    version[strcspn(version, ",\n")] = 0;
    for (char *c = version; *c; c++)
        if (*c == '\t') *c = ' ';
    snprintf(text, WI_LIBRARY_TEXT, "%.150s", version);
    free(version);
    return WEFT_OK;
}

static weft_status look_at_ucx(char text[WI_LIBRARY_TEXT], int *devices)
{
    void *library;
    const char *(*get_version)(void);
    WEFT_TRY(open_library("libucp.so.0", &library));
    find(library, "ucp_get_version_string", (void *)&get_version);
    if (!get_version) return lacks("libucp.so.0", "ucp_get_version_string");
    snprintf(text, WI_LIBRARY_TEXT, "UCX %.32s", get_version());
    return WEFT_OK;
}

static weft_status look_at_nccl(char text[WI_LIBRARY_TEXT], int *devices)
{
    void *library;
    int (*get_version)(int *), version = 0;
    WEFT_TRY(open_library("libnccl.so.2", &library));
    find(library, "ncclGetVersion", (void *)&get_version);
    if (!get_version) return lacks("libnccl.so.2", "ncclGetVersion");
    if (get_version(&version) != 0) return weft_fail(WEFT_FAILED, "ncclGetVersion fails");
    int base = version < 10000 ? 1000 : 10000; // 2804 is 2.8.4, 22809 is 2.28.9
    snprintf(text, WI_LIBRARY_TEXT, "NCCL %d.%d.%d", version / base, version % base / 100, version % 100);
    *devices = version / base * 100 + version % base / 100;
    return WEFT_OK;
}

static weft_status look_at_cuda(char text[WI_LIBRARY_TEXT], int *devices)
{
    void *library;
    int (*init)(unsigned), (*get_version)(int *), (*get_count)(int *), (*get_name)(int, const char **);
    int version = 0;
    const char *name = NULL;
    WEFT_TRY(open_library("libcuda.so.1", &library));
    find(library, "cuInit", (void *)&init);
    find(library, "cuDriverGetVersion", (void *)&get_version);
    find(library, "cuDeviceGetCount", (void *)&get_count);
    find(library, "cuGetErrorName", (void *)&get_name);
    if (!init || !get_version || !get_count) return lacks("libcuda.so.1", "cuInit");
    int code = init(0);
    if (code == 0) code = get_version(&version);
    if (code == 0) code = get_count(devices);
    if (code != 0) {
        if (!get_name || get_name(code, &name) != 0) name = NULL;
        return weft_fail(WEFT_FAILED, "cuInit: %s (%d)", name ? name : "error", code);
    }
    snprintf(text, WI_LIBRARY_TEXT, "CUDA %d.%d, %d device%s", version / 1000, version % 1000 / 10, *devices,
             *devices == 1 ? "" : "s");
    return WEFT_OK;
}

weft_status wi_library_look(const char *name, char text[WI_LIBRARY_TEXT], int *devices)
{
    static const struct {
        const char *name;
        weft_status (*look)(char *text, int *devices);
    } libraries[] = {{"ucx", look_at_ucx}, {"cuda", look_at_cuda}, {"nccl", look_at_nccl}};
    for (size_t i = 0; i < sizeof libraries / sizeof libraries[0]; i++)
        if (strcmp(name, libraries[i].name) == 0) return libraries[i].look(text, devices);
    return weft_fail(WEFT_USAGE, "no library is called %.32s here", name);
}

// Appends " NAME" to the list of `framework` unless it stands there already.
static void add_component(char *list, size_t capacity, const char *framework, const char *path)
{
    char key[16], name[32];
    snprintf(key, sizeof key, "/mca_%s_", framework);
    const char *found = strstr(path, key);
    if (!found) return;
    found += strlen(key);
    snprintf(name, sizeof name, " %.*s", (int)strcspn(found, ".\n") < 24 ? (int)strcspn(found, ".\n") : 24, found);
    size_t used = strlen(list);
    if (!strstr(list, name) && used + strlen(name) < capacity) snprintf(list + used, capacity - used, "%s", name);
}

void wi_library_mpi_components(char text[WI_LIBRARY_TEXT])
{
    static const char *const frameworks[] = {"pml", "mtl", "btl"};
    char lists[3][48] = {"", "", ""}, line[4096];
    text[0] = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps) return;
    while (fgets(line, sizeof line, maps))
        for (int i = 0; i < 3; i++) add_component(lists[i], sizeof lists[i], frameworks[i], line);
    fclose(maps);
    for (int i = 0; i < 3; i++) {
        size_t used = strlen(text);
        if (lists[i][0])
            snprintf(text + used, WI_LIBRARY_TEXT - used, "%s%s%s", used ? ", " : "", frameworks[i], lists[i]);
    }
}
