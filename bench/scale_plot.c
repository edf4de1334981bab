// The pictures of a scaling report, as SVG inside of a page. Colours and sizes of text are the page's
// (bench/scale_html.c).
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "bench/scale_impl.h"

enum { HUES = 8, WIDTH = 360, HEIGHT = 240, LEFT = 44, RIGHT = 12, TOP = 14, BOTTOM = 34 };

static bool has_figures(const weft_scale_figures *f) { return f->first && !f->why_not[0]; }

// Cells that one line joins.
static bool alike(const weft_scale_cell *a, const weft_scale_cell *b)
{
    return a->experiment == b->experiment && a->variant == b->variant && a->base_context == b->base_context &&
           a->base_batch == b->base_batch && !a->reference && !b->reference && strcmp(a->mesh, b->mesh) == 0;
}

static bool leads(const weft_scale_spec *spec, int i)
{
    for (int j = 0; j < i; j++)
        if (alike(&spec->cell[j], &spec->cell[i])) return false;
    return !spec->cell[i].reference;
}

static bool is_point(const weft_scale_spec *spec, int i, const weft_scale_figures *f, int figure)
{
    return has_figures(f) && isfinite(f->efficiency[figure].ratio) && !spec->cell[i].reference;
}

// ---- efficiency ----

typedef struct {
    FILE *out;
    const weft_scale_spec *spec;
    const weft_scale_figures *figures;
    int experiment, figure;
    double least, most, top; // ranks; the axis of the efficiency ends there
} curves;

static double x_of(const curves *c, double ranks)
{
    const double span = log2(c->most / c->least);
    const double at = span > 0 ? log2(ranks / c->least) / span : 0.5;
    return LEFT + 14 + at * (WIDTH - LEFT - RIGHT - 28);
}

static double y_of(const curves *c, double ratio) { return TOP + (1 - ratio / c->top) * (HEIGHT - TOP - BOTTOM); }

static void find_limits(curves *c)
{
    double most = 1.0;
    c->least = 1e9;
    for (int i = 0; i < c->spec->cells; i++) {
        const weft_scale_cell *cell = &c->spec->cell[i];
        const weft_scale_figures *f = &c->figures[i];
        if (cell->experiment != c->experiment || cell->reference) continue;
        c->least = fmin(c->least, cell->ranks);
        c->most = fmax(c->most, cell->ranks);
        if (!is_point(c->spec, i, f, c->figure)) continue;
        most = fmax(most, f->efficiency[c->figure].ratio);
        if (isfinite(f->efficiency[c->figure].high)) most = fmax(most, fmin(2, f->efficiency[c->figure].high));
    }
    c->top = ceil(most * 4 + 0.4) / 4;
}

static void draw_axes(const curves *c)
{
    const double step = c->top > 1.6 ? 0.5 : 0.25;
    bool told[4097] = {false};
    for (int i = 0; i * step <= c->top + 1e-9; i++) {
        const double v = i * step;
        fprintf(
            c->out,
            "<line class=\"%s\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text class=\"tick\" x=\"%d\" y=\"%.1f\" "
            "text-anchor=\"end\">%.0f %%</text>\n",
            fabs(v - 1) < 1e-9 ? "ideal" : "grid", LEFT, WIDTH - RIGHT, y_of(c, v), y_of(c, v), LEFT - 6,
            y_of(c, v) + 3.5, 100 * v);
    }
    for (int i = 0; i < c->spec->cells; i++) {
        const weft_scale_cell *cell = &c->spec->cell[i];
        if (cell->experiment != c->experiment || cell->reference || told[cell->ranks]) continue;
        told[cell->ranks] = true;
        fprintf(c->out, "<text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d</text>\n",
                x_of(c, cell->ranks), HEIGHT - BOTTOM + 15, cell->ranks);
    }
    fprintf(c->out, "<text class=\"tick\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">ranks</text>\n",
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4);
}

