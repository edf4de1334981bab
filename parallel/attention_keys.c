// Attention over dealt rows where keys travel: every rank gives the blocks that rows of other ranks see, as they are
// stored, some KV heads at a time, and attends over each rank's blocks in its view. The next piece is on its way
// meanwhile. What a rank holds itself is read in its own cache, while the first piece comes. So each rank's places give
// parts as they do where queries travel, and the same join makes the same bits.
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/checked.h"
#include "parallel/attention_impl.h"

// Tables have entries for blocks that are given and for those between them that only their holder sees.
enum { TABLE_EACH = 4 };

struct wi_keys {
    size_t give_room, table_room;
    int32_t *give;                // this rank's blocks, in the order in which they are given
    int32_t *table;               // of each request: the numbers of blocks in the views of those who give them
    weft_attention_request *runs; // (rows) this rank's, with these tables
    int *first_head;              // (KV heads of a piece + 1)
    // of the pass
    size_t blocks[WEFT_FOLD_PLACES]; // that each rank gives
    size_t table_used;
    int pieces; // 0: nobody gives anything
};

static weft_cache head_of(const weft_dealt_shape *s)
{
    return (weft_cache){
        .type = s->cache, .block = WEFT_BLOCK_MIN, .heads = 1, .k_size = s->k_size, .v_size = s->v_size};
}

// ---- memory ----

static wi_keys sizes_of(const weft_dealt_shape *s, int ranks)
{
    const weft_cache one = head_of(s);
    wi_keys k = {.give_room = wi_dealt_room(s) * sizeof(float) / (weft_cache_k_bytes(&one) + weft_cache_v_bytes(&one))};
    k.table_room = TABLE_EACH * k.give_room * (size_t)ranks;
    return k;
}

size_t wi_keys_bytes(const weft_dealt_shape *s, int ranks)
{
    const wi_keys k = sizes_of(s, ranks);
    return sizeof k + (k.give_room + k.table_room) * sizeof *k.give + (size_t)s->rows * sizeof *k.runs +
           ((size_t)s->kv_heads + 1) * sizeof *k.first_head;
}

weft_status wi_keys_create(const weft_dealt_shape *s, int ranks, wi_keys **out)
{
    wi_keys *k = calloc(1, sizeof *k);
    if (!k) return weft_fail(WEFT_NO_MEMORY, "no memory to gather keys");
    *k = sizes_of(s, ranks);
    *out = k;
    k->give = malloc((k->give_room + 1) * sizeof *k->give);
    k->table = malloc((k->table_room + 1) * sizeof *k->table);
    k->runs = malloc(((size_t)s->rows + 1) * sizeof *k->runs);
    k->first_head = malloc(((size_t)s->kv_heads + 1) * sizeof *k->first_head);
    if (!k->give || !k->table || !k->runs || !k->first_head)
        return weft_fail(WEFT_NO_MEMORY, "no memory to gather keys of %d rows", s->rows);
    return WEFT_OK;
}

void wi_keys_destroy(wi_keys *k)
{
    if (!k) return;
    free(k->give);
    free(k->table);
    free(k->runs);
    free(k->first_head);
    free(k);
}

// ---- which blocks ----

static int64_t low_of(const weft_attention *a, const weft_attention_request *run)
{
    const int64_t after = run->position - a->window + 1;
    return a->window > 0 && after > 0 ? after : 0;
}

static int64_t high_of(const weft_attention *a, const weft_attention_request *run)
{
    const int64_t end = run->position + run->rows;
    return a->causal && end < run->length ? end : run->length;
}

typedef struct {
    weft_dealt *d;
    const weft_attention *args;
    const weft_dealt_rows *rows_of;
    int first[WEFT_FOLD_PLACES], next[WEFT_FOLD_PLACES]; // [cp] the request's runs of each rank
    double left;                                         // positions that may still be given
} planning;

// Positions from low to high - 1.
typedef struct {
    int64_t low, high;
} extent;

// What the rows of one run see of `of`, joined to `seen`.
static void see(const planning *p, const weft_attention_request *run, extent of, extent *seen)
{
    const int64_t low = low_of(p->args, run), high = high_of(p->args, run);
    if (low >= of.high || high <= of.low) return;
    if (low < seen->low) seen->low = low > of.low ? low : of.low;
    if (high > seen->high) seen->high = high < of.high ? high : of.high;
}

// What the request's rows on all ranks but one see of `of`.
static extent seen_beside(const planning *p, int but, extent of)
{
    extent seen = {of.high, of.low};
    for (int r = 0; r < p->d->mesh.shape.cp; r++)
        for (int i = p->first[r]; r != but && i < p->next[r]; i++) see(p, &p->rows_of[r].runs[i], of, &seen);
    return seen;
}

