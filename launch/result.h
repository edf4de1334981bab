// The line of the output that answers a request. It depends on the request and its tokens alone. Inside launch/ only.
#ifndef WEFT_LAUNCH_RESULT_H
#define WEFT_LAUNCH_RESULT_H

#include "core/json.h"
#include "launch/item.h"

// What OpenAI lines name as model where the request does not.
typedef struct {
    const char *model;
    const weft_tokenizer *tokenizer; // for the texts of single tokens
} wi_result_style;

// The item has ended. The line is left in the writer, without a line end; `hash` is of id and tokens.
weft_status wi_result_make(const wi_item *item, const wi_result_style *style, weft_json_writer *out,
                           unsigned char hash[32]);

#endif
