// Softmax, the largest, log-sum-exp by leaves, top-k and sampling: every level and team against `ref`, and `ref`
// against definitions that are written here once more, with a full sort.
#include <float.h>
#include <math.h>

#include "core/philox.h"
#include "kernels/cpu/exp.inc"
#include "tests/check.h"
#include "tests/kernels/walk.h"

static float sane(float x) { return isnan(x) ? -INFINITY : x; }

// Rows lie at 16 bytes where `odd` is 0, else nowhere.
static void test_softmax(weft_walk *walk, size_t rows, size_t width, weft_values values, size_t odd)
{
    weft_walk_case(walk, "softmax and argmax (%zu, %zu) %s", rows, width, weft_values_name(values));
    const size_t stride = width + 4 - odd, all = rows * stride;
    float *in = weft_walk_memory(walk, all * sizeof *in, 4 * odd), *out = weft_walk_memory(walk, all * sizeof *out, 8);
    float *expected = weft_walk_memory(walk, all * sizeof *out, 0);
    weft_choice *choice = weft_walk_memory(walk, rows * sizeof *choice, 4);
    weft_walk_fill(in, all, values, width);
    for (size_t i = 0; i < width && rows > 2; i++) in[2 * stride + i] = -INFINITY;
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        weft_walk_again(walk, out);
        op->table->pick.softmax(op, out, stride, in, stride, rows, width);
        if (way == 0)
            memcpy(expected, out, all * sizeof *out);
        else
            weft_walk_same_floats(walk, way, "softmax", out, expected, all);
        memcpy(out, in, all * sizeof *in);
        op->table->pick.softmax(op, out, stride, out, stride, rows, width);
        for (size_t r = 0; r < rows; r++)
            weft_walk_same_floats(walk, way, "softmax in place", out + r * stride, expected + r * stride, width);
        op->table->pick.argmax(op, &(weft_logits){in, stride, rows, width, 7}, choice);
        for (size_t r = 0; r < rows; r++) {
            size_t best = 0;
            for (size_t i = 1; i < width; i++)
                if (sane(in[r * stride + i]) > sane(in[r * stride + best])) best = i;
            CHECK_INT(choice[r].id, (int)best + 7);
            CHECK(choice[r].logit == sane(in[r * stride + best]));
        }
    }
    for (size_t r = 0; r < rows; r++) { // the definition, in double
        double max = -INFINITY, sum = 0;
        for (size_t i = 0; i < width; i++) max = fmax(max, (double)in[r * stride + i]);
        for (size_t i = 0; i < width; i++) sum += exp((double)in[r * stride + i] - max);
        for (size_t i = 0; i < width; i++) {
            const double e = max == -INFINITY ? 0 : exp((double)in[r * stride + i] - max) / sum;
            weft_walk_close(walk, 0, "softmax", expected + r * stride + i, &e, 1, 2e-6, 1e-37);
        }
    }
    weft_walk_release(walk);
}

