// From made-up samples to reports: the journal and what it goes on with, the gate of the digests, figures, the page.
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/scale.h"
#include "tests/check.h"

static const char spec_text[] =
    "{\"model\":\"a<b>&'\\\"c\",\"repeats\":3,\"rounds\":2,\"experiments\":[{\"name\":\"<script>alert(1)</script>\","
    "\"ranks\":[1,2],\"meshes\":[\"tp\",\"cp\"],\"contexts\":[64],\"batches\":[2],\"generate\":5}]}";
static char folder[] = "/tmp/weft-scale-XXXXXX";

static char *path_of(const char *name)
{
    static char path[4][256];
    static int at;
    char *out = path[at++ % 4];
    snprintf(out, sizeof *path, "%s/%s", folder, name);
    return out;
}

static char *file_text(const char *path)
{
    static char text[1 << 18];
    FILE *in = fopen(path, "r");
    CHECK(in);
    text[fread(text, 1, sizeof text - 1, in)] = 0;
    fclose(in);
    return text;
}

// What weft bench cell would write: `compute` of rank 0; rank 1 computes 0.8 of it.
static size_t line_of(const weft_scale_cell *c, double prompts, double steps, char drawn, char *out, size_t room)
{
    char digests[2][65], rounds[512] = "";
    memset(digests[0], 'a', 64);
    memset(digests[1], drawn, 64);
    digests[0][64] = digests[1][64] = 0;
    for (int i = 0; i < 2; i++) {
        const char *more = c->ranks == 2 ? ",%g" : "";
        char one[256], tail[2][32] = {"", ""};
        if (*more) {
            snprintf(tail[0], 32, ",%g", prompts * 0.4);
            snprintf(tail[1], 32, ",%g", steps * 0.4);
        }
        const double share = c->ranks == 2 ? 0.5 : 1;
        snprintf(one, sizeof one,
                 "%s{\"prompts_s\":%g,\"prompts_compute_s\":[%g%s],\"steps_s\":%g,\"steps_compute_s\":[%g%s]}",
                 i ? "," : "", prompts, prompts * share, tail[0], steps, steps * share, tail[1]);
        snprintf(rounds + strlen(rounds), sizeof rounds - strlen(rounds), "%s", one);
    }
    return (size_t)snprintf(
        out, room,
        "{\"schema\":\"weft.cell/1\",\"tp\":%d,\"cp\":%d,\"dense\":\"tp\",\"ranks\":%d,\"nodes\":1,\"prompt\":64,"
        "\"generate\":5,\"batch\":2,\"digests\":[\"%s\",\"%s\"],\"rounds\":[%s],\"machine\":{\"rank_bytes_per_s\":1e9}"
        "}",
        c->ranks == 1 ? 1 : c->tp, c->ranks == 1 ? 1 : c->cp, c->ranks, digests[0], digests[1], rounds);
}

static void add(weft_scale_journal *j, const weft_scale_spec *spec, int cell, int turn, double prompts, double steps,
                char drawn)
{
    char line[2048];
    const size_t bytes = line_of(&spec->cell[cell], prompts, steps, drawn, line, sizeof line);
    CHECK_OK(weft_scale_journal_add(j, cell, turn, line, bytes));
}

static void parse(const char *text, weft_scale_spec *out)
{
    CHECK_OK(weft_scale_spec_parse(text, strlen(text), "s.json", out));
}

// ---- the journal ----

