// Contexts: a switch keeps what the calling convention says a call keeps, and nothing else.
#ifndef WEFT_TESTS_EMULATOR_FIBER_H
#define WEFT_TESTS_EMULATOR_FIBER_H

#include <stddef.h>

#include "tests/emulator/types.h"

#if defined(__SANITIZE_ADDRESS__)
#define EMU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMU_ASAN 1
#endif
#endif

// Before the first switch away from a thread's own stack.
EMU_HIDDEN void emu_fiber_home(void);
// A context that will call `entry`, which never returns, on the stack of `bytes` from `stack`.
EMU_HIDDEN void *emu_fiber_begin(void *stack, size_t bytes, void (*entry)(void));
// Goes on at `to`; whoever switches to *from next comes back here. `stack` is that of `to`, NULL for the
// thread's own; `last`: nobody will.
EMU_HIDDEN void emu_fiber_switch(void **from, void *to, const void *stack, size_t bytes, bool last);
// The first that an entry calls.
EMU_HIDDEN void emu_fiber_arrived(void);

#endif
