// A step is a row of exchanges with computing between them. Ranks of a group leave an exchange together, when its last
// member has come; who is late is drawn, for a group at once: the latest of n is the quantile u^(1/n).
#include "launch/simulate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "core/philox.h"
#include "launch/model_open.h"

// What the latest of a group adds, at so many quantiles, each as likely as the others.
enum { LEVELS = 2048 };
typedef struct {
    double at[LEVELS];
} lateness;

typedef struct {
    const wi_plan_case *plan;
    const wi_simulation *how;
    lateness *computing, *meeting; // in a segment; [kinds] in an exchange
    weft_step_price price;
    double compute, segment;                                     // of a step; between two exchanges
    double takes[WEFT_TRAFFIC_MAX], per_layer[WEFT_TRAFFIC_MAX]; // an exchange of a kind; how many of it in a layer
    double count;                                                // exchanges of a step
    int tp, cp;
    double clock[WEFT_FOLD_PLACES]; // of each tp group
    uint32_t sample;
    uint64_t draws;
    weft_philox4 block;
    double exchanged;
} simulation;

// As measured, or what is customary where nobody measured: on a quiet machine a stall is rare and then long.
static const weft_noise assumed = {.median_s = 100e-6, .at = {1, 1.005, 1.01, 1.05, 1.5, 5}};
static const weft_noise assumed_link = {.median_s = 10e-6, .at = {1, 1.02, 1.05, 1.5, 4, 20}};

static const weft_noise *or_assumed(const weft_noise *measured, const weft_noise *other)
{
    return measured->at[0] > 0 ? measured : other;
}

static void tabulate(lateness *out, const weft_noise *noise, double medians, double members)
{
    for (int i = 0; i < LEVELS; i++)
        out->at[i] = weft_noise_extra(noise, medians, pow((i + 0.5) / LEVELS, 1 / fmax(1, members)));
}

static double draw(simulation *s, const lateness *of)
{
    const int word = (int)(s->draws % 4);
    if (word == 0) s->block = weft_draw4(s->how->seed, s->sample, s->draws / 4, WEFT_DRAW_SIMULATE);
    s->draws++;
    return of->at[s->block.word[word] % LEVELS];
}

static double latest_clock(const simulation *s)
{
    double last = 0;
    for (int i = 0; i < s->cp; i++) last = fmax(last, s->clock[i]);
    return last;
}

static void compute_segment(simulation *s)
{
    for (int i = 0; i < s->cp; i++) s->clock[i] += s->segment + draw(s, s->computing);
}

static void exchange(simulation *s, int kind)
{
    const weft_traffic_group group = s->price.traffic[kind].group;
    const double takes = s->takes[kind];
    s->exchanged += takes;
    if (group == WEFT_TRAFFIC_LEAF) { // what follows it waits for all of its ranks
        for (int i = 0; i < s->cp; i++) s->clock[i] += takes;
        return;
    }
    if (group == WEFT_TRAFFIC_TP) {
        for (int i = 0; i < s->cp; i++) s->clock[i] += takes + draw(s, &s->meeting[kind]);
        return;
    }
    const double left = latest_clock(s) + takes + draw(s, &s->meeting[kind]);
    for (int i = 0; i < s->cp; i++) s->clock[i] = left;
}

static double run_step(simulation *s, uint32_t sample)
{
    double owed[WEFT_TRAFFIC_MAX] = {0};
    s->sample = sample;
    s->draws = 0;
    memset(s->clock, 0, sizeof s->clock);
    for (int64_t layer = 0; layer < s->plan->config->layers; layer++)
        for (int kind = 0; kind < s->price.kinds; kind++)
            for (owed[kind] += s->per_layer[kind]; owed[kind] > 1 - 1e-6; owed[kind]--) {
                compute_segment(s);
                exchange(s, kind);
            }
    if (s->count < 0.5) compute_segment(s);
    return latest_clock(s);
}

