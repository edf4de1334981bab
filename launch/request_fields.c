#include "launch/request_fields.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/flags.h"

typedef struct {
    wi_query *request;
    const wi_request_rules *rules;
    const weft_json *body;
} reading;

typedef enum {
    WHOLE,   // int64_t within [min, max]
    REAL,    // double within [min, max]
    TRUTH,   // bool
    OTHER,   // by its function
    IGNORED, // sent by clients in common use, without a meaning here
    IS_FALSE // false or null, else refused: what it asks for there is not
} field_kind;

enum { LINE = 1, BODY = 2, BOTH = 3 }; // where a field may stand

typedef struct {
    const char *name;
    int forms;
    field_kind kind;
    size_t offset; // in wi_query
    double min, max;
    weft_status (*read)(reading *r, const weft_json *value);
} field;

// ---- single ones ----

static weft_status keep_text(const weft_json *value, char **out, size_t *bytes)
{
    const char *text = weft_json_string_value(value);
    *out = strdup(text);
    if (!*out) return weft_fail(WEFT_NO_MEMORY, "no memory for a text of %zu bytes", strlen(text));
    if (bytes) *bytes = strlen(text);
    return WEFT_OK;
}

static weft_status read_ids(const weft_json *list, int64_t vocab, size_t most, int32_t **out, int *count)
{
    const size_t size = weft_json_size(list);
    if (size > most) return weft_fail(WEFT_INVALID, "%zu ids: at most %zu are allowed", size, most);
    int32_t *ids = malloc((size + 1) * sizeof *ids);
    if (!ids) return weft_fail(WEFT_NO_MEMORY, "no memory for %zu ids", size);
    for (size_t i = 0; i < size; i++) {
        const weft_json *value = weft_json_at(list, i);
        const int64_t id = weft_json_int_value(value);
        if (weft_json_kind_of(value) == WEFT_JSON_INT && id >= 0 && id < vocab) {
            ids[i] = (int32_t)id;
            continue;
        }
        free(ids);
        if (weft_json_kind_of(value) != WEFT_JSON_INT)
            return weft_fail(WEFT_INVALID, "entry %zu is not an integer: give one list of token ids", i);
        return weft_fail(WEFT_INVALID, "id %lld is not in the vocabulary, which has 0 to %lld", (long long)id,
                         (long long)vocab - 1);
    }
    free(*out);
    *out = ids;
    *count = (int)size;
    return WEFT_OK;
}

static weft_status read_tokens(reading *r, const weft_json *value)
{
    if (weft_json_kind_of(value) != WEFT_JSON_ARRAY) return weft_fail(WEFT_INVALID, "must be a list of token ids");
    if (weft_json_size(value) == 0) return weft_fail(WEFT_INVALID, "empty: give at least one token");
    if (r->request->text) return weft_fail(WEFT_INVALID, "there is a prompt as well: give one of them");
    return read_ids(value, r->rules->vocab, INT32_MAX / 2, &r->request->tokens, &r->request->token_count);
}

static weft_status read_prompt(reading *r, const weft_json *value)
{
    if (weft_json_kind_of(value) == WEFT_JSON_ARRAY && r->request->openai) return read_tokens(r, value);
    const char *text = weft_json_string_value(value);
    if (!text) return weft_fail(WEFT_INVALID, "must be a string; one prompt a line");
    if (!text[0]) return weft_fail(WEFT_INVALID, "empty: give some text");
    if (r->request->tokens) return weft_fail(WEFT_INVALID, "there are tokens as well: give one of them");
    return keep_text(value, &r->request->text, &r->request->text_bytes);
}

static weft_status read_max_tokens(reading *r, const weft_json *value)
{
    const int64_t tokens = weft_json_int_value(value);
    if (weft_json_kind_of(value) != WEFT_JSON_INT || tokens < 1 || tokens > WI_MAX_TOKENS_MAX)
        return weft_fail(WEFT_INVALID, "must be an integer between 1 and %d", WI_MAX_TOKENS_MAX);
    r->request->how.max_tokens = tokens;
    r->request->has_max_tokens = true;
    return WEFT_OK;
}

static weft_status add_stop(wi_query *request, const weft_json *value)
{
    const char *text = weft_json_string_value(value);
    if (!text) return weft_fail(WEFT_INVALID, "must be a string or a list of strings");
    if (!text[0]) return weft_fail(WEFT_INVALID, "an empty text would stop at once");
    if (strlen(text) > WI_STOP_BYTES_MAX)
        return weft_fail(WEFT_INVALID, "%zu bytes: at most %d are allowed", strlen(text), WI_STOP_BYTES_MAX);
    WEFT_TRY(keep_text(value, &request->stops[request->stop_count], NULL));
    request->stop_count++;
    return WEFT_OK;
}

