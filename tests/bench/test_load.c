// The requests of weft bench batch: lengths within their spans and spread as they should be, the same for a seed, what
// a file says, what is refused; arrivals at their rate.
#include <math.h>

#include "bench/batch.h"
#include "tests/check.h"

static weft_bench_batch_options options(const char *prompt, const char *generate, int lengths)
{
    return (weft_bench_batch_options){
        .requests = 20000, .prompt = prompt, .generate = generate, .lengths = lengths, .seed = 7, .rate = 50};
}

static weft_bench_load make(const weft_bench_batch_options *o)
{
    weft_bench_load load;
    CHECK_OK(weft_bench_load_make(o, NULL, 0, NULL, &load));
    CHECK_INT(load.count, o->requests);
    return load;
}

static void test_uniform(void)
{
    weft_bench_batch_options o = options("10..13", "5", WEFT_LENGTHS_UNIFORM);
    weft_bench_load load = make(&o), again = make(&o);
    int seen[4] = {0};
    int64_t prompts = 0;
    for (int i = 0; i < load.count; i++) {
        CHECK(load.at[i].prompt >= 10 && load.at[i].prompt <= 13);
        CHECK_INT(load.at[i].generate, 5);
        seen[load.at[i].prompt - 10]++;
        prompts += load.at[i].prompt;
    }
    for (int i = 0; i < 4; i++) CHECK(abs(seen[i] - 5000) < 300);
    CHECK_INT(load.longest, 18);
    CHECK_INT(load.prompts, prompts);
    CHECK_INT(load.generated, 5 * 20000);
    CHECK_BYTES(again.at, load.at, sizeof *load.at * (size_t)load.count);
    weft_bench_load_free(&again);
    o.seed = 8;
    again = make(&o);
    CHECK(memcmp(again.at, load.at, sizeof *load.at * (size_t)load.count) != 0);
    weft_bench_load_free(&again);
    weft_bench_load_free(&load);
}

static void test_lognormal(void)
{
    const weft_bench_batch_options o = options("16..1024", "1..1", WEFT_LENGTHS_LOGNORMAL);
    weft_bench_load load = make(&o);
    int below = 0, at_ends = 0;
    for (int i = 0; i < load.count; i++) {
        CHECK(load.at[i].prompt >= 16 && load.at[i].prompt <= 1024);
        below += load.at[i].prompt < 128; // the geometric mean
        at_ends += load.at[i].prompt == 16 || load.at[i].prompt == 1024;
    }
    CHECK(abs(below - 10000) < 400);
    CHECK(at_ends > 600 && at_ends < 1600); // one of twenty lies outside; half a token more rounds to an end
    weft_bench_load_free(&load);
}

static weft_status read_text(const char *text, weft_bench_load *out)
{
    const weft_bench_batch_options o = options("1", "1", WEFT_LENGTHS_UNIFORM);
    const size_t bytes = strlen(text);
    char *exact = malloc(bytes); // without a NUL behind it
    CHECK(exact);
    for (size_t i = 0; i < bytes; i++) exact[i] = text[i];
    const weft_status status = weft_bench_load_make(&o, exact, bytes, "lengths.jsonl", out);
    free(exact);
    return status;
}

static void test_file(void)
{
    weft_bench_load load;
    CHECK_OK(read_text("{\"prompt_tokens\":3,\"max_tokens\":4}\n\n  \n{\"max_tokens\":1,\"prompt_tokens\":9,\"x\":0}",
                       &load));
    CHECK_INT(load.count, 2);
    CHECK_INT(load.at[0].prompt, 3);
    CHECK_INT(load.at[0].generate, 4);
    CHECK_INT(load.at[1].prompt, 9);
    CHECK_INT(load.longest, 10);
    weft_bench_load_free(&load);
    CHECK_FAILS(read_text("\n", &load), WEFT_INVALID, "lengths.jsonl: no requests");
    CHECK_FAILS(read_text("\n{\"prompt_tokens\":3}", &load), WEFT_INVALID,
                "lengths.jsonl: line 2: \"max_tokens\" must");
    CHECK_FAILS(read_text("{\"prompt_tokens\":0,\"max_tokens\":4}", &load), WEFT_INVALID, "\"prompt_tokens\"");
    CHECK_FAILS(read_text("{\"prompt_tokens\":\"3\",\"max_tokens\":4}", &load), WEFT_INVALID, "\"prompt_tokens\"");
    CHECK_FAILS(read_text("[1]", &load), WEFT_INVALID, "line 1");
    CHECK_FAILS(read_text("{\"prompt_tokens\":", &load), WEFT_FORMAT, "lengths.jsonl: line 1");
}

static void test_refused(void)
{
    static const char *const wrong[] = {"", "0", "x", "5..3", "3..", "..3", "1..2..3", "-4", "1..99999999", "1.5"};
    weft_bench_load load;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        weft_bench_batch_options o = options(wrong[i], "1", WEFT_LENGTHS_UNIFORM);
        CHECK_FAILS(weft_bench_load_make(&o, NULL, 0, NULL, &load), WEFT_USAGE, "--prompt");
        o = options("1", wrong[i], WEFT_LENGTHS_UNIFORM);
        CHECK_FAILS(weft_bench_load_make(&o, NULL, 0, NULL, &load), WEFT_USAGE, "--generate");
    }
}

static void test_arrivals(void)
{
    enum { COUNT = 10000 };
    static double at[COUNT], again[COUNT], other[COUNT];
    const weft_bench_batch_options o = options("1", "1", WEFT_LENGTHS_UNIFORM);
    int short_gaps = 0;
    weft_bench_arrivals(&o, 0, at, COUNT);
    weft_bench_arrivals(&o, 0, again, COUNT);
    weft_bench_arrivals(&o, 1, other, COUNT);
    CHECK_BYTES(again, at, sizeof at);
    CHECK(other[0] != at[0] && other[1] != at[1]);
    for (int i = 1; i < COUNT; i++) {
        CHECK(at[i] > at[i - 1]);
        short_gaps += at[i] - at[i - 1] < log(2) / o.rate; // half of them, where gaps are exponential
    }
    CHECK(fabs(at[COUNT - 1] / (COUNT / o.rate) - 1) < 0.04);
    CHECK(abs(short_gaps - COUNT / 2) < 250);
}

int main(void)
{
    test_uniform();
    test_lognormal();
    test_file();
    test_refused();
    test_arrivals();
    return 0;
}
