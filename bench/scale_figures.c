// From samples to figures: medians, efficiencies with their intervals, where the time went. Only cells whose requests
// drew what those of the least ranks drew have figures.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/scale_impl.h"

static const double CONFIDENCE = 0.95;

typedef struct {
    const weft_scale_spec *spec;
    const weft_scale_sample *samples;
    int count;
    weft_scale_figures *out;
    double *room[2]; // for values of two cells, each large enough for all rounds of one
} work;

const char *weft_scale_figure_name(int figure)
{
    static const char *const names[] = {"time to solution", "prompts", "a step"};
    return names[figure];
}

static double value_of(const work *w, const weft_scale_sample *s, int round, int figure)
{
    const double prompts = s->part[round][WEFT_SCALE_PROMPTS].seconds, steps = s->part[round][WEFT_SCALE_STEPS].seconds;
    if (figure == WEFT_SCALE_TOTAL) return prompts + steps;
    return figure == WEFT_SCALE_PROMPT ? prompts : steps / (double)(w->spec->cell[s->cell].generate - 1);
}

static const weft_scale_sample *sample_at(const work *w, int cell, int turn)
{
    for (int i = 0; i < w->count; i++)
        if (w->samples[i].cell == cell && w->samples[i].turn == turn) return &w->samples[i];
    return NULL;
}

// ---- the gate ----

// What a request must draw: as the first cell drew it that has one, by ascending ranks, references before all.
typedef struct {
    int64_t context, generate;
    int request;
    const char *digest;
    int from; // cell
} truth;

typedef struct {
    truth *at;
    int count, room;
} truths;

static truth *find(const truths *t, const weft_scale_cell *c, int request)
{
    for (int i = 0; i < t->count; i++)
        if (t->at[i].request == request && t->at[i].context == c->context && t->at[i].generate == c->generate)
            return &t->at[i];
    return NULL;
}

static weft_status learn(truths *t, const weft_scale_cell *c, const weft_scale_sample *s, int request)
{
    if (t->count == t->room) {
        const int room = t->room ? 2 * t->room : 64;
        truth *more = realloc(t->at, (size_t)room * sizeof *more);
        if (!more) return weft_fail(WEFT_NO_MEMORY, "no memory for digests");
        t->at = more;
        t->room = room;
    }
    t->at[t->count++] = (truth){c->context, c->generate, request, s->digest[request], s->cell};
    return WEFT_OK;
}

static weft_status hold(work *w, truths *t, const weft_scale_sample *s)
{
    const weft_scale_cell *c = &w->spec->cell[s->cell];
    weft_scale_figures *f = &w->out[s->cell];
    for (int r = 0; r < s->digests; r++) {
        const truth *known = find(t, c, r);
        if (!known) {
            WEFT_TRY(learn(t, c, s, r));
        } else if (strcmp(known->digest, s->digest[r]) != 0 && !f->wrong) {
            f->wrong = true;
            snprintf(f->why_not, sizeof f->why_not, "request %d draws other tokens than in \"%.100s\"%s", r,
                     w->spec->cell[known->from].key, known->from == s->cell ? " in another job" : "");
        }
    }
    return WEFT_OK;
}

static bool goes_before(const weft_scale_cell *a, const weft_scale_cell *b)
{
    if (a->reference != b->reference) return a->reference;
    return a->ranks < b->ranks;
}