static weft_status read_stop(reading *r, const weft_json *value)
{
    if (weft_json_kind_of(value) != WEFT_JSON_ARRAY) return add_stop(r->request, value);
    const size_t size = weft_json_size(value);
    if (size > WI_STOPS_MAX) return weft_fail(WEFT_INVALID, "%zu texts: at most %d are allowed", size, WI_STOPS_MAX);
    for (size_t i = 0; i < size; i++) WEFT_TRY(add_stop(r->request, weft_json_at(value, i)));
    return WEFT_OK;
}

static weft_status read_stop_ids(reading *r, const weft_json *value)
{
    if (weft_json_kind_of(value) != WEFT_JSON_ARRAY) return weft_fail(WEFT_INVALID, "must be a list of token ids");
    return read_ids(value, r->rules->vocab, WI_STOP_IDS_MAX, &r->request->stop_ids, &r->request->stop_id_count);
}

// false, true, or how many others beside the token's own.
static weft_status read_logprobs(reading *r, const weft_json *value)
{
    const weft_json_kind kind = weft_json_kind_of(value);
    const int64_t others = weft_json_int_value(value);
    if (kind == WEFT_JSON_BOOL) {
        if (weft_json_bool_value(value) && r->request->logprobs < 0) r->request->logprobs = 0;
        return WEFT_OK;
    }
    if (kind != WEFT_JSON_INT || others < 0 || others > WI_LOGPROBS_MAX)
        return weft_fail(WEFT_INVALID, "must be true, false, or an integer between 0 and %d", WI_LOGPROBS_MAX);
    r->request->logprobs = (int)others;
    return WEFT_OK;
}

static weft_status read_top_logprobs(reading *r, const weft_json *value)
{
    const int64_t others = weft_json_int_value(value);
    if (weft_json_kind_of(value) != WEFT_JSON_INT || others < 0 || others > WI_LOGPROBS_MAX)
        return weft_fail(WEFT_INVALID, "must be an integer between 0 and %d", WI_LOGPROBS_MAX);
    if (!weft_json_bool_value(weft_json_get(r->body, "logprobs")))
        return weft_fail(WEFT_INVALID, "wants \"logprobs\": true beside it");
    r->request->logprobs = (int)others;
    return WEFT_OK;
}

