// What weft bench scale does beside measuring (bench/scale.h): starting jobs, and asking the planner. Inside launch/
// only.
#ifndef WEFT_LAUNCH_SCALE_H
#define WEFT_LAUNCH_SCALE_H

#include "bench/scale.h"
#include "comm/comm.h"
#include "launch/model_flags.h"
#include "model/config.h"

enum { WI_COMMAND_WORDS = 160, WI_COMMAND_BYTES = 8192 };

// A command line; the words that are not borrowed lie in `text`.
typedef struct {
    const char *word[WI_COMMAND_WORDS + 1]; // ends with NULL
    int count;
    char text[WI_COMMAND_BYTES];
    size_t used;
    bool full; // something did not fit
} wi_command;

// Adds a word that is borrowed; one that is kept; a text that is kept and no word, NULL where it does not fit.
void wi_command_word(wi_command *command, const char *word);
void wi_command_format(wi_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *wi_command_text(wi_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Becomes the command, with signals as a shell leaves them. Returns only where that cannot be; errno says why. Safe
// behind a fork.
void wi_command_exec(const wi_command *command);

// Which launcher AUTO stands for here: srun in an allocation of Slurm, mpirun where a cell has several nodes, else weft
// itself.
weft_scale_launcher wi_scale_launcher(const weft_scale_spec *spec);
// The job of a cell. `weft`: the program's path. LIMIT where it has too many words. Local.
weft_status wi_scale_command(const weft_scale_spec *spec, const weft_scale_cell *cell, const char *weft,
                             wi_command *out);
// Runs a command and waits for it; what it wrote to stdout is freed by the caller. FAILED with its own first error, if
// it does not end with 0; DRAINED where a signal asked this job to stop: the command was then ended too. Blocking.
weft_status wi_command_run(weft_job *job, const wi_command *command, const char *name, char **out, size_t *bytes);

// The flags of a cell that say how its model is opened: those of the spec and of its variant. USAGE where weft bench
// cell would refuse them. Local.
weft_status wi_cell_flags(const weft_scale_spec *spec, int variant, wi_model_flags *out);

// What predictions go by. Borrowed.
typedef struct {
    const weft_scale_spec *spec;
    const weft_model_config *config;
} wi_scale_predictor;
// A weft_scale_predict_fn: weft plan's own estimate, of the mesh that ran. `arg`: a wi_scale_predictor.
void wi_scale_predict(void *arg, const weft_scale_cell *cell, const weft_scale_sample *measured,
                      weft_scale_prediction *out);

#endif
