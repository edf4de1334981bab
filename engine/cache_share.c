// What sequences share: names of full blocks, and sequences that begin with what others have computed.
#include <string.h>

#include "core/sha256.h"
#include "engine/cache_impl.h"

void wi_kv_hash(const wi_kv *c, wi_sequence *s, int turned, const int32_t *tokens, int count)
{
    const int block = c->shape.block;
    if (!c->shape.sharing) return;
    if (s->hashed == 0) s->root = (wi_digest){{(uint64_t)turned, 0}};
    for (; (int64_t)(s->hashed + 1) * block <= count; s->hashed++) {
        weft_sha256 hash;
        unsigned char digest[32];
        weft_sha256_begin(&hash);
        weft_sha256_add(&hash, s->hashed > 0 ? &s->hashes[s->hashed - 1] : &s->root, sizeof s->root);
        weft_sha256_add(&hash, tokens + (int64_t)s->hashed * block, (size_t)block * sizeof *tokens);
        weft_sha256_finish(&hash, digest);
        memcpy(&s->hashes[s->hashed], digest, sizeof s->hashes[s->hashed]);
    }
}

// Of keys under which blocks up to `blocks` are cached, those for which each kind has all that a row behind them sees.
static uint32_t keys_for(const wi_kv *c, const wi_sequence *s, int64_t blocks)
{
    uint32_t keys = UINT32_MAX;
    for (int k = 0; k < c->shape.kind_count; k++)
        for (int64_t i = wi_kv_first_seen(c, k, blocks * c->shape.block); i < blocks && keys; i++)
            keys &= wi_blocks_keys(c->blocks, k, &s->hashes[i]);
    return keys;
}

// How many blocks from the first on are cached for the kinds that see all; as many as there are hashes without any.
static int64_t unbroken(const wi_kv *c, const wi_sequence *s, int64_t most)
{
    uint32_t keys = UINT32_MAX;
    int64_t blocks = 0;
    for (; blocks < most; blocks++) {
        for (int k = 0; k < c->shape.kind_count; k++)
            if (c->shape.kinds[k].window == 0) keys &= wi_blocks_keys(c->blocks, k, &s->hashes[blocks]);
        if (!keys) break;
    }
    return blocks;
}

// Holds what is cached of the first positions: what `parent` has, or where there is none what is found by name.
static void join(wi_kv *c, wi_sequence *s, int64_t positions, const wi_sequence *parent)
{
    const int64_t blocks = wi_blocks_for(&c->shape, positions);
    s->joined = (int)blocks;
    for (int k = 0; k < c->shape.kind_count; k++) {
        const int64_t behind = wi_smaller(wi_kv_first_seen(c, k, positions), blocks);
        s->behind[k] = (int)behind;
        for (int64_t i = 0; i < behind; i++) wi_kv_put(c, s, k, i, -1);
        for (int64_t i = behind; i < blocks; i++)
            wi_kv_hold(c, s, k, i,
                       parent ? *wi_kv_head(parent, k, i) : wi_blocks_find(c->blocks, k, &s->hashes[i], s->key));
    }
    s->count = (int)blocks;
}

int64_t wi_kv_admit(wi_kv *c, wi_sequence *s, int64_t share, int64_t positions, int64_t margin)
{
    const wi_demand d = wi_demand_of(&c->shape, positions);
    int64_t blocks = unbroken(c, s, wi_smaller(share / c->shape.block, s->hashed));
    uint32_t keys = 0;
    while (blocks > 0 && !(keys = keys_for(c, s, blocks))) blocks--;
    if (blocks > 0) {
        s->key = __builtin_ctz(keys);
        join(c, s, blocks * c->shape.block, NULL);
        s->named = (int)blocks;
        if (wi_kv_reserve(c, s, &d, margin)) return blocks * c->shape.block;
        wi_kv_release(c, s);
    }
    // The key of what was found may be one under which there is no room, though there is under another.
    s->key = wi_kv_emptiest_key(c, &d);
    return wi_kv_reserve(c, s, &d, margin) ? 0 : -1;
}

int64_t wi_kv_fork(wi_kv *c, const wi_sequence *parent, wi_sequence *s, int64_t share, int64_t positions,
                   int64_t margin)
{
    const int64_t blocks = wi_blocks_for(&c->shape, share), whole = share / c->shape.block;
    for (int k = 0; k < c->shape.kind_count; k++)
        if (parent->behind[k] > wi_kv_first_seen(c, k, share)) return -1;
    if (blocks > parent->count || (parent->borrowed >= 0 && parent->borrowed < blocks)) return -1;
    const wi_demand d = wi_demand_of(&c->shape, positions);
    s->key = parent->key;
    s->borrowed = blocks > whole ? (int)whole : -1;
    join(c, s, share, parent);
    s->named = (int)wi_smaller(whole, parent->named);
    if (wi_kv_reserve(c, s, &d, margin)) return share;
    wi_kv_release(c, s);
    return -1;
}

// Gives a full block its name. Where another has it that one is taken instead: its bits are the same. Not where a
// window may let it go, see is_counted in cache.c.
static void name(wi_kv *c, wi_sequence *s, int kind, int64_t block)
{
    const int32_t head = *wi_kv_head(s, kind, block);
    if (head < 0 || wi_blocks_name(c->blocks, head, kind, &s->hashes[block], s->key)) return;
    if (c->shape.kinds[kind].window > 0) return;
    const int32_t other = wi_blocks_find(c->blocks, kind, &s->hashes[block], s->key);
    wi_blocks_hold(c->blocks, other);
    wi_blocks_give(c->blocks, head, s->priority);
    wi_kv_put(c, s, kind, block, other);
    c->freed++;
}

void wi_kv_computed(wi_kv *c, wi_sequence *s, int64_t positions)
{
    const int64_t full = wi_smaller(positions / c->shape.block, s->hashed);
    for (; s->named < full; s->named++)
        for (int k = 0; k < c->shape.kind_count; k++) name(c, s, k, s->named);
    for (int k = 0; k < c->shape.kind_count; k++)
        for (const int64_t first = wi_smaller(wi_kv_first_seen(c, k, positions), s->count); s->behind[k] < first;
             s->behind[k]++)
            wi_kv_let_go(c, s, k, s->behind[k]);
}
