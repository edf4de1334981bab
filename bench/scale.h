// weft bench scale: strong and weak scaling by one file. A spec becomes cells; each sample of a cell is a job of its
// own (bench/cell.h), and goes into a journal before the next begins; from the journal come figures, and from those
// reports. Starting jobs and predicting them is launch/'s. All of it is one process's.
#ifndef WEFT_BENCH_SCALE_H
#define WEFT_BENCH_SCALE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/json.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- what is asked for (docs/formats.md, weft.scale/1) --------------------------------------------------------------

enum { WEFT_SCALE_WORDS = 32, WEFT_SCALE_KEY = 192, WEFT_SCALE_VARIANTS = 16, WEFT_SCALE_EXPERIMENTS = 32 };

typedef enum { WEFT_SCALE_STRONG, WEFT_SCALE_WEAK_BATCH, WEFT_SCALE_WEAK_CONTEXT } weft_scale_kind;
typedef enum { WEFT_SCALE_BY_AUTO, WEFT_SCALE_BY_WEFT, WEFT_SCALE_BY_MPIRUN, WEFT_SCALE_BY_SRUN } weft_scale_launcher;

typedef struct {
    const char *at[WEFT_SCALE_WORDS];
    int count;
} weft_scale_words;

typedef struct {
    const char *name;
    weft_scale_words prepare; // a command that is run before each sample; none where count is 0
    weft_scale_words flags;   // of its cells
} weft_scale_variant;

typedef struct {
    const char *name;
    weft_scale_kind kind;
} weft_scale_experiment;

typedef struct {
    char key[WEFT_SCALE_KEY]; // names it in the journal, in reports and in errors; no other has it
    int experiment, variant;
    int ranks, nodes, node_ranks;
    char mesh[24];                    // as the spec has it; "-" for one rank
    int tp, cp, dense;                // 0: open; dense 1: tp, 2: mesh
    int64_t context, generate, batch; // tokens of a prompt; tokens drawn; requests
    int64_t base_context, base_batch; // of the experiment's fewest ranks
    int base;                         // the cell that its efficiency is of; its own number where it is that one
    bool reference;                   // run once, on one rank, for what it draws
} weft_scale_cell;

typedef struct {
    weft_json *document; // the texts below are its own
    char hash[65];       // of the file's bytes
    const char *model;
    const char *machine; // a file of weft doctor --json that predictions go by; NULL: what the jobs themselves measured
    int64_t threads, repeats, rounds, seed;
    double deadline; // of the jobs, seconds
    weft_scale_words flags;
    weft_scale_launcher launcher;
    weft_scale_words launch; // instead: these words, with {ranks}, {nodes} and {node_ranks}
    weft_scale_variant variant[WEFT_SCALE_VARIANTS];
    int variants;
    weft_scale_experiment experiment[WEFT_SCALE_EXPERIMENTS];
    int experiments;
    weft_scale_cell *cell;
    int cells;
} weft_scale_spec;

// USAGE, INVALID, FORMAT: one line with the member's place in the file. Local.
weft_status weft_scale_spec_parse(const char *text, size_t bytes, const char *name, weft_scale_spec *out);
void weft_scale_spec_free(weft_scale_spec *spec);

// ---- samples --------------------------------------------------------------------------------------------------------

enum { WEFT_SCALE_PROMPTS, WEFT_SCALE_STEPS, WEFT_SCALE_PHASES };

// Of one round and phase: seconds of the slowest rank; what the busiest rank computed, and the mean over ranks.
typedef struct {
    double seconds, busiest, mean;
} weft_scale_part;

// Exchanges as they were measured: where each rank sends so many bytes, ascending, they take so long. Zeroed: there are
// none.
enum { WEFT_LINK_POINTS = 4 };
typedef struct {
    double bytes[WEFT_LINK_POINTS], seconds[WEFT_LINK_POINTS];
} weft_link;
// What one of other sizes takes: by lines between the points and beyond the last.
double weft_link_seconds(const weft_link *link, double bytes);

typedef struct {
    int cell, turn;
    int rounds;
    weft_scale_part (*part)[WEFT_SCALE_PHASES]; // [rounds]
    int digests;
    char (*digest)[65]; // of each request
    int tp, cp, dense;  // the mesh that it ran on; dense 1: tp, 2: mesh
    char transport[16], family[16], weights[16];
    double load_s;
    double read, operations; // bytes and operations a second of a rank, as its ceilings
    double linear, stream;   // operations a second of linear layers over a prompt; bytes a second of them in a step
    weft_link near, far;     // exchanges inside a node, and between nodes
} weft_scale_sample;

