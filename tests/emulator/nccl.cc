// NCCL on the host, for tests: its calls by their own names, for the streams of the emulated device. WEFT_NCCL_LIBRARY
// names the plug-in that holds it. Bytes pass between processes by memory that the unique id names; what is asked for
// is work of a stream, as everything that a device does.
//
// What the real one requires is looked at: non-blocking communicators are not touched before they are there, ranks ask
// for the same in the same order, two ranks of one device need host ids of their own, nobody is inside at an abort, and
// a communicator does not end before the graphs that it is in.
//
// EMULATED_NCCL: version:N, error:N@R (collective N of rank R fails), hang:N@R (it never ends; 0: the rank never
// joins).
#include <atomic>
#include <errno.h>
#include <fcntl.h>
#include <memory>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <nccl.h>

#include "tests/emulator/run.h"

#define EMU_SEEN extern "C" __attribute__((visibility("default")))

EMU_SEEN const int weft_emulated_nccl;
const int weft_emulated_nccl = 1;

enum { RANKS_MAX = 64, HOST_MAX = 32 };
static const size_t PIECE = 16384;

// What one rank gives to another, in pieces.
struct emu_wire {
    std::atomic<uint64_t> written, read; // pieces
    uint64_t what, bytes;                // of the message that begins with a piece
    unsigned char data[PIECE];
};

struct emu_board {
    std::atomic<uint32_t> joined, left;
    std::atomic<uint32_t> duplicate;
    struct {
        std::atomic<uint32_t> here;
        char host[HOST_MAX];
    } rank[RANKS_MAX];
    emu_wire wire[]; // [ranks][ranks] from, to
};

struct emu_id {
    uint64_t mark;
    int pid, file;
};
static_assert(sizeof(emu_id) <= sizeof(ncclUniqueId), "an id");
static const uint64_t ID_MARK = 0x6469636c636e;

struct emu_part { // of what one collective asks for
    const unsigned char *from;
    unsigned char *to;
    size_t bytes, done;
    int peer;
};

// What is asked for at once; copied for each time that it is done.
struct emu_asked {
    const char *what;
    uint64_t number; // on its communicator, from 1
    bool begun;
    std::vector<emu_part> sends, recvs;
};

struct ncclComm {
    emu_board *board;
    int rank, ranks, polls; // polls: looks until what was begun is there
    bool joining, finishing;
    std::shared_ptr<int> users; // works, in streams and graphs
    std::atomic<bool> aborted, failed;
    std::atomic<int> inside;
    uint64_t collectives;
    std::vector<std::pair<cudaStream_t, emu_asked>> given; // not yet the streams'
    emu_asked group;
    cudaStream_t group_stream;
};

static thread_local std::vector<ncclComm_t> grouped;
static thread_local int group_depth;

[[noreturn]] static void broken(const ncclComm *comm, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    emu_die(nullptr, 0, "NCCL, rank %d of %d: %s", comm ? comm->rank : -1, comm ? comm->ranks : 0, text);
}

static bool planted(const char *what, uint64_t number, int rank)
{
    const char *text = getenv("EMULATED_NCCL");
    const size_t length = strlen(what);
    unsigned long at, whose;
    if (!text || strncmp(text, what, length) != 0) return false;
    return sscanf(text + length, ":%lu@%lu", &at, &whose) == 2 && at == number && (int)whose == rank;
}

// ---- what passes ----------------------------------------------------------------------------------------------------

static emu_wire *wire_of(const ncclComm *comm, int from, int to) { return &comm->board->wire[from * comm->ranks + to]; }

static bool send_some(const ncclComm *comm, const emu_asked *asked, emu_part *part)
{
    emu_wire *wire = wire_of(comm, comm->rank, part->peer);
    if (part->done == part->bytes || wire->written != wire->read) return false;
    const size_t left = part->bytes - part->done, piece = left < PIECE ? left : PIECE;
    // Both ranks' sends have names of their own, which the receiver compares with what it asked for.
    uint64_t what = 0;
    for (const char *c = asked->what; *c; c++) what = what * 31 + (unsigned char)*c;
    wire->what = what;
    wire->bytes = part->bytes;
    memcpy(wire->data, part->from + part->done, piece);
    part->done += piece;
    wire->written++;
    return true;
}

