// What may not show in bits: how a prompt is cut, who shares the batch, threads, the size of a block, the level of the
// processor inside a family. And what happens to requests: order, limits, cancelling, one end for each.
#include "tests/check.h"
#include "tests/engine/rig.h"

static int64_t compared;

static weft_request request_of(const golden *g, int prompt, int draw, float temperature, result *out)
{
    return (weft_request){.tokens = g->prompt,
                          .token_count = prompt,
                          .max_tokens = draw,
                          .sampling = rig_sampling(temperature, 0.95F, 11),
                          .prompt_logits = out->logits != NULL,
                          .calls = &rig_calls,
                          .arg = out};
}

static void submit(rig *r, const golden *g, int prompt, int draw, float temperature, result *out)
{
    int64_t id;
    const weft_request request = request_of(g, prompt, draw, temperature, out);
    CHECK_OK(weft_engine_submit(r->engine, &request, &id));
}

static result with_logits(const golden *g)
{
    result r = {.logits = calloc((size_t)g->prompt_count * g->vocab, sizeof(float)), .vocab = g->vocab};
    CHECK(r.logits);
    return r;
}

// The prompt's logits and 24 drawn tokens of one request, among `beside` others.
static result run_one(const char *name, const golden *g, const rig_options *options, int beside)
{
    rig r;
    result others[8] = {0}, out = with_logits(g);
    rig_open(&r, name, options);
    for (int i = 0; i < beside; i++) submit(&r, g, 1 + 9 * i % g->prompt_count, 5 + 7 * i, (float)(i % 2), &others[i]);
    // It comes when the others are in the middle of their work.
    for (int i = 0, rows; i < 3 && beside > 0; i++) CHECK_OK(weft_engine_step(r.engine, &rows));
    submit(&r, g, g->prompt_count, 24, 0.9F, &out);
    rig_run(&r);
    for (int i = 0; i < beside; i++) CHECK_INT(others[i].ends, 1);
    CHECK_INT(out.ends, 1);
    CHECK_INT(out.count, 24);
    CHECK_OK(weft_engine_check(r.engine));
    rig_close(&r);
    return out;
}

// Logits behind the prompt are given too, one a drawn token; only the prompt's are kept by a result of that size.
static void expect_same(const char *what, const char *name, const golden *g, const result *got, const result *want)
{
    const size_t count = (size_t)g->prompt_count * g->vocab;
    for (size_t i = 0; i < count; i++, compared++)
        if (memcmp(&got->logits[i], &want->logits[i], sizeof(float)) != 0)
            CHECK_FAIL("%s, %s: logit %zu of position %zu is %a, was %a", name, what, i % g->vocab, i / g->vocab,
                       (double)got->logits[i], (double)want->logits[i]);
    for (int i = 0; i < want->count; i++, compared++) CHECK_INT(got->tokens[i], want->tokens[i]);
}

static void check_bits(const char *name, weft_dtype type, int group, weft_cache_type cache)
{
    golden g;
    rig_options o = rig_defaults();
    golden_read(name, &g);
    o.type = type;
    o.group = group;
    o.cache = cache;
    result want = run_one(name, &g, &o, 0);
    const struct {
        const char *what;
        int chunk, block, threads, beside;
    } ways[] = {{"rows one by one", 1, 16, 1, 0}, {"chunks of 7", 7, 16, 1, 0},  {"three threads", 64, 16, 3, 0},
                {"blocks of 64", 64, 64, 1, 0},   {"five beside", 64, 16, 1, 5}, {"all at once", 13, 32, 2, 6},
                {"chunks of 33", 33, 128, 2, 0}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        o.chunk = ways[i].chunk;
        o.block = ways[i].block;
        o.threads = ways[i].threads;
        result got = run_one(name, &g, &o, ways[i].beside);
        expect_same(ways[i].what, name, &g, &got, &want);
        free(got.logits);
    }
    // Levels share the family of f32, of weights and of the cache.
    for (int isa = WEFT_ISA_REF; type == WEFT_F32 && cache == WEFT_CACHE_F32 && isa <= (int)rig_defaults().isa; isa++) {
        o = rig_defaults();
        o.isa = (weft_isa)isa;
        o.cache = cache;
        result got = run_one(name, &g, &o, 0);
        expect_same(weft_isa_name(o.isa), name, &g, &got, &want);
        free(got.logits);
    }
    free(want.logits);
    golden_free(&g);
}

