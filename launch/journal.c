// Writing. A record: its bytes (4), the sum (4) over the sum of the record before, those four bytes and the rest, its
// kind (1), and what the kind has. Numbers are little-endian, counts and ids in sevens with the high bit for more.
#include "launch/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/crc32c.h"
#include "launch/journal_bytes.h"

enum { LOCK_TRIES = 50, LOCK_AGAIN_MS = 100 };

struct wi_journal {
    int file;
    char *path;
    uint64_t written; // bytes of the file
    uint32_t crc;
    unsigned char *text; // (capacity): whole records that wait for a flush, then the one that is being made
    size_t used, capacity;
    size_t record; // where the step's record begins; SIZE_MAX: none is open
    bool failed;   // no memory
};

static void put(wi_journal *j, const void *data, size_t bytes)
{
    if (j->used + bytes > j->capacity) {
        const size_t capacity = 2 * (j->used + bytes) + 4096;
        unsigned char *more = realloc(j->text, capacity);
        if (!more) {
            j->failed = true;
            return;
        }
        j->text = more;
        j->capacity = capacity;
    }
    memcpy(j->text + j->used, data, bytes);
    j->used += bytes;
}

static void put_byte(wi_journal *j, int byte) { put(j, &(unsigned char){(unsigned char)byte}, 1); }

static void put_fixed(wi_journal *j, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) put_byte(j, (int)(value >> 8 * i & 0xFF));
}

static void put_count(wi_journal *j, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) put_byte(j, (int)(value & 0x7F) | 0x80);
    put_byte(j, (int)value);
}

static void put_real(wi_journal *j, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_fixed(j, bits, 4);
}

static size_t begin_record(wi_journal *j, char kind)
{
    const size_t at = j->used;
    put_fixed(j, 0, WI_RECORD_HEAD);
    put_byte(j, kind);
    return at;
}

static void end_record(wi_journal *j, size_t at)
{
    if (j->failed) return;
    const uint32_t bytes = (uint32_t)(j->used - at - WI_RECORD_HEAD);
    unsigned char *head = j->text + at;
    for (int i = 0; i < 4; i++) head[i] = (unsigned char)(bytes >> 8 * i);
    j->crc = wi_record_crc(j->crc, head, head + WI_RECORD_HEAD, bytes);
    for (int i = 0; i < 4; i++) head[4 + i] = (unsigned char)(j->crc >> 8 * i);
}

// What a step draws goes into one record.
static void open_step(wi_journal *j)
{
    if (j->record == SIZE_MAX) j->record = begin_record(j, WI_RECORD_STEP);
}

static void close_step(wi_journal *j)
{
    if (j->record != SIZE_MAX) end_record(j, j->record);
    j->record = SIZE_MAX;
}

void wi_journal_token(wi_journal *j, int64_t request, int continuation, const wi_drawn *drawn)
{
    open_step(j);
    put_count(j, (uint64_t)request);
    put_count(j, (uint64_t)continuation << 2 | (drawn->has_logprob ? WI_ENTRY_LOGPROB : WI_ENTRY_TOKEN));
    put_count(j, (uint64_t)drawn->token);
    if (drawn->has_logprob) {
        put_real(j, drawn->logprob);
        put_count(j, (uint64_t)drawn->others);
        for (int i = 0; i < drawn->others; i++) {
            put_count(j, (uint64_t)drawn->other[i].id + 1); // -1 is 0
            put_real(j, drawn->other[i].logprob);
        }
    }
    if (j->record != SIZE_MAX && j->used - j->record > WI_RECORD_FULL) close_step(j);
}

void wi_journal_end(wi_journal *j, int64_t request, int continuation, int finish)
{
    open_step(j);
    put_count(j, (uint64_t)request);
    put_count(j, (uint64_t)continuation << 2 | WI_ENTRY_END);
    put_count(j, (uint64_t)finish);
}

void wi_journal_input(wi_journal *j, const wi_lines_place *place, int64_t requests)
{
    close_step(j);
    const size_t at = begin_record(j, WI_RECORD_INPUT);
    put_fixed(j, place->bytes, 8);
    put_fixed(j, (uint64_t)place->lines, 8);
    put_fixed(j, (uint64_t)requests, 8);
    put(j, place->hash, WI_HASH_TEXT);
    end_record(j, at);
}

void wi_journal_line(wi_journal *j, const wi_written *written)
{
    close_step(j);
    const size_t at = begin_record(j, WI_RECORD_LINE);
    put_fixed(j, (uint64_t)written->request, 8);
    put_fixed(j, written->end, 8);
    put_fixed(j, written->crc, 4);
    put_byte(j, written->failed);
    put(j, written->hash, sizeof written->hash);
    end_record(j, at);
}

void wi_journal_done(wi_journal *j, uint64_t output_bytes)
{
    close_step(j);
    const size_t at = begin_record(j, WI_RECORD_DONE);
    put_fixed(j, output_bytes, 8);
    end_record(j, at);
}

