// weft launch: the line of srun, mpirun or weft -n for a mesh on this allocation, told or run.
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cpu.h"
#include "launch/advice.h"
#include "launch/line.h"

typedef struct {
    int64_t ranks, nodes, tp, cp, dp, cores, gpus;
    int by;
    const char *hostfile, *mpi;
    bool dry;
} options_of_launch;

#define FIELD(field) offsetof(options_of_launch, field)
static const weft_flag flags[] = {
    {.name = "ranks",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(ranks),
     .help = "of the job; 0: tp x cp x dp, or as many as the allocation is for, or one for each NUMA domain",
     .max = 65536},
    {.name = "nodes",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(nodes),
     .help = "hosts, as many ranks on each; 0: as few of the allocation as have room",
     .max = 16384},
    {.name = "tp", .kind = WEFT_FLAG_INT, .offset = FIELD(tp), .help = "as the command's own", .max = 65536},
    {.name = "cp", .kind = WEFT_FLAG_INT, .offset = FIELD(cp), .help = "as the command's own", .max = 32},
    {.name = "dp", .kind = WEFT_FLAG_INT, .offset = FIELD(dp), .help = "as the command's own", .max = 65536},
    {.name = "cores",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(cores),
     .help = "of a host that Slurm does not describe; 0: as many as this one",
     .max = 4096},
    {.name = "gpus",
     .kind = WEFT_FLAG_INT,
     .offset = FIELD(gpus),
     .help = "of a host, for commands with --device cuda; 0: SLURM_GPUS_ON_NODE",
     .max = 64},
    {.name = "hostfile",
     .kind = WEFT_FLAG_STRING,
     .offset = FIELD(hostfile),
     .value = "FILE",
     .help = "hosts as mpirun reads them, a line each: name slots=4; not given: those of Slurm, or this one"},
    {.name = "by",
     .kind = WEFT_FLAG_CHOICE,
     .offset = FIELD(by),
     .help = "what starts the ranks; auto: srun in an allocation of Slurm, mpirun over several hosts, else weft -n",
     .choices = "auto|weft|mpirun|srun"},
    {.name = "srun-mpi", .kind = WEFT_FLAG_STRING, .offset = FIELD(mpi), .value = "NAME", .help = "srun's --mpi"},
    {.name = "dry-run",
     .kind = WEFT_FLAG_BOOL,
     .offset = FIELD(dry),
     .help = "print the line, and why, and run nothing"},
    {0}};
static const options_of_launch defaults = {.mpi = "pmix"};

static const weft_command command = {
    .name = "launch",
    .summary = "the line of srun or mpirun for a mesh on this allocation, told or run",
    .usage = "weft launch [flags] [-- COMMAND [its flags]]",
    .about =
        "Finds the hosts (of Slurm's job, of --hostfile, or this one), gives each rank its host, its cores or its GPU, "
        "keeps the ranks of a tp group on one host where that is possible, and makes the command line. It then becomes "
        "that command, whose exit code is the end. With --dry-run it prints the line and a reason for each word "
        "of it; all but the line are comments, so that a shell can run what it prints. Run it once, in the "
        "allocation, without srun or mpirun.",
    .examples = "weft launch --dry-run -- run demo -p 'She was'\n"
                "printf 'h0 slots=2\\nh1 slots=2\\n' >hosts\n"
                "weft launch --dry-run --hostfile hosts --tp 2 --cp 2 -- batch demo -i in.jsonl -o out.jsonl\n"
                "weft launch --dry-run --ranks 64 --nodes 8 --tp 8",
    .flags = flags,
    .common = wi_common_flags,
};

// ---- the command that is started ----

// Its own command line, read as it will be: a mistake in it is told before anything starts.
typedef struct {
    wi_line line;
    bool there, device;
    const char **word; // its words and what is added to them; ends with NULL
    int words;
    char added[5][24]; // numbers
    int adds;
} inner;

