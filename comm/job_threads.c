// Ranks that are threads of one process: the home of most tests.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "comm/comm_impl.h"
#include "core/log.h"

typedef struct {
    const weft_job_options *options;
    weft_rank_fn *body;
    void *arg;
    wi_board *board;
    wi_memory_kind memory;
    int rank, size;
    weft_status status;
    char error[WEFT_ERROR_TEXT_MAX];
} rank_thread;

static weft_status run_rank(rank_thread *self)
{
    weft_job *job = calloc(1, sizeof *job);
    weft_status status;
    if (!job) return weft_fail(WEFT_NO_MEMORY, "no memory for a job");
    job->rank = self->rank;
    job->size = self->size;
    job->threads = true;
    job->memory = self->memory;
    job->board = self->board;
    WEFT_TRY_GOTO(wi_place_all_here(self->size, &job->place));
    WEFT_TRY_GOTO(wi_job_init(job, self->options, wi_allowed_cpus()));
    status = self->body(job, self->rank, self->arg);
    weft_job_close(job);
    return status;
fail:
    wi_job_fini(job);
    free(job);
    return status;
}

static void *thread_main(void *arg)
{
    rank_thread *self = arg;
    self->status = run_rank(self);
    snprintf(self->error, sizeof self->error, "%s", weft_error_text());
    return NULL;
}

// Starts all and joins those that started. A thread that cannot start ends the job, as a lost rank would.
static weft_status run_all(rank_thread *ranks, int count, wi_board *board)
{
    pthread_t *threads = calloc((size_t)count, sizeof *threads);
    int started = 0;
    if (!threads) return weft_fail(WEFT_NO_MEMORY, "no memory for %d threads", count);
    while (started < count && pthread_create(&threads[started], NULL, thread_main, &ranks[started]) == 0) started++;
    if (started < count && wi_verdict_claim(board))
        wi_verdict_publish(board, WEFT_FAILED, "a rank's thread cannot start");
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    free(threads);
    for (int i = 0; i < started; i++)
        if (ranks[i].status < 0) return weft_fail(ranks[i].status, "rank %d: %s", i, ranks[i].error);
    return started == count ? WEFT_OK : weft_fail(WEFT_FAILED, "only %d of %d threads could start", started, count);
}

weft_status weft_job_run_threads(const weft_job_options *options, int ranks, weft_rank_fn *body, void *arg)
{
    size_t bytes = wi_board_bytes(ranks, wi_comm_bytes(ranks));
    weft_status status = WEFT_OK;
    weft_job watched = {.threads = true, .size = ranks, .options = *options}; // what the watchdog needs to know
    wi_memory_kind memory = options->transport == WEFT_TRANSPORT_SHM ? WI_MEMORY_SHM : WI_MEMORY_HEAP;
    rank_thread *self = calloc((size_t)ranks, sizeof *self);
    wi_board *board = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!self || board == MAP_FAILED) {
        status = weft_fail(WEFT_NO_MEMORY, "no memory for %d ranks", ranks);
        goto done;
    }
    wi_board_init(board, ranks);
    for (int i = 0; i < ranks; i++) wi_seat_take(board, i, i); // before the watchdog looks at them
    for (int i = 0; i < ranks; i++) self[i] = (rank_thread){options, body, arg, board, memory, i, ranks, WEFT_OK, ""};
    watched.board = board;
    status = wi_watchdog_start(&watched, &watched.watchdog);
    if (status == WEFT_OK) status = run_all(self, ranks, board);
    wi_watchdog_stop(watched.watchdog);
done:
    if (board != MAP_FAILED) munmap(board, bytes);
    free(self);
    return status;
}
