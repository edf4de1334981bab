#include "core/plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/build.h"

const char *weft_version(void) { return WEFT_BUILD_VERSION; }
const char *weft_build_id(void) { return WEFT_BUILD_ID; }
const char *weft_build_text(void) { return WEFT_BUILD_TEXT; }

// The folder of this library, links followed.
static bool own_folder(char folder[PATH_MAX])
{
    static const char inside = 0;
    Dl_info info;
    if (!dladdr(&inside, &info) || !info.dli_fname || !realpath(info.dli_fname, folder)) return false;
    char *slash = strrchr(folder, '/');
    if (!slash) return false;
    *slash = 0;
    return true;
}

// RTLD_GLOBAL, since a backend's library may open parts of its own that look for its symbols in the whole program and
// not in what they were linked with: Open MPI's components and some fabric providers do. RTLD_NOW, so that what is
// missing shows here and not in the middle of a job.
static weft_status open_library(const char *name, void **out)
{
    char folder[PATH_MAX], path[PATH_MAX];
    if (!own_folder(folder)) {
        return weft_fail(WEFT_NOT_FOUND, "plug-in %s: the folder of libweft_core.so cannot be found", name);
    }
    if (snprintf(path, sizeof path, "%s/libweft_%s.so", folder, name) >= (int)sizeof path) {
        return weft_fail(WEFT_NOT_FOUND, "plug-in %s: the path of %s is too long", name, folder);
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!library) {
        const char *text = dlerror();
        return weft_fail(WEFT_NOT_FOUND, "plug-in %s cannot be opened: %s", name, text ? text : "no reason given");
    }
    *out = library;
    return WEFT_OK;
}

weft_status weft_plugin_open(const char *name, const weft_plugin **out)
{
    if (!*name || name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] || strlen(name) > 32) {
        return weft_fail(WEFT_INVALID, "plug-in \"%s\": a name is of 1 to 32 small letters, digits and '_'", name);
    }
    weft_status status = WEFT_OK;
    void *library = NULL;
    WEFT_TRY(open_library(name, &library));
    char symbol[64];
    snprintf(symbol, sizeof symbol, "weft_plugin_%s", name);
    const weft_plugin *plugin = dlsym(library, symbol);
    if (!plugin) {
        status = weft_fail(WEFT_NOT_FOUND, "plug-in %s: libweft_%s.so has no symbol %s; install weft's own", name, name,
                           symbol);
        goto fail;
    }
    if (!plugin->build || strcmp(plugin->build, weft_build_id()) != 0) {
        status = weft_fail(WEFT_MISMATCH,
                           "plug-in %s is of build %s and weft is of build %s; build and install both from one tree",
                           name, plugin->build ? plugin->build : "(none)", weft_build_id());
        goto fail;
    }
    *out = plugin;
    return WEFT_OK;
fail:
    dlclose(library);
    return status;
}
