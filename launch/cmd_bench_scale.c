// weft bench scale: one process that starts the job of each sample, by turns, and tells what they took.
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/commands.h"
#include "launch/info_model.h"
#include "launch/model_open.h"
#include "launch/scale.h"

typedef struct {
    const char *output;
    bool dry;
} options_of_scale;

static const weft_flag flags[] = {
    {.name = "output",
     .letter = 'o',
     .kind = WEFT_FLAG_STRING,
     .offset = offsetof(options_of_scale, output),
     .value = "DIR",
     .help = "folder for samples.jsonl, report.json, report.csv and report.html; what it has of this spec is gone on "
             "with"},
    {.name = "dry-run",
     .kind = WEFT_FLAG_BOOL,
     .offset = offsetof(options_of_scale, dry),
     .help = "print the cells and the commands that would run them, and run none"},
    {0}};
static const options_of_scale defaults = {.output = "scale"};
static const char *const operands[] = {"SPEC", NULL};

static const weft_command command = {
    .name = "bench scale",
    .summary = "strong and weak scaling by one file: every cell a job, by turns",
    .usage = "weft bench scale SPEC [flags]",
    .about =
        "SPEC is a JSON file that names a model and experiments over ranks, meshes, prompts and batches (weft.scale/1 "
        "in docs/formats.md). Run it once, inside of the allocation and without mpirun or srun: each sample of a cell "
        "is a job that it starts, by srun, mpirun or weft itself. The cells take turns, in another order each turn. "
        "A figure is told only of cells whose requests drew the same tokens as on the fewest ranks. Beside each "
        "stands what weft plan predicts. Interrupted, it goes on where it was when the command is given again.",
    .examples = "echo '{\"model\":\"demo\",\"repeats\":3,\"experiments\":[{\"name\":\"strong\",\"ranks\":[1,2],"
                "\"meshes\":[\"tp\",\"cp\"]}]}' >spec.json\n"
                "weft bench scale spec.json --dry-run\n"
                "weft bench scale spec.json -o scaling",
    .flags = flags,
    .common = wi_common_flags,
    .operands_min = 1,
    .operands_max = 1,
    .operands = operands,
};

typedef struct {
    weft_job *job;
    const options_of_scale *options;
    weft_scale_spec spec;
    weft_model_config config;
    weft_scale_journal *journal;
    char **failed; // [cells]
    int *order;    // [cells]
    char weft[PATH_MAX];
    int done, all; // samples
} driver;

static weft_status check_start(const wi_call *call, weft_job *job)
{
    if (call->launcher->mpi || weft_comm_size(weft_job_world(job)) > 1)
        return weft_fail(WEFT_USAGE, "bench scale starts its jobs itself: run it once, without %s",
                         call->launcher->mpi ? call->launcher->name : "-n");
    return WEFT_OK;
}

static weft_status open_spec(driver *d, const char *path)
{
    char *text = NULL;
    size_t bytes = 0;
    bool directory = false;
    wi_model_flags model;
    WEFT_TRY(wi_read_text(weft_job_world(d->job), path, &text, &bytes));
    const weft_status status = weft_scale_spec_parse(text, bytes, path, &d->spec);
    free(text);
    WEFT_TRY(status);
    for (int i = 0; i < d->spec.variants; i++) WEFT_TRY(wi_cell_flags(&d->spec, i, &model));
    WEFT_TRY(wi_config_find(d->spec.model, &directory, &d->config));
    if (!directory)
        return weft_fail(WEFT_NOT_FOUND, "%s: model: %s is no directory of a checkpoint", path, d->spec.model);
    const ssize_t length = readlink("/proc/self/exe", d->weft, sizeof d->weft - 1);
    if (length < 0) return weft_fail(WEFT_IO, "/proc/self/exe: %s", strerror(errno));
    d->weft[length] = 0;
    return WEFT_OK;
}

