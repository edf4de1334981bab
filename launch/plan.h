// What weft plan knows: a machine, what is asked for, and for each mesh what it would take. Inside launch/ only.
#ifndef WEFT_LAUNCH_PLAN_H
#define WEFT_LAUNCH_PLAN_H

#include <stdio.h>

#include "bench/links.h"
#include "bench/scale.h"
#include "core/json.h"
#include "engine/engine.h"
#include "launch/model_flags.h"
#include "model/price.h"
#include "model/sizes.h"

// Of one rank.
typedef struct {
    char name[72];     // "h100", "this machine"
    char source[72];   // where the figures come from
    double memory;     // bytes
    double operations; // multiplications and additions a second, of linear layers
    double attention;  // likewise, of attention
    double bandwidth;  // bytes a second that it reads
    double unhidden;   // how much of the time in which weights are read many rows' operations do not hide
    double l2, l3;     // bytes of its caches, 0: unknown; and what it reads a second from them
    double l2_bandwidth, l3_bandwidth;
    double near, far;              // bytes a second that it sends within a node, to other nodes
    double near_s, far_s;          // that an exchange takes, however small
    weft_link near_link, far_link; // instead of these four, where exchanges of this very job were measured
    weft_job_links links;          // pairs of ranks: measured, or lines of the four; what the simulation goes by
    double nic;                    // bytes a second that all ranks of a node send to others together
    double load;                   // bytes of weights a second that it reads and packs
    bool is_host;
    int capability; // of a GPU: 80, 90
    bool pairs;     // links were measured
} wi_machine;

// `device`: "cpu", a name of the table, or "cuda" for the GPUs of this machine; `file`: what weft doctor --json wrote,
// or NULL. Local.
weft_status wi_machine_find(const char *device, const char *file, int node_ranks, int threads, wi_machine *out);

// A GPU by the name that NVIDIA gives it and what there is of its memory. One that the table lacks has the figures of
// the slowest of its generation, and `source` says so.
wi_machine wi_machine_gpu(const char *name, int capability, double memory);
// What stands between nodes. Zeroed: nothing that limits.
typedef struct {
    double oversubscription; // of what enters a node's switch from below, so many times less leaves it
    int switch_nodes;        // below one switch
} wi_fabric;

weft_pair wi_pair_of(double latency_s, double bytes_per_s);
// The object "links" of the file; what it lacks stays as it was. Local.
void wi_links_read(const weft_json *of, int node_ranks, wi_machine *out);
// What one exchange takes when nobody is late. `node_ranks`: of all groups. Pure.
double wi_exchange_seconds(const wi_machine *machine, const wi_fabric *fabric, const weft_traffic *traffic,
                           int node_ranks);

// What was measured in a job, of one rank beside the others at work. 0: a link that it does not have.
typedef struct {
    double bandwidth, operations; // bytes and operations a second, as its ceilings
    double linear, stream;        // what linear layers reach of them: operations a second, bytes a second
    weft_link near, far;
} wi_measured;
weft_status wi_machine_measured(const wi_measured *measured, int node_ranks, wi_machine *out);

typedef struct {
    const weft_model_config *config;
    weft_sizes_options sizes; // rows and logit rows by chunk and batch
    wi_machine machine;
    wi_fabric fabric;
    int ranks, nodes; // of a replica
    int dp;           // replicas
    int64_t context;
    int batch, chunk;
    uint64_t cache_most;    // bytes; 0: what context and batch need
    int64_t prompt, tokens; // meshes are compared by the time of a batch of such prompts, and of so many tokens then
    int tp, cp;             // 0: any
    int dense, experts;     // 0: any; 1: tp, 2: mesh; 1: whole, 2: columns
    bool loads;             // and by the time to load
    bool fast;              // --numerics
    bool quick;             // look at the first rank of each mesh alone, and not for the most that fits
} wi_plan_case;

enum { WI_PLAN_TOKENS = 256 }; // where nobody says how many

// What the flags leave open, and sizes by them; the rest of the case is not touched. USAGE where they cannot be. Local.
weft_status wi_plan_flags(const wi_model_flags *flags, const weft_model_config *config, const weft_cpu *cpu,
                          wi_plan_case *plan);

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
    int64_t context;                              // the longest that fits, at the batch asked for; 0: none
    int batch;                                    // the largest that fits, at the context asked for; 0: none
    double prefill_sent, decode_sent;             // bytes that the fullest rank sends, a token
    double prefill_s, decode_s;                   // of all prompts; of a step
    double prefill_operations, decode_operations; // of the fullest rank, likewise
    double seconds;                               // of load, prompts and tokens: what meshes are ordered by
} wi_mesh_plan;

// Every mesh, the best first; freed by the caller. USAGE where flags allow none. Local.
weft_status wi_plan_all(const wi_plan_case *plan, wi_mesh_plan **out, int *count);
// A step that gives each request its next token, of the mesh's first rank; what it computes, without exchanges.
weft_step_price wi_plan_decode_price(const wi_plan_case *plan, const weft_mesh_shape *shape);
double wi_plan_compute_seconds(const wi_plan_case *plan, const weft_step_price *price);
// Of any rank of a mesh. Local.
weft_status wi_plan_rank(const wi_plan_case *plan, const weft_mesh_shape *shape, int rank, wi_rank_bytes *out);
// "tp 4 x cp 2, dense mesh"
char *wi_plan_mesh_text(const wi_plan_case *plan, const weft_mesh_shape *shape, char text[64]);

void wi_plan_print(const wi_plan_case *plan, const char *model, const wi_mesh_plan *meshes, int count, FILE *out);
weft_status wi_plan_write(const wi_plan_case *plan, const char *model, const wi_mesh_plan *meshes, int count,
                          const char *path);

#endif
