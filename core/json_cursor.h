// Walks JSON without building values, for texts of megabytes of which little is kept: a vocabulary, a list of tensors.
// Values are taken in file order; strings are decoded in place, so that the text must be writable and is changed. Small
// parts are better skipped here and given to weft_json_parse. Limits, errors and refusals are those of core/json.h, but
// for keys that occur twice, which the caller has to notice.
#ifndef WEFT_CORE_JSON_CURSOR_H
#define WEFT_CORE_JSON_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/json.h"
#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    char *text; // borrowed, changed by reading strings
    size_t bytes, at;
    const char *name; // of the file, in errors; borrowed
    int depth, depth_max;
    bool fresh; // an array or object was entered and nothing of it was read
} weft_json_cursor;

// Checks size and UTF-8 of the whole text. `text` and `name` must outlive the cursor.
weft_status weft_json_cursor_init(char *text, size_t bytes, const char *name, const weft_json_limits *limits,
                                  weft_json_cursor *out);

// What comes next; INT stands for any number. Fails at the end of the text and where no value can begin.
weft_status weft_json_cursor_kind(weft_json_cursor *cursor, weft_json_kind *out);

// Goes into an object or array. Then, until *more is false: next, in objects key, and exactly one value.
weft_status weft_json_cursor_enter(weft_json_cursor *cursor, weft_json_kind kind);
weft_status weft_json_cursor_next(weft_json_cursor *cursor, bool *more);

// Texts lie in the cursor's own, are not terminated, and may hold NUL.
weft_status weft_json_cursor_key(weft_json_cursor *cursor, const char **text, size_t *bytes);
weft_status weft_json_cursor_string(weft_json_cursor *cursor, const char **text, size_t *bytes);
weft_status weft_json_cursor_int(weft_json_cursor *cursor, int64_t *out);
weft_status weft_json_cursor_real(weft_json_cursor *cursor, double *out); // integers too; finite
// Steps over a value of any kind and says where it lies. Only its nesting, strings and words are looked at.
weft_status weft_json_cursor_skip(weft_json_cursor *cursor, const char **text, size_t *bytes);
// The text must end here.
weft_status weft_json_cursor_end(weft_json_cursor *cursor);

// Bytes of the valid UTF-8 that `text` begins with; all of them when it is valid throughout.
size_t weft_utf8_valid(const char *text, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