static weft_status print_commands(const driver *d)
{
    static wi_command none;
    wi_command *c = malloc(sizeof *c);
    weft_status status = c ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for a command");
    for (int i = 0; i < d->spec.cells && status == WEFT_OK; i++) {
        *c = none;
        status = wi_scale_command(&d->spec, &d->spec.cell[i], d->weft, c);
        if (status < 0) break;
        printf("%s\n    ", d->spec.cell[i].key);
        for (int w = 0; w < c->count; w++) printf("%s%s", c->word[w], w + 1 < c->count ? " " : "\n");
    }
    if (status == WEFT_OK)
        printf("%d jobs: %d cells, each %lld times\n", d->all, d->spec.cells, (long long)d->spec.repeats);
    free(c);
    return status;
}

// ---- measuring ----

static weft_status prepare(driver *d, const weft_scale_cell *cell, wi_command *c)
{
    const weft_scale_words *words = &d->spec.variant[cell->variant].prepare;
    char *out = NULL;
    size_t bytes;
    *c = (wi_command){0};
    if (words->count == 0 || cell->reference) return WEFT_OK;
    for (int i = 0; i < words->count; i++) c->word[c->count++] = words->at[i];
    const weft_status status = wi_command_run(d->job, c, d->spec.variant[cell->variant].name, &out, &bytes);
    if (status == WEFT_OK) free(out);
    return status;
}

// The last line that begins as weft bench cell's does: launchers may write lines of their own.
static const char *line_in(const char *text, size_t *bytes)
{
    static const char begins[] = "{\"schema\":\"weft.cell/1\"";
    const char *found = NULL;
    for (const char *at = text; *at; at += strcspn(at, "\n"), at += *at == '\n')
        if (strncmp(at, begins, sizeof begins - 1) == 0) found = at;
    if (found) *bytes = strcspn(found, "\n");
    return found;
}

static weft_status take_sample(driver *d, int cell, int turn, wi_command *c)
{
    const weft_scale_cell *of = &d->spec.cell[cell];
    char *out = NULL;
    size_t bytes = 0;
    WEFT_TRY(prepare(d, of, c));
    WEFT_TRY(wi_scale_command(&d->spec, of, d->weft, c));
    WEFT_TRY(wi_command_run(d->job, c, of->key, &out, &bytes));
    const char *line = line_in(out, &bytes);
    weft_status status = line ? WEFT_OK : weft_fail(WEFT_FORMAT, "%s: the job wrote no line of figures", of->key);
    if (status == WEFT_OK) status = weft_scale_journal_add(d->journal, cell, turn, line, bytes);
    free(out);
    return status;
}

// One that fails has no figures; the others go on. What would fail for each of them ends all.
static weft_status take(driver *d, int cell, int turn, wi_command *c)
{
    const weft_status status = take_sample(d, cell, turn, c);
    d->done++;
    if (status == WEFT_OK) {
        fprintf(stderr, "weft: %d of %d: %s\n", d->done, d->all, d->spec.cell[cell].key);
        return WEFT_OK;
    }
    if (status == WEFT_DRAINED || status == WEFT_IO || status == WEFT_NOT_FOUND || status == WEFT_NO_MEMORY)
        return status;
    fprintf(stderr, "weft: %d of %d: failed: %s\n", d->done, d->all, weft_error_text());
    d->failed[cell] = strdup(weft_error_text());
    weft_error_clear();
    return d->failed[cell] ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for an error");
}

static weft_status take_all(driver *d)
{
    wi_command *c = malloc(sizeof *c);
    weft_status status = c ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for a command");
    for (int turn = 0; turn < d->spec.repeats && status == WEFT_OK; turn++) {
        const int count = weft_scale_order(&d->spec, turn, d->order);
        for (int i = 0; i < count && status == WEFT_OK; i++) {
            const int cell = d->order[i];
            if (d->failed[cell]) continue;
            if (weft_scale_journal_has(d->journal, cell, turn)) {
                d->done++;
                continue;
            }
            if (weft_job_drain_signal(d->job))
                status = weft_fail(WEFT_DRAINED, "stopped by signal %d: give the same command again to go on",
                                   weft_job_drain_signal(d->job));
            else
                status = take(d, cell, turn, c);
        }
    }
    free(c);
    return status;
}

