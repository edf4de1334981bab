// The line of srun, mpirun or weft -n, word by word, each with its reason.
#include "launch/advice.h"

#include <stdarg.h>
#include <string.h>

typedef struct {
    const wi_allocation *a;
    const wi_wish *w;
    const wi_surroundings *here;
    const wi_spread *s;
    wi_advice *out;
} advising;

static void because(const advising *v, const char *what, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void because(const advising *v, const char *what, const char *format, ...)
{
    wi_reason r;
    va_list args;
    va_start(args, format);
    vsnprintf(r.why, sizeof r.why, format, args); // NOLINT: the analyzer loses sight of va_start
    va_end(args);
    snprintf(r.what, sizeof r.what, "%s", what);
    if (v->out->reasons < WI_REASONS) v->out->reason[v->out->reasons++] = r;
}

// A variable for all ranks: mpirun has to be told, the others hand on what they have.
static void set(const advising *v, const char *setting, const char *why)
{
    if (v->s->by == WI_BY_MPIRUN) {
        wi_command_word(&v->out->command, "-x");
        wi_command_word(&v->out->command, setting);
    } else if (v->out->settings < WI_REASONS) {
        v->out->setting[v->out->settings++] = setting;
    }
    because(v, setting, "%s", why);
}

// A parameter of Open MPI, for mpirun and its ranks.
static void parameter(const advising *v, const char *name, const char *value, const char *why)
{
    char what[96];
    snprintf(what, sizeof what, "%s=%s", name, value);
    if (v->s->by == WI_BY_MPIRUN) {
        wi_command_word(&v->out->command, "--mca");
        wi_command_word(&v->out->command, name);
        wi_command_word(&v->out->command, value);
    } else if (v->out->settings < WI_REASONS) {
        const char *text = wi_command_text(&v->out->command, "OMPI_MCA_%s=%s", name, value);
        if (text) v->out->setting[v->out->settings++] = text;
    }
    because(v, what, "%s", why);
}

static void say_variables(const advising *v)
{
    const bool far = v->s->hosts > 1;
    if (far && !v->w->deadline)
        set(v, "WEFT_DEADLINE=20",
            "a rank that waits so many seconds for another ends the job: before Slurm or TCP notice that a node is "
            "gone");
    if (far && v->here->bridges[0] && !v->here->interfaces && !v->here->rdma) {
        const char *list = wi_command_text(&v->out->command, "lo,%s", v->here->bridges);
        if (list)
            parameter(v, "btl_tcp_if_exclude", list, "other hosts have these interfaces too, with the same addresses");
        if (list && v->s->by == WI_BY_MPIRUN) parameter(v, "oob_tcp_if_exclude", list, "likewise for mpirun's daemons");
    }
    if (far && v->here->rdma && !v->w->ucx)
        parameter(v, "pml", "ucx", "this host has RDMA devices, which Open MPI reaches by UCX");
    if (v->s->crowded && v->s->by != WI_BY_WEFT)
        parameter(v, "mpi_yield_when_idle", "1", "ranks that share a core let the others run while they wait");
    if (!v->w->ucx) return;
    if (!v->here->rdma)
        set(v, "UCX_TLS=tcp,self", "no RDMA device here: TCP between hosts; inside of one weft has its own memory");
    set(v, "UCX_KEEPALIVE_INTERVAL=10s", "a link that goes down says nothing: UCX then asks its peers");
}

// ---- srun ----

static void say_srun(const advising *v)
{
    wi_command *c = &v->out->command;
    const wi_spread *s = v->s;
    wi_command_word(c, "srun");
    wi_command_format(c, "--mpi=%s", v->w->mpi);
    because(v, "--mpi",
            "ranks find each other by PMIx; without it each would run alone (srun --mpi=list tells what "
            "this Slurm has)");
    wi_command_word(c, "--kill-on-bad-exit=1");
    because(v, "--kill-on-bad-exit=1", "a rank that fails ends the step, and the others need no deadline for it");
    wi_command_format(c, "--nodes=%d", s->hosts);
    wi_command_format(c, "--ntasks=%d", s->ranks);
    if (s->even > 0) wi_command_format(c, "--ntasks-per-node=%d", s->even);
    wi_command_word(c, "--distribution=block");
    because(v, "--distribution=block", "neighbouring ranks on one node%s",
            s->inside ? ", so that each tp group is inside of one" : "");
    wi_command_format(c, "--cpus-per-task=%d", s->threads);
    because(v, "--cpus-per-task", "a step does not inherit what sbatch was asked for (Slurm 22.05 and later)");
    wi_command_word(c, s->crowded ? "--overcommit" : "--cpu-bind=cores");
    if (s->crowded)
        because(v, "--overcommit", "more threads than processors: this will be slow");
    else
        because(v, "--cpu-bind=cores", "each rank on cores of its own, near its memory");
    if (s->gpus > 0) {
        wi_command_word(c, "--gpu-bind=none");
        because(v, "--gpu-bind=none", "ranks see all GPUs of a node and take one each, by their local rank");
    }
}

// ---- mpirun ----

static void say_hosts(const advising *v)
{
    wi_command *c = &v->out->command;
    const wi_allocation *a = v->a;
    const wi_spread *s = v->s;
    char text[4096] = "";
    size_t used = 0;
    if (a->slurm && s->hosts == a->hosts && s->even > 0) return; // mpirun asks Slurm itself
    if (a->file && s->even > 0) {
        wi_command_word(c, "--hostfile");
        wi_command_word(c, a->file);
        return;
    }
    for (int i = 0; i < s->hosts && used < sizeof text - 1; i++)
        if (s->on[i] > 0)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s:%d", used ? "," : "", a->host[i].name,
                                     s->on[i]);
    if (used >= sizeof text - 1) c->full = true;
    wi_command_word(c, "--host");
    wi_command_format(c, "%s", text);
}

