// The lines of an input that may be far larger than memory and may come slowly: a file, a pipe, a terminal. Inside
// launch/ only.
#ifndef WEFT_LAUNCH_LINES_H
#define WEFT_LAUNCH_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef struct wi_lines wi_lines;

enum { WI_LINE_BYTES_MAX = 16 << 20 }; // longer ones are told and not kept

typedef struct {
    const char *text; // without the line's end; the reader's, until the next call. NULL where it was too long
    size_t bytes;
    int64_t number; // in the input, from 1; empty lines count
} wi_input_line;

typedef enum { WI_LINES_ONE, WI_LINES_LATER, WI_LINES_END } wi_lines_found;

// Where the reader stands: behind the last line that it gave. The hash is that of all bytes before.
typedef struct {
    uint64_t bytes;
    int64_t lines;
    char hash[65];
} wi_lines_place;

// Reads from `file` on, which stays the caller's. `name` is for errors; borrowed.
weft_status wi_lines_create(int file, const char *name, size_t line_max, wi_lines **out);
void wi_lines_destroy(wi_lines *lines); // accepts NULL

// The next line that holds more than white space, or LATER when none has come within so many milliseconds (-1: waits).
// CR LF ends a line as LF does; the last line needs no end.
weft_status wi_lines_next(wi_lines *lines, int wait_ms, wi_lines_found *found, wi_input_line *out);
// The lines before this byte are given, then LATER; UINT64_MAX: all.
void wi_lines_limit(wi_lines *lines, uint64_t bytes);
void wi_lines_tell(const wi_lines *lines, wi_lines_place *out);

#endif
