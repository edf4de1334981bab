// Status codes and the calling thread's last error.
#include "core/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/text.h"

typedef struct {
    char text[WEFT_ERROR_TEXT_MAX];
    const char *file;
    int line;
    char place[128];
} error_slot;

static _Thread_local error_slot error;

const char *weft_status_name(weft_status status)
{
    switch (status) {
#define STATUS_CASE(name, value, code, text)                                                                           \
    case WEFT_##name:                                                                                                  \
        return #name;
        WEFT_STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
    }
    return "UNKNOWN";
}

const char *weft_status_text(weft_status status)
{
    switch (status) {
#define STATUS_CASE(name, value, code, text)                                                                           \
    case WEFT_##name:                                                                                                  \
        return text;
        WEFT_STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
    }
    return "unknown status";
}

int weft_status_exit_code(weft_status status)
{
    switch (status) {
#define STATUS_CASE(name, value, code, text)                                                                           \
    case WEFT_##name:                                                                                                  \
        return code;
        WEFT_STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
    }
    return 70; // a status that nobody defined is an internal error
}

weft_status weft_fail_at(weft_status status, const char *file, int line, const char *format, ...)
{
    int saved_errno = errno;
    // An argument may be the present error text, so the new one is made beside it.
    char text[WEFT_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (wanted < 0) snprintf(text, sizeof text, "%s", weft_status_text(status));
    wi_text_mark_cut(text, sizeof text, wanted);
    for (char *c = text; *c; c++)
        if (*c == '\n' || *c == '\r' || *c == '\t') *c = ' ';
    memcpy(error.text, text, sizeof text);
    error.file = file;
    error.line = line;
    errno = saved_errno;
    return status;
}

const char *weft_error_text(void) { return error.text; }

const char *weft_error_place(void)
{
    if (!error.file) return "";
    snprintf(error.place, sizeof error.place, "%s:%d", wi_source_name(error.file), error.line);
    return error.place;
}

void weft_error_clear(void)
{
    error.text[0] = 0;
    error.file = NULL;
    error.line = 0;
}
