#include "model/price.h"

#include <math.h>

#include "parallel/attention.h"
#include "parallel/sum.h"

enum { FLOAT = sizeof(float) };

typedef struct {
    const weft_model_config *c;
    const weft_layout *l;
    const weft_step *s;
    int node_ranks;
    weft_step_price *out;
} pricing;

static double size(weft_range r) { return (double)weft_range_size(r); }

// ---- what is computed ----

static void multiply(const pricing *p, double elements, double rows, double bytes)
{
    p->out->operations += 2 * elements * rows;
    p->out->bytes += elements * bytes;
}

// How many of the experts of a layer some row of the step chooses, where all are as likely.
static double experts_read(const weft_model_config *c, double rows)
{
    const double all = (double)c->experts, used = (double)c->experts_used;
    return all * (1 - pow(1 - used / all, rows));
}

// What the busiest rank has to do of what is dealt by chance, `mean` to each: ranks wait for it.
static double busiest(double mean, int ranks) { return mean + sqrt(mean * log(ranks)); }

static void compute_experts(const pricing *p)
{
    const weft_model_config *c = p->c;
    const weft_layout *l = p->l;
    const int ranks = l->mesh.shape.expert_columns ? 1 : l->mesh.dense_ranks;
    const double own = size(l->experts), share = own / (double)c->experts, rows = p->s->rows;
    const double expert =
        2 * size(l->expert_ffn) * (double)c->hidden + size(l->expert_inputs) * size(l->expert_outputs);
    p->out->operations += 2 * expert * busiest(rows * (double)c->experts_used * share, ranks);
    p->out->bytes += expert * fmin(own, busiest(experts_read(c, rows) * share, ranks)) * p->s->weight;
    multiply(p, (double)c->experts * (double)c->hidden, rows, p->s->unchanged); // the router
}

static void compute_ffn(const pricing *p, bool moe)
{
    const weft_layout *l = p->l;
    if (moe)
        compute_experts(p);
    else
        multiply(p, 2 * size(l->ffn) * (double)p->c->hidden + size(l->down_inputs) * size(l->outputs), p->s->rows,
                 p->s->weight);
}

// Where rows are dealt: what travels in a layer, found as the pass finds it, of ranks that all have as much to do.
typedef struct {
    weft_dealt_shape shape;
    double rows[WEFT_FOLD_PLACES];
    double positions; // that each rank would give
    int pieces;       // of keys; 0: queries travel
} travel;

static travel travel_of(const pricing *p, int64_t window)
{
    const weft_step *s = p->s;
    const int cp = p->l->mesh.shape.cp;
    const double all = s->attended / s->requests; // rows of a request
    travel t = {.shape = weft_layout_dealt(p->c, p->l, s->room, s->cache_type)};
    double keys = s->keys + all / 2; // the last row sees more than the mean
    if (window > 0 && (double)window + all < keys) keys = (double)window + all;
    // The rows of less than a chunk are on one rank, and it needs nobody to give it its own.
    const double beside = all > WEFT_FOLD_CHUNK ? 1 : 1 - 1. / cp;
    t.positions = s->requests * keys / cp * beside;
    for (int r = 0; r < cp; r++) t.rows[r] = s->rows;
    const bool near = weft_mesh_near_of(&p->l->mesh, p->node_ranks).cp;
    if (size(p->l->heads) > 0 && t.positions * cp <= weft_dealt_most(&t.shape, cp, t.rows))
        t.pieces = weft_dealt_pieces(&t.shape, near, t.positions);
    return t;
}

static bool rows_are_dealt(const pricing *p)
{
    return p->l->mesh.shape.cp > 1 && p->l->mesh.shape.dense == WEFT_DENSE_TP;
}