// The line that weft bench cell writes. MISMATCH where it is not of this cell. Local.
weft_status weft_scale_sample_parse(const char *line, size_t bytes, const weft_scale_cell *cell,
                                    weft_scale_sample *out);
void weft_scale_sample_free(weft_scale_sample *sample);

typedef struct weft_scale_journal weft_scale_journal;

// Opens the journal at `path` or begins it; holds a lock until it is closed. One of another spec or another build is
// MISMATCH and is not touched. A last line that is not whole counts as not written. Local.
weft_status weft_scale_journal_open(const char *path, const weft_scale_spec *spec, weft_scale_journal **out);
void weft_scale_journal_close(weft_scale_journal *journal); // accepts NULL
// What `line` tells, whole or not at all, to the disk.
weft_status weft_scale_journal_add(weft_scale_journal *journal, int cell, int turn, const char *line, size_t bytes);
const weft_scale_sample *weft_scale_journal_samples(const weft_scale_journal *journal, int *count);
bool weft_scale_journal_has(const weft_scale_journal *journal, int cell, int turn);

// The cells of a turn in the order in which they are run; references first, in the first turn alone. Equal seeds give
// equal orders. Returns how many.
int weft_scale_order(const weft_scale_spec *spec, int turn, int *order);

// ---- figures --------------------------------------------------------------------------------------------------------

// What two cells' samples say of the ratio of their medians: runs (launches) are drawn again, with their neighbours of
// the same turn where both have as many, and inside of each its rounds. Equal seeds give equal intervals. `low` and
// `high` are NaN below three launches.
typedef struct {
    double ratio, low, high;
} weft_ratio;
typedef struct {
    const double *at; // (runs, rounds)
    int runs, rounds;
} weft_launches;
weft_status weft_ratio_of_medians(const weft_launches *a, const weft_launches *b, double confidence, uint64_t seed,
                                  weft_ratio *out); // of a over b

enum { WEFT_SCALE_TOTAL, WEFT_SCALE_PROMPT, WEFT_SCALE_STEP, WEFT_SCALE_FIGURES }; // time to solution; prompts; a step
const char *weft_scale_figure_name(int figure);

// What a planner says of a cell.
typedef struct {
    bool there;
    double seconds[WEFT_SCALE_FIGURES];
    double work; // operations of the whole cell on one rank
} weft_scale_prediction;

typedef struct {
    int samples;       // jobs; 0: the cell has no figures
    char why_not[256]; // it has none: it failed, or its digests differ; empty where it was not run yet
    bool wrong;        // digests differ
    double seconds[WEFT_SCALE_FIGURES], low[WEFT_SCALE_FIGURES], high[WEFT_SCALE_FIGURES]; // medians, 10 to 90 %
    double tokens;                             // drawn a second, of the whole
    double compute, exchange, idle;            // parts of the time to solution, their sum is 1
    double balance;                            // the mean rank's computing over the busiest one's
    weft_ratio efficiency[WEFT_SCALE_FIGURES]; // beside the base
    weft_ratio per_work;                       // weak scaling by context: of operations a second and rank
    weft_scale_prediction predicted;
    const weft_scale_sample *first; // facts; NULL without samples
    weft_scale_sample machine;      // medians of the rates of all its samples
} weft_scale_figures;

// How launch/ predicts a cell from what its jobs measured. Failures leave the prediction out.
typedef void weft_scale_predict_fn(void *arg, const weft_scale_cell *cell, const weft_scale_sample *measured,
                                   weft_scale_prediction *out);

// `failed`: [cells] what went wrong with a cell, or NULL. *out: [cells], freed by the caller. Only cells whose digests
// are those of the least ranks get figures. NO_MEMORY is the only failure.
weft_status weft_scale_figures_of(const weft_scale_spec *spec, const weft_scale_sample *samples, int count,
                                  char *const *failed, weft_scale_predict_fn *predict, void *arg,
                                  weft_scale_figures **out);

// ---- reports --------------------------------------------------------------------------------------------------------

void weft_scale_print(const weft_scale_spec *spec, const weft_scale_figures *figures, FILE *out);
weft_status weft_scale_write_json(const weft_scale_spec *spec, const weft_scale_figures *figures, const char *path);
weft_status weft_scale_write_csv(const weft_scale_spec *spec, const weft_scale_figures *figures, const char *path);
// One page that needs no other file.
weft_status weft_scale_write_html(const weft_scale_spec *spec, const weft_scale_figures *figures, const char *path);

#ifdef __cplusplus
}
#endif
#endif
