// What weft plan knows: a machine, what is asked for, and for each mesh what it would take. Inside launch/ only.
#ifndef WEFT_LAUNCH_PLAN_H
#define WEFT_LAUNCH_PLAN_H

#include <stdio.h>

#include "engine/engine.h"
#include "model/price.h"
#include "model/sizes.h"

// Of one rank.
typedef struct {
    char name[72];        // "h100", "this machine"
    char source[72];      // where the figures come from
    double memory;        // bytes
    double operations;    // multiplications and additions a second
    double bandwidth;     // bytes a second that it reads
    double near, far;     // bytes a second that it sends within a node, to other nodes
    double near_s, far_s; // that an exchange takes, however small
    bool is_host;
} wi_machine;

// `device`: "cpu" or a name of the table; `file`: what weft doctor --json wrote, or NULL. Local.
weft_status wi_machine_find(const char *device, const char *file, int node_ranks, int threads, wi_machine *out);

typedef struct {
    const weft_model_config *config;
    weft_sizes_options sizes; // rows and logit rows by chunk and batch
    wi_machine machine;
    int ranks, nodes;
    int64_t context;
    int batch, chunk;
    int tp, cp, dense; // 0: any; dense: 0 any, 1 tp, 2 mesh
} wi_plan_case;

enum { WI_PLAN_TOKENS = 256 }; // that are generated where meshes are compared

// Bytes of a rank.
typedef struct {
    uint64_t weights, cache, scratch;
} wi_rank_bytes;

static inline uint64_t wi_rank_all(const wi_rank_bytes *b) { return b->weights + b->cache + b->scratch; }

typedef struct {
    weft_mesh_shape shape;
    int fullest;         // rank
    wi_rank_bytes bytes; // of that rank
    bool fits;
    int64_t context;                  // the longest that fits, at the batch asked for; 0: none
    int batch;                        // the largest that fits, at the context asked for; 0: none
    double prefill_sent, decode_sent; // bytes that the fullest rank sends, a token
    double prefill_s, decode_s;       // of all prompts; of a step
} wi_mesh_plan;

// Every mesh, the best first; freed by the caller. USAGE where flags allow none. Local.
weft_status wi_plan_all(const wi_plan_case *plan, wi_mesh_plan **out, int *count);
// Of any rank of a mesh. Local.
weft_status wi_plan_rank(const wi_plan_case *plan, const weft_mesh_shape *shape, int rank, wi_rank_bytes *out);
double wi_plan_seconds(const wi_mesh_plan *mesh); // of prompts and WI_PLAN_TOKENS steps: what meshes are ordered by

void wi_plan_print(const wi_plan_case *plan, const char *model, const wi_mesh_plan *meshes, int count, FILE *out);
weft_status wi_plan_write(const wi_plan_case *plan, const char *model, const wi_mesh_plan *meshes, int count,
                          const char *path);

#endif
