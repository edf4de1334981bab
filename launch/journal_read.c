// Reading a journal from memory. Nothing in it is trusted before its sum is right, and sizes not even then.
#include <stdlib.h>
#include <string.h>

#include "launch/journal.h"
#include "launch/journal_bytes.h"

typedef struct {
    const unsigned char *at, *end;
    bool bad; // ran out of bytes, or a number was out of range
} cursor;

static uint64_t take_fixed(cursor *c, int bytes)
{
    uint64_t value = 0;
    if (c->end - c->at < bytes) {
        c->bad = true;
        return 0;
    }
    for (int i = 0; i < bytes; i++) value |= (uint64_t)c->at[i] << 8 * i;
    c->at += bytes;
    return value;
}

static int64_t take_count(cursor *c, uint64_t most)
{
    uint64_t value = 0;
    for (int shift = 0; c->at < c->end && shift < 63; shift += 7) {
        const unsigned char byte = *c->at++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte & 0x80) continue;
        if (value > most) break;
        return (int64_t)value;
    }
    c->bad = true;
    return 0;
}

static float take_real(cursor *c)
{
    const uint32_t bits = (uint32_t)take_fixed(c, 4);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int64_t take_int64(cursor *c)
{
    const uint64_t value = take_fixed(c, 8);
    if (value > INT64_MAX) c->bad = true;
    return c->bad ? 0 : (int64_t)value;
}

static weft_status read_entry(cursor *c, const wi_journal_calls *calls, void *arg)
{
    const int64_t request = take_count(c, INT64_MAX), what = take_count(c, (WI_CONTINUATIONS_MAX << 2) - 1);
    const int continuation = (int)(what >> 2), kind = (int)(what & 3);
    wi_drawn drawn = {.has_logprob = kind == WI_ENTRY_LOGPROB};
    if (kind > WI_ENTRY_END) c->bad = true;
    if (kind == WI_ENTRY_END) {
        const int finish = (int)take_count(c, INT8_MAX);
        return c->bad || !calls->end ? WEFT_OK : calls->end(arg, request, continuation, finish);
    }
    drawn.token = (int32_t)take_count(c, INT32_MAX);
    if (drawn.has_logprob) {
        drawn.logprob = take_real(c);
        drawn.others = (int)take_count(c, WI_LOGPROBS_MAX);
        for (int i = 0; i < drawn.others && !c->bad; i++) {
            drawn.other[i].id = (int32_t)take_count(c, INT32_MAX) - 1;
            drawn.other[i].logprob = take_real(c);
        }
    }
    return c->bad || !calls->token ? WEFT_OK : calls->token(arg, request, continuation, &drawn);
}

static weft_status read_input(cursor *c, const wi_journal_calls *calls, void *arg)
{
    wi_lines_place place = {0};
    place.bytes = (uint64_t)take_int64(c);
    place.lines = take_int64(c);
    const int64_t requests = take_int64(c);
    if (c->bad || c->end - c->at != WI_HASH_TEXT || requests > place.lines || (uint64_t)place.lines > place.bytes) {
        c->bad = true;
        return WEFT_OK;
    }
    memcpy(place.hash, c->at, WI_HASH_TEXT);
    c->at = c->end;
    return calls->input ? calls->input(arg, &place, requests) : WEFT_OK;
}

static weft_status read_line(cursor *c, const wi_journal_calls *calls, void *arg)
{
    wi_written w = {.request = take_int64(c)};
    w.end = (uint64_t)take_int64(c);
    w.crc = (uint32_t)take_fixed(c, 4);
    w.failed = take_fixed(c, 1) != 0;
    if (c->bad || c->end - c->at != sizeof w.hash) {
        c->bad = true;
        return WEFT_OK;
    }
    memcpy(w.hash, c->at, sizeof w.hash);
    c->at = c->end;
    return calls->line ? calls->line(arg, &w) : WEFT_OK;
}

static weft_status read_record(cursor *c, int kind, const wi_journal_calls *calls, void *arg)
{
    weft_status status = WEFT_OK;
    switch (kind) {
    case WI_RECORD_INPUT:
        return read_input(c, calls, arg);
    case WI_RECORD_STEP:
        while (c->at < c->end && !c->bad && status == WEFT_OK) status = read_entry(c, calls, arg);
        return status;
    case WI_RECORD_LINE:
        return read_line(c, calls, arg);
    case WI_RECORD_DONE: {
        const int64_t bytes = take_int64(c);
        return c->bad || !calls->done ? WEFT_OK : calls->done(arg, (uint64_t)bytes);
    }
    default:
        c->bad = true;
        return WEFT_OK;
    }
}

// The record at data[at], if it is whole: *rest is what stands behind its head.
static bool find_record(const unsigned char *data, size_t bytes, size_t at, uint32_t *crc, cursor *rest)
{
    cursor c = {.at = data + at, .end = data + bytes};
    const uint32_t length = (uint32_t)take_fixed(&c, 4), sum = (uint32_t)take_fixed(&c, 4);
    if (c.bad || length == 0 || length > WI_RECORD_BYTES_MAX || (size_t)(c.end - c.at) < length) return false;
    if (wi_record_crc(*crc, data + at, c.at, length) != sum) return false;
    *crc = sum;
    *rest = (cursor){.at = c.at, .end = c.at + length};
    return true;
}

weft_status wi_journal_scan(const unsigned char *data, size_t bytes, const char *name, const wi_journal_calls *calls,
                            void *arg, wi_journal_found *out)
{
    wi_journal_found found = {.whole = WI_MAGIC_BYTES};
    uint32_t crc = 0;
    cursor c;
    if (bytes < WI_MAGIC_BYTES || memcmp(data, WI_JOURNAL_MAGIC, WI_MAGIC_BYTES) != 0)
        return weft_fail(WEFT_FORMAT, "%s: not the journal of a batch; move it away, or give another -o", name);
    if (!find_record(data, bytes, found.whole, &crc, &c) || *c.at != WI_RECORD_HEADER)
        return weft_fail(
            WEFT_FORMAT,
            "%s: its header is damaged, so that nobody can tell what it belongs to; remove it to start anew", name);
    if (calls->header) WEFT_TRY(calls->header(arg, (const char *)c.at + 1, (size_t)(c.end - c.at) - 1));
    found.whole = (uint64_t)(c.end - data);
    found.crc = crc;
    while (find_record(data, bytes, found.whole, &crc, &c)) {
        const int kind = *c.at++;
        const weft_status status = read_record(&c, kind, calls, arg);
        if (status == WEFT_DRAINED) break;
        if (status == WEFT_OK && c.bad)
            return weft_fail(
                WEFT_FORMAT,
                "%s: the record at byte %llu is whole and makes no sense; remove the journal to start anew", name,
                (unsigned long long)found.whole);
        WEFT_TRY(status);
        found.whole = (uint64_t)(c.end - data);
        found.crc = crc;
    }
    *out = found;
    return WEFT_OK;
}
