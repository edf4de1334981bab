#include "launch/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"

extern char **environ;

enum { LINE_MAX_BYTES = WEFT_ERROR_TEXT_MAX + 64, LIMIT_SECONDS = 10 };

int wi_probe_main(const char *library)
{
    char text[WI_LIBRARY_TEXT] = "", line[LINE_MAX_BYTES];
    int devices = 0;
    weft_status status = wi_library_look(library, text, &devices);
    int length = snprintf(line, sizeof line, "%d %d %s\n", (int)status, devices, status < 0 ? weft_error_text() : text);
    // No ordinary end: what a library does on the way out is its own affair.
    _exit(write(1, line, (size_t)length) == length ? 0 : 1);
}

static weft_status start(const char *library, pid_t *pid, int *from)
{
    int ends[2];
    char word[] = WI_PROBE_WORD, program[] = "weft", name[16];
    char *argv[] = {program, word, name, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    snprintf(name, sizeof name, "%s", library);
    if (pipe2(ends, O_CLOEXEC) != 0) return weft_fail(WEFT_FAILED, "cannot look at it: %s", strerror(errno));
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int failed = posix_spawn(pid, "/proc/self/exe", &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (failed) {
        close(ends[0]);
        return weft_fail(WEFT_FAILED, "cannot look at it: %s", strerror(failed));
    }
    *from = ends[0];
    return WEFT_OK;
}

// Reads to the end of the line; false when the time is over before.
static bool read_answer(int from, char line[LINE_MAX_BYTES])
{
    int64_t until = weft_clock_ns() + LIMIT_SECONDS * INT64_C(1000000000);
    size_t used = 0;
    line[0] = 0;
    while (used + 1 < LINE_MAX_BYTES) {
        int64_t left = until - weft_clock_ns();
        struct pollfd wait = {.fd = from, .events = POLLIN};
        if (left <= 0 || (poll(&wait, 1, (int)(left / 1000000) + 1) < 0 && errno != EINTR)) return false;
        if (!wait.revents) continue;
        ssize_t got = read(from, line + used, LINE_MAX_BYTES - 1 - used);
        if (got <= 0) break;
        used += (size_t)got;
        line[used] = 0;
        if (line[used - 1] == '\n') break;
    }
    return true;
}

weft_status wi_probe(const char *library, char text[WI_LIBRARY_TEXT], int *devices)
{
    char line[LINE_MAX_BYTES];
    int from = -1, ended = 0, status = 0, count = 0, begin = 0;
    pid_t pid;
    WEFT_TRY(start(library, &pid, &from));
    bool in_time = read_answer(from, line);
    close(from);
    if (!in_time) kill(pid, SIGKILL);
    while (waitpid(pid, &ended, 0) < 0 && errno == EINTR) {
    }
    if (devices) *devices = 0;
    if (!in_time) return weft_fail(WEFT_FAILED, "loading it takes more than %d seconds", LIMIT_SECONDS);
    if (!line[0] && WIFSIGNALED(ended))
        return weft_fail(WEFT_FAILED, "loading it ends by signal %d (%s)", WTERMSIG(ended), strsignal(WTERMSIG(ended)));
    if (!line[0]) return weft_fail(WEFT_FAILED, "loading it ends the process with code %d", WEXITSTATUS(ended));
    line[strcspn(line, "\n")] = 0;
    if (sscanf(line, "%d %d %n", &status, &count, &begin) != 2)
        return weft_fail(WEFT_FAILED, "it prints what is no version: %.80s", line);
    if (status < 0) return weft_fail((weft_status)status, "%s", line + begin);
    snprintf(text, WI_LIBRARY_TEXT, "%s", line + begin);
    if (devices) *devices = count;
    return WEFT_OK;
}
