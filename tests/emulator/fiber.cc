#include "tests/emulator/fiber.h"

#ifdef EMU_ASAN
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// What frames that were never left have marked.
static void emu_fiber_clear(void *stack, size_t bytes);

#if defined(__x86_64__)

// void emu_fiber_swap(void **from, void *to): the six registers that a callee keeps, then the stack.
asm(R"(
    .text
    .p2align 4
    .type emu_fiber_swap, @function
    .hidden emu_fiber_swap
    .globl emu_fiber_swap
emu_fiber_swap:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emu_fiber_swap, . - emu_fiber_swap
)");
extern "C" EMU_HIDDEN void emu_fiber_swap(void **from, void *to);

void *emu_fiber_begin(void *stack, size_t bytes, void (*entry)(void))
{
    emu_fiber_clear(stack, bytes);
    // At its first instruction a function finds the stack 8 short of a multiple of 16.
    void **top = (void **)(((uintptr_t)stack + bytes) & ~(uintptr_t)15);
    *--top = nullptr; // where it would return to
    *--top = (void *)entry;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    return top;
}

#else // anything else: slow, since it saves the mask of signals too

#include <ucontext.h>

static void emu_fiber_swap(void **from, void *to)
{
    ucontext_t here;
    *from = &here;
    swapcontext(&here, (ucontext_t *)to);
}

void *emu_fiber_begin(void *stack, size_t bytes, void (*entry)(void))
{
    emu_fiber_clear(stack, bytes);
    ucontext_t *context = (ucontext_t *)stack; // at the far end from where the stack begins
    getcontext(context);
    context->uc_stack.ss_sp = (char *)stack + sizeof *context;
    context->uc_stack.ss_size = bytes - sizeof *context;
    context->uc_link = nullptr;
    makecontext(context, entry, 0);
    return context;
}

#endif

#ifdef EMU_ASAN
static thread_local void *home_stack;
static thread_local size_t home_bytes;

void emu_fiber_home(void)
{
    pthread_attr_t attributes;
    if (home_stack || pthread_getattr_np(pthread_self(), &attributes)) return;
    pthread_attr_getstack(&attributes, &home_stack, &home_bytes);
    pthread_attr_destroy(&attributes);
}
void emu_fiber_switch(void **from, void *to, const void *stack, size_t bytes, bool last)
{
    void *fake = nullptr;
    __sanitizer_start_switch_fiber(last ? nullptr : &fake, stack ? stack : home_stack, stack ? bytes : home_bytes);
    emu_fiber_swap(from, to);
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
}
void emu_fiber_arrived(void) { __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr); }
static void emu_fiber_clear(void *stack, size_t bytes) { __asan_unpoison_memory_region(stack, bytes); }
#else
void emu_fiber_home(void) {}
void emu_fiber_switch(void **from, void *to, const void *, size_t, bool) { emu_fiber_swap(from, to); }
void emu_fiber_arrived(void) {}
static void emu_fiber_clear(void *, size_t) {}
#endif
