// Arenas over reserved address space.
#include "core/arena.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "core/checked.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISONS 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define ARENA_POISONS 1
#endif
#ifdef ARENA_POISONS
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

enum { PAGE = 4096, OPEN_STEP = 4 << 20 };

// Poison costs shadow memory, so it reaches only this far above what was ever used: [used, poison_end) is poisoned,
// nothing else is.
static const size_t poison_reach = 64 << 10;

static size_t poison_end(const weft_arena *arena)
{
    size_t left = arena->capacity - arena->peak;
    return arena->peak + (left < poison_reach ? left : poison_reach);
}

weft_status weft_arena_init(weft_arena *arena, size_t capacity)
{
    size_t bytes;
    *arena = (weft_arena){0};
    if (!weft_size_round_up(capacity, PAGE, &bytes))
        return weft_fail(WEFT_NO_MEMORY, "an arena of %zu bytes is more than there is address space", capacity);
    if (bytes == 0) return WEFT_OK;
    void *base = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return weft_fail(WEFT_NO_MEMORY, "cannot reserve %zu bytes of address space for an arena: %s; see ulimit -v",
                         bytes, strerror(errno));
    arena->base = base;
    arena->capacity = bytes;
    ASAN_POISON_MEMORY_REGION(arena->base, poison_end(arena));
    return WEFT_OK;
}

void weft_arena_fini(weft_arena *arena)
{
    if (arena->base) {
        // The address range may be mapped again by someone else, who must not find it poisoned.
        ASAN_UNPOISON_MEMORY_REGION(arena->base + arena->used, poison_end(arena) - arena->used);
        munmap(arena->base, arena->capacity);
    }
    *arena = (weft_arena){0};
}

// Makes [0, end) touchable, in steps, so that pushes seldom cost a system call.
static bool open_to(weft_arena *arena, size_t end)
{
    if (end <= arena->opened) return true;
    size_t target = (end + OPEN_STEP - 1) / OPEN_STEP * OPEN_STEP;
    if (target > arena->capacity) target = arena->capacity;
    if (mprotect(arena->base + arena->opened, target - arena->opened, PROT_READ | PROT_WRITE) != 0) return false;
    arena->opened = target;
    return true;
}

void *weft_arena_push(weft_arena *arena, size_t count, size_t size, size_t align)
{
    assert(align > 0 && (align & (align - 1)) == 0);
    size_t bytes, begin, end;
    if (!arena->base || !weft_size_mul(count, size, &bytes)) return NULL;
    uintptr_t at = (uintptr_t)arena->base + arena->used;
    size_t padding = (size_t)(-at & (align - 1));
    if (!weft_size_add(arena->used, padding, &begin) || !weft_size_add(begin, bytes, &end)) return NULL;
    if (end > arena->capacity || !open_to(arena, end)) return NULL;
    unsigned char *memory = arena->base + begin;
    size_t poisoned_end = poison_end(arena);
    ASAN_UNPOISON_MEMORY_REGION(arena->base + arena->used, (end < poisoned_end ? end : poisoned_end) - arena->used);
    // Above the peak the pages are the kernel's zeros; not touching them leaves the first touch to who will use them.
    size_t stale_end = end < arena->peak ? end : arena->peak;
    if (stale_end > begin) memset(memory, 0, stale_end - begin);
    arena->used = end;
    if (end > arena->peak) {
        arena->peak = end;
        ASAN_POISON_MEMORY_REGION(arena->base + end, poison_end(arena) - end);
    }
    return memory;
}

char *weft_arena_printf(weft_arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    char *text = length < 0 ? NULL : weft_arena_push(arena, (size_t)length + 1, 1, 1);
    if (text) vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}

size_t weft_arena_mark(const weft_arena *arena) { return arena->used; }

void weft_arena_pop(weft_arena *arena, size_t mark)
{
    assert(mark <= arena->used);
    if (mark >= arena->used) return;
#ifndef NDEBUG
    memset(arena->base + mark, 0xDB, arena->used - mark);
#endif
    ASAN_POISON_MEMORY_REGION(arena->base + mark, arena->used - mark);
    arena->used = mark;
}

void weft_arena_reset(weft_arena *arena) { weft_arena_pop(arena, 0); }

weft_status weft_arenas_init(weft_arenas *arenas, size_t keep, size_t step, size_t scratch)
{
    weft_status status;
    *arenas = (weft_arenas){0};
    WEFT_TRY_GOTO(weft_arena_init(&arenas->keep, keep));
    WEFT_TRY_GOTO(weft_arena_init(&arenas->step, step));
    WEFT_TRY_GOTO(weft_arena_init(&arenas->scratch, scratch));
    return WEFT_OK;
fail:
    weft_arenas_fini(arenas);
    return status;
}

void weft_arenas_fini(weft_arenas *arenas)
{
    weft_arena_fini(&arenas->keep);
    weft_arena_fini(&arenas->step);
    weft_arena_fini(&arenas->scratch);
}
