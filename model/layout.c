#include "model/layout.h"

enum { FFN_UNIT = 32, QKV_GRAIN = 32, VOCAB_GRAIN = 32 };

static weft_range own_heads(const weft_model_config *c, int dense_rank, int dense_ranks)
{
    const weft_shard shard = weft_shard_of(dense_rank, dense_ranks);
    return weft_shard_own(&shard, c->heads);
}

// The heads of a tensor rank: where the dense group is the whole mesh, those of all its context ranks.
static weft_range heads_of(const weft_model_config *c, const weft_mesh *m)
{
    if (m->shape.dense == WEFT_DENSE_TP) return own_heads(c, m->tp_rank, m->shape.tp);
    const int first = m->tp_rank * m->shape.cp;
    return (weft_range){own_heads(c, first, m->dense_ranks).begin,
                        own_heads(c, first + m->shape.cp - 1, m->dense_ranks).end};
}

static weft_range kv_heads_of(const weft_model_config *c, weft_range heads)
{
    const int64_t each = c->heads / c->kv_heads;
    if (heads.begin == heads.end) return (weft_range){0, 0};
    return (weft_range){heads.begin / each, (heads.end - 1) / each + 1};
}

weft_range weft_layout_finished(const weft_model_config *c, const weft_mesh *m)
{
    return own_heads(c, m->dense_rank, m->dense_ranks);
}

int64_t weft_layout_qkv_width(const weft_model_config *c, const weft_layout *l)
{
    return (weft_range_size(l->heads) + 2 * weft_range_size(l->kv_heads)) * c->head_dim;
}

void weft_layout_qkv_rows(const weft_model_config *c, const weft_layout *l, weft_range out[3])
{
    const int64_t d = c->head_dim;
    const weft_range heads[] = {l->heads, l->kv_heads, l->kv_heads};
    int64_t at = 0; // in the stack
    for (int i = 0; i < 3; i++) {
        const int64_t first = heads[i].begin * d, rows = weft_range_size(heads[i]) * d;
        const int64_t begin = l->qkv.begin > at ? l->qkv.begin : at,
                      end = l->qkv.end < at + rows ? l->qkv.end : at + rows;
        out[i] = begin < end ? (weft_range){first + begin - at, first + end - at} : (weft_range){0, 0};
        at += rows;
    }
}

weft_range weft_layout_experts_of(const weft_model_config *c, const weft_mesh *m, int dense_rank)
{
    if (m->shape.expert_columns) return (weft_range){0, c->experts};
    return weft_range_part(c->experts, 1, dense_rank, m->dense_ranks);
}

weft_range weft_layout_vocab_of(const weft_model_config *c, const weft_mesh *m, int dense_rank)
{
    return weft_range_part(c->vocab, VOCAB_GRAIN, dense_rank, m->dense_ranks);
}

int64_t weft_layout_vocab_most(const weft_model_config *c, const weft_mesh *m)
{
    const int64_t ranks = m->dense_ranks, grains = (c->vocab + VOCAB_GRAIN - 1) / VOCAB_GRAIN;
    // The last rank has as many grains as any, of which the last may be cut; where it alone has one more than the
    // others, that one counts as it is.
    if (ranks == 1 || grains % ranks == 1) return weft_range_size(weft_layout_vocab_of(c, m, m->dense_ranks - 1));
    return (grains + ranks - 1) / ranks * VOCAB_GRAIN;
}

weft_layout weft_layout_of(const weft_model_config *c, const weft_mesh *mesh, int group)
{
    static const weft_mesh_shape alone = {.tp = 1, .cp = 1};
    weft_layout l = {.mesh = mesh ? *mesh : weft_mesh_at(&alone, 0)};
    const weft_mesh *m = &l.mesh;
    const int64_t unit = group > FFN_UNIT ? group : FFN_UNIT;
    l.heads = heads_of(c, m);
    l.kv_heads = kv_heads_of(c, l.heads);
    l.finished = weft_layout_finished(c, m);
    l.qkv = (weft_range){0, weft_layout_qkv_width(c, &l)};
    if (m->shape.dense == WEFT_DENSE_MESH) l.qkv = weft_range_part(l.qkv.end, QKV_GRAIN, m->cp_rank, m->shape.cp);
    l.o = (weft_row_shape){.k = c->heads * c->head_dim, .unit = c->head_dim, .width = c->hidden};
    l.down = (weft_row_shape){.k = c->ffn, .unit = unit, .width = c->hidden};
    l.expert_down = (weft_row_shape){.k = c->expert_ffn, .unit = unit, .width = c->hidden};
    l.o_inputs = weft_row_inputs(m, &l.o);
    l.down_inputs = weft_row_inputs(m, &l.down);
    l.expert_mesh = *m;
    if (!m->shape.expert_columns) {
        l.expert_mesh = weft_mesh_at(&alone, 0);
        l.expert_mesh.shape.fast = m->shape.fast;
    }
    l.experts = weft_layout_experts_of(c, m, m->dense_rank);
    l.expert_inputs = weft_row_inputs(&l.expert_mesh, &l.expert_down);
    l.ffn = weft_row_own(m, &l.down);
    l.expert_ffn = weft_row_own(&l.expert_mesh, &l.expert_down);
    l.outputs = weft_row_outputs(m, &l.o);
    l.expert_outputs = weft_row_outputs(&l.expert_mesh, &l.expert_down);
    l.vocab = weft_layout_vocab_of(c, m, m->dense_rank);
    return l;
}
