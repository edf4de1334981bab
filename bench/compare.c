#include "bench/compare.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/bench.h"

enum { RUNS_MAX = 1000, TEXT_MAX = 256 };

// ---- records ----

typedef struct {
    const char *path;
    weft_json *record[RUNS_MAX]; // in the order of their times
    int count;
} side;

static void side_free(side *s)
{
    for (int i = 0; s && i < s->count; i++) weft_json_free(s->record[i]);
    free(s);
}

static const char *text_of(const weft_json *object, const char *key)
{
    const char *text = weft_json_string_value(weft_json_get(object, key));
    return text ? text : "";
}

static weft_status add(side *s, const char *path)
{
    weft_json *record;
    WEFT_TRY(weft_json_read(path, NULL, &record));
    const bool known = strcmp(text_of(record, "schema"), "weft.bench/1") == 0;
    if (!known || s->count == RUNS_MAX) {
        weft_json_free(record);
        return known ? weft_fail(WEFT_LIMIT, "%s: more than %d records", s->path, RUNS_MAX)
                     : weft_fail(WEFT_FORMAT, "%s: no record of a benchmark: its schema is not weft.bench/1", path);
    }
    int at = s->count++;
    for (; at > 0 && strcmp(text_of(s->record[at - 1], "time"), text_of(record, "time")) > 0; at--)
        s->record[at] = s->record[at - 1];
    s->record[at] = record;
    return WEFT_OK;
}

static weft_status add_folder(side *s)
{
    char path[4096];
    DIR *folder = opendir(s->path);
    weft_status status = WEFT_OK;
    if (!folder) return weft_fail(WEFT_IO, "%s: %s", s->path, strerror(errno));
    for (struct dirent *entry; status == WEFT_OK && (entry = readdir(folder));) {
        const size_t bytes = strlen(entry->d_name);
        if (bytes < 5 || strcmp(entry->d_name + bytes - 5, ".json") != 0) continue;
        snprintf(path, sizeof path, "%s/%s", s->path, entry->d_name);
        status = add(s, path);
    }
    closedir(folder);
    if (status == WEFT_OK && s->count == 0)
        status = weft_fail(WEFT_NOT_FOUND, "%s: has no records, which are files named *.json", s->path);
    return status;
}

static weft_status load(const char *path, side **out)
{
    struct stat facts;
    side *s = calloc(1, sizeof *s);
    if (!s) return weft_fail(WEFT_NO_MEMORY, "no memory for records");
    s->path = path;
    *out = s;
    if (stat(path, &facts) != 0)
        return weft_fail(errno == ENOENT ? WEFT_NOT_FOUND : WEFT_IO, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(facts.st_mode)) return add(s, path);
    return add_folder(s);
}

// ---- figures ----

// A member's value in short.
static void value_text(const weft_json *value, char *out, size_t bytes)
{
    switch (weft_json_kind_of(value)) {
    case WEFT_JSON_STRING:
        snprintf(out, bytes, "%s", weft_json_string_value(value));
        break;
    case WEFT_JSON_BOOL:
        snprintf(out, bytes, "%s", weft_json_bool_value(value) ? "true" : "false");
        break;
    case WEFT_JSON_INT:
    case WEFT_JSON_REAL:
        snprintf(out, bytes, "%.10g", weft_json_real_value(value));
        break;
    default:
        snprintf(out, bytes, "-");
    }
}

// "sum by weft, bytes 8192": what an entry of the results is of.
static void name_text(const weft_json *entry, char out[TEXT_MAX])
{
    const weft_json *facts = weft_json_get(entry, "case");
    size_t used = (size_t)snprintf(out, TEXT_MAX, "%s", text_of(entry, "name"));
    const char *between = " ";
    for (const char *key = NULL; used < TEXT_MAX && (key = weft_json_next_key(facts, key));) {
        char value[80];
        value_text(weft_json_get(facts, key), value, sizeof value);
        used += (size_t)snprintf(out + used, TEXT_MAX - used, "%s%s %s", between, key, value);
        between = ", ";
    }
}

static const weft_json *find(const weft_json *record, const char *name)
{
    const weft_json *results = weft_json_get(record, "results");
    char text[TEXT_MAX];
    for (size_t i = 0; i < weft_json_size(results); i++) {
        const weft_json *entry = weft_json_at(results, i);
        name_text(entry, text);
        if (strcmp(text, name) == 0) return entry;
    }
    return NULL;
}

typedef struct {
    double *samples;
    size_t ends[RUNS_MAX], count;
    int runs;
} gathered;

// Those of all records that have the figure.
static weft_status gather(const side *s, const char *name, gathered *out)
{
    *out = (gathered){0};
    for (int r = 0; r < s->count; r++) {
        const weft_json *samples = weft_json_get(find(s->record[r], name), "samples");
        const size_t n = weft_json_size(samples);
        size_t kept = out->count;
        if (n == 0) continue;
        double *more = realloc(out->samples, (out->count + n) * sizeof *more);
        if (!more) {
            free(out->samples);
            return weft_fail(WEFT_NO_MEMORY, "no memory for samples");
        }
        out->samples = more;
        for (size_t i = 0; i < n; i++) {
            const double value = weft_json_real_value(weft_json_at(samples, i));
            if (value > 0) more[kept++] = value; // null and 0 have no ratio
        }
        if (kept > out->count) out->ends[out->runs++] = kept;
        out->count = kept;
    }
    return WEFT_OK;
}

