// Drawing for requests: penalties, biases, stop tokens, log-probabilities, going on where a request stood, many at
// once.
#include <math.h>

#include "core/philox.h"
#include "engine/sampler.h"
#include "tests/check.h"
#include "tests/engine/allocations.h"

enum { VOCAB = 1003, STEPS = 60, PROMPT = 40, ALL = PROMPT + STEPS };

static weft_kernels table;
static weft_team *team; // of three threads
static const int32_t model_stops[] = {VOCAB + 5, 7, 7, -1};
static const wi_sampler_model model = {.vocab = VOCAB, .stops = model_stops, .stop_count = 4};

// The logits of a made-up model that knows nothing but the position; with many ties, and likely enough that tokens
// come again.
static void fill_logits(float *out, uint64_t seed, int position)
{
    for (int i = 0; i < VOCAB; i++) {
        const weft_philox4 r = weft_draw4(seed, (uint32_t)i, (uint64_t)position, WEFT_DRAW_TEST);
        out[i] = (float)(r.word[0] % 64) / 8 - 4 + (i < 12 ? 6.0F : 0.0F);
    }
}

static void fill_prompt(int32_t *tokens, uint64_t seed)
{
    for (int i = 0; i < PROMPT; i++)
        tokens[i] = (int32_t)(weft_draw4(seed, 0, (uint64_t)i, WEFT_DRAW_TEST).word[0] % (i % 2 ? 12 : VOCAB));
}

static weft_op op_of(bool threads) { return (weft_op){.table = &table, .team = threads ? team : NULL}; }

// Draws `steps` more tokens behind those of `tokens`; stops are drawn over.
static void run(const weft_request_sampling *how, int32_t *tokens, int count, int drawn, int steps, weft_drawn *out)
{
    wi_sampler *s;
    wi_drawing *d;
    float logits[VOCAB];
    const weft_op op = op_of(false);
    CHECK_OK(weft_request_sampling_check(how, VOCAB, STEPS));
    CHECK_OK(wi_sampler_create(&model, how, tokens, count, drawn, STEPS, &s));
    CHECK_OK(wi_drawing_create(VOCAB, 1, 1, &d));
    CHECK(wi_sampler_bytes(s) > 0);
    for (int i = 0; i < steps; i++) {
        wi_draw draw = {.sampler = s, .logits = logits};
        fill_logits(logits, 5, count + i);
        wi_drawing_run(d, &op, &draw, 1);
        CHECK(draw.out.id >= 0);
        tokens[count + i] = draw.out.id;
        out[i] = draw.out;
    }
    wi_drawing_destroy(d);
    wi_sampler_destroy(s);
}

static const weft_bias biases[] = {{3, 1.5F}, {900, 100}, {0, -100}, {11, -0.25F}};

static weft_request_sampling sampling_of(int kind)
{
    weft_request_sampling s = weft_request_sampling_default();
    s.ignore_stops = true;
    s.draw = (weft_sampling){.temperature = kind % 3 ? 0.8F : 0, .top_p = kind % 2 ? 0.9F : 1, .seed = 77};
    s.draw.top_k = kind % 5 == 4 ? 30 : 0;
    s.draw.continuation = (uint32_t)kind;
    if (kind & 2) s.repetition = 1.3F;
    if (kind & 4) s.frequency = 0.35F, s.presence = -0.5F;
    if (kind & 8) s.biases = biases, s.bias_count = kind & 16 ? 1 : 4;
    if (kind & 16) s.logprobs = true, s.top_logprobs = kind % 21;
    return s;
}

// What the definition says, token by token and with counts over the whole text.
static void change_plainly(const weft_request_sampling *how, const int32_t *tokens, int count, float *logits)
{
    for (int32_t id = 0; id < VOCAB; id++) {
        int seen = 0, generated = 0;
        for (int i = 0; i < count; i++) {
            seen += tokens[i] == id;
            generated += tokens[i] == id && i >= PROMPT;
        }
        if (seen > 0) logits[id] = logits[id] > 0 ? logits[id] / how->repetition : logits[id] * how->repetition;
        logits[id] -= how->frequency * (float)generated;
        if (generated > 0) logits[id] -= how->presence;
        for (int i = 0; i < how->bias_count; i++)
            if (how->biases[i].id == id) logits[id] += how->biases[i].add;
    }
}

