// test_tree_add LEVEL: tree_add of one level of the op table, or of a kind of device, against the definition, bit for
// bit.
#include <math.h>

#include "kernels/device.h"
#include "tests/check.h"

enum { N_MAX = 40, COUNT_MAX = 5003, SHIFT = 7, GUARD = 32 };

typedef struct {
    float *raw[N_MAX + 1]; // guards, then up to SHIFT floats, then COUNT_MAX, then guards; the last one for the output
    float *expected;
    weft_op op;
    const weft_device_kind *kind; // NULL: the host
    weft_device *device;
    uint64_t random;
} trial;

static uint32_t draw(trial *t)
{
    t->random = t->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(t->random >> 32);
}

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

// Level by level over the numbers of the arrays; who has no partner goes up as it is, and where both are absent so is
// their sum.
static float tree(const float *const *in, int n, size_t at)
{
    float value[N_MAX + 1] = {0};
    bool there[N_MAX + 1] = {0};
    for (int i = 0; i < n; i++) {
        there[i] = in[i] != NULL;
        if (there[i]) value[i] = in[i][at];
    }
    for (; n > 1; n = (n + 1) / 2) {
        there[n] = false;
        for (int i = 0; i < (n + 1) / 2; i++) {
            volatile float sum = there[2 * i] ? value[2 * i] : value[2 * i + 1]; // no wider arithmetic, no other order
            if (there[2 * i] && there[2 * i + 1]) sum = sum + value[2 * i + 1];
            value[i] = sum;
            there[i] = there[2 * i] || there[2 * i + 1];
        }
    }
    return value[0];
}

// Mostly numbers of all sizes whose sums depend on the order; some that are special.
static float draw_value(trial *t, bool special)
{
    static const uint32_t odd[] = {
        0x7f800000, 0xff800000,             // infinities
        0x7fc00000,                         // a NaN
        0x00000000, 0x80000000,             // zeros
        0x00000001, 0x807fffff, 0x00400000, // denormals
        0x7f7fffff, 0xff7fffff,             // the largest
    };
    uint32_t word = draw(t);
    if (special && word % 3 == 0) return from_bits(odd[draw(t) % (sizeof odd / sizeof *odd)]);
    return ldexpf((float)(int32_t)draw(t), (int)(word >> 8) % 40 - 50);
}

static float *begin_of(const trial *t, int array, size_t shift) { return t->raw[array] + GUARD + shift; }

static bool same(float a, float b)
{
    // Which NaN a sum gives is the processor's choice between its operands.
    return isnan(a) ? isnan(b) : to_bits(a) == to_bits(b);
}

static void settle(const trial *t)
{
    if (t->device) CHECK_OK(t->device->ops->sync(t->device));
}

// `alias`: which input is the output too, -1 for none.
static void check(trial *t, int n, size_t count, bool shifted, int alias, bool special)
{
    const int kept = alias >= 0 ? alias : (int)(draw(t) % (uint32_t)n);
    const uint32_t absent = draw(t) % 3 == 0 ? 1 + draw(t) % 7 : 0; // of 8
    const float *in[N_MAX];
    size_t all = (size_t)COUNT_MAX + SHIFT + 2 * (size_t)GUARD;
    float *out = begin_of(t, N_MAX, shifted ? draw(t) % SHIFT : 0);
    for (size_t i = 0; i < all; i++) t->raw[N_MAX][i] = -7.5f;
    for (int i = 0; i < n; i++) {
        float *values = begin_of(t, i, shifted ? draw(t) % SHIFT : 0);
        for (size_t k = 0; k < all; k++) t->raw[i][k] = -7.5f;
        for (size_t k = 0; k < count; k++) values[k] = draw_value(t, special);
        in[i] = values;
        if (alias == i) out = values;
        if (i != kept && draw(t) % 8 < absent) in[i] = NULL;
    }
    for (size_t k = 0; k < count; k++) t->expected[k] = tree(in, n, k);
    t->op.table->tree_add(&t->op, out, in, n, count);
    settle(t);
    for (size_t k = 0; k < count; k++)
        if (!same(t->expected[k], out[k]))
            CHECK_FAIL("n %d, count %zu, shifted %d, alias %d: [%zu] is %08x, expected %08x", n, count, shifted, alias,
                       k, to_bits(out[k]), to_bits(t->expected[k]));
    const float *raw = t->raw[alias >= 0 ? alias : N_MAX];
    for (size_t k = 0; k < all; k++)
        if ((raw + k < out || raw + k >= out + count) && raw[k] != -7.5f)
            CHECK_FAIL("n %d, count %zu: written outside, %td floats from the begin", n, count, raw + k - out);
}

