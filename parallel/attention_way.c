// Whether queries or keys travel.
#include <math.h>

#include "core/checked.h"
#include "parallel/attention_impl.h"

enum { PIECES = 4 }; // between hosts, where there are as many heads: one moves while over another is attended

int wi_dealt_roots(int rank, int ranks)
{
    weft_fold_root roots[WEFT_FOLD_ROOTS_MAX];
    return weft_fold_roots(weft_fold_owned(rank, ranks), roots);
}

// A pass's queries, or as much of one KV head as can be fewer bytes than they and their parts are.
size_t wi_dealt_room(const weft_dealt_shape *s)
{
    const size_t rows = (size_t)s->rows * (size_t)s->heads, queries = rows * (size_t)s->k_size;
    const size_t head = s->kv_heads > 0 ? (queries + wi_part_floats(s, 1, rows, 1)) / (size_t)s->kv_heads : 0;
    return weft_align_up(head > queries ? head : queries, WI_LINE_FLOATS);
}

// Of one position and KV head, key and value, as blocks hold them.
static double position_bytes(const weft_dealt_shape *s)
{
    const weft_cache one = {
        .type = s->cache, .block = WEFT_BLOCK_MIN, .heads = 1, .k_size = s->k_size, .v_size = s->v_size};
    return (double)(weft_cache_k_bytes(&one) + weft_cache_v_bytes(&one)) / WEFT_BLOCK_MIN;
}

double weft_dealt_query_bytes(const weft_dealt_shape *s, int ranks, int rank, const double *rows)
{
    const double parts = wi_dealt_roots(rank, ranks) * ((double)s->v_size + 2);
    double others = -rows[rank];
    for (int r = 0; r < ranks; r++) others += rows[r];
    return s->heads * sizeof(float) * (rows[rank] * (ranks - 1) * s->k_size + others * parts);
}

double weft_dealt_key_bytes(const weft_dealt_shape *s, int ranks, double positions)
{
    return positions * s->kv_heads * position_bytes(s) * (ranks - 1);
}

double weft_dealt_most(const weft_dealt_shape *s, int ranks, const double *rows)
{
    double queries = 0;
    if (s->way != WEFT_DEALT_FEWER) return s->way == WEFT_DEALT_KEYS ? INFINITY : -1;
    for (int r = 0; r < ranks; r++) queries += weft_dealt_query_bytes(s, ranks, r, rows);
    return queries / weft_dealt_key_bytes(s, ranks, 1);
}

int weft_dealt_pieces(const weft_dealt_shape *s, bool near, double positions)
{
    const double room = (double)(wi_dealt_room(s) * sizeof(float)), head = positions * position_bytes(s);
    if (head > room) return 0;
    const int together = head * s->kv_heads <= room ? s->kv_heads : (int)(room / head);
    const int pieces = (s->kv_heads + together - 1) / together, wanted = s->kv_heads < PIECES ? s->kv_heads : PIECES;
    return near || pieces > wanted ? pieces : wanted;
}
