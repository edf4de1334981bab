// Runs the threads of a block as fibers on the calling thread, blocks one after the other. Which thread goes on is
// drawn by chance from a seed, so that what is not ordered by a barrier comes in any order.
#include <algorithm>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/emulator/fiber.h"
#include "tests/emulator/run.h"

uint3 blockIdx;
dim3 blockDim, gridDim;
unsigned char *emu_shared_now;
size_t emu_shared_bytes;
emu_thread *emu_thread_now;
emu_run emu_at_work;

#ifdef EMU_ASAN
enum { STACK = 512 * 1024 };
#else
enum { STACK = 128 * 1024 };
#endif
enum { GUARD = 4096, GUARD_BYTE = 0xa5 };
enum { POLICY_RANDOM, POLICY_LATEST, POLICY_OLDEST, POLICIES };

// The bounds of the section that __shared__ names; not there when no kernel has such an array.
extern char emu_shared_begin[] __asm__("__start_weft_shared") __attribute__((weak, visibility("hidden")));
extern char emu_shared_end[] __asm__("__stop_weft_shared") __attribute__((weak, visibility("hidden")));

struct emu_named_barrier {
    int expected, arrived, waiting;
    emu_barrier_kind kind;
    int any, all, count;
    uint8_t of_warp[EMU_WARPS_MAX];
    uint16_t who[EMU_THREADS_MAX];
};
static emu_named_barrier barriers[EMU_BARRIERS];

// By instructions that a sanitizer does not look into: the redzones of shared arrays are poisoned too, to no harm.
__attribute__((no_sanitize("address"))) void emu_poison(void *at, size_t bytes)
{
#if defined(__x86_64__)
    asm volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(0xff) : "memory");
#else
    for (size_t i = 0; i < bytes; i++) ((volatile unsigned char *)at)[i] = 0xff;
#endif
}

// ---- failures -------------------------------------------------------------------------------------------------------

static std::string place_text(const char *file, int line)
{
    return file ? std::string(" at ") + file + ":" + std::to_string(line) : std::string();
}

static std::string index_text(uint3 at)
{
    return "(" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) + ")";
}

void emu_die(const char *file, int line, const char *format, ...)
{
    char text[2048];
    va_list of;
    va_start(of, format);
    vsnprintf(text, sizeof text, format, of);
    va_end(of);
    std::string who;
    if (emu_at_work.kernel) who = emu_name_of(emu_at_work.kernel_at) + ", block " + index_text(blockIdx);
    if (emu_at_work.at) who += ", thread " + index_text(emu_at_work.at->index);
    fflush(stdout);
    fprintf(stderr, "emulator: %s%s%s%s\n", who.c_str(), who.empty() ? "" : ": ", text, place_text(file, line).c_str());
    fflush(stderr);
    abort();
}

void emu_trap(const char *file, int line) { emu_die(file, line, "trap"); }

static std::string wait_text(const emu_fiber *fiber)
{
    std::string text = fiber->what;
    if (fiber->bar) text += " on " + emu_mbar_text(fiber->bar, fiber->parity);
    return text + place_text(fiber->file, fiber->line);
}

// "threads 0-31, 40 in __syncthreads at k.cu:7; threads ..."
static std::string waiting_text(void)
{
    std::vector<std::pair<std::string, std::string>> kinds; // where, who
    std::string last;
    int from = -1;
    for (int i = 0; i <= emu_at_work.threads; i++) {
        const emu_fiber *fiber = i < emu_at_work.threads ? emu_at_work.fibers[i] : nullptr;
        std::string now = fiber && fiber->state == EMU_WAITING ? wait_text(fiber) : "";
        if (now == last) continue;
        if (!last.empty()) {
            auto at = std::find_if(kinds.begin(), kinds.end(), [&](const auto &kind) { return kind.first == last; });
            if (at == kinds.end()) at = kinds.insert(kinds.end(), {last, ""});
            at->second += (at->second.empty() ? "" : ", ") + std::to_string(from);
            if (i - 1 > from) at->second += "-" + std::to_string(i - 1);
        }
        last = now, from = i;
    }
    std::string text;
    for (const auto &kind : kinds)
        text += (text.empty() ? "threads " : "; threads ") + kind.second + " in " + kind.first;
    return text;
}

[[noreturn]] static void die_of_deadlock(void)
{
    emu_at_work.at = nullptr;
    std::string text = waiting_text();
    emu_die(nullptr, 0, "deadlock, %d of %d threads live: %s", emu_at_work.live, emu_at_work.threads, text.c_str());
}

