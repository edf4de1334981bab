// The journal of a scaling experiment: a first line that says what it belongs to, then a line a sample. A line that was
// not written whole, by a kill, counts as not written and is cut off.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/scale.h"
#include "core/plugin.h"
#include "kernels/kernels.h"

enum { JOURNAL_MAX = 1 << 30 };

struct weft_scale_journal {
    int fd;
    char *path;
    const weft_scale_spec *spec;
    weft_scale_sample *samples;
    int count, room;
};

static weft_status io(const weft_scale_journal *j, const char *doing)
{
    return weft_fail(WEFT_IO, "%s: cannot %s: %s", j->path, doing, strerror(errno));
}

static weft_status write_all(weft_scale_journal *j, const char *text, size_t bytes)
{
    while (bytes > 0) {
        const ssize_t wrote = write(j->fd, text, bytes);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) return io(j, "write");
        text += wrote;
        bytes -= (size_t)wrote;
    }
    return fsync(j->fd) == 0 ? WEFT_OK : io(j, "write");
}

static weft_status write_header(weft_scale_journal *j)
{
    weft_json_writer w;
    const char *text;
    size_t bytes;
    weft_json_writer_init(&w, false);
    weft_json_write_object(&w, NULL);
    weft_json_write_string(&w, "schema", "weft.scale-journal/1");
    weft_json_write_string(&w, "spec", j->spec->hash);
    weft_json_write_string(&w, "build", weft_build_id());
    weft_json_write_int(&w, "contract", WEFT_CONTRACT_VERSION);
    weft_json_write_end(&w);
    weft_status status = weft_json_writer_finish(&w, &text, &bytes);
    if (status == WEFT_OK) status = write_all(j, text, bytes);
    if (status == WEFT_OK) status = write_all(j, "\n", 1);
    weft_json_writer_fini(&w);
    return status;
}

// ---- reading ----

static weft_status check_header(const weft_scale_journal *j, const weft_json *root)
{
    const char *spec = weft_json_string_value(weft_json_get(root, "spec"));
    const char *build = weft_json_string_value(weft_json_get(root, "build"));
    const char *other = NULL;
    if (!spec || strcmp(spec, j->spec->hash) != 0)
        other = "another spec";
    else if (weft_json_int_value(weft_json_get(root, "contract")) != WEFT_CONTRACT_VERSION)
        other = "another version of the canonical arithmetic";
    else if (!build || strcmp(build, weft_build_id()) != 0)
        other = "another build of weft";
    if (!other) return WEFT_OK;
    return weft_fail(WEFT_MISMATCH, "%s: its samples are of %s; nothing was touched: give another folder, or remove it",
                     j->path, other);
}

static int cell_named(const weft_scale_spec *spec, const char *key)
{
    for (int i = 0; key && i < spec->cells; i++)
        if (strcmp(spec->cell[i].key, key) == 0) return i;
    return -1;
}

static weft_status keep(weft_scale_journal *j, const weft_scale_sample *sample)
{
    if (j->count == j->room) {
        const int room = j->room ? 2 * j->room : 64;
        weft_scale_sample *more = realloc(j->samples, (size_t)room * sizeof *more);
        if (!more) return weft_fail(WEFT_NO_MEMORY, "no memory for %d samples", room);
        j->samples = more;
        j->room = room;
    }
    j->samples[j->count++] = *sample;
    return WEFT_OK;
}

// {"cell":KEY,"turn":N,"sample":{...}}; the sample is the rest of the line, but for the last brace.
static weft_status read_line(weft_scale_journal *j, const char *line, size_t bytes, int number)
{
    static const char mark[] = ",\"sample\":";
    char name[64];
    weft_json *root;
    weft_scale_sample sample;
    weft_status status = WEFT_OK;
    snprintf(name, sizeof name, "line %d of the journal", number);
    WEFT_TRY(weft_json_parse(line, bytes, name, NULL, &root));
    const int cell = cell_named(j->spec, weft_json_string_value(weft_json_get(root, "cell")));
    const int64_t turn = weft_json_int_value(weft_json_get(root, "turn"));
    const char *rest = memmem(line, bytes, mark, sizeof mark - 1);
    weft_json_free(root);
    if (cell < 0 || turn < 0 || turn >= j->spec->repeats || !rest)
        return weft_fail(WEFT_FORMAT, "%s: line %d is of no cell of the spec: give another folder", j->path, number);
    rest += sizeof mark - 1;
    status = weft_scale_sample_parse(rest, bytes - (size_t)(rest - line) - 1, &j->spec->cell[cell], &sample);
    if (status < 0) return status;
    sample.cell = cell;
    sample.turn = (int)turn;
    if (weft_scale_journal_has(j, cell, (int)turn))
        weft_scale_sample_free(&sample);
    else if ((status = keep(j, &sample)) < 0)
        weft_scale_sample_free(&sample);
    return status;
}

