// weft bench compare: what differs between records lives in bench/, here are its flags.
#include "bench/compare.h"
#include "launch/bench_flags.h"
#include "launch/commands.h"

typedef struct {
    double confidence, threshold;
    int64_t seed;
    bool all, gate, alone;
    const char *json;
} options_of_compare;

#define FIELD(field) offsetof(options_of_compare, field)
static const weft_flag flags[] = {
    {.name = "confidence",
     .kind = WEFT_FLAG_REAL,
     .offset = FIELD(confidence),
     .value = "PERCENT",
     .help = "of the interval that must not hold 1",
     .min = 50,
     .max = 99.9},
    {.name = "threshold",
     .kind = WEFT_FLAG_REAL,
     .offset = FIELD(threshold),
     .value = "PERCENT",
     .help = "smaller changes are none, however sure",
     .max = 100},
    {.name = "all",
     .kind = WEFT_FLAG_BOOL,
     .offset = FIELD(all),
     .help = "compare what is neither a time nor a rate too"},
    {.name = "gate",
     .kind = WEFT_FLAG_BOOL,
     .offset = FIELD(gate),
     .help = "end with exit code 1 where anything is slower"},
    {.name = "aa",
     .kind = WEFT_FLAG_BOOL,
     .offset = FIELD(alone),
     .help = "of A alone: how often halves of its runs are found alike, and how small a change they would show"},
    {.name = "seed", .kind = WEFT_FLAG_INT, .offset = FIELD(seed), .help = "what is drawn depends on it", .max = 9e15},
    {.name = "json",
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(json),
     .value = "FILE",
     .help = "write the verdicts there; -: to stdout, without the table"},
    {0}};
static const options_of_compare defaults = {.confidence = 95, .threshold = 1};
static const char *const operands[] = {"A", "B", NULL};

static const weft_command command = {
    .name = "bench compare",
    .summary = "whether B is faster or slower than A, and how surely",
    .usage = "weft bench compare A B [flags]",
    .about =
        "A and B are records that a benchmark wrote with --json, or folders of them, one a run. With as many runs "
        "on both sides, take them by turns: run i of A is held against run i of B, so that what the machine did to "
        "both falls out. The interval is a bootstrap of the ratio of medians, over runs, or over samples where "
        "there is a single run.",
    .examples = "for i in 1 2 3 4 5 6; do for x in a b; do ./$x/weft bench decode demo --json $x/$i.json; done; done\n"
                "weft bench compare a b\n"
                "weft bench compare a --aa\n"
                "weft bench compare old.json new.json --gate --threshold 3",
    .flags = flags,
    .common = wi_common_flags,
    .operands_min = 1,
    .operands_max = 2,
    .operands = operands,
};

static weft_status compare(const wi_call *call)
{
    const options_of_compare *o = call->options;
    const char *a = call->operands->operand[0], *b = call->operands->count > 1 ? call->operands->operand[1] : NULL;
    weft_bench_compare_options options = {
        .how = weft_difference_default(), .all = o->all, .gate = o->gate, .json = o->json};
    options.how.confidence = o->confidence / 100;
    options.how.threshold = o->threshold / 100;
    options.how.seed = (uint64_t)o->seed;
    if (!b && !o->alone) return weft_fail(WEFT_USAGE, "B is missing: what %s is compared with; or give --aa", a);
    if (b && o->alone) return weft_fail(WEFT_USAGE, "--aa: looks at %s alone; leave %s out", a, b);
    return weft_bench_compare(a, b, &options, stdout);
}

static weft_status run_compare(weft_job *job, const wi_call *call)
{
    weft_comm *world = weft_job_world(job);
    return weft_comm_agree(world, weft_comm_rank(world) == 0 ? compare(call) : WEFT_OK, NULL);
}

const wi_entry wi_bench_compare_entry = {
    .command = &command, .defaults = &defaults, .bytes = sizeof defaults, .run = run_compare};
