// A scaling report as one page: text, tables and pictures, nothing from elsewhere and no scripts. It is well-formed XML
// too, so that a test can look into it.
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "bench/scale_impl.h"
#include "core/clock.h"
#include "core/cpu.h"
#include "core/plugin.h"

static const char style[] =
    ":root{color-scheme:light dark;--page:#fcfcfb;--text:#1d1d1b;--soft:#5c5b57;--line:#e2e1dc;--strong:#8a8984;"
    "--band:#eceae4;--s0:#2a6fc9;--s1:#c2571a;--s2:#1a8a6e;--s3:#8b55b8;--s4:#b8860b;--s5:#c23b6b;--s6:#4a7a1f;"
    "--s7:#6b6a66}\n"
    "@media(prefers-color-scheme:dark){:root{--page:#191918;--text:#ecebe6;--soft:#a8a7a1;--line:#34332f;"
    "--strong:#7d7c76;--band:#2a2926;--s0:#6ea8f0;--s1:#f0915a;--s2:#4fc3a1;--s3:#bd93e0;--s4:#dcb04a;--s5:#ee7ba3;"
    "--s6:#93c464;--s7:#a3a29c}}\n"
    "body{background:var(--page);color:var(--text);font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:0 auto;"
    "padding:24px 20px 60px}\n"
    "h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:36px 0 8px}p{max-width:75ch;margin:6px 0}"
    ".soft,figcaption{color:var(--soft)}\n"
    "figure{margin:12px 0;display:inline-block;width:360px;max-width:100%;vertical-align:top}figure.wide{display:block;"
    "width:auto;max-width:820px}figcaption{font-size:14px;margin-bottom:4px}svg{width:100%;height:auto;display:block}\n"
    "svg text{font:12px system-ui,sans-serif;fill:var(--text)}svg text.tick{fill:var(--soft);font-size:11px}\n"
    ".grid{stroke:var(--line)}.ideal{stroke:var(--strong)}.line{fill:none;stroke-width:2}"
    ".bar{stroke-width:2;opacity:.55}.dot{stroke:var(--page);stroke-width:1.5}.band{fill:var(--band)}\n"
    ".fc{fill:var(--s0)}.fe{fill:var(--s1)}.fi{fill:var(--s7)}.kc{background:var(--s0)}.ke{background:var(--s1)}"
    ".ki{background:var(--s7)}.kb{background:var(--band)}\n"
    ".legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px;padding:0;margin:4px 0;font-size:13px}"
    ".key{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}\n"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;font-size:12.5px;margin:10px 0}th,td{padding:4px 7px;"
    "text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;font-variant-numeric:tabular-nums}"
    "th{color:var(--soft);font-weight:500}th:first-child,td:first-child{text-align:left}.wrong{color:var(--s5);"
    "text-align:left;white-space:normal}\n";

void wi_html_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        const unsigned char byte = (unsigned char)*text;
        if (byte == '<')
            fputs("&lt;", out);
        else if (byte == '>')
            fputs("&gt;", out);
        else if (byte == '&')
            fputs("&amp;", out);
        else if (byte == '"')
            fputs("&quot;", out);
        else if (byte == '\'')
            fputs("&#39;", out);
        else
            fputc(byte < 0x20 || byte == 0x7f ? ' ' : byte, out); // a page has no control characters
    }
}

static void write_head(FILE *out, const weft_scale_spec *spec)
{
    const weft_cpu cpu = weft_cpu_detect();
    char stamp[32];
    weft_clock_wall(stamp, sizeof stamp);
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" "
          "content=\"width=device-width, initial-scale=1\"/><title>weft bench scale: ",
          out);
    wi_html_text(out, spec->model);
    fputs("</title><style>\n", out);
    fputs(style, out);
    for (int i = 0; i < 8; i++)
        fprintf(out, ".s%d{stroke:var(--s%d)}.f%d{fill:var(--s%d)}.k%d{background:var(--s%d)}", i, i, i, i, i, i);
    fputs("\n</style></head><body>\n<h1>Scaling of ", out);
    wi_html_text(out, spec->model);
    fputs("</h1>\n<p class=\"soft\">weft ", out);
    wi_html_text(out, weft_version());
    fputs(", build ", out);
    wi_html_text(out, weft_build_id());
    fputs("; ", out);
    wi_html_text(out, cpu.name);
    fprintf(out,
            "; %s. Each sample is a job of its own; cells took turns, %" PRId64 " jobs of %" PRId64
            " rounds each, %" PRId64 " thread%s a rank.</p>\n",
            stamp, spec->repeats, spec->rounds, spec->threads, spec->threads == 1 ? "" : "s");
    fputs("<p>Only cells whose requests drew the same tokens as on the fewest ranks have figures. Efficiency is beside "
          "the fewest ranks of the same work; intervals are 95 %, by drawing jobs and their rounds again. Predictions "
          "are those of weft plan.</p>\n",
          out);
}

static void cell_time(FILE *out, double seconds)
{
    char text[24];
    fprintf(out, "<td>%s</td>", wi_scale_time(seconds, text));
}

