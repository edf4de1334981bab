// What the files of weft bench scale share. Inside bench/ only.
#ifndef WEFT_BENCH_SCALE_IMPL_H
#define WEFT_BENCH_SCALE_IMPL_H

#include "bench/scale.h"

enum { WI_NUMBERS_MAX = 16, WI_CELLS_MAX = 1024 };

typedef struct {
    int64_t at[WI_NUMBERS_MAX];
    int count;
} wi_numbers;

typedef struct {
    const char *text;
    int tp, cp, dense; // 0: what the ranks leave, or open where all are
} wi_scale_mesh;

// An experiment whose cells are to be made.
typedef struct {
    int experiment;
    wi_numbers ranks, contexts, batches;
    int64_t generate, node_ranks; // 0: all ranks of a cell on one node
    wi_scale_mesh mesh[WI_NUMBERS_MAX];
    int meshes;
} wi_scale_plan;

// Every combination that can be; `name` and `at` for errors.
weft_status wi_scale_cells_add(const wi_scale_plan *plan, const char *name, const char *at, weft_scale_spec *spec);
// One rank for every prompt that no cell of one rank computes.
weft_status wi_scale_references_add(weft_scale_spec *spec);

// As pairs of bytes that a rank sends in an exchange and seconds that it takes; none where there are no links.
void wi_link_write(weft_json_writer *writer, const char *key, const weft_link *link);

// "1.23 s", "45.6 ms"
char *wi_scale_time(double seconds, char text[24]);
// Of the measured over the predicted time: +0.10 where the prediction is 10 % too long. NaN without one.
double wi_scale_error(const weft_scale_figures *f, int figure);
const char *wi_scale_kind_name(weft_scale_kind kind);
// "tp 2 x cp 2, dense mesh", as the cell ran; as the spec has it before.
char *wi_scale_mesh_text(const weft_scale_cell *cell, const weft_scale_figures *f, char text[48]);

// ---- pictures (SVG), into an open page ----

void wi_html_text(FILE *out, const char *text); // with what HTML would take for markup escaped
void wi_plot_legend(FILE *out, const weft_scale_spec *spec, int experiment);
void wi_plot_efficiency(FILE *out, const weft_scale_spec *spec, const weft_scale_figures *figures, int experiment,
                        int figure);
void wi_plot_breakdown(FILE *out, const weft_scale_spec *spec, const weft_scale_figures *figures, int experiment);
void wi_plot_prediction(FILE *out, const weft_scale_spec *spec, const weft_scale_figures *figures);

#endif