static void test_lse(weft_walk *walk, size_t rows, size_t width, weft_values values)
{
    enum { LEAVES = 8, EACH = 5 };
    weft_walk_case(walk, "log-sum-exp (%zu, %zu) %s", rows, width, weft_values_name(values));
    const size_t stride = width + 1;
    float *in = weft_walk_memory(walk, rows * stride * sizeof *in, 4);
    weft_lse *leaves = weft_walk_memory(walk, rows * LEAVES * sizeof *leaves, 4),
             *expected = weft_walk_memory(walk, rows * LEAVES * sizeof *leaves, 0);
    weft_lse *part = weft_walk_memory(walk, rows * LEAVES * sizeof *part, 0);
    weft_lse *whole = weft_walk_memory(walk, rows * sizeof *whole, 0),
             *first = weft_walk_memory(walk, rows * sizeof *whole, 0);
    int32_t *ids = weft_walk_memory(walk, rows * EACH * sizeof *ids, 0);
    float *logprob = weft_walk_memory(walk, rows * EACH * sizeof *logprob, 0);
    weft_walk_fill(in, rows * stride, values, width);
    for (size_t i = 0; i < width && rows > 1; i++)
        in[stride + i] = i < width / 3 ? -INFINITY : in[stride + i];         // whole leaves of nothing
    for (size_t i = 0; i < rows * stride && values == WEFT_VALUES_ZERO; i++) // of both signs, and nothing above
        in[i] = weft_walk_random(7, i) % 3 == 0 ? -0.0F : weft_walk_random(8, i) % 3 == 0 ? 0.0F : -1.0F;
    size_t begin[LEAVES + 1];
    for (size_t i = 0; i <= LEAVES; i++) begin[i] = width * i / LEAVES;
    for (size_t i = 0; i < rows * EACH; i++)
        ids[i] = i % EACH == 3 ? -5 : (int32_t)(100 + weft_walk_random(3, i) % (width + 1));
    const weft_logits logits = {in, stride, rows, width, 100};
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        weft_walk_again(walk, leaves);
        op->table->pick.lse_leaves(op, &logits, begin, LEAVES, leaves);
        op->table->pick.lse_tree(op, leaves, LEAVES, rows, whole);
        if (way == 0) {
            memcpy(expected, leaves, rows * LEAVES * sizeof *leaves);
            memcpy(first, whole, rows * sizeof *whole);
        }
        weft_walk_same_floats(walk, way, "leaves", &leaves->max, &expected->max, rows * LEAVES * 2);
        weft_walk_same_floats(walk, way, "whole", &whole->max, &first->max, rows * 2);
        for (size_t owners = 1; owners <= LEAVES; owners++) { // each evaluates its own columns, in memory of its own
            for (size_t o = 0; o < owners; o++) {
                const size_t low = LEAVES * o / owners, count = LEAVES * (o + 1) / owners - low;
                size_t own[LEAVES + 1];
                for (size_t i = 0; i <= count; i++) own[i] = begin[low + i] - begin[low];
                const weft_logits mine = {in + begin[low], stride, rows, own[count], 100 + (int32_t)begin[low]};
                op->table->pick.lse_leaves(op, &mine, own, count, part);
                for (size_t r = 0; r < rows; r++)
                    memcpy(leaves + r * LEAVES + low, part + r * count, count * sizeof *part);
            }
            op->table->pick.lse_tree(op, leaves, LEAVES, rows, leaves); // in place
            weft_walk_same_floats(walk, way, "whole of owners", &leaves->max, &first->max, rows * 2);
        }
        weft_walk_again(walk, logprob);
        op->table->pick.logprob(op, &logits, whole, ids, EACH, logprob);
        for (size_t i = 0; i < rows * EACH; i++) {
            const size_t r = i / EACH;
            const int64_t at = (int64_t)ids[i] - 100;
            if (at < 0 || at >= (int64_t)width) {
                uint32_t bits;
                memcpy(&bits, logprob + i, sizeof bits);
                CHECK_INT(bits, 0x5e5e5e5e); // as it was
                continue;
            }
            double max = -INFINITY, sum = 0;
            for (size_t j = 0; j < width; j++) max = fmax(max, (double)in[r * stride + j]);
            for (size_t j = 0; j < width; j++) sum += exp((double)in[r * stride + j] - max);
            // cppcheck-suppress invalidFunctionArg // a row has a largest element, whose term is 1
            const double e = (double)in[r * stride + (size_t)at] - max - log(sum);
            weft_walk_close(walk, way, "logprob", logprob + i, &e, 1, 1e-6, 1);
        }
    }
    weft_walk_release(walk);
}

// ---- ranks and draws, by a full sort ----

typedef struct {
    float x;
    size_t id;
} ranked;

static int by_rank(const void *a, const void *b)
{
    const ranked *p = a, *q = b;
    if (p->x != q->x) return p->x > q->x ? -1 : 1;
    return p->id < q->id ? -1 : p->id > q->id;
}

static size_t rank_row(const float *x, size_t width, const uint32_t *allowed, ranked *out)
{
    size_t count = 0;
    for (size_t i = 0; i < width; i++)
        if (sane(x[i]) > -INFINITY && (!allowed || allowed[i / 32] >> i % 32 & 1)) out[count++] = (ranked){x[i], i};
    qsort(out, count, sizeof *out, by_rank);
    return count;
}

static uint64_t plain_mass(float x, float max, float temperature)
{
    float factor = 1 / temperature;
    if (!(factor < 0x1p120F)) factor = 0x1p120F;
    const float depth = x - max > -FLT_MAX ? x - max : -FLT_MAX;
    return (uint64_t)nearbyint((double)(x == max ? 1 : wi_expf1(depth * factor)) * 0x1p44);
}

static int by_id(const void *a, const void *b)
{
    const ranked *p = a, *q = b;
    return p->id < q->id ? -1 : p->id > q->id;
}

