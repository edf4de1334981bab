#include "bench/device_ceilings.h"

#include <stdlib.h>
#include <string.h>

#include "core/checked.h"
#include "core/clock.h"

enum { SIDE = 8192, SIDE_EMULATED = 64, ROUNDS = 20000, ROUNDS_EMULATED = 4, RUNS_MAX = 1000 };

// Weights of a family that the tensor cores multiply.
typedef struct {
    weft_gemm_weight weight;
    void *memory;
    size_t bytes;
    bool there;
} product;

struct weft_device_ceilings {
    weft_device *device;
    const weft_kernels *table;
    void *stream;
    int64_t side;
    int rounds;
    unsigned char *memory; // read; its lower half is copied over the upper one
    size_t bytes;
    uint16_t *rows; // (side, side) activations in bf16
    float *out;     // (side, side)
    void *scratch;
    size_t scratch_bytes;
    product product[WEFT_FAMILY_COUNT];
};

static const struct {
    weft_ceiling ceiling;
    weft_family family;
} products[] = {
    {WEFT_CEILING_DEVICE_MMA, WEFT_FAMILY_MMA},
    {WEFT_CEILING_DEVICE_WGMMA, WEFT_FAMILY_WGMMA},
    {WEFT_CEILING_DEVICE_BLAS, WEFT_FAMILY_BLAS},
};
enum { PRODUCTS = sizeof products / sizeof *products };

bool weft_device_is_emulated(const weft_device *device) { return strcmp(device->ops->kind, "emulated") == 0; }

bool weft_device_ceiling_there(const weft_device_ceilings *c, weft_ceiling ceiling)
{
    bool any = false;
    for (int i = 0; i < PRODUCTS; i++) {
        if (ceiling == products[i].ceiling) return c->product[products[i].family].there;
        any = any || c->product[products[i].family].there;
    }
    return ceiling >= WEFT_CEILING_DEVICE_FIRST && (ceiling != WEFT_CEILING_DEVICE_BF16 || any);
}

// About normal numbers: what a device multiplies shows in the power that it takes, and so in its clock.
static void fill(uint16_t *to, size_t count)
{
    uint64_t x = 88172645463325252;
    for (size_t i = 0; i < count; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        const int sum = (int)(x & 255) + (int)(x >> 8 & 255) + (int)(x >> 16 & 255) + (int)(x >> 24 & 255) - 510;
        const float value = (float)sum * 0x1p-7F;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        to[i] = (uint16_t)(bits >> 16);
    }
}

static weft_status make_product(weft_device_ceilings *c, weft_team *team, weft_family family, const uint16_t *numbers)
{
    product *p = &c->product[family];
    const weft_op op = {.table = c->table, .team = team};
    const weft_gemm_source source = {
        .type = WEFT_BF16, .data = numbers, .n = c->side, .k = c->side, .row_bytes = (size_t)c->side * 2};
    WEFT_TRY(weft_gemm_pack_bytes(family, &source, 1, WEFT_FUSE_STACK, NULL, &p->bytes));
    void *packed = aligned_alloc(64, weft_align_up(p->bytes, 64));
    if (!packed) return weft_fail(WEFT_NO_MEMORY, "no memory to measure the device's ceilings");
    weft_status status = weft_gemm_pack(&op, family, &source, 1, WEFT_FUSE_STACK, NULL, packed, &p->weight);
    if (status == WEFT_OK) status = weft_device_alloc(c->device, p->bytes, &p->memory);
    if (status == WEFT_OK) status = c->device->ops->copy_in(c->device, p->memory, packed, p->bytes);
    free(packed);
    WEFT_TRY(status);
    weft_gemm_weight_move(&p->weight, p->memory);
    const size_t scratch = weft_gemm_scratch(&p->weight, c->side, 1);
    if (scratch > c->scratch_bytes) c->scratch_bytes = scratch;
    p->there = true;
    return WEFT_OK;
}

static weft_status make_products(weft_device_ceilings *c, weft_team *team)
{
    const size_t count = (size_t)c->side * (size_t)c->side;
    void *memory;
    weft_status status = WEFT_OK;
    uint16_t *numbers = malloc(count * sizeof *numbers);
    if (!numbers) return weft_fail(WEFT_NO_MEMORY, "no memory to measure the device's ceilings");
    fill(numbers, count);
    for (int i = 0; i < PRODUCTS && status == WEFT_OK; i++) {
        const weft_family family = products[i].family;
        if (c->table->gemm.run[family] &&
            (family == WEFT_FAMILY_BLAS || family <= weft_family_of_device(c->table->capability, WEFT_BF16)))
            status = make_product(c, team, family, numbers);
    }
    if (status == WEFT_OK) status = weft_device_alloc(c->device, count * sizeof *c->rows, &memory);
    if (status == WEFT_OK) {
        c->rows = memory;
        status = c->device->ops->copy_in(c->device, c->rows, numbers, count * sizeof *c->rows);
    }
    free(numbers);
    WEFT_TRY(status);
    WEFT_TRY(weft_device_alloc(c->device, count * sizeof *c->out, &memory));
    c->out = memory;
    return weft_device_alloc(c->device, c->scratch_bytes, &c->scratch);
}

