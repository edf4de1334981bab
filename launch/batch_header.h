// What a journal belongs to, as text: all that changes results, a line each. Inside launch/ only.
#ifndef WEFT_LAUNCH_BATCH_HEADER_H
#define WEFT_LAUNCH_BATCH_HEADER_H

#include "launch/model_open.h"
#include "launch/request.h"

// The model is loaded. Freed by the caller. `folder` is where it was read from.
weft_status wi_batch_header(const wi_model *model, const char *folder, const wi_request_rules *rules, bool unordered,
                            char **out);

#endif
