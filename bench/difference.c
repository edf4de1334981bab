#include "bench/difference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "core/philox.h"

enum { HALVINGS = 60, POWER_DRAWS = 400 }; // of the same runs, to learn how often they are found alike; bootstraps
static const double FOUND = 0.9, MOST = 4; // of a change that counts as found; the largest that is looked for

weft_difference_options weft_difference_default(void)
{
    return (weft_difference_options){.confidence = 0.95, .threshold = 0.01, .draws = 2000};
}

typedef struct {
    uint64_t seed, at;
} dice;

static size_t below(dice *d, size_t count)
{
    const weft_philox4 drawn = weft_draw4(d->seed, 0, d->at++, WEFT_DRAW_TEST);
    return (size_t)(weft_unit_double(drawn.word[0], drawn.word[1]) * (double)count);
}

// Brings the value that would stand at `at` if all were sorted there, smaller ones before it.
static double select_at(double *values, size_t count, size_t at)
{
    size_t low = 0, high = count - 1;
    while (low < high) {
        const double pivot = values[low + (high - low) / 2];
        size_t i = low, j = high;
        for (;;) {
            while (values[i] < pivot) i++;
            while (values[j] > pivot) j--;
            if (i >= j) break;
            const double swapped = values[i];
            values[i++] = values[j];
            values[j--] = swapped;
        }
        if (at <= j)
            high = j;
        else
            low = j + 1;
    }
    return values[at];
}

// Reorders the values.
static double median(double *values, size_t count)
{
    const double upper = select_at(values, count, count / 2);
    if (count % 2) return upper;
    double lower = values[0];
    for (size_t i = 1; i < count / 2; i++) lower = fmax(lower, values[i]);
    return (lower + upper) / 2;
}

// What is resampled: the medians of runs, or the samples of one.
typedef struct {
    double *values; // (count) in the order of time
    size_t count, block;
} units;

static weft_status units_of(const weft_runs *r, units *out)
{
    const size_t all = r->ends[r->runs - 1], count = r->runs > 1 ? (size_t)r->runs : all;
    double *values = malloc((count + all) * sizeof *values);
    if (!values) return weft_fail(WEFT_NO_MEMORY, "no memory for %zu samples", all);
    *out = (units){.values = values, .count = count, .block = 1};
    if (r->runs == 1) {
        memcpy(values, r->samples, all * sizeof *values);
        out->block = (size_t)cbrt((double)all);
        return WEFT_OK;
    }
    for (int i = 0; i < r->runs; i++) {
        const size_t begin = i > 0 ? r->ends[i - 1] : 0, n = r->ends[i] - begin;
        memcpy(values + count, r->samples + begin, n * sizeof *values);
        values[i] = median(values + count, n);
    }
    return WEFT_OK;
}

// As many units as there are, drawn in blocks that may go around the end.
static void draw(const units *u, dice *d, size_t *indices)
{
    for (size_t i = 0; i < u->count;) {
        const size_t first = below(d, u->count);
        for (size_t j = 0; j < u->block && i < u->count; j++) indices[i++] = (first + j) % u->count;
    }
}

static double median_of(const units *u, const size_t *indices, double *room)
{
    for (size_t i = 0; i < u->count; i++) room[i] = u->values[indices ? indices[i] : i];
    return median(room, u->count);
}

// The chance that of `n` fair coins at most `most` show heads.
static double tail(size_t n, size_t most)
{
    double term = exp2(-(double)n), sum = 0;
    for (size_t i = 0; i <= most; i++) {
        sum += term;
        term *= (double)(n - i) / (double)(i + 1);
    }
    return sum;
}

static void judge(const weft_difference_options *o, weft_difference *out)
{
    out->verdict = 0;
    if (out->low > 1 && out->ratio >= 1 + o->threshold) out->verdict = 1;
    if (out->high < 1 && out->ratio <= 1 / (1 + o->threshold)) out->verdict = -1;
}

// Neighbours: the interval is exact, from the order of their ratios, each of which is a fair coin if nothing differs.
static weft_status compare_pairs(const units *a, const units *b, const weft_difference_options *o, weft_difference *out)
{
    const size_t n = a->count;
    double *ratios = malloc(n * sizeof *ratios);
    if (!ratios) return weft_fail(WEFT_NO_MEMORY, "no memory for %zu ratios", n);
    for (size_t i = 0; i < n; i++) ratios[i] = b->values[i] / a->values[i];
    weft_sort(ratios, n);
    out->ratio = weft_quantile(ratios, n, 0.5);
    size_t cut = 0, against = 0; // ratios outside of the interval at each end; on the other side of 1
    while (cut < n / 2 && 2 * tail(n, cut) <= 1 - o->confidence) cut++;
    for (size_t i = 0; i < n; i++) against += out->ratio > 1 ? ratios[i] <= 1 : ratios[i] >= 1;
    out->few = cut == 0;
    out->low = out->few ? 0 : ratios[cut - 1];
    out->high = out->few ? INFINITY : ratios[n - cut];
    out->sure = fmax(0, 1 - 2 * tail(n, against));
    free(ratios);
    judge(o, out);
    return WEFT_OK;
}

