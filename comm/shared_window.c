// Windows over shared memory: a put is a copy, a flag is a signal. Each rank's piece holds one line of flags for each
// peer, then the memory that it exposes.
#include <stdlib.h>
#include <string.h>

#include "comm/comm_impl.h"
#include "core/checked.h"

typedef struct {
    weft_window base;
    wi_memory memory;
    size_t piece, flags_bytes;
} shared_window;

static unsigned char *piece_of(const shared_window *window, int rank)
{
    return window->memory.base + (size_t)rank * window->piece;
}

// The flags that `from` raises on `to`: one writer each.
static weft_signal *flag_line(const shared_window *window, int to, int from)
{
    return (weft_signal *)(piece_of(window, to) + (size_t)from * WI_LINE);
}

static weft_status shared_put(weft_window *base, int peer, size_t offset, const void *data, size_t bytes)
{
    shared_window *window = (shared_window *)base;
    memcpy(piece_of(window, peer) + window->flags_bytes + offset, data, bytes);
    return WEFT_OK;
}

static weft_status shared_flag(weft_window *base, int peer)
{
    weft_signal *line = flag_line((shared_window *)base, peer, base->comm->rank);
    weft_signal_set(line, weft_signal_get(line) + 1);
    return WEFT_OK;
}

static uint32_t shared_flags(weft_window *base, int from)
{
    return weft_signal_get(flag_line((shared_window *)base, base->comm->rank, from));
}

static weft_status shared_wait(weft_window *base, int from, uint32_t flags, uint32_t record)
{
    weft_comm *comm = base->comm;
    weft_signal *line = flag_line((shared_window *)base, comm->rank, from);
    if (weft_signal_reached(weft_signal_get(line), flags)) return WEFT_OK;
    wi_wait_enter(comm->job, comm->world_rank[from], false, record);
    weft_status status = weft_signal_wait(line, flags, &comm->job->patience);
    wi_wait_leave(comm->job);
    return status < 0 ? wi_cancelled(comm->job) : WEFT_OK;
}

static void shared_window_destroy(weft_window *base)
{
    shared_window *window = (shared_window *)base;
    wi_memory_drop(&window->memory);
    free(window);
}

static const wi_window_ops shared_window_ops = {.put = shared_put,
                                                .flag = shared_flag,
                                                .flags = shared_flags,
                                                .wait = shared_wait,
                                                .destroy = shared_window_destroy};

weft_status wi_shared_window_create(weft_comm *comm, size_t bytes, weft_window **out)
{
    shared_window *window = calloc(1, sizeof *window);
    weft_status status = window ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for a window");
    size_t flags = weft_align_up((size_t)comm->size * WI_LINE, 4096), piece = 0, total = 0;
    if (status == WEFT_OK && (!weft_size_add(bytes, flags, &piece) || !weft_size_round_up(piece, 4096, &piece) ||
                              !weft_size_mul(piece, (size_t)comm->size, &total)))
        status = weft_fail(WEFT_OVERFLOW, "a window of %zu bytes for %d ranks is more than an address space", bytes,
                           comm->size);
    WEFT_TRY_GOTO(weft_comm_agree(comm, status, NULL));
    window->base.ops = &shared_window_ops;
    window->flags_bytes = flags;
    window->piece = piece;
    WEFT_TRY_GOTO(wi_memory_share(comm, 0, comm->size, total, &window->memory));
    status = wi_memory_touch(&window->memory, (size_t)comm->rank * piece, piece);
    WEFT_TRY_GOTO(weft_comm_agree(comm, status, NULL));
    wi_memory_see(&window->memory);
    window->base.memory = piece_of(window, comm->rank) + flags;
    *out = &window->base;
    return WEFT_OK;
fail:
    if (window) shared_window_destroy(&window->base);
    return status;
}