static weft_status gate(work *w)
{
    truths t = {0};
    weft_status status = WEFT_OK;
    int *order = calloc((size_t)w->spec->cells + 1, sizeof *order);
    WEFT_TRY_GOTO(order ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for %d cells", w->spec->cells));
    for (int i = 0; i < w->spec->cells; i++) {
        int at = i;
        for (; at > 0 && goes_before(&w->spec->cell[i], &w->spec->cell[order[at - 1]]); at--) order[at] = order[at - 1];
        order[at] = i;
    }
    for (int i = 0; i < w->spec->cells; i++)
        for (int s = 0; s < w->count; s++)
            if (w->samples[s].cell == order[i]) WEFT_TRY_GOTO(hold(w, &t, &w->samples[s]));
fail:
    free(order);
    free(t.at);
    return status;
}

// ---- figures of a cell ----

static int values_of(const work *w, int cell, int figure, double *out)
{
    int count = 0;
    for (int i = 0; i < w->count; i++)
        for (int r = 0; w->samples[i].cell == cell && r < w->samples[i].rounds; r++)
            out[count++] = value_of(w, &w->samples[i], r, figure);
    return count;
}

static double median_of(double *values, int count)
{
    weft_sort(values, (size_t)count);
    return weft_quantile(values, (size_t)count, 0.5);
}

// Of the time to solution: what ranks computed in the mean, what the busiest had more, and the rest of the time.
static void break_down(const work *w, int cell, weft_scale_figures *f)
{
    double compute = 0, busiest = 0, seconds = 0;
    for (int i = 0; i < w->count; i++)
        for (int r = 0; w->samples[i].cell == cell && r < w->samples[i].rounds; r++)
            for (int p = 0; p < WEFT_SCALE_PHASES; p++) {
                const weft_scale_part *part = &w->samples[i].part[r][p];
                seconds += part->seconds;
                busiest += fmin(part->busiest, part->seconds);
                compute += fmin(part->mean, part->seconds);
            }
    f->compute = compute / seconds;
    f->idle = (busiest - compute) / seconds;
    f->exchange = 1 - f->compute - f->idle;
    f->balance = compute / busiest;
}

static double median_at(const work *w, int cell, size_t offset)
{
    int count = 0;
    for (int i = 0; i < w->count; i++)
        if (w->samples[i].cell == cell)
            memcpy(&w->room[0][count++], (const char *)&w->samples[i] + offset, sizeof(double));
    return median_of(w->room[0], count);
}

static void describe(work *w, int cell)
{
    weft_scale_figures *f = &w->out[cell];
    const weft_scale_cell *c = &w->spec->cell[cell];
    for (int figure = 0; figure < WEFT_SCALE_FIGURES; figure++) {
        const int count = values_of(w, cell, figure, w->room[0]);
        f->seconds[figure] = median_of(w->room[0], count);
        f->low[figure] = weft_quantile(w->room[0], (size_t)count, 0.1);
        f->high[figure] = weft_quantile(w->room[0], (size_t)count, 0.9);
    }
    f->tokens = (double)(c->batch * c->generate) / f->seconds[WEFT_SCALE_TOTAL];
    break_down(w, cell, f);
    f->machine = *f->first;
    f->machine.read = median_at(w, cell, offsetof(weft_scale_sample, read));
    f->machine.operations = median_at(w, cell, offsetof(weft_scale_sample, operations));
    f->machine.linear = median_at(w, cell, offsetof(weft_scale_sample, linear));
    f->machine.stream = median_at(w, cell, offsetof(weft_scale_sample, stream));
    for (int i = 0; i < WEFT_LINK_POINTS; i++) {
        f->machine.near.seconds[i] = median_at(w, cell, offsetof(weft_scale_sample, near.seconds[i]));
        f->machine.far.seconds[i] = median_at(w, cell, offsetof(weft_scale_sample, far.seconds[i]));
    }
    f->machine.load_s = median_at(w, cell, offsetof(weft_scale_sample, load_s));
}

// Of the turns that both have, so that neighbours are drawn together.
static weft_status compare(work *w, int base, int cell, int figure, weft_ratio *out)
{
    weft_launches a = {.at = w->room[0]}, b = {.at = w->room[1]};
    for (int turn = 0; turn < w->spec->repeats; turn++) {
        const weft_scale_sample *s = sample_at(w, base, turn), *t = sample_at(w, cell, turn);
        if (!s || !t || s->rounds != w->spec->rounds || t->rounds != w->spec->rounds) continue;
        for (int r = 0; r < s->rounds; r++) {
            w->room[0][a.runs * s->rounds + r] = value_of(w, s, r, figure);
            w->room[1][a.runs * s->rounds + r] = value_of(w, t, r, figure);
        }
        a.runs++;
    }
    a.rounds = b.rounds = (int)w->spec->rounds;
    b.runs = a.runs;
    *out = (weft_ratio){NAN, NAN, NAN};
    return a.runs > 0 ? weft_ratio_of_medians(&a, &b, CONFIDENCE, (uint64_t)w->spec->seed, out) : WEFT_OK;
}

static weft_ratio times(weft_ratio r, double factor)
{
    return (weft_ratio){r.ratio * factor, r.low * factor, r.high * factor};
}

static weft_status hold_beside_base(work *w, int cell)
{
    const weft_scale_cell *c = &w->spec->cell[cell], *b = &w->spec->cell[c->base];
    weft_scale_figures *f = &w->out[cell];
    const weft_scale_figures *of_base = &w->out[c->base];
    const double share = (double)b->ranks / c->ranks;
    const bool strong = w->spec->experiment[c->experiment].kind == WEFT_SCALE_STRONG;
    f->per_work = (weft_ratio){NAN, NAN, NAN};
    for (int figure = 0; figure < WEFT_SCALE_FIGURES; figure++) {
        f->efficiency[figure] = (weft_ratio){NAN, NAN, NAN};
        if (!of_base->first || of_base->why_not[0]) continue;
        if (c->base == cell) {
            f->efficiency[figure] = (weft_ratio){1, 1, 1};
            continue;
        }
        WEFT_TRY(compare(w, c->base, cell, figure, &f->efficiency[figure]));
        if (strong) f->efficiency[figure] = times(f->efficiency[figure], share);
    }
    if (!strong && f->predicted.there && of_base->predicted.there && of_base->predicted.work > 0)
        f->per_work = times(f->efficiency[WEFT_SCALE_TOTAL], f->predicted.work / of_base->predicted.work * share);
    return WEFT_OK;
}

weft_status weft_scale_figures_of(const weft_scale_spec *spec, const weft_scale_sample *samples, int count,
                                  char *const *failed, weft_scale_predict_fn *predict, void *arg,
                                  weft_scale_figures **out)
{
    size_t most = (size_t)(spec->repeats * spec->rounds + count);
    weft_status status;
    for (int i = 0; i < count; i++) most += (size_t)samples[i].rounds;
    work w = {.spec = spec, .samples = samples, .count = count};
    w.out = calloc((size_t)spec->cells, sizeof *w.out);
    w.room[0] = malloc(2 * most * sizeof **w.room);
    WEFT_TRY_GOTO(w.out && w.room[0] ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for figures"));
    w.room[1] = w.room[0] + most;
    for (int i = 0; i < count; i++) {
        weft_scale_figures *f = &w.out[samples[i].cell];
        if (!f->first) f->first = &samples[i];
        f->samples++;
    }
    WEFT_TRY_GOTO(gate(&w));
    for (int i = 0; i < spec->cells; i++) {
        weft_scale_figures *f = &w.out[i];
        if (failed && failed[i] && !f->wrong) snprintf(f->why_not, sizeof f->why_not, "%s", failed[i]);
        if (!f->first || f->why_not[0]) continue;
        describe(&w, i);
        if (predict) predict(arg, &spec->cell[i], &f->machine, &f->predicted);
    }
    for (int i = 0; i < spec->cells; i++)
        if (w.out[i].first && !w.out[i].why_not[0] && !spec->cell[i].reference) WEFT_TRY_GOTO(hold_beside_base(&w, i));
    free(w.room[0]);
    *out = w.out;
    return WEFT_OK;
fail:
    free(w.out);
    free(w.room[0]);
    return status;
}
