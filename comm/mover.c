// Groups of ranks whose devices exchange over NCCL: opening the library, joining, leaving, and the end of a job whose
// NCCL fails. A group has a communicator of its own, made when its first channel is; none is another's parent.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "comm/device_impl.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/plugin.h"

static const int64_t NS_PER_S = 1000000000;
enum { GRACE_MS = 1500, ABORT_S = 2, LEAVE_S = 5, PAUSE_NS = 50000 };

// ---- the library ----------------------------------------------------------------------------------------------------

static weft_status open_table(const wi_mover **out)
{
    const weft_plugin *plugin;
    if (weft_plugin_open("nccl", &plugin) < 0) {
        char text[WEFT_ERROR_TEXT_MAX];
        snprintf(text, sizeof text, "%s", weft_error_text());
        return weft_fail(WEFT_NOT_FOUND, "this weft was built without NCCL (%.300s)", text);
    }
    const wi_mover *table = plugin->table;
    WEFT_TRY(table->open());
    *out = table;
    return WEFT_OK;
}

weft_status weft_nccl_describe(char *text, size_t capacity)
{
    const wi_mover *table = NULL;
    WEFT_TRY(open_table(&table));
    snprintf(text, capacity, "%s", table->describe());
    return WEFT_OK;
}

// NCCL takes two ranks of one host for one mistake where they share a device, unless they call themselves different
// hosts; these then meet over sockets. What the user has set stays.
static void prepare_sharing(const weft_job *job)
{
    char host[32];
    if (!job->devices_shared) return;
    snprintf(host, sizeof host, "weft-%d", job->rank);
    setenv("NCCL_HOSTID", host, 0);
    setenv("NCCL_NET", "Socket", 0);
    setenv("NCCL_IB_DISABLE", "1", 0);
    setenv("NCCL_MNNVL_ENABLE", "0", 0);
    setenv("NCCL_NVLS_ENABLE", "0", 0);
    if (job->nodes == 1) setenv("NCCL_SOCKET_IFNAME", "lo", 0);
    if (job->rank == 0)
        weft_log_info("ranks share a device: NCCL is told that each is a host of its own (NCCL_HOSTID), and sockets "
                      "carry the bytes");
}

weft_status weft_job_devices(weft_job *job, const weft_device *device)
{
    struct {
        int64_t node;
        uint64_t unit;
    } mine = {job->place[job->rank].node, device ? device->unit : 0}, *all = calloc((size_t)job->size, sizeof *all);
    int64_t shared = 0;
    weft_status status = all ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for %d ranks", job->size);
    WEFT_TRY_GOTO(weft_comm_agree(job->world, status, NULL));
    if (!all) goto fail; // for the analyzer: they have agreed on that
    WEFT_TRY_GOTO(weft_comm_allgather(job->world, &mine, sizeof mine, all));
    for (int peer = 0; peer < job->size; peer++)
        if (peer != job->rank && mine.unit && all[peer].unit == mine.unit && all[peer].node == mine.node) shared = 1;
    WEFT_TRY_GOTO(weft_comm_max(job->world, &shared, 1));
    job->devices_shared = shared != 0;
fail:
    free(all);
    return status;
}

static weft_status open_movers(weft_job *job, const weft_device *device)
{
    const wi_mover *table = NULL;
    if (!job->movers) {
        WEFT_TRY(open_table(&table));
        if (strcmp(table->kind(), device->ops->kind) != 0)
            return weft_fail(WEFT_UNSUPPORTED, "%s is for devices of kind %s, not %s", table->describe(), table->kind(),
                             device->ops->kind);
        struct wi_movers *movers = calloc(1, sizeof *movers);
        if (!movers) return weft_fail(WEFT_NO_MEMORY, "no memory for NCCL's groups");
        prepare_sharing(job);
        movers->table = table;
        job->movers = movers;
    }
    return WEFT_OK;
}

// ---- a failure ------------------------------------------------------------------------------------------------------

typedef struct {
    const wi_mover *table;
    const weft_comm *newest;
    uint32_t done;
} aborting;

