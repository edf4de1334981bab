#include "engine/stats.h"

#include <stdlib.h>

#include "core/clock.h"

// Whether it is a gauge, name, help; in the order in which they are printed.
#define COUNTERS(X)                                                                                                    \
    X(SUBMITTED, false, "weft_requests_submitted_total", "Requests that came in.")                                     \
    X(STOPPED, false, "weft_requests_stop_total", "Requests that ended by a stop token or text.")                      \
    X(LENGTH, false, "weft_requests_length_total", "Requests that ended with all tokens that they wanted.")            \
    X(SCORED, false, "weft_requests_scored_total", "Requests without drawing that were computed.")                     \
    X(CANCELLED, false, "weft_requests_cancelled_total", "Requests that were cancelled.")                              \
    X(FAILED, false, "weft_requests_failed_total", "Requests that failed, or that the engine refused.")                \
    X(RUNNING, true, "weft_requests_running", "Requests that run, after the last step.")                               \
    X(WAITING, true, "weft_requests_waiting", "Requests in the queue, after the last step.")                           \
    X(PREEMPTED, false, "weft_preemptions_total", "Requests that gave their place in the cache to others.")            \
    X(PROMPT, false, "weft_prompt_tokens_total", "Tokens of prompts.")                                                 \
    X(FOUND, false, "weft_cached_tokens_total", "Tokens whose keys and values were found in the cache.")               \
    X(COMPUTED, false, "weft_computed_tokens_total", "Tokens that were computed, those computed again included.")      \
    X(GENERATED, false, "weft_generated_tokens_total", "Tokens that were drawn.")                                      \
    X(STEPS, false, "weft_steps_total", "Steps.")                                                                      \
    X(BLOCKS, true, "weft_cache_blocks", "Blocks of the fullest rank's cache.")                                        \
    X(HELD, true, "weft_cache_held_blocks", "Of them in use, after the last step.")                                    \
    X(CACHED, true, "weft_cache_reusable_blocks", "Of them free, but with keys and values that may be found.")         \
    X(EVICTED, false, "weft_cache_evictions_total", "Blocks whose keys and values were given up.")                     \
    X(EXCHANGES, false, "weft_exchanges_total", "Exchanges with other ranks.")                                         \
    X(BYTES, false, "weft_exchange_bytes_total", "Bytes that this rank gave in them.")

// Name, help, unit.
#define HISTOGRAMS(X)                                                                                                  \
    X(STEP_TIME, "weft_step_seconds", "The time of a step.", 1e-9)                                                     \
    X(EXCHANGE_TIME, "weft_step_exchange_seconds", "Of that in exchanges.", 1e-9)                                      \
    X(WAIT_TIME, "weft_step_wait_seconds", "Of that waiting for other ranks.", 1e-9)                                   \
    X(ROWS, "weft_step_rows", "Tokens of a step.", 1)                                                                  \
    X(FILL, "weft_step_requests", "Requests that ran in a step.", 1)                                                   \
    X(FIRST_TOKEN, "weft_time_to_first_token_seconds", "From the request to its first token.", 1e-9)                   \
    X(BETWEEN, "weft_inter_token_seconds", "From a token to the next one.", 1e-9)                                      \
    X(WHOLE, "weft_request_seconds", "From the request to its end.", 1e-9)

#define NUMBER(id, ...) id,
enum { COUNTERS(NUMBER) COUNTER_COUNT };
enum { HISTOGRAMS(NUMBER) HISTOGRAM_COUNT };
#define ENTRY(id, ...) [id] = {__VA_ARGS__},
static const struct {
    bool gauge;
    const char *name, *help;
} counters[] = {COUNTERS(ENTRY)};
static const struct {
    const char *name, *help;
    double unit;
} histograms[] = {HISTOGRAMS(ENTRY)};

struct weft_engine_stats {
    const weft_mesh_times *times;
    weft_counter *counter[COUNTER_COUNT];
    weft_histogram *histogram[HISTOGRAM_COUNT];
    double tick_ns;
    bool begun;               // the first step is what counting begins with, not what the engine did before
    int64_t ended;            // since the last step
    weft_engine_state before; // what the counters say already
    weft_mesh_times exchanged;
};

weft_status weft_engine_stats_create(weft_metrics *metrics, const weft_mesh_times *times, weft_engine_stats **out)
{
    weft_engine_stats *s = calloc(1, sizeof *s);
    weft_status status;
    if (!s) return weft_fail(WEFT_NO_MEMORY, "no memory for the figures of --stats");
    for (int i = 0; i < COUNTER_COUNT; i++)
        WEFT_TRY_GOTO((counters[i].gauge ? weft_gauge_create : weft_counter_create)(metrics, counters[i].name,
                                                                                    counters[i].help, &s->counter[i]));
    for (int i = 0; i < HISTOGRAM_COUNT; i++)
        WEFT_TRY_GOTO(weft_histogram_create(metrics, histograms[i].name, histograms[i].help, histograms[i].unit,
                                            &s->histogram[i]));
    s->times = times;
    s->tick_ns = weft_clock_tick_seconds() * 1e9;
    *out = s;
    return WEFT_OK;
fail:
    weft_engine_stats_destroy(s);
    return status;
}

