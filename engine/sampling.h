// What a request may ask of drawing, and whether that is within limits.
#ifndef WEFT_ENGINE_SAMPLING_H
#define WEFT_ENGINE_SAMPLING_H

#include "core/status.h"
#include "kernels/pick.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { WEFT_TOP_LOGPROBS_MAX = 20, WEFT_STOP_IDS_MAX = 1024, WEFT_BIASES_MAX = 4096 };

// In this order the logits of a position become a token: logprobs are taken; penalties; biases; what may not be drawn
// yet is left out; then what `draw` says. So logprobs are those of the model itself, whatever is asked of drawing: the
// same bits that `weft score` tells of the same tokens.
//
// A token counts for the penalties where it stands in the prompt or was generated; frequency and presence count what
// was generated alone (kernels/pick.h).
typedef struct {
    weft_sampling draw;                    // kernels/pick.h
    float repetition, frequency, presence; // 1, 0, 0: no penalties
    const weft_bias *biases;               // [bias_count] ids once each
    int bias_count;
    const int32_t
        *stops; // [stop_count] end the request as the model's own stop tokens do; also where those are ignored
    int stop_count;
    bool ignore_stops; // the model's stop tokens are tokens like others
    int min_tokens;    // before so many were generated no token that would end the request is drawn
    bool logprobs;     // of each drawn token
    int top_logprobs;  // and of so many likeliest ones at its place
} weft_request_sampling;

weft_request_sampling weft_request_sampling_default(void); // greedy, nothing else

// INVALID, naming the first field that is out of its limits, its value and the limits.
weft_status weft_request_sampling_check(const weft_request_sampling *sampling, int64_t vocab, int max_tokens);

typedef struct {
    int32_t id;
    float logprob;
} weft_logprob;

// A drawn token as its request's owner is told of it.
typedef struct {
    int32_t id;
    float logit;             // as it was drawn from: after penalties and biases
    float logprob;           // where logprobs are wanted
    int top_count;           // of `top`; fewer than asked for where fewer logits are numbers
    const weft_logprob *top; // the likeliest first; until the request's next token
} weft_drawn;

#ifdef __cplusplus
}
#endif
#endif
