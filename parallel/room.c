#include "parallel/room.h"

#include <stdlib.h>

#include "core/checked.h"

size_t wi_room_bytes(size_t bytes) { return weft_align_up(bytes, 64) + 64; }

weft_status wi_room_take(weft_device *device, size_t bytes, const char *what, wi_room *out)
{
    void *memory;
    const size_t whole = wi_room_bytes(bytes);
    if (device)
        WEFT_TRY(weft_device_alloc(device, whole, &memory));
    else if (!(memory = aligned_alloc(64, whole)))
        return weft_fail(WEFT_NO_MEMORY, "no memory for %s: %zu bytes", what, bytes);
    *out = (wi_room){memory, whole, device};
    return WEFT_OK;
}

void wi_room_give(wi_room *room)
{
    if (room->device)
        weft_device_free(room->device, room->at, room->bytes);
    else
        free(room->at);
    *room = (wi_room){0};
}
