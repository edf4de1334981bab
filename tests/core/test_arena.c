// Arenas: zeroed and aligned pushes, marks, full arenas, and use after pop.
#include "core/arena.h"

#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#endif

static void test_push(void)
{
    weft_arena arena;
    CHECK_OK(weft_arena_init(&arena, 1 << 20));
    for (size_t align = 1; align <= 65536; align *= 4) {
        unsigned char *memory = weft_arena_push(&arena, 3, 5, align);
        CHECK(memory && (uintptr_t)memory % align == 0);
        for (int i = 0; i < 15; i++) CHECK_INT(memory[i], 0);
        memset(memory, 0xEE, 15);
    }
    size_t mark = weft_arena_mark(&arena);
    // What was popped comes back as zeros.
    for (int round = 0; round < 3; round++) {
        uint64_t *words = WEFT_PUSH(&arena, uint64_t, 1000);
        CHECK(words && (uintptr_t)words % _Alignof(uint64_t) == 0);
        for (int i = 0; i < 1000; i++) CHECK_INT(words[i], 0);
        memset(words, 0xEE, 1000 * sizeof *words);
        weft_arena_pop(&arena, mark);
        CHECK_INT(arena.used, mark);
    }
    CHECK(arena.peak >= mark + 8000);
    CHECK_TEXT(weft_arena_printf(&arena, "layer.%d.%s", 3, "weight"), "layer.3.weight");
    weft_arena_reset(&arena);
    CHECK_INT(arena.used, 0);
    CHECK(weft_arena_push(&arena, 0, 8, 8) != NULL);
    weft_arena_fini(&arena);
    weft_arena_fini(&arena);
}

static void test_full(void)
{
    weft_arena arena;
    CHECK_OK(weft_arena_init(&arena, 4096));
    CHECK(!weft_arena_push(&arena, 4097, 1, 1));
    CHECK(!weft_arena_push(&arena, SIZE_MAX / 2, 4, 1));
    CHECK(!weft_arena_push(&arena, SIZE_MAX, 1, 1));
    CHECK_INT(arena.used, 0);
    unsigned char *memory = weft_arena_push(&arena, 4096, 1, 1);
    CHECK(memory);
    memory[4095] = 1;
    CHECK(!weft_arena_push(&arena, 1, 1, 1));
    CHECK(!weft_arena_printf(&arena, "x"));
    weft_arena_fini(&arena);
    CHECK(!weft_arena_push(&arena, 1, 1, 1));
    CHECK_OK(weft_arena_init(&arena, 0));
    CHECK(!weft_arena_push(&arena, 1, 1, 1));
    weft_arena_fini(&arena);
    CHECK_FAILS(weft_arena_init(&arena, SIZE_MAX), WEFT_NO_MEMORY, "more than there is address space");
    CHECK_FAILS(weft_arena_init(&arena, SIZE_MAX / 2), WEFT_NO_MEMORY, "cannot reserve");
    weft_arena_fini(&arena);
}

static void test_reserve(void)
{
    // Far more than the machine has; only what is touched costs.
    weft_arenas arenas;
    CHECK_OK(weft_arenas_init(&arenas, (size_t)1 << 37, (size_t)1 << 36, 1 << 20));
    char *text = WEFT_PUSH(&arenas.keep, char, (size_t)1 << 36);
    CHECK(text);
    text[((size_t)1 << 36) - 1] = 1;
    weft_arenas_fini(&arenas);
    CHECK_FAILS(weft_arenas_init(&arenas, 4096, SIZE_MAX / 2, 4096), WEFT_NO_MEMORY, "cannot reserve");
    CHECK(!arenas.keep.base && !arenas.scratch.base);
    weft_arenas_fini(&arenas);
}

// A child that touches what the arena took back; returns what it said on stderr.
static char *touch_in_child(int what, char *text, size_t capacity)
{
    int ends[2], state;
    CHECK_INT(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        weft_arena arena;
        dup2(ends[1], 2);
        if (weft_arena_init(&arena, 1 << 20)) _exit(3);
        size_t mark = weft_arena_mark(&arena);
        volatile unsigned char *memory = weft_arena_push(&arena, 100, 1, 8);
        if (what == 0) weft_arena_pop(&arena, mark);
        _exit(memory[what == 0 ? 50 : 120] == 0xDB ? 42 : 0);
    }
    close(ends[1]);
    size_t used = 0;
    ssize_t got;
    while (used + 1 < capacity && (got = read(ends[0], text + used, capacity - 1 - used)) > 0) used += (size_t)got;
    text[used] = 0;
    close(ends[0]);
    CHECK_INT(waitpid(child, &state, 0), child);
    if (WIFEXITED(state) && WEXITSTATUS(state) == 42) snprintf(text, capacity, "read 0xDB");
    return text;
}

static void test_use_after_pop(void)
{
    char text[16384];
#if defined(HAS_ASAN)
    CHECK_HAS(touch_in_child(0, text, sizeof text), "use-after-poison");
    CHECK_HAS(touch_in_child(1, text, sizeof text), "use-after-poison");
#elif !defined(NDEBUG)
    CHECK_TEXT(touch_in_child(0, text, sizeof text), "read 0xDB");
#else
    CHECK_TEXT(touch_in_child(0, text, sizeof text), "");
#endif
}

int main(void)
{
    test_push();
    test_full();
    test_reserve();
    test_use_after_pop();
    return 0;
}
