// What a library offers that moves bytes between the devices of ranks: NCCL. comm/ calls it for channels between
// devices (comm/device_nccl.c). A rank's calls come from one thread, with its device current; none waits for a peer.
#ifndef WEFT_COMM_MOVER_H
#define WEFT_COMM_MOVER_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

typedef struct wi_mover_group wi_mover_group; // the library's own

enum { WI_MOVER_ID_BYTES = 128 };

// What is given to one rank and taken from one, in the memory of this rank's device.
typedef struct {
    const void *given;
    void *taken;
    size_t gives, takes; // bytes
    int to, from;
} wi_move;

typedef struct {
    const char *name;
    // Finds the library, once a process. NOT_FOUND, or UNSUPPORTED for one that is too old, with what to do.
    weft_status (*open)(void);
    int (*version)(void);          // 22809; ranks of a group must have the same
    const char *(*describe)(void); // "NCCL 2.28.9"
    const char *(*kind)(void);     // of the devices whose streams it takes
    bool (*deals)(void);           // has it `deal`?
    // A group is begun by one rank's id and joined by all; `look` says when it is there.
    weft_status (*make_id)(unsigned char id[WI_MOVER_ID_BYTES]);
    weft_status (*join)(const unsigned char id[WI_MOVER_ID_BYTES], int rank, int size, const char *name,
                        wi_mover_group **out);
    // IN_PROGRESS until the library has taken what was last asked for, which must be waited for before anything else. A
    // failure is for good.
    weft_status (*look)(wi_mover_group *group);
    // On a stream of the device's; IN_PROGRESS as `look`. Ranks ask a group for the same in the same order. `gather`
    // takes as many bytes of each rank, `deal` as many from each for each, both one behind the other.
    weft_status (*gather)(wi_mover_group *group, const void *given, void *taken, size_t bytes, void *stream);
    weft_status (*deal)(wi_mover_group *group, const void *given, void *taken, size_t bytes, void *stream);
    weft_status (*exchange)(wi_mover_group *group, const wi_move *moves, int count, void *stream);
    // The good end: `finish`, `look` until OK, `destroy`. `abort` ends what still runs as well.
    weft_status (*finish)(wi_mover_group *group);
    void (*destroy)(wi_mover_group *group);
    void (*abort)(wi_mover_group *group);
} wi_mover;

#endif
