// Spellings to ids and back: one text, one table by id, one open hash table.
#include <stdlib.h>
#include <string.h>

#include "core/checked.h"
#include "model/tokenizer_impl.h"

uint32_t wi_hash(const char *text, size_t bytes)
{
    uint64_t hash = bytes * UINT64_C(0x9E3779B97F4A7C15), word;
    for (; bytes >= 8; text += 8, bytes -= 8) {
        memcpy(&word, text, 8);
        hash = (hash ^ word) * UINT64_C(0xD6E8FEB86659FD93);
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, text, bytes);
    hash = (hash ^ word) * UINT64_C(0xD6E8FEB86659FD93);
    hash ^= hash >> 32;
    hash *= UINT64_C(0xD6E8FEB86659FD93);
    return (uint32_t)(hash >> 32);
}

static weft_status place(wi_vocab *vocab, const wi_entry_of_vocab *entry, const char *name)
{
    const char *text = vocab->text.data + entry->span.begin;
    uint32_t hash = wi_hash(text, entry->span.length);
    size_t slot = hash & vocab->mask;
    for (; vocab->slots[slot]; slot = (slot + 1) & vocab->mask) {
        if (vocab->slots[slot] >> 32 != hash) continue;
        wi_span other = vocab->tokens[(uint32_t)vocab->slots[slot] - 1];
        if (other.length == entry->span.length && memcmp(vocab->text.data + other.begin, text, other.length) == 0)
            return weft_fail(WEFT_FORMAT, "%s: model.vocab: \"%.*s\" stands there twice; keep one", name,
                             (int)other.length, text);
    }
    if (vocab->tokens[entry->id].length != WI_NO_TOKEN)
        return weft_fail(WEFT_FORMAT, "%s: model.vocab: the id %d has two tokens, \"%.*s\" is the second", name,
                         (int)entry->id, (int)entry->span.length, text);
    vocab->tokens[entry->id] = entry->span;
    vocab->slots[slot] = (uint64_t)hash << 32 | (uint32_t)(entry->id + 1);
    return WEFT_OK;
}

weft_status wi_vocab_build(wi_vocab *vocab, const wi_entry_of_vocab *entries, size_t count, const char *name)
{
    size_t capacity = 64;
    int32_t highest = -1;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].id < 0 || entries[i].id >= WI_TOKENS_MAX)
            return weft_fail(WEFT_LIMIT, "%s: model.vocab: the id %d; ids must be between 0 and %d", name,
                             (int)entries[i].id, WI_TOKENS_MAX - 1);
        if (entries[i].id > highest) highest = entries[i].id;
    }
    while (capacity < count * 2) capacity *= 2;
    vocab->count = highest + 1;
    vocab->entries = (int32_t)count;
    vocab->tokens = malloc(((size_t)vocab->count + 1) * sizeof *vocab->tokens);
    vocab->slots = calloc(capacity, sizeof *vocab->slots);
    if (!vocab->tokens || !vocab->slots)
        return weft_fail(WEFT_NO_MEMORY, "%s: no memory for a vocabulary of %zu tokens", name, count);
    vocab->mask = capacity - 1;
    for (int32_t i = 0; i < vocab->count; i++) vocab->tokens[i] = (wi_span){0, WI_NO_TOKEN};
    for (size_t i = 0; i < count; i++) WEFT_TRY(place(vocab, &entries[i], name));
    return WEFT_OK;
}

int32_t wi_vocab_find(const wi_vocab *vocab, const char *text, size_t bytes)
{
    uint32_t hash = wi_hash(text, bytes);
    if (!vocab->slots) return -1;
    for (size_t slot = hash & vocab->mask; vocab->slots[slot]; slot = (slot + 1) & vocab->mask) {
        if (vocab->slots[slot] >> 32 != hash) continue;
        int32_t id = (int32_t)(uint32_t)vocab->slots[slot] - 1;
        wi_span span = vocab->tokens[id];
        if (span.length == bytes && memcmp(vocab->text.data + span.begin, text, bytes) == 0) return id;
    }
    return -1;
}

void wi_vocab_fini(wi_vocab *vocab)
{
    free(vocab->text.data);
    free(vocab->tokens);
    free(vocab->slots);
}

void wi_fallback_ids(const wi_vocab *vocab, int32_t ids[256])
{
    static const char digits[] = "0123456789ABCDEF";
    char token[] = "<0x00>";
    for (int byte = 0; byte < 256; byte++) {
        token[3] = digits[byte >> 4];
        token[4] = digits[byte & 15];
        ids[byte] = wi_vocab_find(vocab, token, 6);
    }
}