// ---- who goes on ----------------------------------------------------------------------------------------------------

enum { RING = 2 * EMU_THREADS_MAX };

void emu_wake(emu_fiber *fiber)
{
    fiber->state = EMU_READY;
    emu_at_work.ready[emu_at_work.end++ % RING] = (uint16_t)(fiber->warp * 32 + fiber->lane);
}

static emu_fiber *take_ready(void)
{
    emu_run *run = &emu_at_work;
    if (run->policy == POLICY_LATEST) return run->fibers[run->ready[--run->end % RING]];
    if (run->policy == POLICY_RANDOM)
        std::swap(run->ready[run->first % RING],
                  run->ready[(run->first + emu_random_below(run->end - run->first)) % RING]);
    return run->fibers[run->ready[run->first++ % RING]];
}

// The calling fiber is not ready, or is in the ring: someone else goes on, or it itself.
static void run_another(emu_fiber *self)
{
    emu_run *run = &emu_at_work;
    while (run->first == run->end)
        if (!emu_async_advance()) die_of_deadlock();
    emu_fiber *next = take_ready();
    if (next == self) return;
    run->at = next;
    emu_thread_now = next;
    emu_fiber_switch(&self->context, next->context, next->stack, STACK, self->state == EMU_ENDED);
}

void emu_wait(const char *what, const char *file, int line)
{
    emu_fiber *self = emu_at_work.at;
    self->state = EMU_WAITING;
    self->what = what, self->file = file, self->line = line;
    run_another(self);
}

void emu_pause(void)
{
    if (!emu_chance(8)) return;
    emu_fiber *self = emu_at_work.at;
    if (emu_at_work.first == emu_at_work.end) {
        emu_async_advance();
        return;
    }
    if (emu_at_work.policy == POLICY_LATEST) // not to itself at once
        emu_at_work.ready[--emu_at_work.first % RING] = (uint16_t)(self->warp * 32 + self->lane);
    else
        emu_wake(self);
    run_another(self);
}

// ---- barriers -------------------------------------------------------------------------------------------------------

static void barrier_complete(int id)
{
    emu_named_barrier *barrier = &barriers[id];
    int waiting = barrier->waiting, start = waiting ? (int)emu_random_below((uint32_t)waiting) : 0;
    int result = barrier->kind == EMU_BARRIER_OR    ? barrier->any
                 : barrier->kind == EMU_BARRIER_AND ? barrier->all
                                                    : barrier->count;
    if (id != 0)
        for (int warp = 0; warp < EMU_WARPS_MAX; warp++)
            if (barrier->of_warp[warp] % 32)
                emu_die(nullptr, 0, "barrier %d of %d threads: only %d lanes of warp %d came", id, barrier->expected,
                        barrier->of_warp[warp], warp);
    for (int i = 0; i < waiting; i++) {
        emu_fiber *fiber = emu_at_work.fibers[barrier->who[(start + i) % waiting]];
        fiber->result = result;
        emu_wake(fiber);
    }
    barrier->arrived = barrier->waiting = 0;
    memset(barrier->of_warp, 0, sizeof barrier->of_warp);
}

int emu_barrier(int id, int threads, emu_barrier_kind kind, int value, const char *file, int line)
{
    static const char *const names[] = {"__syncthreads", "__syncthreads_or", "__syncthreads_and",
                                        "__syncthreads_count"};
    emu_fiber *self = emu_at_work.at;
    if (id < 0 || id >= EMU_BARRIERS) emu_die(file, line, "barrier %d: ids go from 1 to 15", id);
    emu_named_barrier *barrier = &barriers[id];
    bool named = threads != 0;
    if (named && (id == 0 || threads % 32 || threads < 0 || threads > emu_at_work.threads))
        emu_die(file, line, "barrier %d of %d threads in a block of %d: 1 to 15, and whole warps", id, threads,
                emu_at_work.threads);
    if (barrier->arrived == 0) {
        barrier->expected = threads;
        barrier->kind = kind == EMU_BARRIER_ARRIVE ? EMU_BARRIER_PLAIN : kind;
        barrier->any = barrier->count = 0;
        barrier->all = 1;
    } else if (barrier->expected != threads || (kind != EMU_BARRIER_ARRIVE && kind != barrier->kind)) {
        emu_die(file, line, "barrier %d of %d threads, but others came to it for %d or for another of its kinds", id,
                threads, barrier->expected);
    }
    if (++barrier->of_warp[self->warp] > 32)
        emu_die(file, line, "barrier %d: warp %d came twice before it was complete", id, self->warp);
    barrier->any |= value != 0;
    barrier->all &= value != 0;
    barrier->count += value != 0;
    barrier->arrived++;
    if (kind != EMU_BARRIER_ARRIVE) barrier->who[barrier->waiting++] = (uint16_t)(self->warp * 32 + self->lane);
    if (kind != EMU_BARRIER_ARRIVE) {
        self->what = named ? "wi_barrier" : names[kind];
        self->file = file, self->line = line;
        self->state = EMU_WAITING;
    }
    if (barrier->arrived == (named ? threads : emu_at_work.live)) barrier_complete(id);
    if (kind == EMU_BARRIER_ARRIVE) return 0;
    run_another(self); // the last one too waits for its turn
    return self->result;
}