// The definition in pick.h.
static weft_choice plain_sample(const float *x, size_t width, const uint32_t *allowed, const weft_sampling *how,
                                uint64_t position, ranked *rank)
{
    size_t count = rank_row(x, width, allowed, rank);
    if (count == 0) return (weft_choice){-1, -INFINITY};
    const float max = rank[0].x;
    if (how->temperature <= 0) return (weft_choice){(int32_t)rank[0].id, max};
    if (how->top_k > 0 && (size_t)how->top_k < count) count = (size_t)how->top_k;
    uint64_t all = 0;
    for (size_t i = 0; i < count; i++) all += plain_mass(rank[i].x, max, how->temperature);
    if (how->top_p < 1) {
        const uint64_t limit = (uint64_t)((double)how->top_p * (double)all);
        size_t kept = 1;
        for (uint64_t before = plain_mass(rank[0].x, max, how->temperature); kept < count && before < limit; kept++)
            before += plain_mass(rank[kept].x, max, how->temperature);
        count = kept;
    }
    if (how->min_p > 0) {
        size_t kept = 1;
        while (kept < count &&
               (double)plain_mass(rank[kept].x, max, how->temperature) >= fmin((double)how->min_p, 1) * 0x1p44)
            kept++;
        count = kept;
    }
    qsort(rank, count, sizeof *rank, by_id);
    all = 0;
    for (size_t i = 0; i < count; i++) all += plain_mass(rank[i].x, max, how->temperature);
    const weft_philox4 r = weft_draw4(how->seed, how->continuation, position, WEFT_DRAW_SAMPLE);
    // u * all / 2^64 without a wider type: the upper halves, then what the lower ones carry
    const uint64_t high = all >> 32, low = all & 0xffffffff, u1 = r.word[0], u0 = r.word[1];
    const uint64_t middle = u1 * low + (u0 * low >> 32), crossed = u0 * high + (middle & 0xffffffff);
    uint64_t point = u1 * high + (middle >> 32) + (crossed >> 32);
    for (size_t i = 0; i < count; i++) {
        const uint64_t mass = plain_mass(rank[i].x, max, how->temperature);
        if (point < mass) return (weft_choice){(int32_t)rank[i].id, rank[i].x};
        point -= mass;
    }
    CHECK_FAIL("the draw fell behind the mass");
}

static void check_choice(weft_walk *walk, int way, size_t i, weft_choice actual, weft_choice expected)
{
    if (actual.id == expected.id && actual.logit == expected.logit) return;
    weft_walk_case(walk, "choice %zu", i);
    CHECK_FAIL("%s: choice %zu is %d (%a), expected %d (%a)", weft_walk_name(walk, way), i, actual.id,
               (double)actual.logit, expected.id, (double)expected.logit);
}

static void test_top(weft_walk *walk, size_t rows, size_t width, size_t k, weft_values values)
{
    weft_walk_case(walk, "top %zu of (%zu, %zu) %s", k, rows, width, weft_values_name(values));
    float *in = weft_walk_memory(walk, rows * width * sizeof *in, 4);
    weft_choice *out = weft_walk_memory(walk, rows * k * sizeof *out, 4);
    ranked *rank = weft_walk_memory(walk, width * sizeof *rank, 0);
    weft_walk_fill(in, rows * width, values, k);
    weft_walk_scratch(walk, weft_pick_scratch(width, 3));
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        weft_walk_again(walk, out);
        op->table->pick.top(op, &(weft_logits){in, width, rows, width, 50}, k, out);
        for (size_t r = 0; r < rows && (way == 0 || width < 10000); r++) {
            const size_t count = rank_row(in + r * width, width, NULL, rank);
            for (size_t i = 0; i < k; i++)
                check_choice(walk, way, i, out[r * k + i],
                             i < count ? (weft_choice){50 + (int32_t)rank[i].id, rank[i].x}
                                       : (weft_choice){-1, -INFINITY});
        }
    }
    weft_walk_release(walk);
}

