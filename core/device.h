// A device: where tensors live and ops run. The host is a device like any other; CUDA comes as a plug-in and fills
// the same table.
#ifndef WEFT_CORE_DEVICE_H
#define WEFT_CORE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "core/team.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_device weft_device;

// What a device does. Each call is Local; none may be NULL.
typedef struct {
    const char *kind; // "cpu", "cuda"
    bool is_host;     // the host reads and writes its memory, and ops are done when they return
    // Zeroed memory, aligned to 4096. Host: huge pages for 2 MiB and more, and first touch by the team's threads, each
    // the part weft_team_share(bytes, 2 MiB) gives it, so that a page lies beside the thread that will read it.
    weft_status (*alloc)(weft_device *device, size_t bytes, void **out);
    void (*free)(weft_device *device, void *memory, size_t bytes);                            // accepts NULL
    weft_status (*copy_in)(weft_device *device, void *to, const void *host, size_t bytes);    // blocking
    weft_status (*copy_out)(weft_device *device, void *host, const void *from, size_t bytes); // blocking
    // From one place of its memory to another, in order with the ops. They may not overlap.
    void (*copy)(weft_device *device, void *to, const void *from, size_t bytes);
    weft_status (*sync)(weft_device *device); // all that was started is done; fails for the first op that failed
    // Ops between begin and end are a step: they may wait for its end to be started all at once, and a step that comes
    // again costs less. Nothing else of the device may be called in between, but a sync or a copy, which end the step.
    void (*begin)(weft_device *device);
    void (*end)(weft_device *device);
    // By the device's own clock: seconds from start, in a step from when the step is started, to the end of what was
    // given until stop, which waits for it.
    void (*clock_start)(weft_device *device);
    weft_status (*clock_stop)(weft_device *device, double *seconds);
    // Memory of the host that ops shall reach too, as whole pages, until it is given back.
    weft_status (*lend)(weft_device *device, void *host, size_t bytes);
    void (*give_back)(weft_device *device, void *host);
    weft_status (*memory)(weft_device *device, size_t *free_bytes, size_t *total_bytes);
    void (*destroy)(weft_device *device);
} weft_device_ops;

struct weft_device {
    const weft_device_ops *ops;
    int index;
    char name[96];
    weft_team *team;     // host: the threads that touch and read; borrowed; may be NULL
    size_t cache_bytes;  // its last cache; 0 on the host, whose topology tells
    int64_t clock_began; // host
    size_t allocated;    // bytes now held
    size_t peak;
    void *state; // the backend's own
};

// The host device; `team` is borrowed and may be NULL (the caller then touches all).
weft_status weft_device_host(weft_team *team, weft_device **out);
void weft_device_destroy(weft_device *device); // accepts NULL

weft_status weft_device_alloc(weft_device *device, size_t bytes, void **out);
void weft_device_free(weft_device *device, void *memory, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
