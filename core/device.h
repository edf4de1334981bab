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

// By which another process of this host finds a device's memory.
typedef struct {
    unsigned char bytes[64];
} weft_device_handle;

enum { WEFT_DEVICE_PEERS = 64, WEFT_DEVICE_FORKS = 64, WEFT_DEVICE_MARKS = 2 };

// Flags of ranks: words in the memory of devices, each written by one rank and read by the one that has it.
typedef struct {
    uint32_t *flag[WEFT_DEVICE_PEERS];
    int count;
} weft_device_flags;

// A meeting of ranks that an op does itself: before it reads what peers wrote it adds 1 to the counter `begun`, sets
// the flags `here` to it and waits until those `there` have come to it; behind its reads it adds `release` to the
// counter `released`, and sets the flags `read` to that where it is not 0. The ticket is 0, and is so again. It waits
// no longer when *cancel is not 0.
typedef struct {
    uint32_t *begun, *released, *ticket;
    uint32_t release;
    const uint32_t *cancel; // may be NULL
    uint64_t *waited;       // [2] told how long, as the flags of a device do (weft_device_links.waited); may be NULL
    weft_device_flags here, there, read;
} weft_device_meeting;

// From now on waits of ops end when *cancel, memory that is lent, is not 0; and a wait of the host that lasts is told:
// it begins, goes on, and ends.
typedef struct {
    const uint32_t *cancel;
    void (*enter)(void *), (*look)(void *), (*leave)(void *);
    void *arg;
} weft_device_watch;

// Bytes that lie in a peer's memory, and where they are wanted.
typedef struct {
    void *to;
    const void *from;
    size_t bytes;
} weft_device_piece;

// Where a device's work goes: among its ops, or beside them.
typedef enum { WEFT_DEVICE_OPS, WEFT_DEVICE_BESIDE, WEFT_DEVICE_LANES } weft_device_lane;

// Works on a stream of the device's, a cudaStream_t, and neither waits for it nor fails later.
typedef weft_status weft_device_call(void *stream, const void *arg);

// How ranks' devices reach each other, behind ops that were asked for and before those that will be; but for share,
// map and watch, none blocks, and what a step holds comes again with it. Each call is Local.
typedef struct {
    // Memory of this device from alloc, in whole WEFT_DEVICE_SHARED_BYTES, for other processes of the host.
    weft_status (*share)(weft_device *device, void *memory, weft_device_handle *out);
    weft_status (*map)(weft_device *device, const weft_device_handle *handle, size_t bytes, void **out);
    void (*unmap)(weft_device *device, void *memory);
    // Adds `by` to the counter, and sets all flags to it once all that was written before can be seen by everybody.
    void (*raise)(weft_device *device, uint32_t *counter, uint32_t by, const weft_device_flags *flags);
    // What follows begins when each flag has come to the counter less `behind`. Numbers wrap.
    void (*await)(weft_device *device, const uint32_t *counter, uint32_t behind, const weft_device_flags *flags);
    // One of WEFT_DEVICE_FORKS places among the ops; `call` gives `fn` a stream that begins at a fork and runs beside
    // the ops behind it, up to this call: what follows waits. The argument is copied.
    void (*fork)(weft_device *device, int which);
    void (*call)(weft_device *device, int which, weft_device_call *fn, const void *arg, size_t bytes);
    // As a call at a fork: waits for the flags as `await` does, then copies.
    void (*bring)(weft_device *device, int which, const uint32_t *counter, uint32_t behind,
                  const weft_device_flags *flags, const weft_device_piece *pieces, int count);
    // From now on ops and all calls of this table go to that lane: behind what it was given, and where `behind` says
    // so behind all that the other was given so far. Who turns away from the ops comes back behind what went beside
    // them before a step ends. What the ops wait for then counts as waited, and no wait beside them does.
    void (*turn)(weft_device *device, weft_device_lane lane, bool behind);
    // Steps that were kept are made anew when they come again: what they have called is about to go.
    void (*forget)(weft_device *device);
    void (*watch)(weft_device *device, const weft_device_watch *watch); // NULL: nobody from now on
    // Nanoseconds that ops have waited for flags and for what went beside them, as far as is known here without waiting
    // for it. And where the device keeps that, for ops that wait themselves; NULL: it does not count.
    uint64_t (*waited)(weft_device *device);
    uint64_t *(*waited_at)(weft_device *device);
} weft_device_links;

enum { WEFT_DEVICE_SHARED_BYTES = 2 << 20 };

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
    // A point among the ops, which moves when it is set again, and a sync for what was started before it: what comes
    // behind it may go on. `which` is below WEFT_DEVICE_MARKS.
    void (*mark)(weft_device *device, int which);
    weft_status (*wait)(weft_device *device, int which);
    // Ops between begin and end are a step: they may wait for its end to be started all at once, and a step that comes
    // again costs less. Nothing else of the device may be called in between, but a sync, a copy or a mark, which end
    // it.
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
    const weft_device_links *links; // NULL: it reaches no other
} weft_device_ops;

struct weft_device {
    const weft_device_ops *ops;
    int index;
    uint64_t unit; // which piece of hardware it is, for whoever shares it; 0: nobody can
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