static void draw_point(const curves *c, int i, int hue)
{
    const weft_scale_cell *cell = &c->spec->cell[i];
    const weft_ratio *r = &c->figures[i].efficiency[c->figure];
    const double x = x_of(c, cell->ranks);
    if (isfinite(r->low))
        fprintf(c->out, "<line class=\"bar s%d\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n", hue, x, x,
                y_of(c, fmin(r->low, c->top)), y_of(c, fmin(r->high, c->top)));
    fprintf(c->out, "<circle class=\"dot f%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"><title>", hue, x, y_of(c, r->ratio));
    wi_html_text(c->out, cell->key);
    fprintf(c->out, ": %.1f %%", 100 * r->ratio);
    if (isfinite(r->low)) fprintf(c->out, " [%.1f, %.1f]", 100 * r->low, 100 * r->high);
    fputs("</title></circle>\n", c->out);
}

static void draw_curve(const curves *c, int first, int hue)
{
    const int base = c->spec->cell[first].base;
    bool begun = false;
    for (int pass = 0; pass < 2; pass++) { // the line under the points
        if (pass == 0) fprintf(c->out, "<polyline class=\"line s%d\" points=\"", hue % HUES);
        for (int i = 0; i < c->spec->cells; i++) {
            if ((i != base && !alike(&c->spec->cell[first], &c->spec->cell[i])) ||
                !is_point(c->spec, i, &c->figures[i], c->figure))
                continue;
            if (pass == 0)
                fprintf(c->out, "%s%.1f,%.1f", begun ? " " : "", x_of(c, c->spec->cell[i].ranks),
                        y_of(c, c->figures[i].efficiency[c->figure].ratio));
            else
                draw_point(c, i, hue % HUES);
            begun = true;
        }
        if (pass == 0) fputs("\"/>\n", c->out);
    }
}

void wi_plot_efficiency(FILE *out, const weft_scale_spec *spec, const weft_scale_figures *figures, int experiment,
                        int figure)
{
    curves c = {.out = out, .spec = spec, .figures = figures, .experiment = experiment, .figure = figure};
    int hue = 0;
    find_limits(&c);
    fprintf(out, "<figure><figcaption>Efficiency: %s</figcaption><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"",
            weft_scale_figure_name(figure), WIDTH, HEIGHT);
    fprintf(out, "efficiency over ranks, %s\">\n", weft_scale_figure_name(figure));
    draw_axes(&c);
    for (int i = 0; i < spec->cells; i++) {
        if (spec->cell[i].experiment != experiment || !leads(spec, i) || spec->cell[i].base == i) continue;
        draw_curve(&c, i, hue++);
    }
    fputs("</svg></figure>\n", out);
}

void wi_plot_legend(FILE *out, const weft_scale_spec *spec, int experiment)
{
    int hue = 0;
    fputs("<ul class=\"legend\">", out);
    for (int i = 0; i < spec->cells; i++) {
        const weft_scale_cell *c = &spec->cell[i];
        if (c->experiment != experiment || !leads(spec, i) || c->base == i) continue;
        fprintf(out, "<li><span class=\"key k%d\"></span>", hue++ % HUES);
        wi_html_text(out, c->mesh);
        fprintf(out, ", prompt %" PRId64 ", batch %" PRId64, c->base_context, c->base_batch);
        if (*spec->variant[c->variant].name) {
            fputs(", ", out);
            wi_html_text(out, spec->variant[c->variant].name);
        }
        fputs("</li>", out);
    }
    fputs("</ul>\n", out);
}

// ---- where the time goes, and how well it was foreseen: a row a cell ----

enum { ROW = 24, NAMES = 300, PART = 420, ALL = NAMES + PART + 70 };

static int rows_of(const weft_scale_spec *spec, const weft_scale_figures *figures, int experiment)
{
    int rows = 0;
    for (int i = 0; i < spec->cells; i++)
        rows += has_figures(&figures[i]) && !spec->cell[i].reference &&
                (experiment < 0 || spec->cell[i].experiment == experiment);
    return rows;
}

static void name_row(FILE *out, const weft_scale_spec *spec, int i, const weft_scale_figures *f, double y)
{
    const weft_scale_cell *c = &spec->cell[i];
    char mesh[48], text[160];
    const char *variant = spec->variant[c->variant].name;
    snprintf(text, sizeof text, "%s, prompt %" PRId64 ", batch %" PRId64 "%s%.16s", wi_scale_mesh_text(c, f, mesh),
             c->context, c->batch, *variant ? ", " : "", variant);
    fprintf(out, "<text class=\"row\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", NAMES - 8, y + 15);
    wi_html_text(out, text);
    fputs("</text>\n", out);
}

static void draw_part(FILE *out, const char *class, const char *name, double begin, double share, double y)
{
    if (share <= 0) return;
    fprintf(out,
            "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\"><title>%s: %.1f %%</title></rect>\n",
            class, NAMES + begin * PART, y + 3, fmax(0, share * PART - 1), ROW - 8, name, 100 * share);
}

void wi_plot_breakdown(FILE *out, const weft_scale_spec *spec, const weft_scale_figures *figures, int experiment)
{
    char text[24];
    int row = 0;
    const int rows = rows_of(spec, figures, experiment);
    if (rows == 0) return;
    fprintf(out,
            "<figure class=\"wide\"><figcaption>Where the time goes</figcaption><ul class=\"legend\"><li><span "
            "class=\"key kc\"></span>computing</li><li><span class=\"key ke\"></span>exposed exchange</li><li><span "
            "class=\"key ki\"></span>idle, for the busiest rank</li></ul><svg viewBox=\"0 0 %d %d\" role=\"img\" "
            "aria-label=\"parts of the time to solution\">\n",
            ALL, rows * ROW + 4);
    for (int i = 0; i < spec->cells; i++) {
        const weft_scale_figures *f = &figures[i];
        const double y = row * ROW;
        if (!has_figures(f) || spec->cell[i].experiment != experiment || spec->cell[i].reference) continue;
        name_row(out, spec, i, f, y);
        draw_part(out, "fc", "computing", 0, f->compute, y);
        draw_part(out, "fe", "exposed exchange", f->compute, f->exchange, y);
        draw_part(out, "fi", "idle", f->compute + f->exchange, f->idle, y);
        fprintf(out, "<text class=\"row\" x=\"%d\" y=\"%.1f\">%s</text>\n", NAMES + PART + 6, y + 15,
                wi_scale_time(f->seconds[WEFT_SCALE_TOTAL], text));
        row++;
    }
    fputs("</svg></figure>\n", out);
}

static double error_x(double error) { return NAMES + PART * (0.5 + 0.5 * fmax(-1, fmin(1, error))); }

static void draw_errors(FILE *out, const weft_scale_figures *f, double y)
{
    for (int k = 0; k < WEFT_SCALE_FIGURES; k++) {
        const double error = wi_scale_error(f, k);
        if (!isfinite(error)) continue;
        fprintf(out, "<circle class=\"dot f%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"><title>%s: %+.1f %%</title></circle>\n",
                k, error_x(error), y + ROW / 2.0, weft_scale_figure_name(k), 100 * error);
    }
}

void wi_plot_prediction(FILE *out, const weft_scale_spec *spec, const weft_scale_figures *figures)
{
    int row = 0;
    const int rows = rows_of(spec, figures, -1), height = rows * ROW;
    if (rows == 0) return;
    fputs("<figure class=\"wide\"><figcaption>How far the prediction is off</figcaption><ul class=\"legend\">", out);
    for (int k = 0; k < WEFT_SCALE_FIGURES; k++)
        fprintf(out, "<li><span class=\"key k%d\"></span>%s</li>", k, weft_scale_figure_name(k));
    fprintf(out,
            "<li><span class=\"key kb\"></span>within 15 %%</li></ul><svg viewBox=\"0 0 %d %d\" role=\"img\" "
            "aria-label=\"predicted over measured time, less one\">\n",
            ALL, height + 24);
    fprintf(out, "<rect class=\"band\" x=\"%.1f\" y=\"0\" width=\"%.1f\" height=\"%d\"/>\n", error_x(-0.15),
            error_x(0.15) - error_x(-0.15), height);
    for (int i = -2; i <= 2; i++) {
        const double v = i / 2.0;
        fprintf(
            out,
            "<line class=\"%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"0\" y2=\"%d\"/><text class=\"tick\" x=\"%.1f\" y=\"%d\" "
            "text-anchor=\"middle\">%s%.0f %%</text>\n",
            fabs(v) < 1e-9 ? "ideal" : "grid", error_x(v), error_x(v), height, error_x(v), height + 16,
            v > 0.75 ? "over +"
            : v > 0  ? "+"
                     : "",
            100 * v);
    }
    for (int i = 0; i < spec->cells; i++) {
        if (!has_figures(&figures[i]) || spec->cell[i].reference) continue;
        name_row(out, spec, i, &figures[i], row * ROW);
        draw_errors(out, &figures[i], row * ROW);
        row++;
    }
    fputs("</svg></figure>\n", out);
}
