// The figures of a scaling experiment as a table, as JSON and as CSV.
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/scale_impl.h"
#include "core/clock.h"
#include "core/plugin.h"

char *wi_scale_time(double seconds, char text[24])
{
    if (seconds < 1e-3)
        snprintf(text, 24, "%.1f us", seconds * 1e6);
    else if (seconds < 1)
        snprintf(text, 24, seconds < 0.1 ? "%.2f ms" : "%.1f ms", seconds * 1e3);
    else
        snprintf(text, 24, seconds < 100 ? "%.2f s" : "%.0f s", seconds);
    return text;
}

double wi_scale_error(const weft_scale_figures *f, int figure)
{
    return f->predicted.there ? f->predicted.seconds[figure] / f->seconds[figure] - 1 : NAN;
}

const char *wi_scale_kind_name(weft_scale_kind kind)
{
    static const char *const names[] = {"strong", "weak-batch", "weak-context"};
    return names[kind];
}

char *wi_scale_mesh_text(const weft_scale_cell *cell, const weft_scale_figures *f, char text[48])
{
    if (cell->ranks == 1)
        snprintf(text, 48, "1 rank");
    else if (!f->first)
        snprintf(text, 48, "%s", cell->mesh);
    else if (f->first->cp == 1)
        snprintf(text, 48, "tp %d", f->first->tp);
    else
        snprintf(text, 48, "tp %d x cp %d%s", f->first->tp, f->first->cp, f->first->dense == 2 ? ", dense mesh" : "");
    return text;
}

static bool has_figures(const weft_scale_figures *f) { return f->first && !f->why_not[0]; }

// ---- the table ----

static void print_ratio(const weft_ratio *r, FILE *out)
{
    if (!isfinite(r->ratio))
        fprintf(out, " %20s", "-");
    else if (!isfinite(r->low))
        fprintf(out, " %6.1f %%            ", 100 * r->ratio);
    else
        fprintf(out, " %6.1f %% [%4.0f, %4.0f]", 100 * r->ratio, 100 * r->low, 100 * r->high);
}

static void print_error(const weft_scale_figures *f, int figure, FILE *out)
{
    const double error = wi_scale_error(f, figure);
    if (isfinite(error))
        fprintf(out, " %+6.0f %%", 100 * error);
    else
        fprintf(out, " %8s", "-");
}

static void print_cell(const weft_scale_spec *spec, int i, const weft_scale_figures *f, FILE *out)
{
    const weft_scale_cell *c = &spec->cell[i];
    char mesh[48], total[24], prompts[24], step[24];
    fprintf(out, "%5d %-25.25s %7" PRId64 " %5" PRId64, c->ranks, wi_scale_mesh_text(c, f, mesh), c->context, c->batch);
    if (!has_figures(f)) {
        fprintf(out, "  %s%s\n", f->why_not[0] ? "no figures: " : "not run yet", f->why_not);
        return;
    }
    fprintf(out, " %9s %9s %9s %9.1f", wi_scale_time(f->seconds[WEFT_SCALE_TOTAL], total),
            wi_scale_time(f->seconds[WEFT_SCALE_PROMPT], prompts), wi_scale_time(f->seconds[WEFT_SCALE_STEP], step),
            f->tokens);
    print_ratio(&f->efficiency[WEFT_SCALE_TOTAL], out);
    fprintf(out, " %4.0f %4.0f %4.0f %5.2f", 100 * f->compute, 100 * f->exchange, 100 * f->idle, f->balance);
    print_error(f, WEFT_SCALE_PROMPT, out);
    print_error(f, WEFT_SCALE_STEP, out);
    fputc('\n', out);
}

