#include "core/device.h"

void weft_device_destroy(weft_device *device)
{
    if (device) device->ops->destroy(device);
}

weft_status weft_device_alloc(weft_device *device, size_t bytes, void **out)
{
    WEFT_TRY(device->ops->alloc(device, bytes, out));
    device->allocated += bytes;
    if (device->allocated > device->peak) device->peak = device->allocated;
    return WEFT_OK;
}

void weft_device_free(weft_device *device, void *memory, size_t bytes)
{
    if (!memory) return;
    device->ops->free(device, memory, bytes);
    device->allocated -= bytes;
}
