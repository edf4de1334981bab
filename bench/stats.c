#include <math.h>
#include <stdlib.h>

#include "bench/bench.h"

enum { SAMPLES_FOR_P99 = 459 }; // so that with 99 % confidence the true p99 is not above the largest sample

static int by_value(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

void weft_sort(double *samples, size_t count) { qsort(samples, count, sizeof *samples, by_value); }

double weft_quantile(const double *sorted, size_t count, double q)
{
    double at = q * (double)(count - 1);
    size_t below = (size_t)at;
    if (below + 1 >= count) return sorted[count - 1];
    return sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}

// The median of |x - median| without another array: by bisection on how many samples lie within a distance.
static double deviation(const double *sorted, size_t count, double median)
{
    double low = 0, high = fmax(sorted[count - 1] - median, median - sorted[0]);
    for (int i = 0; i < 100 && high - low > high * 1e-12; i++) {
        double middle = (low + high) / 2;
        size_t within = 0;
        for (size_t j = 0; j < count; j++) within += fabs(sorted[j] - median) <= middle;
        if (2 * within >= count)
            high = middle;
        else
            low = middle;
    }
    return high;
}

void weft_stats_of(double *samples, size_t count, weft_stats *out)
{
    weft_sort(samples, count);
    *out = (weft_stats){
        .count = count,
        .min = samples[0],
        .p10 = weft_quantile(samples, count, 0.10),
        .median = weft_quantile(samples, count, 0.50),
        .p90 = weft_quantile(samples, count, 0.90),
        .max = samples[count - 1],
        .p99 = count >= SAMPLES_FOR_P99 ? weft_quantile(samples, count, 0.99) : NAN,
    };
    out->mad = deviation(samples, count, out->median);
}