void weft_scale_print(const weft_scale_spec *spec, const weft_scale_figures *figures, FILE *out)
{
    for (int e = 0; e < spec->experiments; e++)
        for (int v = 0; v < spec->variants; v++) {
            const char *variant = spec->variant[v].name;
            fprintf(out, "%s%s%s (%s scaling), %s; medians of %" PRId64 " jobs of %" PRId64 " rounds\n",
                    spec->experiment[e].name, *variant ? ", " : "", variant,
                    wi_scale_kind_name(spec->experiment[e].kind), spec->model, spec->repeats, spec->rounds);
            fprintf(out, "%5s %-25s %7s %5s %9s %9s %9s %9s %20s %4s %4s %4s %5s %8s %8s\n", "ranks", "mesh", "prompt",
                    "batch", "time", "prompts", "a step", "tokens/s", "efficiency [95 %]", "cmp", "exch", "idle",
                    "bal.", "prompts", "a step");
            for (int i = 0; i < spec->cells; i++)
                if (spec->cell[i].experiment == e && spec->cell[i].variant == v && !spec->cell[i].reference)
                    print_cell(spec, i, &figures[i], out);
        }
    fprintf(out, "cmp, exch, idle: %% of the time that ranks compute, that exchanges add, that others wait for the "
                 "busiest; the last two: by how much weft plan's estimate is longer\n");
}

// ---- JSON ----

static void write_ratio(weft_json_writer *w, const char *key, const weft_ratio *r)
{
    weft_json_write_object(w, key);
    weft_json_write_real(w, "ratio", r->ratio);
    weft_json_write_real(w, "low", r->low);
    weft_json_write_real(w, "high", r->high);
    weft_json_write_end(w);
}

static void write_figures(weft_json_writer *w, const weft_scale_figures *f)
{
    static const char *const keys[] = {"total", "prompts", "step"};
    for (int i = 0; i < WEFT_SCALE_FIGURES; i++) {
        weft_json_write_object(w, keys[i]);
        weft_json_write_real(w, "median_s", f->seconds[i]);
        weft_json_write_real(w, "p10_s", f->low[i]);
        weft_json_write_real(w, "p90_s", f->high[i]);
        write_ratio(w, "efficiency", &f->efficiency[i]);
        if (f->predicted.there) {
            weft_json_write_real(w, "predicted_s", f->predicted.seconds[i]);
            weft_json_write_real(w, "prediction_error", wi_scale_error(f, i));
        }
        weft_json_write_end(w);
    }
    weft_json_write_real(w, "tokens_per_s", f->tokens);
    weft_json_write_real(w, "compute", f->compute);
    weft_json_write_real(w, "exposed_exchange", f->exchange);
    weft_json_write_real(w, "idle", f->idle);
    weft_json_write_real(w, "load_balance", f->balance);
    if (isfinite(f->per_work.ratio)) write_ratio(w, "efficiency_per_work", &f->per_work);
    weft_json_write_object(w, "machine");
    weft_json_write_real(w, "rank_bytes_per_s", f->machine.read);
    weft_json_write_real(w, "rank_operations_per_s", f->machine.operations);
    weft_json_write_real(w, "linear_operations_per_s", f->machine.linear);
    weft_json_write_real(w, "linear_bytes_per_s", f->machine.stream);
    wi_link_write(w, "near", &f->machine.near);
    wi_link_write(w, "far", &f->machine.far);
    weft_json_write_end(w);
}

static void write_cell(weft_json_writer *w, const weft_scale_spec *spec, int i, const weft_scale_figures *f)
{
    const weft_scale_cell *c = &spec->cell[i];
    char mesh[48];
    weft_json_write_object(w, NULL);
    weft_json_write_string(w, "cell", c->key);
    weft_json_write_string(w, "experiment", c->reference ? NULL : spec->experiment[c->experiment].name);
    weft_json_write_string(w, "scaling",
                           c->reference ? "reference" : wi_scale_kind_name(spec->experiment[c->experiment].kind));
    weft_json_write_string(w, "variant", spec->variant[c->variant].name);
    weft_json_write_int(w, "ranks", c->ranks);
    weft_json_write_int(w, "nodes", c->nodes);
    weft_json_write_string(w, "mesh", wi_scale_mesh_text(c, f, mesh));
    weft_json_write_int(w, "prompt", c->context);
    weft_json_write_int(w, "generate", c->generate);
    weft_json_write_int(w, "batch", c->batch);
    weft_json_write_string(w, "base", spec->cell[c->base].key);
    weft_json_write_int(w, "samples", f->samples);
    weft_json_write_string(w, "error", f->why_not[0] ? f->why_not : NULL);
    if (has_figures(f)) write_figures(w, f);
    weft_json_write_end(w);
}