// Every rank of a cp group attends for the rows of all over the keys that it holds, or for its own over those of all.
static void compute_attention(const pricing *p, int64_t window)
{
    const weft_step *s = p->s;
    const double keys = window > 0 && (double)window < s->keys ? (double)window : s->keys;
    const bool whole = rows_are_dealt(p) && travel_of(p, window).pieces > 0;
    const double pairs = whole ? s->rows * keys : s->attended * keys * s->share;
    p->out->attention_operations += 4 * pairs * size(p->l->heads) * (double)p->c->head_dim;
    p->out->attention_bytes += s->requests * keys * (whole ? 1 : s->share) * size(p->l->kv_heads) * s->cache;
}

static void compute(const pricing *p)
{
    const weft_layout *l = p->l;
    const double h = (double)p->c->hidden;
    for (int64_t i = 0; i < p->c->layers; i++) {
        multiply(p, size(l->qkv) * h + size(l->o_inputs) * size(l->outputs), p->s->rows, p->s->weight);
        compute_ffn(p, p->c->layer[i].moe);
        compute_attention(p, p->c->layer[i].window);
    }
    multiply(p, size(l->vocab) * h, p->s->logits, p->s->head);
}

// ---- what is sent ----

// The other ranks of a group.
typedef struct {
    double near, far;
    weft_traffic_group group;
} peers;

static int of_all(const weft_mesh *m, int index) { return m ? index : 0; }
static int of_cp(const weft_mesh *m, int index) { return index * m->shape.tp + m->tp_rank; }
static int of_dense(const weft_mesh *m, int index) { return weft_mesh_rank_of_dense(m, index); }
static int of_leaf(const weft_mesh *m, int index)
{
    return weft_mesh_rank_of_dense(m, m->dense_rank - m->shard.slice + index);
}

static weft_traffic_group group_of(const weft_mesh *m, int (*member)(const weft_mesh *m, int index))
{
    if (member == of_cp) return WEFT_TRAFFIC_CP;
    if (member == of_leaf) return WEFT_TRAFFIC_LEAF;
    if (member == of_dense) return m->dense_ranks == m->shape.tp ? WEFT_TRAFFIC_TP : WEFT_TRAFFIC_DENSE;
    return WEFT_TRAFFIC_ALL;
}

static peers peers_of(const pricing *p, int count, int (*member)(const weft_mesh *m, int index))
{
    const weft_mesh *m = &p->l->mesh;
    const int own = weft_mesh_rank(m);
    peers out = {.group = group_of(m, member)};
    for (int i = 0; i < count; i++) {
        const int rank = member(m, i);
        if (rank == own) continue;
        if (rank / p->node_ranks == own / p->node_ranks)
            out.near++;
        else
            out.far++;
    }
    return out;
}

static void note(weft_step_price *price, const weft_traffic *t)
{
    int i = 0;
    for (; i < price->kinds; i++) {
        const weft_traffic *o = &price->traffic[i];
        const double more = o->bytes - t->bytes;
        if (o->group == t->group && o->near == t->near && o->far == t->far && o->each == t->each && fabs(more) < 0.5)
            break;
    }
    if (i == WEFT_TRAFFIC_MAX) i--;
    if (i == price->kinds) {
        price->traffic[price->kinds++] = *t;
        return;
    }
    weft_traffic *o = &price->traffic[i];
    o->bytes = (o->bytes * o->times + t->bytes * t->times) / (o->times + t->times);
    o->times += t->times;
}

// So many bytes to each of them, in so many exchanges that each wait for the slowest.
static void send_as(const pricing *p, peers to, double each, double exchanges, bool unlike)
{
    const weft_traffic t = {to.group, (int)to.near, (int)to.far, unlike, exchanges > 0 ? each / exchanges : 0,
                            exchanges};
    if (exchanges > 0 && to.near + to.far > 0) note(p->out, &t);
    p->out->near.bytes += to.near * each;
    p->out->far.bytes += to.far * each;
    if (to.far > 0)
        p->out->far.exchanges += exchanges;
    else if (to.near > 0)
        p->out->near.exchanges += exchanges;
}

