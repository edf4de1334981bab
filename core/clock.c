// Monotonic time, wall time as text, and sleeping.
#include "core/clock.h"

#include <errno.h>
#include <stdbool.h>
#include <time.h>

int64_t weft_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

typedef struct {
    int64_t year;
    int month, day; // from 1
} civil_date;

static bool is_leap(int64_t year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

// By hand and not by gmtime_r, which takes a lock: the crash handler stamps its line too.
static civil_date date_of_day(int64_t day)
{
    static const int lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    civil_date date = {.year = 1970, .month = 1};
    while (day >= 365 + is_leap(date.year)) day -= 365 + is_leap(date.year++);
    for (;; date.month++) {
        int length = lengths[date.month - 1] + (date.month == 2 && is_leap(date.year));
        if (day < length) break;
        day -= length;
    }
    date.day = (int)day + 1;
    return date;
}

static char *put_digits(char *at, int64_t value, int count)
{
    for (int i = count - 1; i >= 0; i--, value /= 10) at[i] = (char)('0' + value % 10);
    return at + count;
}

void weft_clock_wall(char *text, size_t capacity)
{
    if (capacity == 0) return;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t seconds = now.tv_sec < 0 ? 0 : now.tv_sec;
    civil_date date = date_of_day(seconds / 86400);
    char stamp[25], *at = stamp;
    at = put_digits(at, date.year, 4), *at++ = '-';
    at = put_digits(at, date.month, 2), *at++ = '-';
    at = put_digits(at, date.day, 2), *at++ = 'T';
    at = put_digits(at, seconds / 3600 % 24, 2), *at++ = ':';
    at = put_digits(at, seconds / 60 % 60, 2), *at++ = ':';
    at = put_digits(at, seconds % 60, 2), *at++ = '.';
    at = put_digits(at, now.tv_nsec / 1000000, 3), *at++ = 'Z';
    *at = 0;
    size_t i = 0;
    for (; i + 1 < capacity && stamp[i]; i++) text[i] = stamp[i];
    text[i] = 0;
}

void weft_clock_sleep_ns(int64_t ns)
{
    if (ns <= 0) return;
    int64_t end = weft_clock_ns() + ns;
    struct timespec until = {.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) continue;
}
