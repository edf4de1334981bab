#include "core/metrics.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// Each part is written by one thread, which loads and stores without a lock or a fence; a reader adds the parts up.
// The lists are changed at registration alone, under the mutex, which readers take too.
enum { LINE = 128, OCTAVE = 16, OCTAVE_BITS = 4, BUCKETS = (63 - OCTAVE_BITS + 1) * OCTAVE };

struct weft_counter {
    alignas(LINE) int64_t value;
    weft_counter *next;
};

struct weft_histogram {
    alignas(LINE) int64_t min; // of nothing: INT64_MAX
    int64_t max;
    double sum;
    int64_t buckets[BUCKETS];
    weft_histogram *next;
};

typedef enum { COUNTER, GAUGE, HISTOGRAM } metric_kind;

static const char *const kind_names[] = {"counter", "gauge", "histogram"};

typedef struct metric {
    struct metric *next;
    char *name, *help;
    metric_kind kind;
    double unit;
    weft_counter *counters;
    weft_histogram *histograms;
} metric;

struct weft_metrics {
    pthread_mutex_t mutex;
    metric *first, **end; // in the order of registration
};

weft_status weft_metrics_create(weft_metrics **out)
{
    weft_metrics *metrics = calloc(1, sizeof *metrics);
    if (!metrics) return weft_fail(WEFT_NO_MEMORY, "no memory for the metrics");
    pthread_mutex_init(&metrics->mutex, NULL);
    metrics->end = &metrics->first;
    *out = metrics;
    return WEFT_OK;
}

static void destroy_metric(metric *m)
{
    for (weft_counter *c = m->counters, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    for (weft_histogram *h = m->histograms, *next; h; h = next) {
        next = h->next;
        free(h);
    }
    free(m->name);
    free(m->help);
    free(m);
}

void weft_metrics_destroy(weft_metrics *metrics)
{
    if (!metrics) return;
    for (metric *m = metrics->first, *next; m; m = next) {
        next = m->next;
        destroy_metric(m);
    }
    pthread_mutex_destroy(&metrics->mutex);
    free(metrics);
}

static metric *find(const weft_metrics *metrics, const char *name)
{
    metric *m = metrics->first;
    while (m && strcmp(m->name, name) != 0) m = m->next;
    return m;
}

static bool is_name(const char *name)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:";
    if (!*name || !strchr(first, *name)) return false;
    return name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:0123456789")] == 0;
}

// Finds or makes the metric. The mutex is held.
static weft_status enter(weft_metrics *metrics, const char *name, const char *help, metric_kind kind, double unit,
                         metric **out)
{
    if (!is_name(name)) {
        return weft_fail(WEFT_INVALID, "metric \"%s\": a name is of letters, digits, '_' and ':', no digit first",
                         name);
    }
    metric *m = find(metrics, name);
    if (m && m->kind != kind) {
        return weft_fail(WEFT_MISMATCH, "metric %s is a %s already and cannot be a %s too", name, kind_names[m->kind],
                         kind_names[kind]);
    }
    if (!m) {
        m = calloc(1, sizeof *m);
        if (m) {
            m->name = strdup(name);
            m->help = strdup(help);
        }
        if (!m || !m->name || !m->help) {
            if (m) destroy_metric(m);
            return weft_fail(WEFT_NO_MEMORY, "no memory for metric %s", name);
        }
        m->kind = kind;
        m->unit = unit;
        *metrics->end = m;
        metrics->end = &m->next;
    }
    *out = m;
    return WEFT_OK;
}

static weft_status add_counter(weft_metrics *metrics, const char *name, const char *help, metric_kind kind,
                               weft_counter **out)
{
    weft_counter *counter = aligned_alloc(LINE, sizeof *counter);
    if (!counter) return weft_fail(WEFT_NO_MEMORY, "no memory for metric %s", name);
    memset(counter, 0, sizeof *counter);
    metric *m = NULL;
    pthread_mutex_lock(&metrics->mutex);
    weft_status status = enter(metrics, name, help, kind, 1, &m);
    if (m) {
        counter->next = m->counters;
        m->counters = counter;
    }
    pthread_mutex_unlock(&metrics->mutex);
    if (!m) {
        free(counter);
        return status;
    }
    *out = counter;
    return WEFT_OK;
}

weft_status weft_counter_create(weft_metrics *metrics, const char *name, const char *help, weft_counter **out)
{
    return add_counter(metrics, name, help, COUNTER, out);
}

weft_status weft_gauge_create(weft_metrics *metrics, const char *name, const char *help, weft_counter **out)
{
    return add_counter(metrics, name, help, GAUGE, out);
}

