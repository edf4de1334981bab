// What sequences hold, reserve and let go.
#include <stdlib.h>
#include <string.h>

#include "engine/cache_impl.h"

static int owner_of(const wi_kv *c, int64_t block, int key)
{
    if (c->shape.ranks == 1) return 0;
    return weft_fold_owner(block * c->shape.block / WEFT_FOLD_CHUNK, c->shape.ranks, key);
}

weft_status wi_kv_create(const wi_kv_shape *shape, wi_kv **out)
{
    weft_status status;
    wi_kv *c = calloc(1, sizeof *c);
    if (!c) return weft_fail(WEFT_NO_MEMORY, "no memory for a cache");
    c->shape = *shape;
    for (int k = 0; k < shape->kind_count; k++) c->groups += shape->kinds[k].units;
    c->promised = calloc((size_t)shape->ranks, sizeof *c->promised);
    c->wanted = calloc((size_t)shape->ranks, sizeof *c->wanted);
    c->copies = calloc((size_t)shape->requests * (size_t)c->groups, sizeof *c->copies);
    WEFT_TRY_GOTO(c->promised && c->wanted && c->copies ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for a cache"));
    WEFT_TRY_GOTO(wi_blocks_create(shape->ranks, shape->units, shape->eviction, &c->blocks));
    *out = c;
    return WEFT_OK;
fail:
    wi_kv_destroy(c);
    return status;
}

void wi_kv_destroy(wi_kv *c)
{
    if (!c) return;
    wi_blocks_destroy(c->blocks);
    free(c->promised);
    free(c->wanted);
    free(c->copies);
    free(c);
}

const wi_kv_shape *wi_cache_shape_of(const wi_kv *c) { return &c->shape; }
const wi_blocks *wi_kv_blocks(const wi_kv *c) { return c->blocks; }
int64_t wi_kv_freed(const wi_kv *c) { return c->freed; }

weft_status wi_sequence_create(const wi_kv *c, int64_t positions, wi_sequence *out)
{
    const size_t room = (size_t)wi_blocks_for(&c->shape, positions), ranks = (size_t)c->shape.ranks;
    *out = (wi_sequence){.borrowed = -1, .room = (int)room};
    out->heads = malloc((size_t)c->shape.kind_count * room * sizeof *out->heads);
    out->units = malloc((size_t)c->groups * room * sizeof *out->units);
    out->hashes = malloc(room * sizeof *out->hashes);
    out->bound = calloc(ranks, sizeof *out->bound);
    out->held = calloc(ranks, sizeof *out->held);
    if (out->heads && out->units && out->hashes && out->bound && out->held) return WEFT_OK;
    wi_sequence_free(out);
    return weft_fail(WEFT_NO_MEMORY, "no memory for a table of %zu blocks", room);
}

void wi_sequence_free(wi_sequence *s)
{
    free(s->heads);
    free(s->units);
    free(s->hashes);
    free(s->bound);
    free(s->held);
    *s = (wi_sequence){0};
}

// ---- what a sequence will come to ----

bool wi_kv_fits(const wi_kv *c, int64_t positions)
{
    const wi_demand d = wi_demand_of(&c->shape, positions);
    int64_t units[WEFT_FOLD_PLACES];
    for (int key = 0; key < wi_demand_keys(&c->shape); key++) {
        bool fits = true;
        wi_demand_under(&c->shape, &d, key, units);
        for (int r = 0; r < c->shape.ranks; r++) fits = fits && units[r] <= c->shape.units;
        if (fits) return true;
    }
    return false;
}

static int64_t outstanding(const wi_sequence *s, int rank) { return wi_larger(s->bound[rank] - s->held[rank], 0); }

// A sequence has so many units more of a rank.
static void account(wi_kv *c, wi_sequence *s, int rank, int64_t units)
{
    c->promised[rank] -= outstanding(s, rank);
    s->held[rank] += units;
    c->promised[rank] += outstanding(s, rank);
}

static void set_bound(wi_kv *c, wi_sequence *s, const int64_t *bound)
{
    for (int r = 0; r < c->shape.ranks; r++) {
        c->promised[r] -= outstanding(s, r);
        s->bound[r] = bound ? bound[r] : 0;
        c->promised[r] += outstanding(s, r);
    }
}

// What is left of a rank when all promises are kept.
static int64_t spare(const wi_kv *c, int rank) { return wi_blocks_room(c->blocks, rank) - c->promised[rank]; }

int wi_kv_emptiest_key(wi_kv *c, const wi_demand *d)
{
    int64_t best = INT64_MIN;
    int found = 0;
    for (int key = 0; key < wi_demand_keys(&c->shape); key++) {
        int64_t least = INT64_MAX;
        wi_demand_under(&c->shape, d, key, c->wanted);
        for (int r = 0; r < c->shape.ranks; r++) least = wi_smaller(least, spare(c, r) - c->wanted[r]);
        if (least <= best) continue;
        best = least;
        found = key;
    }
    return found;
}

bool wi_kv_reserve(wi_kv *c, wi_sequence *s, const wi_demand *d, int64_t margin)
{
    wi_demand_under(&c->shape, d, s->key, c->wanted);
    for (int r = 0; r < c->shape.ranks; r++)
        if (spare(c, r) - wi_larger(c->wanted[r] - s->held[r], 0) < margin) return false;
    set_bound(c, s, c->wanted);
    return true;
}

// ---- blocks of a sequence ----

void wi_kv_put(const wi_kv *c, wi_sequence *s, int kind, int64_t block, int32_t head)
{
    int32_t *units = s->units + block;
    for (int k = 0; k < kind; k++) units += (int64_t)c->shape.kinds[k].units * s->room;
    *wi_kv_head(s, kind, block) = head;
    const bool here = head >= 0 && wi_blocks_rank(c->blocks, head) == c->shape.rank;
    for (int i = 0; i < c->shape.kinds[kind].units; i++, units += s->room) {
        *units = here ? wi_blocks_in_pool(c->blocks, head) : -1;
        if (here) head = wi_blocks_next(c->blocks, head);
    }
}

// Whether a block counts as taken by the sequence. What it shares does for kinds that keep all; where a window may let
// it go while others hold it on, it does not.
static bool is_counted(const wi_kv *c, const wi_sequence *s, int kind, int64_t block)
{
    return block != s->borrowed && (c->shape.kinds[kind].window == 0 || block >= s->joined);
}

void wi_kv_let_go(wi_kv *c, wi_sequence *s, int kind, int64_t block)
{
    const int32_t head = *wi_kv_head(s, kind, block);
    if (head < 0) return;
    c->freed++;
    if (is_counted(c, s, kind, block)) account(c, s, wi_blocks_rank(c->blocks, head), -c->shape.kinds[kind].units);
    wi_blocks_give(c->blocks, head, s->priority);
    wi_kv_put(c, s, kind, block, -1);
}

void wi_kv_hold(wi_kv *c, wi_sequence *s, int kind, int64_t block, int32_t head)
{
    wi_kv_put(c, s, kind, block, head);
    if (head < 0) return;
    wi_blocks_hold(c->blocks, head);
    if (is_counted(c, s, kind, block)) account(c, s, wi_blocks_rank(c->blocks, head), c->shape.kinds[kind].units);
}

// From the last on, so that of what others may find the beginning stays longest.
static void let_go_from(wi_kv *c, wi_sequence *s, int64_t first)
{
    for (int64_t i = s->count - 1; i >= first; i--)
        for (int k = 0; k < c->shape.kind_count; k++) wi_kv_let_go(c, s, k, i);
    if (s->borrowed >= first) s->borrowed = -1;
    if (s->count > first) s->count = (int)first;
    s->joined = (int)wi_smaller(s->joined, first);
    for (int k = 0; k < c->shape.kind_count; k++) s->behind[k] = (int)wi_smaller(s->behind[k], first);
}

void wi_kv_release(wi_kv *c, wi_sequence *s)
{
    let_go_from(c, s, 0);
    set_bound(c, s, NULL);
    s->named = 0;
}

static void take(wi_kv *c, wi_sequence *s, int kind, int64_t block)
{
    const int owner = owner_of(c, block, s->key), units = c->shape.kinds[kind].units;
    wi_kv_put(c, s, kind, block, wi_blocks_take(c->blocks, owner, units));
    account(c, s, owner, units);
}

// The block that was another's too becomes this sequence's own.
static void own_borrowed(wi_kv *c, wi_sequence *s)
{
    const int block = s->borrowed;
    s->borrowed = -1;
    s->joined = (int)wi_smaller(s->joined, block);
    for (int k = 0; k < c->shape.kind_count; k++) {
        const int32_t head = *wi_kv_head(s, k, block);
        if (head < 0) continue;
        if (wi_blocks_holders(c->blocks, head) == 1) {
            wi_blocks_unname(c->blocks, head);
            account(c, s, wi_blocks_rank(c->blocks, head), c->shape.kinds[k].units);
            continue;
        }
        take(c, s, k, block);
        const int32_t mine = *wi_kv_head(s, k, block);
        const bool here = wi_blocks_rank(c->blocks, head) == c->shape.rank;
        for (int32_t from = head, to = mine; here && from >= 0;
             from = wi_blocks_next(c->blocks, from), to = wi_blocks_next(c->blocks, to))
            c->copies[c->copy_count++] =
                (wi_copy){wi_blocks_in_pool(c->blocks, from), wi_blocks_in_pool(c->blocks, to)};
        wi_blocks_give(c->blocks, head, s->priority);
    }
}

bool wi_kv_extend(wi_kv *c, wi_sequence *s, int64_t positions)
{
    const int64_t blocks = wi_blocks_for(&c->shape, positions);
    if (blocks <= s->count && s->borrowed < 0) return true;
    memset(c->wanted, 0, (size_t)c->shape.ranks * sizeof *c->wanted);
    for (int k = 0; k < c->shape.kind_count; k++) {
        const int units = c->shape.kinds[k].units;
        for (int64_t i = s->count; i < blocks; i++) c->wanted[owner_of(c, i, s->key)] += units;
        const int32_t borrowed = s->borrowed < 0 ? -1 : *wi_kv_head(s, k, s->borrowed);
        if (borrowed >= 0 && wi_blocks_holders(c->blocks, borrowed) > 1)
            c->wanted[wi_blocks_rank(c->blocks, borrowed)] += units;
    }
    for (int r = 0; r < c->shape.ranks; r++) {
        const bool reserved = c->wanted[r] <= outstanding(s, r);
        if ((reserved ? wi_blocks_room(c->blocks, r) : spare(c, r) + outstanding(s, r)) < c->wanted[r]) return false;
    }
    if (s->borrowed >= 0) own_borrowed(c, s);
    for (; s->count < blocks; s->count++)
        for (int k = 0; k < c->shape.kind_count; k++) take(c, s, k, s->count);
    return true;
}

bool wi_kv_place(wi_kv *c, wi_sequence *s, int key, int64_t cached, int64_t positions)
{
    const wi_demand d = wi_demand_of(&c->shape, positions);
    s->key = key;
    if (!wi_kv_reserve(c, s, &d, 0)) return false;
    s->count = (int)wi_blocks_for(&c->shape, cached);
    for (int k = 0; k < c->shape.kind_count; k++) {
        s->behind[k] = (int)wi_smaller(wi_kv_first_seen(c, k, cached), s->count);
        for (int64_t i = 0; i < s->count; i++)
            if (i < s->behind[k])
                wi_kv_put(c, s, k, i, -1);
            else
                take(c, s, k, i); // no more than was reserved
    }
    return true;
}

bool wi_kv_truncate(wi_kv *c, wi_sequence *s, int64_t positions)
{
    const int64_t blocks = wi_blocks_for(&c->shape, positions), whole = positions / c->shape.block;
    for (int k = 0; k < c->shape.kind_count; k++)
        if (s->behind[k] > wi_kv_first_seen(c, k, positions)) return false;
    let_go_from(c, s, blocks);
    s->hashed = (int)wi_smaller(s->hashed, whole);
    s->named = (int)wi_smaller(s->named, whole);
    if (blocks == whole || s->borrowed == whole || whole >= s->count) return true;
    for (int k = 0; k < c->shape.kind_count; k++) {
        const int32_t head = *wi_kv_head(s, k, whole);
        if (head >= 0 && is_counted(c, s, k, whole))
            account(c, s, wi_blocks_rank(c->blocks, head), -c->shape.kinds[k].units);
    }
    s->borrowed = (int)whole;
    return true;
}

// ---- copies and checks ----

int wi_kv_copies(const wi_kv *c, const wi_copy **out)
{
    *out = c->copies;
    return c->copy_count;
}

void wi_kv_copied(wi_kv *c) { c->copy_count = 0; }

static weft_status check_sequence(const wi_kv *c, const wi_sequence *s, int32_t *holders, int64_t *needed)
{
    int64_t live[WEFT_FOLD_PLACES] = {0}, counted[WEFT_FOLD_PLACES] = {0};
    for (int k = 0; k < c->shape.kind_count; k++)
        for (int64_t i = 0; i < s->count; i++) {
            const int32_t head = *wi_kv_head(s, k, i);
            if ((head < 0) != (i < s->behind[k]))
                return weft_fail(WEFT_INTERNAL, "block %lld of kind %d is %s", (long long)i, k,
                                 head < 0 ? "not there" : "behind the window and there");
            if (head < 0) continue;
            const int rank = wi_blocks_rank(c->blocks, head);
            if (rank != owner_of(c, i, s->key))
                return weft_fail(WEFT_INTERNAL, "block %lld is on rank %d", (long long)i, rank);
            holders[head]++;
            live[rank] += i == s->borrowed ? 0 : c->shape.kinds[k].units;
            counted[rank] += is_counted(c, s, k, i) ? c->shape.kinds[k].units : 0;
        }
    for (int r = 0; r < c->shape.ranks; r++) {
        needed[r] += wi_larger(s->bound[r] - live[r], 0);
        if (counted[r] != s->held[r])
            return weft_fail(WEFT_INTERNAL, "a sequence has %lld units of rank %d and says %lld", (long long)counted[r],
                             r, (long long)s->held[r]);
    }
    return WEFT_OK;
}

weft_status wi_kv_check(const wi_kv *c, const wi_sequence *const *sequences, int count, bool kept)
{
    weft_status status = WEFT_OK;
    int64_t needed[WEFT_FOLD_PLACES] = {0};
    int32_t *holders = calloc((size_t)c->shape.ranks * (size_t)c->shape.units, sizeof *holders);
    if (!holders) return weft_fail(WEFT_NO_MEMORY, "no memory to check a cache");
    for (int i = 0; i < count; i++) WEFT_TRY_GOTO(check_sequence(c, sequences[i], holders, needed));
    for (int r = 0; r < c->shape.ranks; r++) {
        int64_t promised = 0;
        for (int i = 0; i < count; i++) promised += outstanding(sequences[i], r);
        if (promised != c->promised[r] || (kept && needed[r] > wi_blocks_room(c->blocks, r)))
            WEFT_TRY_GOTO(weft_fail(WEFT_INTERNAL,
                                    "rank %d: %lld units are promised, %lld by the books; %lld are needed, of %lld", r,
                                    (long long)promised, (long long)c->promised[r], (long long)needed[r],
                                    (long long)wi_blocks_room(c->blocks, r)));
    }
    status = wi_blocks_check(c->blocks, holders);
fail:
    free(holders);
    return status;
}
