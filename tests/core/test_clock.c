// Clocks: order and form, and a sleep that signals do not shorten.
#include "core/clock.h"

#include <signal.h>
#include <sys/time.h>
#include <time.h>

#include "core/status.h"
#include "tests/check.h"

static volatile sig_atomic_t alarms;
static void on_alarm(int number) { alarms = alarms + (number == SIGALRM); }

static void test_wall(void)
{
    char text[25];
    // The stamp lies between two of the C library's.
    time_t before = time(NULL);
    weft_clock_wall(text, sizeof text);
    time_t after = time(NULL);
    struct tm parts = {0};
    int milliseconds;
    CHECK_INT(strlen(text), 24);
    CHECK_INT(sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ", &parts.tm_year, &parts.tm_mon, &parts.tm_mday,
                     &parts.tm_hour, &parts.tm_min, &parts.tm_sec, &milliseconds),
              7);
    parts.tm_year -= 1900;
    parts.tm_mon -= 1;
    time_t stamp = timegm(&parts);
    CHECK(stamp + 1 >= before && stamp <= after);
    char small[5];
    weft_clock_wall(small, sizeof small);
    CHECK_INT(strlen(small), 4);
    CHECK_BYTES(small, text, 3);
}

static void test_sleep(void)
{
    signal(SIGALRM, on_alarm);
    struct itimerval often = {.it_interval = {.tv_usec = 2000}, .it_value = {.tv_usec = 2000}}, never = {0};
    setitimer(ITIMER_REAL, &often, NULL);
    int64_t begin = weft_clock_ns();
    weft_clock_sleep_ns(30000000);
    int64_t slept = weft_clock_ns() - begin;
    setitimer(ITIMER_REAL, &never, NULL);
    CHECK(alarms > 0);
    CHECK(slept >= 30000000);
    weft_clock_sleep_ns(0);
    weft_clock_sleep_ns(-5);
}

int main(void)
{
    int64_t last = weft_clock_ns();
    for (int i = 0; i < 1000; i++) {
        int64_t now = weft_clock_ns();
        CHECK(now >= last);
        last = now;
    }
    test_wall();
    test_sleep();
    return 0;
}
