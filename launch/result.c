#include "launch/result.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/sha256.h"

static void hash_of(const wi_item *item, unsigned char out[32])
{
    const wi_query *r = &item->request;
    weft_sha256 hash;
    weft_sha256_begin(&hash);
    if (r->id)
        weft_sha256_add(&hash, r->id, strlen(r->id) + 1);
    else
        weft_sha256_add(&hash, &r->line, sizeof r->line);
    for (int64_t i = 0; !r->error && i < r->how.n; i++) {
        const wi_draws *d = &item->parts[i].draws;
        const int32_t count = d->count;
        weft_sha256_add(&hash, &count, sizeof count);
        weft_sha256_add(&hash, d->tokens, (size_t)d->count * sizeof *d->tokens);
    }
    weft_sha256_finish(&hash, out);
}

static void write_id(weft_json_writer *w, const char *key, const wi_query *r)
{
    if (!r->id)
        weft_json_write_int(w, key, r->line);
    else if (r->id_is_int)
        weft_json_write_int(w, key, strtoll(r->id, NULL, 10));
    else
        weft_json_write_string(w, key, r->id);
}

static void write_error(weft_json_writer *w, const wi_query *r)
{
    weft_json_write_object(w, "error");
    weft_json_write_string(w, "message", r->error);
    weft_json_write_string(w, "type", "invalid_request_error");
    weft_json_write_string(w, "param", r->param);
    if (!r->openai) weft_json_write_int(w, "line", r->line);
    if (r->openai) weft_json_write_string(w, "code", NULL);
    weft_json_write_end(w);
}

static int64_t drawn_of(const wi_item *item)
{
    int64_t tokens = 0;
    for (int64_t i = 0; i < item->request.how.n; i++) tokens += item->parts[i].draws.count;
    return tokens;
}

static void write_usage(weft_json_writer *w, const wi_item *item, bool total)
{
    const int64_t drawn = drawn_of(item);
    weft_json_write_object(w, "usage");
    weft_json_write_int(w, "prompt_tokens", item->request.token_count);
    weft_json_write_int(w, "completion_tokens", drawn);
    if (total) weft_json_write_int(w, "total_tokens", item->request.token_count + drawn);
    weft_json_write_end(w);
}

// ---- weft's own form ----

static void write_logprobs(weft_json_writer *w, const wi_draws *d)
{
    weft_json_write_array(w, "logprobs");
    for (int i = 0; i < d->count; i++) {
        weft_json_write_object(w, NULL);
        weft_json_write_int(w, "id", d->tokens[i]);
        weft_json_write_real(w, "logprob", d->logprobs[i]);
        if (d->others > 0) weft_json_write_array(w, "top");
        for (int j = 0; j < d->others; j++) {
            const wi_other *o = &d->other[(size_t)i * (size_t)d->others + (size_t)j];
            if (o->id < 0) continue;
            weft_json_write_object(w, NULL);
            weft_json_write_int(w, "id", o->id);
            weft_json_write_real(w, "logprob", o->logprob);
            weft_json_write_end(w);
        }
        if (d->others > 0) weft_json_write_end(w);
        weft_json_write_end(w);
    }
    weft_json_write_end(w);
}

static void write_part(weft_json_writer *w, const wi_part *p)
{
    weft_json_write_text(w, "text", p->answer.text, p->answer.certain);
    weft_json_write_array(w, "tokens");
    for (int i = 0; i < p->draws.count; i++) weft_json_write_int(w, NULL, p->draws.tokens[i]);
    weft_json_write_end(w);
    weft_json_write_string(w, "finish_reason", weft_finish_name(p->answer.finish));
    if (p->draws.logprobs) write_logprobs(w, &p->draws);
}

static void write_own(weft_json_writer *w, const wi_item *item)
{
    const wi_query *r = &item->request;
    weft_json_write_object(w, NULL);
    write_id(w, "id", r);
    if (r->error) {
        write_error(w, r);
    } else if (r->how.n == 1) {
        write_part(w, item->parts);
    } else {
        weft_json_write_array(w, "choices");
        for (int i = 0; i < r->how.n; i++) {
            weft_json_write_object(w, NULL);
            weft_json_write_int(w, "index", i);
            write_part(w, &item->parts[i]);
            weft_json_write_end(w);
        }
        weft_json_write_end(w);
    }
    if (!r->error) write_usage(w, item, false);
    weft_json_write_end(w);
}

// ---- OpenAI's ----