static void say_places(const advising *v)
{
    wi_command *c = &v->out->command;
    const wi_spread *s = v->s;
    const int per_core = v->here->cores > 0 && v->a->slurm ? v->here->cpus / v->here->cores : 1;
    const int cores = s->threads / (per_core > 1 ? per_core : 1) > 0 ? s->threads / (per_core > 1 ? per_core : 1) : 1;
    wi_command_word(c, "--map-by");
    if (s->even > 0 && !s->crowded)
        wi_command_format(c, "ppr:%d:node:PE=%d", s->even, cores);
    else if (s->even > 0)
        wi_command_format(c, "ppr:%d:node", s->even);
    else
        wi_command_word(c, "slot");
    because(v, "--map-by", "neighbouring ranks on one host%s; PE: the cores of each",
            s->inside ? ", so that each tp group is inside of one" : "");
    wi_command_word(c, "--bind-to");
    wi_command_word(c, s->crowded || s->even == 0 ? "none" : "core");
    if (s->crowded) {
        wi_command_word(c, "--oversubscribe");
        because(v, "--oversubscribe", "more threads than cores: this will be slow");
    } else if (s->even > 0) {
        because(v, "--bind-to core",
                "each rank on cores of its own, near its memory; by default more than two ranks "
                "get a socket together");
    } else {
        because(v, "--bind-to none", "hosts with unlike numbers of ranks: one number of cores does not suit all");
    }
}

static void say_mpirun(const advising *v)
{
    wi_command *c = &v->out->command;
    wi_command_word(c, "mpirun");
    if (v->here->root) {
        wi_command_word(c, "--allow-run-as-root");
        because(v, "--allow-run-as-root", "mpirun does not start for root without it");
    }
    wi_command_word(c, "-np");
    wi_command_format(c, "%d", v->s->ranks);
    say_hosts(v);
    say_places(v);
    for (int i = 0; v->here->own[i] && v->s->hosts > 1; i++) {
        wi_command_word(c, "-x");
        wi_command_word(c, v->here->own[i]);
        because(v, v->here->own[i], "it is set here, and weft refuses to run where ranks differ");
    }
}

weft_status wi_advice_make(const wi_allocation *allocation, const wi_wish *wish, const wi_surroundings *here,
                           const wi_spread *spread, const char *weft, const char *const *rest, wi_advice *out)
{
    const advising v = {allocation, wish, here, spread, out};
    wi_command *c = &out->command;
    *out = (wi_advice){0};
    if (spread->by == WI_BY_SRUN) say_srun(&v);
    if (spread->by == WI_BY_MPIRUN) say_mpirun(&v);
    say_variables(&v);
    wi_command_word(c, weft);
    if (spread->by == WI_BY_WEFT) {
        wi_command_word(c, "-n");
        wi_command_format(c, "%d", spread->ranks);
        because(&v, "-n",
                "all on one host: over shared memory, without MPI, each rank bound to cores of its own where "
                "there are enough");
    }
    for (; *rest; rest++) wi_command_word(c, *rest);
    return c->full ? weft_fail(WEFT_LIMIT, "the command of %d ranks on %d hosts has too many words", spread->ranks,
                               spread->hosts)
                   : WEFT_OK;
}