// Three blocks of 16: the second request waits for the first, and the third is not let past it.
static void check_order(void)
{
    rig r;
    golden g;
    int64_t id, wide;
    rig_options o = rig_defaults();
    golden_read("llama-plain", &g);
    rig_open(&r, "llama-plain", &o);
    const size_t unit = weft_pool_cut(weft_engine_pool(r.engine))->unit;
    rig_close(&r);
    o.cache_bytes = (int64_t)(3 * unit);
    o.unshared = true; // they begin alike
    rig_open(&r, "llama-plain", &o);
    CHECK_INT(weft_pool_units(weft_engine_pool(r.engine)), 3);
    result out[4] = {0};
    submit(&r, &g, 20, 5, 0, &out[0]);
    submit(&r, &g, 30, 4, 0, &out[1]);
    submit(&r, &g, 2, 2, 0, &out[2]);
    int rows;
    CHECK_OK(weft_engine_step(r.engine, &rows));
    CHECK_INT(rows, 20);
    CHECK_OK(weft_engine_step(r.engine, &rows));
    CHECK_INT(rows, 1);
    while (!out[0].ends) CHECK_OK(weft_engine_step(r.engine, &rows));
    CHECK_INT(out[2].count, 0);
    rig_run(&r);
    for (int i = 0; i < 3; i++) CHECK_INT(out[i].ends, 1);
    CHECK_INT(out[1].count, 4);

    // 48 tokens are 3 blocks, since the last one drawn is never computed; 49 would need a fourth.
    weft_request request = request_of(&g, 40, 9, 0, &out[3]);
    CHECK_OK(weft_engine_submit(r.engine, &request, &wide));
    request.max_tokens = 10;
    CHECK_FAILS(weft_engine_submit(r.engine, &request, &id), WEFT_LIMIT, "the cache has room for 48");
    const int32_t beyond[] = {1, 128};
    request = (weft_request){.tokens = beyond, .token_count = 2, .calls = &rig_calls};
    CHECK_FAILS(weft_engine_submit(r.engine, &request, &id), WEFT_INVALID, "token 1 is 128");
    request.token_count = 0;
    CHECK_FAILS(weft_engine_submit(r.engine, &request, &id), WEFT_INVALID, "without tokens");
    for (int i = 0; i < 3; i++) CHECK_OK(weft_engine_step(r.engine, &rows));
    weft_engine_cancel(r.engine, wide);
    weft_engine_cancel(r.engine, 12345);
    rig_run(&r);
    CHECK_INT(out[3].ends, 1);
    CHECK_INT(out[3].finish, WEFT_FINISH_CANCELLED);
    CHECK_INT(out[3].count, 3);
    CHECK_OK(weft_engine_check(r.engine));
    // What is left over when the engine goes is given back unheard.
    submit(&r, &g, 20, 5, 0, &out[3]);
    CHECK_OK(weft_engine_step(r.engine, &rows));
    rig_close(&r);
    CHECK_INT(out[3].ends, 1);
    golden_free(&g);
}

// Rotations are made for so many positions and no more.
static void check_positions(void)
{
    rig r;
    golden g;
    int64_t id;
    rig_options o = rig_defaults();
    golden_read("llama-plain", &g);
    rig_open(&r, "llama-plain", &o);
    result out = {0};
    weft_request request = request_of(&g, 13, 501, 0, &out);
    CHECK_FAILS(weft_engine_submit(r.engine, &request, &id), WEFT_LIMIT, "for 512 positions");
    request.max_tokens = 500;
    CHECK_OK(weft_engine_submit(r.engine, &request, &id));
    rig_close(&r);
    golden_free(&g);
}

// A text that grows over the length from which it is rotated in another way gives what it gives from scratch.
static void check_longer(void)
{
    rig r;
    golden g;
    rig_options o = rig_defaults();
    golden_read("phi3-longrope", &g);
    rig_open(&r, "phi3-longrope", &o);
    result grown = {0}, fresh = {0};
    submit(&r, &g, 25, 20, 0, &grown); // its rotations change at 32
    rig_run(&r);
    CHECK_INT(grown.count, 20);
    int32_t text[45];
    memcpy(text, g.prompt, 25 * sizeof *text);
    memcpy(text + 25, grown.tokens, 20 * sizeof *text);
    for (int at = 33; at < 45; at++) {
        int64_t id;
        fresh.count = 0;
        CHECK_OK(weft_engine_submit(r.engine,
                                    &(weft_request){.tokens = text,
                                                    .token_count = at,
                                                    .max_tokens = 1,
                                                    .sampling = rig_sampling(0, 1, 0),
                                                    .calls = &rig_calls,
                                                    .arg = &fresh},
                                    &id));
        rig_run(&r);
        CHECK_INT(fresh.tokens[0], text[at]);
        compared++;
    }
    rig_close(&r);
    golden_free(&g);
}