weft_status weft_scale_write_json(const weft_scale_spec *spec, const weft_scale_figures *figures, const char *path)
{
    weft_json_writer w;
    char stamp[32];
    weft_clock_wall(stamp, sizeof stamp);
    weft_json_writer_init(&w, true);
    weft_json_write_object(&w, NULL);
    weft_json_write_string(&w, "schema", "weft.scale-report/1");
    weft_json_write_string(&w, "time", stamp);
    weft_json_write_string(&w, "version", weft_version());
    weft_json_write_string(&w, "build", weft_build_id());
    weft_json_write_string(&w, "spec", spec->hash);
    weft_json_write_string(&w, "model", spec->model);
    weft_json_write_int(&w, "threads", spec->threads);
    weft_json_write_int(&w, "repeats", spec->repeats);
    weft_json_write_int(&w, "rounds", spec->rounds);
    weft_json_write_int(&w, "seed", spec->seed);
    weft_json_write_array(&w, "cells");
    for (int i = 0; i < spec->cells; i++) write_cell(&w, spec, i, &figures[i]);
    weft_json_write_end(&w);
    weft_json_write_end(&w);
    return weft_json_writer_save(&w, path);
}

// ---- CSV ----

static void csv_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"') fputc('"', out);
        fputc(*text, out);
    }
    fputs("\",", out);
}

static void csv_real(FILE *out, double value)
{
    if (isfinite(value)) fprintf(out, "%.9g", value);
    fputc(',', out);
}

static void csv_cell(FILE *out, const weft_scale_spec *spec, int i, const weft_scale_figures *f)
{
    const weft_scale_cell *c = &spec->cell[i];
    char mesh[48];
    csv_text(out, c->reference ? "reference" : spec->experiment[c->experiment].name);
    csv_text(out, wi_scale_kind_name(spec->experiment[c->experiment].kind));
    csv_text(out, spec->variant[c->variant].name);
    fprintf(out, "%d,%d,", c->ranks, c->nodes);
    csv_text(out, wi_scale_mesh_text(c, f, mesh));
    fprintf(out, "%" PRId64 ",%" PRId64 ",%" PRId64 ",%d,", c->context, c->generate, c->batch, f->samples);
    const bool has = has_figures(f);
    for (int k = 0; k < WEFT_SCALE_FIGURES; k++) {
        csv_real(out, has ? f->seconds[k] : NAN);
        csv_real(out, has ? f->efficiency[k].ratio : NAN);
        csv_real(out, has ? f->efficiency[k].low : NAN);
        csv_real(out, has ? f->efficiency[k].high : NAN);
        csv_real(out, has && f->predicted.there ? f->predicted.seconds[k] : NAN);
    }
    const double rest[] = {f->tokens, f->compute, f->exchange, f->idle, f->balance};
    for (size_t k = 0; k < sizeof rest / sizeof *rest; k++) csv_real(out, has ? rest[k] : NAN);
    csv_text(out, f->why_not);
    fputs("\n", out);
}

weft_status weft_scale_write_csv(const weft_scale_spec *spec, const weft_scale_figures *figures, const char *path)
{
    static const char *const keys[] = {"total", "prompts", "step"};
    FILE *out = fopen(path, "w");
    if (!out) return weft_fail(WEFT_IO, "%s: %s", path, strerror(errno));
    fputs("experiment,scaling,variant,ranks,nodes,mesh,prompt,generate,batch,samples,", out);
    for (int k = 0; k < WEFT_SCALE_FIGURES; k++)
        fprintf(out, "%s_s,%s_efficiency,%s_efficiency_low,%s_efficiency_high,%s_predicted_s,", keys[k], keys[k],
                keys[k], keys[k], keys[k]);
    fputs("tokens_per_s,compute,exposed_exchange,idle,load_balance,error,\n", out);
    for (int i = 0; i < spec->cells; i++) csv_cell(out, spec, i, &figures[i]);
    const bool bad = ferror(out);
    if (fclose(out) != 0 || bad) return weft_fail(WEFT_IO, "%s: cannot write it: %s", path, strerror(errno));
    return WEFT_OK;
}
