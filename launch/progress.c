#include "launch/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/crc32c.h"

// ---- the order of hashes ----

void wi_order_init(wi_order *o)
{
    *o = (wi_order){0};
    weft_sha256_begin(&o->hash);
}

static weft_status widen(wi_order *o, int64_t wanted)
{
    int64_t room = o->room > 0 ? o->room : 64;
    while (room < wanted) room *= 2;
    struct wi_waiting *more = realloc(o->waiting, (size_t)room * sizeof *more);
    if (!more) return weft_fail(WEFT_NO_MEMORY, "no memory for the hashes of %lld requests", (long long)room);
    memset(more + o->room, 0, (size_t)(room - o->room) * sizeof *more);
    o->waiting = more;
    o->room = room;
    return WEFT_OK;
}

weft_status wi_order_add(wi_order *o, int64_t request, const unsigned char hash[32])
{
    const int64_t at = request - o->next;
    int64_t ready = 0;
    if (at < 0 || at > INT32_MAX) return weft_fail(WEFT_FORMAT, "request %lld is written twice", (long long)request);
    if (at >= o->room) WEFT_TRY(widen(o, at + 1));
    if (o->waiting[at].here) return weft_fail(WEFT_FORMAT, "request %lld is written twice", (long long)request);
    memcpy(o->waiting[at].hash, hash, 32);
    o->waiting[at].here = true;
    if (at > 0) return WEFT_OK;
    for (; ready < o->room && o->waiting[ready].here; ready++) weft_sha256_add(&o->hash, o->waiting[ready].hash, 32);
    memmove(o->waiting, o->waiting + ready, (size_t)(o->room - ready) * sizeof *o->waiting);
    memset(o->waiting + o->room - ready, 0, (size_t)ready * sizeof *o->waiting);
    o->next += ready;
    return WEFT_OK;
}

void wi_order_text(const wi_order *o, char text[65])
{
    weft_sha256 hash = o->hash;
    weft_sha256_end(&hash, text);
}

void wi_order_free(wi_order *o)
{
    free(o->waiting);
    *o = (wi_order){0};
}

// ---- what is written ----

static weft_status mark_written(wi_progress *p, int64_t request)
{
    int at = p->span_count; // the first span behind the request; most come in order
    while (at > 0 && p->written[at - 1].from > request) at--;
    if (at > 0 && p->written[at - 1].to > request)
        return weft_fail(WEFT_FORMAT, "request %lld is written twice", (long long)request);
    const bool joins = at > 0 && p->written[at - 1].to == request;
    const bool meets = at < p->span_count && p->written[at].from == request + 1;
    if (joins && meets) {
        p->written[at - 1].to = p->written[at].to;
        memmove(p->written + at, p->written + at + 1, (size_t)(--p->span_count - at) * sizeof *p->written);
    } else if (joins) {
        p->written[at - 1].to++;
    } else if (meets) {
        p->written[at].from--;
    } else {
        if (p->span_count == p->span_room) {
            const int room = 2 * p->span_room + 16;
            struct wi_stretch *more = realloc(p->written, (size_t)room * sizeof *more);
            if (!more) return weft_fail(WEFT_NO_MEMORY, "no memory for %d spans", room);
            p->written = more;
            p->span_room = room;
        }
        memmove(p->written + at + 1, p->written + at, (size_t)(p->span_count++ - at) * sizeof *p->written);
        p->written[at] = (struct wi_stretch){.from = request, .to = request + 1};
    }
    return WEFT_OK;
}

bool wi_progress_is_written(const wi_progress *p, int64_t request)
{
    int low = 0, high = p->span_count;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (p->written[middle].to <= request)
            low = middle + 1;
        else
            high = middle;
    }
    return low < p->span_count && p->written[low].from <= request;
}

// ---- what was begun ----