weft_status weft_device_ceilings_create(weft_device *device, const weft_kernels *table, void *stream, weft_team *team,
                                        weft_device_ceilings **out)
{
    const bool emulated = weft_device_is_emulated(device);
    weft_status status;
    void *memory;
    weft_device_ceilings *c = calloc(1, sizeof *c);
    if (!c) return weft_fail(WEFT_NO_MEMORY, "no memory to measure the device's ceilings");
    c->device = device;
    c->table = table;
    c->stream = stream;
    c->side = emulated ? SIDE_EMULATED : SIDE;
    c->rounds = emulated ? ROUNDS_EMULATED : ROUNDS;
    c->bytes = emulated ? (size_t)1 << 20 : weft_align_up(8 * device->cache_bytes, 4096);
    WEFT_TRY_GOTO(weft_device_alloc(device, c->bytes, &memory));
    c->memory = memory;
    WEFT_TRY_GOTO(make_products(c, team));
    *out = c;
    return WEFT_OK;
fail:
    weft_device_ceilings_destroy(c);
    return status;
}

void weft_device_ceilings_destroy(weft_device_ceilings *c)
{
    if (!c) return;
    const size_t count = (size_t)c->side * (size_t)c->side;
    weft_device_free(c->device, c->memory, c->bytes);
    weft_device_free(c->device, c->rows, count * sizeof *c->rows);
    weft_device_free(c->device, c->out, count * sizeof *c->out);
    weft_device_free(c->device, c->scratch, c->scratch_bytes);
    for (int i = 0; i < WEFT_FAMILY_COUNT; i++) weft_device_free(c->device, c->product[i].memory, c->product[i].bytes);
    free(c);
}

// ---- measuring ----

static void multiply(weft_device_ceilings *c, const weft_op *op, weft_family family)
{
    const int64_t begin[] = {0, c->side};
    const void *const piece[] = {c->rows};
    const weft_gemm_rows rows = {.count = 1, .begin = begin, .piece = piece, .halves = true};
    const weft_gemm_args args = {
        .m = c->side, .a_stride = (size_t)c->side, .rows = &rows, .out = {c->out}, .out_stride = (size_t)c->side};
    weft_gemm_run(op, &c->product[family].weight, &args);
}

// Gives the device one run; returns how many units that is.
static double give(weft_device_ceilings *c, weft_ceiling ceiling)
{
    const weft_op op = {
        .table = c->table, .stream = c->stream, .scratch = c->scratch, .scratch_bytes = c->scratch_bytes};
    const size_t half = c->bytes / 2;
    switch (ceiling) {
    case WEFT_CEILING_DEVICE_READ:
        c->table->probe.read(&op, c->memory, c->bytes, (uint32_t *)(void *)c->out);
        return (double)c->bytes;
    case WEFT_CEILING_DEVICE_COPY:
        c->device->ops->copy(c->device, c->memory + half, c->memory, half);
        return 2 * (double)half;
    case WEFT_CEILING_DEVICE_FMA:
        return c->table->probe.multiply(&op, c->rounds, c->out);
    default:
        for (int i = 0; i < PRODUCTS; i++)
            if (products[i].ceiling == ceiling) multiply(c, &op, products[i].family);
        return 2 * (double)c->side * (double)c->side * (double)c->side;
    }
}

static weft_status measure_one(weft_device_ceilings *c, weft_ceiling ceiling, double seconds, double *rate)
{
    double took, work = 0;
    const int64_t began = weft_clock_ns();
    give(c, ceiling);
    WEFT_TRY(c->device->ops->sync(c->device));
    const double once = (double)(weft_clock_ns() - began) * 1e-9;
    const int runs = seconds / once < 1 ? 1 : seconds / once > RUNS_MAX ? RUNS_MAX : (int)(seconds / once);
    c->device->ops->clock_start(c->device);
    for (int i = 0; i < runs; i++) work += give(c, ceiling);
    WEFT_TRY(c->device->ops->clock_stop(c->device, &took));
    *rate = took > 0 ? work / took : 0;
    return WEFT_OK;
}

weft_status weft_device_ceiling_measure(weft_device_ceilings *c, weft_ceiling ceiling, double seconds, double *rate)
{
    *rate = 0;
    if (!weft_device_ceiling_there(c, ceiling)) return WEFT_OK;
    if (ceiling != WEFT_CEILING_DEVICE_BF16) return measure_one(c, ceiling, seconds, rate);
    for (int i = 0; i < PRODUCTS; i++) {
        double one = 0;
        if (c->product[products[i].family].there) WEFT_TRY(measure_one(c, products[i].ceiling, seconds, &one));
        if (one > *rate) *rate = one;
    }
    return WEFT_OK;
}

void weft_device_ceilings_flush(weft_device_ceilings *c) { give(c, WEFT_CEILING_DEVICE_READ); }
