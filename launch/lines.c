#include "launch/lines.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/sha256.h"

enum { ROOM_FIRST = 1 << 16 };

struct wi_lines {
    int file;
    const char *name;
    size_t line_max;
    char *buffer; // (capacity): what was read and not given yet lies from `at` to `end`
    size_t capacity, at, end;
    size_t searched; // of that, without a line's end
    size_t dropped;  // bytes of a line that is too long, so far
    bool too_long, ended;
    uint64_t bytes, limit;
    int64_t lines;
    weft_sha256 hash;
};

weft_status wi_lines_create(int file, const char *name, size_t line_max, wi_lines **out)
{
    wi_lines *l = calloc(1, sizeof *l);
    if (!l || !(l->buffer = malloc(ROOM_FIRST))) {
        free(l);
        return weft_fail(WEFT_NO_MEMORY, "%s: no memory to read it", name);
    }
    l->file = file;
    l->name = name;
    l->line_max = line_max;
    l->capacity = ROOM_FIRST;
    l->limit = UINT64_MAX;
    weft_sha256_begin(&l->hash);
    *out = l;
    return WEFT_OK;
}

void wi_lines_destroy(wi_lines *l)
{
    if (!l) return;
    free(l->buffer);
    free(l);
}

// Bytes that the caller has seen, or never will.
static void consume(wi_lines *l, size_t bytes)
{
    weft_sha256_add(&l->hash, l->buffer + l->at, bytes);
    l->at += bytes;
    l->bytes += bytes;
    l->searched = 0;
}

static weft_status make_room(wi_lines *l)
{
    if (l->at > 0) {
        memmove(l->buffer, l->buffer + l->at, l->end - l->at);
        l->end -= l->at;
        l->at = 0;
    }
    if (l->end < l->capacity) return WEFT_OK;
    char *more = realloc(l->buffer, 2 * l->capacity);
    if (!more) return weft_fail(WEFT_NO_MEMORY, "%s: no memory for line %lld", l->name, (long long)l->lines + 1);
    l->buffer = more;
    l->capacity *= 2;
    return WEFT_OK;
}

// *came is false where nothing comes in time.
static weft_status read_more(wi_lines *l, int wait_ms, bool *came)
{
    struct pollfd wait = {.fd = l->file, .events = POLLIN};
    *came = false;
    WEFT_TRY(make_room(l));
    const int ready = poll(&wait, 1, wait_ms);
    if (ready == 0 || (ready < 0 && errno == EINTR)) return WEFT_OK;
    const ssize_t got = read(l->file, l->buffer + l->end, l->capacity - l->end);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return WEFT_OK;
    if (got < 0) return weft_fail(WEFT_IO, "%s: %s", l->name, strerror(errno));
    l->ended = got == 0;
    l->end += (size_t)got;
    *came = true;
    return WEFT_OK;
}

static bool is_blank(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r') return false;
    return true;
}

// A line lies whole in the buffer, `bytes` of it before its end, which takes `rest`. False where it says nothing.
static bool give(wi_lines *l, size_t bytes, size_t rest, wi_input_line *out)
{
    const char *text = l->buffer + l->at;
    const bool too_long = l->too_long || bytes > l->line_max;
    l->lines++;
    *out = (wi_input_line){.text = too_long ? NULL : text, .bytes = l->dropped + bytes, .number = l->lines};
    if (!too_long && out->bytes > 0 && text[out->bytes - 1] == '\r') out->bytes--;
    l->too_long = false;
    l->dropped = 0;
    consume(l, bytes + rest);
    return too_long || !is_blank(text, out->bytes);
}

weft_status wi_lines_next(wi_lines *l, int wait_ms, wi_lines_found *found, wi_input_line *out)
{
    *found = WI_LINES_ONE;
    for (;;) {
        const char *from = l->buffer + l->at;
        if (l->bytes >= l->limit) {
            *found = WI_LINES_LATER;
            return WEFT_OK;
        }
        const size_t held = l->end - l->at;
        const char *end = memchr(from + l->searched, '\n', held - l->searched);
        if (end) {
            if (give(l, (size_t)(end - from), 1, out)) return WEFT_OK;
            continue;
        }
        if (l->ended) {
            const bool more = (held > 0 || l->dropped > 0) && give(l, held, 0, out);
            if (!more) *found = WI_LINES_END;
            return WEFT_OK;
        }
        l->searched = held;
        if (held > l->line_max) {
            l->too_long = true;
            l->dropped += held;
            consume(l, held);
        }
        bool came;
        WEFT_TRY(read_more(l, wait_ms, &came));
        if (came || wait_ms < 0) continue;
        *found = WI_LINES_LATER;
        return WEFT_OK;
    }
}

void wi_lines_limit(wi_lines *l, uint64_t bytes) { l->limit = bytes; }

void wi_lines_tell(const wi_lines *l, wi_lines_place *out)
{
    weft_sha256 hash = l->hash;
    *out = (wi_lines_place){.bytes = l->bytes, .lines = l->lines};
    weft_sha256_end(&hash, out->hash);
}