// What requests with much in common get, one way and another: the same.
enum { CROWD = 10 };
typedef struct {
    int prompt, draw, priority;
    bool forks; // from the one before it
    float temperature;
} member;
static const member crowd[CROWD] = {{48, 24, 0, false, 0},     {48, 24, 0, true, 0.9F},  {48, 20, 0, true, 0.9F},
                                    {40, 30, 0, false, 0.9F},  {17, 9, 1, false, 0},     {48, 1, 0, false, 0},
                                    {33, 40, -1, false, 0.7F}, {48, 31, 0, false, 0.9F}, {2, 50, 2, false, 0.9F},
                                    {47, 16, 0, true, 0}};

static weft_engine_state run_crowd(const char *name, const golden *g, const rig_options *o, result *out)
{
    rig r;
    int64_t id = 0;
    rig_open(&r, name, o);
    for (int i = 0; i < CROWD; i++) {
        const member *m = &crowd[i];
        weft_request request = request_of(g, m->prompt, m->draw, m->temperature, &out[i]);
        request.sampling.draw.continuation = (uint32_t)i;
        request.priority = m->priority;
        if (m->forks) {
            request.fork_of = id;
            request.token_count = crowd[i - 1].prompt;
        }
        CHECK_OK(weft_engine_submit(r.engine, &request, &id));
    }
    for (int rows = 1; rows > 0;) {
        CHECK_OK(weft_engine_step(r.engine, &rows));
        CHECK_OK(weft_engine_check(r.engine));
    }
    const weft_engine_state state = weft_engine_state_of(r.engine);
    CHECK_INT(state.held, 0);
    rig_close(&r);
    return state;
}

// `groups`: of layers, each of which takes a unit for a block. `grows`: some keep all positions, so that what a request
// takes grows with its text.
static void check_crowd(const char *name, int groups, bool grows, weft_dtype type, weft_cache_type cache)
{
    golden g;
    rig_options o = rig_defaults();
    result want[CROWD] = {0};
    golden_read(name, &g);
    o.type = type;
    o.group = type == WEFT_E4M3 ? 128 : 0;
    o.cache = cache;
    o.unshared = true;
    o.requests = 1;
    o.cache_bytes = 0;
    o.cache_units = groups * 64;
    CHECK_INT(run_crowd(name, &g, &o, want).found, 0);
    const struct {
        int requests, chunk, block;
        int64_t blocks;
        bool unshared, preempts;
        weft_schedule schedule;
    } ways[] = {
        {8, 64, 16, 64, false, false, WEFT_SCHEDULE_FIFO},         {8, 64, 16, 64, true, false, WEFT_SCHEDULE_FIFO},
        {8, 9, 16, 64, false, true, WEFT_SCHEDULE_PREFILL_FIRST},  {10, 64, 16, 10, false, true, WEFT_SCHEDULE_FIFO},
        {10, 11, 16, 7, false, true, WEFT_SCHEDULE_PREFILL_FIRST}, {10, 30, 16, 8, true, true, WEFT_SCHEDULE_FIFO},
        {4, 16, 32, 9, false, false, WEFT_SCHEDULE_FIFO},          {2, 64, 16, 64, false, false, WEFT_SCHEDULE_FIFO}};
    int64_t preempted = 0, found = 0;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        result got[CROWD] = {0};
        o.requests = ways[i].requests;
        o.chunk = ways[i].chunk;
        o.block = ways[i].block;
        o.cache_units = groups * ways[i].blocks;
        o.unshared = ways[i].unshared;
        o.preempts = ways[i].preempts;
        o.schedule = ways[i].schedule;
        const weft_engine_state state = run_crowd(name, &g, &o, got);
        preempted += state.preempted;
        found += state.found;
        for (int j = 0; j < CROWD; j++) {
            CHECK_INT(got[j].ends, 1);
            CHECK_INT(got[j].count, want[j].count);
            for (int k = 0; k < want[j].count; k++, compared++) CHECK_INT(got[j].tokens[k], want[j].tokens[k]);
        }
    }
    CHECK((preempted > 0) == grows);
    CHECK(found > 0);
    golden_free(&g);
}