// `spread` makes the rows peaked; rows of one request at several positions, each with its own mask.
static void test_sample(weft_walk *walk, size_t rows, size_t width, float spread, weft_values values)
{
    enum { HOWS = 24 };
    const float temperatures[] = {0, 1, 0.7F, 3, 1e-30F, INFINITY}, top_ps[] = {1, 0.9F, 0.1F, 0.999F, 0},
                min_ps[] = {0, 0, 0.05F, 2};
    const int32_t top_ks[] = {0, 1, 50, 0, 700, 1 << 20};
    const size_t words = (width + 31) / 32;
    float *in = weft_walk_memory(walk, rows * width * sizeof *in, 4);
    uint32_t *masks = weft_walk_memory(walk, rows * words * sizeof *masks, 4);
    weft_choice *out = weft_walk_memory(walk, rows * sizeof *out, 0),
                *expected = weft_walk_memory(walk, rows * sizeof *out, 0);
    ranked *rank = weft_walk_memory(walk, width * sizeof *rank, 0);
    const weft_sampling **how = weft_walk_memory(walk, rows * sizeof *how, 0);
    uint64_t *position = weft_walk_memory(walk, rows * sizeof *position, 0);
    const uint32_t **allowed = weft_walk_memory(walk, rows * sizeof *allowed, 0);
    weft_walk_fill(in, rows * width, values, width);
    for (size_t i = 0; i < rows * width; i++) in[i] *= spread;
    for (size_t i = 0; i < rows * words; i++)
        masks[i] = (uint32_t)weft_walk_random(9, i) & (uint32_t)weft_walk_random(10, i);
    if (rows > 7) memset(masks + 7 * words, 0, words * sizeof *masks);
    weft_walk_scratch(walk, weft_pick_scratch(width, 3));
    weft_sampling hows[HOWS];
    for (uint64_t h = 0; h < HOWS; h++) {
        const uint64_t pick = weft_walk_random(width, h);
        hows[h] = (weft_sampling){temperatures[pick % 6],
                                  top_ks[pick / 6 % 6],
                                  top_ps[pick / 36 % 5],
                                  min_ps[pick / 180 % 4],
                                  pick,
                                  (uint32_t)h};
    }
    for (size_t r = 0; r < rows; r++) {
        how[r] = &hows[r % HOWS];
        position[r] = r / 2;
        allowed[r] = r % 4 == 3 ? masks + r * words : NULL;
        expected[r] = plain_sample(in + r * width, width, allowed[r], how[r], position[r], rank);
        if (expected[r].id >= 0) expected[r].id += 11;
    }
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        weft_walk_case(walk, "sample (%zu, %zu) %s x %g", rows, width, weft_values_name(values), (double)spread);
        weft_walk_again(walk, out);
        const weft_sample args = {{in, width, rows, width, 11}, how, position, allowed, out};
        op->table->pick.sample(op, &args);
        for (size_t r = 0; r < rows; r++) {
            if (out[r].id != expected[r].id)
                CHECK_FAIL(
                    "%s: width %zu %s x %g row %zu (T %g, k %d, p %g, min %g, mask %d): drew %d (%a), expected %d (%a)",
                    weft_walk_name(walk, way), width, weft_values_name(values), (double)spread, r,
                    (double)how[r]->temperature, how[r]->top_k, (double)how[r]->top_p, (double)how[r]->min_p,
                    allowed[r] != NULL, out[r].id, (double)out[r].logit, expected[r].id, (double)expected[r].logit);
        }
        weft_walk_same(walk, way, "choices", out, expected, rows * sizeof *out);
    }
    weft_walk_release(walk);
}

// Draws follow the probabilities: within 5 standard deviations for every token of a small vocabulary.
static void test_frequencies(weft_walk *walk)
{
    enum { WIDTH = 40, DRAWS = 40000 };
    float x[WIDTH];
    int counts[WIDTH] = {0};
    weft_walk_fill(x, WIDTH, WEFT_VALUES_PLAIN, 77);
    weft_walk_scratch(walk, weft_pick_scratch(WIDTH, 1));
    const weft_op *op = weft_walk_way(walk, 0);
    const weft_sampling how = {.temperature = 1.5F, .top_p = 1, .seed = 5};
    double sum = 0;
    for (int i = 0; i < WIDTH; i++) sum += exp((double)x[i] / 1.5);
    for (uint64_t d = 0; d < DRAWS; d++) {
        weft_choice choice;
        op->table->pick.sample(
            op, &(weft_sample){{x, WIDTH, 1, WIDTH, 0}, &(const weft_sampling *){&how}, &d, NULL, &choice});
        counts[choice.id]++;
    }
    for (int i = 0; i < WIDTH; i++) {
        const double p = exp((double)x[i] / 1.5) / sum, deviation = sqrt(DRAWS * p * (1 - p));
        if (fabs(counts[i] - DRAWS * p) > 5 * deviation)
            CHECK_FAIL("token %d was drawn %d times, expected %.0f", i, counts[i], DRAWS * p);
    }
}