static weft_status read_text(weft_scale_journal *j, const char *text, size_t bytes, size_t *whole)
{
    int number = 0;
    for (size_t at = 0; at < bytes;) {
        const char *end = memchr(text + at, '\n', bytes - at);
        if (!end) break;
        const size_t length = (size_t)(end - text) - at;
        if (number++ == 0) {
            weft_json *root;
            WEFT_TRY(weft_json_parse(text + at, length, j->path, NULL, &root));
            const weft_status status = check_header(j, root);
            weft_json_free(root);
            WEFT_TRY(status);
        } else {
            WEFT_TRY(read_line(j, text + at, length, number));
        }
        at += length + 1;
        *whole = at;
    }
    return WEFT_OK;
}

static weft_status read_journal(weft_scale_journal *j)
{
    struct stat facts;
    size_t whole = 0, had = 0;
    if (fstat(j->fd, &facts) != 0) return io(j, "read");
    if (facts.st_size > JOURNAL_MAX) return weft_fail(WEFT_LIMIT, "%s: is larger than 1 GiB", j->path);
    const size_t bytes = (size_t)facts.st_size;
    char *text = malloc(bytes + 1);
    if (!text) return weft_fail(WEFT_NO_MEMORY, "no memory for %zu bytes of %s", bytes, j->path);
    while (had < bytes) {
        const ssize_t got = pread(j->fd, text + had, bytes - had, (off_t)had);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        had += (size_t)got;
    }
    // A first line that is not whole may be ours, torn, and may be a file of somebody else's.
    static const char begins[] = "{\"schema\":\"weft.scale-journal/1\"";
    const size_t least = had < sizeof begins - 1 ? had : sizeof begins - 1;
    weft_status status = WEFT_OK;
    if (memcmp(text, begins, least) != 0)
        status = weft_fail(WEFT_FORMAT, "%s: is no journal of weft bench scale: give another folder", j->path);
    if (status == WEFT_OK) status = read_text(j, text, had, &whole);
    free(text);
    WEFT_TRY(status);
    if (whole < bytes && ftruncate(j->fd, (off_t)whole) != 0) return io(j, "cut off a torn line");
    if (lseek(j->fd, 0, SEEK_END) < 0) return io(j, "read");
    return whole == 0 ? write_header(j) : WEFT_OK;
}

weft_status weft_scale_journal_open(const char *path, const weft_scale_spec *spec, weft_scale_journal **out)
{
    weft_scale_journal *j = calloc(1, sizeof *j);
    weft_status status;
    if (!j) return weft_fail(WEFT_NO_MEMORY, "no memory for the journal");
    j->fd = -1;
    j->spec = spec;
    j->path = strdup(path);
    WEFT_TRY_GOTO(j->path ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for the journal"));
    j->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (j->fd < 0) WEFT_TRY_GOTO(io(j, "open"));
    if (flock(j->fd, LOCK_EX | LOCK_NB) != 0)
        WEFT_TRY_GOTO(weft_fail(WEFT_USAGE, "%s: another weft bench scale is writing to it", path));
    WEFT_TRY_GOTO(read_journal(j));
    *out = j;
    return WEFT_OK;
fail:
    weft_scale_journal_close(j);
    return status;
}

void weft_scale_journal_close(weft_scale_journal *j)
{
    if (!j) return;
    for (int i = 0; i < j->count; i++) weft_scale_sample_free(&j->samples[i]);
    if (j->fd >= 0) close(j->fd);
    free(j->samples);
    free(j->path);
    free(j);
}

weft_status weft_scale_journal_add(weft_scale_journal *j, int cell, int turn, const char *line, size_t bytes)
{
    weft_scale_sample sample = {0};
    weft_json_writer w;
    const char *text;
    size_t used;
    WEFT_TRY(weft_scale_sample_parse(line, bytes, &j->spec->cell[cell], &sample));
    sample.cell = cell;
    sample.turn = turn;
    weft_status status = keep(j, &sample);
    if (status < 0) {
        weft_scale_sample_free(&sample);
        return status;
    }
    weft_json_writer_init(&w, false);
    weft_json_write_object(&w, NULL);
    weft_json_write_string(&w, "cell", j->spec->cell[cell].key);
    weft_json_write_int(&w, "turn", turn);
    weft_json_write_end(&w);
    status = weft_json_writer_finish(&w, &text, &used);
    // One write, so that a kill leaves a whole line or a torn one at the end.
    char *all = status == WEFT_OK ? malloc(used + bytes + 32) : NULL;
    if (status == WEFT_OK && !all) status = weft_fail(WEFT_NO_MEMORY, "no memory for a sample");
    if (all) {
        const int length =
            snprintf(all, used + bytes + 32, "%.*s,\"sample\":%.*s}\n", (int)used - 1, text, (int)bytes, line);
        status = write_all(j, all, (size_t)length);
    }
    free(all);
    weft_json_writer_fini(&w);
    return status;
}

const weft_scale_sample *weft_scale_journal_samples(const weft_scale_journal *j, int *count)
{
    *count = j->count;
    return j->samples;
}

bool weft_scale_journal_has(const weft_scale_journal *j, int cell, int turn)
{
    for (int i = 0; i < j->count; i++)
        if (j->samples[i].cell == cell && j->samples[i].turn == turn) return true;
    return false;
}
