// Byte pair encoding: of all pairs of neighbours that a rule merges, the one of the lowest rank, the leftmost of those,
// until there is none.
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer_impl.h"

enum {
    SHORT_WORD = 48, // symbols up to which looking at all pairs beats keeping a heap
    NO_RANK = -1,
};

static uint64_t pair_of(int32_t a, int32_t b) { return (uint64_t)(uint32_t)a << 32 | (uint32_t)b; }

static size_t slot_of(const wi_bpe *bpe, uint64_t pair)
{
    return (size_t)((pair ^ pair >> 29) * UINT64_C(0x9E3779B97F4A7C15) >> bpe->shift);
}

static const wi_merge *find_merge(const wi_bpe *bpe, int32_t a, int32_t b)
{
    uint64_t pair = pair_of(a, b);
    for (size_t slot = slot_of(bpe, pair);; slot = (slot + 1) & bpe->mask) {
        const wi_merge *merge = &bpe->slots[slot];
        if (merge->pair == pair) return merge;
        if (merge->pair == UINT64_MAX) return NULL;
    }
}

static weft_status unknown_token(const char *name, size_t rank, const char *text, size_t bytes)
{
    return weft_fail(WEFT_FORMAT, "%s: model.merges: number %zu needs \"%.*s\", which model.vocab lacks", name, rank,
                     (int)(bytes > 100 ? 100 : bytes), text);
}

static weft_status add_merge(wi_bpe *bpe, const wi_vocab *vocab, const wi_merge_text *text, size_t rank,
                             wi_bytes *joined, const char *name)
{
    int32_t a = wi_vocab_find(vocab, text->a, text->a_bytes), b = wi_vocab_find(vocab, text->b, text->b_bytes);
    if (a < 0) return unknown_token(name, rank, text->a, text->a_bytes);
    if (b < 0 || text->b_bytes < bpe->prefix_bytes) return unknown_token(name, rank, text->b, text->b_bytes);
    joined->used = 0;
    WEFT_TRY(wi_bytes_add(joined, text->a, text->a_bytes));
    WEFT_TRY(wi_bytes_add(joined, text->b + bpe->prefix_bytes, text->b_bytes - bpe->prefix_bytes));
    int32_t id = wi_vocab_find(vocab, joined->data, joined->used);
    if (id < 0) return unknown_token(name, rank, joined->data, joined->used);
    uint64_t pair = pair_of(a, b);
    size_t slot = slot_of(bpe, pair);
    while (bpe->slots[slot].pair != UINT64_MAX && bpe->slots[slot].pair != pair) slot = (slot + 1) & bpe->mask;
    bpe->slots[slot] = (wi_merge){pair, (uint32_t)rank, id}; // of a rule that stands twice, the last counts
    return WEFT_OK;
}

weft_status wi_bpe_build(wi_bpe *bpe, const wi_vocab *vocab, const wi_merge_text *merges, size_t count,
                         const char *name)
{
    wi_bytes joined = {0};
    size_t capacity = 64;
    weft_status status = WEFT_OK;
    char text[2];
    bpe->shift = 58;
    for (; capacity < count * 2; capacity *= 2) bpe->shift--;
    bpe->slots = malloc(capacity * sizeof *bpe->slots);
    if (!bpe->slots) return weft_fail(WEFT_NO_MEMORY, "%s: no memory for %zu merges", name, count);
    bpe->mask = capacity - 1;
    memset(bpe->slots, 0xFF, capacity * sizeof *bpe->slots);
    for (size_t i = 0; i < count && status == WEFT_OK; i++)
        status = add_merge(bpe, vocab, &merges[i], i, &joined, name);
    free(joined.data);
    bpe->all_bytes = true;
    for (int byte = 0; byte < 256; byte++) {
        char raw = (char)byte;
        bpe->byte_ids[byte] = wi_vocab_find(vocab, text, wi_byte_map(&raw, 1, text));
        if (bpe->byte_ids[byte] < 0) bpe->all_bytes = false;
    }
    if (bpe->prefix || bpe->suffix) bpe->all_bytes = false;
    wi_fallback_ids(vocab, bpe->fallback);
    return status;
}

void wi_bpe_fini(wi_bpe *bpe)
{
    free(bpe->slots);
    free(bpe->prefix);
    free(bpe->suffix);
}

