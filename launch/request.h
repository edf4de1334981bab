// What a line of a batch asks for: read from JSON and held against every limit. A line that cannot be is a request with
// an error, told in its place; nothing of it reaches the engine. Inside launch/ only.
#ifndef WEFT_LAUNCH_REQUEST_H
#define WEFT_LAUNCH_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "kernels/pick.h"

enum {
    WI_MAX_TOKENS_MAX = 1 << 20,
    WI_CONTINUATIONS_MAX = 128,
    WI_LOGPROBS_MAX = 20, // beside the token's own
    WI_STOPS_MAX = 16,
    WI_STOP_BYTES_MAX = 1024,
    WI_STOP_IDS_MAX = 64,
    WI_BIASES_MAX = 1024,
    WI_ID_BYTES_MAX = 512
};

// How one continuation is drawn: what a line says, else what the command says.
typedef struct {
    int64_t max_tokens, min_tokens;
    int64_t top_k, n, priority;
    double temperature, top_p, min_p;
    double repetition_penalty, presence_penalty, frequency_penalty;
    int64_t seed; // -1: from the request's id
    bool ignore_eos;
} wi_request_settings;

extern const wi_request_settings wi_request_defaults;

typedef struct {
    wi_request_settings defaults;
    const char *const *stops; // [stop_count] likewise
    int stop_count;
    uint64_t seed;   // what seeds made from ids depend on as well
    int64_t vocab;   // ids are below it
    int64_t context; // tokens of prompt and answer together
} wi_request_rules;

typedef struct {
    int64_t line;
    bool openai;    // the answer has OpenAI's form
    char *id;       // as text; NULL where the line has none: its number is the id
    bool id_is_int; // `id` is the digits of an integer
    char *model;    // that an OpenAI line names; repeated in the answer. NULL: none

    char *text; // the prompt, of so many bytes; NULL where the line gives tokens
    size_t text_bytes;
    int32_t *tokens; // the prompt's; after wi_request_encoded in any case
    int token_count;

    wi_request_settings how;
    bool has_max_tokens; // the line's own
    int logprobs;        // -1: none; else so many beside the token's own
    char *stops[WI_STOPS_MAX];
    int stop_count;
    int32_t *stop_ids;
    int stop_id_count;
    weft_bias *biases; // ascending ids
    int bias_count;

    char *error; // what is wrong; NULL: nothing
    char *param; // the field that is, or NULL
} wi_query;

// NO_MEMORY is the only failure: what is wrong with the line stands in out->error. `text` NULL: the line was too long.
weft_status wi_request_parse(const char *text, size_t bytes, int64_t line, const wi_request_rules *rules,
                             wi_query *out);
// The tokens of the prompt are known: takes them over and holds their number against the context. NULL keeps the
// line's own.
weft_status wi_request_encoded(wi_query *request, const wi_request_rules *rules, int32_t *tokens, int count);
// Makes the calling thread's error the request's. `param` may be NULL.
weft_status wi_request_fail(wi_query *request, const char *param);
void wi_request_fini(wi_query *request);

#endif