weft_status weft_histogram_create(weft_metrics *metrics, const char *name, const char *help, double unit,
                                  weft_histogram **out)
{
    weft_histogram *histogram = aligned_alloc(LINE, sizeof *histogram);
    if (!histogram) return weft_fail(WEFT_NO_MEMORY, "no memory for metric %s", name);
    memset(histogram, 0, sizeof *histogram);
    histogram->min = INT64_MAX;
    metric *m = NULL;
    pthread_mutex_lock(&metrics->mutex);
    weft_status status = enter(metrics, name, help, HISTOGRAM, unit, &m);
    if (m) {
        histogram->next = m->histograms;
        m->histograms = histogram;
    }
    pthread_mutex_unlock(&metrics->mutex);
    if (!m) {
        free(histogram);
        return status;
    }
    *out = histogram;
    return WEFT_OK;
}

static int64_t load(const int64_t *word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }

void weft_counter_add(weft_counter *counter, int64_t n)
{
    __atomic_store_n(&counter->value, load(&counter->value) + n, __ATOMIC_RELAXED);
}

void weft_gauge_set(weft_counter *gauge, int64_t value) { __atomic_store_n(&gauge->value, value, __ATOMIC_RELAXED); }

// Values below one octave have a bucket each; above, an octave [2^e, 2^(e+1)) has OCTAVE buckets of equal width.
static int bucket_of(int64_t value)
{
    if (value < OCTAVE) return (int)value;
    int exponent = 63 - __builtin_clzll((unsigned long long)value);
    return (exponent - OCTAVE_BITS + 1) * OCTAVE + (int)(value >> (exponent - OCTAVE_BITS) & (OCTAVE - 1));
}

// The least and the greatest value of a bucket.
static void bucket_range(int bucket, double *low, double *high)
{
    int octave = bucket / OCTAVE, place = bucket % OCTAVE;
    int shift = octave > 1 ? octave - 1 : 0;
    int64_t least = octave ? (int64_t)(OCTAVE + place) << shift : place;
    *low = (double)least;
    *high = (double)(least + (((int64_t)1 << shift) - 1));
}

void weft_histogram_add(weft_histogram *histogram, int64_t value)
{
    if (value < 0) value = 0;
    double sum;
    __atomic_load(&histogram->sum, &sum, __ATOMIC_RELAXED);
    sum += (double)value;
    __atomic_store(&histogram->sum, &sum, __ATOMIC_RELAXED);
    if (value < load(&histogram->min)) __atomic_store_n(&histogram->min, value, __ATOMIC_RELAXED);
    if (value > load(&histogram->max)) __atomic_store_n(&histogram->max, value, __ATOMIC_RELAXED);
    // Last and released, so that a reader who counts the value also sees it in min, max and sum.
    int64_t *bucket = &histogram->buckets[bucket_of(value)];
    __atomic_store_n(bucket, load(bucket) + 1, __ATOMIC_RELEASE);
}

typedef struct {
    int64_t count, min, max;
    double sum;
    int64_t buckets[BUCKETS];
} merged;

static void merge(const metric *m, merged *all)
{
    *all = (merged){.min = INT64_MAX};
    for (const weft_histogram *h = m->histograms; h; h = h->next) {
        for (int b = 0; b < BUCKETS; b++) {
            int64_t n = __atomic_load_n(&h->buckets[b], __ATOMIC_ACQUIRE);
            all->buckets[b] += n;
            all->count += n;
        }
        double sum;
        __atomic_load(&h->sum, &sum, __ATOMIC_RELAXED);
        all->sum += sum;
        int64_t min = load(&h->min), max = load(&h->max);
        if (min < all->min) all->min = min;
        if (max > all->max) all->max = max;
    }
}

// The value below which `share` of all values lie, by a straight line inside its bucket.
static double percentile(const merged *all, double share)
{
    double rank = share * (double)all->count, below = 0, low = 0, high = 0;
    for (int b = 0; b < BUCKETS; b++) {
        double n = (double)all->buckets[b];
        if (n == 0) continue;
        bucket_range(b, &low, &high);
        if (low < (double)all->min) low = (double)all->min;
        if (high > (double)all->max) high = (double)all->max;
        if (below + n >= rank) return low + (high - low) * (rank - below) / n;
        below += n;
    }
    return high;
}

static weft_histogram_summary summarize(const metric *m)
{
    merged all;
    merge(m, &all);
    if (all.count == 0) return (weft_histogram_summary){0};
    return (weft_histogram_summary){
        .count = all.count,
        .min = all.min,
        .max = all.max,
        .sum = all.sum * m->unit,
        .p50 = percentile(&all, 0.50) * m->unit,
        .p90 = percentile(&all, 0.90) * m->unit,
        .p99 = percentile(&all, 0.99) * m->unit,
    };
}

static int64_t total(const metric *m)
{
    int64_t sum = 0;
    for (const weft_counter *c = m->counters; c; c = c->next) sum += load(&c->value);
    return sum;
}

int64_t weft_metrics_total(weft_metrics *metrics, const char *name)
{
    pthread_mutex_lock(&metrics->mutex);
    const metric *m = find(metrics, name);
    int64_t sum = m ? total(m) : 0;
    pthread_mutex_unlock(&metrics->mutex);
    return sum;
}

