// JSON out: a text that grows.
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/checked.h"
#include "core/json.h"
#include "core/text.h"

enum { LEVELS_MAX = sizeof(((weft_json_writer *)0)->first) };

void weft_json_writer_init(weft_json_writer *writer, bool pretty)
{
    *writer = (weft_json_writer){.pretty = pretty};
    writer->first[0] = true;
}

void weft_json_writer_fini(weft_json_writer *writer)
{
    free(writer->text);
    *writer = (weft_json_writer){0};
}

static void put(weft_json_writer *writer, const char *bytes, size_t count)
{
    size_t needed;
    if (writer->status != WEFT_OK) return;
    if (!weft_size_add(writer->used, count, &needed) || !weft_size_add(needed, 1, &needed)) {
        writer->status = WEFT_NO_MEMORY;
        return;
    }
    if (needed > writer->capacity) {
        size_t capacity = writer->capacity ? writer->capacity : 256;
        while (capacity < needed && capacity <= SIZE_MAX / 2) capacity *= 2;
        char *text = realloc(writer->text, capacity);
        if (!text || capacity < needed) {
            if (text) writer->text = text, writer->capacity = capacity;
            writer->status = WEFT_NO_MEMORY;
            return;
        }
        writer->text = text;
        writer->capacity = capacity;
    }
    memcpy(writer->text + writer->used, bytes, count);
    writer->used += count;
    writer->text[writer->used] = 0;
}

static void put_text(weft_json_writer *writer, const char *text) { put(writer, text, strlen(text)); }

static void put_newline(weft_json_writer *writer, int level)
{
    put(writer, "\n", 1);
    for (int i = 0; i < level; i++) put(writer, "  ", 2);
}

// May hold NUL; ends with a whole character, or text[bytes] is NUL.
static void put_quoted(weft_json_writer *writer, const char *text, size_t bytes)
{
    static const char names[] = "\"\\\n\r\t\b\f", letters[] = "\"\\nrtbf";
    put(writer, "\"", 1);
    for (const char *end = text + bytes; text < end;) {
        size_t length = *text ? wi_utf8_length(text) : 1;
        const char *name = length == 1 && *text ? strchr(names, *text) : NULL;
        if (name) {
            put(writer, (const char[]){'\\', letters[name - names]}, 2);
        } else if (length == 1 && (unsigned char)*text < 0x20) {
            char code[8];
            snprintf(code, sizeof code, "\\u%04x", (unsigned)*text);
            put(writer, code, 6);
        } else if (length == 0) {
            put(writer, "\xEF\xBF\xBD", 3);
        } else {
            put(writer, text, length);
        }
        text += length ? length : 1;
    }
    put(writer, "\"", 1);
}

// What stands before a value: the comma, the line, the key. Level 0 takes one value without a key.
static void begin_value(weft_json_writer *writer, const char *key, bool is_number)
{
    if (writer->status != WEFT_OK) return;
    int level = writer->depth;
    bool wants_key = level > 0 && !writer->is_array[level];
    if ((level == 0 && !writer->first[0]) || wants_key != (key != NULL)) {
        writer->status = WEFT_INTERNAL;
        return;
    }
    if (!writer->first[level]) put(writer, ",", 1);
    if (writer->pretty && level > 0) {
        if (!is_number || wants_key) writer->on_lines[level] = true;
        if (writer->on_lines[level])
            put_newline(writer, level);
        else if (!writer->first[level])
            put(writer, " ", 1);
    }
    writer->first[level] = false;
    if (!key) return;
    put_quoted(writer, key, strlen(key));
    put_text(writer, writer->pretty ? ": " : ":");
}

static void open_level(weft_json_writer *writer, const char *key, bool is_array)
{
    begin_value(writer, key, false);
    if (writer->status != WEFT_OK) return;
    if (writer->depth + 1 >= LEVELS_MAX) {
        writer->status = WEFT_LIMIT;
        return;
    }
    put(writer, is_array ? "[" : "{", 1);
    int level = ++writer->depth;
    writer->first[level] = true;
    writer->is_array[level] = is_array;
    writer->on_lines[level] = false;
}

