// Steps that are under way while the next one is decided, on a device: what requests get is what they get on the host,
// where each step is done before the next; by sampling, stop tokens, cancels, forks, preemption and rotations that
// change. And the order of what the device is told: a step is launched before anybody waits for the one before it.
#include "tests/check.h"
#include "tests/engine/rig.h"

enum { REQUESTS = 12, TOKENS_MAX = 64 };

typedef struct {
    int prompt, draw, priority;
    bool forks; // from the one before it
    float temperature;
    int stops, cancel_at; // so many ids end it; its owner cancels it with this token
    int min_tokens;
    float repetition;
    bool logprobs;
} wanted;
static const wanted crowd[REQUESTS] = {{.prompt = 48, .draw = 24},
                                       {.prompt = 48, .draw = 24, .forks = true, .temperature = 0.9F, .stops = 8},
                                       {.prompt = 48, .draw = 20, .forks = true, .temperature = 0.9F, .cancel_at = 7},
                                       {.prompt = 40, .draw = 30, .temperature = 1.3F, .stops = 12},
                                       {.prompt = 17, .draw = 9, .priority = 1},
                                       {.prompt = 48, .draw = 1},
                                       {.prompt = 33, .draw = 40, .priority = -1, .temperature = 1.3F, .stops = 5},
                                       {.prompt = 45, .draw = 31, .temperature = 0.9F, .min_tokens = 6, .stops = 40},
                                       {.prompt = 2, .draw = 50, .priority = 2, .temperature = 0.9F, .cancel_at = 20},
                                       {.prompt = 30, .draw = 12, .repetition = 1.3F},
                                       {.prompt = 12, .draw = 10, .temperature = 0.7F, .logprobs = true},
                                       {.prompt = 31, .draw = 0}};

typedef struct {
    weft_engine *engine;
    int64_t id;
    int cancel_at;
    int32_t tokens[TOKENS_MAX];
    float logit[TOKENS_MAX], logprob[TOKENS_MAX];
    int count, ends;
    weft_finish finish;
} got;

static int64_t compared, stopped, preempted;

static void on_token(void *arg, const weft_drawn *drawn)
{
    got *g = arg;
    CHECK(g->ends == 0 && g->count < TOKENS_MAX);
    CHECK(g->cancel_at == 0 || g->count < g->cancel_at); // nothing behind a cancel
    g->tokens[g->count] = drawn->id;
    g->logit[g->count] = drawn->logit;
    g->logprob[g->count++] = drawn->logprob;
    if (g->count == g->cancel_at) weft_engine_cancel(g->engine, g->id);
}

static void on_end(void *arg, weft_finish finish)
{
    got *g = arg;
    g->finish = finish;
    g->ends++;
}

static const weft_request_calls calls = {.token = on_token, .end = on_end};

static void submit(rig *r, const golden *g, const wanted *w, int number, got *out)
{
    int32_t stops[TOKENS_MAX];
    *out = (got){.engine = r->engine, .cancel_at = w->cancel_at};
    for (int i = 0; i < w->stops; i++) stops[i] = (i * 13 + 5) % (int)r->vocab;
    weft_request request = {.tokens = g->prompt,
                            .token_count = w->prompt,
                            .max_tokens = w->draw,
                            .priority = w->priority,
                            .fork_of = w->forks ? out[-1].id : 0,
                            .sampling = rig_sampling(w->temperature, 0.95F, 11),
                            .calls = &calls,
                            .arg = out};
    request.sampling.draw.continuation = (uint32_t)number;
    request.sampling.stops = stops;
    request.sampling.stop_count = w->stops;
    request.sampling.min_tokens = w->min_tokens;
    request.sampling.logprobs = w->logprobs;
    if (w->repetition > 0) request.sampling.repetition = w->repetition;
    CHECK_OK(weft_engine_submit(r->engine, &request, &out->id));
}

static void run(const char *name, const golden *g, const rig_options *o, got *out)
{
    rig r;
    rig_open(&r, name, o);
    for (int i = 0, rows = 1; i < REQUESTS || rows > 0; i++) {
        if (i < REQUESTS) submit(&r, g, &crowd[i], i, &out[i]);
        if (i < REQUESTS && i % 3 > 0) continue; // some come while others are at work
        CHECK_OK(weft_engine_step(r.engine, &rows));
        CHECK_OK(weft_engine_check(r.engine));
    }
    const weft_engine_state state = weft_engine_state_of(r.engine);
    CHECK_INT(state.held, 0);
    if (o->device) preempted += state.preempted;
    rig_close(&r);
}

static void expect_same(const char *name, const char *how, const got *one, const got *other)
{
    for (int i = 0; i < REQUESTS; i++) {
        CHECK_INT(other[i].ends, 1);
        if (one[i].count != other[i].count || one[i].finish != other[i].finish)
            CHECK_FAIL("%s, %s: request %d has %d tokens and ends by %s, on the host %d by %s", name, how, i,
                       other[i].count, weft_finish_name(other[i].finish), one[i].count,
                       weft_finish_name(one[i].finish));
        for (int k = 0; k < one[i].count; k++, compared++)
            if (one[i].tokens[k] != other[i].tokens[k] ||
                memcmp(&one[i].logit[k], &other[i].logit[k], sizeof(float)) != 0 ||
                memcmp(&one[i].logprob[k], &other[i].logprob[k], sizeof(float)) != 0)
                CHECK_FAIL("%s, %s: token %d of request %d is %d (%a), on the host %d (%a)", name, how, k, i,
                           other[i].tokens[k], (double)other[i].logit[k], one[i].tokens[k], (double)one[i].logit[k]);
        stopped += one[i].finish == WEFT_FINISH_STOP;
    }
}

