#include "parallel/mesh.h"

#include <stdlib.h>

#include "core/clock.h"
#include "kernels/fold.h"

weft_status weft_mesh_shape_for(const weft_mesh_shape *wanted, int ranks, weft_mesh_shape *out)
{
    weft_mesh_shape s = *wanted;
    if (s.cp == 0) s.cp = s.tp > 0 && ranks % s.tp == 0 ? ranks / s.tp : 1;
    if (s.tp == 0) s.tp = ranks % s.cp == 0 ? ranks / s.cp : 1;
    if (s.tp * s.cp != ranks)
        return weft_fail(WEFT_USAGE, "--tp %d --cp %d need %d ranks, and there are %d", s.tp, s.cp, s.tp * s.cp, ranks);
    if (s.cp > WEFT_FOLD_PLACES)
        return weft_fail(WEFT_USAGE, "--cp %d: a sequence is dealt over at most %d ranks", s.cp, WEFT_FOLD_PLACES);
    if (s.cp == 1) s.dense = WEFT_DENSE_TP; // the same, and one name for it
    *out = s;
    return WEFT_OK;
}

weft_mesh weft_mesh_at(const weft_mesh_shape *s, int rank)
{
    weft_mesh m = {.shape = *s, .tp_rank = rank % s->tp, .cp_rank = rank / s->tp};
    m.dense_ranks = s->dense == WEFT_DENSE_MESH ? s->tp * s->cp : s->tp;
    m.dense_rank = s->dense == WEFT_DENSE_MESH ? m.tp_rank * s->cp + m.cp_rank : m.tp_rank;
    m.shard = weft_shard_of(m.dense_rank, m.dense_ranks);
    return m;
}

int weft_mesh_rank_of_dense(const weft_mesh *m, int dense_rank)
{
    if (m->shape.dense == WEFT_DENSE_TP) return m->cp_rank * m->shape.tp + dense_rank;
    return dense_rank % m->shape.cp * m->shape.tp + dense_rank / m->shape.cp;
}

weft_mesh_near weft_mesh_near_of(const weft_mesh *m, int node_ranks)
{
    const int tp = m->shape.tp, cp = m->shape.cp, node = weft_mesh_rank(m) / node_ranks;
    const int first = m->dense_rank - m->shard.slice;
    weft_mesh_near near = {.all = tp * cp <= node_ranks, .leaf = true};
    near.tp = m->cp_rank * tp / node_ranks == node && (m->cp_rank * tp + tp - 1) / node_ranks == node;
    near.cp = m->tp_rank / node_ranks == node && ((cp - 1) * tp + m->tp_rank) / node_ranks == node;
    near.dense = m->shape.dense == WEFT_DENSE_MESH ? near.all : near.tp;
    for (int i = first; i < first + m->shard.slices; i++)
        near.leaf = near.leaf && weft_mesh_rank_of_dense(m, i) / node_ranks == node;
    return near;
}

weft_links weft_mesh_links(const weft_mesh_near *near, bool one_node)
{
    if (near->links != WEFT_LINKS_AUTO) return near->links;
    return one_node ? WEFT_LINKS_IPC : WEFT_LINKS_NCCL;
}

// This rank's number when ranks are counted node by node.
static int by_node(const weft_comm *world)
{
    const int rank = weft_comm_rank(world), node = weft_comm_node(world, rank);
    int before = 0;
    for (int r = 0; r < weft_comm_size(world); r++) {
        const int other = weft_comm_node(world, r);
        before += other < node || (other == node && r < rank);
    }
    return before;
}

static weft_status split(weft_comm *all, int color, int key, int size, const char *name, weft_comm **out)
{
    return size > 1 ? weft_comm_split(all, color, key, name, out) : WEFT_OK;
}

