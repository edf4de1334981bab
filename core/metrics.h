// Counters and histograms that cost no lock: each belongs to one writing thread, an update is a relaxed store, and a
// reader adds up what the writers hold. Registration allocates; updates never do.
#ifndef WEFT_CORE_METRICS_H
#define WEFT_CORE_METRICS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_metrics weft_metrics;     // a registry, one a rank
typedef struct weft_counter weft_counter;     // one writer's part of a counter
typedef struct weft_histogram weft_histogram; // one writer's part of a histogram

weft_status weft_metrics_create(weft_metrics **out);
void weft_metrics_destroy(weft_metrics *metrics); // accepts NULL; ends all its counters

// Each call gives a new writer's part; parts of the same name are one metric to the reader. `name` is
// weft_<what>_<unit>, as Prometheus wants it; `help` one line. Thread-safe. MISMATCH when the name has another type.
weft_status weft_counter_create(weft_metrics *metrics, const char *name, const char *help, weft_counter **out);
weft_status weft_gauge_create(weft_metrics *metrics, const char *name, const char *help, weft_counter **out);
// Values in nanoseconds, bytes or counts: 64-bit, log-linear buckets (16 to an octave, error under 6.25 %).
weft_status weft_histogram_create(weft_metrics *metrics, const char *name, const char *help, double unit,
                                  weft_histogram **out); // `unit`: what to multiply by when shown (1e-9 for seconds)

void weft_counter_add(weft_counter *counter, int64_t n);
void weft_gauge_set(weft_counter *gauge, int64_t value);
void weft_histogram_add(weft_histogram *histogram, int64_t value); // negative counts as 0

// Reading, from any thread.
int64_t weft_metrics_total(weft_metrics *metrics, const char *name); // counter or gauge, over its parts; 0 if unknown
typedef struct {
    int64_t count, min, max;
    double sum, p50, p90, p99; // in `unit`s
} weft_histogram_summary;
weft_status weft_metrics_summary(weft_metrics *metrics, const char *name, weft_histogram_summary *out);
// All values as bytes, and those of another registry added to this one: both have the same metrics, entered in the same
// order, in processes of the same build. MISMATCH where that is seen not to be so.
size_t weft_metrics_bytes(weft_metrics *metrics);
void weft_metrics_save(weft_metrics *metrics, void *out);
weft_status weft_metrics_join(weft_metrics *metrics, const void *saved, size_t bytes);
void weft_metrics_print(weft_metrics *metrics, FILE *out); // Prometheus text format 0.0.4

#ifdef __cplusplus
}
#endif
#endif
