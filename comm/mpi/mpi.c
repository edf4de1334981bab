// The point-to-point table over MPI. MPI is one per process, so its state here is too.
#include <limits.h>
#include <mpi.h>
#include <stdio.h>
#include <string.h>

#include "comm/p2p.h"
#include "core/build.h"
#include "core/plugin.h"

_Static_assert(sizeof(MPI_Request) <= sizeof(wi_request), "an MPI_Request must fit into a wi_request");
_Static_assert(sizeof(float) == 4, "allreduce_f32 sends MPI_FLOAT");

// Written by mpi_open; process-wide, as MPI itself is.
static struct {
    MPI_Comm comm; // a duplicate of the world, so that no message of anybody else's can be taken for ours
    int rank, size;
    char text[160];
} mpi = {.comm = MPI_COMM_NULL};

static wi_p2p mpi_table;

// `call` ends in "to" or "from" where there is a peer; -1: there is none.
static weft_status failed(int code, const char *call, int peer)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) snprintf(text, sizeof text, "error %d", code);
    if (peer < 0) return weft_fail(WEFT_LOST, "%s: %s", call, text);
    return weft_fail(WEFT_LOST, "%s rank %d: %s", call, peer, text);
}

static weft_status too_large(const char *call, size_t bytes)
{
    return weft_fail(WEFT_LIMIT, "%s of %zu bytes: MPI counts in int, so a message has at most %d bytes", call, bytes,
                     INT_MAX);
}

static const char *level_name(int level)
{
    switch (level) {
    case MPI_THREAD_SINGLE:
        return "single";
    case MPI_THREAD_FUNNELED:
        return "funneled";
    case MPI_THREAD_SERIALIZED:
        return "serialized";
    case MPI_THREAD_MULTIPLE:
        return "multiple";
    default:
        return "unknown";
    }
}

// "Open MPI v4.1.4 (MPI 3.1), thread level multiple": the library's own first line, up to a comma.
static void describe_library(int level)
{
    char library[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0, version = 0, subversion = 0;
    MPI_Get_library_version(library, &length);
    MPI_Get_version(&version, &subversion);
    library[strcspn(library, ",\n")] = 0;
    for (char *tab = library; (tab = strchr(tab, '\t'));) *tab = ' ';
    snprintf(mpi.text, sizeof mpi.text, "%.100s (MPI %d.%d), thread level %s", library, version, subversion,
             level_name(level));
}

static uint32_t bits_of(int largest)
{
    uint32_t bits = 0;
    while (bits < 31 && largest >> bits) bits++;
    return largest == INT_MAX || (1u << bits) - 1 == (uint32_t)largest ? bits : bits - 1;
}

static weft_status mpi_open(const wi_p2p *boot, int *rank, int *size)
{
    int level = MPI_THREAD_SINGLE, found = 0, code;
    int *largest = NULL;
    if ((code = MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &level)) != MPI_SUCCESS)
        return failed(code, "MPI_Init_thread", -1);
    describe_library(level);
    if (level < MPI_THREAD_SERIALIZED)
        return weft_fail(WEFT_UNSUPPORTED,
                         "%s: weft calls MPI from several threads; use an MPI built with thread level serialized or "
                         "multiple",
                         mpi.text);
    if ((code = MPI_Comm_dup(MPI_COMM_WORLD, &mpi.comm)) != MPI_SUCCESS) return failed(code, "MPI_Comm_dup", -1);
    if ((code = MPI_Comm_set_errhandler(mpi.comm, MPI_ERRORS_RETURN)) != MPI_SUCCESS)
        return failed(code, "MPI_Comm_set_errhandler", -1);
    if ((code = MPI_Comm_rank(mpi.comm, &mpi.rank)) != MPI_SUCCESS) return failed(code, "MPI_Comm_rank", -1);
    if ((code = MPI_Comm_size(mpi.comm, &mpi.size)) != MPI_SUCCESS) return failed(code, "MPI_Comm_size", -1);
    if ((code = MPI_Comm_get_attr(mpi.comm, MPI_TAG_UB, (void *)&largest, &found)) != MPI_SUCCESS)
        return failed(code, "MPI_Comm_get_attr", -1);
    mpi_table.tag_bits = bits_of(found ? *largest : 32767); // what the standard promises
    *rank = mpi.rank;
    *size = mpi.size;
    return WEFT_OK;
}