static void check_resume(const weft_scale_spec *spec)
{
    char line[2048];
    const char *path = path_of("resume.jsonl");
    weft_scale_journal *j, *other;
    weft_scale_spec changed;
    int count;
    CHECK_OK(weft_scale_journal_open(path, spec, &j));
    add(j, spec, 0, 0, 1, 1, 'b');
    add(j, spec, 2, 0, 0.5, 0.5, 'b');
    CHECK_FAILS(weft_scale_journal_open(path, spec, &other), WEFT_USAGE, "another weft bench scale is writing");
    // A job that was not of this cell leaves nothing.
    const size_t bytes = line_of(&spec->cell[1], 1, 1, 'b', line, sizeof line);
    CHECK_FAILS(weft_scale_journal_add(j, 0, 1, line, bytes), WEFT_MISMATCH, "had ranks 2 where 1 were asked for");
    weft_scale_journal_close(j);

    // A kill in the middle of a line.
    FILE *torn = fopen(path, "a");
    fputs("{\"cell\":\"<script>", torn);
    fclose(torn);
    CHECK_OK(weft_scale_journal_open(path, spec, &j));
    const weft_scale_sample *samples = weft_scale_journal_samples(j, &count);
    CHECK_INT(count, 2);
    CHECK_INT(samples[1].cell, 2);
    CHECK_REAL(samples[1].part[1][WEFT_SCALE_STEPS].seconds, 0.5);
    CHECK(weft_scale_journal_has(j, 2, 0) && !weft_scale_journal_has(j, 2, 1));
    add(j, spec, 1, 2, 1, 1, 'b');
    weft_scale_journal_close(j);
    CHECK_OK(weft_scale_journal_open(path, spec, &j));
    weft_scale_journal_samples(j, &count);
    CHECK_INT(count, 3);
    weft_scale_journal_close(j);

    // Another spec, another build: a named error, and nothing is touched.
    char *before = strdup(file_text(path)), *other_text = strdup(spec_text);
    other_text[strlen(other_text) - 4] = '6'; // draws 6
    parse(other_text, &changed);
    CHECK_FAILS(weft_scale_journal_open(path, &changed, &j), WEFT_MISMATCH, "of another spec; nothing was touched");
    CHECK_TEXT(file_text(path), before);
    weft_scale_spec_free(&changed);
    char *build = strstr(before, "\"build\":\"");
    CHECK(build);
    build[9] = build[9] == '0' ? '1' : '0';
    FILE *of_other = fopen(path, "w");
    fputs(before, of_other);
    fclose(of_other);
    CHECK_FAILS(weft_scale_journal_open(path, spec, &j), WEFT_MISMATCH, "another build");
    CHECK_TEXT(file_text(path), before);
    // A file of somebody else's.
    FILE *mine = fopen(path, "w");
    fputs("dear diary", mine);
    fclose(mine);
    CHECK_FAILS(weft_scale_journal_open(path, spec, &j), WEFT_FORMAT, "is no journal");
    CHECK_TEXT(file_text(path), "dear diary");
    free(before);
    free(other_text);
}

// ---- figures ----

static void near_to(double actual, double expected)
{
    if (!(fabs(actual - expected) < 1e-9)) CHECK_FAIL("%.12g, expected %.12g", actual, expected);
}

static void predict(void *arg, const weft_scale_cell *cell, const weft_scale_sample *measured,
                    weft_scale_prediction *out)
{
    near_to(measured->read, 1e9);
    *out = (weft_scale_prediction){.there = true, .seconds = {2, 1, 0.25}, .work = 1e9};
}

static void check_figures(const weft_scale_spec *spec)
{
    weft_scale_journal *j;
    weft_scale_figures *f;
    int count;
    CHECK_OK(weft_scale_journal_open(path_of("figures.jsonl"), spec, &j));
    for (int turn = 0; turn < 3; turn++) {
        add(j, spec, 0, turn, 1, 1, 'b');
        add(j, spec, 1, turn, 0.75, 0.5, 'b');
        add(j, spec, 2, turn, 1, 0.25, turn == 2 ? 'c' : 'b'); // one job draws something else
    }
    const weft_scale_sample *samples = weft_scale_journal_samples(j, &count);
    CHECK_OK(weft_scale_figures_of(spec, samples, count, NULL, predict, NULL, &f));
    CHECK_TEXT(f[0].why_not, "");
    near_to(f[0].seconds[WEFT_SCALE_TOTAL], 2);
    near_to(f[1].seconds[WEFT_SCALE_TOTAL], 1.25);
    near_to(f[1].seconds[WEFT_SCALE_STEP], 0.125); // four steps follow the first token
    near_to(f[1].tokens, 10 / 1.25);
    near_to(f[1].efficiency[WEFT_SCALE_TOTAL].ratio, 2 / 1.25 / 2);
    near_to(f[1].efficiency[WEFT_SCALE_TOTAL].low, 2 / 1.25 / 2);
    near_to(f[1].efficiency[WEFT_SCALE_STEP].ratio, 1);
    // Rank 0 computes half of the time, rank 1 two fifths.
    near_to(f[1].compute, 0.45);
    near_to(f[1].idle, 0.05);
    near_to(f[1].exchange, 0.5);
    near_to(f[1].balance, 0.9);
    // The planted difference: named, and without figures.
    CHECK(f[2].wrong);
    CHECK_HAS(f[2].why_not, "request 1 draws other tokens than in \"<script>");
    CHECK_REAL(f[2].seconds[WEFT_SCALE_TOTAL], 0);
    free(f);
    char *failed[3] = {NULL, strdup("2 ranks: exit code 1: out of luck"), NULL};
    CHECK_OK(weft_scale_figures_of(spec, samples, count, failed, predict, NULL, &f));
    CHECK_TEXT(f[1].why_not, "2 ranks: exit code 1: out of luck");
    CHECK_REAL(f[1].seconds[WEFT_SCALE_TOTAL], 0);
    free(failed[1]);
    free(f);
    weft_scale_journal_close(j);
}

