#include "tests/kernels/walk.h"

#include <math.h>
#include <stdarg.h>

#include "core/philox.h"
#include "core/status.h"
#include "tests/check.h"
#include "tests/kernels/on_device.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#endif

enum { GUARD = 128, GUARD_BYTE = 0xa5, FRESH_BYTE = 0x5e, TEAMS = 4, WAYS_MAX = WEFT_ISA_COUNT * TEAMS + 1 };

typedef struct block {
    struct block *next;
    unsigned char *start; // of what was allocated
    unsigned char *data;
    size_t bytes, tail;
} block;

struct weft_walk {
    weft_kernels tables[WEFT_ISA_COUNT];
    int levels, ways;
    on_device on;            // zeros: none
    weft_team *teams[TEAMS]; // the first is NULL: the caller alone
    weft_op ops[WAYS_MAX];
    char names[WAYS_MAX][48];
    block *blocks;
    size_t tail;
    void *scratch;
    char about[256];
    uint64_t compared;
};

static void open_device(weft_walk *walk)
{
    if (!on_device_open(&walk->on)) return;
    walk->ways = walk->levels = 1; // beside ref alone
    snprintf(walk->names[walk->ways], sizeof *walk->names, "%s", walk->on.device->name);
    walk->ops[walk->ways++] = (weft_op){.table = &walk->on.table, .stream = walk->on.stream};
}

static void *take(weft_walk *walk, size_t bytes)
{
    void *memory;
    if (walk->on.device)
        CHECK_OK(walk->on.kind->alloc_shared(walk->on.device, bytes, &memory));
    else
        CHECK(posix_memalign(&memory, 64, bytes ? bytes : 1) == 0);
    return memory;
}

static void give(weft_walk *walk, void *memory)
{
    if (walk->on.device)
        walk->on.kind->free_shared(walk->on.device, memory);
    else
        free(memory);
}

weft_walk *weft_walk_begin(void)
{
    weft_walk *walk = calloc(1, sizeof *walk);
    CHECK(walk);
    const weft_cpu cpu = weft_cpu_detect();
    weft_isa isa;
    CHECK_OK(weft_isa_choose(&cpu, &isa));
    walk->levels = (int)isa + 1;
    for (int t = 1; t < TEAMS; t++) CHECK_OK(weft_team_create(&(weft_team_options){.threads = t}, &walk->teams[t]));
    for (int level = 0; level < walk->levels; level++) {
        walk->tables[level] = weft_kernels_for((weft_isa)level);
        for (int t = 0; t < TEAMS; t++) {
            if (level == WEFT_ISA_REF && t > 0 && t < TEAMS - 1) continue; // slow, and threads are the same everywhere
            snprintf(walk->names[walk->ways], sizeof *walk->names, t == 0 ? "%s, no team" : "%s, a team of %d",
                     weft_isa_name((weft_isa)level), t);
            walk->ops[walk->ways++] = (weft_op){.table = &walk->tables[level], .team = walk->teams[t]};
        }
    }
    if (!getenv("WEFT_WALK_FLUSH")) {
        walk->tail = GUARD;
        open_device(walk);
    }
    return walk;
}

void weft_walk_end(weft_walk *walk)
{
    weft_walk_release(walk);
    printf("%" PRIu64 " comparisons; levels ref to %s, teams of 1 to %d, device: %s\n", walk->compared,
           weft_isa_name((weft_isa)(walk->levels - 1)), TEAMS - 1, walk->on.device ? walk->on.device->name : "none");
    for (int t = 1; t < TEAMS; t++) weft_team_destroy(walk->teams[t]);
    give(walk, walk->scratch);
    weft_device_destroy(walk->on.device);
    free(walk);
}

int weft_walk_ways(const weft_walk *walk) { return walk->ways; }
const weft_op *weft_walk_way(const weft_walk *walk, int way) { return &walk->ops[way]; }
bool weft_walk_on_device(const weft_walk *walk, int way) { return walk->ops[way].stream != NULL; }
const char *weft_walk_name(const weft_walk *walk, int way) { return walk->names[way]; }

void weft_walk_scratch(weft_walk *walk, size_t bytes)
{
    give(walk, walk->scratch);
    walk->scratch = take(walk, (bytes + 64) / 64 * 64);
    for (int way = 0; way < walk->ways; way++) {
        walk->ops[way].scratch = walk->scratch;
        walk->ops[way].scratch_bytes = bytes;
    }
}

void weft_walk_case(weft_walk *walk, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(walk->about, sizeof walk->about, format, arguments);
    va_end(arguments);
}

void *weft_walk_memory(weft_walk *walk, size_t bytes, size_t shift)
{
    block *b = calloc(1, sizeof *b);
    CHECK(b);
    *b = (block){.next = walk->blocks, .bytes = bytes, .tail = walk->tail};
    const size_t size = GUARD + shift + bytes + b->tail;
    b->start = take(walk, size);
    b->data = b->start + GUARD + shift;
    walk->blocks = b;
    memset(b->start, GUARD_BYTE, (size_t)(b->data - b->start));
    memset(b->data, FRESH_BYTE, bytes);
    memset(b->data + bytes, GUARD_BYTE, b->tail);
    ASAN_POISON_MEMORY_REGION(b->data - GUARD, GUARD);
    ASAN_POISON_MEMORY_REGION(b->data + bytes, b->tail);
    return b->data;
}

void weft_walk_again(weft_walk *walk, void *memory)
{
    for (block *b = walk->blocks; b; b = b->next)
        if (b->data == memory) memset(b->data, FRESH_BYTE, b->bytes);
}

