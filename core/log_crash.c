// The last line of a rank that crashes.
#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/log.h"
#include "core/log_line.h"

typedef struct {
    int number;
    const char *text;
} crash_signal;

static const crash_signal crash_signals[] = {{SIGSEGV, "SIGSEGV (access to memory that is not there)"},
                                             {SIGBUS, "SIGBUS (a mapped page has nothing behind it)"},
                                             {SIGILL, "SIGILL (an instruction this processor lacks)"},
                                             {SIGFPE, "SIGFPE (integer division)"},
                                             {SIGABRT, "SIGABRT (abort)"}};
enum { CRASH_SIGNAL_COUNT = sizeof crash_signals / sizeof crash_signals[0] };

static const char *(*crash_where)(void);
static struct sigaction crash_before[CRASH_SIGNAL_COUNT]; // what was installed before: a sanitizer's handler, say
static unsigned char crash_stack[64 << 10];               // a stack overflow leaves no room on the stack

static void append(char *text, size_t capacity, const char *part)
{
    size_t used = strlen(text), bytes = strlen(part);
    if (bytes > capacity - used - 1) bytes = capacity - used - 1;
    memcpy(text + used, part, bytes);
    text[used + bytes] = 0;
}

static void append_address(char *text, size_t capacity, uintptr_t address)
{
    char hex[2 * sizeof address + 1], *at = hex + sizeof hex - 1;
    *at = 0;
    do *--at = "0123456789abcdef"[address & 15];
    while (address >>= 4);
    append(text, capacity, " at 0x");
    append(text, capacity, at);
}

// Gives the signal back to whoever had it and lets it come again. A fault comes again by itself when the handler
// returns, with its true address; without an earlier handler, and for a signal that was sent, it is raised.
static void let_it_end(int index, const siginfo_t *info)
{
    int number = crash_signals[index].number;
    struct sigaction *before = &crash_before[index];
    bool handled = (before->sa_flags & SA_SIGINFO) || (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN);
    if (!handled) before->sa_handler = SIG_DFL;
    sigaction(number, before, NULL);
    if (!handled || info->si_code <= 0) raise(number);
}

static void on_crash(int number, siginfo_t *info, void *context)
{
    (void)context;
    int saved_errno = errno, index = 0;
    while (index < CRASH_SIGNAL_COUNT - 1 && crash_signals[index].number != number) index++;
    char text[1024] = "crashed by ";
    append(text, sizeof text, crash_signals[index].text);
    if (info->si_code > 0 && number != SIGABRT) append_address(text, sizeof text, (uintptr_t)info->si_addr);
    const char *where = crash_where ? crash_where() : NULL;
    if (where && where[0]) {
        append(text, sizeof text, " in ");
        append(text, sizeof text, where);
    }
    wi_log_write(WEFT_LOG_ERROR, __FILE__, __LINE__, text);
    void *frames[64];
    backtrace_symbols_fd(frames, backtrace(frames, 64), wi_log_fd());
    errno = saved_errno;
    let_it_end(index, info);
}

void weft_log_catch_crashes(const char *(*where)(void))
{
    crash_where = where;
    // The first backtrace loads a library, which the handler must not do.
    void *frame;
    backtrace(&frame, 1);
    stack_t stack = {.ss_sp = crash_stack, .ss_size = sizeof crash_stack};
    sigaltstack(&stack, NULL);
    for (int i = 0; i < CRASH_SIGNAL_COUNT; i++) {
        struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        sigemptyset(&action.sa_mask);
        struct sigaction before;
        sigaction(crash_signals[i].number, &action, &before);
        // Set up twice, the handler must not find itself.
        bool ours = (before.sa_flags & SA_SIGINFO) && before.sa_sigaction == on_crash;
        if (!ours) crash_before[i] = before;
    }
}