static void test_penalties(void)
{
    float logits[VOCAB];
    weft_op op = op_of(false);
    op.scratch_bytes = weft_pick_scratch(VOCAB, 1);
    op.scratch = aligned_alloc(64, (op.scratch_bytes + 127) / 64 * 64);
    int repeated = 0;
    for (int kind = 0; kind < 32; kind++) {
        const weft_request_sampling how = sampling_of(kind);
        const weft_sampling *draw = &how.draw;
        int32_t tokens[ALL];
        weft_drawn out[STEPS];
        fill_prompt(tokens, (uint64_t)kind);
        run(&how, tokens, PROMPT, 0, STEPS, out);
        for (int i = 0; i < STEPS; i++) {
            const uint64_t position = (uint64_t)PROMPT + (uint64_t)i;
            weft_choice want = {.id = -1};
            fill_logits(logits, 5, PROMPT + i);
            change_plainly(&how, tokens, PROMPT + i, logits);
            op.table->pick.sample(
                &op, &(weft_sample){
                         .logits = {logits, VOCAB, 1, VOCAB, 0}, .how = &draw, .position = &position, .out = &want});
            CHECK_INT(out[i].id, want.id);
            CHECK_BYTES(&out[i].logit, &want.logit, sizeof want.logit);
            for (int j = 0; j < PROMPT + i; j++) repeated += tokens[j] == tokens[PROMPT + i];
        }
    }
    CHECK(repeated > 1000); // or it would say little
    free(op.scratch);
}

// A request that was broken off anywhere goes on as if it had not been.
static void test_going_on(void)
{
    for (int kind = 0; kind < 32; kind++) {
        const weft_request_sampling how = sampling_of(kind);
        int32_t tokens[ALL], again[ALL];
        weft_drawn out[STEPS], rest[STEPS];
        fill_prompt(tokens, (uint64_t)kind);
        run(&how, tokens, PROMPT, 0, STEPS, out);
        for (int at = 0; at < STEPS; at += 7) {
            memcpy(again, tokens, sizeof again);
            memset(again + PROMPT + at, 0, sizeof(int32_t) * (size_t)(STEPS - at));
            run(&how, again, PROMPT + at, at, STEPS - at, rest);
            CHECK_BYTES(again, tokens, sizeof tokens);
            for (int i = at; i < STEPS; i++) {
                CHECK_BYTES(&rest[i - at].logit, &out[i].logit, sizeof(float));
                CHECK_BYTES(&rest[i - at].logprob, &out[i].logprob, sizeof(float));
            }
        }
    }
}

// All kinds side by side, over and over: in adjacent rows, with gaps and backwards, by one thread and by three.
static void test_batches(void)
{
    enum { KINDS = 32 };
    static int32_t tokens[KINDS][ALL];
    static weft_drawn want[KINDS][STEPS];
    float *logits = malloc(sizeof(float) * 2 * KINDS * VOCAB);
    CHECK(logits);
    for (int k = 0; k < KINDS; k++) {
        const weft_request_sampling how = sampling_of(k);
        fill_prompt(tokens[k], (uint64_t)k);
        run(&how, tokens[k], PROMPT, 0, STEPS, want[k]);
    }
    for (int way = 0; way < 4; way++) {
        wi_sampler *samplers[KINDS];
        wi_drawing *drawing;
        const weft_op op = op_of(way % 2);
        CHECK_OK(wi_drawing_create(VOCAB, KINDS, 3, &drawing));
        for (int k = 0; k < KINDS; k++) {
            const weft_request_sampling how = sampling_of(k);
            CHECK_OK(wi_sampler_create(&model, &how, tokens[k], PROMPT, 0, STEPS, &samplers[k]));
        }
        const int64_t before = allocations_so_far();
        for (int i = 0; i < STEPS; i++) {
            wi_draw draws[KINDS];
            for (int k = 0; k < KINDS; k++) {
                const int place = way < 2 ? k : 2 * (KINDS - 1 - k) + k % 3 % 2;
                draws[k] = (wi_draw){.sampler = samplers[k], .logits = logits + (size_t)place * VOCAB};
                fill_logits(draws[k].logits, 5, PROMPT + i);
            }
            wi_drawing_run(drawing, &op, draws, KINDS);
            for (int k = 0; k < KINDS; k++) {
                CHECK_INT(draws[k].out.id, want[k][i].id);
                CHECK_BYTES(&draws[k].out.logit, &want[k][i].logit, sizeof(float));
                CHECK_BYTES(&draws[k].out.logprob, &want[k][i].logprob, sizeof(float));
                CHECK_INT(draws[k].out.top_count, want[k][i].top_count);
            }
        }
        CHECK_INT(allocations_so_far(), before);
        for (int k = 0; k < KINDS; k++) wi_sampler_destroy(samplers[k]);
        wi_drawing_destroy(drawing);
    }
    CHECK(allocations_so_far() > 0); // they are counted
    free(logits);
}