weft_status weft_metrics_summary(weft_metrics *metrics, const char *name, weft_histogram_summary *out)
{
    pthread_mutex_lock(&metrics->mutex);
    const metric *m = find(metrics, name);
    weft_status status = WEFT_OK;
    if (!m) {
        status = weft_fail(WEFT_NOT_FOUND, "there is no metric %s", name);
    } else if (m->kind != HISTOGRAM) {
        status = weft_fail(WEFT_MISMATCH, "metric %s is a %s, not a histogram", name, kind_names[m->kind]);
    } else {
        *out = summarize(m);
    }
    pthread_mutex_unlock(&metrics->mutex);
    return status;
}

// ---- values of another process ----

static size_t bytes_of(const metric *m) { return m->kind == HISTOGRAM ? sizeof(merged) : sizeof(int64_t); }

size_t weft_metrics_bytes(weft_metrics *metrics)
{
    size_t bytes = 0;
    pthread_mutex_lock(&metrics->mutex);
    for (const metric *m = metrics->first; m; m = m->next) bytes += bytes_of(m);
    pthread_mutex_unlock(&metrics->mutex);
    return bytes;
}

void weft_metrics_save(weft_metrics *metrics, void *out)
{
    unsigned char *at = out;
    pthread_mutex_lock(&metrics->mutex);
    for (const metric *m = metrics->first; m; at += bytes_of(m), m = m->next) {
        merged all = {0};
        const int64_t sum = total(m);
        if (m->kind == HISTOGRAM) merge(m, &all);
        memcpy(at, m->kind == HISTOGRAM ? (const void *)&all : &sum, bytes_of(m));
    }
    pthread_mutex_unlock(&metrics->mutex);
}

// A part that has these values and is written no more.
static weft_status add_part(metric *m, const unsigned char *saved)
{
    if (m->kind != HISTOGRAM) {
        weft_counter *counter = aligned_alloc(LINE, sizeof *counter);
        if (!counter) return weft_fail(WEFT_NO_MEMORY, "no memory for metric %s", m->name);
        memcpy(&counter->value, saved, sizeof counter->value);
        counter->next = m->counters;
        m->counters = counter;
        return WEFT_OK;
    }
    weft_histogram *h = aligned_alloc(LINE, sizeof *h);
    merged all;
    if (!h) return weft_fail(WEFT_NO_MEMORY, "no memory for metric %s", m->name);
    memcpy(&all, saved, sizeof all);
    h->min = all.min;
    h->max = all.max;
    h->sum = all.sum;
    memcpy(h->buckets, all.buckets, sizeof h->buckets);
    h->next = m->histograms;
    m->histograms = h;
    return WEFT_OK;
}

weft_status weft_metrics_join(weft_metrics *metrics, const void *saved, size_t bytes)
{
    const unsigned char *at = saved;
    weft_status status = WEFT_OK;
    if (bytes != weft_metrics_bytes(metrics))
        return weft_fail(WEFT_MISMATCH, "%zu bytes of metrics to be added to %zu", bytes, weft_metrics_bytes(metrics));
    pthread_mutex_lock(&metrics->mutex);
    for (metric *m = metrics->first; m && status == WEFT_OK; at += bytes_of(m), m = m->next) status = add_part(m, at);
    pthread_mutex_unlock(&metrics->mutex);
    return status;
}

// ---- as text ----

static void print_help(const metric *m, FILE *out)
{
    fprintf(out, "# HELP %s ", m->name);
    for (const char *c = m->help; *c; c++) {
        if (*c == '\\') {
            fputs("\\\\", out);
        } else if (*c == '\n') {
            fputs("\\n", out);
        } else {
            fputc(*c, out);
        }
    }
    fprintf(out, "\n# TYPE %s %s\n", m->name, m->kind == HISTOGRAM ? "summary" : kind_names[m->kind]);
}

// Prometheus calls what has quantiles a summary; its histograms would need a line a bucket. No values: NaN.
static void print_summary(const metric *m, FILE *out)
{
    weft_histogram_summary s = summarize(m);
    const char *const shares[] = {"0.5", "0.9", "0.99"};
    const double values[] = {s.p50, s.p90, s.p99};
    for (int i = 0; i < 3; i++) {
        fprintf(out, "%s{quantile=\"%s\"} ", m->name, shares[i]);
        if (s.count) {
            fprintf(out, "%.9g\n", values[i]);
        } else {
            fputs("NaN\n", out);
        }
    }
    fprintf(out, "%s_sum %.15g\n%s_count %" PRId64 "\n", m->name, s.sum, m->name, s.count);
}

void weft_metrics_print(weft_metrics *metrics, FILE *out)
{
    pthread_mutex_lock(&metrics->mutex);
    for (const metric *m = metrics->first; m; m = m->next) {
        print_help(m, out);
        if (m->kind == HISTOGRAM) {
            print_summary(m, out);
        } else {
            fprintf(out, "%s %" PRId64 "\n", m->name, total(m));
        }
    }
    pthread_mutex_unlock(&metrics->mutex);
}
