// Ids to text. The decoders of a file stand in a chain, each written over a list of tokens. Here a token arrives in
// chunks, each of whole characters, and says when it ends, so that what Fuse and ByteLevel make of all tokens can flow
// on before the last one is known. Whoever must see a token whole holds it until it ends.
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer_impl.h"

static const char replacement[] = "\xEF\xBF\xBD"; // U+FFFD

typedef struct {
    wi_bytes held;   // of the token that has not ended; bytes that are no character yet
    wi_bytes bytes;  // BYTE_FALLBACK: the run so far
    int64_t cut;     // STRIP: how many may still be cut from this token's front
    int64_t waiting; // STRIP: marks at the end, which the end may cut
    bool seen;       // a token has ended here
} stage;

struct weft_detokenizer {
    const weft_tokenizer *tokenizer;
    bool special;
    wi_matcher matcher;
    stage stages[WI_STEPS_MAX];
    wi_bytes out;
};

// A chunk of the token that is on its way to stage `at`; `ends`: its last.
static weft_status give(weft_detokenizer *to, int at, const char *text, size_t bytes, bool ends);

static weft_status flush_run(weft_detokenizer *to, int at)
{
    stage *here = &to->stages[at];
    size_t count = here->bytes.used;
    if (count == 0) return WEFT_OK;
    here->bytes.used = 0;
    if (weft_utf8_valid(here->bytes.data, count) == count) return give(to, at + 1, here->bytes.data, count, true);
    for (size_t i = 0; i < count; i++) WEFT_TRY(give(to, at + 1, replacement, 3, true));
    return WEFT_OK;
}