// ---- reports ----

static weft_status write_reports(driver *d, const weft_scale_figures *figures)
{
    const struct {
        const char *name;
        weft_status (*write)(const weft_scale_spec *spec, const weft_scale_figures *figures, const char *path);
    } reports[] = {{"report.json", weft_scale_write_json},
                   {"report.csv", weft_scale_write_csv},
                   {"report.html", weft_scale_write_html}};
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof reports / sizeof *reports; i++) {
        snprintf(path, sizeof path, "%s/%s", d->options->output, reports[i].name);
        WEFT_TRY(reports[i].write(&d->spec, figures, path));
    }
    return WEFT_OK;
}

// The first cell that has no figures though it ran, and how many there are.
static weft_status judge(const driver *d, const weft_scale_figures *figures)
{
    int count = 0, first = -1;
    for (int i = d->spec.cells - 1; i >= 0; i--)
        if (figures[i].why_not[0]) {
            count++;
            first = i;
        }
    if (count == 0) return WEFT_OK;
    return weft_fail(WEFT_FAILED, "%d of %d cells have no figures; %s%s%s", count, d->spec.cells,
                     figures[first].wrong ? d->spec.cell[first].key : "", figures[first].wrong ? ": " : "",
                     figures[first].why_not);
}

static weft_status report(driver *d)
{
    weft_scale_figures *figures = NULL;
    int count;
    const weft_scale_sample *samples = weft_scale_journal_samples(d->journal, &count);
    wi_scale_predictor predictor = {.spec = &d->spec, .config = &d->config};
    weft_status status;
    WEFT_TRY(weft_scale_figures_of(&d->spec, samples, count, d->failed, wi_scale_predict, &predictor, &figures));
    weft_scale_print(&d->spec, figures, stdout);
    status = write_reports(d, figures);
    if (status == WEFT_OK) status = judge(d, figures);
    free(figures);
    return status;
}

static weft_status open_journal(driver *d)
{
    char path[PATH_MAX];
    if (mkdir(d->options->output, 0777) != 0 && errno != EEXIST)
        return weft_fail(WEFT_IO, "%s: %s", d->options->output, strerror(errno));
    snprintf(path, sizeof path, "%s/samples.jsonl", d->options->output);
    return weft_scale_journal_open(path, &d->spec, &d->journal);
}

static weft_status run_scale(weft_job *job, const wi_call *call)
{
    driver *d = calloc(1, sizeof *d);
    weft_status status;
    if (!d) return weft_fail(WEFT_NO_MEMORY, "no memory for an experiment");
    d->job = job;
    d->options = call->options;
    WEFT_TRY_GOTO(check_start(call, job));
    WEFT_TRY_GOTO(open_spec(d, call->operands->operand[0]));
    d->failed = calloc((size_t)d->spec.cells, sizeof *d->failed);
    d->order = calloc((size_t)d->spec.cells, sizeof *d->order);
    WEFT_TRY_GOTO(d->failed && d->order ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for cells"));
    for (int turn = 0; turn < d->spec.repeats; turn++) d->all += weft_scale_order(&d->spec, turn, d->order);
    if (d->options->dry) {
        status = print_commands(d);
        goto fail;
    }
    WEFT_TRY_GOTO(open_journal(d));
    WEFT_TRY_GOTO(take_all(d));
    status = report(d);
fail:
    for (int i = 0; d->failed && i < d->spec.cells; i++) free(d->failed[i]);
    free(d->failed);
    free(d->order);
    weft_scale_journal_close(d->journal);
    weft_model_config_fini(&d->config);
    weft_scale_spec_free(&d->spec);
    free(d);
    return status;
}

const wi_entry wi_bench_scale_entry = {
    .command = &command, .defaults = &defaults, .bytes = sizeof defaults, .run = run_scale};
