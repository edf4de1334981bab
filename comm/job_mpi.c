// A job that mpirun or srun started: MPI brings the ranks together, and the ranks of each host then share a board.
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "comm/comm_impl.h"
#include "core/plugin.h"

// What each rank tells all others at start. Ranks share memory when they have one kernel, one process namespace and one
// host name; the last so that hosts that are only simulated stay apart.
typedef struct {
    char host[WI_HOST_MAX];
    char boot[40];
    uint64_t pid_namespace;
    int32_t pid, board_fd;
    int32_t status;
    uint64_t way; // a hash of the options that decide how ranks talk
    cpu_set_t cpus;
} introduction;

static uint64_t hash_way(const weft_job_options *options)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ (uint64_t)options->transport; // FNV-1a
    for (const char *c = options->algorithms ? options->algorithms : ""; *c; c++)
        hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    return hash;
}

// Ranks that were told different ways could not even tell each other so. They meet on the ordinary one; the caller then
// compares flags (weft_comm_compare) and names the difference.
static weft_job_options common_way(const weft_job_options *options, const introduction *all, int size)
{
    weft_job_options common = *options;
    for (int i = 1; i < size; i++)
        if (all[i].way != all[0].way) common.transport = WEFT_TRANSPORT_AUTO, common.algorithms = NULL;
    return common;
}

static void introduce(introduction *mine)
{
    struct stat info;
    *mine = (introduction){.pid = (int32_t)getpid(), .board_fd = -1};
    gethostname(mine->host, sizeof mine->host - 1);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, mine->boot, sizeof mine->boot - 1) < 0) mine->boot[0] = 0;
        close(fd);
    }
    if (stat("/proc/self/ns/pid", &info) == 0) mine->pid_namespace = (uint64_t)info.st_ino;
    sched_getaffinity(0, sizeof mine->cpus, &mine->cpus);
}

static bool same_node(const introduction *a, const introduction *b)
{
    return strcmp(a->host, b->host) == 0 && strcmp(a->boot, b->boot) == 0 && a->pid_namespace == b->pid_namespace;
}

// Numbers the hosts in the order of their lowest ranks. Returns how many ranks this host has, and its first.
static int find_places(weft_job *job, const introduction *all, int *leader, int *cpus)
{
    int here = 0, nodes = 0;
    cpu_set_t together;
    CPU_ZERO(&together);
    for (int i = 0; i < job->size; i++) {
        int first = 0;
        while (!same_node(&all[first], &all[i])) first++;
        wi_place *place = &job->place[i];
        memcpy(place->host, all[i].host, sizeof place->host);
        place->node = first == i ? nodes++ : job->place[first].node;
        place->seat = 0;
        for (int j = first; j < i; j++) place->seat += job->place[j].node == place->node;
    }
    for (int i = job->size - 1; i >= 0; i--) {
        if (job->place[i].node != job->place[job->rank].node) continue;
        CPU_OR(&together, &together, &all[i].cpus);
        *leader = i;
        here++;
    }
    *cpus = CPU_COUNT(&together);
    return here;
}

static weft_status map_board(weft_job *job, int fd, size_t bytes)
{
    void *board = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (board == MAP_FAILED) return weft_fail(WEFT_NO_MEMORY, "cannot map the ranks' board: %s", strerror(errno));
    job->board = board;
    job->board_bytes = bytes;
    job->owns_board = true;
    return WEFT_OK;
}

static weft_status make_board(weft_job *job, introduction *mine, int seats, size_t bytes)
{
    mine->board_fd = memfd_create("weft-board", MFD_CLOEXEC);
    if (mine->board_fd < 0 || ftruncate(mine->board_fd, (off_t)bytes) < 0)
        return weft_fail(WEFT_NO_MEMORY, "cannot make the ranks' board: %s", strerror(errno));
    WEFT_TRY(map_board(job, mine->board_fd, bytes));
    wi_board_init(job->board, seats);
    return WEFT_OK;
}

