#include "core/clock.h"

double weft_clock_tick_seconds(void)
{
    int64_t ns = weft_clock_ns();
    uint64_t ticks = weft_clock_ticks();
    weft_clock_sleep_ns(5000000);
    ns = weft_clock_ns() - ns;
    ticks = weft_clock_ticks() - ticks;
    return ticks ? (double)ns * 1e-9 / (double)ticks : 1e-9;
}
