// Which GPU a rank computes on, which cpus are near it, and which NIC. Inside launch/ only.
#ifndef WEFT_LAUNCH_PLACEMENT_H
#define WEFT_LAUNCH_PLACEMENT_H

#include "launch/hardware.h"
#include "launch/place.h"

typedef struct {
    int local_rank, local_size;
    int threads;                    // of each rank; 0: as many as it gets cores
    const char *const *environment; // "NAME=value", ends with NULL
    int seen;                       // devices that CUDA shows this rank, by bus id; -1: it was not asked
    const char (*seen_bus)[16];     // "" where it does not tell
} wi_placement_question;

typedef struct {
    int device;           // as CUDA counts; -1: there is none
    int gpu;              // of the hardware; -1: unknown
    int node;             // NUMA; -1: unknown
    int nic;              // of the hardware; -1: none, or unknown
    int visible, sharers; // devices that this rank sees; ranks that compute on its own, as far as one rank can tell
    bool own_list;        // others of this host see other devices
    wi_share share;       // cpus, one of each core; all of the node's where ranks have no cores of their own
    char say[224];        // what the user should know; "" where all is plain
    char shares[160];     // that ranks share GPUs, as far as one rank can tell; "" where they do not
} wi_placement;

// One rank a GPU by local rank, in the order in which CUDA counts; where there are fewer, they are shared in turn, and
// `shares` tells. Cpus are those of the GPU's NUMA node, divided among the ranks whose GPUs are there. The NIC is the
// nearest of the fastest fabric that is up. Pure.
void wi_placement_make(const wi_hardware *hardware, const wi_placement_question *question, wi_placement *out);

// "mlx5_0:1", what UCX_NET_DEVICES may be; "" where the NIC is not of a fabric.
void wi_placement_ucx(const wi_hardware *hardware, const wi_placement *placement, char text[40]);

#endif
