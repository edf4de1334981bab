#include "launch/batch_show.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"

static const int64_t TERMINAL_NS = 250000000, LOG_NS = 30000000000;

char *wi_format_seconds(double seconds, char text[24])
{
    const long long s = seconds < 0 ? 0 : (long long)(seconds + 0.5);
    if (s < 100)
        snprintf(text, 24, "%lld s", s);
    else if (s < 7200)
        snprintf(text, 24, "%lld min", (s + 30) / 60);
    else
        snprintf(text, 24, "%lld h %lld min", s / 3600, s % 3600 / 60);
    return text;
}

// " 12.5 %, 3 min left" where the input's size is known and something was done.
static void format_rest(const wi_batch *b, double seconds, char *text, size_t capacity)
{
    wi_lines_place place;
    int64_t requests;
    char left[24];
    text[0] = 0;
    if (b->options->in_bytes == 0) return;
    wi_feed_tell(b->feed, &place, &requests);
    const double all = (double)b->options->in_bytes, done = (double)place.bytes - (double)b->live_bytes;
    const int64_t now = b->sink->written - b->written_before;
    const int used = snprintf(text, capacity, "; %.1f %% of the input", 100 * done / all);
    if (now < 2 || done <= 0 || used < 0) return;
    // Requests, not bytes, of this run: what an earlier run did took no time of this one.
    const double rest = (double)b->sink->written * (all / done - 1);
    snprintf(text + used, capacity - (size_t)used, ", %s left", wi_format_seconds(rest * seconds / (double)now, left));
}

void wi_batch_show(wi_batch *b)
{
    const bool terminal = isatty(STDERR_FILENO) == 1;
    const int64_t now = weft_clock_ns();
    char rest[80];
    if (b->options->quiet || now - b->shown_ns < (terminal ? TERMINAL_NS : LOG_NS)) return;
    b->shown_ns = now;
    const double seconds = (double)(now - b->start_ns) * 1e-9;
    format_rest(b, seconds, rest, sizeof rest);
    const long long written = (long long)b->sink->written, failed = (long long)b->sink->failed;
    const double rate = (double)b->figures.tokens / seconds;
    if (terminal)
        fprintf(stderr, "\r%lld requests answered, %lld failed; %.1f tokens/s%s\033[K", written, failed, rate, rest);
    else
        weft_log_info("%lld requests answered, %lld failed; %.1f tokens/s%s", written, failed, rate, rest);
}

void wi_batch_show_end(wi_batch *b)
{
    if (!b->options->quiet && isatty(STDERR_FILENO) == 1 && b->shown_ns != b->start_ns) fputs("\r\033[K", stderr);
}
