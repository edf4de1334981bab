// The program. It finds out how it was started, opens the job, runs one command, and tells an error once for all ranks.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/plugin.h"
#include "launch/probe.h"
#include "launch/start.h"

enum { FAIL_LATER_NS = 300000000 };

static int tell(weft_status status)
{
    weft_log_error("%s", weft_error_text()[0] ? weft_error_text() : weft_status_text(status));
    return weft_status_exit_code(status);
}

// Output that cannot be written is a failure of the job, not of the pipe.
static weft_status flush_output(void)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return WEFT_OK;
    return weft_fail(WEFT_IO, "standard output: %s", errno ? strerror(errno) : "a write failed");
}

// What needs no job: --help, --version, nothing at all. True when that was asked for.
static bool answer(const wi_line *line, bool speaks, int *code)
{
    *code = line->nothing ? weft_status_exit_code(WEFT_USAGE) : 0;
    if (!line->nothing && !line->version && !line->parsed.help) return false;
    if (!speaks) return true;
    if (line->nothing) {
        wi_line_summary(stderr);
    } else if (line->parsed.help) {
        wi_line_help(line, stdout);
    } else {
        printf("weft %s, build %s, %s\n", weft_version(), weft_build_id(), weft_build_text());
    }
    if (flush_output() < 0) *code = tell(WEFT_IO);
    return true;
}

static weft_status run(weft_job *job, const wi_line *line, const wi_launcher *launcher)
{
    wi_call call = {line->options, &line->common, &line->parsed, launcher, (const char *const *)line->rest};
    weft_log_debug("process %d", (int)getpid());
    weft_status status = line->entry->run(job, &call);
    if (status == WEFT_OK) status = flush_output();
    // Without the others there is nobody to agree with.
    if (status == WEFT_LOST || status == WEFT_DEADLINE) weft_job_abort(job, status, weft_error_text());
    return weft_comm_agree(weft_job_world(job), status, NULL);
}

static int run_mpi(int argc, char *const *argv, const wi_launcher *launcher)
{
    weft_job *job = NULL;
    wi_line line = {0};
    bool speaks = true;
    int code;
    weft_status status = wi_start_mpi(argc, argv, launcher, &job, &line, &speaks);
    if (status == WEFT_OK && answer(&line, speaks, &code)) goto done;
    if (status == WEFT_OK) status = run(job, &line, launcher);
    code = weft_status_exit_code(status);
    if (status < 0 && speaks) tell(status);
    // mpirun ends all ranks when the first one fails: where no job holds them together, who speaks goes first.
    if (status < 0 && !speaks && !job) weft_clock_sleep_ns(FAIL_LATER_NS);
done:
    weft_job_close(job);
    wi_line_free(&line);
    return code;
}

static int run_here(int argc, char *const *argv, const wi_launcher *launcher)
{
    weft_job *job = NULL;
    wi_line line = {0};
    int code = 0;
    weft_status status = wi_line_read(argc, argv, &line);
    if (status < 0) return tell(status);
    if (answer(&line, true, &code)) goto done;
    status = wi_check_environment();
    if (status == WEFT_OK && launcher->srun_bare && launcher->rank == 0)
        weft_log_warn("srun started several tasks that cannot find each other, so that each runs alone: use srun "
                      "--mpi=pmix, or -n 1");
    if (status == WEFT_OK) status = wi_start_here(&line, &job, &code);
    if (status == WEFT_OK && !job) goto done; // this process only watched over its ranks
    if (status == WEFT_OK) status = run(job, &line, launcher);
    code = weft_status_exit_code(status);
    if (status < 0 && (!job || weft_comm_rank(weft_job_world(job)) == 0)) tell(status);
done:
    weft_job_close(job);
    wi_line_free(&line);
    return code;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], WI_PROBE_WORD) == 0) return wi_probe_main(argv[2]);
    weft_log_catch_crashes(NULL);
    wi_launcher launcher = wi_launcher_read();
    wi_common common = wi_line_peek(argc, argv);
    weft_log_setup(&(weft_log_options){.level = (weft_log_level)common.log_level, .json = common.log_json, .fd = 2});
    // One rank of mpirun may start ranks of its own: a job script that always says mpirun.
    bool of_mpi = launcher.mpi && !(common.ranks > 0 && launcher.size == 1);
    return of_mpi ? run_mpi(argc, argv, &launcher) : run_here(argc, argv, &launcher);
}