static weft_runs runs_of(const gathered *g)
{
    return (weft_runs){.samples = g->samples, .ends = g->ends, .runs = g->runs};
}

// 1: more is worse; -1: more is better; 0: neither.
static int cost_of(const char *unit)
{
    const size_t bytes = strlen(unit);
    if (strcmp(unit, "us") == 0 || strcmp(unit, "ms") == 0 || strcmp(unit, "s") == 0) return 1;
    return bytes > 2 && strcmp(unit + bytes - 2, "/s") == 0 ? -1 : 0;
}

// ---- what is told ----

typedef struct {
    const weft_bench_compare_options *options;
    FILE *table; // NULL: none
    weft_json_writer json;
    int figures, slower, faster, few;
} teller;

static const char *verdict_of(const weft_difference *d, int cost)
{
    if (d->few) return "too few runs";
    if (d->verdict == 0) return "no difference";
    if (cost == 0) return d->verdict > 0 ? "more" : "less";
    return d->verdict == cost ? "slower" : "faster";
}

static void tell_difference(teller *t, const char *name, const char *unit, const weft_difference *d)
{
    const int cost = cost_of(unit);
    const char *verdict = verdict_of(d, cost);
    t->figures++;
    t->few += d->few;
    t->slower += d->verdict != 0 && d->verdict == cost;
    t->faster += d->verdict != 0 && d->verdict == -cost;
    weft_json_write_object(&t->json, NULL);
    weft_json_write_string(&t->json, "figure", name);
    weft_json_write_string(&t->json, "unit", unit);
    weft_json_write_real(&t->json, "a", d->a);
    weft_json_write_real(&t->json, "b", d->b);
    weft_json_write_real(&t->json, "ratio", d->ratio);
    weft_json_write_real(&t->json, "low", d->low);
    weft_json_write_real(&t->json, "high", d->high);
    weft_json_write_real(&t->json, "sure", d->sure);
    weft_json_write_string(&t->json, "verdict", verdict);
    weft_json_write_end(&t->json);
    if (t->table)
        fprintf(t->table, "%-40s %-8s %12.5g %12.5g %8.3f [%.3f %.3f] %6.1f %%  %s\n", name, unit, d->a, d->b, d->ratio,
                d->low, d->high, 100 * d->sure, verdict);
}

static weft_status compare_figure(teller *t, const side *a, const side *b, const weft_json *entry)
{
    char name[TEXT_MAX];
    gathered of_a = {0}, of_b = {0};
    weft_difference difference;
    weft_status status = WEFT_OK;
    const char *unit = text_of(entry, "unit");
    name_text(entry, name);
    if (cost_of(unit) == 0 && !t->options->all) return WEFT_OK;
    WEFT_TRY_GOTO(gather(a, name, &of_a));
    WEFT_TRY_GOTO(gather(b, name, &of_b));
    if (of_a.runs == 0 || of_b.runs == 0) goto fail;
    const weft_runs runs_a = runs_of(&of_a), runs_b = runs_of(&of_b);
    WEFT_TRY_GOTO(weft_difference_of(&runs_a, &runs_b, &t->options->how, &difference));
    tell_difference(t, name, unit, &difference);
fail:
    free(of_a.samples);
    free(of_b.samples);
    return status;
}

static weft_status show_power(teller *t, const side *a, const weft_json *entry)
{
    char name[TEXT_MAX];
    gathered of_a = {0};
    weft_power power;
    weft_status status = WEFT_OK;
    const char *unit = text_of(entry, "unit");
    name_text(entry, name);
    if (cost_of(unit) == 0 && !t->options->all) return WEFT_OK;
    WEFT_TRY_GOTO(gather(a, name, &of_a));
    if (of_a.count < 2) goto fail;
    const weft_runs runs = runs_of(&of_a);
    WEFT_TRY_GOTO(weft_difference_power(&runs, &t->options->how, &power));
    t->figures++;
    weft_json_write_object(&t->json, NULL);
    weft_json_write_string(&t->json, "figure", name);
    weft_json_write_string(&t->json, "unit", unit);
    weft_json_write_int(&t->json, "runs", of_a.runs);
    weft_json_write_int(&t->json, "samples", (int64_t)of_a.count);
    weft_json_write_real(&t->json, "alike", power.alike);
    weft_json_write_real(&t->json, "finds", power.finds);
    weft_json_write_end(&t->json);
    char finds[32] = "nothing below 300 %";
    if (isfinite(power.finds)) snprintf(finds, sizeof finds, "%.1f %%", 100 * (power.finds - 1));
    if (t->table)
        fprintf(t->table, "%-40s %-8s %5d %8zu %12.0f %%  %s\n", name, unit, of_a.runs, of_a.count, 100 * power.alike,
                finds);
fail:
    free(of_a.samples);
    return status;
}

