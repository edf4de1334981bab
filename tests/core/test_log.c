// Log lines in both forms, and what a crash leaves behind.
#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/status.h"
#include "tests/check.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static char got[1 << 20];

static void setup(weft_log_level level, bool json, int fd)
{
    weft_log_setup(&(weft_log_options){.level = level, .json = json, .fd = fd});
}

// What lies in the pipe, as text.
static const char *drain(int fd)
{
    size_t used = 0;
    ssize_t n;
    while ((n = read(fd, got + used, sizeof got - 1 - used)) > 0) used += (size_t)n;
    got[used] = 0;
    return got;
}

static void make_pipe(int ends[2])
{
    CHECK_INT(pipe(ends), 0);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
}

static void test_text(int out, int in)
{
    setup(WEFT_LOG_INFO, false, in);
    errno = ENOENT;
    weft_log_warn("seven is %d", 7);
    CHECK_INT(errno, ENOENT);
    CHECK_TEXT(drain(out), "weft: warning: seven is 7\n");
    weft_log_debug("dropped");
    CHECK_TEXT(drain(out), "");
    weft_log_info("two\nlines\x1b[31m");
    CHECK_TEXT(drain(out), "weft: two lines [31m\n");
    char longer[5000];
    memset(longer, 'a', sizeof longer);
    longer[sizeof longer - 1] = 0;
    weft_log_error("%s", longer);
    CHECK_HAS(drain(out), "aaa...\n");
    CHECK(strlen(got) > 2000 && strlen(got) < 2100);
    weft_log_set_rank(2);
    weft_log_error("on a rank");
    int seconds, milliseconds, end = 0;
    CHECK_INT(sscanf(drain(out), "weft[2] %d.%3d error: on a rank\n%n", &seconds, &milliseconds, &end), 2);
    CHECK_INT(end, strlen(got));
}

static json_t *parse_line(const char *text)
{
    CHECK_INT(text[strlen(text) - 1], '\n');
    CHECK(strchr(text, '\n') == text + strlen(text) - 1);
    json_error_t error;
    json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!line) CHECK_FAIL("%s: %s", error.text, text);
    return line;
}

static void test_json(int out, int in)
{
    setup(WEFT_LOG_DEBUG, true, in);
    weft_log_warn("quote \" back \\ bell \a newline \n e-acute \xC3\xA9 broken \xC3( \xED\xA0\x80 end");
    json_t *line = parse_line(drain(out));
    CHECK_TEXT(json_string_value(json_object_get(line, "text")),
               "quote \" back \\ bell \a newline   e-acute \xC3\xA9 broken \xEF\xBF\xBD( "
               "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD end");
    CHECK_TEXT(json_string_value(json_object_get(line, "level")), "warn");
    CHECK_INT(json_integer_value(json_object_get(line, "rank")), 2);
    CHECK(json_is_real(json_object_get(line, "mono")));
    CHECK_HAS(json_string_value(json_object_get(line, "at")), "core/test_log.c:");
    CHECK_INT(strlen(json_string_value(json_object_get(line, "wall"))), 24);
    json_decref(line);
    // The worst case of escapes still gives one whole line that a pipe takes in one piece.
    char bells[3000];
    memset(bells, '\a', sizeof bells);
    bells[sizeof bells - 1] = 0;
    weft_log_debug("%s", bells);
    line = parse_line(drain(out));
    CHECK(strlen(got) <= 4096 && strlen(got) > 4000);
    CHECK_HAS(json_string_value(json_object_get(line, "text")), "\a...");
    json_decref(line);
}

static void *other_thread(void *arg)
{
    weft_log_warn("shared rank");
    weft_log_set_rank(5);
    weft_log_warn("own rank");
    return arg;
}

static void test_threads(int out, int in)
{
    setup(WEFT_LOG_INFO, false, in);
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, other_thread, NULL), 0);
    pthread_join(thread, NULL);
    weft_log_warn("here");
    drain(out);
    char *second = strchr(got, '\n') + 1, *third = strchr(second, '\n') + 1;
    CHECK_INT(strncmp(got, "weft[2] ", 8), 0);
    CHECK_INT(strncmp(second, "weft[5] ", 8), 0);
    CHECK_INT(strncmp(third, "weft[2] ", 8), 0);
}