static weft_status bootstrap(const units *a, const units *b, const weft_difference_options *o, weft_difference *out)
{
    const size_t most = a->count > b->count ? a->count : b->count, least = a->count + b->count - most;
    const size_t n = (size_t)o->draws;
    size_t *indices = malloc(most * sizeof *indices), beyond = 0;
    double *ratios = malloc(n * sizeof *ratios), *room = malloc(most * sizeof *room);
    dice d = {.seed = o->seed};
    if (!ratios || !room || !indices) {
        free(ratios);
        free(room);
        free(indices);
        return weft_fail(WEFT_NO_MEMORY, "no memory for %d draws of %zu samples", o->draws, most);
    }
    out->ratio = out->b / out->a;
    for (size_t i = 0; i < n; i++) {
        draw(a, &d, indices);
        const double drawn = median_of(a, indices, room);
        draw(b, &d, indices);
        ratios[i] = median_of(b, indices, room) / drawn;
        beyond += out->ratio < 1 ? ratios[i] < 1 : ratios[i] > 1;
    }
    out->few = 2 * tail(least, 0) > 1 - o->confidence;
    out->sure = (double)beyond / (double)n;
    weft_sort(ratios, n);
    out->low = out->few ? 0 : weft_quantile(ratios, n, (1 - o->confidence) / 2);
    out->high = out->few ? INFINITY : weft_quantile(ratios, n, (1 + o->confidence) / 2);
    judge(o, out);
    free(ratios);
    free(room);
    free(indices);
    return WEFT_OK;
}

static weft_status compare(const units *a, const units *b, const weft_difference_options *o, weft_difference *out)
{
    const size_t most = a->count > b->count ? a->count : b->count;
    double *room = malloc(most * sizeof *room);
    if (!room) return weft_fail(WEFT_NO_MEMORY, "no memory for %zu samples", most);
    out->a = median_of(a, NULL, room);
    out->b = median_of(b, NULL, room);
    free(room);
    return out->paired ? compare_pairs(a, b, o, out) : bootstrap(a, b, o, out);
}

weft_status weft_difference_of(const weft_runs *a, const weft_runs *b, const weft_difference_options *o,
                               weft_difference *out)
{
    units of_a = {0}, of_b = {0};
    weft_status status;
    *out = (weft_difference){.paired = a->runs == b->runs && a->runs > 1};
    WEFT_TRY_GOTO(units_of(a, &of_a));
    WEFT_TRY_GOTO(units_of(b, &of_b));
    WEFT_TRY_GOTO(compare(&of_a, &of_b, o, out));
fail:
    free(of_a.values);
    free(of_b.values);
    return status;
}

// ---- what runs of one thing can tell ----

typedef struct {
    const units *all;
    units a, b; // halves: of each two neighbours one is here, the other there
    bool runs;
} halves;

static void halve(halves *h, dice *d, double factor)
{
    const size_t pairs = h->all->count / 2;
    h->a.count = h->b.count = pairs;
    h->a.block = h->b.block = h->runs ? 1 : (size_t)cbrt((double)pairs);
    for (size_t i = 0; i < pairs; i++) {
        const size_t first = below(d, 2);
        h->a.values[i] = h->all->values[2 * i + first];
        h->b.values[i] = h->all->values[2 * i + 1 - first] * factor;
    }
}

// How often a difference is found between halves of which one was made so much larger.
static weft_status found(halves *h, const weft_difference_options *o, double factor, double *out)
{
    dice d = {.seed = o->seed, .at = (uint64_t)1 << 40};
    int times = 0;
    for (int i = 0; i < HALVINGS; i++) {
        weft_difference difference = {.paired = h->runs};
        halve(h, &d, factor);
        WEFT_TRY(compare(&h->a, &h->b, o, &difference));
        times += difference.verdict != 0;
    }
    *out = (double)times / HALVINGS;
    return WEFT_OK;
}

weft_status weft_difference_power(const weft_runs *runs, const weft_difference_options *options, weft_power *out)
{
    weft_difference_options with = *options;
    const weft_difference_options *o = &with;
    if (with.draws > POWER_DRAWS) with.draws = POWER_DRAWS;
    units all = {0};
    weft_status status;
    double at = 0, low = 1 + o->threshold, high = low;
    WEFT_TRY(units_of(runs, &all));
    double *room = malloc((all.count + 1) * sizeof *room);
    halves h = {.all = &all, .a = {.values = room}, .runs = runs->runs > 1};
    WEFT_TRY_GOTO(room ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for %zu samples", all.count));
    h.b.values = room + all.count / 2;
    WEFT_TRY_GOTO(found(&h, o, 1, &at));
    out->alike = 1 - at;
    WEFT_TRY_GOTO(found(&h, o, high, &at));
    while (at < FOUND && high < MOST) {
        low = high;
        high = 1 + 2 * (high - 1);
        WEFT_TRY_GOTO(found(&h, o, high, &at));
    }
    out->finds = at < FOUND ? INFINITY : high;
    for (int i = 0; i < 5 && at >= FOUND && low < high; i++) {
        const double middle = (low + high) / 2;
        double here;
        WEFT_TRY_GOTO(found(&h, o, middle, &here));
        *(here >= FOUND ? &high : &low) = middle;
        out->finds = high;
    }
fail:
    free(room);
    free(all.values);
    return status;
}