// Draws by a device, of which the next ones begin before the first ones are known, for who does not look at logits.
static void test_under_way(void)
{
    enum { KINDS = 32 };
    static int32_t tokens[KINDS][ALL];
    static weft_drawn want[KINDS][STEPS];
    const weft_op op = op_of(false);
    wi_sampler *samplers[KINDS];
    wi_drawing *drawing;
    weft_device *device;
    wi_draw draws[WEFT_DEVICE_MARKS][KINDS];
    float *logits = malloc(sizeof(float) * KINDS * VOCAB);
    CHECK(logits);
    CHECK_OK(weft_device_host(NULL, &device));
    CHECK_OK(wi_drawing_create(VOCAB, KINDS, 1, &drawing));
    CHECK_OK(wi_drawing_go_there(drawing, &op, device));
    for (int k = 0; k < KINDS; k++) {
        weft_request_sampling how = weft_request_sampling_default();
        how.draw = sampling_of(k).draw;
        how.ignore_stops = true;
        fill_prompt(tokens[k], (uint64_t)k);
        CHECK_OK(wi_sampler_create(&model, &how, tokens[k], PROMPT, 0, STEPS, &samplers[k]));
        CHECK(!wi_sampler_looks(samplers[k]));
        run(&how, tokens[k], PROMPT, 0, STEPS, want[k]);
    }
    const int64_t before = allocations_so_far();
    for (int i = 0; i <= STEPS; i++) {
        wi_draw *now = draws[i % 2], *then = draws[(i + 1) % 2];
        for (int k = 0; k < KINDS; k++) {
            now[k] = (wi_draw){.sampler = samplers[k], .logits = logits + (size_t)k * VOCAB};
            fill_logits(now[k].logits, 5, PROMPT + i);
        }
        wi_drawing_begin_there(drawing, now, KINDS, i % 2);
        if (i == 0) continue;
        if (i == STEPS) then[1].sampler = NULL; // it has ended
        CHECK_OK(wi_drawing_end_there(drawing, then, KINDS, (i + 1) % 2));
        for (int k = 0; k < KINDS; k++) {
            if (!then[k].sampler) continue;
            CHECK_INT(then[k].out.id, want[k][i - 1].id);
            CHECK_BYTES(&then[k].out.logit, &want[k][i - 1].logit, sizeof(float));
        }
    }
    CHECK_INT(allocations_so_far(), before);
    for (int k = 0; k < KINDS; k++) wi_sampler_destroy(samplers[k]);
    wi_drawing_destroy(drawing);
    weft_device_destroy(device);
    free(logits);
}

// Where token 7 and then 9 are by far the likeliest: after how many draws the request ends, and by which.
static int stops_after(const weft_request_sampling *how, int32_t *by)
{
    wi_sampler *s;
    wi_drawing *d;
    float logits[VOCAB];
    const int32_t prompt[] = {1, 2};
    const weft_op op = op_of(false);
    int steps = 0;
    CHECK_OK(weft_request_sampling_check(how, VOCAB, STEPS));
    CHECK_OK(wi_sampler_create(&model, how, prompt, 2, 0, STEPS, &s));
    CHECK_OK(wi_drawing_create(VOCAB, 1, 1, &d));
    for (*by = -1; steps < 20; steps++) {
        wi_draw draw = {.sampler = s, .logits = logits};
        for (int i = 0; i < VOCAB; i++) logits[i] = (float)(-i % 13);
        logits[7] = 50;
        logits[9] = 40;
        wi_drawing_run(d, &op, &draw, 1);
        *by = draw.out.id;
        if (draw.stops) break;
    }
    wi_drawing_destroy(d);
    wi_sampler_destroy(s);
    return steps;
}