static weft_status mpi_allgather(const void *mine, size_t bytes, void *all)
{
    if (bytes > INT_MAX) return too_large("MPI_Allgather", bytes);
    int code = MPI_Allgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, mpi.comm);
    return code == MPI_SUCCESS ? WEFT_OK : failed(code, "MPI_Allgather", -1);
}

static weft_status mpi_send(int to, uint32_t tag, const void *data, size_t bytes, wi_request *out)
{
    MPI_Request request;
    if (bytes > INT_MAX) return too_large("MPI_Isend", bytes);
    int code = MPI_Isend(data, (int)bytes, MPI_BYTE, to, (int)tag, mpi.comm, &request);
    if (code != MPI_SUCCESS) return failed(code, "MPI_Isend to", to);
    memcpy(out, &request, sizeof request);
    return WEFT_OK;
}

static weft_status mpi_recv(int from, uint32_t tag, void *data, size_t capacity, wi_request *out)
{
    MPI_Request request;
    if (capacity > INT_MAX) return too_large("MPI_Irecv", capacity);
    int code = MPI_Irecv(data, (int)capacity, MPI_BYTE, from, (int)tag, mpi.comm, &request);
    if (code != MPI_SUCCESS) return failed(code, "MPI_Irecv from", from);
    memcpy(out, &request, sizeof request);
    return WEFT_OK;
}

static weft_status mpi_test(wi_request *request, bool *done, size_t *bytes)
{
    MPI_Request handle;
    MPI_Status status = {.MPI_SOURCE = -1};
    int flag = 0, count = 0;
    memcpy(&handle, request, sizeof handle);
    int code = MPI_Test(&handle, &flag, &status);
    if (code != MPI_SUCCESS)
        return bytes ? failed(code, "MPI_Test of a message from", status.MPI_SOURCE)
                     : failed(code, "MPI_Test of a message sent", -1);
    if (flag && bytes) {
        if ((code = MPI_Get_count(&status, MPI_BYTE, &count)) != MPI_SUCCESS) return failed(code, "MPI_Get_count", -1);
        *bytes = (size_t)count;
    }
    memcpy(request, &handle, sizeof handle);
    *done = flag;
    return WEFT_OK;
}

static weft_status mpi_probe(uint32_t tag, bool *found, int *from, size_t *bytes)
{
    MPI_Status status;
    int flag = 0, count = 0;
    int code = MPI_Iprobe(MPI_ANY_SOURCE, (int)tag, mpi.comm, &flag, &status);
    if (code != MPI_SUCCESS) return failed(code, "MPI_Iprobe", -1);
    if (flag) {
        if ((code = MPI_Get_count(&status, MPI_BYTE, &count)) != MPI_SUCCESS) return failed(code, "MPI_Get_count", -1);
        *from = status.MPI_SOURCE;
        *bytes = (size_t)count;
    }
    *found = flag;
    return WEFT_OK;
}

static weft_status mpi_allreduce_f32(const float *in, float *out, size_t count)
{
    const size_t most = 1u << 30; // in pieces that an int can count
    for (size_t done = 0; done < count; done += most) {
        int piece = (int)(count - done < most ? count - done : most);
        const void *from = in == out ? MPI_IN_PLACE : (const void *)(in + done);
        int code = MPI_Allreduce(from, out + done, piece, MPI_FLOAT, MPI_SUM, mpi.comm);
        if (code != MPI_SUCCESS) return failed(code, "MPI_Allreduce", -1);
    }
    return WEFT_OK;
}

static const char *mpi_describe(void) { return mpi.text; }

static void mpi_close(void)
{
    MPI_Comm_free(&mpi.comm);
    MPI_Finalize();
}

static wi_p2p mpi_table = {
    .name = "mpi",
    .open = mpi_open,
    .allgather = mpi_allgather,
    .send = mpi_send,
    .recv = mpi_recv,
    .test = mpi_test,
    .probe = mpi_probe,
    .allreduce_f32 = mpi_allreduce_f32,
    .tag_bits = 0, // known once it is open
    .describe = mpi_describe,
    .close = mpi_close,
};

extern const weft_plugin weft_plugin_mpi;
const weft_plugin weft_plugin_mpi = {"mpi", WEFT_BUILD_ID, &mpi_table};