// ---- meetings of a warp ---------------------------------------------------------------------------------------------

static void meeting_complete(emu_warp *warp, int index, unsigned mask)
{
    void *at[32] = {};
    emu_fiber *const *fibers = &emu_at_work.fibers[index * 32];
    unsigned there = mask & warp->live;
    const emu_fiber *one = fibers[__builtin_ctz(there)];
    for (unsigned left = there; left; left &= left - 1) {
        int lane = __builtin_ctz(left);
        const emu_fiber *fiber = fibers[lane];
        if (fiber->mask != mask || fiber->finish != one->finish)
            emu_die(nullptr, 0, "lanes of warp %d do not meet: %s, mask %08x; %s, mask %08x", index,
                    wait_text(one).c_str(), one->mask, wait_text(fiber).c_str(), fiber->mask);
        at[lane] = fiber->operand;
    }
    warp->waiting &= ~there;
    one->finish(at, there);
    // In turn from any lane: FIFO and LIFO too begin with another each time.
    unsigned turn = emu_random() & 31, turned = there >> turn | (uint32_t)((uint64_t)there << (32 - turn));
    for (unsigned left = turned; left; left &= left - 1) emu_wake(fibers[(__builtin_ctz(left) + turn) & 31]);
}

void emu_meet(unsigned mask, emu_meet_finish finish, void *operand, const char *what, const char *file, int line)
{
    emu_fiber *self = emu_at_work.at;
    emu_warp *warp = &emu_at_work.warps[self->warp];
    if (!(mask >> self->lane & 1)) emu_die(file, line, "%s: the mask %08x lacks the calling lane", what, mask);
    self->mask = mask, self->finish = finish, self->operand = operand;
    self->what = what, self->file = file, self->line = line;
    self->state = EMU_WAITING;
    warp->waiting |= 1u << self->lane;
    if ((warp->waiting & mask) == (warp->live & mask)) meeting_complete(warp, self->warp, mask);
    run_another(self);
}

void emu_finish_nothing(void *const[32], unsigned) {}

void emu_finish_shuffle(void *const at[32], unsigned mask)
{
    for (unsigned left = mask; left; left &= left - 1) {
        emu_exchange *mine = (emu_exchange *)at[__builtin_ctz(left)];
        const emu_exchange *other = (const emu_exchange *)at[mine->from & 31];
        mine->result = other ? other->value : ~0ull; // poison from a lane that is not there
    }
}

void emu_finish_ballot(void *const at[32], unsigned mask)
{
    unsigned votes = 0;
    for (unsigned left = mask; left; left &= left - 1) {
        int lane = __builtin_ctz(left);
        votes |= (unsigned)((const emu_exchange *)at[lane])->value << lane;
    }
    for (unsigned left = mask; left; left &= left - 1) ((emu_exchange *)at[__builtin_ctz(left)])->result = votes;
}

// ---- threads, blocks and grids --------------------------------------------------------------------------------------

// A thread has ended: those who wait for all that live wait for one less.
static void thread_ended(emu_fiber *self)
{
    emu_run *run = &emu_at_work;
    emu_warp *warp = &run->warps[self->warp];
    self->state = EMU_ENDED;
    run->live--;
    warp->live &= ~(1u << self->lane);
    if (run->live && barriers[0].arrived == run->live) barrier_complete(0);
    for (unsigned left = warp->waiting; left;) {
        unsigned mask = run->fibers[self->warp * 32 + __builtin_ctz(left)]->mask;
        left &= ~mask;
        if (mask >> self->lane & 1 && (warp->waiting & mask) == (warp->live & mask))
            meeting_complete(warp, self->warp, mask);
    }
}

static void fiber_entry(void)
{
    emu_fiber_arrived();
    emu_fiber *self = emu_at_work.at;
    (*emu_at_work.kernel)();
    thread_ended(self);
    if (emu_at_work.live) run_another(self);
    void *nowhere;
    emu_at_work.at = nullptr;
    emu_fiber_switch(&nowhere, emu_at_work.home, nullptr, 0, true);
    abort();
}

