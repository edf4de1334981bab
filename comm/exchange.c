// Exchanges: what is the same on every transport, and the flight recorder's entries.
#include <assert.h>
#include <string.h>

#include "comm/comm_impl.h"
#include "core/clock.h"

wi_record *wi_record_of(const weft_job *job, uint32_t index)
{
    return &wi_board_seat(job->board, job->seat)->record[index % WI_RECORDS];
}

static wi_record *record_of(const weft_exchange *exchange)
{
    return wi_record_of(exchange->channel->comm->job, exchange->record);
}

// Relaxed stores to lines that only this rank writes: a few nanoseconds.
uint32_t wi_record_open(const weft_job *job, const uint64_t *name, uint32_t shape, uint32_t number)
{
    wi_seat *seat = wi_board_seat(job->board, job->seat);
    uint32_t index = seat->records;
    wi_record *record = &seat->record[index % WI_RECORDS];
    for (int i = 0; i < WI_RECORD_NAME / 8; i++) __atomic_store_n(&record->name[i], name[i], __ATOMIC_RELAXED);
    wi_store(&record->number, number);
    wi_store(&record->shape, shape);
    __atomic_store_n(&record->bytes, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&record->step, job->step, __ATOMIC_RELAXED);
    __atomic_store_n(&record->entered, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&record->left, 0, __ATOMIC_RELAXED);
    wi_store(&seat->records, index + 1);
    return index;
}

weft_status weft_exchange_acquire(weft_channel *channel, weft_exchange *out)
{
    uint64_t number = ++channel->acquired;
    *out = (weft_exchange){.channel = channel, .stride = channel->stride, .number = (uint32_t)number};
    out->buffer = (uint32_t)(number % (uint64_t)channel->spec.depth);
    out->record = wi_record_open(channel->comm->job, channel->record_name, (uint32_t)channel->spec.shape, out->number);
    return channel->ops->acquire(channel, out);
}

void weft_exchange_cancel(weft_exchange *exchange)
{
    weft_channel *channel = exchange->channel;
    assert(exchange->number == (uint32_t)channel->acquired);
    if (channel->ops->cancel) channel->ops->cancel(channel, exchange);
    channel->acquired--;
    exchange->slot = NULL;
}

static weft_status begin(weft_exchange *exchange, const size_t *offset, const size_t *bytes, size_t total)
{
    wi_record *record = record_of(exchange);
    weft_device *device = exchange->channel->spec.device;
    WEFT_TRY(exchange->channel->lost);
    if (device && !exchange->channel->ordered) WEFT_TRY(device->ops->sync(device)); // the slot is written
    __atomic_store_n(&record->bytes, total, __ATOMIC_RELAXED);
    __atomic_store_n(&record->entered, weft_clock_ticks(), __ATOMIC_RELAXED);
    return exchange->channel->ops->begin(exchange->channel, exchange, offset, bytes);
}

static weft_status too_large(const weft_channel *channel, size_t bytes)
{
    return weft_fail(WEFT_INVALID, "exchange of %zu bytes on channel %s/%s, which was made for %zu", bytes,
                     channel->comm->name, channel->name, channel->spec.bytes);
}

weft_status weft_exchange_begin(weft_exchange *exchange, size_t bytes)
{
    weft_channel *channel = exchange->channel;
    if (!wi_channel_gives(channel, channel->comm->rank)) bytes = 0;
    if (bytes > channel->spec.bytes) return too_large(channel, bytes);
    if (channel->spec.shape != WEFT_ALLTOALL) return begin(exchange, NULL, &bytes, bytes);
    size_t each[WI_EACH_MAX];
    if (channel->comm->size > WI_EACH_MAX)
        return weft_fail(WEFT_LIMIT, "weft_exchange_begin on an all-to-all of %d ranks: use weft_exchange_begin_each",
                         channel->comm->size);
    for (int i = 0; i < channel->comm->size; i++) each[i] = bytes;
    return begin(exchange, NULL, each, bytes * (size_t)channel->comm->size);
}

weft_status weft_exchange_begin_each(weft_exchange *exchange, const size_t *bytes)
{
    return weft_exchange_begin_at(exchange, NULL, bytes);
}

weft_status weft_exchange_begin_at(weft_exchange *exchange, const size_t *offset, const size_t *bytes)
{
    weft_channel *channel = exchange->channel;
    size_t total = 0;
    assert(channel->spec.shape == WEFT_ALLTOALL);
    for (int i = 0; i < channel->comm->size; i++) {
        if (bytes[i] > channel->spec.bytes) return too_large(channel, bytes[i]);
        assert(!offset ||
               (offset[i] % 64 == 0 && offset[i] + bytes[i] <= channel->stride * (size_t)channel->comm->size));
        total += bytes[i];
    }
    return begin(exchange, offset, bytes, total);
}

weft_status weft_exchange_end(weft_exchange *exchange)
{
    weft_status status = exchange->channel->ops->end(exchange->channel, exchange);
    __atomic_store_n(&record_of(exchange)->left, weft_clock_ticks(), __ATOMIC_RELAXED);
    return status;
}

weft_status weft_exchange_meet(weft_exchange *exchange, size_t bytes, weft_device_meeting *meeting)
{
    weft_channel *channel = exchange->channel;
    assert(channel->spec.shape == WEFT_ALLGATHER);
    *meeting = (weft_device_meeting){.begun = NULL};
    exchange->met = channel->ops->meet != NULL;
    WEFT_TRY(weft_exchange_begin(exchange, bytes));
    WEFT_TRY(weft_exchange_end(exchange));
    if (channel->ops->meet) channel->ops->meet(channel, exchange, meeting);
    return WEFT_OK;
}

bool weft_exchange_ready(weft_exchange *exchange)
{
    weft_channel *channel = exchange->channel;
    // When the job ends so does every wait: end tells how.
    return channel->ops->ready(channel, exchange) || wi_load(&channel->comm->job->board->cancel);
}

void weft_exchange_release(weft_exchange *exchange)
{
    weft_device *device = exchange->channel->ordered ? NULL : exchange->channel->spec.device;
    if (device && device->ops->sync(device) < 0) exchange->channel->lost = WEFT_FAILED; // told by the next begin
    exchange->channel->ops->release(exchange->channel, exchange);
    exchange->slot = NULL;
    exchange->view = NULL;
    exchange->bytes = NULL;
}
