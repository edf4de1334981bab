// Every golden checkpoint: logits and continuations beside those of transformers. In f32 the same but for rounding; in
// bf16 no farther from transformers' f32 than transformers' own bf16 is.
#include <dirent.h>
#include <math.h>

#include "tests/check.h"
#include "tests/engine/rig.h"

static int farther; // cases whose bf16 is too far from f32: all are seen before the test fails

static double largest(const float *x, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) most = fmax(most, fabs((double)x[i]));
    return most;
}

static void log_softmax(const float *x, size_t count, double *out)
{
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < count; i++) max = fmax(max, (double)x[i]);
    for (size_t i = 0; i < count; i++) sum += exp((double)x[i] - max);
    for (size_t i = 0; i < count; i++) out[i] = (double)x[i] - max - log(sum);
}

static size_t best(const float *x, size_t count)
{
    size_t at = 0;
    for (size_t i = 1; i < count; i++)
        if (x[i] > x[at]) at = i;
    return at;
}

// Mean divergence of `other` from `one`, and the share of positions whose best agree.
static double divergence(const golden *g, const float *one, const float *other, double *agree)
{
    double p[1024], q[1024], sum = 0;
    int same = 0;
    CHECK(g->vocab <= 1024);
    for (int i = 0; i < g->prompt_count; i++) {
        const float *a = one + (size_t)i * g->vocab, *b = other + (size_t)i * g->vocab;
        log_softmax(a, g->vocab, p);
        log_softmax(b, g->vocab, q);
        for (size_t j = 0; j < g->vocab; j++) sum += exp(p[j]) * (p[j] - q[j]);
        same += best(a, g->vocab) == best(b, g->vocab);
    }
    *agree = (double)same / g->prompt_count;
    return sum / g->prompt_count;
}

// Logits of the prompt by one request; the caller frees them.
static float *score(rig *r, const golden *g)
{
    int64_t id;
    result out = {.logits = calloc((size_t)g->prompt_count * g->vocab, sizeof(float)), .vocab = g->vocab};
    CHECK(out.logits);
    CHECK_OK(weft_engine_submit(r->engine,
                                &(weft_request){.tokens = g->prompt,
                                                .token_count = g->prompt_count,
                                                .prompt_logits = true,
                                                .calls = &rig_calls,
                                                .arg = &out},
                                &id));
    rig_run(r);
    CHECK_INT(out.positions, g->prompt_count);
    CHECK_INT(out.ends, 1);
    CHECK_INT(out.finish, WEFT_FINISH_SCORED);
    return out.logits;
}

static void check_greedy(rig *r, const golden *g, const char *name)
{
    int64_t id;
    result out = {0};
    CHECK_OK(weft_engine_submit(r->engine,
                                &(weft_request){.tokens = g->prompt,
                                                .token_count = g->prompt_count,
                                                .max_tokens = 64,
                                                .sampling = rig_sampling(0, 1, 0),
                                                .calls = &rig_calls,
                                                .arg = &out},
                                &id));
    rig_run(r);
    CHECK_INT(out.count, 64);
    CHECK_INT(out.finish, WEFT_FINISH_LENGTH);
    for (int i = 0; i < 64; i++) {
        if (out.tokens[i] == g->greedy[i]) continue;
        if (g->margin[i] < 4e-5) return; // the reference itself does not know, and from here the texts differ
        CHECK_FAIL("%s: token %d is %d, transformers' is %d with a margin of %g", name, i, out.tokens[i], g->greedy[i],
                   g->margin[i]);
    }
}

static void check_case(const char *name)
{
    rig r;
    golden g;
    rig_options options = rig_defaults();
    double agree, theirs_agree;
    golden_read(name, &g);
    rig_open(&r, name, &options);
    CHECK_INT(r.vocab, g.vocab);
    const size_t count = (size_t)g.prompt_count * g.vocab;
    const double scale = largest(g.logits, count);
    float *logits = score(&r, &g);
    double worst = 0;
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        const double error = fabs((double)logits[i] - (double)g.logits[i]) / scale;
        if (!(error <= worst)) worst = error, at = i;
    }
    if (!(worst <= 2e-5))
        CHECK_FAIL("%s: the logit of token %zu at position %zu is %g, transformers' is %g; the largest is %g", name,
                   at % g.vocab, at / g.vocab, (double)logits[at], (double)g.logits[at], scale);
    check_greedy(&r, &g, name);
    free(logits);
    rig_close(&r);

    options.type = WEFT_BF16;
    options.cache = WEFT_CACHE_BF16;
    rig_open(&r, name, &options);
    logits = score(&r, &g);
    const double ours = divergence(&g, g.logits, logits, &agree);
    const double theirs = divergence(&g, g.logits, g.half, &theirs_agree);
    double beside;
    const double between = divergence(&g, g.half, logits, &beside);
    printf("%-16s f32: worst %.1e of the largest logit; bf16: KL from f32 %.2e (transformers %.2e), best agree %.3f "
           "(transformers %.3f); from transformers' bf16: KL %.2e, best agree %.3f\n",
           name, worst, ours, theirs, agree, theirs_agree, between, beside);
    CHECK(fabs(theirs - g.kl_mean) <= 1e-6 + 1e-3 * g.kl_mean);
    if (!(ours <= theirs)) {
        printf("%s: bf16 is farther from f32 than transformers is: %g, %g\n", name, ours, theirs);
        farther++;
    }
    free(logits);
    rig_close(&r);
    golden_free(&g);
}

int main(int argc, char **argv)
{
    int count = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1) {
        check_case(argv[1]);
        return farther > 0;
    }
    DIR *folder = opendir(golden_root());
    CHECK(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.') continue;
        check_case(entry->d_name);
        count++;
    }
    closedir(folder);
    CHECK(count >= 19);
    CHECK_INT(farther, 0);
    return 0;
}