static void prepare(simulation *s, const weft_mesh_shape *shape)
{
    const wi_plan_case *p = s->plan;
    const weft_job_links *l = &p->machine.links;
    const weft_noise *noise = or_assumed(&l->noise, &assumed);
    s->price = wi_plan_decode_price(p, shape);
    s->compute = wi_plan_compute_seconds(p, &s->price);
    s->tp = shape->tp;
    s->cp = shape->cp;
    for (int i = 0; i < s->price.kinds; i++) {
        s->count += s->price.traffic[i].times;
        s->per_layer[i] = s->price.traffic[i].times / (double)p->config->layers;
        s->takes[i] = wi_exchange_seconds(&p->machine, &p->fabric, &s->price.traffic[i], p->sizes.node_ranks);
    }
    s->segment = s->count >= 0.5 ? s->compute / s->count : s->compute;
    tabulate(s->computing, noise, s->segment / noise->median_s, s->tp);
    for (int i = 0; i < s->price.kinds; i++) {
        const weft_traffic *t = &s->price.traffic[i];
        const double members = t->group == WEFT_TRAFFIC_TP ? s->tp : s->tp * s->cp;
        tabulate(&s->meeting[i], or_assumed(t->far > 0 ? &l->far.noise : &l->near.noise, &assumed_link), 1,
                 members / 2);
    }
}

weft_status wi_simulate(const wi_plan_case *plan, const weft_mesh_shape *shape, const wi_simulation *how,
                        wi_simulated *out)
{
    simulation s = {.plan = plan, .how = how};
    double *took = malloc((size_t)how->samples * sizeof *took), sum = 0;
    lateness *late = malloc((1 + WEFT_TRAFFIC_MAX) * sizeof *late);
    if (!took || !late) {
        free(took);
        free(late);
        return weft_fail(WEFT_NO_MEMORY, "no memory for %d steps", how->samples);
    }
    s.computing = late;
    s.meeting = late + 1;
    prepare(&s, shape);
    for (int i = 0; i < how->samples; i++) sum += took[i] = run_step(&s, (uint32_t)i);
    weft_sort(took, (size_t)how->samples);
    *out = (wi_simulated){.p50 = weft_quantile(took, (size_t)how->samples, 0.5),
                          .p99 = weft_quantile(took, (size_t)how->samples, 0.99),
                          .compute = s.compute,
                          .exchange = s.exchanged / how->samples};
    out->late = fmax(0, sum / how->samples - out->compute - out->exchange);
    free(took);
    free(late);
    return WEFT_OK;
}

// ---- the curve ----

// As many ranks of the same machine, on nodes that are as full.
static wi_plan_case smaller_plan(const wi_plan_case *plan, int ranks)
{
    wi_plan_case p = *plan;
    p.ranks = ranks;
    p.tp = p.cp = 0; // the best of each
    p.dense = plan->dense;
    p.quick = true;
    p.nodes = (ranks + plan->sizes.node_ranks - 1) / plan->sizes.node_ranks;
    return p;
}

weft_status wi_simulate_curve(const wi_plan_case *plan, const wi_simulation *how, wi_curve_point *out, int *count)
{
    *count = 0;
    double first = 0;
    for (int ranks = 1; *count < WI_CURVE_POINTS; ranks = ranks * 2 < plan->ranks ? ranks * 2 : plan->ranks) {
        const wi_plan_case p = smaller_plan(plan, ranks);
        wi_curve_point *point = &out[(*count)++];
        wi_mesh_plan *meshes = NULL;
        int found = 0;
        WEFT_TRY(wi_plan_all(&p, &meshes, &found));
        *point = (wi_curve_point){.ranks = ranks, .fits = meshes[0].fits, .shape = meshes[0].shape};
        free(meshes);
        WEFT_TRY(wi_simulate(&p, &point->shape, how, &point->step));
        point->speed = p.batch / point->step.p50;
        if (point->fits && first <= 0) first = point->speed / ranks;
        point->efficiency = point->fits ? point->speed / ranks / first : 0;
        if (ranks == plan->ranks) break;
    }
    return WEFT_OK;
}

// ---- telling ----

static const char *time_text(double seconds, char text[24])
{
    snprintf(text, 24, seconds < 1e-3 ? "%.3f ms" : seconds < 0.1 ? "%.2f ms" : "%.0f ms", seconds * 1e3);
    return text;
}

static void print_step(const wi_simulated *s, FILE *out)
{
    char a[24], b[24];
    const double all = s->compute + s->exchange + s->late;
    fprintf(out, "%11s %11s %8.0f %% %8.0f %% %8.0f %%", time_text(s->p50, a), time_text(s->p99, b),
            100 * s->compute / all, 100 * s->exchange / all, 100 * s->late / all);
}

