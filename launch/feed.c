#include "launch/feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t half[2]; // of the id's hash; both 0: free
} seen_id;

struct wi_feed {
    wi_lines *lines;
    const char *name;
    const weft_tokenizer *tokenizer;
    const wi_request_rules *rules;
    weft_encoder *encoder;
    int64_t requests;
    seen_id *seen; // [slots] a table of hashes
    size_t slots, used;
};

weft_status wi_feed_create(int file, const char *name, const weft_tokenizer *tokenizer, const wi_request_rules *rules,
                           wi_feed **out)
{
    wi_feed *f = calloc(1, sizeof *f);
    weft_status status;
    if (!f) return weft_fail(WEFT_NO_MEMORY, "no memory for the input");
    f->name = name;
    f->tokenizer = tokenizer;
    f->rules = rules;
    f->slots = 1024;
    f->seen = calloc(f->slots, sizeof *f->seen);
    if (!f->seen) WEFT_TRY_GOTO(weft_fail(WEFT_NO_MEMORY, "no memory for the ids of the input"));
    WEFT_TRY_GOTO(wi_lines_create(file, name, WI_LINE_BYTES_MAX, &f->lines));
    WEFT_TRY_GOTO(weft_encoder_create(tokenizer, &f->encoder));
    *out = f;
    return WEFT_OK;
fail:
    wi_feed_destroy(f);
    return status;
}

void wi_feed_destroy(wi_feed *f)
{
    if (!f) return;
    wi_lines_destroy(f->lines);
    weft_encoder_destroy(f->encoder);
    free(f->seen);
    free(f);
}

void wi_feed_tell(const wi_feed *f, wi_lines_place *place, int64_t *requests)
{
    wi_lines_tell(f->lines, place);
    *requests = f->requests;
}

// ---- ids ----

static seen_id hash_of(const wi_query *r)
{
    weft_sha256 hash;
    unsigned char digest[32];
    seen_id id;
    const bool is_int = !r->id || r->id_is_int;
    const int64_t number = r->id ? strtoll(r->id, NULL, 10) : r->line;
    weft_sha256_begin(&hash);
    weft_sha256_add(&hash, &is_int, sizeof is_int);
    if (is_int)
        weft_sha256_add(&hash, &number, sizeof number);
    else
        weft_sha256_add(&hash, r->id, strlen(r->id));
    weft_sha256_finish(&hash, digest);
    memcpy(&id, digest, sizeof id);
    if (!id.half[0] && !id.half[1]) id.half[0] = 1;
    return id;
}

// The slot of an id: its own, or the free one where it belongs.
static seen_id *slot_of(seen_id *seen, size_t slots, const seen_id *id)
{
    size_t at = id->half[0] & (slots - 1);
    while ((seen[at].half[0] || seen[at].half[1]) && memcmp(&seen[at], id, sizeof *id) != 0)
        at = (at + 1) & (slots - 1);
    return &seen[at];
}

static weft_status widen(wi_feed *f)
{
    const size_t slots = 2 * f->slots;
    seen_id *more = calloc(slots, sizeof *more);
    if (!more) return weft_fail(WEFT_NO_MEMORY, "no memory for the ids of %zu requests", f->used);
    for (size_t i = 0; i < f->slots; i++)
        if (f->seen[i].half[0] || f->seen[i].half[1]) *slot_of(more, slots, &f->seen[i]) = f->seen[i];
    free(f->seen);
    f->seen = more;
    f->slots = slots;
    return WEFT_OK;
}

static weft_status check_id(wi_feed *f, wi_query *r)
{
    const seen_id id = hash_of(r);
    seen_id *slot = slot_of(f->seen, f->slots, &id);
    if (slot->half[0] || slot->half[1]) {
        weft_fail(WEFT_INVALID, "an earlier line has this id as well");
        return wi_request_fail(r, r->openai ? "custom_id" : "id");
    }
    *slot = id;
    return 2 * ++f->used > f->slots ? widen(f) : WEFT_OK;
}

// ---- tokens ----

static weft_status encode(wi_feed *f, wi_query *r)
{
    const int32_t *own;
    int32_t *ids = NULL;
    size_t count = 0;
    if (r->text) {
        const weft_status status = weft_encoder_run(f->encoder, r->text, r->text_bytes, true, &own, &count);
        if (status == WEFT_NO_MEMORY) return status;
        if (status < 0) return wi_request_fail(r, "prompt");
        if (count > INT32_MAX / 2) {
            weft_fail(WEFT_LIMIT, "a prompt of %zu tokens", count);
            return wi_request_fail(r, "prompt");
        }
        ids = malloc((count + 1) * sizeof *ids);
        if (!ids) return weft_fail(WEFT_NO_MEMORY, "no memory for %zu tokens", count);
        memcpy(ids, own, count * sizeof *ids);
        for (size_t i = 0; i < count; i++) { // a tokenizer may know more tokens than the model has rows
            if (ids[i] < f->rules->vocab) continue;
            weft_fail(WEFT_INVALID, "the prompt has token %d, and the model's vocabulary ends at %lld", ids[i],
                      (long long)f->rules->vocab - 1);
            free(ids);
            return wi_request_fail(r, "prompt");
        }
    }
    return wi_request_encoded(r, f->rules, ids, (int)count);
}