static const weft_flag *flag_of(const inner *in, const char *name)
{
    const weft_flag *flag = in->there && in->line.options ? in->line.entry->command->flags : NULL;
    while (flag && flag->name && strcmp(flag->name, name) != 0) flag++;
    return flag && flag->name ? flag : NULL;
}

static weft_status read_inner(const wi_call *call, inner *out)
{
    int count = 1;
    inner in = {0};
    weft_status status;
    while (call->rest[count - 1]) count++;
    in.word = calloc((size_t)count + 11, sizeof *in.word);
    if (!in.word) return weft_fail(WEFT_NO_MEMORY, "no memory for the command line");
    in.word[0] = "weft";
    memcpy(in.word + 1, call->rest, (size_t)(count - 1) * sizeof *in.word);
    in.words = count;
    in.there = count > 1;
    if (!in.there) {
        *out = in;
        return WEFT_OK;
    }
    WEFT_TRY_GOTO(wi_line_read(count, (char *const *)(uintptr_t)in.word, &in.line));
    if (!in.line.entry || in.line.parsed.help || in.line.entry->passes)
        WEFT_TRY_GOTO(weft_fail(WEFT_USAGE, "-- %.60s: which command are the ranks to run? (weft --help shows all)",
                                call->rest[0]));
    if (strcmp(in.line.entry->command->name, "bench scale") == 0)
        WEFT_TRY_GOTO(weft_fail(WEFT_USAGE, "bench scale starts its jobs itself: run it without weft launch"));
    if (in.line.common.ranks > 0)
        WEFT_TRY_GOTO(weft_fail(WEFT_USAGE, "-n %d behind --: say weft launch --ranks %d --", (int)in.line.common.ranks,
                                (int)in.line.common.ranks));
    const weft_flag *device = flag_of(&in, "device");
    const char *name = device && device->kind == WEFT_FLAG_STRING
                           ? *(const char *const *)(const void *)((const char *)in.line.options + device->offset)
                           : NULL;
    in.device = name && strcmp(name, "cuda") == 0;
    *out = in;
    return WEFT_OK;
fail:
    wi_line_free(&in.line);
    free(in.word);
    return status;
}

static void free_inner(inner *in)
{
    if (in->there) wi_line_free(&in->line);
    free(in->word);
}

static void add_word(inner *in, const char *name, int value)
{
    in->word[in->words++] = name;
    snprintf(in->added[in->adds], sizeof *in->added, "%d", value);
    in->word[in->words++] = in->added[in->adds++];
}

// A size of the mesh, by this command's flag or by the other's: the ranks are told what only this one was.
static weft_status join_size(inner *in, const char *name, const char *dashed, int64_t given, int *out)
{
    const weft_flag *flag = flag_of(in, name);
    const char *options = in->line.options;
    const int64_t theirs = flag && options ? *(const int64_t *)(const void *)(options + flag->offset) : 0;
    if (given > 0 && theirs > 0 && given != theirs)
        return weft_fail(WEFT_USAGE, "%s %d, and behind -- %s %d: give it once", dashed, (int)given, dashed,
                         (int)theirs);
    if (given > 0 && in->there && !flag)
        return weft_fail(WEFT_USAGE, "%s %d: weft %s has no such flag; say --ranks", dashed, (int)given,
                         in->line.entry->command->name);
    if (given > 0 && theirs == 0 && flag) add_word(in, dashed, (int)given);
    *out = (int)(given > 0 ? given : theirs);
    return WEFT_OK;
}

