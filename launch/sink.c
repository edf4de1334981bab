#include "launch/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/crc32c.h"
#include "core/log.h"
#include "launch/journal_bytes.h"

static const int64_t SYNC_NS = 2000000000;

static const char *name_of(const wi_sink *s) { return strcmp(s->path, "-") == 0 ? "standard output" : s->path; }

weft_status wi_sink_open(const char *path, wi_sink *out)
{
    struct stat facts;
    *out = (wi_sink){.path = path, .file = -1};
    if (strcmp(path, "-") == 0) {
        out->file = STDOUT_FILENO;
        return WEFT_OK;
    }
    if (!path[0]) return weft_fail(WEFT_USAGE, "-o: give a file to write to, or - for standard output");
    const bool there = stat(path, &facts) == 0;
    if (there && S_ISDIR(facts.st_mode)) return weft_fail(WEFT_USAGE, "-o %s: is a folder; name a file in it", path);
    if (there && !S_ISREG(facts.st_mode)) {
        out->file = open(path, O_WRONLY | O_CLOEXEC);
        return out->file >= 0 ? WEFT_OK : weft_fail(WEFT_IO, "-o %s: %s", path, strerror(errno));
    }
    out->journalled = true;
    if (asprintf(&out->part, "%s.part", path) < 0 || asprintf(&out->journal_path, "%s.journal", path) < 0)
        return weft_fail(WEFT_NO_MEMORY, "no memory for a path");
    return wi_journal_open(out->journal_path, &out->journal);
}

weft_status wi_sink_look(wi_sink *s, const char *header, wi_progress *out)
{
    wi_progress_init(out);
    if (!s->journal) return WEFT_OK;
    int file = open(s->part, O_RDONLY | O_CLOEXEC);
    if (file < 0 && errno == ENOENT) file = open(s->path, O_RDONLY | O_CLOEXEC); // killed behind the renaming
    const weft_status status = wi_progress_read(s->journal_path, header, file, out);
    if (file >= 0) close(file);
    return status;
}

weft_status wi_sink_begin(wi_sink *s, const char *header, wi_progress *p)
{
    s->order = p->order;
    p->order = (wi_order){0};
    s->bytes = p->output_bytes;
    s->written = p->lines;
    s->failed = p->failed;
    s->synced_ns = weft_clock_ns();
    if (!s->journalled || p->done) return WEFT_OK;
    s->file = open(s->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s->file < 0) return weft_fail(WEFT_IO, "-o %s: cannot be written: %s", s->part, strerror(errno));
    if (!s->journal)
        WEFT_TRY(wi_journal_create(s->journal_path, header, &s->journal));
    else
        WEFT_TRY(wi_journal_go_on(s->journal, p->found.whole, p->found.crc));
    if (ftruncate(s->file, (off_t)s->bytes) != 0) return weft_fail(WEFT_IO, "%s: %s", s->part, strerror(errno));
    return WEFT_OK;
}

static weft_status make_room(wi_sink *s, size_t bytes)
{
    if (s->used + bytes > s->capacity) {
        const size_t capacity = 2 * (s->used + bytes) + 4096;
        unsigned char *more = realloc(s->text, capacity);
        if (!more) return weft_fail(WEFT_NO_MEMORY, "no memory for %zu bytes of results", capacity);
        s->text = more;
        s->capacity = capacity;
    }
    if (s->line_count == s->line_room) {
        const int room = 2 * s->line_room + 16;
        wi_written *more = realloc(s->lines, (size_t)room * sizeof *more);
        if (!more) return weft_fail(WEFT_NO_MEMORY, "no memory for %d results", room);
        s->lines = more;
        s->line_room = room;
    }
    return WEFT_OK;
}

weft_status wi_sink_add(wi_sink *s, const wi_item *item, const wi_result_style *style)
{
    wi_written w = {.request = item->number, .failed = item->request.error != NULL};
    weft_json_writer json;
    weft_status status;
    weft_json_writer_init(&json, false);
    WEFT_TRY_GOTO(wi_result_make(item, style, &json, w.hash));
    WEFT_TRY_GOTO(make_room(s, json.used + 1));
    memcpy(s->text + s->used, json.text, json.used);
    s->text[s->used + json.used] = '\n';
    w.crc = weft_crc32c(0, s->text + s->used, json.used + 1);
    s->used += json.used + 1;
    w.end = s->bytes + s->used;
    WEFT_TRY_GOTO(wi_order_add(&s->order, w.request, w.hash));
    s->lines[s->line_count++] = w;
    s->written++;
    s->failed += w.failed;
fail:
    weft_json_writer_fini(&json);
    return status;
}

