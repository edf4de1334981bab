// Where a rank of this job computes: its GPU, what is near that, and the lines that say so. Inside launch/ only.
#ifndef WEFT_LAUNCH_SEAT_H
#define WEFT_LAUNCH_SEAT_H

#include <stdio.h>

#include "comm/comm.h"
#include "kernels/device.h"
#include "launch/place.h"

// Plain data: it is sent as it stands.
typedef struct {
    int32_t device; // as CUDA counts on this rank; -1: none
    int32_t node;   // NUMA; -1: unknown
    int32_t visible;
    char bus[16], name[64];
    char part[96]; // of MIG; "": the whole GPU
    char nic[24], ucx[40];
    char cpus[48];              // that this rank may use
    char say[224], shares[160]; // as in a placement
} wi_rank_seat;

typedef struct {
    int rank, size; // among those of this host
} wi_seat_of;

wi_seat_of wi_seat_place(const weft_comm *world);

// `kind`: what lists the devices; NULL: by sysfs and the environment, without opening anything. `allowed`: the rank's
// cpus, as they were before a team bound its thread to one of them; NULL: it has none yet. *share, which may be NULL,
// is where the rank belongs. Local.
weft_status wi_seat_find(wi_seat_of place, int threads, const weft_device_kind *kind, const weft_topology *allowed,
                         wi_rank_seat *out, wi_share *share);

// "GPU 3 (NVIDIA H100 at 0000:61:00.0), NUMA node 0, NIC mlx5_4"; "no GPU".
char *wi_seat_text(const wi_rank_seat *seat, char *text, size_t capacity);

// A line for each rank, and what the user should know, once; on rank 0 of the world. Collective.
weft_status wi_seats_tell(weft_comm *world, const wi_rank_seat *own, const char *before, FILE *out);
// What there is to say of rank `rank` that was not said of one before it: up to two texts. `all`: of each rank.
int wi_seats_say(weft_comm *world, const wi_rank_seat *all, int rank, const char *texts[2]);

#endif