static void test_stops(void)
{
    const int32_t own[] = {9, 500};
    int32_t by;
    weft_request_sampling how = weft_request_sampling_default();
    CHECK_INT(stops_after(&how, &by), 0);
    CHECK_INT(by, 7);
    how.min_tokens = 5;
    CHECK_INT(stops_after(&how, &by), 5);
    CHECK_INT(by, 7);
    how.ignore_stops = true;
    CHECK_INT(stops_after(&how, &by), 20);
    CHECK_INT(by, 7);
    how.stops = own;
    how.stop_count = 2;
    CHECK_INT(stops_after(&how, &by), 20);
    how.repetition = 2; // 7 becomes less likely than 9, which must wait
    CHECK_INT(stops_after(&how, &by), 5);
    CHECK_INT(by, 9);
    how.ignore_stops = false;
    CHECK_INT(stops_after(&how, &by), 5);
    CHECK_INT(by, 7);
    how = weft_request_sampling_default();
    how.logprobs = true;
    how.min_tokens = 3; // what may not be drawn has its probability none the less
    how.top_logprobs = 1;
    CHECK_INT(stops_after(&how, &by), 3);
}

static void test_logprobs(void)
{
    for (int k = 0; k <= WEFT_TOP_LOGPROBS_MAX; k += k ? 19 : 1) {
        weft_request_sampling how = sampling_of(14); // with penalties and biases, which do not show
        wi_sampler *s;
        wi_drawing *d;
        float logits[VOCAB], same[VOCAB];
        int32_t tokens[PROMPT];
        const weft_op op = op_of(false);
        how.logprobs = true;
        how.top_logprobs = k;
        fill_prompt(tokens, 3);
        CHECK_OK(weft_request_sampling_check(&how, VOCAB, STEPS));
        CHECK_OK(wi_sampler_create(&model, &how, tokens, PROMPT, 0, STEPS, &s));
        CHECK_OK(wi_drawing_create(VOCAB, 1, 1, &d));
        for (int i = 0; i < STEPS; i++) {
            wi_draw draw = {.sampler = s, .logits = logits};
            double sum = 0;
            fill_logits(logits, 5, PROMPT + i);
            memcpy(same, logits, sizeof same);
            for (int j = 0; j < VOCAB; j++) sum += exp((double)logits[j]);
            wi_drawing_run(d, &op, &draw, 1);
            CHECK_BYTES(logits, same, sizeof same);
            CHECK(fabs((double)draw.out.logprob - ((double)logits[draw.out.id] - log(sum))) < 2e-6);
            CHECK_INT(draw.out.top_count, k);
            bool chosen[VOCAB] = {false};
            for (int j = 0; j < k; j++) { // ranked: none that is not chosen lies before, ties by the lower id
                const int32_t id = draw.out.top[j].id;
                for (int other = 0; other < VOCAB; other++) {
                    const bool behind = logits[other] < logits[id] || (other > id && logits[other] == logits[id]);
                    CHECK(behind || chosen[other] || other == id);
                }
                chosen[id] = true;
                CHECK(fabs((double)draw.out.top[j].logprob - ((double)logits[id] - log(sum))) < 2e-6);
            }
        }
        wi_drawing_destroy(d);
        wi_sampler_destroy(s);
    }
}