// The same bytes for all; other bytes for each.
static void send(const pricing *p, peers to, double each, double exchanges) { send_as(p, to, each, exchanges, false); }
static void send_each(const pricing *p, peers to, double each) { send_as(p, to, each, 1, true); }

static bool deals(const pricing *p)
{
    const int ranks = p->l->mesh.dense_ranks;
    return ranks > 1 && p->s->rows >= (double)weft_rows_dealt_from(ranks);
}

// Bytes of an element of rows that are dealt, when they are gathered: what only GEMMs read goes as they round it.
static double gathered(const pricing *p, bool moe) { return moe || p->s->weight >= FLOAT ? FLOAT : 2; }

// A row sum: what is small goes to all, who add all of it. Else up to V ranks slices of roots to who adds them, then
// what becomes of the slices, of so many bytes an element, to all; beyond V the leaf's activations among its sharers,
// then the roots to all, or likewise.
static void send_sum(const pricing *p, const weft_row_shape *shape, weft_range own, double rows, double element)
{
    const weft_mesh *m = &p->l->mesh;
    const peers dense = peers_of(p, m->dense_ranks, of_dense);
    if (m->dense_ranks == 1) return;
    if (m->dense_ranks > WEFT_LEAVES) {
        send(p, peers_of(p, m->shard.slices, of_leaf), rows * size(own) * FLOAT, 1);
        if (shape->deals && deals(p)) {
            send_each(p, dense, rows * size(p->l->outputs) / m->dense_ranks * FLOAT);
            send(p, dense, rows * (double)shape->width / m->dense_ranks * element, 1);
            return;
        }
        send(p, dense, rows * size(p->l->outputs) * FLOAT, 1);
        return;
    }
    weft_gemm_root roots[WEFT_ROOTS_MAX];
    const weft_gemm_leaves leaves = weft_shard_leaves(&m->shard, shape->k, shape->unit);
    const double slice = rows * (double)shape->width / m->dense_ranks, own_roots = weft_gemm_roots(&leaves, roots);
    if (!deals(p) &&
        weft_sum_one_shot(m->devices, m->dense_ranks, dense.far <= 0, (size_t)(rows * (double)shape->width))) {
        send(p, dense, rows * (double)shape->width * FLOAT * own_roots, 1);
        return;
    }
    send_each(p, dense, slice * FLOAT * own_roots);
    send(p, dense, slice * (shape->deals && deals(p) ? element : FLOAT), 1);
}

// Queries to all, and parts back; or keys and values to all.
static void send_dealt(const pricing *p, peers cp, int64_t window)
{
    const int ranks = p->l->mesh.shape.cp;
    const travel t = travel_of(p, window);
    const double others = ranks - 1, all = p->s->attended / p->s->requests;
    if (p->s->keys + all / 2 <= WEFT_FOLD_CHUNK) return; // rows stand where all of their keys are
    if (t.pieces > 0)
        send(p, cp, weft_dealt_key_bytes(&t.shape, ranks, t.positions) / others, t.pieces);
    else
        send(p, cp, weft_dealt_query_bytes(&t.shape, ranks, p->l->mesh.cp_rank, t.rows) / others, 2);
}

// With --dense mesh q, k and v to all first, and parts to who finishes their heads.
static void send_attention(const pricing *p, int64_t window)
{
    const weft_layout *l = p->l;
    const weft_mesh *m = &l->mesh;
    const double rows = p->s->rows, d = (double)p->c->head_dim;
    weft_fold_root roots[WEFT_FOLD_ROOTS_MAX];
    if (m->shape.cp == 1) return;
    const peers cp = peers_of(p, m->shape.cp, of_cp);
    if (rows_are_dealt(p)) {
        send_dealt(p, cp, window);
        return;
    }
    const double parts = rows * weft_fold_roots(weft_fold_owned(m->cp_rank, m->shape.cp), roots) * (d + 2) * FLOAT;
    send(p, cp, rows * size(l->qkv) * FLOAT, 1);
    send(p, cp, parts * (size(l->heads) - size(l->finished)) / (m->shape.cp - 1), 1);
}