static int place_of(const wi_progress *p, int64_t request)
{
    int low = 0, high = p->begun_count;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (p->begun[middle].request < request)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

wi_begun *wi_progress_begun(const wi_progress *p, int64_t request)
{
    const int at = place_of(p, request);
    return at < p->begun_count && p->begun[at].request == request ? &p->begun[at] : NULL;
}

static void free_begun(wi_begun *b)
{
    for (int i = 0; i < b->count; i++) wi_draws_free(&b->of[i].draws);
    free(b->of);
}

static weft_status begin(wi_progress *p, int64_t request, wi_begun **out)
{
    const int at = place_of(p, request);
    if (p->begun_count == p->begun_room) {
        const int room = 2 * p->begun_room + 16;
        wi_begun *more = realloc(p->begun, (size_t)room * sizeof *more);
        if (!more) return weft_fail(WEFT_NO_MEMORY, "no memory for %d requests", room);
        p->begun = more;
        p->begun_room = room;
    }
    memmove(p->begun + at + 1, p->begun + at, (size_t)(p->begun_count++ - at) * sizeof *p->begun);
    p->begun[at] = (wi_begun){.request = request};
    *out = &p->begun[at];
    return WEFT_OK;
}

static weft_status continued(wi_progress *p, int64_t request, int continuation, wi_continued **out)
{
    wi_begun *b = wi_progress_begun(p, request);
    if (request >= p->requests || wi_progress_is_written(p, request))
        return weft_fail(WEFT_FORMAT,
                         "the journal tells of request %lld, which was not at work; remove it to start anew",
                         (long long)request);
    if (!b) WEFT_TRY(begin(p, request, &b));
    if (!b->of || continuation >= b->count) {
        wi_continued *more = realloc(b->of, (size_t)(continuation + 1) * sizeof *more);
        if (!more) return weft_fail(WEFT_NO_MEMORY, "no memory for %d continuations", continuation + 1);
        memset(more + b->count, 0, (size_t)(continuation + 1 - b->count) * sizeof *more);
        b->of = more;
        b->count = continuation + 1;
    }
    if (b->of[continuation].ended)
        return weft_fail(WEFT_FORMAT, "the journal goes on with request %lld behind its end; remove it to start anew",
                         (long long)request);
    *out = &b->of[continuation];
    return WEFT_OK;
}

// ---- records ----

typedef struct {
    wi_progress *of;
    const char *name, *header;
    int output;
} reading;

// Names the first line in which the headers differ.
static weft_status on_header(void *arg, const char *text, size_t bytes)
{
    const reading *r = arg;
    const char *mine = r->header;
    size_t at = 0;
    if (!mine || (strlen(mine) == bytes && memcmp(mine, text, bytes) == 0)) return WEFT_OK;
    while (at < bytes && mine[at] == text[at]) at++; // `mine` ends with NUL, which no header holds
    while (at > 0 && text[at - 1] != '\n') at--;
    const int theirs = at < bytes ? (int)strcspn(text + at, "\n") : 0;
    return weft_fail(WEFT_MISMATCH,
                     "%s: belongs to another run: '%.*s' there, '%.*s' here; repeat that run's settings, or remove the "
                     "journal to start anew",
                     r->name, theirs < 150 ? theirs : 150, text + at, (int)strcspn(mine + at, "\n"), mine + at);
}

static weft_status on_input(void *arg, const wi_lines_place *place, int64_t requests)
{
    wi_progress *p = ((reading *)arg)->of;
    if (place->bytes < p->input.bytes || place->lines < p->input.lines || requests < p->requests)
        return weft_fail(WEFT_FORMAT, "the journal reads its input backwards; remove it to start anew");
    p->input = *place;
    p->requests = requests;
    return WEFT_OK;
}

static weft_status on_token(void *arg, int64_t request, int continuation, const wi_drawn *drawn)
{
    wi_progress *p = ((reading *)arg)->of;
    wi_continued *c = NULL;
    const weft_status status = continued(p, request, continuation, &c);
    if (!c) return status;
    p->tokens++;
    return wi_draws_add(&c->draws, drawn);
}

static weft_status on_end(void *arg, int64_t request, int continuation, int finish)
{
    wi_progress *p = ((reading *)arg)->of;
    wi_continued *c = NULL;
    const weft_status status = continued(p, request, continuation, &c);
    if (!c) return status;
    c->ended = true;
    c->finish = finish;
    return WEFT_OK;
}

// The sum of the output's bytes from `at` to `end`; *whole is false where it ends before.
static weft_status sum_output(int output, uint64_t at, uint64_t end, uint32_t *crc, bool *whole)
{
    unsigned char piece[1 << 14];
    *crc = 0;
    *whole = true;
    while (at < end) {
        const size_t wanted = end - at < sizeof piece ? (size_t)(end - at) : sizeof piece;
        const ssize_t got = output < 0 ? 0 : pread(output, piece, wanted, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return weft_fail(WEFT_IO, "the output cannot be read again: %s", strerror(errno));
        if (got == 0) {
            *whole = false;
            return WEFT_OK;
        }
        *crc = weft_crc32c(*crc, piece, (size_t)got);
        at += (uint64_t)got;
    }
    return WEFT_OK;
}

static weft_status on_line(void *arg, const wi_written *w)
{
    const reading *r = arg;
    wi_progress *p = r->of;
    uint32_t crc;
    bool whole;
    if (w->request >= p->requests || w->end <= p->output_bytes)
        return weft_fail(WEFT_FORMAT, "the journal's line of request %lld makes no sense; remove it to start anew",
                         (long long)w->request);
    WEFT_TRY(sum_output(r->output, p->output_bytes, w->end, &crc, &whole));
    // A line that did not reach the disk is made again, from here on.
    if (!whole) return WEFT_DRAINED;
    if (crc != w->crc)
        return weft_fail(WEFT_MISMATCH,
                         "%s: the output's bytes %llu to %llu are not what was written; remove journal and output to "
                         "start anew",
                         r->name, (unsigned long long)p->output_bytes, (unsigned long long)w->end);
    WEFT_TRY(mark_written(p, w->request));
    WEFT_TRY(wi_order_add(&p->order, w->request, w->hash));
    wi_begun *b = wi_progress_begun(p, w->request);
    if (b) {
        free_begun(b);
        memmove(b, b + 1, (size_t)(p->begun + p->begun_count - (b + 1)) * sizeof *b);
        p->begun_count--;
    }
    p->lines++;
    p->failed += w->failed;
    p->output_bytes = w->end;
    return WEFT_OK;
}

static weft_status on_done(void *arg, uint64_t output_bytes)
{
    wi_progress *p = ((reading *)arg)->of;
    if (output_bytes != p->output_bytes)
        return weft_fail(WEFT_FORMAT, "the journal's end does not fit its lines; remove it to start anew");
    p->done = true;
    return WEFT_OK;
}

weft_status wi_progress_scan(const unsigned char *data, size_t bytes, const char *name, const char *header, int output,
                             wi_progress *out)
{
    static const wi_journal_calls calls = {
        .header = on_header, .input = on_input, .token = on_token, .end = on_end, .line = on_line, .done = on_done};
    reading r = {.of = out, .name = name, .header = header, .output = output};
    wi_progress_init(out);
    const weft_status status = wi_journal_scan(data, bytes, name, &calls, &r, &out->found);
    if (status < 0) wi_progress_free(out);
    return status;
}

void wi_progress_init(wi_progress *p)
{
    *p = (wi_progress){0};
    wi_order_init(&p->order);
}

weft_status wi_progress_read(const char *path, const char *header, int output, wi_progress *out)
{
    struct stat facts;
    *out = (wi_progress){0};
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &facts) != 0) {
        const int error = errno;
        if (file >= 0) close(file);
        return weft_fail(WEFT_IO, "%s: %s", path, strerror(error));
    }
    const size_t bytes = (size_t)facts.st_size;
    void *data = bytes > 0 ? mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, file, 0) : NULL;
    weft_status status = WEFT_OK;
    if (data == MAP_FAILED) status = weft_fail(WEFT_IO, "%s: %s", path, strerror(errno));
    if (status == WEFT_OK) status = wi_progress_scan(data, bytes, path, header, output, out);
    if (data && data != MAP_FAILED) munmap(data, bytes);
    close(file);
    return status;
}

void wi_progress_free(wi_progress *p)
{
    for (int i = 0; i < p->begun_count; i++) free_begun(&p->begun[i]);
    free(p->begun);
    free(p->written);
    wi_order_free(&p->order);
    *p = (wi_progress){0};
}
