#include "launch/batch_show.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/log.h"

static const int64_t TERMINAL_NS = 250000000, LOG_NS = 30000000000;

static char *format_seconds(double seconds, char text[24])
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
    snprintf(text + used, capacity - (size_t)used, ", %s left", format_seconds(rest * seconds / (double)now, left));
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

// ---- at the end ----

static void print_figures(const wi_batch_figures *f)
{
    char time[24];
    fprintf(stderr, "weft: %lld requests answered, %lld failed", (long long)f->requests, (long long)f->failed);
    if (f->resumed > 0) fprintf(stderr, ", %lld by earlier runs", (long long)f->resumed);
    fprintf(stderr, "; %lld tokens in %s", (long long)f->tokens, format_seconds(f->seconds, time));
    if (f->tokens > 0 && f->seconds > 0) fprintf(stderr, ", %.1f a second", (double)f->tokens / f->seconds);
    fputc('\n', stderr);
}

static void write_replicas(weft_json_writer *w, const wi_batch *b)
{
    weft_json_write_array(w, "replicas");
    for (int i = 0; i < b->branch_count; i++) {
        const wi_branch *r = &b->branches[i];
        weft_json_write_object(w, NULL);
        weft_json_write_int(w, "requests_run", r->requests);
        weft_json_write_int(w, "requests_returned", r->returned);
        weft_json_write_int(w, "tokens_drawn", r->tokens);
        weft_json_write_int(w, "steps_run", r->standing.state.steps);
        weft_json_write_end(w);
    }
    weft_json_write_end(w);
}

static weft_status write_json(const wi_batch *b, const char *digest, const char *path, weft_status ended)
{
    const wi_batch_figures *f = &b->figures;
    const weft_engine_state state = wi_batch_state(b);
    weft_json_writer w;
    weft_json_writer_init(&w, true);
    weft_json_write_object(&w, NULL);
    weft_json_write_string(&w, "ended", ended == WEFT_OK ? "done" : ended == WEFT_DRAINED ? "drained" : "failed");
    weft_json_write_int(&w, "requests", f->requests);
    weft_json_write_int(&w, "failed", f->failed);
    weft_json_write_int(&w, "requests_before", f->resumed);
    weft_json_write_int(&w, "continued", f->begun);
    weft_json_write_int(&w, "prompt_tokens", f->prompt_tokens);
    weft_json_write_int(&w, "again_tokens", f->again_tokens);
    weft_json_write_int(&w, "tokens", f->tokens);
    weft_json_write_int(&w, "steps", state.steps);
    weft_json_write_int(&w, "computed_positions", state.computed);
    weft_json_write_int(&w, "shared_positions", state.found);
    weft_json_write_int(&w, "preempted", state.preempted);
    weft_json_write_int(&w, "evicted_blocks", state.evicted);
    weft_json_write_real(&w, "load_s", b->model->load_s);
    weft_json_write_real(&w, "seconds", f->seconds);
    weft_json_write_real(&w, "tokens_per_s", f->seconds > 0 ? (double)f->tokens / f->seconds : 0);
    weft_json_write_int(&w, "ranks", weft_comm_size(b->model->world));
    write_replicas(&w, b);
    weft_json_write_string(&w, "family", weft_family_name(weft_model_weights_of(b->model->model)->family));
    if (ended == WEFT_OK) weft_json_write_string(&w, "digest", digest);
    weft_json_write_end(&w);
    return weft_json_writer_save(&w, path);
}

weft_status wi_batch_tell(const wi_batch *b, const wi_stats *stats, const char *json, bool digest, weft_status ended)
{
    char error[WEFT_ERROR_TEXT_MAX], hash[65];
    snprintf(error, sizeof error, "%s", weft_error_text());
    print_figures(&b->figures);
    wi_stats_print(stats);
    wi_order_text(&b->sink->order, hash);
    if (json) WEFT_TRY(write_json(b, hash, json, ended));
    if (ended < 0) return weft_fail(ended, "%s", error);
    if (digest) wi_print_digest(b->model, hash);
    if (b->sink->failed == 0) return WEFT_OK;
    return weft_fail(WEFT_FAILED, "%lld of %lld requests failed: their lines of the output say why",
                     (long long)b->sink->failed, (long long)b->sink->written);
}