static int hex_of(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static weft_status whole_fallback(weft_detokenizer *to, int at, const char *text, size_t bytes)
{
    if (bytes == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>' && hex_of(text[3]) >= 0 && hex_of(text[4]) >= 0) {
        char byte = (char)(hex_of(text[3]) << 4 | hex_of(text[4]));
        return wi_bytes_add(&to->stages[at].bytes, &byte, 1);
    }
    WEFT_TRY(flush_run(to, at));
    return give(to, at + 1, text, bytes, true);
}

static weft_status whole_replace(weft_detokenizer *to, int at, const char *text, size_t bytes)
{
    const wi_decoder *step = &to->tokenizer->decoders.steps[at];
    size_t done = 0, from = 0, last_end = SIZE_MAX, begin, end;
    while (bytes > 0 && from <= bytes) {
        WEFT_TRY(wi_pattern_find(&step->pattern, &to->matcher, text, bytes, from, last_end, &begin, &end));
        if (begin == SIZE_MAX) break;
        WEFT_TRY(give(to, at + 1, text + done, begin - done, false));
        WEFT_TRY(give(to, at + 1, step->text, step->bytes, false));
        done = from = last_end = end;
    }
    return give(to, at + 1, text + done, bytes - done, true);
}

// The length of the sequence that lead byte `first` begins, and the bounds of its second byte; 0 when it begins none.
static size_t sequence_of(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    *high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (first >= 0xC2 && first <= 0xDF) return 2;
    if (first >= 0xE0 && first <= 0xEF) return 3;
    return first >= 0xF0 && first <= 0xF4 ? 4 : 0;
}

// How many of the bytes at `text`, which begin no valid sequence, stand for one U+FFFD; 0 when they may yet become a
// character.
static size_t broken_length(const unsigned char *text, size_t bytes)
{
    unsigned char low, high;
    size_t wanted = sequence_of(text[0], &low, &high), good = 1;
    if (wanted == 0) return 1;
    if (bytes > 1 && (text[1] < low || text[1] > high)) return 1;
    while (good < bytes && good < wanted && (text[good] & 0xC0) == 0x80) good++;
    return good == bytes ? 0 : good;
}

// Gives what of the held bytes is decided; at the end of all, everything.
static weft_status drain_bytes(weft_detokenizer *to, int at, bool last)
{
    wi_bytes *held = &to->stages[at].held;
    size_t done = 0;
    while (done < held->used) {
        size_t valid = weft_utf8_valid(held->data + done, held->used - done);
        WEFT_TRY(give(to, at + 1, held->data + done, valid, false));
        done += valid;
        if (done == held->used) break;
        size_t broken = broken_length((unsigned char *)held->data + done, held->used - done);
        if (broken == 0 && !last) break;
        WEFT_TRY(give(to, at + 1, replacement, 3, false));
        done = broken ? done + broken : held->used;
    }
    if (done > 0) memmove(held->data, held->data + done, held->used - done);
    held->used -= done;
    return WEFT_OK;
}

static weft_status whole_byte_level(weft_detokenizer *to, int at, const char *text, size_t bytes)
{
    wi_bytes *held = &to->stages[at].bytes;
    size_t before = held->used;
    for (size_t i = 0, length; i < bytes; i += length) {
        int byte = wi_char_byte(wi_utf8_read(text + i, &length));
        char raw = (char)byte;
        if (byte < 0) { // a token with any other character stands for itself
            held->used = before;
            WEFT_TRY(wi_bytes_add(held, text, bytes));
            break;
        }
        WEFT_TRY(wi_bytes_add(held, &raw, 1));
    }
    WEFT_TRY(wi_bytes_add(&to->stages[at].held, held->data, held->used));
    held->used = 0;
    return drain_bytes(to, at, false);
}

static weft_status whole(weft_detokenizer *to, int at, const char *text, size_t bytes)
{
    switch (to->tokenizer->decoders.steps[at].kind) {
    case WI_DECODE_BYTE_FALLBACK:
        return whole_fallback(to, at, text, bytes);
    case WI_DECODE_REPLACE:
        return whole_replace(to, at, text, bytes);
    default:
        return whole_byte_level(to, at, text, bytes);
    }
}

static weft_status hold_whole(weft_detokenizer *to, int at, const char *text, size_t bytes, bool ends)
{
    // ByteLevel holds bytes of characters, which outlive tokens; what is not a whole token yet goes elsewhere.
    wi_bytes *held = &to->stages[at].held, kept = {0};
    bool byte_level = to->tokenizer->decoders.steps[at].kind == WI_DECODE_BYTE_LEVEL;
    if (byte_level) held = &to->stages[at].bytes;
    if (held->used == 0 && ends) return whole(to, at, text, bytes);
    WEFT_TRY(wi_bytes_add(held, text, bytes));
    if (!ends) return WEFT_OK;
    kept = *held;
    *held = (wi_bytes){0};
    weft_status status = whole(to, at, kept.data, kept.used);
    free(kept.data);
    return status;
}

static weft_status strip(weft_detokenizer *to, int at, const char *text, size_t bytes, bool ends)
{
    const wi_decoder *step = &to->tokenizer->decoders.steps[at];
    stage *here = &to->stages[at];
    size_t n = step->mark_bytes, begin = 0;
    if (!here->seen) here->cut = step->start;
    here->seen = true;
    while (here->cut > 0 && begin < bytes) {
        if (bytes - begin < n || memcmp(text + begin, step->mark, n) != 0) {
            here->cut = 0;
            break;
        }
        begin += n;
        here->cut--;
    }
    size_t end = bytes;
    int64_t marks = 0;
    for (; step->stop > 0 && end - begin >= n && memcmp(text + end - n, step->mark, n) == 0; end -= n) marks++;
    if (end > begin) {
        for (; here->waiting > 0; here->waiting--) WEFT_TRY(give(to, at + 1, step->mark, n, false));
        WEFT_TRY(give(to, at + 1, text + begin, end - begin, false));
    }
    here->waiting += marks;
    if (!ends) return WEFT_OK;
    for (; here->waiting > step->stop; here->waiting--) WEFT_TRY(give(to, at + 1, step->mark, n, false));
    here->waiting = 0;
    here->seen = false;
    return give(to, at + 1, "", 0, true);
}

static weft_status metaspace(weft_detokenizer *to, int at, const char *text, size_t bytes, bool ends)
{
    const wi_decoder *step = &to->tokenizer->decoders.steps[at];
    stage *here = &to->stages[at];
    bool drops = step->drop_first && !here->seen;
    while (bytes > 0) {
        const char *mark = memmem(text, bytes, step->mark, step->mark_bytes);
        size_t plain = mark ? (size_t)(mark - text) : bytes;
        WEFT_TRY(give(to, at + 1, text, plain, false));
        if (!mark) break;
        if (!drops) WEFT_TRY(give(to, at + 1, " ", 1, false));
        text = mark + step->mark_bytes;
        bytes -= plain + step->mark_bytes;
    }
    if (!ends) return WEFT_OK;
    here->seen = true;
    return give(to, at + 1, "", 0, true);
}

static weft_status give(weft_detokenizer *to, int at, const char *text, size_t bytes, bool ends)
{
    stage *here = &to->stages[at];
    if (bytes == 0 && !ends) return WEFT_OK;
    if (at == to->tokenizer->decoders.count) return wi_bytes_add(&to->out, text, bytes);
    switch (to->tokenizer->decoders.steps[at].kind) {
    case WI_DECODE_FUSE:
        return give(to, at + 1, text, bytes, false);
    case WI_DECODE_STRIP:
        return strip(to, at, text, bytes, ends);
    case WI_DECODE_METASPACE:
        return metaspace(to, at, text, bytes, ends);
    case WI_DECODE_JOIN:
        if (here->seen) WEFT_TRY(give(to, at + 1, " ", 1, false));
        here->seen = true; // tokens come to it whole: it stands alone
        return give(to, at + 1, text, bytes, ends);
    default:
        return hold_whole(to, at, text, bytes, ends);
    }
}

weft_status weft_detokenizer_create(const weft_tokenizer *tokenizer, bool special, weft_detokenizer **out)
{
    weft_detokenizer *made = calloc(1, sizeof *made);
    weft_status status;
    if (!made) return weft_fail(WEFT_NO_MEMORY, "tokenizer: no memory for a detokenizer");
    made->tokenizer = tokenizer;
    made->special = special;
    WEFT_TRY_GOTO(wi_matcher_init(&made->matcher));
    WEFT_TRY_GOTO(wi_bytes_reserve(&made->out, 1));
    *out = made;
    return WEFT_OK;
fail:
    weft_detokenizer_destroy(made);
    return status;
}

void weft_detokenizer_destroy(weft_detokenizer *detokenizer)
{
    if (!detokenizer) return;
    wi_matcher_fini(&detokenizer->matcher);
    for (int i = 0; i < WI_STEPS_MAX; i++) {
        free(detokenizer->stages[i].held.data);
        free(detokenizer->stages[i].bytes.data);
    }
    free(detokenizer->out.data);
    free(detokenizer);
}

weft_status weft_detokenizer_push(weft_detokenizer *detokenizer, int32_t id, const char **text, size_t *bytes)
{
    const char *token;
    size_t token_bytes;
    detokenizer->out.used = 0;
    bool shown = detokenizer->special || !weft_tokenizer_is_special(detokenizer->tokenizer, id);
    if (shown && weft_tokenizer_token(detokenizer->tokenizer, id, &token, &token_bytes))
        WEFT_TRY(give(detokenizer, 0, token, token_bytes, true));
    *text = detokenizer->out.data;
    *bytes = detokenizer->out.used;
    return WEFT_OK;
}

weft_status weft_detokenizer_finish(weft_detokenizer *detokenizer, const char **text, size_t *bytes)
{
    const wi_decoders *decoders = &detokenizer->tokenizer->decoders;
    detokenizer->out.used = 0;
    for (int at = 0; at < decoders->count; at++) {
        wi_decoder_kind kind = decoders->steps[at].kind;
        if (kind == WI_DECODE_BYTE_FALLBACK) WEFT_TRY(flush_run(detokenizer, at));
        if (kind == WI_DECODE_BYTE_LEVEL) WEFT_TRY(drain_bytes(detokenizer, at, true));
        if (kind == WI_DECODE_BYTE_LEVEL || kind == WI_DECODE_FUSE) WEFT_TRY(give(detokenizer, at + 1, "", 0, true));
    }
    for (int at = 0; at < decoders->count; at++) {
        stage *here = &detokenizer->stages[at];
        here->held.used = here->bytes.used = 0;
        here->cut = here->waiting = 0;
        here->seen = false;
    }
    *text = detokenizer->out.data;
    *bytes = detokenizer->out.used;
    return WEFT_OK;
}