// Leaves without a partner are copied, and the pairs are those of the tree over eight.
static void test_few_leaves(weft_walk *walk)
{
    const weft_lse given[5] = {{1, 2}, {3, 1}, {-INFINITY, 0}, {2, 7}, {0.5F, 3}};
    weft_lse *in = weft_walk_memory(walk, sizeof given, 0), *pairs = weft_walk_memory(walk, 3 * sizeof *pairs, 0);
    weft_lse *halves = weft_walk_memory(walk, 2 * sizeof *halves, 0), *out = weft_walk_memory(walk, 2 * sizeof *out, 0);
    memcpy(in, given, sizeof given);
    for (int way = 0; way < weft_walk_ways(walk); way++) {
        const weft_op *op = weft_walk_way(walk, way);
        for (size_t i = 0; i < 2; i++) op->table->pick.lse_tree(op, in + 2 * i, 2, 1, pairs + i);
        weft_walk_same(walk, way, "a pair with nothing", &pairs[1], &in[3], sizeof *pairs);
        op->table->pick.lse_tree(op, pairs, 2, 1, halves);
        halves[1] = in[4];
        op->table->pick.lse_tree(op, halves, 2, 1, out);
        op->table->pick.lse_tree(op, in, 5, 1, out + 1);
        weft_walk_same(walk, way, "five leaves", out + 1, out, sizeof *out);
    }
    weft_walk_release(walk);
}

static void test_edits(weft_walk *walk)
{
    const weft_op *op = weft_walk_way(walk, weft_walk_ways(walk) - 1);
    float *x = weft_walk_memory(walk, 4 * sizeof *x, 0);
    memcpy(x, (const float[]){2, -2, 1, 5}, 4 * sizeof *x);
    const weft_seen seen[] = {{10, 0}, {11, 3}, {13, 1}, {9, 1}, {14, 1}};
    op->table->pick.penalize(op, &(weft_penalty){x, 4, 10, seen, 5, 2, 0.5F, 0.25F});
    CHECK_REAL(x[0], 1);                   // in the prompt alone: only the repetition
    CHECK_REAL(x[1], -4 - 3 * 0.5 - 0.25); // a negative one grows
    CHECK_REAL(x[2], 1);
    CHECK_REAL(x[3], 2.5 - 0.5 - 0.25);
    const weft_bias biases[] = {{12, -INFINITY}, {13, 2}, {9, 1}, {14, 1}, {13, 1}};
    op->table->pick.bias(op, x, 4, 10, biases, 5);
    CHECK_REAL(x[2], -INFINITY);
    CHECK_REAL(x[3], 4.75);
    weft_walk_release(walk);
}

int main(void)
{
    weft_walk *walk = weft_walk_begin();
    const size_t widths[] = {1, 2, 15, 16, 17, 63, 64, 65, 1000, 5003};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        for (weft_values values = 0; values < WEFT_VALUES_COUNT; values++) {
            test_softmax(walk, 5, widths[w], values, 1);
            if (widths[w] < 2000) test_softmax(walk, 3, 4 * widths[w], values, 0);
            test_lse(walk, 3, widths[w], values);
            test_top(walk, 3, widths[w], 1, values);
            test_top(walk, 2, widths[w], 20, values);
            test_sample(walk, 96, widths[w], 1, values);
            test_sample(walk, 96, widths[w], 5, values);
        }
    }
    test_softmax(walk, 40, 777, WEFT_VALUES_PLAIN, 1);
    const weft_values kinds[] = {WEFT_VALUES_PLAIN, WEFT_VALUES_EXTREME, WEFT_VALUES_TIES};
    for (size_t i = 0; i < 3; i++) {
        test_lse(walk, 2, 128256, kinds[i]);
        test_top(walk, 2, 128256, 20, kinds[i]);
        test_top(walk, 1, 128256, 3000, kinds[i]);
        test_sample(walk, 8, 128256, i == 0 ? 0.25F : 3, kinds[i]);
    }
    test_frequencies(walk);
    test_few_leaves(walk);
    test_edits(walk);
    weft_walk_end(walk);
    return 0;
}
