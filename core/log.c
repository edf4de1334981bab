// Log lines: made on the stack, written with one write(2).
#include "core/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log_line.h"
#include "core/text.h"

enum {
    TEXT_MAX = 2048,
    LINE_MAX_BYTES = 4096, // a pipe takes this much in one piece, so lines of several ranks never mix
    RANK_UNSET = -2
};

static weft_log_options log_options = {.level = WEFT_LOG_INFO, .fd = 2};
static _Atomic int64_t start_ns; // 0 until setup or the first line
static atomic_int process_rank = -1;
static _Thread_local int thread_rank = RANK_UNSET;

typedef struct {
    char bytes[LINE_MAX_BYTES];
    size_t used;
} log_line;

static int64_t since_start_ns(void)
{
    int64_t now = weft_clock_ns(), start = 0;
    if (atomic_compare_exchange_strong(&start_ns, &start, now)) return 0;
    return now - start;
}

void weft_log_setup(const weft_log_options *options)
{
    log_options = *options;
    since_start_ns();
}

weft_log_level weft_log_level_now(void) { return log_options.level; }

int wi_log_fd(void) { return log_options.fd; }

void weft_log_set_rank(int rank)
{
    int none = -1;
    atomic_compare_exchange_strong(&process_rank, &none, rank);
    thread_rank = rank;
}

// Every put leaves room for what ends the line.
enum { LINE_END_ROOM = 8 };

static bool has_room(const log_line *line, size_t bytes)
{
    return line->used + bytes + LINE_END_ROOM <= LINE_MAX_BYTES;
}

static void put(log_line *line, const char *text)
{
    size_t bytes = strlen(text);
    if (!has_room(line, bytes)) return;
    memcpy(line->bytes + line->used, text, bytes);
    line->used += bytes;
}

static void put_number(log_line *line, int64_t value, int digits_min)
{
    char text[24], *at = text + sizeof text - 1;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    *at = 0;
    do *--at = (char)('0' + left % 10), digits_min--, left /= 10;
    while (left || digits_min > 0);
    if (value < 0) *--at = '-';
    put(line, at);
}

static void put_seconds(log_line *line, int64_t ns, int decimals)
{
    int64_t scale = 1;
    for (int i = decimals; i < 9; i++) scale *= 10;
    put_number(line, ns / 1000000000, 1);
    put(line, ".");
    put_number(line, ns % 1000000000 / scale, decimals);
}

// One character of the text as the form wants it; returns how many bytes of the text it took.
static size_t make_character(const char *text, bool json, char piece[8])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char c = (unsigned char)text[0];
    size_t length = wi_utf8_length(text);
    if (!json) {
        // A terminal must not be steered by what a log line quotes.
        piece[0] = c < 0x20 || c == 0x7F ? ' ' : (char)c, piece[1] = 0;
        return 1;
    }
    if (length == 0) return memcpy(piece, "\\ufffd", 7), 1;
    if (c == '"' || c == '\\') {
        piece[0] = '\\', piece[1] = (char)c, piece[2] = 0;
    } else if (c == '\n' || c == '\r' || c == '\t') {
        piece[0] = ' ', piece[1] = 0;
    } else if (c < 0x20 || c == 0x7F) {
        memcpy(piece, "\\u00", 4);
        piece[4] = hex[c >> 4], piece[5] = hex[c & 15], piece[6] = 0;
    } else {
        memcpy(piece, text, length);
        piece[length] = 0;
    }
    return length;
}

static void put_text(log_line *line, const char *text, bool json)
{
    while (*text) {
        char piece[8];
        size_t taken = make_character(text, json, piece);
        if (!has_room(line, strlen(piece) + 3)) {
            put(line, "...");
            return;
        }
        put(line, piece);
        text += taken;
    }
}

static void make_text(log_line *line, weft_log_level level, int rank, const char *text)
{
    static const char *const words[] = {"error: ", "warning: ", "", "debug: "};
    if (rank < 0) {
        put(line, "weft: ");
    } else {
        put(line, "weft[");
        put_number(line, rank, 1);
        put(line, "] ");
        put_seconds(line, since_start_ns(), 3);
        put(line, " ");
    }
    put(line, words[level]);
    put_text(line, text, false);
    memcpy(line->bytes + line->used, "\n", 1);
    line->used += 1;
}

static void make_json(log_line *line, weft_log_level level, int rank, const char *file, int number, const char *text)
{
    static const char *const words[] = {"error", "warn", "info", "debug"};
    char wall[25];
    weft_clock_wall(wall, sizeof wall);
    put(line, "{\"wall\":\"");
    put(line, wall);
    put(line, "\",\"mono\":");
    put_seconds(line, since_start_ns(), 6);
    put(line, ",\"rank\":");
    put_number(line, rank, 1);
    put(line, ",\"level\":\"");
    put(line, words[level]);
    put(line, "\",\"at\":\"");
    put_text(line, wi_source_name(file), true);
    put(line, ":");
    put_number(line, number, 1);
    put(line, "\",\"text\":\"");
    put_text(line, text, true);
    memcpy(line->bytes + line->used, "\"}\n", 3);
    line->used += 3;
}

// A reader that went away must not end the job by SIGPIPE: the signal is held back around the write and taken off the
// queue if this write raised it.
static void write_all(int fd, const char *bytes, size_t count)
{
    sigset_t pipe_only, pending, before;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    sigpending(&pending);
    bool was_pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    for (int waits = 0; count > 0;) {
        ssize_t written = write(fd, bytes, count);
        if (written >= 0) {
            bytes += written, count -= (size_t)written;
        } else if (errno == EAGAIN && waits++ < 10) {
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 100); // a terminal that another program made so
        } else if (errno == EPIPE) {
            if (!was_pending) sigtimedwait(&pipe_only, NULL, &(struct timespec){0});
            break;
        } else if (errno != EINTR) {
            break;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void wi_log_write(weft_log_level level, const char *file, int line, const char *text)
{
    int rank = thread_rank == RANK_UNSET ? atomic_load(&process_rank) : thread_rank;
    log_line made;
    made.used = 0;
    if (log_options.json)
        make_json(&made, level, rank, file, line, text);
    else
        make_text(&made, level, rank, text);
    write_all(log_options.fd, made.bytes, made.used);
}

void weft_log_at(weft_log_level level, const char *file, int line, const char *format, ...)
{
    if (level > log_options.level) return;
    int saved_errno = errno;
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (wanted >= 0) {
        wi_text_mark_cut(text, sizeof text, wanted);
        wi_log_write(level, file, line, text);
    }
    errno = saved_errno;
}