// ---- reports ----

static int count_of(const char *text, const char *part)
{
    int count = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) count++;
    return count;
}

// Every element is closed in order, and no attribute or text holds what would be markup.
static void check_well_formed(const char *text)
{
    char open[64][32];
    int depth = 0;
    for (const char *at = text; *at; at++) {
        if (*at != '<') continue;
        const char *end = strchr(at, '>');
        CHECK(end);
        if (at[1] == '!') {
            at = end;
            continue;
        }
        char name[32];
        const bool closes = at[1] == '/';
        const size_t length = strcspn(at + 1 + closes, " />\n");
        CHECK(length > 0 && length < sizeof name);
        snprintf(name, sizeof name, "%.*s", (int)length, at + 1 + closes);
        int quotes = 0;
        for (const char *c = at; c < end; c++) quotes += *c == '"';
        CHECK_INT(quotes % 2, 0);
        if (closes) {
            CHECK(depth > 0);
            CHECK_TEXT(name, open[--depth]);
        } else if (end[-1] != '/') {
            CHECK(depth < 64);
            memcpy(open[depth++], name, sizeof name);
        }
        at = end;
    }
    CHECK_INT(depth, 0);
}

static void check_reports(const weft_scale_spec *spec)
{
    weft_scale_journal *j;
    weft_scale_figures *f;
    weft_json *json;
    int count;
    CHECK_OK(weft_scale_journal_open(path_of("reports.jsonl"), spec, &j));
    for (int turn = 0; turn < 3; turn++)
        for (int cell = 0; cell < 3; cell++) add(j, spec, cell, turn, 1, cell == 2 ? 3 : 1, cell == 2 ? 'x' : 'b');
    const weft_scale_sample *samples = weft_scale_journal_samples(j, &count);
    CHECK_OK(weft_scale_figures_of(spec, samples, count, NULL, predict, NULL, &f));
    CHECK_OK(weft_scale_write_html(spec, f, path_of("r.html")));
    const char *page = file_text(path_of("r.html"));
    check_well_formed(page);
    CHECK(!strstr(page, "<script"));
    CHECK(!strstr(page, "http://") && !strstr(page, "https://") && !strstr(page, "src="));
    CHECK_HAS(page, "&lt;script&gt;alert(1)&lt;/script&gt;");
    CHECK_HAS(page, "a&lt;b&gt;&amp;&#39;&quot;c");
    CHECK_HAS(page, "prefers-color-scheme:dark");
    // All cells are in the table, those with figures in the pictures, the other with its reason.
    CHECK_INT(count_of(page, "<tr><td>"), 3);
    CHECK_INT(count_of(page, "class=\"row\" x=\"292\""), 4); // two cells, in two pictures of rows
    CHECK_INT(count_of(page, "request 1 draws other tokens"), 1);
    CHECK(!strstr(page, "nan"));
    CHECK_OK(weft_scale_write_json(spec, f, path_of("r.json")));
    CHECK_OK(weft_json_read(path_of("r.json"), NULL, &json));
    CHECK_INT(weft_json_size(weft_json_get(json, "cells")), 3);
    weft_json_free(json);
    CHECK_OK(weft_scale_write_csv(spec, f, path_of("r.csv")));
    CHECK_INT(count_of(file_text(path_of("r.csv")), "\n"), 4);
    CHECK_FAILS(weft_scale_write_html(spec, f, "/nowhere/r.html"), WEFT_IO, "/nowhere/r.html");
    free(f);
    weft_scale_journal_close(j);
}

int main(void)
{
    weft_scale_spec spec;
    CHECK(mkdtemp(folder));
    parse(spec_text, &spec);
    CHECK_INT(spec.cells, 3);
    check_resume(&spec);
    check_figures(&spec);
    check_reports(&spec);
    weft_scale_spec_free(&spec);
    for (const char *const *name =
             (const char *const[]){"resume.jsonl", "figures.jsonl", "reports.jsonl", "r.html", "r.json", "r.csv", NULL};
         *name; name++)
        unlink(path_of(*name));
    CHECK_INT(rmdir(folder), 0);
    return 0;
}