// Goes to the runs of the next request. Returns one of them, NULL behind the last.
static const weft_attention_request *next_request(planning *p)
{
    const weft_attention_request *any = NULL;
    const int ranks = p->d->mesh.shape.cp;
    int request = INT_MAX;
    for (int r = 0; r < ranks; r++) {
        const weft_dealt_rows *of = &p->rows_of[r];
        p->first[r] = p->next[r];
        if (p->first[r] < of->run_count && of->request[p->first[r]] < request) request = of->request[p->first[r]];
    }
    for (int r = 0; r < ranks; r++) {
        const weft_dealt_rows *of = &p->rows_of[r];
        for (; p->next[r] < of->run_count && of->request[p->next[r]] == request; p->next[r]++)
            any = &of->runs[p->next[r]];
    }
    return any;
}

// The blocks from..to-1 of one rank are given. False: that is more than there is room for, or than pays.
static bool give(planning *p, const weft_attention_request *run, int owner, int64_t from, int64_t to)
{
    wi_keys *k = p->d->keys;
    p->left -= (double)((to - from) * p->args->cache->block);
    for (int64_t b = from; b < to; b++) {
        if (k->blocks[owner] == k->give_room || k->table_used == k->table_room) return false;
        if (owner == p->d->mesh.cp_rank) k->give[k->blocks[owner]] = run->blocks[b];
        k->table[k->table_used++] = (int32_t)k->blocks[owner]++;
    }
    return p->left >= 0;
}

static bool plan_request(planning *p, const weft_attention_request *any)
{
    weft_dealt *d = p->d;
    wi_keys *k = d->keys;
    const int rank = d->mesh.cp_rank;
    const int64_t block = p->args->cache->block;
    const size_t start = k->table_used;
    const extent all = seen_beside(p, -1, (extent){0, INT64_MAX});
    int64_t first = -1;
    for (int64_t at = all.low / WEFT_FOLD_CHUNK * WEFT_FOLD_CHUNK; at < all.high; at += WEFT_FOLD_CHUNK) {
        const int owner = weft_fold_owner(at / WEFT_FOLD_CHUNK, d->mesh.shape.cp, any->rotation);
        const extent seen = seen_beside(p, owner, (extent){at, at + WEFT_FOLD_CHUNK});
        if (seen.low >= seen.high) continue;
        const int64_t from = seen.low / block, to = (seen.high - 1) / block + 1;
        if (first < 0) first = from;
        for (; first + (int64_t)(k->table_used - start) < from; k->table_used++) {
            if (k->table_used == k->table_room) return false;
            k->table[k->table_used] = -1;
        }
        if (!give(p, any, owner, from, to)) return false;
    }
    // Entries before the first stand in no table, and nobody looks for them.
    const uintptr_t table = (uintptr_t)(k->table + start) - (uintptr_t)(first > 0 ? first : 0) * sizeof *k->table;
    for (int i = p->first[rank]; i < p->next[rank]; i++) {
        k->runs[i] = p->rows_of[rank].runs[i];
        k->runs[i].blocks = (const int32_t *)table;
    }
    return true;
}

bool wi_keys_plan(weft_dealt *d, const weft_attention *args, const weft_dealt_rows *rows_of)
{
    planning p = {.d = d, .args = args, .rows_of = rows_of};
    double rows[WEFT_FOLD_PLACES];
    size_t most = 0;
    for (int r = 0; r < d->mesh.shape.cp; r++) {
        rows[r] = rows_of[r].rows;
        d->keys->blocks[r] = 0;
    }
    d->keys->table_used = 0;
    p.left = weft_dealt_most(&d->shape, d->mesh.shape.cp, rows);
    if (p.left < 0) return false;
    for (const weft_attention_request *any; (any = next_request(&p));)
        if (!plan_request(&p, any)) return false;
    for (int r = 0; r < d->mesh.shape.cp; r++) most = d->keys->blocks[r] > most ? d->keys->blocks[r] : most;
    const int pieces = weft_dealt_pieces(&d->shape, d->near, (double)most * args->cache->block);
    d->keys->pieces = most > 0 ? pieces : 0;
    return pieces > 0;
}

// ---- moving them ----

// Some KV heads, and their query heads.
typedef struct {
    weft_cache own; // of this rank's cache
    weft_cache one; // of a view, where blocks stand one behind the other
    weft_range kv, heads;
} piece;

static int first_query(const weft_attention *a, int64_t kv_head)
{
    return a->first_head ? a->first_head[kv_head] : (int)kv_head * (a->heads / a->cache->heads);
}

static piece piece_at(const weft_dealt *d, const weft_attention *a, int index)
{
    const weft_range kv = weft_range_part(a->cache->heads, 1, index, d->keys->pieces > 0 ? d->keys->pieces : 1);
    piece p = {.own = weft_cache_heads(a->cache, (int)kv.begin, (int)weft_range_size(kv)),
               .kv = kv,
               .heads = {first_query(a, kv.begin), first_query(a, kv.end)}};
    p.one = p.own;
    p.one.k_offset = 0;
    p.one.v_offset = weft_cache_k_bytes(&p.own);
    p.one.block_bytes = p.one.v_offset + weft_cache_v_bytes(&p.own);
    return p;
}

