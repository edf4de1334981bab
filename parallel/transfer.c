#include "parallel/transfer.h"

#include <assert.h>
#include <stdlib.h>

#include "core/clock.h"

enum { ONE_BUFFER_BYTES = 1 << 20 }; // as in sum.c

struct weft_transfer {
    weft_channel *channel;
    weft_exchange given;                  // from acquire to end
    weft_exchange taken[WEFT_ROW_PIECES]; // from end to release
    int taken_count;
    weft_mesh_times *times;
    int ranks;
    size_t *bytes; // [2 * ranks] offsets and counts
};

static weft_channel_spec spec_of(weft_transfer_kind kind, const char *name, size_t floats)
{
    return (weft_channel_spec){.shape = kind == WEFT_TRANSFER_DEAL ? WEFT_ALLTOALL : WEFT_ALLGATHER,
                               .name = name,
                               .bytes = floats * sizeof(float),
                               .often = kind == WEFT_TRANSFER_PIECES,
                               .depth =
                                   kind != WEFT_TRANSFER_PIECES && floats * sizeof(float) >= ONE_BUFFER_BYTES ? 1 : 2};
}

size_t weft_transfer_bytes(weft_transfer_kind kind, size_t floats, int ranks, bool shared)
{
    const weft_channel_spec spec = spec_of(kind, NULL, floats);
    return weft_channel_bytes(&spec, ranks, shared);
}

static weft_channel_spec spec_of_pieces(int pieces, const char *name, size_t floats)
{
    weft_channel_spec spec = spec_of(WEFT_TRANSFER_GATHER, name, floats);
    if (pieces > 1) spec.depth = pieces;
    return spec;
}

size_t weft_transfer_pieces_bytes(int pieces, size_t floats, int ranks, bool shared)
{
    const weft_channel_spec spec = spec_of_pieces(pieces, NULL, floats);
    return weft_channel_bytes(&spec, ranks, shared);
}

size_t weft_transfer_device_bytes(weft_transfer_kind kind, size_t floats, int ranks, weft_links links)
{
    const weft_channel_spec spec = spec_of(kind, NULL, floats);
    return weft_channel_device_bytes(&spec, ranks, links);
}

size_t weft_transfer_pieces_device_bytes(int pieces, size_t floats, int ranks, weft_links links)
{
    const weft_channel_spec spec = spec_of_pieces(pieces, NULL, floats);
    return weft_channel_device_bytes(&spec, ranks, links);
}

static weft_status create(const weft_mesh *mesh, weft_comm *comm, const weft_channel_spec *given, weft_transfer **out)
{
    weft_channel_spec spec = *given;
    weft_status status = WEFT_OK;
    weft_transfer *transfer = calloc(1, sizeof *transfer);
    if (transfer) transfer->ranks = weft_comm_size(comm);
    if (!transfer || !(transfer->bytes = calloc(2 * (size_t)transfer->ranks, sizeof *transfer->bytes)))
        status = weft_fail(WEFT_NO_MEMORY, "no memory to move %s", spec.name);
    WEFT_TRY_GOTO(weft_comm_agree(comm, status, NULL));
    spec.device = mesh->device;
    transfer->times = mesh->times;
    WEFT_TRY_GOTO(weft_channel_create(comm, &spec, &transfer->channel));
    *out = transfer;
    return WEFT_OK;
fail:
    weft_transfer_destroy(transfer);
    return status;
}

weft_status weft_transfer_create(const weft_mesh *mesh, weft_comm *comm, weft_transfer_kind kind, const char *name,
                                 size_t floats, weft_transfer **out)
{
    const weft_channel_spec spec = spec_of(kind, name, floats);
    return create(mesh, comm, &spec, out);
}

weft_status weft_transfer_create_pieces(const weft_mesh *mesh, weft_comm *comm, int pieces, const char *name,
                                        size_t floats, weft_transfer **out)
{
    const weft_channel_spec spec = spec_of_pieces(pieces, name, floats);
    return create(mesh, comm, &spec, out);
}

void weft_transfer_destroy(weft_transfer *transfer)
{
    if (!transfer) return;
    weft_channel_destroy(transfer->channel);
    free(transfer->bytes);
    free(transfer);
}

static void tell(weft_transfer *transfer, uint64_t began, size_t bytes, int exchanges)
{
    const uint64_t took = weft_clock_ticks() - began;
    if (!transfer->times) return;
    if (!weft_channel_ordered(transfer->channel)) {
        transfer->times->exchange += took;
        transfer->times->wait += took;
    }
    transfer->times->bytes += bytes;
    transfer->times->count += (uint64_t)exchanges;
}

weft_status weft_transfer_acquire(weft_transfer *transfer, float **slot)
{
    const uint64_t began = weft_clock_ticks();
    WEFT_TRY(weft_exchange_acquire(transfer->channel, &transfer->given));
    *slot = (float *)(void *)transfer->given.slot;
    tell(transfer, began, 0, 0);
    return WEFT_OK;
}

void weft_transfer_cancel(weft_transfer *transfer) { weft_exchange_cancel(&transfer->given); }

weft_status weft_transfer_begin(weft_transfer *transfer, size_t count)
{
    const uint64_t began = weft_clock_ticks();
    WEFT_TRY(weft_exchange_begin(&transfer->given, count * sizeof(float)));
    tell(transfer, began, count * sizeof(float), 1);
    return WEFT_OK;
}

weft_status weft_transfer_end(weft_transfer *transfer)
{
    const uint64_t began = weft_clock_ticks();
    WEFT_TRY(weft_exchange_end(&transfer->given));
    assert(transfer->taken_count < WEFT_ROW_PIECES);
    transfer->taken[transfer->taken_count++] = transfer->given;
    tell(transfer, began, 0, 0);
    return WEFT_OK;
}

weft_status weft_transfer_gather(weft_transfer *transfer, size_t count)
{
    WEFT_TRY(weft_transfer_begin(transfer, count));
    return weft_transfer_end(transfer);
}

weft_status weft_transfer_deal(weft_transfer *transfer, const size_t *offset, const size_t *count)
{
    const uint64_t began = weft_clock_ticks();
    size_t *at = transfer->bytes, *bytes = transfer->bytes + transfer->ranks, all = 0;
    for (int i = 0; i < transfer->ranks; i++) {
        at[i] = offset[i] * sizeof(float);
        bytes[i] = count[i] * sizeof(float);
        all += bytes[i];
    }
    WEFT_TRY(weft_exchange_begin_at(&transfer->given, at, bytes));
    tell(transfer, began, all, 1);
    return weft_transfer_end(transfer);
}

const float *weft_transfer_view(const weft_transfer *transfer, int peer)
{
    return weft_transfer_view_of(transfer, 0, peer);
}

const float *weft_transfer_view_of(const weft_transfer *transfer, int piece, int peer)
{
    assert(piece < transfer->taken_count);
    return (const float *)(const void *)transfer->taken[piece].view[peer];
}

size_t weft_transfer_count(const weft_transfer *transfer, int peer)
{
    return transfer->taken[0].bytes[peer] / sizeof(float);
}

void weft_transfer_release(weft_transfer *transfer)
{
    for (int i = 0; i < transfer->taken_count; i++) weft_exchange_release(&transfer->taken[i]);
    transfer->taken_count = 0;
}
