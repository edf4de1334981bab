// Unigram: of all ways to cut a text into tokens, the one with the largest sum of scores (Viterbi).
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer_impl.h"

#define UNKNOWN_PENALTY 10.0

typedef struct {
    const wi_vocab *vocab;
    int32_t *order; // ids, sorted by spelling
} sorter;

static int compare_tokens(const void *left, const void *right, void *context)
{
    const wi_vocab *vocab = context;
    wi_span a = vocab->tokens[*(const int32_t *)left], b = vocab->tokens[*(const int32_t *)right];
    int order =
        memcmp(vocab->text.data + a.begin, vocab->text.data + b.begin, a.length < b.length ? a.length : b.length);
    return order ? order : a.length < b.length ? -1 : a.length > b.length;
}

typedef struct {
    uint32_t low, high, depth; // the tokens below a node, in sorted order
} range;

// Adds the children of node `at`, whose tokens agree in range.depth bytes.
static weft_status add_children(wi_unigram *unigram, const sorter *sorted, size_t at, range of, range **ranges,
                                size_t *range_capacity)
{
    const wi_vocab *vocab = sorted->vocab;
    uint32_t i = of.low;
    unigram->nodes[at].children = (uint32_t)unigram->node_count;
    while (i < of.high && vocab->tokens[sorted->order[i]].length == of.depth)
        unigram->nodes[at].id = sorted->order[i++];
    while (i < of.high) {
        uint32_t begin = i;
        uint8_t byte = (uint8_t)vocab->text.data[vocab->tokens[sorted->order[i]].begin + of.depth];
        while (i < of.high && (uint8_t)vocab->text.data[vocab->tokens[sorted->order[i]].begin + of.depth] == byte) i++;
        WEFT_TRY(wi_grow(&unigram->nodes, sizeof *unigram->nodes, unigram->node_count + 1, &unigram->node_capacity));
        WEFT_TRY(wi_grow(ranges, sizeof **ranges, unigram->node_count + 1, range_capacity));
        (*ranges)[unigram->node_count] = (range){begin, i, of.depth + 1};
        unigram->nodes[unigram->node_count++] = (wi_trie_node){.byte = byte, .id = -1};
        unigram->nodes[at].count++;
    }
    return WEFT_OK;
}

static weft_status build_trie(wi_unigram *unigram, const sorter *sorted, uint32_t count)
{
    range *ranges = NULL;
    size_t range_capacity = 0;
    weft_status status;
    WEFT_TRY_GOTO(wi_grow(&unigram->nodes, sizeof *unigram->nodes, 1, &unigram->node_capacity));
    WEFT_TRY_GOTO(wi_grow(&ranges, sizeof *ranges, 1, &range_capacity));
    unigram->nodes[unigram->node_count++] = (wi_trie_node){.id = -1};
    ranges[0] = (range){0, count, 0};
    for (size_t at = 0; at < unigram->node_count; at++)
        WEFT_TRY_GOTO(add_children(unigram, sorted, at, ranges[at], &ranges, &range_capacity));
    for (uint32_t i = 0; i < unigram->nodes[0].count; i++)
        unigram->roots[unigram->nodes[unigram->nodes[0].children + i].byte] = unigram->nodes[0].children + i;
fail:
    free(ranges);
    return status;
}

weft_status wi_unigram_build(wi_unigram *unigram, const wi_vocab *vocab, const char *name)
{
    sorter sorted = {vocab, malloc(((size_t)vocab->count + 1) * sizeof(int32_t))};
    double lowest = 0;
    weft_status status;
    if (!sorted.order) return weft_fail(WEFT_NO_MEMORY, "%s: no memory for a vocabulary", name);
    for (int32_t id = 0; id < vocab->count; id++) {
        sorted.order[id] = id;
        if (id == 0 || unigram->scores[id] < lowest) lowest = unigram->scores[id];
    }
    unigram->unknown_score = lowest - UNKNOWN_PENALTY;
    wi_fallback_ids(vocab, unigram->fallback);
    qsort_r(sorted.order, (size_t)vocab->count, sizeof *sorted.order, compare_tokens, (void *)(uintptr_t)vocab);
    status = build_trie(unigram, &sorted, (uint32_t)vocab->count);
    free(sorted.order);
    return status;
}