static void test_nan(void)
{
    wi_sampler *s;
    wi_drawing *d;
    float logits[2 * VOCAB];
    const int32_t prompt[] = {1, 2};
    const weft_op op = op_of(false);
    weft_request_sampling how = weft_request_sampling_default();
    how.logprobs = true;
    how.top_logprobs = 20;
    how.frequency = 1;
    CHECK_OK(wi_sampler_create(&model, &how, prompt, 2, 0, STEPS, &s));
    CHECK_OK(wi_drawing_create(VOCAB, 2, 1, &d));
    for (int i = 0; i < 2 * VOCAB; i++) logits[i] = NAN;
    wi_draw draw = {.sampler = s, .logits = logits};
    wi_drawing_run(d, &op, &draw, 1);
    CHECK_INT(draw.out.id, -1);
    CHECK_INT(draw.out.top_count, 0);
    CHECK(!draw.stops);
    CHECK_FAILS(wi_sampler_no_number(s), WEFT_FAILED, "no logit at position 1 is a number");
    logits[800] = -3, logits[801] = -3;
    wi_drawing_run(d, &op, &draw, 1);
    CHECK_INT(draw.out.id, 800);
    CHECK_INT(draw.out.top_count, 2);
    wi_drawing_destroy(d);
    wi_sampler_destroy(s);
}

#define REFUSED(part, ...)                                                                                             \
    do {                                                                                                               \
        weft_request_sampling s_ = weft_request_sampling_default();                                                    \
        __VA_ARGS__;                                                                                                   \
        CHECK_FAILS(weft_request_sampling_check(&s_, VOCAB, 10), WEFT_INVALID, part);                                  \
    } while (0)

static void test_limits(void)
{
    static const weft_bias high[] = {{1, 100.5F}}, outside[] = {{1, 1}, {VOCAB, 1}}, twice[] = {{5, 1}, {2, 1}, {5, 2}};
    static const weft_bias nan_bias[] = {{1, NAN}};
    static const int32_t stops[] = {4, -1};
    weft_request_sampling good = weft_request_sampling_default();
    CHECK_OK(weft_request_sampling_check(&good, VOCAB, 0));
    good.draw.top_k = -1;
    good.min_tokens = 10;
    CHECK_OK(weft_request_sampling_check(&good, VOCAB, 10));
    REFUSED("temperature nan: must be at least 0 and at most 100", s_.draw.temperature = NAN);
    REFUSED("temperature inf", s_.draw.temperature = INFINITY);
    REFUSED("temperature -0.5", s_.draw.temperature = -0.5F);
    REFUSED("top_p 0: must be above 0 and at most 1", s_.draw.top_p = 0);
    REFUSED("top_p 1.5", s_.draw.top_p = 1.5F);
    REFUSED("min_p -1", s_.draw.min_p = -1);
    REFUSED("top_k -2", s_.draw.top_k = -2);
    REFUSED("repetition_penalty 0: must be above 0", s_.repetition = 0);
    REFUSED("frequency_penalty 2.5", s_.frequency = 2.5F);
    REFUSED("presence_penalty -3", s_.presence = -3);
    REFUSED("logit bias 100.5", s_.biases = high; s_.bias_count = 1);
    REFUSED("logit bias nan", s_.biases = nan_bias; s_.bias_count = 1);
    REFUSED("logit bias 1 is the id 1003: the vocabulary has 0 to 1002", s_.biases = outside; s_.bias_count = 2);
    REFUSED("two logit biases for the id 5", s_.biases = twice; s_.bias_count = 3);
    REFUSED("5000 logit biases: 4096 are the most", s_.biases = twice; s_.bias_count = 5000);
    REFUSED("stop token 1 is the id -1", s_.stops = stops; s_.stop_count = 2);
    REFUSED("1025 stop token ids", s_.stops = stops; s_.stop_count = 1025);
    REFUSED("min_tokens 11: must be at least 0 and at most max_tokens, 10", s_.min_tokens = 11);
    REFUSED("top_logprobs 21", s_.logprobs = true; s_.top_logprobs = 21);
    REFUSED("top_logprobs 3 without logprobs", s_.top_logprobs = 3);
}

int main(void)
{
    weft_isa isa;
    weft_cpu cpu = weft_cpu_detect();
    CHECK_OK(weft_isa_choose(&cpu, &isa));
    table = weft_kernels_for(isa);
    CHECK_OK(weft_team_create(&(weft_team_options){.threads = 3, .waiters = 8}, &team));
    test_limits();
    test_penalties();
    test_going_on();
    test_batches();
    test_under_way();
    test_stops();
    test_logprobs();
    test_nan();
    weft_team_destroy(team);
    return 0;
}