static int by_id(const void *a, const void *b)
{
    const weft_bias *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static weft_status read_bias(const char *key, const weft_json *value, int64_t vocab, weft_bias *out)
{
    int64_t id;
    const double add = weft_json_real_value(value);
    const weft_json_kind kind = weft_json_kind_of(value);
    if (!weft_parse_int(key, &id) || id < 0 || id >= vocab)
        return weft_fail(WEFT_INVALID, "'%.24s' is no id of the vocabulary, which has 0 to %lld", key,
                         (long long)vocab - 1);
    if ((kind != WEFT_JSON_INT && kind != WEFT_JSON_REAL) || add < -100 || add > 100)
        return weft_fail(WEFT_INVALID, "of id %lld must be a number between -100 and 100", (long long)id);
    *out = (weft_bias){.id = (int32_t)id, .add = (float)add};
    return WEFT_OK;
}

static weft_status read_biases(reading *r, const weft_json *value)
{
    wi_query *request = r->request;
    const size_t size = weft_json_size(value);
    if (weft_json_kind_of(value) != WEFT_JSON_OBJECT)
        return weft_fail(WEFT_INVALID, "must be an object of ids and numbers, as {\"17\":-5}");
    if (size > WI_BIASES_MAX) return weft_fail(WEFT_INVALID, "%zu ids: at most %d are allowed", size, WI_BIASES_MAX);
    if (size == 0) return WEFT_OK;
    request->biases = malloc(size * sizeof *request->biases);
    if (!request->biases) return weft_fail(WEFT_NO_MEMORY, "no memory for %zu biases", size);
    for (const char *key = NULL; (key = weft_json_next_key(value, key));) {
        weft_bias *next = &request->biases[request->bias_count];
        WEFT_TRY(read_bias(key, weft_json_get(value, key), r->rules->vocab, next));
        request->bias_count++;
    }
    qsort(request->biases, size, sizeof *request->biases, by_id);
    for (size_t i = 1; i < size; i++) // "7" and "07"
        if (request->biases[i].id == request->biases[i - 1].id)
            return weft_fail(WEFT_INVALID, "has id %d twice", (int)request->biases[i].id);
    return WEFT_OK;
}

static weft_status read_model(reading *r, const weft_json *value)
{
    const char *text = weft_json_string_value(value);
    if (!text) return weft_fail(WEFT_INVALID, "must be a string");
    if (strlen(text) > WI_ID_BYTES_MAX)
        return weft_fail(WEFT_INVALID, "%zu bytes: at most %d are allowed", strlen(text), WI_ID_BYTES_MAX);
    return keep_text(value, &r->request->model, NULL);
}

static weft_status read_temperature(reading *r, const weft_json *value)
{
    const double t = weft_json_real_value(value);
    const weft_json_kind kind = weft_json_kind_of(value);
    if ((kind != WEFT_JSON_INT && kind != WEFT_JSON_REAL) || !(t == 0 || (t >= 1e-4 && t <= 100)))
        return weft_fail(WEFT_INVALID, "must be 0, or a number between 0.0001 and 100");
    r->request->how.temperature = t == 0 ? 0 : t; // -0 is 0
    return WEFT_OK;
}

// Of so many candidates the best is taken: there must be no choice to make.
static weft_status read_best_of(reading *r, const weft_json *value)
{
    const weft_json *n = weft_json_get(r->body, "n");
    const int64_t wanted = n && weft_json_kind_of(n) == WEFT_JSON_INT ? weft_json_int_value(n) : 1;
    if (weft_json_kind_of(value) == WEFT_JSON_INT && weft_json_int_value(value) == wanted) return WEFT_OK;
    return weft_fail(WEFT_UNSUPPORTED, "must be as many as n: no choice is made among more");
}

// ---- the table ----

#define HOW(name) offsetof(wi_query, how.name)
static const field fields[] = {
    {.name = "id", .forms = LINE, .kind = IGNORED}, // taken before
    {.name = "prompt", .forms = BOTH, .kind = OTHER, .read = read_prompt},
    {.name = "tokens", .forms = LINE, .kind = OTHER, .read = read_tokens},
    {.name = "max_tokens", .forms = BOTH, .kind = OTHER, .read = read_max_tokens},
    {.name = "min_tokens", .forms = BOTH, .kind = WHOLE, .offset = HOW(min_tokens), .max = WI_MAX_TOKENS_MAX},
    {.name = "temperature", .forms = BOTH, .kind = OTHER, .read = read_temperature},
    {.name = "top_k", .forms = BOTH, .kind = WHOLE, .offset = HOW(top_k), .min = -1, .max = INT32_MAX},
    {.name = "top_p", .forms = BOTH, .kind = REAL, .offset = HOW(top_p), .min = 1e-9, .max = 1},
    {.name = "min_p", .forms = BOTH, .kind = REAL, .offset = HOW(min_p), .max = 1},
    {.name = "seed", .forms = BOTH, .kind = WHOLE, .offset = HOW(seed), .max = (double)INT64_MAX},
    {.name = "n", .forms = BOTH, .kind = WHOLE, .offset = HOW(n), .min = 1, .max = WI_CONTINUATIONS_MAX},
    {.name = "stop", .forms = BOTH, .kind = OTHER, .read = read_stop},
    {.name = "stop_token_ids", .forms = BOTH, .kind = OTHER, .read = read_stop_ids},
    {.name = "logprobs", .forms = BOTH, .kind = OTHER, .read = read_logprobs},
    {.name = "top_logprobs", .forms = BOTH, .kind = OTHER, .read = read_top_logprobs},
    {.name = "repetition_penalty",
     .forms = BOTH,
     .kind = REAL,
     .offset = HOW(repetition_penalty),
     .min = 0.01,
     .max = 100},
    {.name = "presence_penalty", .forms = BOTH, .kind = REAL, .offset = HOW(presence_penalty), .min = -2, .max = 2},
    {.name = "frequency_penalty", .forms = BOTH, .kind = REAL, .offset = HOW(frequency_penalty), .min = -2, .max = 2},
    {.name = "logit_bias", .forms = BOTH, .kind = OTHER, .read = read_biases},
    {.name = "ignore_eos", .forms = BOTH, .kind = TRUTH, .offset = HOW(ignore_eos)},
    {.name = "priority", .forms = BOTH, .kind = WHOLE, .offset = HOW(priority), .min = -1000000, .max = 1000000},
    {.name = "model", .forms = BODY, .kind = OTHER, .read = read_model},
    {.name = "best_of", .forms = BODY, .kind = OTHER, .read = read_best_of},
    {.name = "echo", .forms = BODY, .kind = IS_FALSE},
    {.name = "suffix", .forms = BODY, .kind = IS_FALSE},
    {.name = "stream", .forms = BODY, .kind = IGNORED},
    {.name = "stream_options", .forms = BODY, .kind = IGNORED},
    {.name = "user", .forms = BODY, .kind = IGNORED},
    {.name = "metadata", .forms = BODY, .kind = IGNORED},
    {.name = "store", .forms = BODY, .kind = IGNORED},
    {.name = "service_tier", .forms = BODY, .kind = IGNORED},
};
enum { FIELDS = sizeof fields / sizeof *fields };

static const field *find_field(const char *name, int form)
{
    for (int i = 0; i < FIELDS; i++)
        if ((fields[i].forms & form) && strcmp(fields[i].name, name) == 0) return &fields[i];
    return NULL;
}

static weft_status read_number(const field *f, const weft_json *value, void *to)
{
    const weft_json_kind of = weft_json_kind_of(value);
    const double real = weft_json_real_value(value);
    const bool is_number = of == WEFT_JSON_INT || (f->kind == REAL && of == WEFT_JSON_REAL);
    if (!is_number || !isfinite(real) || real < f->min || real > f->max) {
        if (f->kind == REAL) return weft_fail(WEFT_INVALID, "must be a number between %.10g and %.10g", f->min, f->max);
        return weft_fail(WEFT_INVALID, "must be an integer between %lld and %lld", (long long)f->min,
                         f->max < (double)INT64_MAX ? (long long)f->max : (long long)INT64_MAX);
    }
    if (f->kind == REAL)
        *(double *)to = real;
    else
        *(int64_t *)to = weft_json_int_value(value);
    return WEFT_OK;
}

static weft_status read_field(reading *r, const field *f, const weft_json *value)
{
    void *to = (char *)r->request + f->offset;
    const weft_json_kind of = weft_json_kind_of(value);
    if (of == WEFT_JSON_NULL) return WEFT_OK; // as if it were not there
    switch (f->kind) {
    case WHOLE:
    case REAL:
        return read_number(f, value, to);
    case TRUTH:
        if (of != WEFT_JSON_BOOL) return weft_fail(WEFT_INVALID, "must be true or false");
        *(bool *)to = weft_json_bool_value(value);
        return WEFT_OK;
    case OTHER:
        return f->read(r, value);
    case IGNORED:
        return WEFT_OK;
    case IS_FALSE:
        if (of == WEFT_JSON_BOOL && !weft_json_bool_value(value)) return WEFT_OK;
        return weft_fail(WEFT_UNSUPPORTED, "not supported: leave it out");
    }
    return WEFT_OK;
}

static weft_status unknown_field(const char *name, int form)
{
    const char *names[FIELDS + 1];
    int count = 0;
    for (int i = 0; i < FIELDS; i++)
        if ((fields[i].forms & form) && fields[i].kind != IGNORED) names[count++] = fields[i].name;
    names[count] = NULL;
    const char *best = weft_flags_suggest(name, names);
    if (best) return weft_fail(WEFT_INVALID, "unknown field; did you mean '%s'?", best);
    return weft_fail(WEFT_INVALID, "unknown field");
}

// "top_p: must be ...", as the request's error.
static weft_status tell(wi_query *request, const char *name)
{
    char text[WEFT_ERROR_TEXT_MAX];
    snprintf(text, sizeof text, "%s", weft_error_text());
    weft_fail(WEFT_INVALID, "%.60s: %.400s", name, text);
    return wi_request_fail(request, name);
}

static weft_status add_default_stops(wi_query *request, const wi_request_rules *rules)
{
    for (int i = 0; i < rules->stop_count; i++) {
        request->stops[i] = strdup(rules->stops[i]);
        if (!request->stops[i]) return weft_fail(WEFT_NO_MEMORY, "no memory for a stop text");
        request->stop_count++;
    }
    return WEFT_OK;
}

weft_status wi_request_read_fields(wi_query *request, const weft_json *body, const wi_request_rules *rules)
{
    reading r = {.request = request, .rules = rules, .body = body};
    const int form = request->openai ? BODY : LINE;
    bool says_stop = false;
    for (const char *key = NULL; (key = weft_json_next_key(body, key));) {
        const field *f = find_field(key, form);
        const weft_json *value = weft_json_get(body, key);
        const weft_status status = f ? read_field(&r, f, value) : unknown_field(key, form);
        if (status == WEFT_NO_MEMORY) return status;
        if (status < 0) return tell(request, key);
        says_stop = says_stop || (strcmp(key, "stop") == 0 && weft_json_kind_of(value) != WEFT_JSON_NULL);
    }
    if (!says_stop) WEFT_TRY(add_default_stops(request, rules));
    if (request->how.top_k < 0) request->how.top_k = 0;
    if (request->text || request->tokens) return WEFT_OK;
    weft_fail(WEFT_INVALID, request->openai ? "there is no 'prompt'" : "there is neither 'prompt' nor 'tokens'");
    return wi_request_fail(request, "prompt");
}
