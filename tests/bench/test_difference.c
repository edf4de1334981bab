// Differences between sets of samples whose truth is known: how often none is found where none is, and a planted one
// where it is; under drift that both sides went through; within one run whose samples come in bursts.
#include <math.h>

#include "bench/difference.h"
#include "core/philox.h"
#include "tests/check.h"

enum { RUNS = 8, SAMPLES = 5, TRIALS = 200, BURST = 240 };

static uint64_t drawn;

static double normal(void)
{
    const weft_philox4 d = weft_draw4(7, 0, drawn++, WEFT_DRAW_TEST);
    return sqrt(-2 * log(1 - weft_unit_double(d.word[0], d.word[1]))) *
           cos(6.283185307 * weft_unit_double(d.word[2], d.word[3]));
}

typedef struct {
    double samples[RUNS * SAMPLES];
    size_t ends[RUNS];
} set;

// Runs of a few samples each: what differs between runs is three times what differs within one.
static weft_runs make(set *s, int runs, double level, const double *drift)
{
    for (int r = 0; r < runs; r++) {
        const double here = level * drift[r] * exp(0.01 * normal());
        for (int i = 0; i < SAMPLES; i++) s->samples[r * SAMPLES + i] = here * exp(0.003 * normal());
        s->ends[r] = (size_t)(r + 1) * SAMPLES;
    }
    return (weft_runs){.samples = s->samples, .ends = s->ends, .runs = runs};
}

// In how many trials of a hundred b is found to be larger, or smaller.
static double found(int runs_a, int runs_b, double factor, const double *drift, int verdict)
{
    weft_difference_options options = weft_difference_default();
    int times = 0;
    options.draws = 500;
    for (int i = 0; i < TRIALS; i++) {
        set a, b;
        weft_difference d;
        const weft_runs of_a = make(&a, runs_a, 20, drift), of_b = make(&b, runs_b, 20 * factor, drift);
        options.seed = (uint64_t)i;
        CHECK_OK(weft_difference_of(&of_a, &of_b, &options, &d));
        CHECK(d.low <= d.ratio && d.ratio <= d.high && d.paired == (runs_a == runs_b));
        CHECK(!d.few);
        times += verdict ? d.verdict == verdict : d.verdict != 0;
    }
    return 100. * times / TRIALS;
}

static void test_runs(void)
{
    const double still[RUNS] = {1, 1, 1, 1, 1, 1, 1, 1}, drift[RUNS] = {1, 1.1, 1.25, 1.4, 1.1, 2, 2.1, 1.8};
    for (int runs = 6; runs <= RUNS; runs++) {
        const double by_chance = found(runs, runs, 1, still, 0);
        printf("%d runs by turns: a difference where there is none %.1f %%\n", runs, by_chance);
        CHECK(by_chance < 8);
        CHECK(found(runs, runs, 1, drift, 0) < 8);
        CHECK(found(runs, runs, 1.05, drift, 1) > 90);
        CHECK(found(runs, runs, 1 / 1.05, still, -1) > 90);
        CHECK_REAL(found(runs, runs, 1.05, still, -1), 0);
    }
    CHECK(found(7, 8, 1, still, 0) < 12); // not by turns
    CHECK(found(7, 8, 1.08, still, 1) > 90);
}

static void test_few(void)
{
    const double still[RUNS] = {1, 1, 1, 1, 1, 1, 1, 1};
    const weft_difference_options options = weft_difference_default();
    set a, b;
    weft_difference d;
    const weft_runs of_a = make(&a, 5, 1, still), of_b = make(&b, 5, 3, still);
    CHECK_OK(weft_difference_of(&of_a, &of_b, &options, &d));
    CHECK(d.few && d.verdict == 0 && isinf(d.high) && d.ratio > 2.8);
    weft_difference_options less = options;
    less.confidence = 0.9;
    CHECK_OK(weft_difference_of(&of_a, &of_b, &less, &d));
    CHECK(!d.few && d.verdict == 1);
    less.threshold = 3; // a change to thrice as much is below it
    CHECK_OK(weft_difference_of(&of_a, &of_b, &less, &d));
    CHECK(d.verdict == 0 && d.sure > 0.9);
}

// One run: samples in bursts of a dozen that are all slower.
static void test_bursts(void)
{
    const weft_difference_options options = weft_difference_default();
    const size_t ends[1] = {BURST};
    int by_chance = 0, seen = 0;
    double a[BURST] = {0}, b[BURST] = {0};
    for (int trial = 0; trial < 100; trial++) {
        double slow = 0;
        for (int side = 0; side < 2; side++)
            for (int i = 0; i < BURST; i++) {
                if (i % 12 == 0) slow = normal() > 1 ? 0.3 : 0;
                (side ? b : a)[i] = exp(slow + 0.02 * normal());
            }
        weft_difference d;
        const weft_runs of_a = {a, ends, 1}, of_b = {b, ends, 1};
        CHECK_OK(weft_difference_of(&of_a, &of_b, &options, &d));
        by_chance += d.verdict != 0;
        for (int i = 0; i < BURST; i++) b[i] *= 1.05;
        CHECK_OK(weft_difference_of(&of_a, &of_b, &options, &d));
        seen += d.verdict == 1;
    }
    CHECK(by_chance <= 10);
    CHECK(seen >= 95);
}

static void test_power(void)
{
    enum { MANY = 16 };
    const weft_difference_options options = weft_difference_default();
    double samples[MANY];
    size_t ends[MANY];
    weft_power power;
    for (int i = 0; i < MANY; i++) {
        samples[i] = (1 + 0.1 * i) * exp(0.01 * normal()); // a drift of 10 % a run; 1 % between neighbours beside it
        ends[i] = (size_t)i + 1;
    }
    const weft_runs runs = {samples, ends, MANY}, few = {samples, ends, 6};
    CHECK_OK(weft_difference_power(&runs, &options, &power));
    CHECK(power.alike >= 0.85 && power.finds > 1.02 && power.finds < 1.4);
    CHECK_OK(weft_difference_power(&few, &options, &power));
    CHECK(power.alike >= 1 && isinf(power.finds));
}

int main(void)
{
    test_runs();
    test_few();
    test_bursts();
    test_power();
    return 0;
}
