#include "launch/start.h"

#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/plugin.h"
#include "launch/seat.h"

extern char **environ;

static weft_job_options job_options(const wi_common *common)
{
    static const weft_transport transports[] = {WEFT_TRANSPORT_AUTO, WEFT_TRANSPORT_SHM, WEFT_TRANSPORT_MPI,
                                                WEFT_TRANSPORT_UCX};
    return (weft_job_options){.transport = transports[common->transport],
                              .deadline_ns = (int64_t)(common->deadline * 1e9),
                              .threads = (int)common->threads,
                              .links = (weft_links)common->links,
                              .algorithms = common->algorithms};
}

// ---- without a launcher ----

static bool wants_gpu(const wi_line *line)
{
    const char *device = wi_line_device(line);
    return device && strcmp(device, "cuda") == 0;
}

static weft_status bind_rank(const wi_line *line, int ranks, int rank)
{
    static weft_topology topology; // 8 KiB: not for a stack that a team of threads may copy
    static wi_share share;
    const wi_common *common = &line->common;
    wi_rank_seat seat;
    if (common->bind == WI_BIND_NONE || (ranks == 1 && common->bind == WI_BIND_AUTO)) return WEFT_OK;
    if (wants_gpu(line)) {
        WEFT_TRY(wi_seat_find((wi_seat_of){rank, ranks}, (int)common->threads, NULL, NULL, &seat, &share));
        if (seat.device >= 0 && seat.node >= 0) {
            wi_share_apply(&share);
            return WEFT_OK;
        }
    }
    WEFT_TRY(weft_topology_read(&topology));
    if (wi_share_make(&topology, ranks, rank, (int)common->threads, &share)) {
        wi_share_apply(&share);
        return WEFT_OK;
    }
    if (common->bind == WI_BIND_AUTO) return WEFT_OK;
    return weft_fail(WEFT_USAGE,
                     "--bind core: %d ranks of %d threads need as many cores, and %d are allowed; use fewer, or leave "
                     "the flag out",
                     ranks, common->threads > 0 ? (int)common->threads : 1, topology.allowed_cores);
}

weft_status wi_start_here(const wi_line *line, weft_job **job, int *exit_code)
{
    const wi_common *common = &line->common;
    weft_job_options options = job_options(common);
    *job = NULL;
    if (options.transport == WEFT_TRANSPORT_MPI || options.transport == WEFT_TRANSPORT_UCX)
        return weft_fail(WEFT_USAGE,
                         "--transport %s: its ranks are started by mpirun or srun, as in mpirun -np 2 weft doctor; "
                         "leave the flag out here",
                         weft_transport_name(options.transport));
    if (common->ranks > 0) {
        WEFT_TRY(weft_job_open_local(&options, (int)common->ranks, job, exit_code));
        if (!*job) return WEFT_OK;
    } else {
        WEFT_TRY(weft_job_open_alone(&options, job));
    }
    weft_comm *world = weft_job_world(*job);
    return weft_comm_agree(world, bind_rank(line, weft_comm_size(world), weft_comm_rank(world)), NULL);
}

// ---- mpirun and srun ----

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// The entries that begin with `prefix`, one a line; what follows a flag stands on its line, so that a difference shows
// both.
static char *join(char *const *entries, const char *prefix)
{
    size_t bytes = 1;
    for (int i = 0; entries[i]; i++) bytes += strlen(entries[i]) + 1;
    char *text = malloc(bytes), *to = text;
    if (!text) return NULL;
    for (int i = 0; entries[i]; i++) {
        if (strncmp(entries[i], prefix, strlen(prefix)) != 0) continue;
        if (to > text && entries[i][0] != '-' && entries[i - 1][0] == '-') to[-1] = ' ';
        to += sprintf(to, "%s\n", entries[i]);
    }
    *to = 0;
    return text;
}

static char *join_environment(void)
{
    int count = 0;
    while (environ[count]) count++;
    char **sorted = calloc((size_t)count + 1, sizeof *sorted), *text = NULL;
    if (!sorted) return NULL;
    memcpy(sorted, environ, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, by_text);
    text = join(sorted, "WEFT_");
    free(sorted);
    return text;
}

// The same verdict on all ranks, with what to do about it.
static weft_status compare(weft_comm *world, const char *what, const char *text, const char *mend)
{
    char found[WEFT_ERROR_TEXT_MAX];
    weft_status status = weft_comm_compare(world, what, text);
    if (status != WEFT_MISMATCH) return status;
    snprintf(found, sizeof found, "%s", weft_error_text());
    return weft_fail(status, "%.*s; %s", (int)(sizeof found - 1 - strlen(mend) - 2), found, mend);
}

