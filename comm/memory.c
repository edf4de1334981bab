// Memory that the ranks of one host share. Between processes it is an anonymous file (memfd) that the leader makes and
// the others open through /proc: it has no name that could be left behind, and /dev/shm may be as small as it likes.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "comm/comm_impl.h"
#include "core/checked.h"
#include "core/flags.h"

enum { PAGE = 4096 };

typedef struct {
    int32_t status;
    int32_t pid, fd;
    uint64_t base; // ranks that are threads share the mapping itself
} offer;

static weft_status map_failed(size_t bytes)
{
    char text[16];
    return weft_fail(WEFT_NO_MEMORY, "cannot map %s of shared memory: %s", weft_format_bytes((int64_t)bytes, text),
                     strerror(errno));
}

static void *map_shared(int fd, size_t bytes)
{
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) return NULL;
    madvise(base, bytes, MADV_HUGEPAGE); // taken where the kernel allows it for shared memory
    return base;
}

// The leader's part. *fd is -1 when the others need none. Ranks of one process count who still uses the one mapping.
static weft_status make(wi_memory_kind kind, bool counted, int users, wi_memory *out, int *fd)
{
    size_t bytes = out->bytes;
    void *base;
    *fd = -1;
    if (kind == WI_MEMORY_SHM) {
        *fd = memfd_create("weft", MFD_CLOEXEC);
        if (*fd < 0 || ftruncate(*fd, (off_t)bytes) < 0) return map_failed(bytes);
        base = map_shared(*fd, bytes);
    } else {
        base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED) base = NULL;
    }
    if (!base) return map_failed(bytes);
    out->base = base;
    if (counted) {
        out->users = (uint32_t *)(out->base + bytes - WI_LINE);
        *out->users = (uint32_t)users;
    }
    return WEFT_OK;
}

static weft_status join(const offer *from, int world_rank, wi_memory *out)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", from->pid, from->fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return weft_fail(WEFT_FAILED,
                         "cannot share memory with rank %d (process %d): %s: %s; the ranks of one host must run as one "
                         "user in one process namespace, or take --transport mpi",
                         world_rank, from->pid, path, strerror(errno));
    out->base = map_shared(fd, out->bytes);
    int reason = errno;
    close(fd);
    errno = reason;
    return out->base ? WEFT_OK : map_failed(out->bytes);
}

weft_status wi_memory_share(weft_comm *talk, int group_leader, int group_size, size_t bytes, wi_memory *out)
{
    weft_job *job = talk->job;
    wi_memory_kind kind = job->memory;
    bool leads = group_leader == talk->rank && bytes > 0;
    wi_memory memory = {0};
    offer mine = {.pid = (int32_t)getpid(), .fd = -1}, *all = NULL;
    weft_status status = WEFT_OK;
    if (group_size == 1 && kind == WI_MEMORY_SHM && !job->threads) kind = WI_MEMORY_PRIVATE;
    if (!weft_size_add(bytes, PAGE + WI_LINE, &memory.bytes)) status = weft_fail(WEFT_OVERFLOW, "%zu bytes", bytes);
    memory.bytes &= ~(size_t)(PAGE - 1);
    if (leads && status == WEFT_OK) {
        status = make(kind, job->threads, group_size, &memory, &mine.fd);
        mine.base = (uint64_t)(uintptr_t)memory.base;
    }
    mine.status = status;
    all = calloc((size_t)talk->size, sizeof *all);
    // Without this little memory no word can be had with the others: they will find this rank missing.
    if (!all) return weft_fail(WEFT_NO_MEMORY, "no memory to share memory");
    WEFT_TRY_GOTO(weft_comm_allgather(talk, &mine, sizeof mine, all));
    if (bytes > 0 && !leads && all[group_leader].status == WEFT_OK) {
        if (job->threads) {
            memory.base = (unsigned char *)(uintptr_t)all[group_leader].base;
            memory.users = (uint32_t *)(memory.base + memory.bytes - WI_LINE);
        } else {
            mine.status = join(&all[group_leader], talk->world_rank[group_leader], &memory);
        }
    }
    status = weft_comm_agree(talk, mine.status, NULL);
fail:
    if (mine.fd >= 0) close(mine.fd);
    free(all);
    if (status < 0 || bytes == 0) {
        wi_memory_drop(&memory);
        return status;
    }
    *out = memory;
    return WEFT_OK;
}

weft_status wi_memory_touch(const wi_memory *memory, size_t begin, size_t bytes)
{
    size_t from = begin & ~(size_t)(PAGE - 1), to = (begin + bytes + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (to > memory->bytes) to = memory->bytes;
#ifdef MADV_POPULATE_WRITE
    if (madvise(memory->base + from, to - from, MADV_POPULATE_WRITE) == 0) return WEFT_OK;
    if (errno != EINVAL) {
        char text[16];
        return weft_fail(WEFT_NO_MEMORY, "no memory for %s of shared memory: %s",
                         weft_format_bytes((int64_t)(to - from), text), strerror(errno));
    }
#endif
    return WEFT_OK; // an older kernel: pages come when they are used
}

void wi_memory_see(const wi_memory *memory)
{
#ifdef MADV_POPULATE_READ
    madvise(memory->base, memory->bytes, MADV_POPULATE_READ); // a matter of speed only
#endif
}

void wi_memory_drop(wi_memory *memory)
{
    if (memory->base && (!memory->users || __atomic_sub_fetch(memory->users, 1, __ATOMIC_ACQ_REL) == 0))
        munmap(memory->base, memory->bytes);
    *memory = (wi_memory){0};
}
