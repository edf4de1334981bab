// test_total KIND: sums of rows with all that follows them, as a device does them in one op, against the host's ops of
// `ref` one by one, bit for bit.
#include <math.h>
#include <string.h>

#include "kernels/device.h"
#include "tests/check.h"

enum { ROWS = 5, WIDTH_MAX = 9001, ARRAYS = WEFT_LEAVES, FLOATS = ROWS * WIDTH_MAX + 64 };

typedef struct {
    const weft_device_kind *kind;
    weft_device *device;
    weft_op op, host;
    float *in[ARRAYS], *bias, *residual, *weight, *out, *normed; // both reach them
    float *expected, *expected_normed;
    uint64_t random;
    long compared;
} trial;

typedef struct {
    int n;
    size_t rows, width, shift; // floats by which all arrays are shifted
    uint32_t absent;           // of the arrays, by bits
    bool bias, residual, norm, halves, one_plus, in_place;
} total_case;

static uint32_t draw(trial *t)
{
    t->random = t->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(t->random >> 32);
}

static float *take(trial *t)
{
    void *memory = NULL;
    CHECK_OK(t->kind->alloc_shared(t->device, FLOATS * sizeof(float), &memory));
    return memory;
}

static void fill(trial *t, float *p)
{
    for (size_t i = 0; i < FLOATS; i++) p[i] = ldexpf((float)(int32_t)draw(t), (int)(draw(t) % 6) - 33);
}

static void same(trial *t, const total_case *c, const char *what, const float *actual, const float *expected,
                 size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(&actual[i], &expected[i], sizeof actual[i]) != 0)
            CHECK_FAIL("%s: n %d, (%zu, %zu), absent %x, bias %d, residual %d, norm %d: [%zu] is %.9g, expected %.9g",
                       what, c->n, c->rows, c->width, c->absent, c->bias, c->residual, c->norm, i, (double)actual[i],
                       (double)expected[i]);
    t->compared += (long)count;
}

static void expect(trial *t, const total_case *c, const float *const *in, const weft_norm *norm)
{
    const weft_kernels *ref = t->host.table;
    const size_t count = c->rows * c->width;
    ref->tree_add(&t->host, t->expected, in, c->n, count);
    for (size_t r = 0; c->bias && r < c->rows; r++)
        ref->rows.add(&t->host, t->expected + r * c->width, t->expected + r * c->width, t->bias + c->shift, c->width);
    if (c->residual) ref->rows.add(&t->host, t->expected, t->expected, t->residual + c->shift, count);
    if (!c->norm) return;
    weft_norm of = *norm;
    of.out = t->expected_normed;
    if (of.halves) of.halves = (uint16_t *)(void *)t->expected_normed;
    of.in = t->expected;
    of.in_stride = of.width = c->width;
    of.rows = c->rows;
    of.heads = 1;
    ref->rows.norm(&t->host, &of);
}

static void check(trial *t, const total_case *c)
{
    const float *in[ARRAYS];
    float *out = (c->in_place ? t->residual : t->out) + c->shift;
    const weft_norm norm = {.out = t->normed,
                            .out_stride = c->width,
                            .weight = t->weight + c->shift,
                            .eps = 1e-5f,
                            .one_plus = c->one_plus,
                            .before = WEFT_F32,
                            .after = WEFT_F32,
                            .halves = c->halves ? (uint16_t *)(void *)t->normed : NULL};
    for (int i = 0; i < c->n; i++) {
        fill(t, t->in[i]);
        in[i] = c->absent >> i & 1 ? NULL : t->in[i] + c->shift;
    }
    fill(t, t->bias);
    fill(t, t->residual);
    fill(t, t->weight);
    expect(t, c, in, &norm);
    const weft_row_total args = {.in = in,
                                 .n = c->n,
                                 .bias = c->bias ? t->bias + c->shift : NULL,
                                 .residual = c->residual ? t->residual + c->shift : NULL,
                                 .out = out,
                                 .rows = c->rows,
                                 .width = c->width,
                                 .norm = c->norm ? &norm : NULL};
    t->op.table->total(&t->op, &args);
    CHECK_OK(t->device->ops->sync(t->device));
    same(t, c, "sum", out, t->expected, c->rows * c->width);
    if (c->norm) same(t, c, "norm", t->normed, t->expected_normed, c->rows * c->width / (c->halves ? 2 : 1));
}

int main(int argc, char **argv)
{
    static const size_t widths[] = {1, 3, 4, 36, 100, 128, 576, 1023, 1024, 1028, 2048, 8192, 8196, 9001};
    const char *kind = argc > 1 ? argv[1] : "cuda";
    weft_kernels table, ref = weft_kernels_for(WEFT_ISA_REF);
    trial t = {.op.table = &table, .host.table = &ref, .random = 7};
    int count = 0;
    if (weft_device_kind_open(kind, &t.kind) < 0 || t.kind->count(&count) < 0 || count == 0)
        SKIP("no device of the kind %s: %s", kind, weft_error_text());
    CHECK_OK(t.kind->open(0, &t.device, &table, &t.op.stream));
    for (int i = 0; i < ARRAYS; i++) t.in[i] = take(&t);
    t.bias = take(&t), t.residual = take(&t), t.weight = take(&t), t.out = take(&t), t.normed = take(&t);
    t.expected = take(&t), t.expected_normed = take(&t);
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        for (int n = 1; n <= ARRAYS; n++) {
            const uint32_t bits = draw(&t), kept = draw(&t) % (uint32_t)n;
            total_case c = {.n = n,
                            .rows = 1 + bits % ROWS,
                            .width = widths[i],
                            .shift = bits >> 4 & 1 ? 1 : 0,
                            .absent = bits >> 5 & 1 ? draw(&t) & ~(1u << kept) : 0,
                            .bias = bits >> 6 & 1,
                            .residual = bits >> 7 & 1,
                            .norm = n % 4 != 3,
                            .halves = bits >> 8 & 1 && widths[i] % 2 == 0,
                            .one_plus = bits >> 9 & 1,
                            .in_place = bits >> 7 & bits >> 10 & 1};
            check(&t, &c);
        }
    printf("%ld floats compared\n", t.compared);
    for (int i = 0; i < ARRAYS; i++) t.kind->free_shared(t.device, t.in[i]);
    float *const rest[] = {t.bias, t.residual, t.weight, t.out, t.normed, t.expected, t.expected_normed};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) t.kind->free_shared(t.device, rest[i]);
    weft_device_destroy(t.device);
    return 0;
}
