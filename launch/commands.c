#include "launch/commands.h"

enum { TABLES_MAX = 32 };

#define COMMON(field) offsetof(wi_common, field)
const weft_flag wi_common_flags[] = {
    {.name = "local-ranks",
     .letter = 'n',
     .kind = WEFT_FLAG_INT,
     .offset = COMMON(ranks),
     .help = "start N ranks on this host over shared memory, without MPI; 0: one rank, or those of mpirun or srun",
     .max = 4096},
    {.name = "transport",
     .kind = WEFT_FLAG_CHOICE,
     .offset = COMMON(transport),
     .help = "how ranks talk; auto: shared memory on one host, else MPI",
     .choices = "auto|shm|mpi|ucx"},
    {.name = "links",
     .kind = WEFT_FLAG_CHOICE,
     .offset = COMMON(links),
     .help = "how devices exchange; ipc: ranks of one host map each other's memory; nccl: by NCCL; host: by the host's "
             "memory; "
             "auto: ipc where they can, else nccl where it is, else host",
     .choices = "auto|host|ipc|nccl"},
    {.name = "deadline",
     .kind = WEFT_FLAG_REAL,
     .offset = COMMON(deadline),
     .value = "SECONDS",
     .help = "end the job when a rank waits longer than this for another; 0: wait for ever",
     .max = 1e9},
    {.name = "threads",
     .kind = WEFT_FLAG_INT,
     .offset = COMMON(threads),
     .help = "threads of each rank; 0: one for each core that it may use",
     .max = 1024},
    {.name = "algorithms",
     .kind = WEFT_FLAG_STRING,
     .offset = COMMON(algorithms),
     .help = "changes to the table of collective algorithms, as in allgather:8k-=ring"},
    {.name = "bind",
     .kind = WEFT_FLAG_CHOICE,
     .offset = COMMON(bind),
     .help = "with -n: bind each rank to cores of its own; auto: where there are enough of them",
     .choices = "auto|core|none"},
    {.name = "log-level",
     .kind = WEFT_FLAG_CHOICE,
     .offset = COMMON(log_level),
     .help = "what is logged to stderr",
     .choices = "error|warn|info|debug"},
    {.name = "log-json", .kind = WEFT_FLAG_BOOL, .offset = COMMON(log_json), .help = "log in JSON lines"},
    {0}};

const wi_common wi_common_defaults = {.deadline = 60, .log_level = 2};

// clang-format off
const wi_entry *const wi_entries[] = {
    &wi_run_entry,
    &wi_batch_entry,
    &wi_score_entry,
    &wi_plan_entry,
    &wi_launch_entry,
    &wi_synth_entry,
    &wi_tokenize_entry,
    &wi_info_entry,
    &wi_doctor_entry,
    &wi_bench_comm_entry,
    &wi_bench_kernels_entry,
    &wi_bench_prefill_entry,
    &wi_bench_decode_entry,
    &wi_bench_batch_entry,
    &wi_bench_compare_entry,
    &wi_bench_scale_entry,
    &wi_bench_cell_entry,
    NULL,
};
// clang-format on

// Read elsewhere than in a table of flags.
static const char *const other_variables[] = {"WEFT_ISA",
                                              "WEFT_GRAPHS",
                                              "WEFT_AHEAD",
                                              "WEFT_PIECE_ROWS",
                                              "WEFT_GEMM_TILE",
                                              "WEFT_CUBLASLT",
                                              "WEFT_TEST_LONG",
                                              "WEFT_NCCL_LIBRARY",
#ifndef NDEBUG
                                              "WEFT_FAULT",
#endif
                                              NULL};

weft_status wi_check_environment(void)
{
    const weft_flag *tables[TABLES_MAX] = {wi_common_flags};
    int count = 1;
    for (int i = 0; wi_entries[i] && count < TABLES_MAX - 1; i++)
        if (wi_entries[i]->command->flags) tables[count++] = wi_entries[i]->command->flags;
    return weft_flags_check_environment(tables, other_variables);
}
