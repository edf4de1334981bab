// Windows: what every transport's windows have in common.
#include "comm/comm_impl.h"
#include "core/clock.h"

weft_status weft_window_create(weft_comm *comm, size_t bytes, const char *name, weft_window **out)
{
    weft_window *window = NULL;
    weft_status status;
    int64_t range[2] = {(int64_t)bytes, -(int64_t)bytes};
    WEFT_TRY(weft_comm_max(comm, range, 2));
    if (range[0] != -range[1])
        return weft_fail(WEFT_MISMATCH, "window %s: the ranks ask for %lld to %lld bytes", name, -(long long)range[1],
                         (long long)range[0]);
    if (wi_transport_p2p(comm->transport))
        status = wi_p2p_window_create(comm, bytes, &window);
    else
        status = wi_shared_window_create(comm, bytes, &window);
    if (status < 0) return status;
    window->comm = comm;
    window->bytes = bytes;
    snprintf(window->name, sizeof window->name, "%s", name);
    snprintf((char *)window->record_name, sizeof window->record_name, "%s/%.7s", comm->name, name);
    *out = window;
    return WEFT_OK;
}

void weft_window_destroy(weft_window *window)
{
    if (window) window->ops->destroy(window);
}

void *weft_window_memory(weft_window *window) { return window->memory; }

static weft_status check_peer(const weft_window *window, int peer)
{
    if (peer >= 0 && peer < window->comm->size) return WEFT_OK;
    return weft_fail(WEFT_INVALID, "window %s: rank %d in a group of %d", window->name, peer, window->comm->size);
}

static weft_status check_range(const weft_window *window, size_t offset, size_t bytes)
{
    if (offset <= window->bytes && bytes <= window->bytes - offset) return WEFT_OK;
    return weft_fail(WEFT_INVALID, "window %s: %zu bytes at %zu go beyond its %zu", window->name, bytes, offset,
                     window->bytes);
}

weft_status weft_window_put(weft_window *window, int peer, size_t offset, const void *data, size_t bytes)
{
    WEFT_TRY(check_peer(window, peer));
    WEFT_TRY(check_range(window, offset, bytes));
    return bytes ? window->ops->put(window, peer, offset, data, bytes) : WEFT_OK;
}

weft_status weft_window_lend(weft_window *window, int peer, size_t offset, const void *data, size_t bytes)
{
    if (!window->ops->lend) return weft_window_put(window, peer, offset, data, bytes);
    WEFT_TRY(check_peer(window, peer));
    WEFT_TRY(check_range(window, offset, bytes));
    return bytes ? window->ops->lend(window, peer, offset, data, bytes) : WEFT_OK;
}

// A wait on the window, as the watchdog sees it.
static uint32_t enter_record(const weft_window *window, uint32_t number)
{
    const weft_job *job = window->comm->job;
    const uint32_t index = wi_record_open(job, window->record_name, WI_SHAPE_WINDOW, number);
    __atomic_store_n(&wi_record_of(job, index)->entered, weft_clock_ticks(), __ATOMIC_RELAXED);
    return index;
}

static void leave_record(const weft_window *window, uint32_t index)
{
    __atomic_store_n(&wi_record_of(window->comm->job, index)->left, weft_clock_ticks(), __ATOMIC_RELAXED);
}

weft_status weft_window_flush(weft_window *window, int peer)
{
    WEFT_TRY(check_peer(window, peer));
    if (!window->ops->flush) return WEFT_OK;
    const uint32_t index = enter_record(window, 0);
    const weft_status status = window->ops->flush(window, peer, index);
    leave_record(window, index);
    return status;
}

weft_status weft_window_flag(weft_window *window, int peer)
{
    WEFT_TRY(check_peer(window, peer));
    return window->ops->flag(window, peer);
}

uint32_t weft_window_flags(weft_window *window, int from) { return window->ops->flags(window, from); }

weft_status weft_window_wait(weft_window *window, int from, uint32_t flags)
{
    WEFT_TRY(check_peer(window, from));
    const uint32_t index = enter_record(window, flags);
    const weft_status status = window->ops->wait(window, from, flags, index);
    leave_record(window, index);
    return status;
}
