// Status names, exit codes and the calling thread's error text.
#include "core/status.h"

#include <errno.h>
#include <pthread.h>

#include "tests/check.h"

static void test_table(void)
{
    CHECK_TEXT(weft_status_name(WEFT_NO_MEMORY), "NO_MEMORY");
    CHECK_TEXT(weft_status_text(WEFT_NO_MEMORY), "out of memory");
    CHECK_TEXT(weft_status_name((weft_status)-99), "UNKNOWN");
    CHECK_INT(weft_status_exit_code(WEFT_OK), 0);
    CHECK_INT(weft_status_exit_code(WEFT_FAILED), 1);
    CHECK_INT(weft_status_exit_code(WEFT_USAGE), 2);
    CHECK_INT(weft_status_exit_code(WEFT_LOST), 71);
    CHECK_INT(weft_status_exit_code(WEFT_DEADLINE), 71);
    CHECK_INT(weft_status_exit_code(WEFT_IO), 74);
    CHECK_INT(weft_status_exit_code(WEFT_DRAINED), 75);
    CHECK_INT(weft_status_exit_code((weft_status)-99), 70);
}

static void test_text(void)
{
    weft_error_clear();
    CHECK_TEXT(weft_error_text(), "");
    CHECK_TEXT(weft_error_place(), "");
    errno = ENOSPC;
    CHECK_INT(weft_fail(WEFT_INVALID, "%s is %d", "heads", 3), WEFT_INVALID);
    int line = __LINE__ - 1;
    CHECK_INT(errno, ENOSPC);
    CHECK_TEXT(weft_error_text(), "heads is 3");
    char place[64];
    snprintf(place, sizeof place, "core/test_status.c:%d", line);
    CHECK_HAS(weft_error_place(), place);
    CHECK(weft_error_place()[0] != '/');
    weft_fail_at(WEFT_FAILED, "/a/comm/shm.c", 120, "x");
    CHECK_TEXT(weft_error_place(), "comm/shm.c:120");
    weft_fail_at(WEFT_FAILED, "/shm.c", 1, "x");
    CHECK_TEXT(weft_error_place(), "shm.c:1");
    weft_fail_at(WEFT_FAILED, "comm/mpi/start.c", 1, "x");
    CHECK_TEXT(weft_error_place(), "comm/mpi/start.c:1");
    // The present text may be an argument of the next one.
    weft_fail(WEFT_FAILED, "inner\nline");
    weft_fail(WEFT_FAILED, "outer: %s", weft_error_text());
    CHECK_TEXT(weft_error_text(), "outer: inner line");
}

static void test_cut(void)
{
    char longer[2 * WEFT_ERROR_TEXT_MAX];
    for (size_t i = 0; i + 2 < sizeof longer; i += 2) memcpy(longer + i, "\xC3\xA9", 3);
    for (int shift = 0; shift < 2; shift++) {
        weft_fail(WEFT_FAILED, "%s%s", shift ? "x" : "", longer);
        const char *text = weft_error_text();
        size_t length = strlen(text);
        CHECK(length < WEFT_ERROR_TEXT_MAX && length > WEFT_ERROR_TEXT_MAX - 8);
        CHECK_TEXT(text + length - 3, "...");
        CHECK_INT((unsigned char)text[length - 4], 0xA9);
    }
}

static weft_status inner(int code) { return code < 0 ? weft_fail((weft_status)code, "inner") : (weft_status)code; }

static weft_status outer(int code)
{
    WEFT_TRY(inner(code));
    return WEFT_OK;
}

static weft_status outer_goto(int code)
{
    weft_status status;
    WEFT_TRY_GOTO(inner(code));
    return WEFT_OK;
fail:
    return status;
}

static void *other_thread(void *arg)
{
    CHECK_TEXT(weft_error_text(), "");
    weft_fail(WEFT_FAILED, "of the other thread");
    return arg;
}

int main(void)
{
    test_table();
    test_text();
    test_cut();
    CHECK_INT(outer(WEFT_IO), WEFT_IO);
    CHECK_INT(outer(WEFT_IN_PROGRESS), WEFT_OK); // positive values are no failure
    CHECK_INT(outer_goto(WEFT_LIMIT), WEFT_LIMIT);
    CHECK_INT(outer_goto(WEFT_OK), WEFT_OK);
    weft_fail(WEFT_FAILED, "mine");
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, other_thread, NULL), 0);
    pthread_join(thread, NULL);
    CHECK_TEXT(weft_error_text(), "mine");
    return 0;
}