void weft_json_write_object(weft_json_writer *writer, const char *key) { open_level(writer, key, false); }
void weft_json_write_array(weft_json_writer *writer, const char *key) { open_level(writer, key, true); }

void weft_json_write_end(weft_json_writer *writer)
{
    if (writer->status != WEFT_OK) return;
    int level = writer->depth;
    if (level == 0) {
        writer->status = WEFT_INTERNAL;
        return;
    }
    writer->depth--;
    if (writer->on_lines[level]) put_newline(writer, level - 1);
    put(writer, writer->is_array[level] ? "]" : "}", 1);
}

void weft_json_write_string(weft_json_writer *writer, const char *key, const char *value)
{
    begin_value(writer, key, false);
    if (value)
        put_quoted(writer, value, strlen(value));
    else
        put_text(writer, "null");
}

void weft_json_write_text(weft_json_writer *writer, const char *key, const char *text, size_t bytes)
{
    begin_value(writer, key, false);
    put_quoted(writer, text, bytes);
}

void weft_json_write_int(weft_json_writer *writer, const char *key, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    begin_value(writer, key, true);
    put_text(writer, text);
}

void weft_json_write_real(weft_json_writer *writer, const char *key, double value)
{
    char text[WI_REAL_TEXT_MAX];
    begin_value(writer, key, true);
    if (!isfinite(value)) {
        put_text(writer, "null");
        return;
    }
    put_text(writer, wi_text_of_real(value, text));
    if (!strpbrk(text, ".e")) put_text(writer, ".0"); // it stays a real, and -0 keeps its sign
}

void weft_json_write_bool(weft_json_writer *writer, const char *key, bool value)
{
    begin_value(writer, key, false);
    put_text(writer, value ? "true" : "false");
}

weft_status weft_json_writer_finish(weft_json_writer *writer, const char **text, size_t *bytes)
{
    if (writer->status == WEFT_OK && (writer->depth != 0 || writer->first[0])) writer->status = WEFT_INTERNAL;
    switch (writer->status) {
    case WEFT_OK:
        break;
    case WEFT_NO_MEMORY:
        return weft_fail(WEFT_NO_MEMORY, "no memory for JSON beyond %zu bytes", writer->used);
    case WEFT_LIMIT:
        return weft_fail(WEFT_LIMIT, "JSON nested deeper than the %d levels of a writer", LEVELS_MAX - 1);
    default:
        return weft_fail(writer->status,
                         "JSON is not whole after %zu bytes at depth %d: a key or an end is missing or too many",
                         writer->used, writer->depth);
    }
    *text = writer->text;
    if (bytes) *bytes = writer->used;
    return WEFT_OK;
}

static weft_status save(const char *path, const char *text, size_t bytes)
{
    const bool standard = strcmp(path, "-") == 0;
    const char *name = standard ? "standard output" : path;
    FILE *file = standard ? stdout : fopen(path, "we");
    if (!file) return weft_fail(WEFT_IO, "cannot write %s: %s", name, strerror(errno));
    bool failed = fwrite(text, 1, bytes, file) != bytes || fputc('\n', file) == EOF;
    failed = (standard ? fflush(file) : fclose(file)) != 0 || failed;
    return failed ? weft_fail(WEFT_IO, "cannot write %s: %s", name, strerror(errno)) : WEFT_OK;
}

weft_status weft_json_writer_save(weft_json_writer *writer, const char *path)
{
    const char *text = "";
    size_t bytes = 0;
    weft_status status = weft_json_writer_finish(writer, &text, &bytes);
    if (status == WEFT_OK) status = save(path, text, bytes);
    weft_json_writer_fini(writer);
    return status;
}
