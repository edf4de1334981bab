#include "kernels/device.h"

#include <string.h>

#include "core/plugin.h"

weft_status weft_device_kind_open(const char *kind, const weft_device_kind **out)
{
    const weft_plugin *plugin;
    WEFT_TRY(weft_plugin_open(kind, &plugin));
    *out = plugin->table;
    return WEFT_OK;
}

weft_status weft_device_kind_find(const char *name, const weft_device_kind **out, int *count)
{
    const weft_device_kind *kind;
    int found;
    if (strcmp(name, "cuda") != 0 && strcmp(name, "emulated") != 0)
        return weft_fail(WEFT_USAGE, "--device %.40s: must be cpu or cuda", name);
    WEFT_TRY(weft_device_kind_open(name, &kind));
    WEFT_TRY(kind->count(&found));
    if (found == 0) return weft_fail(WEFT_NOT_FOUND, "--device %s: this machine has none", name);
    *out = kind;
    *count = found;
    return WEFT_OK;
}