// What must be equal on all ranks before anything else is done.
static weft_status compare_ranks(weft_comm *world, char *const *argv)
{
    char build[256];
    char *flags = join(argv + 1, ""), *environment = join_environment();
    weft_status status = WEFT_OK;
    snprintf(build, sizeof build, "weft %s, build %s, %s", weft_version(), weft_build_id(), weft_build_text());
    if (!flags || !environment) status = weft_fail(WEFT_NO_MEMORY, "no memory to compare command lines");
    status = weft_comm_agree(world, status, NULL);
    if (status == WEFT_OK) status = compare(world, "builds", build, "install one build on all hosts");
    if (status == WEFT_OK) status = compare(world, "flags", flags, "give all ranks the same command line");
    if (status == WEFT_OK)
        status = compare(world, "environments", environment,
                         "set it for all ranks (mpirun -x NAME, srun --export), or for none");
    free(flags);
    free(environment);
    return status;
}

static weft_status read_line(int argc, char *const *argv, const wi_launcher *launcher, wi_line *out)
{
    wi_line line;
    weft_status status;
    WEFT_TRY(wi_line_read(argc, argv, &line));
    if (line.common.ranks > 0) {
        status = weft_fail(WEFT_USAGE, "-n %d under %s, which has started the ranks already: leave -n out",
                           (int)line.common.ranks, launcher->name);
        goto fail;
    }
    if (line.common.bind == WI_BIND_CORE) {
        status = weft_fail(WEFT_USAGE, "--bind core under %s, which binds ranks itself: %s", launcher->name,
                           strcmp(launcher->name, "srun") == 0 ? "srun --cpu-bind=cores" : "mpirun --bind-to core");
        goto fail;
    }
    if (line.entry && !line.parsed.help) WEFT_TRY_GOTO(wi_check_environment());
    *out = line;
    return WEFT_OK;
fail:
    wi_line_free(&line);
    return status;
}

// A job that did not open has no ranks that could agree on who says so. Where all fail alike, one on each host speaks;
// where another rank failed, that one speaks.
static bool speaks_of_opening(weft_status status, const wi_launcher *launcher)
{
    if (strncmp(weft_error_text(), "rank ", 5) == 0) return false;
    bool alike = status == WEFT_NOT_FOUND || status == WEFT_MISMATCH || status == WEFT_USAGE;
    return !alike || launcher->local_rank == 0;
}

// The library reads its variables when it is opened, which is before a command's flags are checked.
static void choose_nic(int argc, char *const *argv, const wi_launcher *launcher)
{
    wi_line line;
    wi_rank_seat seat;
    if (getenv("UCX_NET_DEVICES") || wi_line_read(argc, argv, &line) < 0) {
        weft_error_clear();
        return;
    }
    const wi_seat_of place = {launcher->local_rank, launcher->local_rank + 1};
    if (wants_gpu(&line) && wi_seat_find(place, 0, NULL, NULL, &seat, NULL) == WEFT_OK && seat.ucx[0])
        setenv("UCX_NET_DEVICES", seat.ucx, 0);
    weft_error_clear();
    wi_line_free(&line);
}

weft_status wi_start_mpi(int argc, char *const *argv, const wi_launcher *launcher, weft_job **job, wi_line *line,
                         bool *speaks)
{
    wi_common common = wi_line_peek(argc, argv);
    weft_job_options options = job_options(&common);
    if (options.transport == WEFT_TRANSPORT_UCX) choose_nic(argc, argv, launcher);
    weft_status status = weft_job_open_mpi(&options, job);
    if (status < 0) {
        *job = NULL;
        *speaks = speaks_of_opening(status, launcher);
        return status;
    }
    weft_comm *world = weft_job_world(*job);
    *speaks = weft_comm_rank(world) == 0;
    if (launcher->size > 0 && weft_comm_size(world) != launcher->size) {
        *speaks = launcher->rank == 0;
        return weft_fail(WEFT_USAGE,
                         "%s started %d ranks and MPI finds %d: it belongs to another MPI than weft was built with; "
                         "weft info names that one",
                         launcher->name, launcher->size, weft_comm_size(world));
    }
    WEFT_TRY(compare_ranks(world, argv));
    return weft_comm_agree(world, read_line(argc, argv, launcher, line), NULL);
}
