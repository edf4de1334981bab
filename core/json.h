// JSON from outside, behind limits: the bytes are counted and the depth is measured before the parser sees them.
// Reading is by jansson; this header hides it, so that limits and error texts are the same everywhere.
#ifndef WEFT_CORE_JSON_H
#define WEFT_CORE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_json weft_json; // a value; borrowed from its document unless said otherwise

typedef struct {
    size_t bytes; // refuse more than this; 0 means 64 MiB
    int depth;    // refuse nesting deeper than this; 0 means 64
    // An integer beyond int64 is read as a REAL instead of refused: files of the field hold 10^30 for "no limit".
    bool wide_integers;
} weft_json_limits;

// Duplicate keys, trailing data, a byte order mark, NUL, lone surrogates, invalid UTF-8 and numbers beyond double or
// int64 are refused with FORMAT; size and depth with LIMIT. `name` is what errors call the text ("config.json").
weft_status weft_json_parse(const char *text, size_t bytes, const char *name, const weft_json_limits *limits,
                            weft_json **out);
weft_status weft_json_read(const char *path, const weft_json_limits *limits, weft_json **out);
void weft_json_free(weft_json *document); // only what parse or read gave; accepts NULL

typedef enum {
    WEFT_JSON_NULL,
    WEFT_JSON_BOOL,
    WEFT_JSON_INT,
    WEFT_JSON_REAL,
    WEFT_JSON_STRING,
    WEFT_JSON_ARRAY,
    WEFT_JSON_OBJECT
} weft_json_kind;

weft_json_kind weft_json_kind_of(const weft_json *value);
const weft_json *weft_json_get(const weft_json *object, const char *key); // NULL when absent or not an object
size_t weft_json_size(const weft_json *value);                            // of an array or object, else 0
const weft_json *weft_json_at(const weft_json *array, size_t index);      // NULL when out of range
// Walks an object in file order: start with NULL, ends with NULL. `key` must be the pointer that the last call gave.
const char *weft_json_next_key(const weft_json *object, const char *key);

// Typed reads. Absent (or null) gives `fallback`; another type or a value outside [min, max] is INVALID with the key.
weft_status weft_json_int(const weft_json *object, const char *key, int64_t min, int64_t max, int64_t fallback,
                          int64_t *out);
weft_status weft_json_real(const weft_json *object, const char *key, double fallback, double *out); // finite only
weft_status weft_json_bool(const weft_json *object, const char *key, bool fallback, bool *out);
weft_status weft_json_string(const weft_json *object, const char *key, const char *fallback, const char **out);
// The value itself.
int64_t weft_json_int_value(const weft_json *value);        // 0 unless INT
double weft_json_real_value(const weft_json *value);        // 0 unless INT or REAL
bool weft_json_bool_value(const weft_json *value);          // false unless BOOL
const char *weft_json_string_value(const weft_json *value); // NULL unless STRING; may hold no NUL

// Writing: a growing text that is valid JSON when every begin has met its end. Sticky: the first failure (no memory,
// too deep, begin and end or keys that do not fit) is reported by weft_json_writer_finish. A number that is not finite
// is written as null, a byte that is not UTF-8 as U+FFFD. `key` is NULL inside an array and for the outermost value.
typedef struct {
    char *text;
    size_t used, capacity;
    int depth;
    bool pretty;    // one member a line, two spaces a level; arrays of numbers stay on one line
    bool first[64]; // by level: nothing written yet
    bool is_array[64];
    bool on_lines[64]; // its members stand on lines of their own
    weft_status status;
} weft_json_writer;

void weft_json_writer_init(weft_json_writer *writer, bool pretty);
void weft_json_write_object(weft_json_writer *writer, const char *key);                    // opens
void weft_json_write_array(weft_json_writer *writer, const char *key);                     // opens
void weft_json_write_end(weft_json_writer *writer);                                        // closes the innermost
void weft_json_write_string(weft_json_writer *writer, const char *key, const char *value); // NULL writes null
// The same of a text that may hold NUL. It ends with a whole character, or text[bytes] is NUL.
void weft_json_write_text(weft_json_writer *writer, const char *key, const char *text, size_t bytes);
void weft_json_write_int(weft_json_writer *writer, const char *key, int64_t value);
void weft_json_write_real(weft_json_writer *writer, const char *key, double value); // shortest text that reads back
void weft_json_write_bool(weft_json_writer *writer, const char *key, bool value);
weft_status weft_json_writer_finish(weft_json_writer *writer, const char **text, size_t *bytes); // owned by writer
void weft_json_writer_fini(weft_json_writer *writer);
// Writes the finished text and the end of a line to a file, for "-" to standard output; then fini, whatever came of it.
weft_status weft_json_writer_save(weft_json_writer *writer, const char *path);

#ifdef __cplusplus
}
#endif
#endif
