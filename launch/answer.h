// The text of one continuation on its way out: tokens come in, text comes out that is certain to stay, up to a stop
// text. What comes out depends on the text alone, not on where tokens cut it. Of the stop texts the one that is
// complete first counts, and of those that are complete at the same byte the longest; the text ends before it, and the
// tokens are all that were drawn. Pure: no job, no output. Inside launch/ only.
#ifndef WEFT_LAUNCH_ANSWER_H
#define WEFT_LAUNCH_ANSWER_H

#include "engine/engine.h"
#include "model/tokenizer.h"

enum { WI_STOP_TEXTS_MAX = 16 };

// To be read; what is not explained is its own matter.
typedef struct {
    int32_t *tokens; // all that were taken, up to the one that completed a stop text
    int token_count, token_max;
    const char *text; // `certain` bytes of it will stay: whole characters, and no more to come of them
    size_t certain;
    bool stopped;       // by a stop text: the request is to be cancelled
    weft_finish finish; // once it has ended
    char *memory;
    size_t bytes, capacity;
    char *stops[WI_STOP_TEXTS_MAX];
    int stop_count;
    weft_detokenizer *detokenizer;
} wi_answer;

// For up to so many tokens. INVALID for stop texts that are empty, not UTF-8 or too many. They are copied. `out` is
// zeroed or finished; free it by wi_answer_fini also when this fails.
weft_status wi_answer_init(wi_answer *out, const weft_tokenizer *tokenizer, const char *const *stops, int stop_count,
                           int max_tokens);
void wi_answer_fini(wi_answer *answer);

// The next token. One that comes after a stop text is left out.
weft_status wi_answer_token(wi_answer *answer, int32_t token);
// No more will come: what was held back stays. A stop text makes it WEFT_FINISH_STOP whatever `finish` says.
weft_status wi_answer_end(wi_answer *answer, weft_finish finish);

#endif