static void print_how(const wi_plan_case *p, const char *model, const wi_simulation *how, FILE *out)
{
    const weft_job_links *l = &p->machine.links;
    fprintf(out, "%s on %d rank%s of %d node%s: %d steps of %d request%s at %lld positions, drawn by seed %llu\n",
            model, p->ranks, p->ranks > 1 ? "s" : "", p->nodes, p->nodes > 1 ? "s" : "", how->samples, p->batch,
            p->batch > 1 ? "s" : "", (long long)p->context, (unsigned long long)how->seed);
    fprintf(out, "a rank: %s (%s); links %s, lateness %s", p->machine.name, p->machine.source,
            p->machine.pairs ? "measured" : "by data sheet or guess", l->noise.at[0] > 0 ? "measured" : "assumed");
    if (p->fabric.switch_nodes > 0)
        fprintf(out, "; switches of %d nodes, %.3g:1 above them", p->fabric.switch_nodes, p->fabric.oversubscription);
    fputs("\n\n", out);
}

void wi_simulated_print(const wi_plan_case *p, const char *model, const wi_simulation *how, const wi_mesh_plan *meshes,
                        const wi_simulated *steps, int count, const wi_curve_point *curve, int points, FILE *out)
{
    static const char head[] = "        p50         p99    compute   exchange    waiting";
    char text[64];
    print_how(p, model, how, out);
    fprintf(out, "%-38s%s\n", "mesh", head);
    for (int i = 0; i < count; i++) {
        fprintf(out, "%-38s", wi_plan_mesh_text(p, &meshes[i].shape, text));
        print_step(&steps[i], out);
        fprintf(out, "%s\n", meshes[i].fits ? "" : "  does not fit");
    }
    fprintf(out, "\nranks  %-31s%s  tokens/s  efficiency\n", "the planner's mesh", head);
    for (int i = 0; i < points; i++) {
        fprintf(out, "%5d  %-31s", curve[i].ranks, wi_plan_mesh_text(p, &curve[i].shape, text));
        print_step(&curve[i].step, out);
        if (curve[i].fits)
            fprintf(out, " %9.1f %9.0f %%\n", curve[i].speed, 100 * curve[i].efficiency);
        else
            fputs("  does not fit\n", out);
    }
}

static void write_step(weft_json_writer *w, const weft_mesh_shape *shape, bool fits, const wi_simulated *s)
{
    weft_json_write_int(w, "tp", shape->tp);
    weft_json_write_int(w, "cp", shape->cp);
    weft_json_write_string(w, "dense", shape->dense == WEFT_DENSE_MESH ? "mesh" : "tp");
    weft_json_write_bool(w, "fits", fits);
    weft_json_write_real(w, "p50_s", s->p50);
    weft_json_write_real(w, "p99_s", s->p99);
    weft_json_write_real(w, "compute_s", s->compute);
    weft_json_write_real(w, "exchange_s", s->exchange);
    weft_json_write_real(w, "late_s", s->late);
}

static void write_curve(weft_json_writer *w, const wi_curve_point *curve, int points)
{
    weft_json_write_array(w, "curve");
    for (int i = 0; i < points; i++) {
        weft_json_write_object(w, NULL);
        weft_json_write_int(w, "ranks", curve[i].ranks);
        write_step(w, &curve[i].shape, curve[i].fits, &curve[i].step);
        weft_json_write_real(w, "tokens_per_s", curve[i].speed);
        weft_json_write_real(w, "efficiency", curve[i].efficiency);
        weft_json_write_end(w);
    }
    weft_json_write_end(w);
}

weft_status wi_simulated_write(const wi_plan_case *p, const char *model, const wi_simulation *how,
                               const wi_mesh_plan *meshes, const wi_simulated *steps, int count,
                               const wi_curve_point *curve, int points, const char *path)
{
    weft_json_writer w;
    weft_json_writer_init(&w, true);
    weft_json_write_object(&w, NULL);
    weft_json_write_string(&w, "schema", "weft.simulation/1");
    weft_json_write_string(&w, "model", model);
    weft_json_write_int(&w, "ranks", p->ranks);
    weft_json_write_int(&w, "nodes", p->nodes);
    weft_json_write_int(&w, "context", p->context);
    weft_json_write_int(&w, "batch", p->batch);
    weft_json_write_int(&w, "samples", how->samples);
    weft_json_write_int(&w, "seed", (int64_t)how->seed);
    weft_json_write_string(&w, "machine", p->machine.name);
    weft_json_write_array(&w, "meshes");
    for (int i = 0; i < count; i++) {
        weft_json_write_object(&w, NULL);
        write_step(&w, &meshes[i].shape, meshes[i].fits, &steps[i]);
        weft_json_write_end(&w);
    }
    weft_json_write_end(&w);
    write_curve(&w, curve, points);
    weft_json_write_end(&w);
    return weft_json_writer_save(&w, path);
}
