#include "kernels/device.h"

#include "core/plugin.h"

weft_status weft_device_kind_open(const char *kind, const weft_device_kind **out)
{
    const weft_plugin *plugin;
    WEFT_TRY(weft_plugin_open(kind, &plugin));
    *out = plugin->table;
    return WEFT_OK;
}
