// weft bench: what is measured lives in bench/, here are its flags.
#include "bench/bench.h"
#include "launch/commands.h"

#define FIELD(field) offsetof(weft_bench_comm_options, field)
static const weft_flag comm_flags[] = {
    {.name = "min-bytes",
     .kind = WEFT_FLAG_BYTES,
     .offset = FIELD(min_bytes),
     .help = "the smallest sum",
     .min = 4,
     .max = 1 << 30},
    {.name = "max-bytes",
     .kind = WEFT_FLAG_BYTES,
     .offset = FIELD(max_bytes),
     .help = "the largest sum; those between are each twice the one before",
     .min = 4,
     .max = 1 << 30},
    {.name = "rounds",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(rounds),
     .help = "turns of weft and of MPI at each size",
     .min = 1,
     .max = 1000},
    {.name = "mpi",
     .kind = WEFT_FLAG_BOOL,
     .offset = FIELD(mpi),
     .help = "measure MPI_Allreduce beside it, where the ranks were started by mpirun or srun"},
    {.name = "loop",
     .kind = WEFT_FLAG_REAL,
     .offset = FIELD(loop),
     .value = "SECONDS",
     .help = "measure nothing: exchange 8 KiB again and again, to see what a fault does",
     .max = 1e6},
    {.name = "json",
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(json),
     .value = "FILE",
     .help = "write settings, samples and statistics there; -: to stdout, without the table"},
    {0}};

static const weft_bench_comm_options comm_defaults = {.min_bytes = 8, .max_bytes = 16 << 20, .rounds = 5, .mpi = true};

static const weft_command comm_command = {
    .name = "bench comm",
    .summary = "how fast ranks exchange and sum",
    .usage = "weft bench comm [flags]",
    .about = "Times an empty barrier, and the sum over all ranks of f32 values that each rank has written into its "
             "slot, from there to where each rank can read the result. Results are checked outside of the timing. "
             "Under mpirun MPI_Allreduce takes turns with it.",
    .examples = "weft -n 2 bench comm --max-bytes 1M\nmpirun -np 2 --bind-to core weft bench comm",
    .flags = comm_flags,
    .common = wi_common_flags,
};

static weft_status run_comm(weft_job *job, const wi_call *call)
{
    weft_bench_comm_options options = *(const weft_bench_comm_options *)call->options;
    weft_cpu cpu = weft_cpu_detect();
    weft_status status = weft_isa_choose(&cpu, &options.isa);
    if (status == WEFT_OK && (options.min_bytes % 4 || options.min_bytes > options.max_bytes))
        status = weft_fail(WEFT_USAGE,
                           "--min-bytes %lld: must be whole f32 values (a multiple of 4) and at most --max-bytes, %lld",
                           (long long)options.min_bytes, (long long)options.max_bytes);
    WEFT_TRY(weft_comm_agree(weft_job_world(job), status, NULL));
    return weft_bench_comm(job, &options, stdout);
}

const wi_entry wi_bench_comm_entry = {
    .command = &comm_command, .defaults = &comm_defaults, .bytes = sizeof comm_defaults, .run = run_comm};