// ---- requests ----

// `known`: the request is answered already, only its id counts.
static weft_status read_one(wi_feed *f, int wait_ms, wi_lines_found *found, bool (*known)(const void *, int64_t),
                            const void *arg, wi_item **out)
{
    wi_input_line line;
    wi_query request;
    weft_status status;
    *out = NULL;
    WEFT_TRY(wi_lines_next(f->lines, wait_ms, found, &line));
    if (*found != WI_LINES_ONE) return WEFT_OK;
    const int64_t number = f->requests++;
    WEFT_TRY(wi_request_parse(line.text, line.bytes, line.number, f->rules, &request));
    WEFT_TRY_GOTO(check_id(f, &request));
    if (known && known(arg, number)) {
        wi_request_fini(&request);
        return WEFT_OK;
    }
    if (!request.error) WEFT_TRY_GOTO(encode(f, &request));
    WEFT_TRY(wi_item_create(f->tokenizer, number, &request, out));
    (*out)->line_bytes = line.bytes;
    return WEFT_OK;
fail:
    wi_request_fini(&request);
    return status;
}

weft_status wi_feed_next(wi_feed *f, int wait_ms, wi_lines_found *found, wi_item **out)
{
    return read_one(f, wait_ms, found, NULL, NULL, out);
}

// ---- again ----

static weft_status replay_part(wi_part *p, const wi_continued *c)
{
    const wi_draws *d = &c->draws;
    wi_drawn drawn = {.has_logprob = d->logprobs != NULL, .others = d->others};
    for (int i = 0; i < d->count; i++) {
        drawn.token = d->tokens[i];
        if (d->logprobs) drawn.logprob = d->logprobs[i];
        for (int j = 0; j < d->others; j++) {
            const wi_other *o = &d->other[(size_t)i * (size_t)d->others + (size_t)j];
            drawn.other[j].id = o->id;
            drawn.other[j].logprob = o->logprob;
        }
        WEFT_TRY(wi_part_add(p, &drawn));
    }
    if (c->ended) return wi_part_end(p, (weft_finish)c->finish);
    return d->count >= p->item->request.how.max_tokens ? wi_part_end(p, WEFT_FINISH_LENGTH) : WEFT_OK;
}

static weft_status replay(wi_item *item, const wi_begun *begun)
{
    const int parts = item->parts ? (int)item->request.how.n : 0;
    if (begun->count > parts)
        return weft_fail(WEFT_MISMATCH,
                         "the journal tells of more continuations of request %lld than its line asks for",
                         (long long)item->number);
    for (int i = 0; i < begun->count; i++) {
        if (begun->of[i].draws.count > item->request.how.max_tokens)
            return weft_fail(WEFT_MISMATCH, "the journal has more tokens of request %lld than its line asks for",
                             (long long)item->number);
        WEFT_TRY(replay_part(&item->parts[i], &begun->of[i]));
    }
    return WEFT_OK;
}

static bool is_written(const void *arg, int64_t request) { return wi_progress_is_written(arg, request); }

static weft_status check_place(const wi_feed *f, const wi_progress *p)
{
    wi_lines_place place;
    wi_lines_tell(f->lines, &place);
    if (place.bytes == p->input.bytes && place.lines == p->input.lines && f->requests == p->requests &&
        strcmp(place.hash, p->input.hash) == 0)
        return WEFT_OK;
    return weft_fail(
        WEFT_MISMATCH,
        "%s: not the input that the journal was written for: the first %llu bytes differ; give that one, or "
        "remove the journal to start anew",
        f->name, (unsigned long long)p->input.bytes);
}

// A request does not fit its tokens: that the whole input is another one says more.
static weft_status other_input(wi_feed *f, const wi_progress *p)
{
    char error[WEFT_ERROR_TEXT_MAX];
    wi_lines_found found;
    wi_item *item;
    snprintf(error, sizeof error, "%s", weft_error_text());
    do {
        WEFT_TRY(read_one(f, -1, &found, NULL, NULL, &item));
        wi_item_destroy(item);
    } while (found == WI_LINES_ONE);
    WEFT_TRY(check_place(f, p));
    return weft_fail(WEFT_MISMATCH, "%s", error);
}

weft_status wi_feed_again(wi_feed *f, const wi_progress *p, wi_item **out)
{
    weft_status status;
    *out = NULL;
    if (p->input.bytes == 0) return WEFT_OK;
    wi_lines_limit(f->lines, p->input.bytes);
    while (!*out) {
        wi_lines_found found;
        WEFT_TRY(read_one(f, -1, &found, is_written, p, out));
        if (found == WI_LINES_ONE) continue;
        wi_lines_limit(f->lines, UINT64_MAX);
        return check_place(f, p);
    }
    const wi_begun *begun = wi_progress_begun(p, (*out)->number);
    status = begun ? replay(*out, begun) : WEFT_OK;
    if (status == WEFT_OK) return WEFT_OK;
    wi_item_destroy(*out);
    *out = NULL;
    return status == WEFT_MISMATCH ? other_input(f, p) : status;
}
