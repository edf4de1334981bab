// The jobs of weft bench scale: their command lines, by weft -n, mpirun, srun or words of the user's, and how one is
// run.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "launch/scale.h"

// ---- words ----

void wi_command_word(wi_command *c, const char *word)
{
    if (c->count < WI_COMMAND_WORDS)
        c->word[c->count++] = word;
    else
        c->full = true;
}

// Writes behind the texts that are there; NULL where there is no room.
static const char *keep(wi_command *c, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

static const char *keep(wi_command *c, const char *format, va_list args)
{
    char *text = c->text + c->used;
    const size_t room = sizeof c->text - c->used;
    const int length = vsnprintf(text, room, format, args); // NOLINT: the analyzer loses sight of va_start
    if (length < 0 || (size_t)length >= room) {
        c->full = true;
        return NULL;
    }
    c->used += (size_t)length + 1;
    return text;
}

const char *wi_command_text(wi_command *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *text = keep(c, format, args);
    va_end(args);
    return text;
}

void wi_command_format(wi_command *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *text = keep(c, format, args);
    va_end(args);
    if (text) wi_command_word(c, text);
}

static void say_flag(wi_command *c, const char *name, int64_t value)
{
    wi_command_word(c, name);
    wi_command_format(c, "%" PRId64, value);
}

static void say_all(wi_command *c, const weft_scale_words *words)
{
    for (int i = 0; i < words->count; i++) wi_command_word(c, words->at[i]);
}

// A word of the user's, with the cell's numbers in it.
static void say_filled(wi_command *c, const char *word, const weft_scale_cell *cell)
{
    const struct {
        const char *mark;
        int value;
    } marks[] = {{"{ranks}", cell->ranks}, {"{nodes}", cell->nodes}, {"{node_ranks}", cell->node_ranks}};
    char text[1024];
    size_t used = 0;
    while (*word && used < sizeof text - 16) {
        bool found = false;
        for (size_t i = 0; i < sizeof marks / sizeof *marks && !found; i++) {
            const size_t length = strlen(marks[i].mark);
            found = strncmp(word, marks[i].mark, length) == 0;
            if (!found) continue;
            used += (size_t)snprintf(text + used, sizeof text - used, "%d", marks[i].value);
            word += length;
        }
        if (!found) text[used++] = *word++;
    }
    text[used] = 0;
    if (*word) c->full = true;
    wi_command_format(c, "%s", text);
}

static bool in_path(const char *name)
{
    const char *path = getenv("PATH");
    char file[4096];
    while (path && *path) {
        const size_t length = strcspn(path, ":");
        snprintf(file, sizeof file, "%.*s/%s", (int)length, path, name);
        if (access(file, X_OK) == 0) return true;
        path += length + (path[length] == ':');
    }
    return false;
}

weft_scale_launcher wi_scale_launcher(const weft_scale_spec *spec)
{
    if (spec->launcher != WEFT_SCALE_BY_AUTO) return spec->launcher;
    if (getenv("SLURM_JOB_ID") && in_path("srun")) return WEFT_SCALE_BY_SRUN;
    for (int i = 0; i < spec->cells; i++)
        if (spec->cell[i].nodes > 1) return WEFT_SCALE_BY_MPIRUN;
    return WEFT_SCALE_BY_WEFT;
}

static void say_launcher(wi_command *c, const weft_scale_spec *spec, const weft_scale_cell *cell, const char *weft)
{
    if (spec->launch.count > 0) {
        for (int i = 0; i < spec->launch.count; i++) say_filled(c, spec->launch.at[i], cell);
        wi_command_word(c, weft);
        return;
    }
    switch (wi_scale_launcher(spec)) {
    case WEFT_SCALE_BY_SRUN:
        wi_command_word(c, "srun");
        wi_command_word(c, "--mpi=pmix");
        wi_command_word(c, "--kill-on-bad-exit=1");
        say_flag(c, "--nodes", cell->nodes);
        say_flag(c, "--ntasks", cell->ranks);
        say_flag(c, "--ntasks-per-node", cell->node_ranks);
        say_flag(c, "--cpus-per-task", spec->threads);
        wi_command_word(c, weft);
        break;
    case WEFT_SCALE_BY_MPIRUN:
        wi_command_word(c, "mpirun");
        say_flag(c, "-np", cell->ranks);
        wi_command_word(c, "--map-by");
        if (spec->threads > 1)
            wi_command_format(c, "ppr:%d:node:PE=%" PRId64, cell->node_ranks, spec->threads);
        else
            wi_command_format(c, "ppr:%d:node", cell->node_ranks);
        wi_command_word(c, weft);
        break;
    default:
        wi_command_word(c, weft);
        say_flag(c, "-n", cell->ranks);
        break;
    }
}

weft_status wi_scale_command(const weft_scale_spec *spec, const weft_scale_cell *cell, const char *weft,
                             wi_command *out)
{
    wi_command *c = out;
    *c = (wi_command){0};
    say_launcher(c, spec, cell, weft);
    wi_command_word(c, "bench");
    wi_command_word(c, "cell");
    wi_command_word(c, spec->model);
    say_flag(c, "--threads", spec->threads);
    wi_command_format(c, "--deadline=%g", spec->deadline);
    say_flag(c, "--prompt", cell->context);
    say_flag(c, "--generate", cell->generate);
    say_flag(c, "--batch", cell->batch);
    say_flag(c, "--rounds", cell->reference ? 1 : spec->rounds);
    if (cell->ranks > 1 && cell->tp > 0) say_flag(c, "--tp", cell->tp);
    if (cell->ranks > 1 && cell->cp > 0) say_flag(c, "--cp", cell->cp);
    if (cell->ranks > 1 && cell->cp != 1 && cell->dense > 0) {
        wi_command_word(c, "--dense");
        wi_command_word(c, cell->dense == 2 ? "mesh" : "tp");
    }
    say_all(c, &spec->flags);
    say_all(c, &spec->variant[cell->variant].flags);
    return c->full ? weft_fail(WEFT_LIMIT, "%s: its command has too many words", cell->key) : WEFT_OK;
}

// ---- running one ----

void wi_command_exec(const wi_command *command)
{
    static const int reset[] = {SIGTERM, SIGINT, SIGUSR1, SIGPIPE};
    char *words[WI_COMMAND_WORDS + 1] = {0};
    sigset_t none;
    for (size_t i = 0; i < sizeof reset / sizeof *reset; i++) signal(reset[i], SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    memcpy(words, command->word, (size_t)command->count * sizeof *words);
    execvp(words[0], words);
}

// In the child: as if a shell had started it in a group of its own. Only what is safe behind a fork.
_Noreturn static void become(const wi_command *command, int out, int err)
{
    const int nothing = open("/dev/null", O_RDONLY);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (nothing < 0 || dup2(nothing, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(126);
    wi_command_exec(command);
    _exit(127);
}

static bool gone(pid_t pid, int *code)
{
    int how;
    const pid_t ended = waitpid(pid, &how, WNOHANG);
    if (ended != pid) return false;
    *code = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
    return true;
}

// A signal to this job ends the command too: asked first, and killed when it does not listen.
static weft_status wait_for(weft_job *job, pid_t pid, int *code)
{
    enum { LOOK_MS = 20, ASKED_NS_LEFT = 1000000000 };
    const int64_t patience = (int64_t)10 * ASKED_NS_LEFT;
    int64_t asked = 0;
    while (!gone(pid, code)) {
        struct pollfd none = {.fd = -1};
        poll(&none, 1, LOOK_MS);
        if (!asked && weft_job_drain_signal(job)) {
            kill(pid, SIGTERM);
            asked = weft_clock_ns();
        }
        if (asked && weft_clock_ns() - asked > patience) kill(-pid, SIGKILL);
    }
    return asked ? weft_fail(WEFT_DRAINED, "stopped by signal %d: give the same command again to go on",
                             weft_job_drain_signal(job))
                 : WEFT_OK;
}

static weft_status read_back(int fd, char **out, size_t *bytes)
{
    const off_t length = lseek(fd, 0, SEEK_END);
    char *text = malloc((size_t)(length > 0 ? length : 0) + 1);
    size_t had = 0;
    if (!text) return weft_fail(WEFT_NO_MEMORY, "no memory for what the job wrote");
    while (had < (size_t)length) {
        const ssize_t got = pread(fd, text + had, (size_t)length - had, (off_t)had);
        if (got <= 0) break;
        had += (size_t)got;
    }
    text[had] = 0;
    *out = text;
    *bytes = had;
    return WEFT_OK;
}

// The line that tells why: weft's own first error, else the last one that says something.
static void reason_in(const char *text, char *out, size_t capacity)
{
    static const char mark[] = " error: ";
    const char *at = strstr(text, mark);
    if (at) {
        at += sizeof mark - 1;
        snprintf(out, capacity, "%.*s", (int)strcspn(at, "\n"), at);
        return;
    }
    snprintf(out, capacity, "it says nothing");
    for (at = text; *at; at += strcspn(at, "\n"), at += *at == '\n') {
        const int length = (int)strcspn(at, "\n");
        if (length > 0 && strspn(at, "- \t") < (size_t)length) snprintf(out, capacity, "%.*s", length, at);
    }
}

weft_status wi_command_run(weft_job *job, const wi_command *command, const char *name, char **out, size_t *bytes)
{
    const int wrote = memfd_create("out", MFD_CLOEXEC), told = memfd_create("err", MFD_CLOEXEC);
    char *text = NULL, *errors = NULL, reason[400];
    size_t length = 0, ignored = 0;
    int code = 0;
    weft_status status = WEFT_OK;
    if (wrote < 0 || told < 0) WEFT_TRY_GOTO(weft_fail(WEFT_IO, "memfd_create: %s", strerror(errno)));
    const pid_t pid = fork();
    if (pid < 0) WEFT_TRY_GOTO(weft_fail(WEFT_IO, "%s: cannot start it: %s", command->word[0], strerror(errno)));
    if (pid == 0) become(command, wrote, told);
    WEFT_TRY_GOTO(wait_for(job, pid, &code));
    WEFT_TRY_GOTO(read_back(wrote, &text, &length));
    WEFT_TRY_GOTO(read_back(told, &errors, &ignored));
    reason_in(errors, reason, sizeof reason);
    if (code == 127 && ignored == 0)
        WEFT_TRY_GOTO(weft_fail(WEFT_NOT_FOUND, "%s: there is no program %s", name, command->word[0]));
    if (code != 0) WEFT_TRY_GOTO(weft_fail(WEFT_FAILED, "%s: exit code %d: %s", name, code, reason));
    *out = text;
    *bytes = length;
    text = NULL;
fail:
    if (wrote >= 0) close(wrote);
    if (told >= 0) close(told);
    free(text);
    free(errors);
    return status;
}