// A rank that is not there must not turn -0 into +0.
static void check_zeros(trial *t)
{
    for (int n = 1; n <= N_MAX; n++) {
        const float *in[N_MAX];
        float *out = begin_of(t, N_MAX, 0);
        for (int i = 0; i < n; i++) {
            in[i] = begin_of(t, i, 0);
            for (int k = 0; k < 33; k++) t->raw[i][GUARD + k] = -0.0f;
        }
        t->op.table->tree_add(&t->op, out, in, n, 33);
        settle(t);
        for (int k = 0; k < 33; k++) CHECK_INT(to_bits(out[k]), 0x80000000);
    }
}

static void run(trial *t)
{
    static const size_t counts[] = {0, 1, 2, 3, 15, 16, 17, 31, 33, 63, 100, 127, 511, 512, 513, 1000, 1025};
    for (int n = 1; n <= N_MAX; n++) {
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            check(t, n, counts[i], false, -1, false);
            check(t, n, counts[i], true, -1, true);
            check(t, n, counts[i], i % 2 != 0, (int)(draw(t) % (uint32_t)n), i % 3 == 0);
        }
        check(t, n, 2047 + draw(t) % 3 + 951 * (size_t)(n % 4), n % 2 != 0, -1, n % 3 == 0);
    }
    for (int alias = 0; alias < 8; alias++)
        for (int n = alias + 1; n <= 8; n++) check(t, n, 1500, false, alias, true);
    check(t, 7, 5000, true, 6, false);
    check_zeros(t);
}

static float *take(trial *t)
{
    const size_t bytes = ((size_t)COUNT_MAX + SHIFT + 2 * (size_t)GUARD) * sizeof(float);
    void *memory = NULL;
    if (t->device)
        CHECK_OK(t->kind->alloc_shared(t->device, bytes, &memory));
    else
        memory = malloc(bytes);
    CHECK(memory);
    return memory;
}

static void give(trial *t, float *memory)
{
    if (t->device)
        t->kind->free_shared(t->device, memory);
    else
        free(memory);
}

static void open_host(const char *name, weft_kernels *table)
{
    weft_cpu cpu = weft_cpu_detect();
    weft_isa isa;
    CHECK(weft_isa_from_name(name, &isa));
    if (isa > cpu.isa) SKIP("this processor has no %s", name);
    *table = weft_kernels_for(isa);
    CHECK(table->isa <= isa); // a level that improves nothing has no part in the table
}

static void open_device(trial *t, const char *name, weft_kernels *table)
{
    int count = 0;
    if (weft_device_kind_open(name, &t->kind) < 0 || t->kind->count(&count) < 0 || count == 0)
        SKIP("no device of the kind %s: %s", name, weft_error_text());
    CHECK_OK(t->kind->open(0, &t->device, table, &t->op.stream));
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "ref";
    weft_kernels table;
    trial t = {.op.table = &table, .random = 2024};
    if (strcmp(name, "cuda") == 0 || strcmp(name, "emulated") == 0)
        open_device(&t, name, &table);
    else
        open_host(name, &table);
    for (int i = 0; i <= N_MAX; i++) t.raw[i] = take(&t);
    t.expected = malloc(COUNT_MAX * sizeof(float));
    CHECK(t.expected != NULL);
    run(&t);
    for (int i = 0; i <= N_MAX; i++) give(&t, t.raw[i]);
    free(t.expected);
    weft_device_destroy(t.device);
    return 0;
}