static emu_fiber *new_fiber(int index)
{
    emu_fiber *fiber = new emu_fiber();
    unsigned char *stack = (unsigned char *)mmap(nullptr, GUARD + STACK, PROT_READ | PROT_WRITE,
                                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED || mprotect(stack, GUARD, PROT_NONE)) emu_die(nullptr, 0, "no memory for a thread's stack");
    fiber->stack = stack + GUARD;
    fiber->warp = index / 32, fiber->lane = index % 32;
    return fiber;
}

static void begin_threads(dim3 threads)
{
    emu_run *run = &emu_at_work;
    run->threads = run->live = (int)(threads.x * threads.y * threads.z);
    for (; run->made < run->threads; run->made++) run->fibers[run->made] = new_fiber(run->made);
    run->first = run->end = 0;
    memset(run->warps, 0, sizeof run->warps);
    int start = (int)emu_random_below((uint32_t)(run->threads + 31) / 32) * 32;
    for (int n = 0; n < run->threads; n++) {
        int i = (start + n) % run->threads;
        emu_fiber *fiber = run->fibers[i];
        // Stacks begin at unlike places in the caches.
        fiber->context = emu_fiber_begin(fiber->stack, STACK - (size_t)(i % 61) * 320, fiber_entry);
        fiber->index = {(unsigned)i % threads.x, (unsigned)i / threads.x % threads.y,
                        (unsigned)i / threads.x / threads.y};
        fiber->bar = nullptr;
        fiber->copies.clear();
        fiber->groups.clear();
        run->warps[i / 32].live |= 1u << (i & 31);
        emu_wake(fiber);
    }
}

// The last bytes before a page that cannot be touched, and bytes between them that nobody may change.
static unsigned char *shared_memory(size_t bytes)
{
    static unsigned char *end;
    const size_t room = 256 * 1024;
    if (!end) {
        unsigned char *all =
            (unsigned char *)mmap(nullptr, room + GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (all == MAP_FAILED || mprotect(all + room, GUARD, PROT_NONE)) emu_die(nullptr, 0, "no shared memory");
        end = all + room;
    }
    return end - ((bytes + 1023) & ~(size_t)1023);
}

static void run_block(dim3 threads, size_t shared)
{
    emu_run *run = &emu_at_work;
    static const int policies[] = {POLICY_RANDOM, POLICY_RANDOM, POLICY_LATEST, POLICY_OLDEST};
    size_t slack = ((shared + 1023) & ~(size_t)1023) - shared;
    run->policy = policies[emu_random_below(4)];
    emu_shared_now = shared_memory(shared);
    emu_shared_bytes = shared;
    emu_poison(emu_shared_now, shared);
    memset(emu_shared_now + shared, GUARD_BYTE, slack);
    if (emu_shared_begin) emu_poison(emu_shared_begin, (size_t)(emu_shared_end - emu_shared_begin));
    emu_async_begin();
    emu_wgmma_begin();
    begin_threads(threads);
    emu_fiber *first = take_ready();
    run->at = first;
    emu_thread_now = first;
    emu_fiber_switch(&run->home, first->context, first->stack, STACK, false);
    emu_wgmma_end();
    emu_async_end();
    for (int id = 0; id < EMU_BARRIERS; id++)
        if (barriers[id].arrived)
            emu_die(nullptr, 0, "barrier %d: %d of %d threads came, and the block has ended", id, barriers[id].arrived,
                    barriers[id].expected);
    for (size_t i = 0; i < slack; i++)
        if (emu_shared_now[shared + i] != GUARD_BYTE)
            emu_die(nullptr, 0, "wrote past the end of its %zu bytes of shared memory, %zu bytes behind it", shared, i);
}

void emu_run_grid(dim3 grid, dim3 threads, size_t shared, const std::function<void(void)> &kernel,
                  const void *kernel_at)
{
    emu_run *run = &emu_at_work;
    if (!run->random) {
        const char *seed = getenv("WEFT_EMULATOR_SEED");
        run->random = (seed ? strtoull(seed, nullptr, 10) : 1) * 0x9e3779b97f4a7c15ull + 0x1234567;
    }
    emu_fiber_home();
    emu_watch_faults();
    run->kernel = &kernel;
    run->kernel_at = kernel_at;
    gridDim = grid;
    blockDim = threads;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx = {x, y, z};
                run_block(threads, shared);
            }
    run->kernel = nullptr;
}
