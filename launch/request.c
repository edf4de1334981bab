#include "launch/request.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/flags.h"
#include "core/sha256.h"
#include "launch/request_fields.h"

const wi_request_settings wi_request_defaults = {
    .max_tokens = 128, .n = 1, .top_p = 1, .repetition_penalty = 1, .seed = -1};

void wi_request_fini(wi_query *r)
{
    free(r->id);
    free(r->model);
    free(r->text);
    free(r->tokens);
    for (int i = 0; i < r->stop_count; i++) free(r->stops[i]);
    free(r->stop_ids);
    free(r->biases);
    free(r->error);
    free(r->param);
    *r = (wi_query){0};
}

weft_status wi_request_fail(wi_query *r, const char *param)
{
    if (r->error) return WEFT_OK; // the first one counts
    r->error = strdup(weft_error_text());
    if (param) r->param = strdup(param);
    weft_error_clear();
    if (!r->error || (param && !r->param))
        return weft_fail(WEFT_NO_MEMORY, "no memory for the error of line %lld", (long long)r->line);
    return WEFT_OK;
}

// A missing seed comes from the id, so that it does not depend on the order or the number of lines.
static int64_t seed_of(const wi_query *r, const wi_request_rules *rules)
{
    weft_sha256 hash;
    unsigned char digest[32];
    uint64_t first = 0;
    weft_sha256_begin(&hash);
    weft_sha256_add(&hash, &rules->seed, sizeof rules->seed);
    if (r->id)
        weft_sha256_add(&hash, r->id, strlen(r->id));
    else
        weft_sha256_add(&hash, &r->line, sizeof r->line);
    weft_sha256_finish(&hash, digest);
    for (int i = 0; i < 8; i++) first = first << 8 | digest[i];
    return (int64_t)(first >> 4); // 60 bits
}

static weft_status take_id(wi_query *r, const weft_json *value)
{
    char digits[24];
    const char *text = weft_json_string_value(value);
    const weft_json_kind kind = weft_json_kind_of(value);
    if (kind == WEFT_JSON_NULL) return WEFT_OK;
    if (kind == WEFT_JSON_INT) {
        snprintf(digits, sizeof digits, "%" PRId64, weft_json_int_value(value));
        text = digits;
    }
    if (!text) return weft_fail(WEFT_INVALID, "must be a string or an integer");
    if (strlen(text) > WI_ID_BYTES_MAX)
        return weft_fail(WEFT_INVALID, "%zu bytes: at most %d are allowed", strlen(text), WI_ID_BYTES_MAX);
    r->id_is_int = kind == WEFT_JSON_INT;
    r->id = strdup(text);
    return r->id ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for an id");
}

// Where the fields of an OpenAI line stand; *body NULL after an error that the request has.
static weft_status open_envelope(wi_query *r, const weft_json *line, const weft_json **body)
{
    static const char *const known[] = {"custom_id", "method", "url", "body", NULL};
    const char *url, *method;
    *body = NULL;
    for (const char *key = NULL; (key = weft_json_next_key(line, key));) {
        bool found = false;
        for (int i = 0; known[i]; i++) found = found || strcmp(known[i], key) == 0;
        if (found) continue;
        weft_fail(WEFT_INVALID, "%.60s: no field of a line with custom_id, method, url and body", key);
        return wi_request_fail(r, key);
    }
    if (weft_json_string(line, "method", "POST", &method) < 0 || weft_json_string(line, "url", "", &url) < 0)
        return wi_request_fail(r, "url");
    if (strcmp(method, "POST") != 0) {
        weft_fail(WEFT_INVALID, "method: must be POST, and is '%.20s'", method);
        return wi_request_fail(r, "method");
    }
    const weft_json *fields = weft_json_get(line, "body");
    if (!fields || weft_json_kind_of(fields) != WEFT_JSON_OBJECT) {
        weft_fail(WEFT_INVALID, "body: must be an object");
        return wi_request_fail(r, "body");
    }
    if (strcmp(url, "/v1/chat/completions") == 0 || weft_json_get(fields, "messages")) {
        weft_fail(WEFT_UNSUPPORTED, "messages: chat templates come in a later version; give the whole text as 'prompt' "
                                    "of /v1/completions");
        return wi_request_fail(r, "messages");
    }
    if (url[0] && strcmp(url, "/v1/completions") != 0) {
        weft_fail(WEFT_UNSUPPORTED, "url: must be /v1/completions, and is '%.60s'", url);
        return wi_request_fail(r, "url");
    }
    *body = fields;
    return WEFT_OK;
}