void weft_engine_stats_destroy(weft_engine_stats *stats) { free(stats); }

static void add_exchanges(weft_engine_stats *s)
{
    if (!s->times) return;
    const weft_mesh_times now = *s->times, *was = &s->exchanged;
    weft_counter_add(s->counter[EXCHANGES], (int64_t)(now.count - was->count));
    weft_counter_add(s->counter[BYTES], (int64_t)(now.bytes - was->bytes));
    weft_histogram_add(s->histogram[EXCHANGE_TIME], (int64_t)((double)(now.exchange - was->exchange) * s->tick_ns));
    weft_histogram_add(s->histogram[WAIT_TIME], (int64_t)((double)(now.wait - was->wait) * s->tick_ns));
    s->exchanged = now;
}

static void begin(weft_engine_stats *s, const weft_engine *engine)
{
    if (s->begun) return;
    s->begun = true;
    s->before = weft_engine_state_of(engine);
    if (s->times) s->exchanged = *s->times;
}

weft_status weft_engine_stats_step(weft_engine_stats *s, weft_engine *engine, int *rows)
{
    if (!s) return weft_engine_step(engine, rows);
    begin(s, engine);
    const int64_t start = weft_clock_ns();
    WEFT_TRY(weft_engine_step(engine, rows));
    const weft_engine_state now = weft_engine_state_of(engine), *was = &s->before;
    weft_gauge_set(s->counter[RUNNING], now.running);
    weft_gauge_set(s->counter[WAITING], now.waiting);
    weft_gauge_set(s->counter[BLOCKS], now.units);
    weft_gauge_set(s->counter[HELD], now.held);
    weft_gauge_set(s->counter[CACHED], now.cached);
    weft_counter_add(s->counter[PREEMPTED], now.preempted - was->preempted);
    weft_counter_add(s->counter[FOUND], now.found - was->found);
    weft_counter_add(s->counter[COMPUTED], now.computed - was->computed);
    weft_counter_add(s->counter[EVICTED], now.evicted - was->evicted);
    if (*rows > 0) {
        weft_counter_add(s->counter[STEPS], 1);
        weft_histogram_add(s->histogram[STEP_TIME], weft_clock_ns() - start);
        weft_histogram_add(s->histogram[ROWS], *rows);
        weft_histogram_add(s->histogram[FILL], now.running + s->ended);
        add_exchanges(s);
    }
    s->ended = 0;
    s->before = now;
    return WEFT_OK;
}

void weft_engine_stats_submitted(weft_engine_stats *s, weft_request_times *times, int prompt_tokens)
{
    if (!s) return;
    *times = (weft_request_times){.submitted = weft_clock_ns()};
    weft_counter_add(s->counter[SUBMITTED], 1);
    weft_counter_add(s->counter[PROMPT], prompt_tokens);
}

void weft_engine_stats_token(weft_engine_stats *s, weft_request_times *times)
{
    if (!s) return;
    const int64_t now = weft_clock_ns();
    if (times->first == 0)
        weft_histogram_add(s->histogram[FIRST_TOKEN], now - times->submitted);
    else
        weft_histogram_add(s->histogram[BETWEEN], now - times->last);
    if (times->first == 0) times->first = now;
    times->last = now;
    weft_counter_add(s->counter[GENERATED], 1);
}

void weft_engine_stats_ended(weft_engine_stats *s, const weft_request_times *times, weft_finish finish, bool by_text)
{
    static const int ends[] = {[WEFT_FINISH_STOP] = STOPPED,
                               [WEFT_FINISH_LENGTH] = LENGTH,
                               [WEFT_FINISH_SCORED] = SCORED,
                               [WEFT_FINISH_CANCELLED] = CANCELLED,
                               [WEFT_FINISH_FAILED] = FAILED};
    if (!s) return;
    if (finish != WEFT_FINISH_CANCELLED) s->ended++; // who is cancelled ends before the step's work
    weft_counter_add(s->counter[by_text ? STOPPED : ends[finish]], 1);
    if (finish == WEFT_FINISH_FAILED) return;
    if (finish != WEFT_FINISH_CANCELLED || by_text)
        weft_histogram_add(s->histogram[WHOLE], weft_clock_ns() - times->submitted);
}

void weft_engine_stats_refused(weft_engine_stats *s)
{
    if (s) weft_counter_add(s->counter[FAILED], 1);
}
