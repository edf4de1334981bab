// A weft_json is a json_t under another name. Inside core/ only.
#ifndef WEFT_CORE_JSON_VALUE_H
#define WEFT_CORE_JSON_VALUE_H

#include <jansson.h>

#include "core/json.h"

// jansson's readers are not const throughout; none of those called here writes.
static inline json_t *wi_json_of(const weft_json *value) { return (json_t *)(uintptr_t)value; }

#endif
