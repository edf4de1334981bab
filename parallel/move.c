#include "parallel/move.h"

#include <stdlib.h>

enum { ONE_BUFFER_BYTES = 1 << 20 }; // as in sum.c

struct weft_move {
    weft_channel *channel;
    weft_exchange exchange;
    int ranks;
    size_t *bytes; // [2 * ranks] offsets and counts
};

weft_status weft_move_create(weft_comm *comm, weft_move_kind kind, const char *name, size_t floats, weft_move **out)
{
    weft_status status = WEFT_OK;
    weft_move *move = calloc(1, sizeof *move);
    if (move) move->ranks = weft_comm_size(comm);
    if (!move || !(move->bytes = calloc(2 * (size_t)move->ranks, sizeof *move->bytes)))
        status = weft_fail(WEFT_NO_MEMORY, "no memory to move %s", name);
    WEFT_TRY_GOTO(weft_comm_agree(comm, status, NULL));
    const weft_channel_spec spec = {.shape = kind == WEFT_MOVE_DEAL ? WEFT_ALLTOALL : WEFT_ALLGATHER,
                                    .name = name,
                                    .bytes = floats * sizeof(float),
                                    .depth = floats * sizeof(float) >= ONE_BUFFER_BYTES ? 1 : 2};
    WEFT_TRY_GOTO(weft_channel_create(comm, &spec, &move->channel));
    *out = move;
    return WEFT_OK;
fail:
    weft_move_destroy(move);
    return status;
}

void weft_move_destroy(weft_move *move)
{
    if (!move) return;
    weft_channel_destroy(move->channel);
    free(move->bytes);
    free(move);
}

weft_status weft_move_acquire(weft_move *move, float **slot)
{
    WEFT_TRY(weft_exchange_acquire(move->channel, &move->exchange));
    *slot = (float *)(void *)move->exchange.slot;
    return WEFT_OK;
}

weft_status weft_move_gather(weft_move *move, size_t count)
{
    WEFT_TRY(weft_exchange_begin(&move->exchange, count * sizeof(float)));
    return weft_exchange_end(&move->exchange);
}

weft_status weft_move_deal(weft_move *move, const size_t *offset, const size_t *count)
{
    size_t *at = move->bytes, *bytes = move->bytes + move->ranks;
    for (int i = 0; i < move->ranks; i++) {
        at[i] = offset[i] * sizeof(float);
        bytes[i] = count[i] * sizeof(float);
    }
    WEFT_TRY(weft_exchange_begin_at(&move->exchange, at, bytes));
    return weft_exchange_end(&move->exchange);
}

const float *weft_move_view(const weft_move *move, int peer)
{
    return (const float *)(const void *)move->exchange.view[peer];
}

size_t weft_move_count(const weft_move *move, int peer) { return move->exchange.bytes[peer] / sizeof(float); }

void weft_move_release(weft_move *move) { weft_exchange_release(&move->exchange); }