static weft_status add_symbol(weft_encoder *encoder, int32_t id)
{
    WEFT_TRY(
        wi_grow(&encoder->symbols, sizeof *encoder->symbols, encoder->symbol_count + 1, &encoder->symbol_capacity));
    encoder->symbols[encoder->symbol_count++] = (wi_symbol){.id = id};
    return WEFT_OK;
}

// The symbol of one character, with the prefix and suffix that its place asks for; falls back to bytes, then to the
// unknown token. *unknowns: how many of those wait to be added; runs of them may become one.
static weft_status add_character(weft_encoder *encoder, const char *text, size_t length, bool first, bool last,
                                 int *unknowns)
{
    const wi_bpe *bpe = &encoder->tokenizer->bpe;
    wi_bytes *spelled = &encoder->scratch[0];
    if ((!first && bpe->prefix) || (last && bpe->suffix)) {
        spelled->used = 0;
        if (!first && bpe->prefix) WEFT_TRY(wi_bytes_add(spelled, bpe->prefix, bpe->prefix_bytes));
        WEFT_TRY(wi_bytes_add(spelled, text, length));
        if (last && bpe->suffix) WEFT_TRY(wi_bytes_add(spelled, bpe->suffix, bpe->suffix_bytes));
        text = spelled->data;
        length = spelled->used;
    }
    int32_t id = wi_vocab_find(&encoder->tokenizer->vocab, text, length);
    if (id >= 0) {
        for (; *unknowns > 0; --*unknowns) WEFT_TRY(add_symbol(encoder, bpe->unknown));
        return add_symbol(encoder, id);
    }
    bool bytes = bpe->byte_fallback;
    for (size_t i = 0; i < length && bytes; i++) bytes = bpe->fallback[(unsigned char)text[i]] >= 0;
    if (bytes) {
        for (size_t i = 0; i < length; i++) WEFT_TRY(add_symbol(encoder, bpe->fallback[(unsigned char)text[i]]));
    } else if (bpe->unknown == WI_UNKNOWN_MISSING) {
        return weft_fail(WEFT_INVALID, "tokenizer: \"%.*s\" is not in the vocabulary, and neither is its unk_token",
                         (int)length, text);
    } else if (bpe->unknown >= 0) {
        if (*unknowns > 0 && !bpe->fuse_unknown) WEFT_TRY(add_symbol(encoder, bpe->unknown));
        *unknowns = 1;
    }
    return WEFT_OK;
}

static weft_status read_symbols(weft_encoder *encoder, const char *text, size_t bytes)
{
    int unknowns = 0;
    for (size_t i = 0, length; i < bytes; i += length) {
        wi_utf8_read(text + i, &length);
        WEFT_TRY(add_character(encoder, text + i, length, i == 0, i + length == bytes, &unknowns));
    }
    for (; unknowns > 0; unknowns--) WEFT_TRY(add_symbol(encoder, encoder->tokenizer->bpe.unknown));
    return WEFT_OK;
}

static uint32_t rank_at(const wi_bpe *bpe, const wi_symbol *symbols, size_t i, size_t count)
{
    const wi_merge *merge = i + 1 < count ? find_merge(bpe, symbols[i].id, symbols[i + 1].id) : NULL;
    return merge ? merge->rank : (uint32_t)NO_RANK;
}

// Few symbols: look at all ranks, merge the lowest, move the rest up.
static size_t merge_short(const wi_bpe *bpe, wi_symbol *symbols, size_t count)
{
    for (size_t i = 0; i < count; i++) symbols[i].rank = rank_at(bpe, symbols, i, count);
    for (;;) {
        size_t best = 0;
        for (size_t i = 1; i < count; i++)
            if (symbols[i].rank < symbols[best].rank) best = i;
        if (count < 2 || symbols[best].rank == (uint32_t)NO_RANK) return count;
        symbols[best].id = find_merge(bpe, symbols[best].id, symbols[best + 1].id)->id;
        count--;
        memmove(symbols + best + 1, symbols + best + 2, (count - best - 1) * sizeof *symbols);
        symbols[best].rank = rank_at(bpe, symbols, best, count);
        if (best > 0) symbols[best - 1].rank = rank_at(bpe, symbols, best - 1, count);
    }
}

static bool before(wi_candidate a, wi_candidate b) { return a.rank != b.rank ? a.rank < b.rank : a.at < b.at; }

