// The one list of status codes, and how an error is told.
//
// A function that can fail returns weft_status. The function that detects a failure calls weft_fail() once, with
// the values that matter; its callers pass the status on and say nothing. The text waits in the calling thread until
// the ranks have agreed who failed first (weft_comm_agree), so that a job prints one line and not one a rank.
// Only launch/ prints it and exits.
#ifndef WEFT_CORE_STATUS_H
#define WEFT_CORE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

// X(NAME, value, exit code of the program, text)
#define WEFT_STATUS_LIST(X)                                                                                            \
    X(OK, 0, 0, "success")                                                                                             \
    X(IN_PROGRESS, 1, 0, "in progress")                                                                                \
    X(FAILED, -1, 1, "failed")                                                                                         \
    X(USAGE, -2, 2, "wrong usage")                                                                                     \
    X(INVALID, -3, 2, "invalid value")                                                                                 \
    X(FORMAT, -4, 2, "malformed input")                                                                                \
    X(LIMIT, -5, 2, "over a limit")                                                                                    \
    X(NOT_FOUND, -6, 2, "not found")                                                                                   \
    X(UNSUPPORTED, -7, 2, "not supported")                                                                             \
    X(MISMATCH, -8, 2, "ranks differ")                                                                                 \
    X(OVERFLOW, -9, 2, "size overflow")                                                                                \
    X(NO_MEMORY, -10, 1, "out of memory")                                                                              \
    X(IO, -11, 74, "input or output error")                                                                            \
    X(LOST, -12, 71, "a rank was lost")                                                                                \
    X(DEADLINE, -13, 71, "the deadline passed")                                                                        \
    X(DRAINED, -14, 75, "drained before the end; run again")                                                           \
    X(INTERNAL, -15, 70, "internal error")

typedef enum {
#define WEFT_STATUS_ENUM(name, value, code, text) WEFT_##name = (value),
    WEFT_STATUS_LIST(WEFT_STATUS_ENUM)
#undef WEFT_STATUS_ENUM
} weft_status;

const char *weft_status_name(weft_status status); // "NO_MEMORY"; "UNKNOWN" for a value not in the list
const char *weft_status_text(weft_status status); // "out of memory"
int weft_status_exit_code(weft_status status);    // what the program exits with, DESIGN section 9

// Keeps one formatted line as the calling thread's error and returns `status`. Never allocates.
#define weft_fail(status, ...) weft_fail_at((status), __FILE__, __LINE__, __VA_ARGS__)
weft_status weft_fail_at(weft_status status, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

enum { WEFT_ERROR_TEXT_MAX = 512 };
const char *weft_error_text(void);  // the calling thread's last error, "" when there is none; owned by the thread
const char *weft_error_place(void); // "comm/shm.c:120" of that error
void weft_error_clear(void);

// Returns the status on failure; jumps to the function's `fail:` label on failure with `status` set.
#define WEFT_TRY(call)                                                                                                 \
    do {                                                                                                               \
        weft_status weft_try_status_ = (call);                                                                         \
        if (weft_try_status_ < 0) return weft_try_status_;                                                             \
    } while (0)
#define WEFT_TRY_GOTO(call)                                                                                            \
    do {                                                                                                               \
        status = (call);                                                                                               \
        if (status < 0) goto fail;                                                                                     \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
