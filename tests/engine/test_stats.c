// The figures of --stats against what was done.
#include "engine/stats.h"
#include "tests/check.h"
#include "tests/engine/rig.h"

static weft_engine_stats *stats;

typedef struct {
    weft_request_times times;
    weft_engine *engine;
    int64_t id;
    int tokens, cancel_at, ends;
} request;

static void on_token(void *arg, const weft_drawn *drawn)
{
    request *r = arg;
    weft_engine_stats_token(stats, &r->times);
    if (++r->tokens == r->cancel_at) weft_engine_cancel(r->engine, r->id);
}

static void on_end(void *arg, weft_finish finish)
{
    request *r = arg;
    r->ends++;
    weft_engine_stats_ended(stats, &r->times, finish, false);
}

static const weft_request_calls calls = {.token = on_token, .end = on_end};

static void run(rig *at, request *requests, int count)
{
    const int32_t prompt[] = {1, 2, 3, 4, 5};
    int rows = 1;
    weft_request_sampling sampling = weft_request_sampling_default();
    sampling.draw.temperature = 1;
    sampling.draw.seed = 3;
    sampling.ignore_stops = true;
    for (int i = 0; i < count; i++) {
        requests[i].engine = at->engine;
        const weft_request r = {.tokens = prompt,
                                .token_count = 3 + i,
                                .max_tokens = 4 * i,
                                .sampling = sampling,
                                .calls = &calls,
                                .arg = &requests[i]};
        CHECK_OK(weft_engine_submit(at->engine, &r, &requests[i].id));
        weft_engine_stats_submitted(stats, &requests[i].times, r.token_count);
    }
    while (rows > 0) CHECK_OK(weft_engine_stats_step(stats, at->engine, &rows));
    for (int i = 0; i < count; i++) CHECK_INT(requests[i].ends, 1);
}

int main(void)
{
    rig at;
    weft_metrics *metrics;
    weft_histogram_summary s;
    request requests[3] = {{.tokens = 0}, {.tokens = 0}, {.cancel_at = 3}}, unheard[3] = {{.tokens = 0}};
    const rig_options options = rig_defaults();
    rig_open(&at, "llama-plain", &options);
    CHECK_OK(weft_metrics_create(&metrics));
    run(&at, unheard, 3); // what was before does not count
    memset(unheard, 0, sizeof unheard);
    CHECK_OK(weft_engine_stats_create(metrics, NULL, &stats));
    run(&at, requests, 3); // nothing to draw; 4 tokens; 3 of 8
    weft_engine_stats_refused(stats);
    const struct {
        const char *name;
        int64_t value;
    } expected[] = {{"weft_requests_submitted_total", 3}, {"weft_requests_scored_total", 1},
                    {"weft_requests_length_total", 1},    {"weft_requests_cancelled_total", 1},
                    {"weft_requests_failed_total", 1},    {"weft_requests_running", 0},
                    {"weft_requests_waiting", 0},         {"weft_prompt_tokens_total", 3 + 4 + 5},
                    {"weft_generated_tokens_total", 7},   {"weft_steps_total", 4},
                    {"weft_preemptions_total", 0},        {"weft_cache_held_blocks", 0}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (weft_metrics_total(metrics, expected[i].name) != expected[i].value)
            CHECK_FAIL("%s is %lld, expected %lld", expected[i].name,
                       (long long)weft_metrics_total(metrics, expected[i].name), (long long)expected[i].value);
    // All of the prompts, then what was drawn but for the last tokens.
    CHECK_INT(weft_metrics_total(metrics, "weft_computed_tokens_total") +
                  weft_metrics_total(metrics, "weft_cached_tokens_total"),
              12 + 3 + 2);
    CHECK_INT(weft_metrics_total(metrics, "weft_cache_blocks"), weft_engine_state_of(at.engine).units);
    CHECK_OK(weft_metrics_summary(metrics, "weft_step_requests", &s));
    CHECK_INT(s.count, 4);
    CHECK_INT(s.max, 3);
    CHECK_INT(s.min, 1);
    CHECK_OK(weft_metrics_summary(metrics, "weft_step_rows", &s));
    CHECK_INT(s.sum, weft_metrics_total(metrics, "weft_computed_tokens_total"));
    CHECK_OK(weft_metrics_summary(metrics, "weft_time_to_first_token_seconds", &s));
    CHECK_INT(s.count, 2);
    CHECK_OK(weft_metrics_summary(metrics, "weft_inter_token_seconds", &s));
    CHECK_INT(s.count, 7 - 2);
    CHECK_OK(weft_metrics_summary(metrics, "weft_request_seconds", &s));
    CHECK_INT(s.count, 2); // not of what was cancelled
    weft_engine_stats_destroy(stats);
    stats = NULL; // the same without
    run(&at, unheard, 3);
    CHECK_INT(weft_metrics_total(metrics, "weft_requests_submitted_total"), 3);
    weft_metrics_destroy(metrics);
    rig_close(&at);
    return 0;
}
