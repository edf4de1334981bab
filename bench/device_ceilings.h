// The ceilings of a device that is not the host: what its memory and its arithmetic give, by its own clock.
#ifndef WEFT_BENCH_DEVICE_CEILINGS_H
#define WEFT_BENCH_DEVICE_CEILINGS_H

#include "bench/ceilings.h"
#include "core/device.h"
#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_device_ceilings weft_device_ceilings;

// Takes memory of the device: eight of its caches, and for products 8192 x 8192 weights. Device, table and team, which
// packs these weights, are borrowed. Local, blocking.
weft_status weft_device_ceilings_create(weft_device *device, const weft_kernels *table, void *stream, weft_team *team,
                                        weft_device_ceilings **out);
void weft_device_ceilings_destroy(weft_device_ceilings *ceilings); // accepts NULL

// The emulated device, whose figures mean nothing: sizes are then as small as they can be.
bool weft_device_is_emulated(const weft_device *device);
// The tensor cores' ceiling is the best of the device's own GEMMs of 8192 x 8192 x 8192 in bf16, of each family that
// the table has, cuBLASLt among them.
bool weft_device_ceiling_there(const weft_device_ceilings *ceilings, weft_ceiling ceiling);
// Units a second over about so many seconds; 0 where it is not there. Blocking.
weft_status weft_device_ceiling_measure(weft_device_ceilings *ceilings, weft_ceiling ceiling, double seconds,
                                        double *rate);
// What no cache of the device holds afterwards is all that lay in it before: given, not waited for.
void weft_device_ceilings_flush(weft_device_ceilings *ceilings);

#ifdef __cplusplus
}
#endif
#endif
