// The ratio of two medians and its interval, by drawing launches and rounds again.
#include <math.h>
#include <stdlib.h>

#include "bench/bench.h"
#include "bench/scale.h"
#include "core/philox.h"

enum { DRAWS = 2000, LEAST_RUNS = 3 };

typedef struct {
    uint64_t seed, at;
} dice;

static int below(dice *d, int count)
{
    const weft_philox4 drawn = weft_draw4(d->seed, 1, d->at++, WEFT_DRAW_TEST);
    return (int)(weft_unit_double(drawn.word[0], drawn.word[1]) * count);
}

static double median_of(double *values, int count)
{
    weft_sort(values, (size_t)count);
    return weft_quantile(values, (size_t)count, 0.5);
}

static double plain_median(const weft_launches *l, double *room)
{
    const int all = l->runs * l->rounds;
    for (int i = 0; i < all; i++) room[i] = l->at[i];
    return median_of(room, all);
}

// `run`: which launches were drawn.
static double drawn_median(const weft_launches *l, const int *run, dice *d, double *room)
{
    int count = 0;
    for (int i = 0; i < l->runs; i++)
        for (int j = 0; j < l->rounds; j++) room[count++] = l->at[run[i] * l->rounds + below(d, l->rounds)];
    return median_of(room, count);
}

static void draw_runs(int *run, int runs, dice *d)
{
    for (int i = 0; i < runs; i++) run[i] = below(d, runs);
}

weft_status weft_ratio_of_medians(const weft_launches *a, const weft_launches *b, double confidence, uint64_t seed,
                                  weft_ratio *out)
{
    const int runs = a->runs > b->runs ? a->runs : b->runs;
    const int of_a = a->runs * a->rounds, of_b = b->runs * b->rounds, most = of_a > of_b ? of_a : of_b;
    double *room = malloc((size_t)most * sizeof *room), *ratios = malloc(DRAWS * sizeof *ratios);
    int *run = malloc((size_t)runs * sizeof *run);
    weft_status status = WEFT_OK;
    dice d = {.seed = seed};
    WEFT_TRY_GOTO(room && ratios && run ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for %d samples", most));
    const double top = plain_median(a, room), bottom = plain_median(b, room);
    *out = (weft_ratio){.ratio = top / bottom, .low = NAN, .high = NAN};
    if (a->runs < LEAST_RUNS || b->runs < LEAST_RUNS) goto fail;
    for (int i = 0; i < DRAWS; i++) {
        draw_runs(run, a->runs, &d);
        const double drawn = drawn_median(a, run, &d, room);
        if (a->runs != b->runs) draw_runs(run, b->runs, &d); // else neighbours stay neighbours
        ratios[i] = drawn / drawn_median(b, run, &d, room);
    }
    weft_sort(ratios, DRAWS);
    out->low = weft_quantile(ratios, DRAWS, (1 - confidence) / 2);
    out->high = weft_quantile(ratios, DRAWS, (1 + confidence) / 2);
fail:
    free(room);
    free(ratios);
    free(run);
    return status;
}