// Eight with one prompt compute it once: each takes from the first all but what lies behind its last whole block.
static void check_once(void)
{
    rig r;
    golden g;
    rig_options o = rig_defaults();
    result out[8] = {0};
    golden_read("llama-plain", &g);
    rig_open(&r, "llama-plain", &o);
    for (int i = 0; i < 8; i++) submit(&r, &g, 45, 2, 0, &out[i]);
    rig_run(&r);
    const weft_engine_state state = weft_engine_state_of(r.engine);
    CHECK_INT(state.found, 7 * 32);
    CHECK_INT(state.computed, 45 + 7 * 13 + 8);
    rig_close(&r);
    golden_free(&g);
}

// What was drawn before a stop goes on as if there had been none.
static void check_going_on(const char *name, int prompt, int draw)
{
    rig r;
    golden g;
    rig_options o = rig_defaults();
    golden_read(name, &g);
    result want = {0};
    rig_open(&r, name, &o);
    submit(&r, &g, prompt, draw, 0.9F, &want);
    rig_run(&r);
    CHECK_INT(want.count, draw);
    for (int drawn = 1; drawn < draw; drawn++) {
        int64_t id;
        int32_t text[256];
        result got = {0};
        weft_request request = request_of(&g, prompt, draw, 0.9F, &got);
        memcpy(text, g.prompt, (size_t)prompt * sizeof *text);
        memcpy(text + prompt, want.tokens, (size_t)drawn * sizeof *text);
        request.tokens = text;
        request.token_count = prompt + drawn;
        request.drawn = drawn;
        CHECK_OK(weft_engine_submit(r.engine, &request, &id));
        rig_run(&r);
        CHECK_INT(got.count, draw - drawn);
        for (int i = 0; i < got.count; i++, compared++) CHECK_INT(got.tokens[i], want.tokens[drawn + i]);
        request.drawn = request.max_tokens;
        request.token_count = prompt + request.max_tokens;
        memcpy(text + prompt, want.tokens, (size_t)draw * sizeof *text);
        CHECK_FAILS(weft_engine_submit(r.engine, &request, &id), WEFT_INVALID, "nothing is left to do");
    }
    rig_close(&r);
    golden_free(&g);
}

int main(void)
{
    check_crowd("llama-plain", 1, true, WEFT_F32, WEFT_CACHE_F32);
    check_crowd("gpt-oss", 2, true, WEFT_BF16, WEFT_CACHE_BF16);
    check_crowd("mistral", 1, false, WEFT_BF16, WEFT_CACHE_INT8);
    check_crowd("qwen2", 1, true, WEFT_E4M3, WEFT_CACHE_FP8);
    check_crowd("gemma3", 3, true, WEFT_F32, WEFT_CACHE_BF16);
    check_once();
    check_going_on("llama-plain", 20, 12);
    check_going_on("phi3-longrope", 25, 20); // its rotations change at 32
    check_going_on("llama-dynamic", 25, 20);
    check_bits("llama-llama3", WEFT_F32, 0, WEFT_CACHE_F32);
    check_bits("llama-plain", WEFT_BF16, 0, WEFT_CACHE_BF16);
    check_bits("gemma3", WEFT_BF16, 0, WEFT_CACHE_F32);
    check_bits("gpt-oss", WEFT_BF16, 0, WEFT_CACHE_BF16);
    check_bits("qwen3-moe", WEFT_F32, 0, WEFT_CACHE_INT8);
    check_bits("mistral", WEFT_I8, 0, WEFT_CACHE_INT8);
    check_bits("llama-plain", WEFT_F32, 0, WEFT_CACHE_FP8);
    check_bits("qwen3-moe", WEFT_E4M3, 128, WEFT_CACHE_FP8);
    check_bits("llama-dynamic", WEFT_I4, 32, WEFT_CACHE_BF16);
    check_order();
    check_positions();
    check_longer();
    printf("%lld values compared to the bit\n", (long long)compared);
    return 0;
}
