// The commands of the program, as one table, and the flags that all of them share. Inside launch/ only.
#ifndef WEFT_LAUNCH_COMMANDS_H
#define WEFT_LAUNCH_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "comm/comm.h"
#include "core/flags.h"
#include "launch/launcher.h"

enum { WI_BIND_AUTO, WI_BIND_CORE, WI_BIND_NONE }; // --bind

typedef struct {
    int64_t ranks; // -n; 0: not given
    int transport; // AUTO, SHM, MPI as they stand in --transport's choices
    int links;     // weft_links
    double deadline;
    int64_t threads; // 0: one for each core of the rank's share
    const char *algorithms;
    int bind;
    int log_level;
    bool log_json;
} wi_common;

extern const weft_flag wi_common_flags[];
extern const wi_common wi_common_defaults;

// What a command's function is given. All of it is borrowed.
typedef struct {
    const void *options; // the command's own struct, filled
    const wi_common *common;
    const weft_parsed *operands;
    const wi_launcher *launcher;
    const char *const *rest; // behind "--", of a command that has `passes`; ends with NULL
} wi_call;

typedef struct {
    const weft_command *command;
    const void *defaults; // of its options struct
    size_t bytes;         // of that struct
    bool passes;          // what stands behind "--" is another command line
    // Collective over the job's world. A rank's failure before a collective is agreed upon inside; what it returns at
    // the end is agreed upon by main.
    weft_status (*run)(weft_job *job, const wi_call *call);
} wi_entry;

extern const wi_entry wi_run_entry, wi_batch_entry, wi_score_entry, wi_plan_entry;
extern const wi_entry wi_launch_entry;
extern const wi_entry wi_synth_entry, wi_tokenize_entry, wi_info_entry, wi_doctor_entry;
extern const wi_entry wi_bench_comm_entry, wi_bench_kernels_entry, wi_bench_prefill_entry, wi_bench_decode_entry;
extern const wi_entry wi_bench_batch_entry, wi_bench_compare_entry, wi_bench_cell_entry, wi_bench_scale_entry;

extern const wi_entry *const wi_entries[]; // ends with NULL

// A WEFT_* variable that nothing of the program reads is an error that names the closest one.
weft_status wi_check_environment(void);

#endif