static bool take_some(const ncclComm *comm, const emu_asked *asked, emu_part *part)
{
    emu_wire *wire = wire_of(comm, part->peer, comm->rank);
    if (part->done == part->bytes || wire->written == wire->read) return false;
    const size_t left = part->bytes - part->done, piece = left < PIECE ? left : PIECE;
    uint64_t what = 0;
    for (const char *c = asked->what; *c; c++) what = what * 31 + (unsigned char)*c;
    if (wire->what != what) broken(comm, "rank %d is not in %s as this one", part->peer, asked->what);
    if (wire->bytes != part->bytes)
        broken(comm, "%s: rank %d gives %zu bytes and %zu are expected", asked->what, part->peer, (size_t)wire->bytes,
               part->bytes);
    memcpy(part->to + part->done, wire->data, piece);
    part->done += piece;
    wire->read++;
    return true;
}

static bool all_done(const emu_asked *asked)
{
    for (const emu_part &part : asked->sends)
        if (part.done != part.bytes) return false;
    for (const emu_part &part : asked->recvs)
        if (part.done != part.bytes) return false;
    return true;
}

static void work_on(ncclComm_t comm, emu_asked *asked)
{
    if (comm->aborted) return;
    if (!asked->begun) {
        asked->begun = true;
        asked->number = ++comm->collectives;
    }
    if (planted("error", asked->number, comm->rank)) comm->failed = true;
    if (comm->failed || planted("hang", asked->number, comm->rank)) {
        emu_again();
        return;
    }
    for (bool moves = true; moves;) {
        moves = false;
        for (emu_part &part : asked->sends) moves = send_some(comm, asked, &part) || moves;
        for (emu_part &part : asked->recvs) moves = take_some(comm, asked, &part) || moves;
    }
    if (!all_done(asked)) emu_again();
}

static void give(ncclComm_t comm)
{
    for (auto &one : comm->given) {
        emu_asked asked = one.second;
        emu_give(one.first, [comm, asked, user = comm->users]() mutable { work_on(comm, &asked); });
    }
    comm->given.clear();
}

static uint32_t chance_below(uint32_t n)
{
    static uint64_t state = (uint64_t)getpid() * 0x9e3779b97f4a7c15ull + 5;
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)((state >> 33) * n >> 31);
}

// What was asked for is the stream's now, or after some looks.
static ncclResult_t begin(ncclComm_t comm, cudaStream_t stream, emu_asked asked)
{
    if (comm->joining || comm->polls > 0) broken(comm, "%s while the communicator is in progress", asked.what);
    if (comm->finishing || comm->aborted) broken(comm, "%s after the communicator's end", asked.what);
    comm->given.emplace_back(stream, std::move(asked));
    comm->polls = (int)chance_below(3);
    if (comm->polls > 0) return ncclInProgress;
    give(comm);
    return ncclSuccess;
}

struct emu_visit {
    ncclComm_t comm;
    explicit emu_visit(ncclComm_t of) : comm(of) { comm->inside++; }
    ~emu_visit() { comm->inside--; }
};

// ---- communicators --------------------------------------------------------------------------------------------------