static void test_lost_reader(void)
{
    int ends[2];
    make_pipe(ends);
    close(ends[0]);
    signal(SIGPIPE, SIG_DFL);
    setup(WEFT_LOG_INFO, false, ends[1]);
    weft_log_error("to nobody");
    close(ends[1]);
    weft_log_error("to a closed descriptor");
    int full = open("/dev/full", O_WRONLY);
    if (full >= 0) {
        setup(WEFT_LOG_INFO, false, full);
        weft_log_error("to a full disk");
        close(full);
    }
    setup(WEFT_LOG_INFO, false, 2);
}

static const char *where(void) { return "allgather of step 12"; }

static volatile int recursion_depth;
static int overflow_stack(const volatile char *from)
{
    volatile char frame[4096];
    frame[0] = from[0];
    recursion_depth = recursion_depth + 1;
    if (recursion_depth > 1 << 20) return 0; // 4 GiB
    return overflow_stack(frame) + frame[0];
}

typedef void crash_fn(void);
static void crash_raise(void) { raise(SIGSEGV); }
static void crash_abort(void) { abort(); }
static void crash_read(void)
{
    volatile char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    page[8] = 1;
}
static void crash_stack(void)
{
    char first = 0;
    overflow_stack(&first);
}

static int crash_in_child(crash_fn *crash, bool json)
{
    int ends[2];
    CHECK_INT(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(ends[0]);
        dup2(ends[1], 2);
        setup(WEFT_LOG_INFO, json, 2);
        weft_log_set_rank(3);
        weft_log_catch_crashes(where);
        weft_log_catch_crashes(where); // twice is once
        crash();
        _exit(0);
    }
    close(ends[1]);
    drain(ends[0]);
    close(ends[0]);
    int state = 0;
    CHECK_INT(waitpid(child, &state, 0), child);
    return state;
}

static void test_crash(void)
{
    int state = crash_in_child(crash_abort, false);
    CHECK_HAS(got, "weft[3]");
    CHECK_HAS(got, "error: crashed by SIGABRT (abort) in allgather of step 12\n");
    CHECK(strstr(got, "libweft_core") || strstr(got, "test_log")); // the backtrace
    CHECK(WIFSIGNALED(state) && WTERMSIG(state) == SIGABRT);

    crash_in_child(crash_abort, true);
    *(strchr(got, '\n') + 1) = 0;
    json_t *line = parse_line(got);
    CHECK_HAS(json_string_value(json_object_get(line, "text")), "SIGABRT");
    json_decref(line);

    crash_in_child(crash_raise, false);
    CHECK_HAS(got, "crashed by SIGSEGV");
    state = crash_in_child(crash_read, false);
    CHECK_HAS(got, "crashed by SIGSEGV (access to memory that is not there) at 0x");
    CHECK_HAS(got, "008 in allgather of step 12\n");
    CHECK(strstr(strstr(got, "crashed by") + 1, "crashed by") == NULL);
#if SANITIZED
    CHECK(!WIFEXITED(state) || WEXITSTATUS(state) != 0); // the sanitizer's own handler has the last word
#else
    CHECK(WIFSIGNALED(state) && WTERMSIG(state) == SIGSEGV);
    state = crash_in_child(crash_raise, false);
    CHECK(WIFSIGNALED(state) && WTERMSIG(state) == SIGSEGV);
    state = crash_in_child(crash_stack, false);
    CHECK_HAS(got, "crashed by SIGSEGV");
    CHECK(WIFSIGNALED(state) && WTERMSIG(state) == SIGSEGV);
#endif
    (void)crash_stack;
}

int main(void)
{
    int ends[2];
    make_pipe(ends);
    test_text(ends[0], ends[1]);
    test_json(ends[0], ends[1]);
    test_threads(ends[0], ends[1]);
    test_lost_reader();
    test_crash();
    return 0;
}