weft_status weft_replicas_create(weft_comm *world, int count, weft_replicas *out)
{
    const int ranks = weft_comm_size(world), rank = weft_comm_rank(world);
    weft_replicas r = {.count = count, .own = world};
    int64_t number = 0;
    weft_status status;
    if (count < 1 || ranks % count != 0)
        return weft_fail(WEFT_USAGE, "--dp %d: %d ranks cannot be divided into so many replicas", count, ranks);
    if (count > 1) {
        r.own = NULL;
        r.split = true;
        WEFT_TRY_GOTO(weft_comm_split(world, by_node(world) / (ranks / count), rank, "replica", &r.own));
        const bool leads = weft_comm_rank(r.own) == 0;
        WEFT_TRY_GOTO(weft_comm_split(world, leads ? 0 : -1, rank, "leads", &r.leads));
        if (leads) number = weft_comm_rank(r.leads);
        WEFT_TRY_GOTO(weft_comm_bcast(r.own, 0, &number, sizeof number));
    }
    r.number = (int)number;
    *out = r;
    return WEFT_OK;
fail:
    weft_replicas_free(&r);
    return status;
}

void weft_replicas_free(weft_replicas *r)
{
    weft_comm_destroy(r->leads);
    if (r->split) weft_comm_destroy(r->own);
    *r = (weft_replicas){0};
}

weft_status weft_mesh_create(weft_comm *world, const weft_mesh_shape *shape, weft_mesh *out)
{
    const int number = by_node(world);
    weft_mesh m = weft_mesh_at(shape, number);
    weft_status status;
    m.times = calloc(1, sizeof *m.times);
    status = m.times ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for the mesh");
    WEFT_TRY_GOTO(weft_comm_agree(world, status, NULL));
    WEFT_TRY_GOTO(weft_comm_split(world, 0, number, "all", &m.all));
    WEFT_TRY_GOTO(split(m.all, m.cp_rank, m.tp_rank, shape->tp, "tp", &m.tp));
    WEFT_TRY_GOTO(split(m.all, m.tp_rank, m.cp_rank, shape->cp, "cp", &m.cp));
    if (shape->dense == WEFT_DENSE_MESH)
        WEFT_TRY_GOTO(split(m.all, 0, m.dense_rank, m.dense_ranks, "dense", &m.dense));
    else
        m.dense = m.tp;
    if (m.dense_ranks > WEFT_LEAVES)
        WEFT_TRY_GOTO(weft_comm_split(m.dense, m.shard.leaf, m.shard.slice, "leaf", &m.leaf));
    *out = m;
    return WEFT_OK;
fail:
    weft_mesh_free(&m);
    return status;
}

void weft_mesh_free(weft_mesh *m)
{
    weft_comm_destroy(m->leaf);
    if (m->dense != m->tp) weft_comm_destroy(m->dense);
    weft_comm_destroy(m->cp);
    weft_comm_destroy(m->tp);
    weft_comm_destroy(m->all);
    free(m->times);
    *m = (weft_mesh){0};
}

int weft_mesh_rank(const weft_mesh *m) { return m->cp_rank * m->shape.tp + m->tp_rank; }

int64_t weft_mesh_piece_rows(const weft_mesh *mesh)
{
    if (!mesh->devices || mesh->dense_ranks == 1 || mesh->dense_ranks > WEFT_LEAVES) return 0;
    return mesh->piece_rows > 0 ? mesh->piece_rows : WEFT_PIECE_ROWS;
}

void weft_mesh_ask_device(weft_mesh *mesh)
{
    const weft_device_links *links = mesh->device ? mesh->device->ops->links : NULL;
    if (!links || !mesh->times) return;
    const uint64_t now = links->waited(mesh->device), more = now - mesh->times->device_ns;
    if (more == 0) return;
    if (mesh->times->tick_ns == 0) mesh->times->tick_ns = weft_clock_tick_seconds() * 1e9;
    const uint64_t ticks = (uint64_t)((double)more / mesh->times->tick_ns);
    mesh->times->device_ns = now;
    mesh->times->exchange += ticks;
    mesh->times->wait += ticks;
}
