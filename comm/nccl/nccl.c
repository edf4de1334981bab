// The table of a mover over NCCL: the plug-in libweft_nccl.so. It is compiled with NCCL's header and linked with
// nothing: libnccl.so.2 is opened when it is wanted, or the file that WEFT_NCCL_LIBRARY names.
//
// Communicators are non-blocking, so that a wait for a peer can end: what NCCL has begun is looked at, never waited for
// inside of it, and can be aborted.
#include <dlfcn.h>
#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/mover.h"
#include "core/build.h"
#include "core/plugin.h"

enum { OLDEST = NCCL_VERSION(2, 20, 0) };

#define NCCL_CALL_LIST(X)                                                                                              \
    X(ncclGetVersion)                                                                                                  \
    X(ncclGetErrorString)                                                                                              \
    X(ncclGetLastError)                                                                                                \
    X(ncclGetUniqueId)                                                                                                 \
    X(ncclCommInitRankConfig)                                                                                          \
    X(ncclCommGetAsyncError)                                                                                           \
    X(ncclCommFinalize)                                                                                                \
    X(ncclCommDestroy)                                                                                                 \
    X(ncclCommAbort)                                                                                                   \
    X(ncclGroupStart)                                                                                                  \
    X(ncclGroupEnd)                                                                                                    \
    X(ncclAllGather)                                                                                                   \
    X(ncclSend)                                                                                                        \
    X(ncclRecv)

// Written by open; process-wide, as the library is.
static struct {
    void *library;
    int version;
    const char *kind;
    char text[32];
#define NCCL_FIELD(name) __typeof__(name) *name;
    NCCL_CALL_LIST(NCCL_FIELD)
    NCCL_FIELD(ncclAlltoAll) // NULL where it is missing
#undef NCCL_FIELD
} nccl;

static const struct {
    const char *name;
    void *function;
} calls[] = {
#define NCCL_PLACE(name) {#name, &nccl.name},
    NCCL_CALL_LIST(NCCL_PLACE)
#undef NCCL_PLACE
};

// ---- the library ----------------------------------------------------------------------------------------------------

// A function's address by name; ISO C has no cast from what dlsym returns.
static bool find(void *library, const char *name, void *function)
{
    void *address = dlsym(library, name);
    memcpy(function, &address, sizeof address);
    return address != NULL;
}

static weft_status open_library(const char *file)
{
    const char *missing = NULL;
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *text = dlerror();
        return weft_fail(WEFT_NOT_FOUND,
                         "NCCL cannot be loaded: %s; install it where the loader looks, or name its file by "
                         "WEFT_NCCL_LIBRARY",
                         text ? text : file);
    }
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (!find(library, calls[i].name, calls[i].function) && !missing) missing = calls[i].name;
    find(library, "ncclAlltoAll", (void *)&nccl.ncclAlltoAll);
    if (nccl.ncclGetVersion && nccl.ncclGetVersion(&nccl.version) == ncclSuccess) {
        const int base = nccl.version < 10000 ? 1000 : 10000; // 2804 is 2.8.4, 22809 is 2.28.9
        snprintf(nccl.text, sizeof nccl.text, "NCCL %d.%d.%d", nccl.version / base, nccl.version % base / 100,
                 nccl.version % 100);
    }
    if (nccl.version < OLDEST || missing) {
        const weft_status status =
            nccl.version < OLDEST
                ? weft_fail(WEFT_UNSUPPORTED, "%s is %s, and weft needs 2.20 or later; install a newer one", file,
                            nccl.text[0] ? nccl.text : "no NCCL")
                : weft_fail(WEFT_UNSUPPORTED, "%s (%s) has no %s; install NCCL anew", file, nccl.text, missing);
        dlclose(library);
        return status;
    }
    // The one that the tests have for their device says so.
    nccl.kind = dlsym(library, "weft_emulated_nccl") ? "emulated" : "cuda";
    nccl.library = library;
    return WEFT_OK;
}

static weft_status nccl_open(void)
{
    const char *file = getenv("WEFT_NCCL_LIBRARY");
    return nccl.library ? WEFT_OK : open_library(file && *file ? file : "libnccl.so.2");
}

static int nccl_version(void) { return nccl.version; }
static const char *nccl_describe(void) { return nccl.text; }
static const char *nccl_kind(void) { return nccl.kind; }
static bool nccl_deals(void) { return nccl.ncclAlltoAll && nccl.version >= NCCL_VERSION(2, 28, 0); }

// ---- groups ---------------------------------------------------------------------------------------------------------

static ncclComm_t comm_of(wi_mover_group *group) { return (ncclComm_t)(void *)group; }

