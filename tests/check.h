// Assertions of weft's tests: each prints both values and where it failed, and ends the program with 1.
// A test that cannot run here calls SKIP with the reason and ends with 77.
#ifndef WEFT_TESTS_CHECK_H
#define WEFT_TESTS_CHECK_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_FAIL(...)                                                                                                \
    (fprintf(stderr, "%s:%d: ", __FILE__, __LINE__), fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), exit(1))
#define CHECK(condition) ((condition) ? (void)0 : CHECK_FAIL("not true: %s", #condition))
#define CHECK_INT(actual, expected)                                                                                    \
    do {                                                                                                               \
        int64_t actual_ = (int64_t)(actual), expected_ = (int64_t)(expected);                                          \
        if (actual_ != expected_)                                                                                      \
            CHECK_FAIL("%s is %" PRId64 ", expected %s = %" PRId64, #actual, actual_, #expected, expected_);           \
    } while (0)
#define CHECK_REAL(actual, expected)                                                                                   \
    do {                                                                                                               \
        double actual_ = (actual), expected_ = (expected);                                                             \
        if (!(actual_ == expected_)) CHECK_FAIL("%s is %.17g, expected %.17g", #actual, actual_, expected_);           \
    } while (0)
#define CHECK_TEXT(actual, expected)                                                                                   \
    do {                                                                                                               \
        const char *actual_ = (actual), *expected_ = (expected);                                                       \
        if (!actual_ || strcmp(actual_, expected_) != 0)                                                               \
            CHECK_FAIL("%s is \"%s\", expected \"%s\"", #actual, actual_ ? actual_ : "(null)", expected_);             \
    } while (0)
#define CHECK_HAS(actual, part)                                                                                        \
    do {                                                                                                               \
        const char *actual_ = (actual), *part_ = (part);                                                               \
        if (!actual_ || !strstr(actual_, part_))                                                                       \
            CHECK_FAIL("%s is \"%s\", which lacks \"%s\"", #actual, actual_ ? actual_ : "(null)", part_);              \
    } while (0)
#define CHECK_BYTES(actual, expected, bytes)                                                                           \
    do {                                                                                                               \
        const unsigned char *actual_ = (const void *)(actual), *expected_ = (const void *)(expected);                  \
        for (size_t i_ = 0; i_ < (size_t)(bytes); i_++)                                                                \
            if (actual_[i_] != expected_[i_])                                                                          \
                CHECK_FAIL("%s differs from %s at byte %zu: %02x, expected %02x", #actual, #expected, i_, actual_[i_], \
                           expected_[i_]);                                                                             \
    } while (0)
#define CHECK_OK(call)                                                                                                 \
    do {                                                                                                               \
        weft_status status_ = (call);                                                                                  \
        if (status_ != WEFT_OK) CHECK_FAIL("%s: %s: %s", #call, weft_status_name(status_), weft_error_text());         \
    } while (0)
// The call fails with `status` and its text holds `part`.
#define CHECK_FAILS(call, status, part)                                                                                \
    do {                                                                                                               \
        weft_error_clear();                                                                                            \
        weft_status status_ = (call);                                                                                  \
        if (status_ != (status))                                                                                       \
            CHECK_FAIL("%s: %s, expected %s", #call, weft_status_name(status_), weft_status_name(status));             \
        CHECK_HAS(weft_error_text(), part);                                                                            \
    } while (0)
#define SKIP(...) (printf("skipped: "), printf(__VA_ARGS__), putchar('\n'), exit(77))

#endif