static weft_status wish_of(const wi_call *call, inner *in, wi_wish *out)
{
    const options_of_launch *o = call->options;
    const wi_common *theirs = &in->line.common;
    const int transport_ucx = 3;
    wi_wish w = {.by = (wi_by)o->by, .ranks = (int)o->ranks, .nodes = (int)o->nodes, .mpi = o->mpi};
    w.threads = (int)(call->common->threads ? call->common->threads : in->there ? theirs->threads : 0);
    w.ucx = call->common->transport == transport_ucx || (in->there && theirs->transport == transport_ucx);
    w.deadline = getenv("WEFT_DEADLINE") != NULL || (in->there && (theirs->deadline > wi_common_defaults.deadline ||
                                                                   theirs->deadline < wi_common_defaults.deadline));
    WEFT_TRY(join_size(in, "tp", "--tp", o->tp, &w.tp));
    WEFT_TRY(join_size(in, "cp", "--cp", o->cp, &w.cp));
    WEFT_TRY(join_size(in, "dp", "--dp", o->dp, &w.dp));
    if (call->common->threads && in->there && theirs->threads == 0) add_word(in, "--threads", w.threads);
    if (w.ucx && in->there && theirs->transport != transport_ucx) {
        in->word[in->words++] = "--transport";
        in->word[in->words++] = "ucx";
    }
    *out = w;
    return WEFT_OK;
}

// ---- this machine ----

extern char **environ;

enum { OWN_MOST = 32 };
typedef struct {
    wi_surroundings here;
    const char *own[OWN_MOST + 1];
    char names[OWN_MOST][64], bridges[256], weft[PATH_MAX];
} machine;

static bool there(const char *directory, bool (*wanted)(const char *name), char *text, size_t capacity)
{
    DIR *open = opendir(directory);
    size_t used = strlen(text);
    bool found = false;
    for (struct dirent *e; open && (e = readdir(open));) {
        if (e->d_name[0] == '.' || !wanted(e->d_name)) continue;
        found = true;
        const int length = snprintf(text + used, capacity - used, "%s%s", used ? "," : "", e->d_name);
        if (length < 0 || (size_t)length >= capacity - used) {
            text[used] = 0;
            break;
        }
        used += (size_t)length;
    }
    if (open) closedir(open);
    return found;
}

// Of containers and virtual machines: each host has its own, and all of them the same address.
static bool is_bridge(const char *name)
{
    static const char *const begins[] = {"docker", "virbr", "lxcbr", "lxdbr", "podman", "cni", "br-"};
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        if (strncmp(name, begins[i], strlen(begins[i])) == 0) return true;
    return false;
}

static bool is_verbs(const char *name) { return strncmp(name, "uverbs", 6) == 0; }

static bool in_path(const char *name)
{
    char file[PATH_MAX];
    for (const char *path = getenv("PATH"); path && *path;) {
        const size_t length = strcspn(path, ":");
        snprintf(file, sizeof file, "%.*s/%s", (int)length, path, name);
        if (access(file, X_OK) == 0) return true;
        path += length + (path[length] == ':');
    }
    return false;
}

// Not those that say how this command itself was meant.
static void look_at_variables(machine *m)
{
    int count = 0;
    for (char **entry = environ; *entry && count < OWN_MOST; entry++) {
        const size_t length = strcspn(*entry, "=");
        if (strncmp(*entry, "OMPI_MCA_btl_tcp_if_", 20) == 0) m->here.interfaces = true;
        if (strncmp(*entry, "WEFT_", 5) != 0 || length >= sizeof *m->names) continue;
        memcpy(m->names[count], *entry, length);
        m->own[count] = m->names[count];
        count++;
    }
    m->here.own = m->own;
}

static weft_status look_at_machine(machine *m)
{
    static weft_topology topology;
    char ignored[64] = "";
    WEFT_TRY(weft_topology_read(&topology));
    const ssize_t length = readlink("/proc/self/exe", m->weft, sizeof m->weft - 1);
    if (length < 0) return weft_fail(WEFT_IO, "/proc/self/exe: %s", strerror(errno));
    m->weft[length] = 0;
    m->here =
        (wi_surroundings){.cores = topology.cores > topology.allowed_cores ? topology.cores : topology.allowed_cores,
                          .cpus = topology.cpus,
                          .domains = topology.numa_nodes,
                          .root = geteuid() == 0 && !getenv("OMPI_ALLOW_RUN_AS_ROOT"),
                          .srun = in_path("srun"),
                          .bridges = m->bridges};
    m->here.rdma = there("/dev/infiniband", is_verbs, ignored, sizeof ignored);
    there("/sys/class/net", is_bridge, m->bridges, sizeof m->bridges);
    look_at_variables(m);
    return WEFT_OK;
}

