// The fields of a request, as a table. Inside launch/ only.
#ifndef WEFT_LAUNCH_REQUEST_FIELDS_H
#define WEFT_LAUNCH_REQUEST_FIELDS_H

#include "core/json.h"
#include "launch/request.h"

// Reads every field of `body`, which is an object. What is wrong with one stands in request->error; NO_MEMORY fails.
weft_status wi_request_read_fields(wi_query *request, const weft_json *body, const wi_request_rules *rules);

#endif
