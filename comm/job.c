// A rank's place in its job: what all ways to start have in common.
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "comm/device_impl.h"
#include "core/log.h"

int wi_allowed_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return CPU_COUNT(&set);
}

weft_status wi_place_all_here(int size, wi_place **out)
{
    wi_place *place = calloc((size_t)size, sizeof *place);
    if (!place) return weft_fail(WEFT_NO_MEMORY, "no memory for %d ranks", size);
    for (int i = 0; i < size; i++) {
        place[i].seat = i;
        gethostname(place[i].host, sizeof place[i].host - 1);
    }
    *out = place;
    return WEFT_OK;
}

static int ranks_here(const weft_job *job)
{
    int count = 0;
    for (int i = 0; i < job->size; i++) count += job->place[i].node == job->place[job->rank].node;
    return count;
}

weft_status wi_options_check(const weft_job_options *options, bool launched)
{
    if (wi_transport_p2p(options->transport) && !launched)
        return weft_fail(WEFT_USAGE, "--transport %s: MPI did not start this job; start it with mpirun or srun",
                         weft_transport_name(options->transport));
    return wi_algo_check(options->algorithms);
}

weft_status wi_job_init(weft_job *job, const weft_job_options *options, int cpus)
{
    job->options = *options;
    job->seat = job->place[job->rank].seat;
    job->nodes = 0;
    for (int i = 0; i < job->size; i++)
        if (job->place[i].node >= job->nodes) job->nodes = job->place[i].node + 1;
    int threads = options->threads > 0 ? options->threads : 1;
    job->cpu_each = ranks_here(job) * threads <= cpus;
    job->patience = weft_patience_make(ranks_here(job) * threads, cpus);
    job->patience.cancel = &job->board->cancel;
    WEFT_TRY(wi_options_check(options, job->boot != NULL));
    if (pthread_mutex_init(&job->p2p_lock, NULL) != 0) return weft_fail(WEFT_FAILED, "cannot make a lock");
    if (!job->threads) wi_seat_take(job->board, job->seat, job->rank);
    weft_log_set_rank(job->rank);
    wi_fault_open(job);
    return wi_comm_world(job, &job->world);
}

void wi_job_fini(weft_job *job)
{
    weft_comm_destroy(job->world);
    wi_mover_fini(job);
    free(job->place);
    if (job->owns_board) munmap(job->board, job->board_bytes);
}

void wi_wait_enter(weft_job *job, int peer, bool patient, uint32_t record)
{
    wi_seat *seat = wi_board_seat(job->board, job->seat);
    wi_store(&seat->wait_record, record);
    wi_store(&seat->wait_patient, patient);
    wi_store(&seat->wait_count, seat->wait_count + 1);
    wi_store(&seat->waits_for, (uint32_t)peer + 1);
}

void wi_wait_leave(weft_job *job) { wi_store(&wi_board_seat(job->board, job->seat)->waits_for, 0); }

weft_status wi_cancelled(weft_job *job)
{
    // A rank that is a process is ended by its watchdog; nothing that its caller could still say would be news.
    while (!job->threads) pause();
    while (wi_verdict_status(job->board) == WEFT_OK) sched_yield();
    return weft_fail(wi_verdict_status(job->board), "%s", job->board->verdict);
}

void wi_job_end(weft_job *job, weft_status status, const char *text)
{
    if (wi_verdict_claim(job->board)) {
        if (!job->threads) weft_log_error("%s", text);
        wi_verdict_publish(job->board, status, text);
    }
    if (job->threads) return;
    while (wi_verdict_status(job->board) == WEFT_OK) sched_yield(); // somebody else is telling it just now
    _exit(weft_status_exit_code(wi_verdict_status(job->board)));
}

void weft_job_abort(weft_job *job, weft_status status, const char *text) { wi_job_end(job, status, text); }

void weft_job_close(weft_job *job)
{
    if (!job) return;
    wi_mover_leave(job->world);
    // What comes now waits for all ranks as well, MPI or the first process, but knows no deadline.
    if (!job->threads) weft_comm_barrier(job->world);
    wi_p2p_fini(job); // peers may still be fetching what was sent
    wi_seat_leave(job->board, job->seat);
    wi_watchdog_stop(job->watchdog);
    if (job->p2p) job->p2p->close();
    if (job->boot && job->boot != job->p2p) job->boot->close();
    wi_job_fini(job);
    free(job);
}

weft_comm *weft_job_world(weft_job *job) { return job->world; }

bool weft_job_launcher_mpi(const weft_job *job) { return job->boot != NULL; }

bool weft_job_cpu_each(const weft_job *job) { return job->cpu_each; }

void weft_job_set_step(weft_job *job, int64_t step)
{
    job->step = step;
    wi_fault_at(job, step);
}

int weft_job_drain_signal(const weft_job *job) { return job->watchdog ? wi_watchdog_signal(job->watchdog) : 0; }

void weft_job_print_flight(weft_job *job, FILE *out)
{
    char text[256];
    for (int seat = 0; seat < (int)job->board->seats; seat++) {
        wi_seat_describe(job->board, seat, text, sizeof text);
        fprintf(out, "rank %d %s\n", wi_board_seat(job->board, seat)->world_rank, text);
    }
    wi_board_print(job->board, job->seat, out);
}

weft_status weft_job_open_alone(const weft_job_options *options, weft_job **out)
{
    size_t bytes = wi_board_bytes(1, wi_comm_bytes(1));
    weft_job *job = calloc(1, sizeof *job);
    weft_status status;
    if (!job) return weft_fail(WEFT_NO_MEMORY, "no memory for a job");
    wi_block_signals();
    job->size = 1;
    job->memory = WI_MEMORY_PRIVATE;
    job->board = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (job->board == MAP_FAILED) {
        free(job);
        return weft_fail(WEFT_NO_MEMORY, "no memory for a job");
    }
    job->board_bytes = bytes;
    job->owns_board = true;
    wi_board_init(job->board, 1);
    WEFT_TRY_GOTO(wi_place_all_here(1, &job->place));
    WEFT_TRY_GOTO(wi_job_init(job, options, wi_allowed_cpus()));
    WEFT_TRY_GOTO(wi_watchdog_start(job, &job->watchdog));
    *out = job;
    return WEFT_OK;
fail:
    wi_job_fini(job);
    free(job);
    return status;
}
