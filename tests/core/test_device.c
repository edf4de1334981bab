#include "core/device.h"

#include <sys/mman.h>

#include "tests/check.h"

enum { MIB = 1 << 20 };

static int is_zero(const unsigned char *memory, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (memory[i]) return 0;
    return 1;
}

static size_t resident_pages(void *memory, size_t bytes)
{
    size_t pages = (bytes + 4095) / 4096, found = 0;
    unsigned char *map = malloc(pages);
    CHECK(map);
    CHECK_INT(mincore(memory, bytes, map), 0);
    for (size_t i = 0; i < pages; i++) found += map[i] & 1;
    free(map);
    return found;
}

static void test_alloc(weft_device *device)
{
    const size_t sizes[] = {1, 4095, 4096, 4097, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 7 * MIB + 12345, 16 * MIB};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    void *held[COUNT];
    size_t sum = 0;
    for (int i = 0; i < COUNT; i++) {
        CHECK_OK(weft_device_alloc(device, sizes[i], &held[i]));
        sum += sizes[i];
        CHECK_INT((uintptr_t)held[i] % 4096, 0);
        if (sizes[i] >= 2 * MIB) CHECK_INT((uintptr_t)held[i] % (2 * MIB), 0);
        CHECK_INT(resident_pages(held[i], sizes[i]), (sizes[i] + 4095) / 4096); // touched before it is read
        CHECK(is_zero(held[i], sizes[i]));
        memset(held[i], 0xa5, sizes[i]); // a neighbour that overlapped would not be zero
        CHECK_INT(device->allocated, sum);
    }
    CHECK_INT(device->peak, sum);
    for (int i = 0; i < COUNT; i++) weft_device_free(device, held[i], sizes[i]);
    CHECK_INT(device->allocated, 0);
    CHECK_INT(device->peak, sum);
    weft_device_free(device, NULL, 100);
    CHECK_INT(device->allocated, 0);

    void *empty = NULL;
    CHECK_OK(weft_device_alloc(device, 0, &empty));
    CHECK(empty);
    weft_device_free(device, empty, 0);
}

static void test_copies(weft_device *device)
{
    void *memory = NULL;
    char text[6] = "weft!", back[6] = "";
    CHECK_OK(weft_device_alloc(device, 6, &memory));
    CHECK_OK(device->ops->copy_in(device, memory, text, 6));
    CHECK_OK(device->ops->sync(device));
    device->ops->mark(device, WEFT_DEVICE_MARKS - 1);
    CHECK_OK(device->ops->wait(device, WEFT_DEVICE_MARKS - 1));
    CHECK_OK(device->ops->copy_out(device, back, memory, 6));
    CHECK_TEXT(back, "weft!");
    CHECK_OK(device->ops->copy_in(device, memory, NULL, 0));
    weft_device_free(device, memory, 6);
}

static void test_clock(weft_device *device)
{
    double seconds = -1;
    device->ops->begin(device);
    device->ops->clock_start(device);
    device->ops->end(device);
    CHECK_OK(device->ops->clock_stop(device, &seconds));
    CHECK(seconds >= 0 && seconds < 100);
}

static void test_memory(weft_device *device)
{
    size_t left = 0, total = 0;
    CHECK_OK(device->ops->memory(device, &left, &total));
    CHECK(total > 0 && left > 0 && left <= total);
    void *memory = NULL;
    CHECK_FAILS(weft_device_alloc(device, total + 4096, &memory), WEFT_NO_MEMORY, "are available");
    CHECK_HAS(weft_error_text(), "iB beside the 0 bytes already held");
    CHECK_FAILS(weft_device_alloc(device, SIZE_MAX, &memory), WEFT_NO_MEMORY, "16.0 EiB");
    CHECK_FAILS(weft_device_alloc(device, SIZE_MAX - 5000, &memory), WEFT_NO_MEMORY, "16.0 EiB");
    CHECK(!memory);
    CHECK_INT(device->allocated, 0);
}

int main(void)
{
    weft_device *alone = NULL, *shared = NULL;
    weft_team *team = NULL;
    CHECK_OK(weft_device_host(NULL, &alone));
    CHECK_TEXT(alone->ops->kind, "cpu");
    CHECK(alone->name[0] && !alone->team && alone->index == 0);
    CHECK_OK(weft_team_create(&(weft_team_options){.threads = 3}, &team));
    CHECK_OK(weft_device_host(team, &shared));
    CHECK(shared->team == team);
    weft_device *both[] = {alone, shared};
    for (int i = 0; i < 2; i++) {
        test_memory(both[i]);
        test_alloc(both[i]);
        test_copies(both[i]);
        test_clock(both[i]);
        weft_device_destroy(both[i]);
    }
    weft_team_destroy(team);
    weft_device_destroy(NULL);
    return 0;
}
