// Making a tokenizer, asking it, and encoding.
#include "model/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "model/tokenizer_impl.h"

void weft_tokenizer_destroy(weft_tokenizer *tokenizer)
{
    if (!tokenizer) return;
    wi_vocab_fini(&tokenizer->vocab);
    wi_bpe_fini(&tokenizer->bpe);
    wi_unigram_fini(&tokenizer->unigram);
    wi_normalizers_fini(&tokenizer->normalizers);
    wi_pretokenizers_fini(&tokenizer->pretokenizers);
    wi_added_fini(&tokenizer->added);
    wi_decoders_fini(&tokenizer->decoders);
    free(tokenizer);
}

const char *weft_tokenizer_kind(const weft_tokenizer *tokenizer) { return tokenizer->is_unigram ? "Unigram" : "BPE"; }

int32_t weft_tokenizer_size(const weft_tokenizer *tokenizer) { return tokenizer->added.size; }

int32_t weft_tokenizer_added_count(const weft_tokenizer *tokenizer) { return tokenizer->added.count; }

int32_t weft_tokenizer_id(const weft_tokenizer *tokenizer, const char *token, size_t bytes)
{
    for (int i = 0; i < tokenizer->added.count; i++) {
        const wi_added *added = &tokenizer->added.tokens[i];
        if (added->bytes == bytes && memcmp(added->content, token, bytes) == 0) return added->id;
    }
    return wi_vocab_find(&tokenizer->vocab, token, bytes);
}

bool weft_tokenizer_token(const weft_tokenizer *tokenizer, int32_t id, const char **text, size_t *bytes)
{
    const wi_added *added = wi_added_of(&tokenizer->added, id);
    if (added) {
        *text = added->content;
        *bytes = added->bytes;
        return true;
    }
    if (id < 0 || id >= tokenizer->vocab.count) return false;
    wi_span span = tokenizer->vocab.tokens[id];
    if (span.length == WI_NO_TOKEN) return false;
    *text = tokenizer->vocab.text.data + span.begin;
    *bytes = span.length;
    return true;
}

bool weft_tokenizer_is_special(const weft_tokenizer *tokenizer, int32_t id)
{
    const wi_added *added = wi_added_of(&tokenizer->added, id);
    return added && added->special;
}

weft_status weft_encoder_create(const weft_tokenizer *tokenizer, weft_encoder **out)
{
    weft_encoder *encoder = calloc(1, sizeof *encoder);
    weft_status status;
    if (!encoder) return weft_fail(WEFT_NO_MEMORY, "tokenizer: no memory for an encoder");
    encoder->tokenizer = tokenizer;
    WEFT_TRY_GOTO(wi_matcher_init(&encoder->matcher));
    *out = encoder;
    return WEFT_OK;
fail:
    weft_encoder_destroy(encoder);
    return status;
}

void weft_encoder_destroy(weft_encoder *encoder)
{
    if (!encoder) return;
    wi_matcher_fini(&encoder->matcher);
    for (int i = 0; i < 2; i++) {
        free(encoder->buffers[i].data);
        free(encoder->scratch[i].data);
    }
    free(encoder->mapped.data);
    free(encoder->pieces.at);
    free(encoder->next.at);
    free(encoder->cache.slots);
    free(encoder->cache.keys.data);
    free(encoder->cache.ids.data);
    free(encoder->symbols);
    free(encoder->heap);
    free(encoder->nodes);
    free(encoder->ids);
    free(encoder);
}

weft_status wi_piece_add(wi_pieces *pieces, size_t begin, size_t end, int32_t id, bool first)
{
    if (begin == end && id < 0) return WEFT_OK;
    WEFT_TRY(wi_grow(&pieces->at, sizeof *pieces->at, pieces->count + 1, &pieces->capacity));
    pieces->at[pieces->count++] = (wi_piece){(uint32_t)begin, (uint32_t)(end - begin), id, first};
    return WEFT_OK;
}

