// The mesh: what each rank of a job is for, and the groups that talk to each other for a purpose.
//   all    the ranks of a replica, tp * cp of them
//   tp     they share heads and columns, over the same positions
//   cp     they share positions, of the same heads
//   dense  they share the linear layers: tp, or all of them (--dense mesh)
//   leaf   they share a leaf, where the dense group has more ranks than there are leaves
// Ranks of one tp group stand side by side in the order of nodes, so that they share a node where that is possible.
// Beside each other may stand several replicas (dp), each with a mesh of its own, which share nothing.
#ifndef WEFT_PARALLEL_MESH_H
#define WEFT_PARALLEL_MESH_H

#include <stdbool.h>

#include "comm/comm.h"
#include "parallel/shard.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { WEFT_DENSE_TP, WEFT_DENSE_MESH } weft_dense;

// 0 stands for what the others leave: tp = ranks / cp, and cp = 1 unless tp is given.
typedef struct {
    int tp, cp;
    weft_dense dense;
    bool expert_columns; // ranks share each expert by columns, instead of having whole ones
    bool fast; // --numerics fast: sums in the order that is quickest here, so that other layouts give other bits
} weft_mesh_shape;

// What this rank spent on exchanges since the mesh was made, in clock ticks: all of it (additions and copies of what
// was exchanged with them), and how much of that it waited. Where devices order their exchanges by themselves both are
// what the device waited, which is known a step later. One thread writes it.
typedef struct {
    uint64_t exchange, wait;
    uint64_t count, bytes;        // exchanges; bytes that this rank gave
    uint64_t device_ns;           // of the device, as far as they are counted above
    double tick_ns;               // of a tick, once it is needed
    uint64_t by_queries, by_keys; // attentions over dealt rows that moved queries, and keys (parallel/attention.h)
    uint64_t pieces;              // of row linears that were exchanged beside the ops (weft_row_pieces)
} weft_mesh_times;

typedef struct {
    weft_mesh_shape shape;
    weft_mesh_times *times; // one for all copies of the mesh
    weft_device *device;    // that computes what is exchanged; set by whoever made the mesh, NULL: the host
    bool devices;           // devices do; also of a mesh that is only planned
    int64_t piece_rows;     // of what they exchange in pieces; 0: WEFT_PIECE_ROWS
    int tp_rank, cp_rank;
    int dense_rank, dense_ranks;
    weft_shard shard; // of the dense group
    // Groups of one rank are NULL, but for `all`. Owned by the mesh.
    weft_comm *all, *tp, *cp, *dense, *leaf;
} weft_mesh;

// The shape with nothing left open. Local. USAGE where it does not fit the number of ranks.
weft_status weft_mesh_shape_for(const weft_mesh_shape *wanted, int ranks, weft_mesh_shape *out);

// Where rank `rank` of the mesh stands; the groups are not looked at.
weft_mesh weft_mesh_at(const weft_mesh_shape *shape, int rank);

// Which of a rank's groups stand on one node, where each node has so many ranks of the mesh, in order.
typedef struct {
    bool all, tp, cp, dense, leaf;
    weft_links links; // of its devices; AUTO: ipc on one node, else nccl
} weft_mesh_near;
weft_mesh_near weft_mesh_near_of(const weft_mesh *mesh, int node_ranks);
weft_links weft_mesh_links(const weft_mesh_near *near, bool one_node); // of a group that stands so

// The world's ranks in replicas of equally many, side by side in the order of nodes.
typedef struct {
    int count, number; // number 0 has rank 0 of the world
    weft_comm *own;    // this replica's ranks in the order of the world; the world itself where there is one
    weft_comm *leads;  // rank 0 of each, by number; NULL on other ranks, and where there is one
    bool split;        // `own` is not the world
} weft_replicas;

// Collective over `world`, blocking. USAGE where `count` does not divide the ranks.
weft_status weft_replicas_create(weft_comm *world, int count, weft_replicas *out);
void weft_replicas_free(weft_replicas *replicas); // Local; what uses its groups first. Accepts a zeroed one

// Collective over `world`, a replica's ranks, blocking. Rank 0 of the world need not be rank 0 of the mesh.
weft_status weft_mesh_create(weft_comm *world, const weft_mesh_shape *shape, weft_mesh *out);
void weft_mesh_free(weft_mesh *mesh);                // Local; what uses its groups first. Accepts a zeroed one
int64_t weft_mesh_piece_rows(const weft_mesh *mesh); // for weft_row_pieces: 0 where rows that are dealt go whole
void weft_mesh_ask_device(weft_mesh *mesh); // adds to the times what the device has waited since this was last asked
int weft_mesh_rank(const weft_mesh *mesh);  // in `all`: cp_rank * tp + tp_rank
int weft_mesh_rank_of_dense(const weft_mesh *mesh, int dense_rank); // that of a rank of its dense group

#ifdef __cplusplus
}
#endif
#endif