static weft_status join_board(weft_job *job, const introduction *leader, size_t bytes)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", leader->pid, leader->board_fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return weft_fail(WEFT_FAILED, "cannot open the board of this host's ranks, %s: %s; they must run as one user",
                         path, strerror(errno));
    weft_status status = map_board(job, fd, bytes);
    close(fd);
    return status;
}

// Before there is a world to agree in: the lowest rank's failure becomes everybody's.
static weft_status agree_early(weft_job *job, weft_status status, introduction *mine, introduction *all)
{
    mine->status = status;
    WEFT_TRY(job->boot->allgather(mine, sizeof *mine, all));
    for (int i = 0; i < job->size; i++)
        if (all[i].status < 0)
            return i == job->rank ? status : weft_fail((weft_status)all[i].status, "rank %d could not start", i);
    return WEFT_OK;
}

static weft_status share_board(weft_job *job, introduction *mine, introduction *all, int *cpus)
{
    int leader = 0, seats = find_places(job, all, &leader, cpus);
    size_t bytes = wi_board_bytes(seats, seats == job->size ? wi_comm_bytes(job->size) : 0);
    weft_status status = WEFT_OK;
    if (leader == job->rank) status = make_board(job, mine, seats, bytes);
    status = agree_early(job, status, mine, all);
    if (status == WEFT_OK) {
        if (leader != job->rank) status = join_board(job, &all[leader], bytes);
        status = agree_early(job, status, mine, all); // after it the leader may close its file
    }
    if (mine->board_fd >= 0) close(mine->board_fd);
    return status;
}

// Messages by UCX, where it is asked for: all ranks can, or none does.
static weft_status open_ucx(weft_job *job, const weft_job_options *options, introduction *mine, introduction *all)
{
    const weft_plugin *plugin;
    if (options->transport != WEFT_TRANSPORT_UCX) return WEFT_OK;
    weft_status status = agree_early(job, weft_plugin_open("ucx", &plugin), mine, all);
    if (status == WEFT_OK) {
        const wi_p2p *table = plugin->table;
        status = table->open(job->boot, &job->rank, &job->size);
        if (status == WEFT_OK) job->p2p = table;
    }
    return status == WEFT_OK ? WEFT_OK : weft_fail(status, "--transport ucx: %s", weft_error_text());
}

weft_status weft_job_open_mpi(const weft_job_options *options, weft_job **out)
{
    const weft_plugin *plugin;
    introduction mine, *all = NULL;
    int cpus = 1;
    weft_status status;
    wi_block_signals(); // before MPI makes threads of its own
    WEFT_TRY(weft_plugin_open("mpi", &plugin));
    weft_job *job = calloc(1, sizeof *job);
    if (!job) return weft_fail(WEFT_NO_MEMORY, "no memory for a job");
    job->boot = job->p2p = plugin->table;
    job->memory = WI_MEMORY_SHM;
    WEFT_TRY_GOTO(job->boot->open(NULL, &job->rank, &job->size));
    job->place = calloc((size_t)job->size, sizeof *job->place);
    all = calloc((size_t)job->size, sizeof *all);
    if (!job->place || !all) {
        status = weft_fail(WEFT_NO_MEMORY, "no memory for a job of %d ranks", job->size);
        goto fail;
    }
    introduce(&mine);
    mine.way = hash_way(options);
    WEFT_TRY_GOTO(job->boot->allgather(&mine, sizeof mine, all));
    WEFT_TRY_GOTO(share_board(job, &mine, all, &cpus));
    weft_job_options common = common_way(options, all, job->size);
    WEFT_TRY_GOTO(open_ucx(job, &common, &mine, all));
    WEFT_TRY_GOTO(wi_job_init(job, &common, cpus));
    WEFT_TRY_GOTO(weft_comm_barrier(job->world)); // all seats are taken
    WEFT_TRY_GOTO(wi_watchdog_start(job, &job->watchdog));
    free(all);
    *out = job;
    return WEFT_OK;
fail:
    free(all);
    wi_job_fini(job);
    free(job);
    return status;
}