// A token alone, as text; "" where it is half a character.
static weft_status text_of(weft_detokenizer *detokenizer, int32_t id, char out[64])
{
    const char *text;
    size_t bytes, used = 0;
    WEFT_TRY(weft_detokenizer_push(detokenizer, id, &text, &bytes));
    for (int i = 0; i < 2; i++) {
        const size_t kept = bytes < 63 - used ? bytes : 0;
        memcpy(out + used, text, kept);
        used += kept;
        if (i == 0) WEFT_TRY(weft_detokenizer_finish(detokenizer, &text, &bytes));
    }
    out[used] = 0;
    return WEFT_OK;
}

static weft_status write_others(weft_json_writer *w, weft_detokenizer *detokenizer, const wi_draws *d, int token)
{
    char seen[WI_LOGPROBS_MAX][64];
    weft_json_write_object(w, NULL);
    for (int j = 0; j < d->others; j++) {
        const wi_other *o = &d->other[(size_t)token * (size_t)d->others + (size_t)j];
        bool again = o->id < 0;
        seen[j][0] = 0;
        if (o->id >= 0) WEFT_TRY(text_of(detokenizer, o->id, seen[j]));
        for (int k = 0; k < j; k++) again = again || strcmp(seen[k], seen[j]) == 0; // the better one stays
        if (!again) weft_json_write_real(w, seen[j], o->logprob);
    }
    weft_json_write_end(w);
    return WEFT_OK;
}

static weft_status write_openai_logprobs(weft_json_writer *w, const wi_result_style *style, const wi_draws *d)
{
    weft_detokenizer *detokenizer;
    weft_status status = WEFT_OK;
    char text[64];
    WEFT_TRY(weft_detokenizer_create(style->tokenizer, true, &detokenizer));
    weft_json_write_object(w, "logprobs");
    weft_json_write_array(w, "tokens");
    for (int i = 0; i < d->count && status == WEFT_OK; i++) {
        status = text_of(detokenizer, d->tokens[i], text);
        weft_json_write_string(w, NULL, text);
    }
    weft_json_write_end(w);
    weft_json_write_array(w, "token_logprobs");
    for (int i = 0; i < d->count; i++) weft_json_write_real(w, NULL, d->logprobs[i]);
    weft_json_write_end(w);
    weft_json_write_array(w, "top_logprobs");
    for (int i = 0; i < d->count && status == WEFT_OK; i++) status = write_others(w, detokenizer, d, i);
    weft_json_write_end(w);
    weft_json_write_end(w);
    weft_detokenizer_destroy(detokenizer);
    return status;
}

static weft_status write_completion(weft_json_writer *w, const wi_item *item, const wi_result_style *style)
{
    const wi_query *r = &item->request;
    char id[40];
    snprintf(id, sizeof id, "cmpl-%" PRId64, r->line);
    weft_json_write_string(w, "id", id);
    weft_json_write_string(w, "object", "text_completion");
    weft_json_write_int(w, "created", 0); // the output does not depend on when it was made
    weft_json_write_string(w, "model", r->model ? r->model : style->model);
    weft_json_write_array(w, "choices");
    for (int i = 0; i < r->how.n; i++) {
        const wi_part *p = &item->parts[i];
        weft_json_write_object(w, NULL);
        weft_json_write_int(w, "index", i);
        weft_json_write_text(w, "text", p->answer.text, p->answer.certain);
        if (p->draws.logprobs)
            WEFT_TRY(write_openai_logprobs(w, style, &p->draws));
        else
            weft_json_write_string(w, "logprobs", NULL);
        weft_json_write_string(w, "finish_reason", weft_finish_name(p->answer.finish));
        weft_json_write_end(w);
    }
    weft_json_write_end(w);
    write_usage(w, item, true);
    return WEFT_OK;
}

static weft_status write_openai(weft_json_writer *w, const wi_item *item, const wi_result_style *style)
{
    const wi_query *r = &item->request;
    char id[40];
    snprintf(id, sizeof id, "batch_req_%" PRId64, r->line);
    weft_json_write_object(w, NULL);
    weft_json_write_string(w, "id", id);
    write_id(w, "custom_id", r);
    weft_json_write_object(w, "response");
    weft_json_write_int(w, "status_code", r->error ? 400 : 200);
    weft_json_write_string(w, "request_id", id);
    weft_json_write_object(w, "body");
    if (r->error)
        write_error(w, r);
    else
        WEFT_TRY(write_completion(w, item, style));
    weft_json_write_end(w);
    weft_json_write_end(w);
    weft_json_write_string(w, "error", NULL);
    weft_json_write_end(w);
    return WEFT_OK;
}

weft_status wi_result_make(const wi_item *item, const wi_result_style *style, weft_json_writer *out,
                           unsigned char hash[32])
{
    const char *text;
    hash_of(item, hash);
    if (item->request.openai)
        WEFT_TRY(write_openai(out, item, style));
    else
        write_own(out, item);
    return weft_json_writer_finish(out, &text, NULL);
}