static void cell_ratio(FILE *out, const weft_ratio *r)
{
    if (!isfinite(r->ratio))
        fputs("<td>-</td>", out);
    else if (!isfinite(r->low))
        fprintf(out, "<td>%.0f %%</td>", 100 * r->ratio);
    else
        fprintf(out, "<td>%.0f %% [%.0f, %.0f]</td>", 100 * r->ratio, 100 * r->low, 100 * r->high);
}

static void cell_error(FILE *out, const weft_scale_figures *f, int figure)
{
    const double error = wi_scale_error(f, figure);
    if (isfinite(error))
        fprintf(out, "<td>%+.0f %%</td>", 100 * error);
    else
        fputs("<td>-</td>", out);
}

static void write_row(FILE *out, const weft_scale_spec *spec, int i, const weft_scale_figures *f)
{
    const weft_scale_cell *c = &spec->cell[i];
    char mesh[48];
    fputs("<tr><td>", out);
    wi_html_text(out, wi_scale_mesh_text(c, f, mesh));
    if (*spec->variant[c->variant].name) {
        fputs(", ", out);
        wi_html_text(out, spec->variant[c->variant].name);
    }
    fprintf(out, "</td><td>%d</td><td>%d</td><td>%" PRId64 "</td><td>%" PRId64 "</td>", c->ranks, c->nodes, c->context,
            c->batch);
    if (!f->first || f->why_not[0]) {
        fputs("<td class=\"wrong\" colspan=\"13\">", out);
        wi_html_text(out, f->why_not[0] ? f->why_not : "not run yet");
        fputs("</td></tr>\n", out);
        return;
    }
    fprintf(out, "<td>%d</td>", f->samples);
    for (int k = 0; k < WEFT_SCALE_FIGURES; k++) cell_time(out, f->seconds[k]);
    fprintf(out, "<td>%.1f</td>", f->tokens);
    for (int k = 0; k < WEFT_SCALE_FIGURES; k++) cell_ratio(out, &f->efficiency[k]);
    fprintf(out, "<td>%.3f</td>", f->balance);
    for (int k = 0; k < WEFT_SCALE_FIGURES; k++) cell_error(out, f, k);
    cell_ratio(out, &f->per_work);
    fputs("</tr>\n", out);
}

static void write_table(FILE *out, const weft_scale_spec *spec, const weft_scale_figures *figures, int experiment)
{
    fputs(
        "<div class=\"scroll\"><table><thead><tr><th>mesh</th><th>ranks</th><th>nodes</th><th>prompt</th><th>batch</th>"
        "<th>jobs</th><th>time</th><th>prompts</th><th>a step</th><th>tokens/s</th><th>efficiency</th><th>of "
        "prompts</th><th>of a step</th><th>balance</th><th>predicted, off</th><th>prompts</th><th>a step</th><th>"
        "efficiency per work</th></tr>"
        "</thead><tbody>\n",
        out);
    for (int i = 0; i < spec->cells; i++)
        if (spec->cell[i].experiment == experiment && !spec->cell[i].reference) write_row(out, spec, i, &figures[i]);
    fputs("</tbody></table></div>\n", out);
}

static void write_experiment(FILE *out, const weft_scale_spec *spec, const weft_scale_figures *figures, int experiment)
{
    static const char *const texts[] = {"the same work on more ranks",
                                        "as many requests for each rank, whatever the ranks",
                                        "as many tokens of the prompt for each rank: attention's work grows faster"};
    const weft_scale_experiment *e = &spec->experiment[experiment];
    fputs("<h2>", out);
    wi_html_text(out, e->name);
    fprintf(out, "</h2>\n<p class=\"soft\">%s scaling: %s.</p>\n", wi_scale_kind_name(e->kind), texts[e->kind]);
    wi_plot_legend(out, spec, experiment);
    for (int figure = 0; figure < WEFT_SCALE_FIGURES; figure++)
        wi_plot_efficiency(out, spec, figures, experiment, figure);
    wi_plot_breakdown(out, spec, figures, experiment);
    write_table(out, spec, figures, experiment);
}

weft_status weft_scale_write_html(const weft_scale_spec *spec, const weft_scale_figures *figures, const char *path)
{
    FILE *out = fopen(path, "w");
    if (!out) return weft_fail(WEFT_IO, "%s: %s", path, strerror(errno));
    write_head(out, spec);
    for (int e = 0; e < spec->experiments; e++) write_experiment(out, spec, figures, e);
    fputs("<h2>Predicted and measured</h2>\n<p class=\"soft\">What weft plan says over what was measured, less one; "
          "beyond 100 % at the edge.</p>\n",
          out);
    wi_plot_prediction(out, spec, figures);
    fputs("</body></html>\n", out);
    const bool bad = ferror(out);
    if (fclose(out) != 0 || bad) return weft_fail(WEFT_IO, "%s: cannot write it: %s", path, strerror(errno));
    return WEFT_OK;
}