static void *abort_all(void *arg)
{
    aborting *a = arg;
    for (const weft_comm *comm = a->newest; comm; comm = comm->joined_before) a->table->abort(comm->joined);
    __atomic_store_n(&a->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

// The newest first. In a thread of its own, for what cannot be aborted shall not keep the process.
static void abort_in_time(weft_job *job)
{
    aborting *a = calloc(1, sizeof *a); // left to a thread that does not end
    pthread_t thread;
    if (!a) return;
    *a = (aborting){.table = job->movers->table, .newest = job->movers->newest};
    if (pthread_create(&thread, NULL, abort_all, a) != 0) {
        free(a);
        return;
    }
    pthread_detach(thread);
    const int64_t until = weft_clock_ns() + ABORT_S * NS_PER_S;
    while (!__atomic_load_n(&a->done, __ATOMIC_ACQUIRE) && weft_clock_ns() < until) weft_clock_sleep_ns(PAUSE_NS);
}

// Ends the job. A peer's death reaches NCCL as well: whoever knows more speaks first.
static weft_status fail(weft_comm *comm, const char *channel)
{
    weft_job *job = comm->job;
    char text[WI_VERDICT_MAX], last[160];
    wi_record_describe(wi_record_of(job, job->device_record), last, sizeof last);
    snprintf(text, sizeof text, "rank %d: group %s%s%s: %s; its device's last exchange was %s", job->rank, comm->name,
             channel ? ", channel " : "", channel ? channel : "", weft_error_text(), last);
    for (int waited = 0; waited < GRACE_MS && wi_verdict_status(job->board) == WEFT_OK; waited += 5)
        weft_clock_sleep_ns(5000000);
    if (wi_verdict_claim(job->board)) {
        weft_log_error("%s", text);
        abort_in_time(job);
        wi_verdict_publish(job->board, WEFT_LOST, text);
    }
    wi_job_end(job, WEFT_LOST, text);
    return WEFT_LOST;
}

void wi_mover_look(weft_job *job)
{
    if (!job->movers) return;
    for (weft_comm *comm = job->movers->newest; comm; comm = comm->joined_before)
        if (job->movers->table->look(comm->joined) < 0) fail(comm, NULL);
}

// ---- waiting for the library ----------------------------------------------------------------------------------------

// IN_PROGRESS after `seconds`, if that is not 0.
static weft_status poll_group(weft_comm *comm, wi_mover_group *group, int seconds)
{
    const weft_job *job = comm->job;
    const int64_t until = weft_clock_ns() + seconds * NS_PER_S;
    weft_status status;
    for (int i = 0; (status = job->movers->table->look(group)) == WEFT_IN_PROGRESS; i++) {
        if (wi_load(&job->board->cancel)) return seconds ? status : wi_cancelled(comm->job);
        if (seconds && weft_clock_ns() > until) return status;
        if (i > 100) weft_clock_sleep_ns(PAUSE_NS);
    }
    return status;
}

static weft_status wait_for(weft_comm *comm, wi_mover_group *group, uint32_t record)
{
    wi_wait_enter(comm->job, comm->world_rank[(comm->rank + 1) % comm->size], false, record);
    const weft_status status = poll_group(comm, group, 0);
    wi_wait_leave(comm->job);
    return status;
}

weft_status wi_mover_settle(weft_comm *comm, weft_status status, const char *channel)
{
    if (status == WEFT_IN_PROGRESS) status = comm->job->movers->table->look(comm->joined);
    if (status == WEFT_IN_PROGRESS) status = wait_for(comm, comm->joined, comm->job->device_record);
    return status < 0 ? fail(comm, channel) : WEFT_OK;
}

// ---- joining and leaving --------------------------------------------------------------------------------------------

// What NCCL says while it joins is a way that is not there, and no loss.
static weft_status unsupported(weft_status status)
{
    char text[WEFT_ERROR_TEXT_MAX];
    if (status != WEFT_LOST) return status;
    snprintf(text, sizeof text, "%s", weft_error_text());
    return weft_fail(WEFT_UNSUPPORTED, "%s", text);
}

static weft_status join(weft_comm *comm, const unsigned char *id)
{
    const wi_mover *table = comm->job->movers->table;
    uint64_t name[WI_RECORD_NAME / 8] = {0};
    wi_mover_group *group = NULL;
    snprintf((char *)name, sizeof name, "%.15s/nccl", comm->name);
    const uint32_t record = wi_record_open(comm->job, name, WEFT_ALLGATHER, 0);
    weft_status status = table->join(id, comm->rank, comm->size, comm->name, &group);
    if (status >= 0) status = wait_for(comm, group, record);
    if (status < 0 && group) table->abort(group);
    if (status < 0) return unsupported(status);
    comm->joined = group;
    comm->joined_before = comm->job->movers->newest;
    comm->job->movers->newest = comm;
    return WEFT_OK;
}

weft_status wi_mover_join(weft_comm *comm, const weft_device *device)
{
    unsigned char id[WI_MOVER_ID_BYTES] = {0};
    char version[32];
    if (comm->joined) return WEFT_OK;
    WEFT_TRY(weft_comm_agree(comm, open_movers(comm->job, device), NULL));
    const wi_mover *table = comm->job->movers->table;
    snprintf(version, sizeof version, "NCCL's version %d", table->version());
    WEFT_TRY(weft_comm_compare(comm, "libraries", version));
    WEFT_TRY(weft_comm_agree(comm, comm->rank == 0 ? unsupported(table->make_id(id)) : WEFT_OK, NULL));
    WEFT_TRY(weft_comm_bcast(comm, 0, id, sizeof id));
    const weft_status status = weft_comm_agree(comm, join(comm, id), NULL);
    if (status < 0) wi_mover_leave(comm);
    return status;
}

void wi_mover_leave(weft_comm *comm)
{
    wi_mover_group *group = comm->joined;
    if (!group) return;
    const wi_mover *table = comm->job->movers->table;
    weft_comm **at = &comm->job->movers->newest;
    while (*at != comm) at = &(*at)->joined_before;
    *at = comm->joined_before;
    comm->joined = NULL;
    weft_status status = wi_load(&comm->job->board->cancel) ? WEFT_LOST : table->finish(group);
    if (status == WEFT_IN_PROGRESS) status = poll_group(comm, group, LEAVE_S);
    if (status == WEFT_OK)
        table->destroy(group);
    else
        table->abort(group);
}

void wi_mover_fini(weft_job *job)
{
    free(job->movers);
    job->movers = NULL;
}