static void check_crowd(const char *kind, const char *name, int groups)
{
    golden g;
    got want[REQUESTS], have[REQUESTS];
    rig_options o = rig_defaults();
    golden_read(name, &g);
    o.cache_bytes = 0;
    o.cache_units = groups * 64;
    run(name, &g, &o, want);
    const struct {
        const char *how, *ahead;
        int requests, chunk;
        int64_t blocks;
        bool preempts;
        weft_schedule schedule;
    } ways[] = {{"alone", "on", 1, 64, 64, false, WEFT_SCHEDULE_FIFO},
                {"beside each other", "on", 8, 64, 64, false, WEFT_SCHEDULE_FIFO},
                {"one step after the other", "off", 8, 64, 64, false, WEFT_SCHEDULE_FIFO},
                {"few blocks", "on", 10, 30, 9, true, WEFT_SCHEDULE_FIFO},
                {"few blocks, prompts first", "on", 10, 13, 7, true, WEFT_SCHEDULE_PREFILL_FIRST}};
    o.device = kind;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        o.requests = ways[i].requests;
        o.chunk = ways[i].chunk;
        o.cache_units = groups * ways[i].blocks;
        o.preempts = ways[i].preempts;
        o.schedule = ways[i].schedule;
        CHECK(setenv("WEFT_AHEAD", ways[i].ahead, 1) == 0);
        run(name, &g, &o, have);
        expect_same(name, ways[i].how, want, have);
    }
    golden_free(&g);
}

// ---- who waits for what ----

// What the device was told since: a step's begin and mark, waits for a mark, and for all.
static char told[4096];
static size_t told_count;
static const weft_device_ops *real;

static void say(char what)
{
    CHECK(told_count + 1 < sizeof told);
    told[told_count++] = what;
    told[told_count] = 0;
}

static void say_begin(weft_device *device)
{
    say('(');
    real->begin(device);
}

static void say_mark(weft_device *device, int which)
{
    say((char)('a' + which));
    real->mark(device, which);
}

static weft_status say_wait(weft_device *device, int which)
{
    say((char)('A' + which));
    return real->wait(device, which);
}

static weft_status say_sync(weft_device *device)
{
    say('!');
    return real->sync(device);
}

static weft_status say_in(weft_device *device, void *to, const void *host, size_t bytes)
{
    say('!');
    return real->copy_in(device, to, host, bytes);
}

static weft_status say_out(weft_device *device, void *host, const void *from, size_t bytes)
{
    say('!');
    return real->copy_out(device, host, from, bytes);
}

// Eight requests that generate: in each step one begin, one mark, and one wait for the mark before it.
static void check_order(const char *kind, const char *ahead, const char *step)
{
    enum { STEPS = 20 };
    rig r;
    golden g;
    got out[8];
    int rows;
    rig_options o = rig_defaults();
    o.device = kind;
    golden_read("llama-plain", &g);
    CHECK(setenv("WEFT_AHEAD", ahead, 1) == 0);
    rig_open(&r, "llama-plain", &o);
    real = r.device->ops;
    weft_device_ops telling = *real;
    telling.begin = say_begin;
    telling.mark = say_mark;
    telling.wait = say_wait;
    telling.sync = say_sync;
    telling.copy_in = say_in;
    telling.copy_out = say_out;
    for (int i = 0; i < 8; i++)
        submit(&r, &g, &(wanted){.prompt = 5 + i, .draw = STEPS + 8, .temperature = (float)(i % 2)}, i, &out[i]);
    for (int i = 0; i < 4; i++) CHECK_OK(weft_engine_step(r.engine, &rows));
    r.device->ops = &telling;
    told_count = 0;
    for (int i = 0; i < STEPS; i++) CHECK_OK(weft_engine_step(r.engine, &rows));
    CHECK_INT(rows, 8);
    for (int i = 0; i < STEPS / 2; i++)
        if (strncmp(told + (size_t)i * strlen(step), step, strlen(step)) != 0)
            CHECK_FAIL("WEFT_AHEAD=%s: steps %d and %d tell the device %s, not %s", ahead, 2 * i, 2 * i + 1, told,
                       step);
    CHECK_INT(told_count, STEPS / 2 * strlen(step));
    r.device->ops = real;
    rig_run(&r);
    for (int i = 0; i < 8; i++) CHECK_INT(out[i].count, STEPS + 8);
    rig_close(&r);
    golden_free(&g);
}

int main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "emulated";
    if (!rig_has_device(kind)) {
        printf("skipped: %s\n", weft_error_text());
        return 77;
    }
    check_order(kind, "on", "(aB(bA");
    check_order(kind, "off", "(aA(aA");
    check_crowd(kind, "llama-plain", 1);
    check_crowd(kind, "gpt-oss", 2);
    check_crowd(kind, "phi3-longrope", 1); // its rotations change at 32
    CHECK(stopped > 0 && preempted > 0);
    printf("%lld tokens compared to the bit, %lld requests stopped, %lld preempted\n", (long long)compared,
           (long long)stopped, (long long)preempted);
    return 0;
}
