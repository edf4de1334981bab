// Progress over a point-to-point transport: a list of what is in flight, and the waits that keep it moving. A rank that
// waits on one channel must move the others too: a peer may need what this rank has yet to pass on.
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "comm/p2p_impl.h"
#include "core/clock.h"

enum {
    TAG_BASES = 1 << (WI_P2P_TAG_GROUP + WI_P2P_TAG_CHANNEL),
    OTHERS_EVERY = 4, // polls of a wait between two looks at all that is in flight
};
static const int64_t sleep_first_ns = 10000, sleep_last_ns = 200000;
static const int64_t brief_ns = 30000, yield_ns = 100000; // a longer wait may as well sleep
enum { ARMED_MS = 50 };
static const int grace_ms = 1000;
static const int64_t settle_ns = 2000000000; // peers that still want something take it within a moment

struct wi_p2p_state {
    wi_p2p_task *tasks;
    uint32_t wanted;    // the rank waits for the lock
    weft_status status; // the transport's first failure
    char text[WEFT_ERROR_TEXT_MAX];
    unsigned char tags[TAG_BASES / 8]; // one bit a base in use
};

weft_status wi_p2p_init(weft_job *job)
{
    if (job->p2p_state) return WEFT_OK;
    if (job->p2p->tag_bits < WI_P2P_TAG_GROUP + WI_P2P_TAG_CHANNEL + WI_P2P_TAG_LOW)
        return weft_fail(WEFT_UNSUPPORTED, "%s has tags of %u bits; weft needs %d", job->p2p->name, job->p2p->tag_bits,
                         WI_P2P_TAG_GROUP + WI_P2P_TAG_CHANNEL + WI_P2P_TAG_LOW);
    job->p2p_state = calloc(1, sizeof(wi_p2p_state));
    return job->p2p_state ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for the state of %s", job->p2p->name);
}

// ---- tasks ----

void wi_p2p_link(weft_job *job, wi_p2p_task *task)
{
    wi_p2p_state *state = job->p2p_state;
    if (task->link) return;
    task->next = state->tasks;
    task->link = &state->tasks;
    if (task->next) task->next->link = &task->next;
    state->tasks = task;
}

void wi_p2p_unlink(wi_p2p_task *task)
{
    if (!task->link) return;
    *task->link = task->next;
    if (task->next) task->next->link = task->link;
    task->next = NULL;
    task->link = NULL;
}

weft_status wi_p2p_state_status(weft_job *job)
{
    const wi_p2p_state *state = job->p2p_state;
    return state->status < 0 ? weft_fail(state->status, "%s", state->text) : WEFT_OK;
}

// The connection to a peer broke. Nobody can be agreed with any more: every host tells it and ends. The watchdog knows
// more of a rank of its own host, and a launcher that ends the job may be about to say so.
static void peer_lost(weft_job *job, int peer, const char *text)
{
    const wi_place *place = &job->place[peer];
    char verdict[WI_VERDICT_MAX];
    if (place->node == job->place[job->rank].node)
        for (int waited = 0; waited < grace_ms && wi_verdict_status(job->board) == WEFT_OK; waited += 5)
            weft_clock_sleep_ns(5000000);
    snprintf(verdict, sizeof verdict, "rank %d on %s was lost: %s", peer, place->host, text);
    wi_job_end(job, WEFT_LOST, verdict);
}

weft_status wi_p2p_keep(weft_job *job, weft_status status)
{
    wi_p2p_state *state = job->p2p_state;
    if (status < 0 && state->status == WEFT_OK) {
        const int lost = job->p2p->lost ? job->p2p->lost() : -1;
        state->status = status;
        snprintf(state->text, sizeof state->text, "%s", weft_error_text());
        if (lost >= 0) peer_lost(job, lost, state->text);
    }
    return status;
}

// Under the lock. A task may unlink and free itself, so the next one is read first.
static void move_all(weft_job *job)
{
    wi_p2p_state *state = job->p2p_state;
    for (wi_p2p_task *task = state->tasks, *next; task && state->status == WEFT_OK; task = next) {
        next = task->next;
        wi_p2p_keep(job, task->move(job, task));
    }
}

