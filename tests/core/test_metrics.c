#include "core/metrics.h"

#include <math.h>
#include <pthread.h>

#include "tests/check.h"

static void test_counters(weft_metrics *metrics)
{
    weft_counter *a = NULL, *b = NULL, *gauge = NULL;
    CHECK_OK(weft_counter_create(metrics, "weft_sent_bytes", "Bytes sent.", &a));
    CHECK_OK(weft_counter_create(metrics, "weft_sent_bytes", "Bytes sent.", &b));
    CHECK(a != b);
    weft_counter_add(a, 5);
    weft_counter_add(a, 6);
    weft_counter_add(b, (int64_t)1 << 40);
    CHECK_INT(weft_metrics_total(metrics, "weft_sent_bytes"), ((int64_t)1 << 40) + 11);
    CHECK_OK(weft_gauge_create(metrics, "weft_free_blocks", "Free blocks\nof the \\cache.", &gauge));
    weft_gauge_set(gauge, 9);
    weft_gauge_set(gauge, -3);
    CHECK_INT(weft_metrics_total(metrics, "weft_free_blocks"), -3);
    CHECK_INT(weft_metrics_total(metrics, "weft_unknown"), 0);
}

static void test_refused(weft_metrics *metrics)
{
    weft_counter *counter = NULL;
    weft_histogram *histogram = NULL;
    weft_histogram_summary s;
    CHECK_FAILS(weft_gauge_create(metrics, "weft_sent_bytes", "", &counter), WEFT_MISMATCH, "is a counter already");
    CHECK_FAILS(weft_histogram_create(metrics, "weft_sent_bytes", "", 1, &histogram), WEFT_MISMATCH, "histogram");
    CHECK_FAILS(weft_counter_create(metrics, "weft sent", "", &counter), WEFT_INVALID, "\"weft sent\"");
    CHECK_FAILS(weft_counter_create(metrics, "1weft", "", &counter), WEFT_INVALID, "no digit first");
    CHECK_FAILS(weft_counter_create(metrics, "", "", &counter), WEFT_INVALID, "\"\"");
    CHECK_FAILS(weft_metrics_summary(metrics, "weft_unknown", &s), WEFT_NOT_FOUND, "weft_unknown");
    CHECK_FAILS(weft_metrics_summary(metrics, "weft_sent_bytes", &s), WEFT_MISMATCH, "is a counter");
    CHECK(!counter && !histogram);
}

static void check_near(double value, double expected)
{
    if (!(fabs(value - expected) <= expected * 0.0625)) CHECK_FAIL("%.9g, expected about %.9g", value, expected);
}

static weft_histogram_summary summary(weft_metrics *metrics, const char *name)
{
    weft_histogram_summary s;
    CHECK_OK(weft_metrics_summary(metrics, name, &s));
    return s;
}

static void test_histogram(weft_metrics *metrics)
{
    weft_histogram *a = NULL, *b = NULL;
    CHECK_OK(weft_histogram_create(metrics, "weft_step_seconds", "Time of a step.", 1e-9, &a));
    CHECK_OK(weft_histogram_create(metrics, "weft_step_seconds", "Time of a step.", 1e-9, &b));
    CHECK_INT(summary(metrics, "weft_step_seconds").count, 0);
    for (int64_t v = 1; v <= 100000; v++) weft_histogram_add(v % 2 ? a : b, v * 1000);
    weft_histogram_summary s = summary(metrics, "weft_step_seconds");
    CHECK_INT(s.count, 100000);
    CHECK_INT(s.min, 1000);
    CHECK_INT(s.max, 100000000);
    check_near(s.sum, 5000.05);
    check_near(s.p50, 0.05);
    check_near(s.p90, 0.09);
    check_near(s.p99, 0.099);
}

// Alone in its histogram a value is known exactly, whatever its bucket; with its like it stays inside the bucket.
static void test_every_octave(void)
{
    for (int e = 0; e < 63; e++) {
        for (int d = -1; d <= 1; d++) {
            weft_metrics *metrics = NULL;
            weft_histogram *h = NULL;
            CHECK_OK(weft_metrics_create(&metrics));
            CHECK_OK(weft_histogram_create(metrics, "h", "", 1, &h));
            int64_t value = ((int64_t)1 << e) + d;
            weft_histogram_add(h, value);
            weft_histogram_summary s = summary(metrics, "h");
            CHECK_INT(s.min, value);
            CHECK_INT(s.max, value);
            CHECK_REAL(s.p50, (double)value);
            CHECK_REAL(s.p99, (double)value);
            weft_histogram_add(h, 0);
            weft_histogram_add(h, INT64_MAX);
            s = summary(metrics, "h");
            CHECK_INT(s.count, 3);
            check_near(s.p50, (double)value);
            weft_metrics_destroy(metrics);
        }
    }
}

static void test_small_values(weft_metrics *metrics)
{
    weft_histogram *h = NULL;
    CHECK_OK(weft_histogram_create(metrics, "weft_batch_requests", "Requests in a batch.", 1, &h));
    for (int i = 0; i < 60; i++) weft_histogram_add(h, 3);
    for (int i = 0; i < 39; i++) weft_histogram_add(h, 14);
    weft_histogram_add(h, -5);
    weft_histogram_summary s = summary(metrics, "weft_batch_requests");
    CHECK_INT(s.min, 0);
    CHECK_INT(s.max, 14);
    CHECK_REAL(s.p50, 3);
    CHECK_REAL(s.p90, 14);
    CHECK_REAL(s.p99, 14);
    CHECK_REAL(s.sum, 60 * 3 + 39 * 14);
}

