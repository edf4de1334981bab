// Which mesh a job runs on, and who is where in it: chosen as weft plan does, told in one line.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/model_open.h"
#include "launch/plan.h"

// What is free of the GPU is all of the ranks' that compute on it.
static weft_status gpu_here(const wi_model *m, int node_ranks, wi_machine *out)
{
    const int visible = m->seat.visible > 0 ? m->seat.visible : 1;
    const int sharers = m->seat.shares[0] ? (node_ranks + visible - 1) / visible : 1;
    size_t free_bytes = 0, total = 0;
    char name[96];
    WEFT_TRY(m->device->ops->memory(m->device, &free_bytes, &total));
    snprintf(name, sizeof name, "%.*s", (int)strcspn(m->device->name, "("), m->device->name);
    *out = wi_machine_gpu(name, m->device_kernels.capability, (double)free_bytes / sharers);
    return WEFT_OK;
}

// A replica of this job as weft plan would see it. Where nodes have unlike numbers of ranks, as if each had the most.
static weft_status plan_here(const wi_model *m, const wi_model_flags *flags, const wi_model_needs *needs,
                             wi_plan_case *out)
{
    const bool told = needs->prompt > 0 || needs->tokens > 0;
    const int all = weft_comm_size(m->world), nodes = weft_comm_nodes(m->world);
    const int ranks = all / m->replicas.count, node_ranks = (all + nodes - 1) / nodes;
    wi_plan_case p = {.ranks = ranks,
                      .dp = m->replicas.count,
                      .nodes = (ranks + node_ranks - 1) / node_ranks,
                      .context = needs->positions,
                      .batch = needs->requests,
                      .prompt = told ? needs->prompt : needs->positions,
                      .tokens = told ? needs->tokens : WI_PLAN_TOKENS,
                      .loads = !needs->loaded};
    p.sizes.node_ranks = node_ranks;
    p.sizes.threads = weft_team_threads(m->team);
    WEFT_TRY(wi_plan_flags(flags, &m->config, &m->cpu, &p));
    if (m->device->ops->is_host) {
        WEFT_TRY(wi_machine_find(NULL, NULL, node_ranks, p.sizes.threads, &p.machine));
    } else {
        WEFT_TRY(gpu_here(m, node_ranks, &p.machine));
        p.sizes.model.weights.capability = m->device_kernels.capability;
    }
    *out = p;
    return WEFT_OK;
}

// ---- the line ----

// "a: 0-3; b: 4-7": the order of nodes is the order of ranks in the mesh.
static void print_nodes(weft_comm *world, FILE *out)
{
    enum { NODES_TOLD = 8 };
    const int ranks = weft_comm_size(world), nodes = weft_comm_nodes(world);
    for (int node = 0; node < nodes && node < NODES_TOLD; node++) {
        const char *before = ": ";
        for (int r = 0; r < ranks; r++) {
            int last = r;
            if (weft_comm_node(world, r) != node) continue;
            while (last + 1 < ranks && weft_comm_node(world, last + 1) == node) last++;
            if (*before == ':') fprintf(out, "%s%s", node ? "; " : "", weft_comm_host(world, r));
            fprintf(out, last > r ? "%s%d-%d" : "%s%d", before, r, last);
            before = ",";
            r = last;
        }
    }
    if (nodes > NODES_TOLD) fputs("; ...", out);
}

static void print_why(const wi_plan_case *p, const wi_mesh_plan *meshes, int count, FILE *out)
{
    const wi_mesh_plan *best = &meshes[0], *next = &meshes[1];
    char text[64];
    if (!best->fits)
        fprintf(out, "%s, and takes %.2f GB a rank, where %.2f GB may be had",
                count > 1 ? "the one that takes the least" : "as given", (double)wi_rank_all(&best->bytes) * 1e-9,
                p->machine.memory * 1e-9);
    else if (count == 1)
        fprintf(out, "the only one that the flags allow");
    else if (!next->fits)
        fprintf(out, "the only one of %d that fits", count);
    else
        fprintf(out, "the fastest of %d by estimate; next %s, %+.0f %%", count,
                wi_plan_mesh_text(p, &next->shape, text), 100 * (next->seconds / best->seconds - 1));
}

// Where the groups stand, when there is more than one node: all are as large, and side by side.
static void print_places(const wi_plan_case *p, int nodes, int dp, int tp, FILE *out)
{
    const int node_ranks = p->sizes.node_ranks, all = p->ranks * dp;
    const bool even = all % nodes == 0;
    if (nodes == 1) return;
    if (dp > 1)
        fputs(even && node_ranks % p->ranks == 0 ? ", each replica inside a node" : ", replicas span nodes", out);
    else if (tp > 1)
        fputs(even && node_ranks % tp == 0 ? ", each tp group inside a node" : ", tp groups span nodes", out);
}

static void print_mesh(const wi_model *m, const wi_plan_case *p, const wi_mesh_plan *meshes, int count, FILE *out)
{
    const weft_mesh_shape *shape = &meshes[0].shape;
    const int nodes = weft_comm_nodes(m->world), dp = m->replicas.count;
    char text[64];
    fprintf(out, "weft: %d ranks on %d node%s", weft_comm_size(m->world), nodes, nodes > 1 ? "s (" : "");
    if (nodes > 1) {
        print_nodes(m->world, out);
        fputc(')', out);
    }
    fputs(": ", out);
    if (dp > 1) fprintf(out, "dp %d x ", dp);
    fputs(wi_plan_mesh_text(p, shape, text), out);
    print_places(p, nodes, dp, shape->tp, out);
    fputs(": ", out);
    print_why(p, meshes, count, out);
    fputc('\n', out);
}

// ---- the choice ----

weft_status wi_mesh_choose(wi_model *m, const wi_model_flags *flags, const wi_model_needs *needs, weft_mesh_shape *out)
{
    weft_status status = WEFT_OK;
    wi_mesh_plan *meshes = NULL;
    wi_plan_case plan = {0};
    weft_mesh_shape shape = {0};
    int count = 0;
    if (m->speaks) status = plan_here(m, flags, needs, &plan);
    if (m->speaks && status == WEFT_OK) status = wi_plan_all(&plan, &meshes, &count);
    if (count > 0) shape = meshes[0].shape;
    status = weft_comm_agree(m->world, status, NULL);
    // One build and one command line on all ranks, but processors and limits may differ: rank 0's figures hold.
    if (status == WEFT_OK) status = weft_comm_bcast(m->world, 0, &shape, sizeof shape);
    if (status == WEFT_OK && m->speaks && weft_comm_size(m->world) > 1) print_mesh(m, &plan, meshes, count, stderr);
    free(meshes);
    if (status == WEFT_OK) *out = shape;
    return status;
}