// Writes all of it or, as far as the file system lets it, nothing.
weft_status wi_journal_flush(wi_journal *j)
{
    close_step(j);
    if (j->failed) return weft_fail(WEFT_NO_MEMORY, "no memory for the journal %s", j->path);
    for (size_t done = 0; done < j->used;) {
        const ssize_t wrote = pwrite(j->file, j->text + done, j->used - done, (off_t)(j->written + done));
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) {
            const int error = wrote < 0 ? errno : ENOSPC;
            if (ftruncate(j->file, (off_t)j->written) != 0) errno = error; // a torn end is cut when it is read
            return weft_fail(WEFT_IO, "%s: %s; make room and run the same command again: it goes on from there",
                             j->path, strerror(error));
        }
        done += (size_t)wrote;
    }
    j->written += j->used;
    j->used = 0;
    return WEFT_OK;
}

weft_status wi_journal_sync(wi_journal *j)
{
    WEFT_TRY(wi_journal_flush(j));
    if (fdatasync(j->file) == 0 || errno == EINVAL) return WEFT_OK;
    return weft_fail(WEFT_IO, "%s: cannot be brought to the disk: %s", j->path, strerror(errno));
}

void wi_journal_close(wi_journal *j)
{
    if (!j) return;
    if (j->file >= 0) close(j->file);
    free(j->path);
    free(j->text);
    free(j);
}

static weft_status make(const char *path, wi_journal **out)
{
    wi_journal *j = calloc(1, sizeof *j);
    if (!j || !(j->path = strdup(path))) {
        free(j);
        return weft_fail(WEFT_NO_MEMORY, "no memory for the journal %s", path);
    }
    j->file = -1;
    j->record = SIZE_MAX;
    *out = j;
    return WEFT_OK;
}

// One job at a time. One that was killed just now may hold its lock for a moment yet.
static weft_status lock(wi_journal *j)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(j->file, LOCK_EX | LOCK_NB) == 0) return WEFT_OK;
        if (errno != EWOULDBLOCK) return WEFT_OK; // a file system without locks
        weft_clock_sleep_ns((int64_t)LOCK_AGAIN_MS * 1000000);
    }
    return weft_fail(WEFT_USAGE, "%s: another weft is writing this output; wait for it, or give another -o", j->path);
}

weft_status wi_sync_folder_of(const char *path)
{
    char *copy = strdup(path);
    if (!copy) return weft_fail(WEFT_NO_MEMORY, "no memory for a path");
    const int folder = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    if (folder < 0) return WEFT_OK; // one that may not be read: the rename itself told what went wrong
    fsync(folder);
    close(folder);
    return WEFT_OK;
}

weft_status wi_journal_create(const char *path, const char *header, wi_journal **out)
{
    wi_journal *j = NULL;
    char *fresh = NULL;
    weft_status status;
    WEFT_TRY(make(path, &j));
    // Under another name until the header is whole.
    WEFT_TRY_GOTO(asprintf(&fresh, "%s.new", path) > 0 ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for a path"));
    j->file = open(fresh, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (j->file < 0) {
        status = weft_fail(WEFT_IO, "%s: cannot be made: %s", fresh, strerror(errno));
        goto fail;
    }
    WEFT_TRY_GOTO(lock(j));
    put(j, WI_JOURNAL_MAGIC, WI_MAGIC_BYTES);
    const size_t at = begin_record(j, WI_RECORD_HEADER);
    put(j, header, strlen(header));
    end_record(j, at);
    if (ftruncate(j->file, 0) != 0) WEFT_TRY_GOTO(weft_fail(WEFT_IO, "%s: %s", fresh, strerror(errno)));
    WEFT_TRY_GOTO(wi_journal_sync(j));
    if (rename(fresh, path) != 0)
        WEFT_TRY_GOTO(weft_fail(WEFT_IO, "%s: cannot be renamed to %s: %s", fresh, path, strerror(errno)));
    WEFT_TRY_GOTO(wi_sync_folder_of(path));
    free(fresh);
    *out = j;
    return WEFT_OK;
fail:
    free(fresh);
    wi_journal_close(j);
    return status;
}

weft_status wi_journal_open(const char *path, wi_journal **out)
{
    wi_journal *j = NULL;
    struct stat facts;
    weft_status status;
    *out = NULL;
    WEFT_TRY(make(path, &j));
    j->file = open(path, O_RDWR | O_CLOEXEC);
    if (j->file < 0 && errno == ENOENT) {
        wi_journal_close(j);
        return WEFT_OK;
    }
    if (j->file < 0) {
        status = weft_fail(WEFT_IO, "%s: %s", path, strerror(errno));
        goto fail;
    }
    WEFT_TRY_GOTO(lock(j));
    if (fstat(j->file, &facts) == 0 && facts.st_nlink == 0) { // its job has ended while this one waited
        wi_journal_close(j);
        return WEFT_OK;
    }
    *out = j;
    return WEFT_OK;
fail:
    wi_journal_close(j);
    return status;
}

weft_status wi_journal_go_on(wi_journal *j, uint64_t whole, uint32_t crc)
{
    if (ftruncate(j->file, (off_t)whole) != 0) return weft_fail(WEFT_IO, "%s: %s", j->path, strerror(errno));
    j->written = whole;
    j->crc = crc;
    return WEFT_OK;
}
