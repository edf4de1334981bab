// The words that a model meets again and again, with their ids.
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer_impl.h"

enum {
    CACHED_WORD_MAX = 64,
    CACHE_SLOTS = 1 << 16,
    CACHE_WORDS_MAX = 40000,
};

static weft_status encode(weft_encoder *encoder, const char *text, size_t bytes)
{
    return encoder->tokenizer->is_unigram ? wi_unigram_encode(encoder, text, bytes)
                                          : wi_bpe_encode(encoder, text, bytes);
}

// Remembers that text[0..bytes) gave the ids from `from` on. A full cache begins anew: what is frequent is soon back.
static weft_status remember(weft_encoder *encoder, uint32_t hash, const char *text, size_t bytes, size_t from)
{
    wi_cache *cache = &encoder->cache;
    size_t count = encoder->id_count - from, slot = hash & (CACHE_SLOTS - 1);
    if (count == 0) return WEFT_OK; // nothing covers it, and no unknown token stands for it
    if (cache->count >= CACHE_WORDS_MAX) {
        memset(cache->slots, 0, CACHE_SLOTS * sizeof *cache->slots);
        cache->count = cache->keys.used = cache->ids.used = 0;
        slot = hash & (CACHE_SLOTS - 1);
    }
    while (cache->slots[slot].key_bytes) slot = (slot + 1) & (CACHE_SLOTS - 1);
    wi_cached entry = {hash, (uint32_t)cache->keys.used, (uint32_t)cache->ids.used, (uint16_t)bytes, (uint16_t)count};
    WEFT_TRY(wi_bytes_add(&cache->keys, text, bytes));
    WEFT_TRY(wi_bytes_add(&cache->ids, (const char *)(encoder->ids + from), count * sizeof *encoder->ids));
    cache->slots[slot] = entry;
    cache->count++;
    return WEFT_OK;
}

weft_status wi_word_encode(weft_encoder *encoder, const char *text, size_t bytes)
{
    wi_cache *cache = &encoder->cache;
    if (bytes == 0) return WEFT_OK;
    if (bytes > CACHED_WORD_MAX) return encode(encoder, text, bytes);
    if (!cache->slots) {
        cache->slots = calloc(CACHE_SLOTS, sizeof *cache->slots);
        if (!cache->slots) return weft_fail(WEFT_NO_MEMORY, "tokenizer: no memory for a cache of words");
    }
    uint32_t hash = wi_hash(text, bytes);
    for (size_t slot = hash & (CACHE_SLOTS - 1); cache->slots[slot].key_bytes; slot = (slot + 1) & (CACHE_SLOTS - 1)) {
        wi_cached entry = cache->slots[slot];
        if (entry.hash != hash || entry.key_bytes != bytes || memcmp(cache->keys.data + entry.key, text, bytes) != 0)
            continue;
        WEFT_TRY(
            wi_grow(&encoder->ids, sizeof *encoder->ids, encoder->id_count + entry.id_count, &encoder->id_capacity));
        memcpy(encoder->ids + encoder->id_count, cache->ids.data + entry.ids, entry.id_count * sizeof *encoder->ids);
        encoder->id_count += entry.id_count;
        return WEFT_OK;
    }
    size_t from = encoder->id_count;
    WEFT_TRY(encode(encoder, text, bytes));
    return remember(encoder, hash, text, bytes, from);
}