EMU_SEEN ncclResult_t ncclGetVersion(int *version)
{
    const char *text = getenv("EMULATED_NCCL");
    if (!text || sscanf(text, "version:%d", version) != 1) *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

EMU_SEEN const char *ncclGetErrorString(ncclResult_t result)
{
    return result == ncclRemoteError    ? "remote process exited or there was a network error"
           : result == ncclInvalidUsage ? "invalid usage"
                                        : "an error of NCCL's";
}

EMU_SEEN const char *ncclGetLastError(ncclComm_t comm)
{
    return comm->board->duplicate ? "Duplicate GPU detected" : comm->failed ? "planted by the test" : "";
}

EMU_SEEN ncclResult_t ncclGetUniqueId(ncclUniqueId *out)
{
    const int file = memfd_create("nccl", MFD_CLOEXEC);
    const size_t bytes = sizeof(emu_board) + sizeof(emu_wire) * RANKS_MAX * RANKS_MAX; // pages come when touched
    const emu_id id = {ID_MARK, getpid(), file};
    if (file < 0 || ftruncate(file, (off_t)bytes) != 0) return ncclSystemError;
    memset(out, 0, sizeof *out);
    memcpy(out, &id, sizeof id);
    return ncclSuccess;
}

static emu_board *board_of(const ncclUniqueId *from, int ranks)
{
    emu_id id;
    char path[64];
    memcpy(&id, from, sizeof id);
    if (id.mark != ID_MARK) return nullptr;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", id.pid, id.file);
    const int file = open(path, O_RDWR | O_CLOEXEC);
    const size_t bytes = sizeof(emu_board) + sizeof(emu_wire) * (size_t)ranks * (size_t)ranks;
    void *map = file < 0 ? MAP_FAILED : mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file >= 0) close(file);
    return map == MAP_FAILED ? nullptr : (emu_board *)map;
}

EMU_SEEN ncclResult_t ncclCommInitRankConfig(ncclComm_t *out, int ranks, ncclUniqueId id, int rank,
                                             ncclConfig_t *config)
{
    const char *host = getenv("NCCL_HOSTID");
    if (config->blocking != 0) broken(nullptr, "a blocking communicator cannot be aborted");
    if (ranks < 1 || ranks > RANKS_MAX || rank < 0 || rank >= ranks) return ncclInvalidArgument;
    emu_work_aside();
    ncclComm_t comm = new ncclComm();
    comm->board = board_of(&id, ranks);
    if (!comm->board) return ncclSystemError;
    comm->rank = rank;
    comm->ranks = ranks;
    comm->joining = true;
    comm->users = std::make_shared<int>(0);
    comm->polls = 3;
    snprintf(comm->board->rank[rank].host, HOST_MAX, "%s", host ? host : "");
    comm->board->rank[rank].here = 1;
    if (!planted("hang", 0, rank)) comm->board->joined++;
    *out = comm;
    return ncclInProgress;
}

// All have the same device, and so must call themselves different hosts.
static void look_for_duplicates(ncclComm_t comm)
{
    for (int i = 0; i < comm->ranks; i++)
        for (int j = 0; j < i; j++)
            if (strcmp(comm->board->rank[i].host, comm->board->rank[j].host) == 0) comm->board->duplicate = 1;
}

static bool still(ncclComm_t comm)
{
    if (comm->joining && (int)comm->board->joined < comm->ranks) return true;
    if (comm->finishing && ((int)comm->board->left < comm->ranks || comm->users.use_count() > 1)) return true;
    if (comm->joining) look_for_duplicates(comm);
    return comm->polls > 0 && --comm->polls > 0;
}

EMU_SEEN ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *out)
{
    EMU_ONE_AT_A_TIME;
    emu_visit visit(comm);
    *out = ncclSuccess;
    if (still(comm)) {
        *out = ncclInProgress;
        emu_breathe();
    } else {
        comm->joining = false;
        give(comm);
    }
    if (comm->board->duplicate) *out = ncclInvalidUsage;
    if (comm->failed) *out = ncclRemoteError;
    return ncclSuccess;
}

EMU_SEEN ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    EMU_ONE_AT_A_TIME;
    emu_visit visit(comm);
    if (comm->joining || comm->polls > 0) broken(comm, "ncclCommFinalize while the communicator is in progress");
    comm->finishing = true;
    comm->polls = 2;
    comm->board->left++;
    return ncclInProgress;
}

// Work that is in streams still has the communicator: it is left where it is.
static void let_go(ncclComm_t comm)
{
    if (comm->inside != 0) broken(comm, "somebody is inside the communicator at its end");
    comm->aborted = true;
}

EMU_SEEN ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    EMU_ONE_AT_A_TIME;
    if (!comm->finishing || comm->polls > 0) broken(comm, "ncclCommDestroy before the communicator is quiet");
    let_go(comm);
    return ncclSuccess;
}