// A thread that calls progress in a loop would hardly ever let go of a plain lock.
void wi_p2p_lock(weft_job *job)
{
    wi_p2p_state *state = job->p2p_state;
    if (state) wi_store(&state->wanted, 1); // there is none any more when the last channels of a job go
    pthread_mutex_lock(&job->p2p_lock);
    if (state) wi_store(&state->wanted, 0);
}

void wi_p2p_unlock(weft_job *job) { pthread_mutex_unlock(&job->p2p_lock); }

void wi_p2p_progress(weft_job *job)
{
    wi_p2p_state *state = job->p2p_state;
    if (!state || wi_load(&state->wanted) || pthread_mutex_trylock(&job->p2p_lock) != 0) return;
    move_all(job);
    pthread_mutex_unlock(&job->p2p_lock);
}

static bool sends_left(const wi_p2p_state *state)
{
    for (const wi_p2p_task *task = state->tasks; task; task = task->next)
        if (task->sends) return true;
    return false;
}

void wi_p2p_settle(weft_job *job)
{
    wi_p2p_state *state = job->p2p_state;
    if (!state || !sends_left(state)) return;
    int64_t end = weft_clock_ns() + settle_ns;
    while (sends_left(state) && state->status == WEFT_OK && !wi_load(&job->board->cancel) && weft_clock_ns() < end) {
        wi_p2p_progress(job);
        sched_yield();
    }
    wi_p2p_lock(job);
    if (job->p2p->flush && state->status == WEFT_OK) job->p2p->flush(end);
    wi_p2p_unlock(job);
}

void wi_p2p_fini(weft_job *job)
{
    wi_p2p_state *state = job->p2p_state;
    if (!state) return;
    wi_p2p_settle(job);
    // What is still in flight belongs to the transport: freeing it would let messages land in freed memory.
    if (state->tasks) return;
    free(state);
    job->p2p_state = NULL;
}

// ---- tags ----

static bool tag_taken(weft_job *job, uint32_t index)
{
    const wi_p2p_state *state = job->p2p_state;
    wi_p2p_lock(job);
    bool taken = state->tags[index / 8] >> index % 8 & 1;
    wi_p2p_unlock(job);
    return taken;
}

weft_status wi_p2p_tag_take(weft_comm *comm, uint32_t id, const char *name, uint32_t *base)
{
    wi_p2p_state *state = comm->job->p2p_state;
    bool agreed = comm->control && comm->barrier;
    uint32_t group = comm->id % (1u << WI_P2P_TAG_GROUP), count = 1u << WI_P2P_TAG_CHANNEL;
    wi_p2p_progress(comm->job); // may end what still holds a tag
    for (uint32_t i = 0; i < (agreed ? count : 1); i++) {
        uint32_t index = group << WI_P2P_TAG_CHANNEL | (id + i) % count;
        int64_t taken = tag_taken(comm->job, index);
        if (agreed) WEFT_TRY(weft_comm_max(comm, &taken, 1));
        if (taken) continue;
        wi_p2p_lock(comm->job);
        state->tags[index / 8] |= (unsigned char)(1u << index % 8);
        wi_p2p_unlock(comm->job);
        *base = index << WI_P2P_TAG_LOW;
        return WEFT_OK;
    }
    return weft_fail(WEFT_LIMIT,
                     "%s/%s: no message tag is free; %s serves %d groups at a time, each with %u channels and "
                     "windows: destroy what is no longer needed",
                     comm->name, name, comm->job->p2p->name, 1 << WI_P2P_TAG_GROUP, count);
}

static bool group_taken(weft_job *job, uint32_t group)
{
    enum { BYTES = (1 << WI_P2P_TAG_CHANNEL) / 8 };
    const wi_p2p_state *state = job->p2p_state;
    bool taken = false;
    wi_p2p_lock(job);
    for (uint32_t i = 0; i < BYTES; i++) taken = taken || state->tags[group * BYTES + i];
    wi_p2p_unlock(job);
    return taken;
}