// Rows of the embedding to all of the dense group; logits to all.
static void send_ends(const pricing *p)
{
    const weft_mesh *m = &p->l->mesh;
    const int ranks = m->shape.tp * m->shape.cp;
    const peers dense = peers_of(p, m->dense_ranks, of_dense);
    const double found = p->s->rows * (double)p->c->hidden / m->dense_ranks; // of each rank
    if (deals(p)) { // to who finishes them, then the normed rows to all; behind the last layer in f32
        const double element = gathered(p, false);
        send_each(p, dense, found / m->dense_ranks * FLOAT);
        send(p, dense, found * element, 1);
        send(p, dense, found * (FLOAT - element), 0);
    } else {
        send(p, dense, found * FLOAT, 1);
    }
    if (p->s->logits > 0) send(p, peers_of(p, ranks, of_all), p->s->logits * size(p->l->vocab) * FLOAT, 1);
}

static void add(weft_step_price *to, const weft_step_price *one, double times)
{
    to->near.bytes += one->near.bytes * times;
    to->near.exchanges += one->near.exchanges * times;
    to->far.bytes += one->far.bytes * times;
    to->far.exchanges += one->far.exchanges * times;
    for (int i = 0; i < one->kinds; i++) {
        weft_traffic t = one->traffic[i];
        t.times *= times;
        note(to, &t);
    }
}

// What whole experts say of a row to the row's owner, and the owners' sums to all.
static void send_experts(const pricing *p, double element)
{
    const weft_mesh *m = &p->l->mesh;
    const peers dense = peers_of(p, m->dense_ranks, of_dense);
    const double floats = p->s->rows * (double)p->c->hidden / m->dense_ranks;
    if (m->dense_ranks == 1) return;
    send(p, dense, floats * FLOAT * (double)p->c->experts_used * size(p->l->experts) / (double)p->c->experts, 1);
    send(p, dense, floats * element, 1);
}

static void send_layer(const pricing *p, bool moe)
{
    const weft_layout *l = p->l;
    const double rows = p->s->rows;
    const weft_range finished = {l->finished.begin * p->c->head_dim, l->finished.end * p->c->head_dim};
    const double element = deals(p) ? gathered(p, false) : FLOAT;
    weft_row_shape o = l->o, down = l->down;
    o.deals = down.deals = true;
    send_sum(p, &o, finished, rows, gathered(p, moe));
    if (!moe) {
        send_sum(p, &down, l->ffn, rows, element);
        return;
    }
    if (!l->mesh.shape.expert_columns) {
        send_experts(p, element);
        return;
    }
    if (deals(p)) {
        const int ranks = l->mesh.dense_ranks;
        send(p, peers_of(p, ranks, of_dense), rows * (double)p->c->hidden / ranks * element, 1);
    }
    send_sum(p, &l->expert_down, l->expert_ffn, rows * (double)p->c->experts_used, FLOAT);
}

static void send_layers(const pricing *p)
{
    double count[2] = {0};
    for (int64_t i = 0; i < p->c->layers; i++) {
        count[p->c->layer[i].moe]++;
        send_attention(p, p->c->layer[i].window);
    }
    for (int moe = 0; moe < 2; moe++) {
        weft_step_price one = {0};
        pricing of_one = *p;
        of_one.out = &one;
        if (count[moe] == 0) continue;
        send_layer(&of_one, moe != 0);
        add(p->out, &one, count[moe]);
    }
}

weft_step_price weft_price_step(const weft_model_config *config, const weft_layout *layout, const weft_step *step,
                                int node_ranks)
{
    weft_step_price price = {0};
    const pricing p = {.c = config, .l = layout, .s = step, .node_ranks = node_ranks, .out = &price};
    compute(&p);
    send_layers(&p);
    send_ends(&p);
    return price;
}
