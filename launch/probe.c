#include "launch/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "kernels/device.h"
#include "launch/nvml.h"

extern char **environ;

enum { LINE_MAX_BYTES = WEFT_ERROR_TEXT_MAX + 64, ALL_MAX_BYTES = 1 << 16, LIMIT_SECONDS = 10 };

// Where there is no NVML: names and memory, by opening each device.
static weft_status list_devices(wi_hardware *out)
{
    const weft_device_kind *kind;
    int count = 0;
    memset(out->far_gpu, WI_FAR_UNKNOWN, sizeof out->far_gpu);
    WEFT_TRY(weft_device_kind_open("cuda", &kind));
    WEFT_TRY(kind->count(&count));
    for (int i = 0; i < count && out->gpus < WI_GPUS_MAX; i++) {
        wi_gpu *gpu = &out->gpu[out->gpus];
        weft_device *device;
        weft_kernels table;
        void *stream;
        size_t free_bytes = 0, total = 0;
        *gpu = wi_gpu_unknown();
        if (kind->bus(i, gpu->bus) < 0 || !gpu->bus[0]) continue;
        WEFT_TRY(kind->open(i, &device, &table, &stream));
        snprintf(gpu->name, sizeof gpu->name, "%.*s", (int)strcspn(device->name, "("), device->name);
        if (device->ops->memory(device, &free_bytes, &total) == WEFT_OK) {
            gpu->state[WI_STATE_memory_free] = (int64_t)free_bytes;
            gpu->state[WI_STATE_memory_total] = (int64_t)total;
        }
        gpu->state[WI_STATE_capability] = table.capability;
        weft_device_destroy(device);
        out->gpus++;
    }
    return WEFT_OK;
}

// A line that says whether it went well, then the machine.
static int tell_gpus(weft_status (*read_machine)(wi_hardware *out))
{
    static wi_hardware told; // of this process, which does nothing else
    const weft_status status = read_machine(&told);
    FILE *out = fdopen(1, "w");
    if (!out) _exit(1);
    fprintf(out, "%d %d %s\n", (int)status, told.gpus, status < 0 ? weft_error_text() : "");
    if (status == WEFT_OK) wi_hardware_print(&told, out);
    _exit(fflush(out) == 0 ? 0 : 1);
}

int wi_probe_main(const char *library)
{
    char text[WI_LIBRARY_TEXT] = "", line[LINE_MAX_BYTES];
    if (strcmp(library, "gpus") == 0) return tell_gpus(wi_nvml_read);
    if (strcmp(library, "devices") == 0) return tell_gpus(list_devices);
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

// Reads to the end of the line, or of all; false when the time is over before.
static bool read_answer(int from, char *line, size_t capacity, bool all)
{
    int64_t until = weft_clock_ns() + LIMIT_SECONDS * INT64_C(1000000000);
    size_t used = 0;
    line[0] = 0;
    while (used + 1 < capacity) {
        int64_t left = until - weft_clock_ns();
        struct pollfd wait = {.fd = from, .events = POLLIN};
        if (left <= 0 || (poll(&wait, 1, (int)(left / 1000000) + 1) < 0 && errno != EINTR)) return false;
        if (!wait.revents) continue;
        ssize_t got = read(from, line + used, capacity - 1 - used);
        if (got <= 0) break;
        used += (size_t)got;
        line[used] = 0;
        if (!all && line[used - 1] == '\n') break;
    }
    return true;
}

// What the other process says, from its first line on; *rest is what follows that.
static weft_status run(const char *library, char *line, size_t capacity, bool all, int *devices, char **rest)
{
    int from = -1, ended = 0, status = 0, count = 0, begin = 0;
    pid_t pid;
    WEFT_TRY(start(library, &pid, &from));
    bool in_time = read_answer(from, line, capacity, all);
    close(from);
    if (!in_time) kill(pid, SIGKILL);
    while (waitpid(pid, &ended, 0) < 0 && errno == EINTR) {
    }
    if (!in_time) return weft_fail(WEFT_FAILED, "loading it takes more than %d seconds", LIMIT_SECONDS);
    if (!line[0] && WIFSIGNALED(ended))
        return weft_fail(WEFT_FAILED, "loading it ends by signal %d (%s)", WTERMSIG(ended), strsignal(WTERMSIG(ended)));
    if (!line[0]) return weft_fail(WEFT_FAILED, "loading it ends the process with code %d", WEXITSTATUS(ended));
    const size_t length = strcspn(line, "\n");
    *rest = line + length + (line[length] == '\n');
    line[length] = 0;
    if (sscanf(line, "%d %d %n", &status, &count, &begin) != 2)
        return weft_fail(WEFT_FAILED, "it prints what is no version: %.80s", line);
    if (status < 0) return weft_fail((weft_status)status, "%s", line + begin);
    memmove(line, line + begin, strlen(line + begin) + 1);
    *devices = count;
    return WEFT_OK;
}

weft_status wi_probe(const char *library, char text[WI_LIBRARY_TEXT], int *number)
{
    char line[LINE_MAX_BYTES], *rest;
    int count = 0;
    const weft_status status = run(library, line, sizeof line, false, &count, &rest);
    if (number) *number = count;
    if (status == WEFT_OK) snprintf(text, WI_LIBRARY_TEXT, "%s", line);
    return status;
}

static weft_status probe_machine(const char *way, const char *called, wi_hardware *out)
{
    int count = 0;
    char *line = malloc(ALL_MAX_BYTES), *rest;
    if (!line) return weft_fail(WEFT_NO_MEMORY, "no memory to look at GPUs");
    weft_status status = run(way, line, ALL_MAX_BYTES, true, &count, &rest);
    if (status == WEFT_OK) status = wi_hardware_parse(called, rest, out);
    free(line);
    return status;
}

weft_status wi_probe_gpus(wi_hardware *out) { return probe_machine("gpus", "NVML", out); }
weft_status wi_probe_devices(wi_hardware *out) { return probe_machine("devices", "CUDA", out); }