static weft_status told(ncclResult_t result, wi_mover_group *group, const char *call)
{
    if (result == ncclSuccess) return WEFT_OK;
    if (result == ncclInProgress) return WEFT_IN_PROGRESS;
    const char *more = group ? nccl.ncclGetLastError(comm_of(group)) : NULL;
    const bool says = more && more[0];
    return weft_fail(WEFT_LOST, "%s: %s: %s%s%s", nccl.text, call, nccl.ncclGetErrorString(result),
                     says ? ": " : "; NCCL_DEBUG=WARN tells more", says ? more : "");
}

static weft_status nccl_make_id(unsigned char id[WI_MOVER_ID_BYTES])
{
    ncclUniqueId own;
    _Static_assert(sizeof own == WI_MOVER_ID_BYTES, "an id of NCCL's");
    WEFT_TRY(told(nccl.ncclGetUniqueId(&own), NULL, "ncclGetUniqueId"));
    memcpy(id, &own, sizeof own);
    return WEFT_OK;
}

static weft_status nccl_join(const unsigned char id[WI_MOVER_ID_BYTES], int rank, int size, const char *name,
                             wi_mover_group **out)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId whose;
    ncclComm_t comm = NULL;
    memcpy(&whose, id, sizeof whose);
    config.blocking = 0;
    config.commName = name;
    const weft_status status =
        told(nccl.ncclCommInitRankConfig(&comm, size, whose, rank, &config), NULL, "ncclCommInitRankConfig");
    if (status < 0) return status;
    *out = (wi_mover_group *)(void *)comm;
    return status;
}

static weft_status nccl_look(wi_mover_group *group)
{
    ncclResult_t state = ncclSuccess;
    const weft_status status = told(nccl.ncclCommGetAsyncError(comm_of(group), &state), group, "ncclCommGetAsyncError");
    return status < 0 ? status : told(state, group, "an operation");
}

static weft_status nccl_finish(wi_mover_group *group)
{
    return told(nccl.ncclCommFinalize(comm_of(group)), group, "ncclCommFinalize");
}

static void nccl_destroy(wi_mover_group *group) { nccl.ncclCommDestroy(comm_of(group)); }
static void nccl_abort(wi_mover_group *group) { nccl.ncclCommAbort(comm_of(group)); }

// ---- bytes ----------------------------------------------------------------------------------------------------------

static weft_status nccl_gather(wi_mover_group *group, const void *given, void *taken, size_t bytes, void *stream)
{
    return told(nccl.ncclAllGather(given, taken, bytes, ncclUint8, comm_of(group), stream), group, "ncclAllGather");
}

static weft_status nccl_deal(wi_mover_group *group, const void *given, void *taken, size_t bytes, void *stream)
{
    return told(nccl.ncclAlltoAll(given, taken, bytes, ncclUint8, comm_of(group), stream), group, "ncclAlltoAll");
}

// One group: sends and receives that wait for each other go on together. It is ended whatever happened in it.
static weft_status nccl_exchange(wi_mover_group *group, const wi_move *moves, int count, void *stream)
{
    ncclComm_t comm = comm_of(group);
    ncclResult_t result = nccl.ncclGroupStart();
    const char *call = "ncclGroupStart";
    if (result != ncclSuccess) return told(result, group, call);
    for (int i = 0; i < count && (result == ncclSuccess || result == ncclInProgress); i++) {
        const wi_move *move = &moves[i];
        call = "ncclSend";
        if (move->gives) result = nccl.ncclSend(move->given, move->gives, ncclUint8, move->to, comm, stream);
        if (result != ncclSuccess && result != ncclInProgress) break;
        call = "ncclRecv";
        if (move->takes) result = nccl.ncclRecv(move->taken, move->takes, ncclUint8, move->from, comm, stream);
    }
    const ncclResult_t ended = nccl.ncclGroupEnd();
    if (result != ncclSuccess && result != ncclInProgress) return told(result, group, call);
    return told(ended, group, "ncclGroupEnd");
}

static const wi_mover nccl_table = {
    .name = "nccl",
    .open = nccl_open,
    .version = nccl_version,
    .describe = nccl_describe,
    .kind = nccl_kind,
    .deals = nccl_deals,
    .make_id = nccl_make_id,
    .join = nccl_join,
    .look = nccl_look,
    .gather = nccl_gather,
    .deal = nccl_deal,
    .exchange = nccl_exchange,
    .finish = nccl_finish,
    .destroy = nccl_destroy,
    .abort = nccl_abort,
};

extern const weft_plugin weft_plugin_nccl;
const weft_plugin weft_plugin_nccl = {"nccl", WEFT_BUILD_ID, &nccl_table};
