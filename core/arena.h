// Arenas: memory by lifetime. A push is a bump; nothing is freed alone. What lies above the mark is poisoned for the
// address sanitizer and, in builds with assertions, overwritten with 0xDB, so that use after pop is caught.
//
// Three lifetimes, three arenas, one struct that hands them down: `keep` lives as long as the object that owns the
// arenas, `step` is reset at every step's end, `scratch` is popped by the function that pushed (mark, then pop).
// An arena belongs to one thread at a time.
#ifndef WEFT_CORE_ARENA_H
#define WEFT_CORE_ARENA_H

#include <stddef.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    unsigned char *base;
    size_t used;     // bytes handed out, with their padding
    size_t capacity; // bytes of address space reserved; pages appear when first touched
    size_t opened;   // bytes from the base that may be touched; grows with the peak
    size_t peak;     // the most that was ever used; what lies above it was never written
} weft_arena;

typedef struct {
    weft_arena keep, step, scratch;
} weft_arenas;

// Reserves address space; costs no memory until it is used, not even where a site forbids overcommit. Fails with
// NO_MEMORY.
weft_status weft_arena_init(weft_arena *arena, size_t capacity);
void weft_arena_fini(weft_arena *arena); // accepts a zeroed arena

// Zeroed memory aligned to `align` (a power of two, at least 1); NULL when the arena is full,
// the machine gives no more memory, or count*size overflows.
void *weft_arena_push(weft_arena *arena, size_t count, size_t size, size_t align);
#define WEFT_PUSH(arena, type, count) ((type *)weft_arena_push((arena), (count), sizeof(type), _Alignof(type)))
char *weft_arena_printf(weft_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

size_t weft_arena_mark(const weft_arena *arena);
void weft_arena_pop(weft_arena *arena, size_t mark); // back to a mark; poisons what lies above it
void weft_arena_reset(weft_arena *arena);            // back to empty

weft_status weft_arenas_init(weft_arenas *arenas, size_t keep, size_t step, size_t scratch);
void weft_arenas_fini(weft_arenas *arenas);

#ifdef __cplusplus
}
#endif
#endif