// ---- telling ----

static void print_word(const char *word, FILE *out)
{
    if (*word && word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%")] == 0) {
        fputs(word, out);
        return;
    }
    fputc('\'', out);
    for (; *word; word++) fputs(*word == '\'' ? "'\\''" : (const char[]){*word, 0}, out);
    fputc('\'', out);
}

static void print_mesh(const wi_spread *s, FILE *out)
{
    fputs("# mesh: ", out);
    if (s->dp > 1) fprintf(out, "dp %d x ", s->dp);
    if (!s->known) {
        fputs("tp and cp are left to the command, which chooses as weft plan does\n", out);
        return;
    }
    fprintf(out, "tp %d x cp %d; ", s->tp, s->cp);
    if (s->hosts == 1)
        fputs("all on one host\n", out);
    else if (s->replicas_inside && s->dp > 1)
        fputs("each replica inside a node\n", out);
    else if (s->tp > 1)
        fputs(s->inside ? "each tp group inside a node\n" : "tp groups span nodes\n", out);
    else
        fputs("positions are shared over nodes\n", out);
}

static void print_ranks(const wi_allocation *a, const wi_spread *s, FILE *out)
{
    enum { TOLD = 256 };
    fprintf(out, "# rank  local  %-10s", s->gpus > 0 ? "gpu" : "cores");
    fprintf(out, "%s  host\n", s->known ? "  dp   cp   tp" : "  dp");
    for (int rank = 0; rank < s->ranks && rank < TOLD; rank++) {
        const wi_rank_place p = wi_spread_rank(s, rank);
        char what[32];
        if (s->gpus > 0)
            snprintf(what, sizeof what, "%d", p.local % s->gpus);
        else if (s->by == WI_BY_SRUN || s->crowded || (s->by == WI_BY_MPIRUN && s->even == 0))
            snprintf(what, sizeof what, "%d", s->threads);
        else if (s->threads == 1)
            snprintf(what, sizeof what, "%d", p.local);
        else
            snprintf(what, sizeof what, "%d-%d", p.local * s->threads, (p.local + 1) * s->threads - 1);
        fprintf(out, "# %4d  %5d  %-10s%4d", rank, p.local, what, p.dp_rank);
        if (s->known) fprintf(out, " %4d %4d", p.cp_rank, p.tp_rank);
        fprintf(out, "  %s\n", a->host[p.host].name);
    }
    if (s->ranks > TOLD) fprintf(out, "# ... and so on, up to rank %d\n", s->ranks - 1);
}

void wi_advice_print(const wi_allocation *a, const wi_spread *s, const wi_advice *advice, FILE *out)
{
    static const char *const names[] = {"", "weft -n", "mpirun", "srun"};
    fprintf(out, "# %d rank%s on %d host%s by %s, %d thread%s each; hosts: %s\n", s->ranks, s->ranks == 1 ? "" : "s",
            s->hosts, s->hosts == 1 ? "" : "s", names[s->by], s->threads, s->threads == 1 ? "" : "s", a->from);
    if (s->crowded) fputs("# more threads than the hosts have cores: ranks will wait for each other's turns\n", out);
    if (s->gpus > 0 && (s->ranks + s->hosts - 1) / s->hosts > s->gpus)
        fprintf(out, "# more ranks than the %d GPU%s of a host: ranks share them\n", s->gpus, s->gpus == 1 ? "" : "s");
    print_mesh(s, out);
    print_ranks(a, s, out);
    for (int i = 0; i < advice->reasons; i++) fprintf(out, "# %s: %s\n", advice->reason[i].what, advice->reason[i].why);
    for (int i = 0; i < advice->settings; i++) fprintf(out, "%s ", advice->setting[i]);
    for (int i = 0; i < advice->command.count; i++) {
        print_word(advice->command.word[i], out);
        fputc(i + 1 < advice->command.count ? ' ' : '\n', out);
    }
}