weft_status wi_p2p_group_take(weft_comm *comm, uint32_t *id)
{
    const uint32_t groups = 1u << WI_P2P_TAG_GROUP;
    uint32_t tried = *id, end = *id + groups;
    wi_p2p_progress(comm->job); // may end what still holds a tag
    while (tried < end) {
        int64_t next = tried;
        while (next < end && group_taken(comm->job, (uint32_t)next % groups)) next++;
        WEFT_TRY(weft_comm_max(comm, &next, 1));
        if (next == tried) {
            *id = tried;
            return WEFT_OK;
        }
        tried = (uint32_t)next; // free on one rank; the others look from here on
    }
    return weft_fail(WEFT_LIMIT, "%s serves %u groups at a time: destroy those that are no longer needed",
                     comm->job->p2p->name, groups);
}

void wi_p2p_tag_give(weft_job *job, uint32_t base)
{
    wi_p2p_state *state = job->p2p_state;
    uint32_t index = base >> WI_P2P_TAG_LOW;
    if (!state) return; // after wi_p2p_fini: the last channels of a job that closes
    state->tags[index / 8] &= (unsigned char)~(1u << index % 8);
}

// ---- waits ----

static void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Sleeps until the transport has something, or for a moment: what ends a job may come by another way.
static void sleep_on(weft_job *job, int64_t *sleep_ns)
{
    struct pollfd event = {.events = POLLIN};
    if (!job->p2p->arm) {
        weft_clock_sleep_ns(*sleep_ns);
        if (*sleep_ns < sleep_last_ns) *sleep_ns *= 2;
        if (*sleep_ns > sleep_last_ns) *sleep_ns = sleep_last_ns;
        return;
    }
    wi_p2p_lock(job);
    event.fd = job->p2p->arm();
    wi_p2p_unlock(job);
    if (event.fd >= 0) poll(&event, 1, ARMED_MS);
}

// Polls of a transport that can be slept on may be system calls, and sleeps are polls of theirs: there time decides how
// long a wait has been, and elsewhere the number of polls.
typedef enum { BRIEF, LONGER, LONG } wait_length;

static wait_length length_of(const weft_job *job, int64_t polls, int64_t began)
{
    const weft_patience *patience = &job->patience;
    if (job->p2p->arm) {
        const int64_t waited = weft_clock_ns() - began;
        return waited < brief_ns ? BRIEF : waited < yield_ns ? LONGER : LONG;
    }
    if (polls < patience->spins) return BRIEF;
    return polls < (int64_t)patience->spins + patience->yields ? LONGER : LONG;
}

// The time between two polls: nothing at first, at last as much as the transport can stand.
static void pass_time(weft_job *job, wait_length length, int64_t *sleep_ns)
{
    if (length == LONG)
        sleep_on(job, sleep_ns);
    else if (length == LONGER || job->p2p->arm)
        sched_yield(); // keeps no core from a rank that has work
    else
        pause_cpu();
}

weft_status wi_p2p_wait(weft_job *job, wi_p2p_ready_fn *ready, void *arg, bool patient, uint32_t record)
{
    const int64_t began = weft_clock_ns();
    int64_t sleep_ns = sleep_first_ns;
    int told = -1;
    weft_status status;
    for (int64_t poll = 0;; poll++) {
        int peer = -1;
        wi_p2p_lock(job);
        bool done = ready(arg, &peer);
        const wait_length length = length_of(job, poll, began);
        if (!done && (length == LONG || poll % OTHERS_EVERY == OTHERS_EVERY - 1)) move_all(job);
        status = wi_p2p_state_status(job);
        wi_p2p_unlock(job);
        if (done || status < 0) break;
        if (wi_load(&job->board->cancel)) {
            status = wi_cancelled(job);
            break;
        }
        if (length != BRIEF && told != peer) { // brief waits are nobody's business
            if (told >= 0) wi_wait_leave(job);
            wi_wait_enter(job, peer, patient, record);
            told = peer;
        }
        pass_time(job, length, &sleep_ns);
    }
    if (told >= 0) wi_wait_leave(job);
    return status;
}