void weft_walk_guards(weft_walk *walk)
{
    for (block *b = walk->blocks; b; b = b->next) {
        ASAN_UNPOISON_MEMORY_REGION(b->data - GUARD, GUARD);
        ASAN_UNPOISON_MEMORY_REGION(b->data + b->bytes, b->tail);
        for (unsigned char *p = b->start; p < b->data; p++)
            if (*p != GUARD_BYTE)
                CHECK_FAIL("%s: byte %td before %zu bytes was written", walk->about, b->data - p, b->bytes);
        for (size_t i = 0; i < b->tail; i++)
            if (b->data[b->bytes + i] != GUARD_BYTE)
                CHECK_FAIL("%s: byte %zu behind %zu bytes was written", walk->about, i, b->bytes);
        ASAN_POISON_MEMORY_REGION(b->data - GUARD, GUARD);
        ASAN_POISON_MEMORY_REGION(b->data + b->bytes, b->tail);
    }
}

void weft_walk_release(weft_walk *walk)
{
    weft_walk_guards(walk);
    while (walk->blocks) {
        block *b = walk->blocks;
        walk->blocks = b->next;
        ASAN_UNPOISON_MEMORY_REGION(b->data - GUARD, GUARD);
        ASAN_UNPOISON_MEMORY_REGION(b->data + b->bytes, b->tail);
        give(walk, b->start);
        free(b);
    }
}

const char *weft_values_name(weft_values values)
{
    const char *names[WEFT_VALUES_COUNT] = {"plain", "wide", "extreme", "zero", "ties"};
    return names[values];
}

uint64_t weft_walk_random(uint64_t seed, uint64_t index)
{
    const weft_philox4 r = weft_draw4(seed, 0, index, WEFT_DRAW_TEST);
    return (uint64_t)r.word[0] << 32 | r.word[1];
}

static float of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float wide(uint64_t r)
{
    const uint32_t bits = (uint32_t)r, exponent = bits >> 23 & 255;
    if (exponent == 255) return of_bits(bits & 0x807fffff); // a denormal instead
    return r >> 60 == 0 ? of_bits(bits & 0x80000000) : of_bits(bits);
}

static float extreme(uint64_t r)
{
    static const uint32_t strange[] = {0x7f800000, 0xff800000, 0x7fc00000, 0xffc12345, 0x7f800001,
                                       0x00000001, 0x80000001, 0x007fffff, 0x807fffff, 0x7f7fffff,
                                       0xff7fffff, 0x00000000, 0x80000000, 0x00800000};
    if ((r >> 32) % 4 == 0) return of_bits(strange[(r >> 40) % (sizeof strange / sizeof *strange)]);
    return weft_unit_float((uint32_t)r) * 8 - 4;
}

void weft_walk_fill(float *p, size_t count, weft_values values, uint64_t seed)
{
    for (size_t i = 0; i < count; i++) {
        const uint64_t r = weft_walk_random(seed, i);
        switch (values) {
        case WEFT_VALUES_PLAIN:
            p[i] = weft_unit_float((uint32_t)r) * 8 - 4;
            break;
        case WEFT_VALUES_WIDE:
            p[i] = wide(r);
            break;
        case WEFT_VALUES_EXTREME:
            p[i] = extreme(r);
            break;
        case WEFT_VALUES_TIES:
            p[i] = (float)(r % 7) * 0.5F - 1;
            break;
        default:
            p[i] = 0;
            break;
        }
    }
}

// What an op of a device met with is told before what it did not write.
static void settle(const weft_walk *walk, int way)
{
    if (weft_walk_on_device(walk, way)) CHECK_OK(walk->on.device->ops->sync(walk->on.device));
}

void weft_walk_same(weft_walk *walk, int way, const char *what, const void *actual, const void *expected, size_t bytes)
{
    const unsigned char *a = actual, *e = expected;
    settle(walk, way);
    walk->compared += bytes;
    if (memcmp(a, e, bytes) == 0) return;
    size_t i = 0;
    while (a[i] == e[i]) i++;
    CHECK_FAIL("%s: %s: byte %zu of %zu of %s is %02x, expected %02x", walk->names[way], walk->about, i, bytes, what,
               a[i], e[i]);
}

void weft_walk_same_floats(weft_walk *walk, int way, const char *what, const float *actual, const float *expected,
                           size_t count)
{
    settle(walk, way);
    walk->compared += count;
    for (size_t i = 0; i < count; i++) {
        if (bits_of(actual[i]) == bits_of(expected[i]) || (isnan(actual[i]) && isnan(expected[i]))) continue;
        CHECK_FAIL("%s: %s: element %zu of %zu of %s is %a (%08x), expected %a (%08x)", walk->names[way], walk->about,
                   i, count, what, (double)actual[i], bits_of(actual[i]), (double)expected[i], bits_of(expected[i]));
    }
}

void weft_walk_close(weft_walk *walk, int way, const char *what, const float *actual, const double *expected,
                     size_t count, double bound, double floor)
{
    walk->compared += count;
    for (size_t i = 0; i < count; i++) {
        const double a = (double)actual[i], e = expected[i];
        if ((isnan(a) && isnan(e)) || a == e || fabs(a - e) <= bound * (fabs(e) + floor)) continue;
        CHECK_FAIL("%s: %s: element %zu of %zu of %s is %.9g, expected %.9g", walk->names[way], walk->about, i, count,
                   what, a, e);
    }
}