static void test_print(weft_metrics *metrics)
{
    weft_histogram *empty = NULL;
    CHECK_OK(weft_histogram_create(metrics, "weft_idle_seconds", "Never seen.", 1e-9, &empty));
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    CHECK(out);
    weft_metrics_print(metrics, out);
    fclose(out);
    const char *begin = "# HELP weft_sent_bytes Bytes sent.\n"
                        "# TYPE weft_sent_bytes counter\n"
                        "weft_sent_bytes 1099511627787\n"
                        "# HELP weft_free_blocks Free blocks\\nof the \\\\cache.\n"
                        "# TYPE weft_free_blocks gauge\n"
                        "weft_free_blocks -3\n"
                        "# HELP weft_step_seconds Time of a step.\n"
                        "# TYPE weft_step_seconds summary\n"
                        "weft_step_seconds{quantile=\"0.5\"} 0.0";
    CHECK_INT(strncmp(text, begin, strlen(begin)), 0);
    CHECK_HAS(text, "# TYPE weft_batch_requests summary\n"
                    "weft_batch_requests{quantile=\"0.5\"} 3\n"
                    "weft_batch_requests{quantile=\"0.9\"} 14\n"
                    "weft_batch_requests{quantile=\"0.99\"} 14\n"
                    "weft_batch_requests_sum 726\n"
                    "weft_batch_requests_count 100\n");
    CHECK_HAS(text, "weft_idle_seconds{quantile=\"0.99\"} NaN\nweft_idle_seconds_sum 0\nweft_idle_seconds_count 0\n");
    free(text);
}

enum { WRITERS = 3, UPDATES = 20000 };

static void *write_on(void *arg)
{
    weft_counter *counter = NULL;
    weft_histogram *histogram = NULL;
    CHECK_OK(weft_counter_create(arg, "weft_events", "", &counter)); // while others write and read
    CHECK_OK(weft_histogram_create(arg, "weft_values", "", 1, &histogram));
    for (int i = 1; i <= UPDATES; i++) {
        weft_counter_add(counter, 1);
        weft_histogram_add(histogram, i);
    }
    return NULL;
}

static void test_threads(weft_metrics *metrics)
{
    pthread_t writers[WRITERS];
    for (int i = 0; i < WRITERS; i++) CHECK_INT(pthread_create(&writers[i], NULL, write_on, metrics), 0);
    int64_t last = 0, now = 0;
    do {
        now = weft_metrics_total(metrics, "weft_events");
        CHECK(now >= last && now <= WRITERS * UPDATES);
        last = now;
        weft_histogram_summary s;
        if (weft_metrics_summary(metrics, "weft_values", &s) == WEFT_OK && s.count) {
            CHECK(s.min == 1 && s.max <= UPDATES && s.count <= WRITERS * UPDATES);
            CHECK(s.p50 >= 1 && s.p50 <= s.p90 && s.p90 <= s.p99 && s.p99 <= (double)s.max);
        }
    } while (now < WRITERS * UPDATES);
    for (int i = 0; i < WRITERS; i++) CHECK_INT(pthread_join(writers[i], NULL), 0);
    weft_histogram_summary s = summary(metrics, "weft_values");
    CHECK_INT(s.count, WRITERS * UPDATES);
    CHECK_INT(s.max, UPDATES);
    CHECK_REAL(s.sum, (double)WRITERS * UPDATES * (UPDATES + 1) / 2);
}

// What another process has counted is added.
static void test_join(void)
{
    weft_metrics *metrics[2];
    weft_counter *counter[2];
    weft_histogram *histogram[2];
    for (int i = 0; i < 2; i++) {
        CHECK_OK(weft_metrics_create(&metrics[i]));
        CHECK_OK(weft_counter_create(metrics[i], "weft_events", "", &counter[i]));
        CHECK_OK(weft_histogram_create(metrics[i], "weft_values", "", 1, &histogram[i]));
        weft_counter_add(counter[i], 10 + i);
        for (int j = 0; j < 50; j++) weft_histogram_add(histogram[i], 50 * i + j);
    }
    const size_t bytes = weft_metrics_bytes(metrics[1]);
    void *saved = malloc(bytes);
    CHECK(saved != NULL);
    weft_metrics_save(metrics[1], saved);
    CHECK_OK(weft_metrics_join(metrics[0], saved, bytes));
    CHECK_FAILS(weft_metrics_join(metrics[0], saved, bytes - 8), WEFT_MISMATCH, "bytes of metrics");
    free(saved);
    weft_counter_add(counter[0], 1);
    CHECK_INT(weft_metrics_total(metrics[0], "weft_events"), 22);
    const weft_histogram_summary s = summary(metrics[0], "weft_values");
    CHECK_INT(s.count, 100);
    CHECK_INT(s.min, 0);
    CHECK_INT(s.max, 99);
    CHECK_REAL(s.sum, 99 * 50);
    for (int i = 0; i < 2; i++) weft_metrics_destroy(metrics[i]);
}

int main(void)
{
    weft_metrics *metrics = NULL;
    CHECK_OK(weft_metrics_create(&metrics));
    test_counters(metrics);
    test_refused(metrics);
    test_histogram(metrics);
    test_small_values(metrics);
    test_print(metrics);
    test_every_octave();
    test_threads(metrics);
    test_join();
    weft_metrics_destroy(metrics);
    weft_metrics_destroy(NULL);
    return 0;
}