weft_status wi_pieces_cut(weft_encoder *encoder, wi_piece_cut cut, const void *arg)
{
    encoder->next.count = 0;
    for (size_t i = 0; i < encoder->pieces.count; i++) {
        wi_piece piece = encoder->pieces.at[i];
        if (piece.id < 0)
            WEFT_TRY(cut(encoder, arg, piece));
        else
            WEFT_TRY(wi_piece_add(&encoder->next, piece.begin, piece.begin + piece.length, piece.id, false));
    }
    wi_pieces done = encoder->next;
    encoder->next = encoder->pieces;
    encoder->pieces = done;
    return WEFT_OK;
}

weft_status wi_encoder_add_id(weft_encoder *encoder, int32_t id)
{
    WEFT_TRY(wi_grow(&encoder->ids, sizeof *encoder->ids, encoder->id_count + 1, &encoder->id_capacity));
    encoder->ids[encoder->id_count++] = id;
    return WEFT_OK;
}

// Normalizes each piece that is not a token into a new text. Pieces of which nothing is left are gone.
static weft_status normalize(weft_encoder *encoder)
{
    const weft_tokenizer *tokenizer = encoder->tokenizer;
    size_t kept = 0;
    if (tokenizer->normalizers.count == 0) return WEFT_OK;
    wi_bytes *out = &encoder->buffers[encoder->current ^= 1];
    out->used = 0;
    for (size_t i = 0; i < encoder->pieces.count; i++) {
        wi_piece piece = encoder->pieces.at[i];
        size_t begin = out->used;
        bool kept_begin = true;
        if (piece.id < 0) {
            WEFT_TRY(wi_normalize(&tokenizer->normalizers, &encoder->matcher, encoder->text + piece.begin, piece.length,
                                  encoder->scratch, out, &kept_begin));
            piece = (wi_piece){(uint32_t)begin, (uint32_t)(out->used - begin), -1, piece.first && kept_begin};
            if (piece.length == 0) continue;
        }
        encoder->pieces.at[kept++] = piece;
    }
    encoder->pieces.count = kept;
    WEFT_TRY(wi_bytes_reserve(out, 1));
    encoder->text = out->data;
    encoder->text_bytes = out->used;
    return WEFT_OK;
}

static weft_status encode_pieces(weft_encoder *encoder)
{
    for (size_t i = 0; i < encoder->pieces.count; i++) {
        wi_piece piece = encoder->pieces.at[i];
        const char *text = encoder->text + piece.begin;
        if (piece.id >= 0)
            WEFT_TRY(wi_encoder_add_id(encoder, piece.id));
        else
            WEFT_TRY(wi_word_encode(encoder, text, piece.length));
    }
    return WEFT_OK;
}

weft_status weft_encoder_run(weft_encoder *encoder, const char *text, size_t bytes, bool special, const int32_t **ids,
                             size_t *count)
{
    const weft_tokenizer *tokenizer = encoder->tokenizer;
    const wi_around *around = &tokenizer->around;
    if (bytes > WI_TEXT_MAX)
        return weft_fail(WEFT_LIMIT, "tokenizer: a text of %zu bytes, more than %d; give it in parts", bytes,
                         WI_TEXT_MAX);
    size_t valid = weft_utf8_valid(text, bytes);
    if (valid < bytes)
        return weft_fail(WEFT_FORMAT, "tokenizer: the text is not UTF-8 at byte %zu (0x%02X); convert it to UTF-8",
                         valid, (unsigned char)text[valid]);
    encoder->text = text;
    encoder->text_bytes = bytes;
    encoder->pieces.count = encoder->id_count = 0;
    encoder->bytes_pending = false;
    WEFT_TRY(wi_piece_add(&encoder->pieces, 0, bytes, -1, true));
    WEFT_TRY(wi_added_split(encoder, &tokenizer->added.raw));
    WEFT_TRY(normalize(encoder));
    WEFT_TRY(wi_added_split(encoder, &tokenizer->added.normalized));
    WEFT_TRY(wi_pretokenize(encoder));
    for (int i = 0; special && i < around->before_count; i++) WEFT_TRY(wi_encoder_add_id(encoder, around->before[i]));
    WEFT_TRY(encode_pieces(encoder));
    for (int i = 0; special && i < around->after_count; i++) WEFT_TRY(wi_encoder_add_id(encoder, around->after[i]));
    *ids = encoder->ids;
    *count = encoder->id_count;
    return WEFT_OK;
}