static weft_status push_pair(weft_encoder *encoder, int32_t at)
{
    const wi_symbol *symbols = encoder->symbols;
    if (at < 0 || symbols[at].next < 0) return WEFT_OK;
    const wi_merge *merge = find_merge(&encoder->tokenizer->bpe, symbols[at].id, symbols[symbols[at].next].id);
    if (!merge) return WEFT_OK;
    WEFT_TRY(wi_grow(&encoder->heap, sizeof *encoder->heap, encoder->heap_count + 1, &encoder->heap_capacity));
    wi_candidate pushed = {merge->rank, (uint32_t)at, merge->id}, *heap = encoder->heap;
    size_t i = encoder->heap_count++;
    for (; i > 0 && before(pushed, heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = pushed;
    return WEFT_OK;
}

static wi_candidate pop_pair(weft_encoder *encoder)
{
    wi_candidate *heap = encoder->heap, top = heap[0], last = heap[--encoder->heap_count];
    size_t count = encoder->heap_count, i = 0;
    for (size_t child; (child = 2 * i + 1) < count; i = child) {
        if (child + 1 < count && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], last)) break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

// Many symbols: a list of neighbours and a heap of pairs. What a merge made stale is noticed when it comes up.
static weft_status merge_long(weft_encoder *encoder)
{
    wi_symbol *symbols = encoder->symbols;
    int32_t count = (int32_t)encoder->symbol_count;
    encoder->heap_count = 0;
    for (int32_t i = 0; i < count; i++) symbols[i].previous = i - 1, symbols[i].next = i + 1 < count ? i + 1 : -1;
    for (int32_t i = 0; i < count; i++) WEFT_TRY(push_pair(encoder, i));
    while (encoder->heap_count > 0) {
        wi_candidate top = pop_pair(encoder);
        wi_symbol *left = &symbols[top.at];
        if (left->id < 0 || left->next < 0) continue;
        const wi_merge *merge = find_merge(&encoder->tokenizer->bpe, left->id, symbols[left->next].id);
        if (!merge || merge->id != top.id) continue;
        int32_t gone = left->next;
        left->id = top.id;
        left->next = symbols[gone].next;
        symbols[gone].id = -1;
        if (left->next >= 0) symbols[left->next].previous = (int32_t)top.at;
        WEFT_TRY(push_pair(encoder, left->previous));
        WEFT_TRY(push_pair(encoder, (int32_t)top.at));
    }
    size_t kept = 0;
    for (int32_t i = 0; i < count; i++)
        if (symbols[i].id >= 0) symbols[kept++].id = symbols[i].id;
    encoder->symbol_count = kept;
    return WEFT_OK;
}

weft_status wi_bpe_encode(weft_encoder *encoder, const char *text, size_t bytes)
{
    const wi_bpe *bpe = &encoder->tokenizer->bpe;
    const char *spelled = text;
    size_t spelled_bytes = bytes;
    if (encoder->bytes_pending && (bpe->ignore_merges || !bpe->all_bytes)) {
        encoder->mapped.used = 0;
        WEFT_TRY(wi_bytes_reserve(&encoder->mapped, 2 * bytes));
        spelled_bytes = wi_byte_map(text, bytes, encoder->mapped.data);
        spelled = encoder->mapped.data;
    }
    if (bpe->ignore_merges) {
        int32_t id = wi_vocab_find(&encoder->tokenizer->vocab, spelled, spelled_bytes);
        if (id >= 0) return wi_encoder_add_id(encoder, id);
    }
    encoder->symbol_count = 0;
    if (encoder->bytes_pending && bpe->all_bytes) {
        for (size_t i = 0; i < bytes; i++) WEFT_TRY(add_symbol(encoder, bpe->byte_ids[(unsigned char)text[i]]));
    } else {
        WEFT_TRY(read_symbols(encoder, spelled, spelled_bytes));
    }
    if (encoder->symbol_count <= SHORT_WORD)
        encoder->symbol_count = merge_short(bpe, encoder->symbols, encoder->symbol_count);
    else
        WEFT_TRY(merge_long(encoder));
    for (size_t i = 0; i < encoder->symbol_count; i++) WEFT_TRY(wi_encoder_add_id(encoder, encoder->symbols[i].id));
    return WEFT_OK;
}