void wi_unigram_fini(wi_unigram *unigram)
{
    free(unigram->scores);
    free(unigram->nodes);
}

static uint32_t child_of(const wi_unigram *unigram, uint32_t at, uint8_t byte)
{
    uint32_t low = unigram->nodes[at].children, high = low + unigram->nodes[at].count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        uint8_t here = unigram->nodes[middle].byte;
        if (here == byte) return middle;
        if (here < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return 0;
}

// On equal scores the way that was found first stays.
static void reach(wi_node *node, double score, size_t begin, int32_t id)
{
    if (node->id >= 0 && !(score > node->score)) return;
    *node = (wi_node){score, (uint32_t)begin, id};
}

static weft_status find_best(weft_encoder *encoder, const char *text, size_t bytes)
{
    const wi_unigram *unigram = &encoder->tokenizer->unigram;
    wi_node *nodes = encoder->nodes;
    for (size_t i = 0; i <= bytes; i++) nodes[i] = (wi_node){.id = -1};
    for (size_t i = 0, length; i < bytes; i += length) {
        bool covered = false;
        wi_utf8_read(text + i, &length);
        uint32_t at = unigram->roots[(unsigned char)text[i]];
        for (size_t end = i + 1; at; end++) {
            int32_t id = unigram->nodes[at].id;
            if (id >= 0) {
                reach(&nodes[end], unigram->scores[id] + nodes[i].score, i, id);
                covered = covered || end == i + length;
            }
            at = end < bytes ? child_of(unigram, at, (uint8_t)text[end]) : 0;
        }
        if (covered) continue;
        if (unigram->unknown < 0)
            return weft_fail(WEFT_INVALID, "tokenizer: \"%.*s\" is not in the vocabulary, which has no unknown token",
                             (int)length, text + i);
        reach(&nodes[i + length], unigram->unknown_score + nodes[i].score, i, unigram->unknown);
    }
    return WEFT_OK;
}

// A run of unknown characters is one text: perhaps a token after all, else bytes, else the unknown token.
static weft_status add_unknown(weft_encoder *encoder, const char *text, size_t bytes)
{
    const wi_unigram *unigram = &encoder->tokenizer->unigram;
    int32_t id = wi_vocab_find(&encoder->tokenizer->vocab, text, bytes);
    if (id >= 0) return wi_encoder_add_id(encoder, id);
    bool falls = unigram->byte_fallback;
    for (size_t i = 0; i < bytes && falls; i++) falls = unigram->fallback[(unsigned char)text[i]] >= 0;
    if (!falls) return wi_encoder_add_id(encoder, unigram->unknown);
    for (size_t i = 0; i < bytes; i++) WEFT_TRY(wi_encoder_add_id(encoder, unigram->fallback[(unsigned char)text[i]]));
    return WEFT_OK;
}

weft_status wi_unigram_encode(weft_encoder *encoder, const char *text, size_t bytes)
{
    int32_t unknown = encoder->tokenizer->unigram.unknown;
    WEFT_TRY(wi_grow(&encoder->nodes, sizeof *encoder->nodes, bytes + 1, &encoder->node_capacity));
    WEFT_TRY(find_best(encoder, text, bytes));
    // From the end back, then forward over what was found.
    encoder->next.count = 0;
    for (size_t end = bytes; end > 0;) {
        wi_node node = encoder->nodes[end];
        wi_piece *last = encoder->next.count ? &encoder->next.at[encoder->next.count - 1] : NULL;
        if (last && node.id == unknown && last->id == unknown) {
            last->length += last->begin - node.begin;
            last->begin = node.begin;
        } else {
            WEFT_TRY(wi_piece_add(&encoder->next, node.begin, end, node.id, false));
        }
        end = node.begin;
    }
    for (size_t i = encoder->next.count; i-- > 0;) {
        wi_piece piece = encoder->next.at[i];
        if (piece.id == unknown && unknown >= 0)
            WEFT_TRY(add_unknown(encoder, text + piece.begin, piece.length));
        else
            WEFT_TRY(wi_encoder_add_id(encoder, piece.id));
    }
    return WEFT_OK;
}