// Members of an object that are not the same on both sides.
static void note_unlike(teller *t, const side *a, const side *b, const char *object)
{
    const weft_json *of_a = weft_json_get(a->record[0], object), *of_b = weft_json_get(b->record[0], object);
    for (const char *key = NULL; (key = weft_json_next_key(of_a, key));) {
        char left[80], right[80];
        value_text(weft_json_get(of_a, key), left, sizeof left);
        value_text(weft_json_get(of_b, key), right, sizeof right);
        if (strcmp(left, right) != 0 && t->table)
            fprintf(t->table, "not alike: %s.%s: %s | %s\n", object, key, left, right);
    }
}

static weft_status check_alike(const side *a, const side *b)
{
    const char *kind = text_of(a->record[0], "kind");
    for (int s = 0; s < 2; s++) {
        const side *of = s == 0 ? a : b;
        for (int i = 0; i < of->count; i++)
            if (strcmp(text_of(of->record[i], "kind"), kind) != 0)
                return weft_fail(WEFT_MISMATCH,
                                 "%s: has a record of bench %s, and %s one of bench %s; compare like with like",
                                 of->path, text_of(of->record[i], "kind"), a->path, kind);
    }
    return WEFT_OK;
}

static void print_heads(const teller *t, const side *a, const side *b)
{
    if (!t->table) return;
    if (!b) {
        fprintf(t->table, "%s: %d runs against each other\n", a->path, a->count);
        fprintf(t->table, "%-40s %-8s %5s %8s %14s  %s\n", "figure", "unit", "runs", "samples", "found alike",
                "finds, nine times in ten");
        return;
    }
    fprintf(t->table, "a: %s, %d runs; b: %s, %d runs%s\n", a->path, a->count, b->path, b->count,
            a->count == b->count && a->count > 1 ? ", taken by turns" : "");
    if (a->count == 1 || b->count == 1)
        fprintf(t->table, "one run: what differs from run to run is not in the intervals; take several by turns\n");
    fprintf(t->table, "%-40s %-8s %12s %12s %8s %s\n", "figure", "unit", "a", "b", "b / a",
            "[interval]      sure    b is");
}

static weft_status tell_all(teller *t, const side *a, const side *b)
{
    const weft_json *results = weft_json_get(a->record[0], "results");
    weft_json_write_object(&t->json, NULL);
    weft_json_write_string(&t->json, "schema", "weft.compare/1");
    weft_json_write_string(&t->json, "kind", text_of(a->record[0], "kind"));
    weft_json_write_real(&t->json, "confidence", t->options->how.confidence);
    weft_json_write_real(&t->json, "threshold", t->options->how.threshold);
    weft_json_write_int(&t->json, "runs_a", a->count);
    if (b) weft_json_write_int(&t->json, "runs_b", b->count);
    if (b) {
        note_unlike(t, a, b, "machine");
        note_unlike(t, a, b, "job");
        note_unlike(t, a, b, "settings");
    }
    print_heads(t, a, b);
    weft_json_write_array(&t->json, "figures");
    for (size_t i = 0; i < weft_json_size(results); i++) {
        const weft_json *entry = weft_json_at(results, i);
        WEFT_TRY(b ? compare_figure(t, a, b, entry) : show_power(t, a, entry));
    }
    weft_json_write_end(&t->json);
    weft_json_write_end(&t->json);
    return WEFT_OK;
}

weft_status weft_bench_compare(const char *a, const char *b, const weft_bench_compare_options *options, FILE *out)
{
    side *of_a = NULL, *of_b = NULL;
    teller t = {.options = options, .table = options->json && strcmp(options->json, "-") == 0 ? NULL : out};
    weft_status status;
    weft_json_writer_init(&t.json, true);
    WEFT_TRY_GOTO(load(a, &of_a));
    if (b) WEFT_TRY_GOTO(load(b, &of_b));
    WEFT_TRY_GOTO(check_alike(of_a, b ? of_b : of_a));
    WEFT_TRY_GOTO(tell_all(&t, of_a, of_b));
    if (t.figures == 0) WEFT_TRY_GOTO(weft_fail(WEFT_MISMATCH, "%s and %s have no figure in common", a, b ? b : a));
    if (options->json) WEFT_TRY_GOTO(weft_json_writer_save(&t.json, options->json));
    if (t.table && b) fprintf(out, "%d figures: %d slower, %d faster\n", t.figures, t.slower, t.faster);
    if (t.table && t.few > 0) fprintf(out, "to be 95 %% sure takes 6 runs of each by turns, 99 %% sure 8\n");
    if (options->gate && t.slower > 0)
        status = weft_fail(WEFT_FAILED, "%d of %d figures are slower", t.slower, t.figures);
fail:
    weft_json_writer_fini(&t.json);
    side_free(of_a);
    side_free(of_b);
    return status;
}