static weft_status read_line(wi_query *r, const weft_json *line, const wi_request_rules *rules)
{
    if (weft_json_kind_of(line) != WEFT_JSON_OBJECT) {
        weft_fail(WEFT_INVALID, "must be a JSON object, as {\"id\":\"a\",\"prompt\":\"She was\"}");
        return wi_request_fail(r, NULL);
    }
    const weft_json *body = line, *id = weft_json_get(line, "custom_id");
    r->openai = id || weft_json_get(line, "body");
    if (!r->openai) id = weft_json_get(line, "id");
    if (id) {
        const weft_status status = take_id(r, id);
        if (status == WEFT_NO_MEMORY) return status;
        if (status < 0) return wi_request_fail(r, r->openai ? "custom_id" : "id");
    }
    if (r->openai) WEFT_TRY(open_envelope(r, line, &body));
    return body ? wi_request_read_fields(r, body, rules) : WEFT_OK;
}

weft_status wi_request_parse(const char *text, size_t bytes, int64_t line, const wi_request_rules *rules, wi_query *out)
{
    static const weft_json_limits limits = {.bytes = SIZE_MAX, .depth = 16};
    weft_json *json = NULL;
    weft_status status;
    *out = (wi_query){.line = line, .how = rules->defaults, .logprobs = -1};
    if (!text) {
        weft_fail(WEFT_LIMIT, "a line of %zu bytes is too long", bytes);
        status = wi_request_fail(out, NULL);
    } else {
        status = weft_json_parse(text, bytes, "the request", &limits, &json);
        if (status == WEFT_OK)
            status = read_line(out, json, rules);
        else if (status != WEFT_NO_MEMORY)
            status = wi_request_fail(out, NULL);
    }
    if (status == WEFT_OK && out->how.seed < 0) out->how.seed = seed_of(out, rules);
    weft_json_free(json);
    if (status < 0) wi_request_fini(out);
    return status;
}

weft_status wi_request_encoded(wi_query *r, const wi_request_rules *rules, int32_t *tokens, int count)
{
    if (tokens) {
        free(r->tokens);
        r->tokens = tokens;
        r->token_count = count;
        free(r->text);
        r->text = NULL;
    }
    const long long context = (long long)rules->context;
    if (r->token_count == 0) {
        weft_fail(WEFT_INVALID, "the prompt gives no token: there is nothing to start from");
        return wi_request_fail(r, "prompt");
    }
    if (r->token_count >= rules->context) {
        weft_fail(WEFT_LIMIT, "a prompt of %d tokens: with a context of %lld at most %lld are allowed", r->token_count,
                  context, context - 1);
        return wi_request_fail(r, "prompt");
    }
    const int64_t left = rules->context - r->token_count;
    if (r->how.max_tokens > left && r->has_max_tokens) {
        weft_fail(WEFT_LIMIT, "max_tokens %lld: %lld are left of a context of %lld behind a prompt of %d tokens",
                  (long long)r->how.max_tokens, (long long)left, context, r->token_count);
        return wi_request_fail(r, "max_tokens");
    }
    if (r->how.max_tokens > left) r->how.max_tokens = left;
    if (r->how.min_tokens <= r->how.max_tokens) return WEFT_OK;
    weft_fail(WEFT_LIMIT, "min_tokens %lld: more than the %lld that max_tokens and the context allow",
              (long long)r->how.min_tokens, (long long)r->how.max_tokens);
    return wi_request_fail(r, "min_tokens");
}