EMU_SEEN ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    EMU_ONE_AT_A_TIME;
    if (comm->finishing && !comm->failed)
        broken(comm, "its end does not come: %ld works, as those of graphs, have it", comm->users.use_count() - 1);
    let_go(comm);
    if (getenv("EMULATED_NCCL")) fprintf(stderr, "emulated NCCL: rank %d has aborted\n", comm->rank);
    return ncclSuccess;
}

// ---- collectives ----------------------------------------------------------------------------------------------------

static void check_memory(const ncclComm *comm, const char *what, const void *at, size_t bytes)
{
    if (bytes && !emu_device_reaches(at, bytes))
        broken(comm, "%s: %zu bytes at %p are not the device's", what, bytes, at);
}

static ncclResult_t each_with_each(ncclComm_t comm, const char *what, const void *from, size_t step, void *to,
                                   size_t bytes, cudaStream_t stream)
{
    emu_asked asked = {what, 0, false, {}, {}};
    if (group_depth) broken(comm, "%s inside of a group", what);
    check_memory(comm, what, from, step ? bytes * (size_t)comm->ranks : bytes);
    check_memory(comm, what, to, bytes * (size_t)comm->ranks);
    for (int i = 0; i < comm->ranks; i++) {
        asked.sends.push_back({(const unsigned char *)from + (size_t)i * step, nullptr, bytes, 0, i});
        asked.recvs.push_back({nullptr, (unsigned char *)to + (size_t)i * bytes, bytes, 0, i});
    }
    return begin(comm, stream, std::move(asked));
}

EMU_SEEN ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t comm,
                                    cudaStream_t stream)
{
    EMU_ONE_AT_A_TIME;
    emu_visit visit(comm);
    if (type != ncclUint8) return ncclInvalidArgument;
    return each_with_each(comm, "ncclAllGather", from, 0, to, count, stream);
}

EMU_SEEN ncclResult_t ncclAlltoAll(const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t comm,
                                   cudaStream_t stream)
{
    EMU_ONE_AT_A_TIME;
    emu_visit visit(comm);
    if (type != ncclUint8) return ncclInvalidArgument;
    return each_with_each(comm, "ncclAlltoAll", from, count, to, count, stream);
}

EMU_SEEN ncclResult_t ncclGroupStart(void)
{
    group_depth++;
    return ncclSuccess;
}

static ncclResult_t add(ncclComm_t comm, const char *what, const void *from, void *to, size_t bytes,
                        ncclDataType_t type, int peer, cudaStream_t stream)
{
    EMU_ONE_AT_A_TIME;
    emu_visit visit(comm);
    if (group_depth == 0) broken(comm, "%s outside of a group: opposite ones would wait for each other", what);
    if (type != ncclUint8 || peer < 0 || peer >= comm->ranks) return ncclInvalidArgument;
    check_memory(comm, what, from ? from : to, bytes);
    if (grouped.empty() || grouped.back() != comm) {
        grouped.push_back(comm);
        comm->group = {"ncclSend", 0, false, {}, {}};
    }
    if (from) comm->group.sends.push_back({(const unsigned char *)from, nullptr, bytes, 0, peer});
    if (to) comm->group.recvs.push_back({nullptr, (unsigned char *)to, bytes, 0, peer});
    comm->group_stream = stream;
    return ncclSuccess;
}

EMU_SEEN ncclResult_t ncclSend(const void *from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                               cudaStream_t stream)
{
    return add(comm, "ncclSend", from, nullptr, count, type, peer, stream);
}

EMU_SEEN ncclResult_t ncclRecv(void *to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                               cudaStream_t stream)
{
    return add(comm, "ncclRecv", nullptr, to, count, type, peer, stream);
}

EMU_SEEN ncclResult_t ncclGroupEnd(void)
{
    EMU_ONE_AT_A_TIME;
    ncclResult_t result = ncclSuccess;
    if (group_depth == 0) return ncclInvalidUsage;
    if (--group_depth > 0) return ncclSuccess;
    for (ncclComm_t comm : grouped) {
        emu_visit visit(comm);
        const ncclResult_t one = begin(comm, comm->group_stream, std::move(comm->group));
        if (one != ncclSuccess) result = one;
    }
    grouped.clear();
    return result;
}