// Faults on demand, in builds with assertions: WEFT_FAULT=0:N:enospc leaves no space in the Nth flush that has lines.
static bool fault(wi_sink *s)
{
#ifndef NDEBUG
    const char *text = getenv("WEFT_FAULT");
    long long at;
    return text && sscanf(text, "0:%lld:enospc", &at) == 1 && strstr(text, "enospc") && ++s->flushes == at;
#else
    return false;
#endif
}

// Lines are whole in a file or, as far as its file system lets it, not there.
static weft_status write_lines(wi_sink *s)
{
    const bool full = fault(s);
    for (size_t done = 0; done < s->used;) {
        ssize_t wrote = s->journalled ? pwrite(s->file, s->text + done, s->used - done, (off_t)(s->bytes + done))
                                      : write(s->file, s->text + done, s->used - done);
        if (full) {
            errno = ENOSPC; // some of it is there, and the rest has no place
            wrote = -1;
        }
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) {
            const int error = wrote < 0 ? errno : ENOSPC;
            if (!s->journalled)
                return weft_fail(WEFT_IO,
                                 "%s: %s; %lld results are lost, and without a file there is no journal to go on from",
                                 name_of(s), strerror(error), (long long)s->line_count);
            if (ftruncate(s->file, (off_t)s->bytes) != 0) errno = error; // a torn end is cut when the job goes on
            return weft_fail(WEFT_IO, "%s: %s; make room and run the same command again: it goes on from there",
                             s->part, strerror(error));
        }
        done += (size_t)wrote;
    }
    return WEFT_OK;
}

weft_status wi_sink_flush(wi_sink *s, bool to_disk)
{
    if (s->file < 0) return WEFT_OK; // an earlier run wrote all of it: only the name is left
    const int64_t now = weft_clock_ns();
    const bool sync = s->journal && (to_disk || now - s->synced_ns > SYNC_NS);
    if (s->used > 0) WEFT_TRY(write_lines(s));
    s->bytes += s->used;
    s->used = 0;
    // The journal must not tell of lines that a loss of power could still take.
    if (sync && fdatasync(s->file) != 0 && errno != EINVAL)
        return weft_fail(WEFT_IO, "%s: cannot be brought to the disk: %s", s->part, strerror(errno));
    for (int i = 0; s->journal && i < s->line_count; i++) wi_journal_line(s->journal, &s->lines[i]);
    s->line_count = 0;
    if (sync) s->synced_ns = now;
    if (!s->journal) return WEFT_OK;
    return sync ? wi_journal_sync(s->journal) : wi_journal_flush(s->journal);
}

weft_status wi_sink_finish(wi_sink *s)
{
    if (!s->journal) return WEFT_OK;
    if (s->file >= 0) {
        WEFT_TRY(wi_sink_flush(s, true));
        wi_journal_done(s->journal, s->bytes);
        WEFT_TRY(wi_journal_sync(s->journal));
    }
    if (rename(s->part, s->path) != 0 && errno != ENOENT)
        return weft_fail(WEFT_IO, "%s: cannot be renamed to %s: %s", s->part, s->path, strerror(errno));
    WEFT_TRY(wi_sync_folder_of(s->path));
    if (unlink(s->journal_path) != 0 && errno != ENOENT)
        return weft_fail(WEFT_IO, "%s: cannot be removed: %s", s->journal_path, strerror(errno));
    return WEFT_OK;
}

void wi_sink_close(wi_sink *s)
{
    wi_journal_close(s->journal);
    if (s->file > STDERR_FILENO) close(s->file);
    free(s->part);
    free(s->journal_path);
    free(s->text);
    free(s->lines);
    wi_order_free(&s->order);
    *s = (wi_sink){.file = -1};
}