// ---- the whole ----

static weft_status find_hosts(const options_of_launch *o, wi_allocation *out)
{
    if (o->hostfile) return wi_allocation_file(o->hostfile, out);
    const weft_status status = wi_allocation_slurm(out);
    if (status != WEFT_NOT_FOUND) return status;
    if (o->nodes > 1 && !o->dry)
        return weft_fail(WEFT_USAGE, "--nodes %d: which? Give --hostfile, or run it in an allocation of Slurm",
                         (int)o->nodes);
    return wi_allocation_numbers((int)o->nodes, out);
}

// Becomes the command. Returns only where that cannot be.
static weft_status become(const wi_advice *advice)
{
    const char *program = advice->command.word[0];
    for (int i = 0; i < advice->settings; i++) putenv((char *)(uintptr_t)advice->setting[i]);
    wi_command_exec(&advice->command);
    return weft_fail(errno == ENOENT ? WEFT_NOT_FOUND : WEFT_FAILED, "%s: %s", program, strerror(errno));
}

static weft_status launch(const wi_call *call)
{
    const options_of_launch *o = call->options;
    static const char *const placeholder[] = {"COMMAND", NULL};
    wi_allocation allocation = {0};
    wi_spread spread = {0};
    wi_wish wish;
    inner in = {0};
    machine *m = calloc(1, sizeof *m);
    wi_advice *advice = malloc(sizeof *advice);
    weft_status status = m && advice ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for a command");
    WEFT_TRY_GOTO(status);
    WEFT_TRY_GOTO(read_inner(call, &in));
    if (!in.there && !o->dry)
        WEFT_TRY_GOTO(weft_fail(WEFT_USAGE, "what are the ranks to run? weft launch -- COMMAND, or --dry-run"));
    WEFT_TRY_GOTO(wish_of(call, &in, &wish));
    WEFT_TRY_GOTO(look_at_machine(m));
    if (o->cores > 0) m->here.cores = m->here.cpus = (int)o->cores;
    WEFT_TRY_GOTO(find_hosts(o, &allocation));
    if (o->gpus > 0 || in.device) wish.gpus = o->gpus > 0 ? (int)o->gpus : allocation.gpus;
    WEFT_TRY_GOTO(wi_spread_make(&allocation, &wish, &m->here, &spread));
    WEFT_TRY_GOTO(wi_advice_make(&allocation, &wish, &m->here, &spread, in.there ? m->weft : "weft",
                                 in.there ? in.word + 1 : placeholder, advice));
    if (o->dry)
        wi_advice_print(&allocation, &spread, advice, stdout);
    else
        status = become(advice);
fail:
    wi_spread_free(&spread);
    wi_allocation_free(&allocation);
    free_inner(&in);
    free(advice);
    free(m);
    return status;
}

static weft_status run_launch(weft_job *job, const wi_call *call)
{
    if (call->launcher->mpi || weft_comm_size(weft_job_world(job)) > 1)
        return weft_fail(WEFT_USAGE, "weft launch starts the ranks itself: run it once, without %s%s",
                         call->launcher->mpi ? call->launcher->name : "-n",
                         call->launcher->mpi ? "" : " (it has --ranks)");
    return launch(call);
}

const wi_entry wi_launch_entry = {
    .command = &command, .defaults = &defaults, .bytes = sizeof defaults, .passes = true, .run = run_launch};
