// The log: one line a call, written at once with one write(2) to stderr, so that a rank that dies has said
// all that it said. Lines never go to stdout. Not for the hot path.
#ifndef WEFT_CORE_LOG_H
#define WEFT_CORE_LOG_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { WEFT_LOG_ERROR, WEFT_LOG_WARN, WEFT_LOG_INFO, WEFT_LOG_DEBUG } weft_log_level;

typedef struct {
    weft_log_level level; // lines above this level are dropped
    bool json;            // {"wall":"...","mono":12.345678,"rank":2,"level":"warn","at":"comm/job.c:88","text":"..."}
    int fd;               // 2 for stderr
} weft_log_options;

// Process-wide; call before threads start. Without it: INFO, text, stderr.
void weft_log_setup(const weft_log_options *options);
weft_log_level weft_log_level_now(void);

// The rank shown in this thread's lines; a thread that never set one shows the process's (the first one set).
void weft_log_set_rank(int rank);

// Text form: "weft: warning: TEXT" on rank -1 (no ranks yet), "weft[2] 12.345 warning: TEXT" otherwise; an INFO line
// has no such word. The seconds count from weft_log_setup.
void weft_log_at(weft_log_level level, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#define weft_log_error(...) weft_log_at(WEFT_LOG_ERROR, __FILE__, __LINE__, __VA_ARGS__)
#define weft_log_warn(...) weft_log_at(WEFT_LOG_WARN, __FILE__, __LINE__, __VA_ARGS__)
#define weft_log_info(...) weft_log_at(WEFT_LOG_INFO, __FILE__, __LINE__, __VA_ARGS__)
#define weft_log_debug(...) weft_log_at(WEFT_LOG_DEBUG, __FILE__, __LINE__, __VA_ARGS__)

// On SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT writes one async-signal-safe line (rank, signal, `where()` when given)
// and a backtrace, then lets the signal do its work. `where` must itself be async-signal-safe.
void weft_log_catch_crashes(const char *(*where)(void));

#ifdef __cplusplus
}
#endif
#endif
