// weft bench: what is measured lives in bench/, here are its flags.
#include "bench/bench.h"
#include "bench/kernels.h"
#include "launch/bench_flags.h"
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
    WI_ROUNDS_FLAG(FIELD(rounds), "turns of weft and of MPI at each size"),
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
    WI_RECORD_FLAG(FIELD(json)),
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

#undef FIELD
#define FIELD(field) offsetof(weft_bench_kernels_options, field)
static const weft_flag kernels_flags[] = {
    {.name = "op", .kind = WEFT_FLAG_STRING, .offset = FIELD(op), .help = "one op alone: " WEFT_BENCH_OPS},
    {.name = "model",
     .kind = WEFT_FLAG_CHOICE,
     .offset = FIELD(model),
     .help = "whose shapes: those of Llama 3, with 1, 8 or 70 thousand million weights",
     .choices = "1b|8b|70b|all"},
    {.name = "shape",
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(shape),
     .help = "one shape alone: qkv, o, gate+up or down of the model, any as NxK, outputs by inputs; prefill or decode; "
             "of rows the op, as norm"},
    {.name = "rows",
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(rows),
     .value = "N,N,...",
     .help = "numbers of rows instead of the op's own, up to 32768"},
    {.name = "positions",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(positions),
     .help = "of one request whose attention is decoded, instead of 32768 of 16 (a device: 65536 of 1 and of 16)",
     .min = 1,
     .max = 1 << 24},
    {.name = "device",
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(device),
     .help = "measure cuda instead of the processor: the first device, by its own clock"},
    {.name = "weights",
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(weights),
     .help = "one type of weights, or of attention's cache, alone: bf16, int8, int4, fp8 or f32"},
    {.name = "group",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(group),
     .help = "columns that share a scale of int4: 32, 64 or 128",
     .min = 32,
     .max = 128},
    {.name = "family",
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(family),
     .help =
         "multiply by fma, bf16dot, amx, mma, wgmma or cublaslt, instead of what the processor and the weights want"},
    {.name = "peers",
     .kind = WEFT_FLAG_BOOL,
     .offset = FIELD(peers),
     .help = "measure oneDNN 2 and OpenBLAS beside it, where they are installed"},
    WI_ROUNDS_FLAG(FIELD(rounds), "turns that each case, its peers and its ceilings take"),
    WI_RECORD_FLAG(FIELD(json)),
    {0}};

static const weft_bench_kernels_options kernels_defaults = {.model = 1, .group = 32, .peers = true, .rounds = 7};

static const weft_command kernels_command = {
    .name = "bench kernels",
    .summary = "how fast this machine computes, beside its own ceilings",
    .usage = "weft bench kernels [flags]",
    .about = "Measures what this processor's arithmetic and memory give, then each op and shape: its time, its rate, "
             "and what part that is of the ceiling that binds it. Ceilings, peers and cases take turns in one run. "
             "Weights together are larger than every cache. Without --threads by one thread and then by all.",
    .examples = "weft bench kernels --model 8b --shape o --weights bf16\n"
                "weft bench kernels --op gemm --shape 4096x4096 --rows 1,512 --threads 2\n"
                "weft bench kernels --op ceilings --json -\n"
                "weft bench kernels --device cuda --op attention",
    .flags = kernels_flags,
    .common = wi_common_flags,
};

static weft_status run_kernels(weft_job *job, const wi_call *call)
{
    weft_bench_kernels_options options = *(const weft_bench_kernels_options *)call->options;
    weft_cpu cpu = weft_cpu_detect();
    weft_status status = weft_isa_choose(&cpu, &options.isa);
    options.threads = call->common->threads;
    if (status == WEFT_OK && weft_comm_size(weft_job_world(job)) > 1)
        status = weft_fail(WEFT_USAGE, "bench kernels measures one process: run it with one rank, without -n");
    WEFT_TRY(weft_comm_agree(weft_job_world(job), status, NULL));
    return weft_bench_kernels(job, &options, stdout);
}

const wi_entry wi_bench_kernels_entry = {
    .command = &kernels_command, .defaults = &kernels_defaults, .bytes = sizeof kernels_defaults, .run = run_kernels};