// K or V of the blocks that are given, one behind the other.
static void copy_blocks(const weft_op *op, const wi_keys *keys, size_t blocks, unsigned char *to, size_t to_bytes,
                        const unsigned char *from, size_t from_bytes, size_t bytes)
{
    op->table->rows.gather(op, &(weft_move){.out = to,
                                            .out_stride = to_bytes,
                                            .in = from,
                                            .in_stride = from_bytes,
                                            .index = keys->give,
                                            .rows = blocks,
                                            .bytes = bytes});
}

static weft_status begin_piece(weft_dealt *d, const weft_op *op, const weft_attention *args, int index)
{
    const piece p = piece_at(d, args, index);
    float *slot;
    if (index >= d->keys->pieces) return WEFT_OK;
    WEFT_TRY(weft_transfer_acquire(d->moved, &slot));
    unsigned char *to = (unsigned char *)slot;
    const size_t blocks = d->keys->blocks[d->mesh.cp_rank], each = p.one.block_bytes, v_at = p.one.v_offset;
    const weft_cache *own = &p.own;
    if (blocks > 0) {
        copy_blocks(op, d->keys, blocks, to, each, own->pool + own->k_offset, own->block_bytes, v_at);
        copy_blocks(op, d->keys, blocks, to + v_at, each, own->pool + own->v_offset, own->block_bytes, each - v_at);
    }
    return weft_transfer_begin(d->moved, blocks * each / sizeof *slot);
}

// ---- attention ----

// Over the keys of one rank, for this rank's rows: in its own cache, or in the view. Returns where the next parts go.
static float *attend_over(weft_dealt *d, const weft_op *op, weft_attention_family family, const weft_attention *args,
                          const weft_dealt_rows *mine, const piece *p, int rank, float *to)
{
    const bool own = rank == d->mesh.cp_rank;
    const int roots = wi_dealt_roots(rank, d->mesh.shape.cp);
    weft_attention a = *args;
    weft_cache cache = own ? p->own : p->one;
    wi_asked asked =
        wi_asked_of(mine, roots, args->q + (size_t)p->heads.begin * (size_t)d->shape.k_size, args->q_stride);
    d->from[rank] = NULL;
    if (!own && d->keys->blocks[rank] == 0) return to;
    if (!own) cache.pool = (unsigned char *)(uintptr_t)weft_transfer_view(d->moved, rank);
    if (!own) asked.runs = d->keys->runs;
    for (int64_t i = p->kv.begin; i <= p->kv.end; i++)
        d->keys->first_head[i - p->kv.begin] = first_query(args, i) - (int)p->heads.begin;
    a.cache = &cache;
    a.heads = (int)weft_range_size(p->heads);
    a.first_head = d->keys->first_head;
    a.places = weft_fold_owned(rank, d->mesh.shape.cp);
    wi_attend(d, op, family, &a, &asked, to);
    d->from[rank] = to;
    return to + weft_align_up(wi_part_floats(&d->shape, roots, (size_t)mine->rows, (size_t)a.heads), WI_LINE_FLOATS);
}

static void join_piece(const weft_dealt *d, const weft_op *op, const weft_attention *args, const weft_dealt_rows *mine,
                       const piece *p)
{
    weft_attention a = *args;
    a.out += (size_t)p->heads.begin * (size_t)d->shape.v_size;
    wi_join(d, op, &a, mine, (size_t)weft_range_size(p->heads), args->sinks ? args->sinks + p->heads.begin : NULL);
}

weft_status wi_by_keys(weft_dealt *d, const weft_op *op, weft_attention_family family, const weft_attention *args,
                       const weft_dealt_rows *rows_of)
{
    const int ranks = d->mesh.shape.cp, rank = d->mesh.cp_rank, pieces = d->keys->pieces;
    const weft_dealt_rows *mine = &rows_of[rank];
    float *slot; // where parts would stand that go to others
    WEFT_TRY(weft_transfer_acquire(d->parts, &slot));
    if (pieces > 0) WEFT_TRY(begin_piece(d, op, args, 0));
    for (int i = 0; i < (pieces > 0 ? pieces : 1); i++) {
        const piece p = piece_at(d, args, i);
        float *to = attend_over(d, op, family, args, mine, &p, rank, slot);
        if (pieces > 0) WEFT_TRY(weft_transfer_end(d->moved));
        if (i + 1 < pieces) WEFT_TRY(begin_piece(d, op, args, i + 1));
        for (int next = 1; next < ranks; next++) {
            to = attend_over(d, op, family, args, mine, &p, (rank + next) % ranks, to);
            if (i + 1 < pieces) weft_comm_progress(d->mesh.cp);
        }
        join_piece(d, op, args, mine, &p);
        if (pieces > 0) weft_transfer_release(d->moved);
    }
    weft_transfer_cancel(d->parts);
    return WEFT_OK;
}
